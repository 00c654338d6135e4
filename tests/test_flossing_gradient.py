"""The flossing gradient against finite differences, 256-bit arithmetic, and exact cases."""

import mpmath
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow._trees import arrays, map_arrays
from lyapflow.cells.interface import sizes
from tests import high_precision
from tests.exact_systems import CatMap, HenonMap
from tests.gradcheck import norm, random_cell, relative_error
from tests.test_cells import each_cell, each_kind

SETTINGS = st.fixed_dictionaries(
    {
        "n": st.integers(1, 7),
        "m": st.integers(0, 3),
        "k": st.integers(1, 7),
        "t_ons": st.integers(1, 4),
        "transient": st.integers(0, 4),
        "q_transient": st.integers(0, 5),
        "counted": st.integers(1, 12),
        "batch": st.sampled_from([None, 1, 3]),
        "one_target": st.booleans(),
        "average": st.sampled_from(["exponents", "loss"]),
        "g": st.floats(0.2, 1.5),
        "seed": st.integers(0, 2**32),
    }
)


def problem(drawn, cell_class=lf.TanhRNN):
    """A random cell, its input, and the options of the call."""
    rng = np.random.default_rng(drawn["seed"])
    cell = random_cell(cell_class, drawn["n"], drawn["m"], rng, drawn["g"])
    if cell_class in (lf.ReluRNN, lf.ElmanReluRNN):
        # most units active, so that there are exponents
        cell = cell._replace(b=np.abs(cell.b) + 1.0)
    n = sizes(cell).state
    k = min(drawn["k"], n)
    steps = drawn["transient"] + drawn["q_transient"] + drawn["counted"]
    batch = () if drawn["batch"] is None else (drawn["batch"],)
    options = {
        "target": 0.3 if drawn["one_target"] else rng.standard_normal(k),
        "h0": rng.standard_normal(n),
        "q0": np.linalg.qr(rng.standard_normal((n, k)))[0],
        **{name: drawn[name] for name in ("t_ons", "transient", "q_transient", "average")},
    }
    return cell, 0.5 * rng.standard_normal((steps, *batch, drawn["m"])), k, options, rng


BASE = {
    "n": 5,
    "m": 2,
    "k": 3,
    "t_ons": 1,
    "transient": 0,
    "q_transient": 0,
    "counted": 10,
    "batch": None,
}
BASE |= {"one_target": True, "g": 1.0, "seed": 0, "average": "exponents"}
EXAMPLES = [
    BASE,
    BASE | {"t_ons": 3, "transient": 2, "q_transient": 4},
    BASE | {"k": 5, "batch": 3, "one_target": False},
    BASE | {"k": 5, "batch": 3, "one_target": False, "average": "loss", "q_transient": 4},
]


def existing(call, k):
    """The result of a call with as many of k exponents as exist; none exist: the case is left out."""
    while True:
        try:
            return call(k), k
        except lf.Diverged as error:
            k = error.rank
            assume(k)


@pytest.mark.filterwarnings("ignore:x is .T, B, m.")  # more trajectories than steps are meant here
@each_cell
@given(data=st.data())
@settings(max_examples=60)
def test_against_finite_differences(cell_class, data):
    drawn = data.draw(st.sampled_from(EXAMPLES) | SETTINGS)
    cell, x, k, options, rng = problem(drawn, cell_class)

    target = np.broadcast_to(options["target"], k)

    def flossing(k, cell=cell, x=x):
        return lf.flossing_value_and_grad(
            cell,
            x,
            k,
            input_gradient=True,
            **options | {"target": target[:k], "q0": options["q0"][:, :k]},
        )

    (loss, gradient, exponents, x_bar), k = existing(flossing, k)
    if options["average"] == "exponents" or (drawn["batch"] or 1) == 1:
        assert loss == pytest.approx(((exponents - target[:k]) ** 2).sum(), rel=1e-12)
    assume(norm(gradient) > 1e-4 * loss)
    # nearly dependent columns bend the loss within any step that rounding allows, and ReLU has
    # kinks
    errors = []
    for distance in (1e-3, 1e-4, 1e-5, 1e-6):
        try:
            errors.append(
                relative_error(
                    lambda moved: flossing(k, *moved)[0],
                    (gradient, x_bar),
                    (cell, x),
                    rng,
                    distance,
                )
            )
        except lf.Diverged:  # a kink with less rank behind it
            continue
    assert min(errors) < 1e-6


