"""One step of a cell: Jacobians, adjoint identities, second derivatives, and the interface."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow.cells import interface
from lyapflow.cells.interface import sizes
from tests import gradcheck
from tests.exact_systems import HenonMap, LogisticMap, TentMap
from tests.gradcheck import derivative

GAINS = st.sampled_from([1e-3, 0.5, 1.0, 3.0, 30.0])


@st.composite
def tanh_cells(draw, dtype=np.float64):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, m = draw(st.integers(1, 8)), draw(st.integers(0, 3))
    weights = draw(st.sampled_from(["gaussian", "orthogonal"]))
    cell = lf.TanhRNN.random(n, m, rng=rng, g=draw(GAINS), weights=weights, dtype=dtype)
    cell = cell._replace(b=rng.standard_normal(n).astype(dtype))
    return cell, rng


def linearise(cell, h, x):
    """Next states and record of a batch."""
    size = sizes(cell)
    h_next, record = np.empty_like(h), np.empty((len(h), size.record), h.dtype)
    gradcheck.step(cell, h, x, h_next, record)
    return h_next, record


def henon(rng):
    return HenonMap(np.array([1.4]), np.array([0.3]))


@given(tanh_cells())
def test_step_is_the_equation(drawn):
    cell, rng = drawn
    h, x = rng.standard_normal((3, len(cell.b))), rng.standard_normal((3, cell.V.shape[1]))
    expected = np.tanh(h) @ cell.W.T + x @ cell.V.T + cell.b
    np.testing.assert_allclose(linearise(cell, h, x)[0], expected, rtol=1e-13, atol=1e-13)


@given(tanh_cells())
def test_jacobian_against_finite_differences_of_step(drawn):
    cell, rng = drawn
    n = len(cell.b)
    h, x = rng.standard_normal(n), rng.standard_normal(cell.V.shape[1])
    along = rng.standard_normal(n) / np.sqrt(n)
    numeric = derivative(lambda s: linearise(cell, (h + s * along)[None], x[None])[0][0])
    np.testing.assert_allclose(lf.jacobian(cell, h, x) @ along, numeric, atol=1e-10 * max(1, np.abs(cell.W).max()))


@given(tanh_cells(), st.sampled_from([np.float64, np.float32]))
def test_tangent_of_the_identity_is_the_jacobian(drawn, dtype):
    cell, rng = drawn
    cell = lf.TanhRNN(*(a.astype(dtype) for a in cell))
    n = len(cell.b)
    h, x = (rng.standard_normal(s).astype(dtype) for s in (n, cell.V.shape[1]))
    _, record = linearise(cell, h[None], x[None])
    Q_next = np.empty((n, n), dtype)
    gradcheck.tangent(cell, record[0], np.eye(n, dtype=dtype), Q_next, np.empty((n, sizes(cell).tangent_work), dtype))
    scale = np.abs(cell.W).max()
    np.testing.assert_allclose(Q_next.T, lf.jacobian(cell, h, x), rtol=0, atol=4 * np.finfo(dtype).eps * scale)


@given(tanh_cells(), st.integers(1, 4))
def test_adjoint_identities(drawn, k):
    # <J v, w> = <v, J^T w> for step and for tangent, relative to the size of the terms
    cell, rng = drawn
    size = sizes(cell)
    n, B = size.state, 3
    h, x = rng.standard_normal((B, n)), rng.standard_normal((B, size.inputs))
    _, record = linearise(cell, h, x)

    w, h_bar = rng.standard_normal((B, n)), np.empty((B, n))
    gradcheck.step_pullback(cell, record, w, h_bar, np.empty((B, size.step_work)))
    for b in range(B):
        v, Jv = rng.standard_normal((1, n)), np.empty((1, n))
        gradcheck.tangent(cell, record[b], v, Jv, np.empty((1, size.tangent_work)))
        scale = np.abs(v) @ np.abs(lf.jacobian(cell, h[b], x[b])).T @ np.abs(w[b]) + 1e-300
        assert abs(Jv[0] @ w[b] - v[0] @ h_bar[b]) < 1e-12 * scale

    Q, Q_next, Q_next_bar = rng.standard_normal((k, n)), np.empty((k, n)), rng.standard_normal((k, n))
    Q_bar, work, ignored = np.empty((k, n)), np.empty((k, size.tangent_work)), np.zeros(n)
    gradcheck.tangent(cell, record[0], Q, Q_next, work)
    gradcheck.tangent_pullback(cell, record[0], Q, Q_next_bar, Q_bar, ignored, work)
    scale = (np.abs(Q) @ np.abs(lf.jacobian(cell, h[0], x[0])).T * np.abs(Q_next_bar)).sum() + 1e-300
    assert abs((Q_next * Q_next_bar).sum() - (Q * Q_bar).sum()) < 1e-12 * scale


@given(tanh_cells(), st.integers(1, 4))
def test_second_derivatives_in_the_state(drawn, k):
    # h_bar of tangent_pullback is the gradient of <D(h) Q, Q_next_bar> in h, added to what was there
    cell, rng = drawn
    size = sizes(cell)
    n = size.state
    h, x = rng.standard_normal((1, n)), rng.standard_normal((1, size.inputs))
    Q, Q_next_bar, before = rng.standard_normal((k, n)), rng.standard_normal((k, n)), rng.standard_normal(n)
    along = rng.standard_normal(n) / np.sqrt(n)

    def value(s):
        Q_next = np.empty((k, n))
        _, record = linearise(cell, h + s * along, x)
        gradcheck.tangent(cell, record[0], Q, Q_next, np.empty((k, size.tangent_work)))
        return (Q_next * Q_next_bar).sum()

    h_bar = before.copy()
    _, record = linearise(cell, h, x)
    gradcheck.tangent_pullback(
        cell, record[0], Q, Q_next_bar, np.empty((k, n)), h_bar, np.empty((k, size.tangent_work))
    )
    scale = np.abs(cell.W).max() * np.abs(Q).sum() * np.abs(Q_next_bar).max() + 1
    assert abs(derivative(value) - (h_bar - before) @ along) < 1e-10 * scale


@given(st.integers(1, 40), st.integers(0, 5), st.floats(0.0, 50.0), st.sampled_from(["gaussian", "orthogonal"]))
@example(1, 0, 0.0, "orthogonal")
def test_random_weights(n, m, g, weights):
    cell = lf.TanhRNN.random(n, m, rng=np.random.default_rng(0), g=g, weights=weights)
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


def test_orthogonal_weights_are_haar():
    # without the signs fixed the diagonal of Q leans to one side: E tr Q = 0 and E (tr Q)² = 1 under Haar
    rng = np.random.default_rng(0)
    traces = np.array([np.trace(lf.TanhRNN.random(3, 0, rng=rng, weights="orthogonal").W) for _ in range(2000)])
    assert abs(traces.mean()) < 5 / np.sqrt(traces.size)
    assert abs((traces**2).mean() - 1) < 5 * np.sqrt(2 / traces.size)


def test_both_dtypes_draw_the_same_numbers():
    double, single = (lf.TanhRNN.random(5, 2, rng=np.random.default_rng(3), dtype=d) for d in ("float64", "float32"))
    for a, b in zip(double, single):
        assert b.dtype == np.float32
        np.testing.assert_array_equal(a.astype(np.float32), b)


def test_jacobian_of_an_outside_cell():
    D = lf.jacobian(HenonMap(np.array([1.4]), np.array([0.3])), np.array([0.5, 0.1]), np.empty(0))
    np.testing.assert_allclose(D, [[-1.4, 1.0], [0.3, 0.0]])


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
    with pytest.raises(lf.LyapflowError, match="this needs jacobian of LogisticMap"):
        lf.jacobian(LogisticMap(np.array([4.0])), np.zeros(1), np.empty(0))
    with pytest.raises(lf.LyapflowError, match=r"step takes the parameters \(cell, h, x, h_next, record\)"):

        @interface.implement(interface.step, Incomplete)
        def too_short(cell, h):
            pass

    with pytest.raises(lf.LyapflowError, match=r"LogisticMap has its step.*define the class again"):

        @interface.implement(interface.step, LogisticMap)
        def again(cell, h, x, h_next, record):
            pass
