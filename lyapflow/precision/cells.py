"""Each cell's step and Jacobian from its equations, in any arithmetic.

`move` takes a state and tangent vectors, columns of a matrix T, one step on: ``h' = f(h, x)`` and
``T' = D(h) T``; where the input moves, too, by columns X, ``T' = D(h) T + ∂f/∂x X``. The weights,
which have few digits, multiply state and tangent vectors together.
Numbers are compared by the arithmetic's `not_negative` alone, since residues
(`lyapflow.precision.residues`) have no order."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from lyapflow.cells.closed_loop import ClosedLoop
from lyapflow.cells.elman import ElmanReluRNN, ElmanRNN
from lyapflow.cells.gru import GRU
from lyapflow.cells.gru_reset_before import GRUResetBefore
from lyapflow.cells.interface import Sizes, sizes
from lyapflow.cells.joint import Joint, joined_layers
from lyapflow.cells.layers import Layers
from lyapflow.cells.linear import LinearRNN
from lyapflow.cells.lstm import LSTM
from lyapflow.cells.rate import RateRNN
from lyapflow.cells.relu import ReluRNN
from lyapflow.cells.tanh import TanhRNN
from lyapflow.errors import LyapflowError
from lyapflow.precision.arithmetic import Arithmetic, Matrix, Vector, exact


def _unknown(cell: Any, *_: Any) -> Any:
    raise LyapflowError(
        f"this needs the equations of {type(cell).__name__} in arbitrary precision; "
        f"register them with lyapflow.precision.cells.move"
    )


# (cell, a, h, x, T, X=None) -> state (n_state,) and tangent vectors (n_state, m); the cell's fields
# are nested lists of numbers. X is for layers that are not the bottom one.
move = functools.singledispatch(_unknown)


class GivenJacobians(NamedTuple):
    """No network: its input x (n²,) is the Jacobian of a step, row by row."""


def known(cell: Any) -> bool:
    """Whether `move` has the equations of a cell, or of all that it is made of."""
    if isinstance(cell, ClosedLoop):
        return known(cell.cell)
    return all(move.dispatch(type(layer)) is not _unknown for layer in joined_layers(cell))


def step(cell: Any, a: Arithmetic, h: Vector, x: Vector) -> Vector:
    return move(cell, a, h, x, [[] for _ in h])[0]


def jacobian(cell: Any, a: Arithmetic, h: Vector, x: Vector) -> Matrix:
    identity = [[a.number(float(i == j)) for j in range(len(h))] for i in range(len(h))]
    return move(cell, a, h, x, identity)[1]


@move.register
def _(
    cell: GivenJacobians, a: Arithmetic, h: Vector, x: Vector, T: Matrix
) -> tuple[Vector, Matrix]:
    D = [x[i : i + len(h)] for i in range(0, len(x), len(h))]
    return h, a.product(D, T)


def _driven(a: Arithmetic, V: Matrix, b: Vector, x: Vector, X: Matrix | None) -> Matrix:
    """Rows ``[V x + b, V X]``; of an input that does not move, without V X."""
    values = [bias + a.dot(row, x) for row, bias in zip(V, b)]
    tangents = [[] for _ in b] if X is None else a.product(V, X)
    return [[value, *row] for value, row in zip(values, tangents)]


def _sum(row: Vector, driven: Vector) -> Vector:
    """A row of a value and its tangents, and what drives them, which may have no tangents."""
    return [v + d for v, d in zip(row, driven)] + row[len(driven) :]


# a function and its derivative at a number
Activation = Callable[[Arithmetic, Any], tuple[Any, Any]]


def _tanh(a: Arithmetic, v: Any) -> tuple[Any, Any]:
    return a.tanh(v), a.sech(v) ** 2


def _relu(a: Arithmetic, v: Any) -> tuple[Any, Any]:
    zero, one = a.number(0.0), a.number(1.0)
    return (v, one) if a.not_negative(v) else (zero, zero)


def _identity(a: Arithmetic, v: Any) -> tuple[Any, Any]:
    return v, a.number(1.0)


def _additive(
    cell: Any,
    a: Arithmetic,
    h: Vector,
    x: Vector,
    T: Matrix,
    X: Matrix | None = None,
    *,
    phi: Activation,
) -> tuple[Vector, Matrix]:
    """``h' = W φ(h) + V x + b,  D = W diag φ'(h)``."""
    known = [phi(a, v) for v in h]
    moved = a.product(
        cell.W, [[value, *(slope * q for q in row)] for (value, slope), row in zip(known, T)]
    )
    rows = [_sum(row, drive) for row, drive in zip(moved, _driven(a, cell.V, cell.b, x, X))]
    return [row[0] for row in rows], [row[1:] for row in rows]


def _leaky(
    cell: Any,
    a: Arithmetic,
    h: Vector,
    x: Vector,
    T: Matrix,
    X: Matrix | None = None,
    *,
    phi: Activation,
    psi: Activation,
) -> tuple[Vector, Matrix]:
    """``h' = (1 - α) h + α ψ(z)``, where z is what `_additive` makes of h."""
    z, Z = _additive(cell, a, h, x, T, X, phi=phi)
    h_next, T_next = [], []
    for u, leak in enumerate(cell.leak):
        value, slope = psi(a, z[u])
        h_next.append((1 - leak) * h[u] + leak * value)
        T_next.append(_weighted((1 - leak, T[u]), (leak * slope, Z[u])))
    return h_next, T_next


