"""Task gradients against finite differences, 256-bit arithmetic, and NumPy's formulas."""

from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow._engine import pool, scratch
from lyapflow._trees import arrays, map_arrays, named_arrays
from lyapflow.cells.interface import sizes
from lyapflow.learning.bptt import bptt, piece_length
from tests import high_precision
from tests.gradcheck import CELLS, DTYPES, norm, relative_error

SETTINGS = st.fixed_dictionaries(
    {
        "n": st.integers(1, 7),
        "m": st.integers(0, 3),
        "o": st.integers(1, 3),
        "T": st.integers(1, 40),
        "batch": st.integers(1, 20),
        "first": st.integers(0, 39),
        "loss": st.sampled_from(["cross_entropy", "mse"]),
        "g": st.floats(0.2, 1.5),
        "seed": st.integers(0, 2**32),
    }
)
BASE = {
    "n": 4,
    "m": 2,
    "o": 2,
    "T": 30,
    "batch": 20,
    "first": 3,
    "loss": "mse",
    "g": 1.0,
    "seed": 0,
}


def problem(drawn, cell_class=lf.TanhRNN):
    rng = np.random.default_rng(drawn["seed"])
    cell = cell_class.random(drawn["n"], drawn["m"], rng=rng, g=drawn["g"])
    model = lf.Model.random(cell, drawn["o"], rng=rng)
    model = map_arrays(lambda a: a + 0.3 * rng.standard_normal(a.shape), model)
    if "leak" in cell._fields:
        leak = rng.uniform(0.3, 0.9, len(cell.leak))
        model = model._replace(cell=model.cell._replace(leak=leak))
    x = rng.standard_normal((drawn["T"], drawn["batch"], drawn["m"]))
    y = rng.random((drawn["T"], drawn["batch"], drawn["o"]))
    return model, x, y, {"first": min(drawn["first"], drawn["T"] - 1), "loss": drawn["loss"]}, rng


EXAMPLES = [BASE, BASE | {"loss": "cross_entropy"}]


# float32 takes the same source, and long to compile: a few kinds of cells
IN_FLOAT32 = (lf.TanhRNN, lf.ElmanRNN, lf.LSTM, lf.GRU)


@pytest.mark.parametrize(
    ("cell_class", "dtype"),
    [(of, dtype) for of in CELLS for dtype in DTYPES if of in IN_FLOAT32 or dtype == np.float64],
)
@given(data=st.data())
def test_against_finite_differences(cell_class, dtype, data):
    # the gradient in either dtype against differences in float64, at the same numbers
    drawn = data.draw(st.sampled_from(EXAMPLES) | SETTINGS)
    model, x, y, options, rng = problem(drawn, cell_class)
    if cell_class in (lf.LinearRNN, lf.ReluRNN, lf.ElmanReluRNN):  # states must not explode
        model = model._replace(
            cell=model.cell._replace(W=model.cell.W / (1 + np.linalg.norm(model.cell.W, 2)))
        )
    given_model = map_arrays(lambda a: a.astype(dtype), model)
    model = map_arrays(lambda a: a.astype(float), given_model)
    x, y = x.astype(dtype), y.astype(dtype)
    _, *gradients = lf.bptt_value_and_grad(given_model, x, y, input_gradient=True, **options)
    gradients = tuple(gradients)
    assert {a.dtype for a in arrays(gradients)} == {np.dtype(dtype)}
    assume(norm(gradients) > 1e-4)

    def value(moved):
        return lf.bptt_value_and_grad(*moved, y.astype(float), **options)[0]

    # ReLU has kinks
    errors = [
        relative_error(value, gradients, (model, x.astype(float)), rng, distance)
        for distance in (1e-3, 1e-4, 1e-5, 1e-6)
    ]
    assert min(errors) < (1e-6 if dtype is np.float64 else 1e-3)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_every_array_against_256_bits(loss):
    model, x, y, options, _ = problem(BASE | {"n": 3, "T": 5, "batch": 2, "first": 1, "loss": loss})
    value, gradient = lf.bptt_value_and_grad(model, x, y, **options)
    with mpmath.workprec(high_precision.PRECISION):
        columns_x, columns_y = (
            [[high_precision.matrix(v[:, None]) for v in step] for step in a] for a in (x, y)
        )

        def exact_loss(W, V, b, W_out, b_out, h0):
            return high_precision.task_loss(
                W, V, b, W_out, b_out, h0, columns_x, columns_y, options["first"], loss
            )

        exact = high_precision.gradients(exact_loss, arrays(model))
        at = float(
            exact_loss(
                *(high_precision.matrix(a if a.ndim == 2 else a[:, None]) for a in arrays(model))
            )
        )
    assert value == pytest.approx(at, rel=1e-14)
    for (name, a), b in zip(named_arrays(gradient), exact):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13, err_msg=name)


