"""Tangents of the input: blocks that move with it, and second-order gradients through them."""

import functools

import numpy as np
import pytest

from lyapflow.cells.interface import (
    accumulate,
    accumulate_driven,
    driven_tangent,
    driven_tangent_pullback,
    input_pullback,
    sizes,
    step,
    step_pullback,
    tangent,
    transposed,
    zeros_like,
)
from lyapflow.testing.kernels import COMPILED
from tests.gradcheck import (
    CELLS,
    COMPOSED,
    DTYPES,
    inner,
    next_state,
    random_cell,
    relative_error,
)

STEPS, VECTORS, UNITS, INPUTS = 2, 3, 5, 2

DRAWN = {kind.__name__: functools.partial(random_cell, kind) for kind in CELLS} | COMPOSED

# test_cells checks the kernels of all cells in float32; composed ones take long to compile
IN_FLOAT32 = "LSTM", "loop gru"

each_cell = pytest.mark.parametrize(
    ("draw", "dtype"),
    [
        pytest.param(draw, dtype, id=f"{name} {dtype.__name__}")
        for name, draw in DRAWN.items()
        for dtype in DTYPES
        if name in IN_FLOAT32 or dtype == np.float64
    ],
)
each_seed = pytest.mark.parametrize("seed", [0, 1])


def drawn(draw, seed, dtype):
    """A cell with h, x, Q and X of a few steps, each from a state of its own, and cotangents of h' and Q'."""
    rng = np.random.default_rng(seed)
    cell = draw(UNITS, INPUTS, rng, g=1.5, dtype=dtype)
    n = sizes(cell).state
    shapes = (STEPS, n), (STEPS, INPUTS), (STEPS, VECTORS, n), (STEPS, VECTORS, INPUTS)
    given = tuple(rng.standard_normal(shape).astype(dtype) for shape in (*shapes, *shapes[::2]))
    return (cell, *given[:4]), given[4:], rng


def forward(cell, h, x, Q, X):
    """Next states, next blocks, and records, by the kernels."""
    size, turned = sizes(cell), transposed(cell)
    h_next, record = np.empty_like(h), np.empty((len(h), size.record), h.dtype)
    COMPILED[step](cell, turned, h, x, h_next, record)
    Q_next, work = np.empty_like(Q), np.empty((VECTORS, size.tangent_work), h.dtype)
    for c in range(len(h)):
        COMPILED[driven_tangent](cell, turned, record[c], Q[c], X[c], Q_next[c], work)
    return h_next, Q_next, record


def backward(at, bars):
    """The gradient of ``⟨h', h_next_bar⟩ + ⟨Q', Q_next_bar⟩`` in cell, h, x, Q and X, by the kernels."""
    (cell, h, x, Q, X), (h_next_bar, Q_next_bar) = at, bars
    size, turned, record = sizes(cell), transposed(cell), forward(*at)[2]
    h_bar, step_work = np.empty_like(h), np.empty((STEPS, size.step_work), h.dtype)
    COMPILED[step_pullback](cell, record, h_next_bar, h_bar, step_work)
    Q_bar, X_bar = np.empty_like(Q), np.empty_like(X)
    work = np.empty((STEPS, VECTORS, size.tangent_work), h.dtype)
    for c in range(STEPS):
        bar, block = Q_next_bar[c], (Q_bar[c], X_bar[c], h_bar[c], step_work[c], work[c])
        COMPILED[driven_tangent_pullback](cell, turned, record[c], Q[c], X[c], bar, *block)
    of_chunk = (a[:, None] for a in (x, h, record, h_next_bar, step_work))
    of_chunk = (*of_chunk, Q, Q_next_bar, work)
    x_bar, gradient = np.empty_like(x), zeros_like(cell)
    COMPILED[input_pullback](cell, *of_chunk, x_bar[:, None])
    COMPILED[accumulate_driven](cell, X, Q_next_bar, work, gradient)
    COMPILED[accumulate](cell, *of_chunk, gradient)
    return gradient, h_bar, x_bar, Q_bar, X_bar


def derivative(cell, h, x, q, X):
    """``D q + E X`` from the equations, by a step into the complex plane."""
    tiny = 1e-30
    return next_state(cell, h + 1j * tiny * q, x + 1j * tiny * X).imag / tiny


@each_cell
@each_seed
def test_a_block_moves_with_state_and_input(draw, dtype, seed):
    (cell, h, x, Q, X), _, _ = drawn(draw, seed, dtype)
    found = forward(cell, h, x, Q, X)[1]
    expected = [[derivative(cell, h[c], x[c], *v) for v in zip(Q[c], X[c])] for c in range(STEPS)]
    np.testing.assert_allclose(found, expected, atol=50 * np.finfo(dtype).eps)


@each_cell
def test_where_the_input_is_still_it_is_the_tangent_to_the_bit(draw, dtype):
    (cell, h, x, Q, X), _, _ = drawn(draw, 0, dtype)
    _, found, record = forward(cell, h, x, Q, 0 * X)
    Q_next, work = np.empty_like(Q[0]), np.empty((VECTORS, sizes(cell).tangent_work), dtype)
    COMPILED[tangent](cell, transposed(cell), record[0], Q[0], Q_next, work)
    np.testing.assert_array_equal(found[0], Q_next)


@pytest.mark.parametrize("kind", ["TanhRNN", "GRU", "loop gru"])
def test_movements_may_be_columns_of_a_wider_array(kind):
    """As the units of the layer below are of its block."""
    (cell, h, x, Q, X), _, _ = drawn(DRAWN[kind], 0, np.float64)
    wide = np.concatenate([X, np.full_like(X, np.nan)], axis=2)
    found = forward(cell, h, x, Q, wide[:, :, :INPUTS])[1]
    np.testing.assert_array_equal(found, forward(cell, h, x, Q, X)[1])


@each_cell
@each_seed
def test_pullback_is_the_adjoint(draw, dtype, seed):
    at, bars, _ = drawn(draw, seed, dtype)
    *_, Q, X = at
    *_, Q_bar, X_bar = backward(at, bars)
    moved = forward(*at)[1]
    assert inner(moved, bars[1]) == pytest.approx(
        inner(Q_bar, Q) + inner(X_bar, X), abs=200 * float(np.finfo(dtype).eps)
    )


@each_cell
@each_seed
def test_second_order_gradient(draw, dtype, seed):
    """In parameters, h, x, Q and X, of next states and blocks, against differences of the equations."""
    at, bars, rng = drawn(draw, seed, dtype)

    def value(at):
        cell, h, x, Q, X = at
        h_next = [next_state(cell, h[c], x[c]) for c in range(STEPS)]
        Q_next = [[derivative(cell, h[c], x[c], *v) for v in zip(Q[c], X[c])] for c in range(STEPS)]
        return sum(inner(np.array(a), bar) for a, bar in zip((h_next, Q_next), bars))

    gradient, exact = backward(at, bars), 1e-9 if dtype == np.float64 else 1e-5
    for _ in range(4):
        assert relative_error(value, gradient, at, rng) < exact
    for part in range(len(at)):  # the few numbers of x and X count little among all

        def of_part(one, part=part):
            return value((*at[:part], one, *at[part + 1 :]))

        assert relative_error(of_part, gradient[part], at[part], rng) < exact
