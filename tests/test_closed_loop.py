"""Networks that are fed what they say: against the open loop, equations, differences, and high precision."""

from typing import NamedTuple

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._trees import map_arrays
from lyapflow.cells.closed_loop import fed_back
from lyapflow.cells.interface import Sizes, implement, sizes, step, tangent
from lyapflow.lyapunov.problem import default_block
from lyapflow.precision.arithmetic import Floats
from lyapflow.precision.cells import exact_cell
from lyapflow.precision.spectrum import exponents
from tests.gradcheck import CELLS, random_cell, relative_error


class Bare(NamedTuple):
    """A cell of somebody's own without the tangent of its input: h' = a h + x'."""

    a: np.ndarray


@sizes.register
def _(cell: Bare) -> Sizes:
    return Sizes(1, 1, 1, 0, 0, 0, {"a": (1, 1)})


@implement(step, Bare)
def bare_step(cell, turned, h, x, h_next, record):
    for i in range(len(h)):
        h_next[i, 0] = cell.a[0, 0] * h[i, 0] + x[i, 0]


@implement(tangent, Bare)
def bare_tangent(cell, turned, record, Q, Q_next, work):
    for j in range(len(Q)):
        Q_next[j, 0] = cell.a[0, 0] * Q[j, 0]


short_runs = pytest.mark.filterwarnings("ignore:.*growth rates stay")
UNITS, OUTPUTS, EXTERNAL = 5, 2, 1
LAYERS = (lf.LSTM, lf.ElmanRNN)
# the cells whose V W_out adds to W, and some of those that keep it
ABSORBING = (lf.LinearRNN, lf.ElmanRNN, lf.ElmanReluRNN, lf.LSTM)
KEPT = {"GRU": (lf.GRU,), "layers": LAYERS}


def random_model(kinds, seed=0, dtype=np.float64, external=0):
    """Of a cell, or of layers of 5 and 4 units."""
    rng = np.random.default_rng(seed)
    inputs = (OUTPUTS + external, 5)
    found = [
        random_cell(kind, UNITS - i, inputs[i], rng, 1.2, dtype) for i, kind in enumerate(kinds)
    ]
    cell = lf.layers(*found) if len(kinds) > 1 else found[0]
    model = lf.Model.random(cell, OUTPUTS, rng=rng)
    h0 = 0.3 * rng.standard_normal(model.h0.shape)
    b_out = rng.standard_normal(OUTPUTS)
    return map_arrays(lambda a: a.astype(dtype), model._replace(h0=h0, b_out=b_out))


def run_open(model, steps, e):
    """Step by step, by the Model alone: states, and what it said before each."""
    h, said = model.h0, None
    states = []
    for t in range(steps):
        top = model.cell.layers[-1] if isinstance(model.cell, lf.Layers) else model.cell
        shown = h[len(h) - sizes(top).state :][: sizes(top).units]
        said = model.W_out @ shown + model.b_out
        h = lf.trajectory(model.cell, np.concatenate([said, e[t]])[None], h)[0]
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize("external", [0, EXTERNAL])
@pytest.mark.parametrize("kinds", [*((kind,) for kind in CELLS), LAYERS], ids=str)
def test_states_are_those_of_the_open_loop_that_is_told_what_it_said(kinds, external):
    model = random_model(kinds, external=external)
    e = np.random.default_rng(1).standard_normal((12, external))
    loop = lf.closed_loop(model, external=external)
    assert sizes(loop).inputs == external
    if kinds[0] in ABSORBING and len(kinds) == 1:
        assert type(loop) is kinds[0]
    states = lf.trajectory(loop, e if external else None, model.h0, steps=None if external else 12)
    np.testing.assert_allclose(states, run_open(model, 12, e), rtol=1e-9, atol=1e-12)


def short_loop(kinds, seed=0, dtype=np.float64, external=EXTERNAL):
    """A loop, an input and a state from which to go on."""
    model = random_model(kinds, seed, dtype, external)
    e = np.random.default_rng(seed).standard_normal((14, 2, external)).astype(dtype)
    return lf.closed_loop(model, external=external), e, model.h0


@short_runs
@pytest.mark.parametrize("kinds", KEPT.values(), ids=KEPT)
def test_exponents_in_high_precision(kinds):
    loop, e, h0 = short_loop(kinds)
    found = lf.lyapunov_spectrum(loop, e[:, 0], h0=h0)
    k = sizes(loop).state
    a = Floats()
    with a.precision(256):
        within = exact_cell(a, loop)
        expected = exponents(a, within, e[:, 0], h0, default_block(k, k, h0.dtype).T)
    np.testing.assert_allclose(found.exponents, np.array(expected, float), atol=1e-9)


@short_runs
@pytest.mark.parametrize("kinds", [(kind,) for kind in ABSORBING], ids=str)
def test_what_is_absorbed_has_the_exponents_of_what_is_fed_back(kinds):
    model = random_model(kinds, external=EXTERNAL)
    e = np.random.default_rng(0).standard_normal((300, EXTERNAL))
    kept = fed_back(model.cell, model.W_out, model.b_out)
    found = lf.lyapunov_spectrum(kept, e, h0=model.h0)
    absorbed = lf.lyapunov_spectrum(lf.closed_loop(model, external=EXTERNAL), e, h0=model.h0)
    np.testing.assert_allclose(found.exponents, absorbed.exponents, atol=1e-9)