def test_large_logits_neither_overflow_nor_lose_their_gradient():
    cell = lf.TanhRNN(np.zeros((1, 1)), np.eye(1), np.zeros(1))
    model = lf.Model(cell, np.array([[1000.0]]), np.zeros(1), np.zeros(1))
    x, y = np.array([1.0, -1.0]).reshape(1, 2, 1), np.array([0.0, 1.0]).reshape(1, 2, 1)
    loss, gradient = lf.bptt_value_and_grad(model, x, y)
    assert loss == 1000.0
    assert gradient.b_out[0] == 0.0
    assert gradient.W_out[0, 0] == pytest.approx(1.0)


def test_steps_before_the_first_scored_one_are_not_read():
    model, x, y, _, _ = problem(BASE)
    a = lf.bptt_value_and_grad(model, x, y, first=10, loss="mse")
    y[:10] = 99.0
    b = lf.bptt_value_and_grad(model, x, y, first=10, loss="mse")
    assert a[0] == b[0]
    for p, q in zip(arrays(a[1]), arrays(b[1])):
        np.testing.assert_array_equal(p, q)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr("lyapflow.learning.bptt.FLOPS_WORTH_A_THREAD", 1.0)


@pytest.mark.parametrize("cell_class", [lf.TanhRNN, lf.LSTM])
def test_a_batch_in_pieces_is_one_batch(cell_class, small_pieces, monkeypatch):
    model, x, y, options, _ = problem(BASE | {"batch": 37, "T": 120}, cell_class)
    assert piece_length(4, *x.shape[:2]) == 10  # four pieces, the last of seven sequences
    size = sizes(model.cell)
    results = []
    for threads in (1, 2, 3, 4):
        monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", threads)
        results.append(bptt(model, size, x, y, options["first"], "mse", input_gradient=True))
    monkeypatch.setattr(
        "lyapflow.learning.sequences.steps_per_segment", lambda *_: 1
    )  # back to Python as often as can be
    results.append(bptt(model, size, x, y, options["first"], "mse", input_gradient=True))
    value, gradient, outputs, x_bar = results[0]
    for again in results[1:]:
        assert again[0] == value
        for a, b in zip((*arrays(again[1]), *again[2:]), (*arrays(gradient), outputs, x_bar)):
            np.testing.assert_array_equal(a, b)
    states = lf.trajectory(model.cell, x, h0=model.h0)[options["first"] :]
    states = states[..., : size.units]
    np.testing.assert_allclose(outputs, states @ model.W_out.T + model.b_out, atol=1e-13)
    options["input_gradient"] = True
    values, gradients, x_bars = zip(
        *(lf.bptt_value_and_grad(model, x[:, [b]], y[:, [b]], **options) for b in range(37))
    )
    np.testing.assert_allclose(x_bar, np.concatenate(x_bars, axis=1) / 37, atol=1e-15)
    assert value == pytest.approx(np.mean(values), rel=1e-13)
    for a, *parts in zip(arrays(gradient), *map(arrays, gradients)):
        np.testing.assert_allclose(a, np.mean(parts, axis=0), atol=1e-14)


