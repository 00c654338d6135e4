"""One step of a cell: equations, Jacobians, adjoint identities, second derivatives, and the interface."""

import inspect
import re
import textwrap
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow import testing
from lyapflow.cells import interface
from lyapflow.cells.interface import sizes
from lyapflow.testing.kernels import forward
from tests import gradcheck
from tests.exact_systems import (
    CatMap,
    DelayedHenonMap,
    HenonMap,
    IkedaMap,
    IntermittentMap,
    LogisticMap,
    StandardMap,
    TentMap,
)
from tests.gradcheck import CELLS, DTYPES, next_state
from tests.test_jit import MAP as SCALING_MAP

each_cell = pytest.mark.parametrize("cell_class", CELLS)
# for what hardly depends on the cell
each_kind = pytest.mark.parametrize(
    "cell_class", [lf.TanhRNN, lf.ReluRNN, lf.LinearRNN, lf.LSTM, lf.GRU]
)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@each_cell
@given(data=st.data())
def test_step_is_the_equation(cell_class, data):
    cell = data.draw(testing.cells(cell_class))
    h, x = data.draw(testing.states(cell, 3)), data.draw(testing.inputs(cell, 3))
    expected = [next_state(cell, *state) for state in zip(h, x)]
    found, _ = forward(cell, h, x, np.empty((0, 0, h.shape[1])))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@each_cell
@each_dtype
@settings(max_examples=20)
@given(data=st.data())
def test_kernels_fit_together(cell_class, dtype, data):
    cell = data.draw(testing.cells(cell_class, dtype=dtype))
    report = testing.check_cell(
        cell, data.draw(testing.states(cell, 2)), data.draw(testing.inputs(cell, 2))
    )
    assert not report.skipped