@pytest.mark.filterwarnings("ignore:x is .T, B, m.")  # more trajectories than steps are meant here
@each_kind
@given(data=st.data())
@settings(max_examples=30)
def test_float32_against_finite_differences_in_float64(cell_class, data):
    drawn = data.draw(st.sampled_from(EXAMPLES) | SETTINGS)
    cell, x, k, options, rng = problem(drawn, cell_class)
    k = -(-k // 2)  # the last exponents of a saturating network are rounding errors in float32
    options |= {"target": 0.3, "q0": options["q0"][:, :k]}
    single = map_arrays(lambda a: a.astype(np.float32), cell)
    start = {"h0": options["h0"].astype(np.float32), "q0": options["q0"].astype(np.float32)}
    x = x.astype(np.float32)
    at = map_arrays(lambda a: a.astype(float), (single, x))
    options["h0"] = start["h0"].astype(float)
    try:
        loss, gradient, _, x_bar = lf.flossing_value_and_grad(
            single, x, k, input_gradient=True, **options | start
        )
    except lf.Diverged:
        assume(False)
    gradients = gradient, x_bar
    assume(norm(gradients) > 1e-2 * loss)
    assert {a.dtype for a in arrays(gradients)} == {np.dtype(np.float32)}

    def value(moved):
        return lf.flossing_value_and_grad(*moved, k, **options)[0]

    assert value(at) == pytest.approx(loss, rel=1e-3, abs=1e-6)
    assert (
        min(relative_error(value, gradients, at, rng, distance) for distance in (1e-3, 1e-5, 1e-6))
        < 1e-2
    )


@given(SETTINGS)
@example(BASE)
@example(BASE | {"t_ons": 3, "transient": 2, "q_transient": 4})
@settings(max_examples=10)
def test_against_256_bits(drawn):
    drawn = drawn | {
        "n": min(drawn["n"], 3),
        "m": min(drawn["m"], 1),
        "counted": min(drawn["counted"], 5),
        "batch": None,
    }
    cell, x, k, options, _ = problem(drawn)
    target = np.broadcast_to(options["target"], (k,))
    _, gradient, _ = lf.flossing_value_and_grad(cell, x, k, **options)
    with mpmath.workprec(high_precision.PRECISION):
        driven = [high_precision.matrix(row[:, None]) if row.size else None for row in x]
        h0, q0 = high_precision.matrix(options["h0"][:, None]), high_precision.matrix(options["q0"])
        timing = (options["t_ons"], options["transient"], options["q_transient"])

        def value(W, V, b):
            found = high_precision.mean_log_R(W, V, b, driven, h0, q0, *timing)
            return sum((a - mpmath.mpf(float(t))) ** 2 for a, t in zip(found, target))

        exact = high_precision.gradients(value, list(cell))
    scale = norm(gradient)
    for name, a, b in zip(cell._fields, gradient, exact):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * scale, err_msg=name)


@pytest.mark.parametrize("cell_class", [lf.TanhRNN, lf.GRU])
def test_the_gradient_in_the_input_does_not_depend_on_memory_and_members(cell_class):
    rng = np.random.default_rng(0)
    cells = [random_cell(cell_class, 5, 2, rng) for _ in range(2)]
    x = rng.standard_normal((2, 90, 3, 2))
    options = {"transient": 3, "q_transient": 4, "input_gradient": True}
    whole = lf.flossing_value_and_grad(cells[0], x[0], 3, **options)
    assert whole[3].shape == x[0].shape
    pieces = lf.flossing_value_and_grad(cells[0], x[0], 3, memory=0.0, **options)
    np.testing.assert_array_equal(pieces[3], whole[3])
    members = lf.flossing_value_and_grad(lf.stack(cells), x, 3, **options)
    np.testing.assert_array_equal(members[3][0], whole[3])
    # of one trajectory, of a cell without inputs, and of what has no exponents
    assert lf.flossing_value_and_grad(cells[0], x[0, :, 0], 3, **options)[3].shape == (90, 2)
    alone = cells[0]._replace(V=np.empty((*cells[0].V.shape[:-1], 0)))
    assert lf.flossing_value_and_grad(alone, k=3, steps=90, **options)[3].shape == (90, 0)
    lost = lf.stack([cells[0], map_arrays(np.zeros_like, cells[1])])
    if cell_class is lf.TanhRNN:
        assert np.isnan(lf.flossing_value_and_grad(lost, x, 3, **options)[3][1]).all()