ADDITIVE: dict[type, Activation] = {TanhRNN: _tanh, ReluRNN: _relu, LinearRNN: _identity}
for cell_class, activation in ADDITIVE.items():
    move.register(cell_class, functools.partial(_additive, phi=activation))
LEAKY: dict[type, tuple[Activation, Activation]] = {
    RateRNN: (_tanh, _identity),
    ElmanRNN: (_identity, _tanh),
    ElmanReluRNN: (_identity, _relu),
}
for cell_class, (inner, outer) in LEAKY.items():
    move.register(cell_class, functools.partial(_leaky, phi=inner, psi=outer))


def _sigmoid(a: Arithmetic, v: Any) -> tuple[Any, Any]:
    """The logistic function and its derivative."""
    value, other = 1 / (1 + a.exp(-v)), 1 / (1 + a.exp(v))
    return value, value * other


def _weighted(*terms: tuple[Any, Vector]) -> Vector:
    """Sum of vectors times numbers."""
    (first, vector), *others = terms
    total = [first * q for q in vector]
    for factor, other in others:
        total = [s + factor * q for s, q in zip(total, other)]
    return total


@move.register
def _(
    cell: LSTM, a: Arithmetic, h: Vector, x: Vector, T: Matrix, X: Matrix | None = None
) -> tuple[Vector, Matrix]:
    n = len(cell.b[0])
    hidden, memory = h[:n], h[n:]
    gates = []
    for W, V, b in zip(cell.W, cell.V, cell.b):
        moved = a.product(W, [[v, *row] for v, row in zip(hidden, T[:n])])
        rows = [_sum(row, drive) for row, drive in zip(moved, _driven(a, V, b, x, X))]
        gates.append(([row[0] for row in rows], [row[1:] for row in rows]))
    (i_in, i_T), (f_in, f_T), (g_in, g_T), (o_in, o_T) = gates
    h_next, c_next, T_h, T_c = [], [], [], []
    for u in range(n):
        (i, i_slope), (f, f_slope), (o, o_slope) = (
            _sigmoid(a, gate[u]) for gate in (i_in, f_in, o_in)
        )
        g, g_slope = _tanh(a, g_in[u])
        c = f * memory[u] + i * g
        out, out_slope = _tanh(a, c)
        c_next.append(c)
        h_next.append(o * out)
        T_c.append(
            _weighted(
                (f, T[n + u]),
                (memory[u] * f_slope, f_T[u]),
                (g * i_slope, i_T[u]),
                (i * g_slope, g_T[u]),
            )
        )
        T_h.append(_weighted((out * o_slope, o_T[u]), (o * out_slope, T_c[u])))
    return h_next + c_next, T_h + T_c