@pytest.mark.parametrize("kinds", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize(
    "options",
    [{}, {"t_ons": 3, "transient": 2, "q_transient": 4, "average": "loss", "memory": 0.0}],
    ids=["plain", "pieces"],
)
def test_flossing_against_finite_differences(kinds, options):
    loop, e, h0 = short_loop(kinds)
    rng = np.random.default_rng(2)
    found = lf.flossing_value_and_grad(loop, e, 4, h0=h0, input_gradient=True, **options)
    gradients = found[1], found[3]

    def value(moved):
        return lf.flossing_value_and_grad(*moved, 4, h0=h0, **options)[0]

    errors = [relative_error(value, gradients, (loop, e), rng, d) for d in (1e-3, 1e-4, 1e-5)]
    assert min(errors) < 1e-8


def test_task_gradients_against_finite_differences():
    loop, e, h0 = short_loop(KEPT["GRU"])
    rng = np.random.default_rng(3)
    model = lf.Model.random(loop, 2, rng=rng)._replace(h0=h0)
    y = rng.random((14, 2, 2))
    _, *gradients = lf.bptt_value_and_grad(model, e, y, first=4, input_gradient=True)

    def value(moved):
        return lf.bptt_value_and_grad(*moved, y, first=4)[0]

    errors = [
        relative_error(value, tuple(gradients), (model, e), rng, d) for d in (1e-3, 1e-4, 1e-5)
    ]
    assert min(errors) < 1e-7


@pytest.mark.parametrize("kinds", KEPT.values(), ids=KEPT)
def test_jacobian_and_condition_number(kinds):
    loop, e, h0 = short_loop(kinds)
    n, distance = len(h0), 1e-6
    D = lf.jacobian(loop, h0, e[0, 0])
    columns = [
        lf.trajectory(loop, e[:1, 0], h0 + distance * unit)[0]
        - lf.trajectory(loop, e[:1, 0], h0 - distance * unit)[0]
        for unit in np.eye(n)
    ]
    np.testing.assert_allclose(D, np.array(columns).T / (2 * distance), atol=1e-8)
    T = np.eye(n)
    for h, driven in zip(np.vstack([h0, lf.trajectory(loop, e[:2, 0], h0)]), e[:2, 0]):
        T = lf.jacobian(loop, h, driven) @ T
    found = lf.condition_number(loop, e[:2, 0], steps=2, h0=h0)
    assert found.exact_jacobians
    sigma = np.linalg.svd(T, compute_uv=False)
    large = sigma > 1e-6 * sigma[0]
    np.testing.assert_allclose(found.log_singular_values[large], np.log(sigma[large]), atol=1e-8)


@short_runs
@pytest.mark.parametrize("kinds", KEPT.values(), ids=KEPT)
def test_files_and_members(kinds, tmp_path):
    models = [random_model(kinds, seed, external=EXTERNAL) for seed in range(2)]
    loops = lf.closed_loop(lf.stack(models), external=EXTERNAL)
    alone = [lf.closed_loop(model, external=EXTERNAL) for model in models]
    for saved in (loops, alone[0], lf.Model.random(alone[0], 1, rng=np.random.default_rng(0))):
        lf.save(tmp_path / "w", saved)
        assert lf.digest(lf.load(tmp_path / "w")) == lf.digest(saved)
    e = np.random.default_rng(0).standard_normal((2, 40, EXTERNAL))
    found = lf.lyapunov_spectrum(loops, e)
    for r, loop in enumerate(alone):
        assert lf.digest(loops[r]) == lf.digest(loop)
        expected = lf.lyapunov_spectrum(loop, e[r])
        np.testing.assert_array_equal(found.exponents[r], expected.exponents)


def test_a_closed_loop_is_flossed_and_says_what_its_model_says():
    model = random_model(KEPT["GRU"])
    loop = lf.closed_loop(model)
    flossed, history = lf.floss(
        loop, lambda epoch: np.empty((30, 0)), k=2, epochs=40, optimizer=lf.Adam(1e-2)
    )
    assert history["loss"][-1] < history["loss"][0]
    assert (flossed.W_out != loop.W_out).any() and (flossed.cell.W != loop.cell.W).any()
    said = lf.outputs(model._replace(cell=loop), steps=3)
    told = np.vstack([model.W_out @ model.h0 + model.b_out, said[:-1]])
    np.testing.assert_allclose(lf.outputs(model, told), said, rtol=1e-12)


def test_recommended_settings_are_those_of_the_cell_within():
    model = random_model(KEPT["GRU"])
    assert lf.recommended(lf.closed_loop(model)) == lf.recommended(model.cell)
    of_layers = lf.recommended(lf.closed_loop(random_model(KEPT["layers"])), floss=True)
    assert isinstance(of_layers["flossing"].k, int)  # of all layers, which are one cell


def test_bad_input():
    model = random_model(KEPT["GRU"], external=1)
    cases = {
        r"the Model has 2 outputs, its GRU takes 3 inputs, 0 of them external": lambda: (
            lf.closed_loop(model)
        ),
        "external must be an integer": lambda: lf.closed_loop(model, external=0.5),
        "model must be a lyapflow.Model, got GRU": lambda: lf.closed_loop(model.cell),
        r"SpectralRadius needs .*this ClosedLoop has cell.W \(3, 5, 5\), ": lambda: (
            lf.penalties.SpectralRadius().value_and_grad(lf.closed_loop(model, external=1))
        ),
        "steps is for cells without inputs": lambda: lf.lyapunov_spectrum(
            lf.closed_loop(model, external=1), steps=10
        ),
        "needs driven_tangent of Bare, which has none": lambda: lf.lyapunov_spectrum(
            lf.closed_loop(
                lf.Model(Bare(np.ones((1, 1))), np.ones((1, 1)), np.ones(1), np.ones(1))
            ),
            steps=10,
        ),
    }
    for message, call in cases.items():
        with pytest.raises(lf.LyapflowError, match=message):
            call()