def test_a_target_that_is_met_has_no_gradient():
    rng = np.random.default_rng(0)
    cell, x = lf.TanhRNN.random(5, 1, rng=rng), rng.standard_normal((20, 1))
    exponents = lf.lyapunov_spectrum(cell, x, 3).exponents
    loss, gradient, _ = lf.flossing_value_and_grad(cell, x, 3, target=exponents)
    assert loss < 1e-25
    assert norm(gradient) < 1e-12


def test_linear_regime_in_closed_form():
    # at the fixed point h = 0 of an autonomous network λ_1 = ln |w| for n = 1, so dL/dw = 2 ln|w| /
    # w
    cell = lf.TanhRNN(np.array([[0.5]]), np.empty((1, 0)), np.zeros(1))
    loss, gradient, exponents = lf.flossing_value_and_grad(cell, np.empty((50, 0)), 1)
    assert exponents[0] == pytest.approx(np.log(0.5))
    assert loss == pytest.approx(np.log(0.5) ** 2)
    assert gradient.W[0, 0] == pytest.approx(2 * np.log(0.5) / 0.5)


def test_outside_cells():
    henon, steps = HenonMap(np.array([1.2]), np.array([0.3])), np.empty((20, 0))
    cat = CatMap(np.array([[2.0, 1.0], [1.0, 1.0]]))
    for cell, k, h0 in (
        (henon, 2, np.array([0.1, 0.2])),
        (cat, 1, np.array([0.4, 0.3])),
        (henon, 1, None),
    ):
        steps = np.empty((6 if cell is cat else 20, 0))

        def value(c, k=k, h0=h0, steps=steps):
            return lf.flossing_value_and_grad(c, steps, k, h0=h0, t_ons=2, q_transient=3)[0]

        gradient = lf.flossing_value_and_grad(cell, steps, k, h0=h0, t_ons=2, q_transient=3)[1]
        assert type(gradient) is type(cell)
        assert relative_error(value, gradient, cell, np.random.default_rng(0), 1e-6) < 1e-6


def test_a_batch_averages_exponents_before_the_loss():
    rng = np.random.default_rng(0)
    cell, x = lf.TanhRNN.random(6, 1, rng=rng), rng.standard_normal((25, 3, 1))
    h0 = rng.standard_normal((3, 6))
    _, _, together = lf.flossing_value_and_grad(cell, x, 4, h0=h0)
    alone = [lf.lyapunov_spectrum(cell, x[:, b], 4, h0=h0[b]).exponents for b in range(3)]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-14)


@each_kind
@pytest.mark.parametrize("memory", [256e6, 0.0])
def test_averaging_the_loss_is_the_mean_of_single_trajectories(cell_class, memory):
    rng = np.random.default_rng(0)
    cell, x = random_cell(cell_class, 6, 2, rng), 0.5 * rng.standard_normal((25, 3, 2))
    if cell_class in (lf.ReluRNN, lf.ElmanReluRNN):
        # most units active, so that there are exponents
        cell = cell._replace(b=np.abs(cell.b) + 1.0)
    h0 = np.abs(rng.standard_normal((3, sizes(cell).state)))
    options = {"target": np.array([0.1, -0.4]), "q_transient": 5, "memory": memory}
    loss, gradient, exponents = lf.flossing_value_and_grad(
        cell, x, 2, h0=h0, average="loss", **options
    )
    alone = [lf.flossing_value_and_grad(cell, x[:, b], 2, h0=h0[b], **options) for b in range(3)]
    assert loss == pytest.approx(np.mean([found[0] for found in alone]), rel=1e-12)
    np.testing.assert_allclose(
        exponents, np.mean([found[2] for found in alone], axis=0), atol=1e-14
    )
    for name, array in zip(cell._fields, gradient):
        parts = [getattr(found[1], name) for found in alone]
        np.testing.assert_allclose(
            array, np.mean(parts, axis=0), rtol=0, atol=1e-12 * np.abs(parts).max()
        )
    # larger than the loss of the mean by the variance over the trajectories
    other = lf.flossing_value_and_grad(cell, x, 2, h0=h0, **options)[0]
    assert loss - other == pytest.approx(
        np.var([found[2] for found in alone], axis=0).sum(), rel=1e-9
    )