@move.register
def _(
    cell: GRU, a: Arithmetic, h: Vector, x: Vector, T: Matrix, X: Matrix | None = None
) -> tuple[Vector, Matrix]:
    moved = [a.product(W, [[v, *row] for v, row in zip(h, T)]) for W in cell.W]
    drives = [_driven(a, V, b, x, X) for V, b in zip(cell.V, cell.b)]
    h_next, T_next = [], []
    for u, bias in enumerate(cell.b_n):
        to_r, to_z = (_sum(moved[gate][u], drives[gate][u]) for gate in (0, 1))
        (r, r_slope), (z, z_slope) = _sigmoid(a, to_r[0]), _sigmoid(a, to_z[0])
        inner = moved[2][u][0] + bias
        new, new_slope = _tanh(a, drives[2][u][0] + r * inner)
        h_next.append((1 - z) * new + z * h[u])
        T_new = _weighted((new_slope * inner * r_slope, to_r[1:]), (new_slope * r, moved[2][u][1:]))
        if X is not None:
            T_new = _weighted((1, T_new), (new_slope, drives[2][u][1:]))
        T_next.append(_weighted((z, T[u]), ((h[u] - new) * z_slope, to_z[1:]), (1 - z, T_new)))
    return h_next, T_next


@move.register
def _(
    cell: GRUResetBefore, a: Arithmetic, h: Vector, x: Vector, T: Matrix, X: Matrix | None = None
) -> tuple[Vector, Matrix]:
    drives = [_driven(a, V, b, x, X) for V, b in zip(cell.V, cell.b)]
    moved = [a.product(W, [[v, *row] for v, row in zip(h, T)]) for W in cell.W[:2]]
    to_r, to_z = (list(map(_sum, *rows)) for rows in zip(moved, drives))
    reset = []
    for u, row in enumerate(to_r):
        r, r_slope = _sigmoid(a, row[0])
        reset.append([r * h[u], *_weighted((r, T[u]), (h[u] * r_slope, row[1:]))])
    to_new = map(_sum, a.product(cell.W[2], reset), drives[2])
    h_next, T_next = [], []
    for u, (z_row, new_row) in enumerate(zip(to_z, to_new)):
        z, z_slope = _sigmoid(a, z_row[0])
        new, new_slope = _tanh(a, new_row[0])
        h_next.append((1 - z) * new + z * h[u])
        T_next.append(
            _weighted(
                (z, T[u]),
                ((h[u] - new) * z_slope, z_row[1:]),
                ((1 - z) * new_slope, new_row[1:]),
            )
        )
    return h_next, T_next


class ExactLayers(NamedTuple):
    """A network of layers whose fields are nested lists of numbers."""

    layers: tuple[Any, ...]
    sizes: tuple[Sizes, ...]


@move.register
def _(
    cell: ExactLayers, a: Arithmetic, h: Vector, x: Vector, T: Matrix, X: Matrix | None = None
) -> tuple[Vector, Matrix]:
    h_next: Vector = []
    T_next: Matrix = []
    driving: tuple[Any, ...] = (x,) if X is None else (x, X)
    for layer, size in zip(cell.layers, cell.sizes):
        own = slice(len(h_next), len(h_next) + size.state)
        state, tangents = move(layer, a, h[own], driving[0], T[own], *driving[1:])
        h_next += state
        T_next += tangents
        driving = state[: size.units], tangents[: size.units]
    return h_next, T_next


class ExactLoop(NamedTuple):
    """A closed loop whose fields are nested lists of numbers; of its state, `shown` is fed back."""

    cell: Any
    W_out: Matrix
    b_out: Vector
    shown: slice


@move.register
def _(
    cell: ExactLoop, a: Arithmetic, h: Vector, x: Vector, T: Matrix, X: Matrix | None = None
) -> tuple[Vector, Matrix]:
    width = len(T[0])
    said = _driven(a, cell.W_out, cell.b_out, h[cell.shown], T[cell.shown])
    outside = [[a.number(0.0)] * width for _ in x] if X is None else X
    z = [row[0] for row in said] + list(x)
    return move(cell.cell, a, h, z, T, [row[1:] for row in said] + outside)


def exact_cell(a: Any, cell: Any) -> Any:
    """A cell, or network of layers, whose fields are numbers of an arithmetic."""
    if isinstance(cell, ClosedLoop):
        first = len(cell.cell.below.state) if isinstance(cell.cell, Joint) else 0
        shown = slice(first, first + cell.W_out.shape[1])
        within, W_out, b_out = exact_cell(a, cell.cell), exact(a, cell.W_out), exact(a, cell.b_out)
        return ExactLoop(within, W_out, b_out, shown)
    if isinstance(cell, (Layers, Joint)):
        layers = joined_layers(cell)
        within = tuple(exact_cell(a, layer) for layer in layers)
        return ExactLayers(within, tuple(map(sizes, layers)))
    return type(cell)(*(exact(a, array) for array in cell))