@pytest.mark.parametrize(
    "cell",
    [
        HenonMap(np.array([1.4]), np.array([0.3])),
        CatMap(np.array([[2.0, 1.0], [1.0, 1.0]])),
        LogisticMap(np.array([4.0])),
        TentMap(np.array([2.0])),
        IkedaMap(np.array([0.9])),
        StandardMap(np.array([6.0])),
        DelayedHenonMap(np.array([1.4]), np.array([0.3]), np.ones(5)),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_kernels_of_outside_cells_fit_together(cell):
    testing.check_cell(cell)


def test_kernels_of_an_outside_cell_in_its_domain_fit_together():
    testing.check_cell(IntermittentMap(np.array([1.5])), h=np.array([[0.1], [0.7]]))


def test_the_slope_of_relu_at_zero_is_one():
    cell = lf.ReluRNN(np.array([[0.5]]), np.empty((1, 0)), np.zeros(1))
    assert lf.jacobian(cell, np.zeros(1), np.empty(0))[0, 0] == 0.5
    assert lf.jacobian(cell, np.full(1, -1e-300), np.empty(0))[0, 0] == 0.0


@each_cell
@each_dtype
def test_saturated_and_huge_states_have_finite_jacobians(cell_class, dtype):
    cell = gradcheck.random_cell(cell_class, 4, 1, np.random.default_rng(0), dtype=dtype)
    for size in (1e-30, 20.0, 400.0, 1e30):
        h = np.full(sizes(cell).state, size, dtype) * np.resize([1, -1], sizes(cell).state).astype(
            dtype
        )
        assert np.isfinite(lf.jacobian(cell, h, np.zeros(1, dtype))).all()


@pytest.mark.parametrize("cell_class", [lf.TanhRNN, lf.LinearRNN])
@given(
    st.integers(1, 40),
    st.integers(0, 5),
    st.floats(0.0, 50.0),
    st.sampled_from(["gaussian", "orthogonal"]),
)
@example(1, 0, 0.0, "orthogonal")
def test_random_weights(cell_class, n, m, g, weights):
    cell = cell_class.random(n, m, rng=np.random.default_rng(0), g=g, weights=weights)
    assert cell.W.shape == (n, n)
    assert cell.V.shape == (n, m)
    assert not cell.b.any()
    if weights == "orthogonal":
        np.testing.assert_allclose(cell.W @ cell.W.T, g**2 * np.eye(n), atol=1e-12 * max(1, g**2))


def test_moments_of_random_weights():
    n, g = 300, 1.5
    cell = lf.TanhRNN.random(n, 40, rng=np.random.default_rng(0), g=g)
    # five standard errors of mean and variance
    for sample, sd in ((cell.W, g / np.sqrt(n)), (cell.V, 1.0)):
        assert abs(sample.mean()) < 5 * sd / np.sqrt(sample.size)
        assert abs(sample.var() / sd**2 - 1) < 5 * np.sqrt(2 / sample.size)


def test_moments_of_random_relu_weights():
    n, g = 200, 0.5
    W = lf.ReluRNN.random(n, 1, rng=np.random.default_rng(0), g=g).W
    assert abs(W.mean() + 0.1 / n) < 5 * g / np.sqrt(n) / n
    assert abs(W.var() * n / g**2 - 1) < 5 * np.sqrt(2 / W.size)
    assert lf.ReluRNN.random(
        n, 1, rng=np.random.default_rng(0), g=0.0, mean=3.0
    ).W == pytest.approx(3 / n)


def test_random_gates():
    n, g = 60, 2.0
    lstms = [lf.LSTM.random(n, 40, rng=np.random.default_rng(r), g=g) for r in range(50)]
    grus = [lf.GRU.random(n, 40, rng=np.random.default_rng(r), g=g) for r in range(50)]
    for ensemble, zero, biases in ((lstms, 1, 1), (grus, None, None)):
        gains = np.array(
            [[cell.W.std(axis=(1, 2)), cell.V.std(axis=(1, 2))] for cell in ensemble]
        ) * np.sqrt(n)
        for gate in range(gains.shape[2]):
            recurrent, driven = gains[:, 0, gate], gains[:, 1, gate]
            if gate == zero:
                assert not recurrent.any()
            else:  # uniform: mean and largest value, and no two gates share a gain
                assert abs(recurrent.mean() / g - 0.5) < 5 * np.sqrt(1 / 12 / 50)
                assert 0.8 * g < recurrent.max() < 1.1 * g
                assert abs(np.corrcoef(recurrent, gains[:, 0, 0 if gate else 2])[0, 1]) < 0.6
            assert abs(driven.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 50)
        assert all(np.ptp(row) == 0 for cell in ensemble for row in cell.b)
        drawn = np.array([cell.b[:, 0] for cell in ensemble])
        assert all(drawn[:, gate].any() == (gate == biases) for gate in range(drawn.shape[1]))
        if biases is not None:
            assert 0 < drawn[:, biases].min() < 0.2 < 0.8 < drawn[:, biases].max() < 1


def test_orthogonal_weights_are_haar():
    # without the signs fixed the diagonal of Q leans to one side: E tr Q = 0 and E (tr Q)² = 1
    # under Haar
    rng = np.random.default_rng(0)
    traces = np.array(
        [np.trace(lf.TanhRNN.random(3, 0, rng=rng, weights="orthogonal").W) for _ in range(2000)]
    )
    assert abs(traces.mean()) < 5 / np.sqrt(traces.size)
    assert abs((traces**2).mean() - 1) < 5 * np.sqrt(2 / traces.size)


@each_cell
def test_both_dtypes_draw_the_same_numbers(cell_class):
    double, single = (
        cell_class.random(5, 2, rng=np.random.default_rng(3), dtype=d)
        for d in ("float64", "float32")
    )
    for a, b in zip(double, single):
        assert b.dtype == np.float32
        np.testing.assert_array_equal(a.astype(np.float32), b)


def test_jacobian_of_an_outside_cell():
    D = lf.jacobian(HenonMap(np.array([1.4]), np.array([0.3])), np.array([0.5, 0.1]), np.empty(0))
    np.testing.assert_allclose(D, [[-1.4, 1.0], [0.3, 0.0]])


class Decay(NamedTuple):
    """``h' = r h``, with a field without axes."""

    r: np.ndarray  # ()


@interface.sizes.register
def _(cell: Decay) -> interface.Sizes:
    return interface.Sizes(1, 1, 0, 0, 0, 0, {"r": ()})


@interface.implement(interface.step, Decay)
def decay_step(cell, turned, h, x, h_next, record):
    h_next[:] = cell.r[()] * h


@interface.implement(interface.tangent, Decay)
def decay_tangent(cell, turned, record, Q, Q_next, work):
    Q_next[:] = cell.r[()] * Q


def test_a_field_may_be_a_number():
    assert lf.lyapunov_spectrum(Decay(np.array(0.5)), np.empty((5, 0))).exponents[0] == np.log(0.5)


class Incomplete(NamedTuple):
    a: np.ndarray


@interface.sizes.register
def _(cell: Incomplete) -> interface.Sizes:
    return interface.Sizes(1, 1, 0, 0, 0, 0, {"a": (1,)})


def test_what_a_cell_lacks_is_named():
    with pytest.raises(lf.LyapflowError, match="this needs step of Incomplete"):
        lf.lyapunov_spectrum(Incomplete(np.ones(1)), np.empty((5, 0)))
    with pytest.raises(lf.LyapflowError, match="this needs step_pullback of TentMap"):
        lf.flossing_value_and_grad(TentMap(np.array([2.0])), np.empty((5, 0)), 1)
    with pytest.raises(lf.LyapflowError, match="this needs step of Incomplete"):
        lf.jacobian(Incomplete(np.ones(1)), np.zeros(1), np.empty(0))
    with pytest.raises(
        lf.LyapflowError, match=r"step takes the parameters \(cell, turned, h, x, h_next, record\)"
    ):

        @interface.implement(interface.step, Incomplete)
        def too_short(cell, h):
            pass

    with pytest.raises(lf.LyapflowError, match=r"LogisticMap has its step.*define the class again"):

        @interface.implement(interface.step, LogisticMap)
        def again(cell, turned, h, x, h_next, record):
            pass


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def torch_lstm(h, c, from_x, from_h):
    i, f, g, o = from_x + from_h
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def torch_gru(h, c, from_x, from_h):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = from_x, from_h
    z, n = sigmoid(x_z + h_z), np.tanh(x_n + sigmoid(x_r + h_r) * h_n)
    return (1 - z) * n + z * h, c


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("cell_class", "theirs"), [(lf.LSTM, torch_lstm), (lf.GRU, torch_gru)])
def test_the_docstring_makes_a_cell_of_a_layer_of_torch(cell_class, theirs, dtype):
    """The recipe as it stands, on arrays laid out as torch's, against the formulas of torch's documentation."""
    n, m, rng = 5, 3, np.random.default_rng(0)
    gates = cell_class.random(n, m, rng=rng).W.shape[0]
    shapes = {"weight_hh_l0": (gates * n, n), "weight_ih_l0": (gates * n, m)}
    shapes |= {"bias_hh_l0": (gates * n,), "bias_ih_l0": (gates * n,)}
    torch = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    names = {**torch, "np": np, "n": n, "m": m}
    recipe = re.search(r"::\n\n(.*?)(?=\n\S|\Z)", inspect.getdoc(cell_class), re.DOTALL)[1]
    exec(textwrap.dedent(recipe), names)
    cell = cell_class(*(names[field] for field in cell_class._fields))

    x = rng.standard_normal((20, m)).astype(dtype)
    found = lf.trajectory(cell, x)
    assert found.dtype == dtype
    h = c = np.zeros(n)
    for t in range(len(x)):
        from_x = torch["weight_ih_l0"] @ x[t] + torch["bias_ih_l0"]
        from_h = torch["weight_hh_l0"] @ h + torch["bias_hh_l0"]
        h, c = theirs(h, c, from_x.reshape(gates, n), from_h.reshape(gates, n))
        np.testing.assert_allclose(found[t, :n], h, atol=100 * np.finfo(dtype).eps)


def test_a_class_that_is_defined_again_has_its_new_kernels():
    """As in a notebook: of the same name, with fields of the same types."""
    for slope in (2.0, 3.0):
        exec(SCALING_MAP.replace("SLOPE", str(slope)), space := {"__name__": __name__})
        cell = space["Scaling"](np.array([1.0]))
        found = lf.lyapunov_spectrum(cell, np.empty((3, 0)), h0=np.ones(1))
        assert found.exponents[0] == pytest.approx(np.log(slope))