@pytest.mark.parametrize("member", [3, 20])
def test_what_diverges_is_named_by_its_place_in_the_batch(member, small_pieces):
    cell = lf.LinearRNN(np.eye(1), np.eye(1), np.zeros(1))
    model = lf.Model(cell, np.eye(1), np.zeros(1), np.zeros(1))
    x, y = np.zeros((5, 21, 1)), np.zeros((5, 21, 1))
    x[1, member] = 1e308
    x[2, member] = 1e308
    with pytest.raises(lf.Diverged, match="state stopped being finite at step 2") as caught:
        lf.bptt_value_and_grad(model, x, y)
    assert (caught.value.step, caught.value.member) == (2, member)
    x[1:, member] = np.array([1e200, 0.0, 0.0, 0.0])[:, None]
    with pytest.raises(lf.Diverged, match="task loss stopped being finite at step 1") as caught:
        lf.bptt_value_and_grad(model, x, y, loss="mse")
    assert (caught.value.step, caught.value.member) == (1, member)
    x[:], y[4, member] = 0.0, 1e120
    growing = model._replace(cell=cell._replace(W=np.full((1, 1), 1e200)))
    with pytest.raises(lf.Diverged, match="gradient stopped being finite at step 4") as caught:
        lf.bptt_value_and_grad(growing, x, y, loss="mse")
    assert (caught.value.step, caught.value.member) == (4, member)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_of_several_pieces_that_fail_the_first_is_named(threads, small_pieces, monkeypatch):
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", threads)
    cell = lf.LinearRNN(np.eye(1), np.eye(1), np.zeros(1))
    model = lf.Model(cell, np.eye(1), np.zeros(1), np.zeros(1))
    x, y = np.zeros((5, 30, 1)), np.zeros((5, 30, 1))  # three pieces
    x[:2, 25] = 1e308  # a state, at step 1
    x[3, 12] = 1e200  # a loss, at step 3
    for steps, step, member in ((5, 3, 12), (3, 1, 25)):
        with pytest.raises(lf.Diverged) as caught:
            lf.bptt_value_and_grad(model, x[:steps], y[:steps], loss="mse")
        assert (caught.value.step, caught.value.member) == (step, member)


def test_memory_that_a_thread_keeps_is_in_no_result(monkeypatch):
    model, x, y, options, _ = problem(BASE)
    for kept in (scratch.KEPT_BYTES, 1000):  # beyond which nothing is kept
        monkeypatch.setattr(scratch, "KEPT_BYTES", kept)
        size = sizes(model.cell)
        value, gradient, outputs, _ = bptt(model, size, x, y, 0, "mse")
        before = [a.copy() for a in (*arrays(gradient), outputs)]
        lf.bptt_value_and_grad(model, 9 * x, 9 * y, **options)
        lf.bptt_value_and_grad(model, x[:9, :3], y[:9, :3], **options)
        for a, b in zip((*arrays(gradient), outputs), before):
            np.testing.assert_array_equal(a, b)
        again = bptt(model, size, x, y, 0, "mse")
        assert again[0] == value
        for a, b in zip((*arrays(again[1]), again[2]), before):
            np.testing.assert_array_equal(a, b)


def test_a_thread_keeps_its_memory_and_nobody_elses():
    mine = scratch.scratch("test", (3, 4), np.dtype(np.float32))
    assert mine.shape == (3, 4) and mine.dtype == np.float32
    assert np.shares_memory(mine, scratch.scratch("test", (2, 2), np.dtype(float)))
    with ThreadPoolExecutor(1) as executor:
        other = executor.submit(scratch.scratch, "test", (3, 4), np.dtype(np.float32)).result()
    assert not np.shares_memory(mine, other)
    large = (scratch.KEPT_BYTES * pool.threads() - 40) // 8  # with the first one it is too much
    assert not np.shares_memory(
        *(scratch.scratch("large", (large,), np.dtype(float)) for _ in range(2))
    )
