"""Oracles shared by the gradient tests: random cells, their equations, differences along random directions."""

import functools

import numpy as np
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow import testing
from lyapflow._trees import arrays, like
from lyapflow.cells.closed_loop import ClosedLoop, fed_back
from lyapflow.cells.interface import sizes
from lyapflow.cells.joint import Joint, joint
from lyapflow.cells.layers import Layers
from lyapflow.cells.registry import CLASSES
from lyapflow.testing.differences import central
from lyapflow.testing.strategies import GAINS

CELLS = tuple(CLASSES.values())
DTYPES = (np.float64, np.float32)


def random_cell(cell_class, n, m, rng, g=1.0, dtype=np.float64):
    """A random cell of which neither the biases nor the forget gate's weights are zero, and leaks differ."""
    cell = cell_class.random(n, m, rng=rng, g=g)
    if cell_class is lf.LSTM:
        cell.W[1] = g * rng.standard_normal((n, n)) / np.sqrt(n)
    if "leak" in cell._fields:
        cell = cell._replace(leak=rng.uniform(0.3, 1.0, n))
    biases = [name for name in cell._fields if name.startswith("b")]
    cell = cell._replace(
        **{name: 0.5 * rng.standard_normal(getattr(cell, name).shape) for name in biases}
    )
    return cell_class(*(a.astype(dtype) for a in cell))


def random_joint(kinds, n, m, rng, g=1.0, dtype=np.float64):
    """Layers of n units and fewer as one cell."""
    inputs = (m, *range(n, 0, -1))
    return joint(
        Layers(
            tuple(
                random_cell(kind, n - i, inputs[i], rng, g, dtype) for i, kind in enumerate(kinds)
            )
        )
    )


def random_loop(kinds, n, m, rng, g=1.0, dtype=np.float64):
    """A cell, or layers, that is fed two outputs of its own and m inputs from outside."""
    cell = random_joint(kinds, n, m + 2, rng, g, dtype)
    units = n - len(kinds) + 1
    W_out, b_out = rng.standard_normal((2, units)), rng.standard_normal(2)
    return fed_back(cell, W_out.astype(dtype), b_out.astype(dtype))


# cells made of cells: the function that draws one
COMPOSED = {
    "loop gru": functools.partial(random_loop, (lf.GRU,)),
    "loop of three": functools.partial(random_loop, (lf.TanhRNN,) * 3),
}


def cells(cell_class, dtype=np.float64, gains=GAINS):
    """A strategy: a cell of `random_cell`, and a generator for what goes with it."""
    drawn = testing.cells(
        cell_class, dtype=dtype, gains=gains, make=functools.partial(random_cell, cell_class)
    )
    return st.tuples(drawn, st.integers(0, 2**32).map(np.random.default_rng))


def sigma(a, xp=np):
    return 0.5 * (1 + xp.tanh(a / 2))


def next_state(cell, h, x, xp=np):
    """One step from the equations, in NumPy or jax.numpy: h (n_state,), x (m,)."""
    match cell:
        case lf.TanhRNN(W, V, b):
            return W @ xp.tanh(h) + V @ x + b
        case lf.ReluRNN(W, V, b):
            return W @ xp.maximum(h, 0) + V @ x + b
        case lf.LinearRNN(W, V, b):
            return W @ h + V @ x + b
        case lf.LSTM(W, V, b):
            h, c = xp.split(h, 2)
            i, f, g, o = W @ h + V @ x + b
            c = sigma(f, xp) * c + sigma(i, xp) * xp.tanh(g)
            return xp.concatenate([sigma(o, xp) * xp.tanh(c), c])
        case lf.RateRNN(W, V, b, leak):
            return (1 - leak) * h + leak * (W @ xp.tanh(h) + V @ x + b)
        case lf.ElmanRNN(W, V, b, leak):
            return (1 - leak) * h + leak * xp.tanh(W @ h + V @ x + b)
        case lf.ElmanReluRNN(W, V, b, leak):
            return (1 - leak) * h + leak * xp.maximum(W @ h + V @ x + b, 0)
        case lf.GRUResetBefore(W, V, b):
            r, z = sigma(W[:2] @ h + V[:2] @ x + b[:2], xp)
            return (1 - z) * xp.tanh(W[2] @ (r * h) + V[2] @ x + b[2]) + z * h
        case Layers():
            return next_state(joint(cell), h, x, xp)
        case Joint(lower, upper):
            below, above = xp.split(h, [sizes(lower).state])
            below = next_state(lower, below, x, xp)
            shown = units_of(lower, below)
            return xp.concatenate([below, next_state(upper, above, shown, xp)])
        case ClosedLoop(within, W_out, b_out):
            said = W_out @ units_of(within, h) + b_out
            return next_state(within, h, xp.concatenate([said, x]), xp)
        case lf.GRU(W, V, b, b_n):
            r, z = sigma(W[:2] @ h + V[:2] @ x + b[:2], xp)
            n = xp.tanh(V[2] @ x + b[2] + r * (W[2] @ h + b_n))
            return (1 - z) * n + z * h


def units_of(cell, h):
    """What a cell shows of its state, the topmost of layers."""
    if isinstance(cell, Layers):
        return units_of(joint(cell), h)
    if isinstance(cell, Joint):
        return h[sizes(cell.lower).state :][: sizes(cell.upper).units]
    return h[: sizes(cell).units]


def direction(tree, rng):
    """A random direction of unit length, as a tree of the same class."""
    parts = [rng.standard_normal(a.shape) for a in arrays(tree)]
    length = np.sqrt(sum((p**2).sum() for p in parts))
    return like(tree, iter([p / length for p in parts]))


def moved(tree, along, distance):
    return like(tree, iter([a + distance * d for a, d in zip(arrays(tree), arrays(along))]))


def inner(a, b):
    return sum(float((x * y).sum()) for x, y in zip(arrays(a), arrays(b)))


def norm(tree):
    return np.sqrt(inner(tree, tree))


def relative_error(value, gradient, tree, rng, distance=1e-3):
    """Error of the gradient along a random direction, relative to the gradient's norm."""
    along = direction(tree, rng)
    numeric = central(lambda s: value(moved(tree, along, s)), distance)
    return abs(numeric - inner(gradient, along)) / norm(gradient)
