r"""A cell whose next input is its own output: ``h' = f(h, [W_out u + b_out, x'])``, where u are the units of h.

The cell within sees the input z = [W_out u + b_out, x'], of which x' comes from outside. With D and
E, its Jacobians in state and input, and Z = [W_out q in the units, X] in rows:

    tangent           q' = D q + E Z
    step pullback     h̄ = D^T h̄' + W_out^T z̄ in the units
    parameters        W̄_out = Σ z̄ u^T + Σ_j Z̄_j (q_j in the units)^T,   b̄_out = Σ z̄

z̄ is what the cell's `input_pullback` finds. The cotangent of a block adds to it by the second
derivatives, so that has to be asked again behind each `tangent_pullback`.
"""

from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow._engine.jit import jit
from lyapflow._engine.views import alone, as_matrix, window
from lyapflow.cells.driven import driven
from lyapflow.cells.interface import (
    Cell,
    Sizes,
    accumulate,
    accumulate_driven,
    checked,
    driven_tangent,
    driven_tangent_pullback,
    first_array,
    implement,
    input_pullback,
    sizes,
    step,
    step_pullback,
    within_bounds,
)
from lyapflow.cells.joint import (
    Joint,
    Lengths,
    columns,
    first_unit,
    for_driven,
    inputs_of_step,
    inputs_of_tangent,
    joined_layers,
    parts,
    put,
)
from lyapflow.errors import LyapflowError
from lyapflow.linalg.elementary import add_rows
from lyapflow.linalg.products import gemm


@driven
class ClosedLoop(NamedTuple):
    """A cell whose first inputs are its own output, as `lyapflow.closed_loop` makes it.

    Attributes
    ----------
    cell : cell
        The one that is fed back; of layers, all of them as one.
    W_out : array (o, n_units)
    b_out : array (o,)
        The first o inputs of the cell are ``W_out h + b_out`` of its units, those behind them come
        from outside.
    within : Lengths
        Of the cell.
    """

    cell: Cell
    W_out: np.ndarray
    b_out: np.ndarray
    within: Lengths


def fed_back(cell: Any, W_out: np.ndarray, b_out: np.ndarray) -> ClosedLoop:
    return ClosedLoop(cell, W_out, b_out, Lengths.of(cell))


def each_cell(network: Any) -> tuple[Any, ...]:
    """The cells that a network is made of, bottom first; those of a closed loop are those within."""
    return joined_layers(network.cell if isinstance(network, ClosedLoop) else network)


@sizes.register
def _(cell: ClosedLoop) -> Sizes:
    size = sizes(cell.cell)
    return Sizes(
        state=size.state,
        units=size.units,
        inputs=size.inputs - len(cell.b_out),
        record=size.record + size.state + size.inputs,  # and the state and the input before
        # and the cotangents of the next state and of the input
        step_work=size.step_work + size.state + size.inputs,
        tangent_work=size.tangent_work + 2 * size.inputs,  # and Z and its cotangent
        shapes={},
    )


@checked.register
def _(cell: ClosedLoop, *generics: Any) -> ClosedLoop:
    within = checked(cell.cell, *for_driven(generics))
    size, like = sizes(within), first_array(within)
    units = sizes(within.upper).units if isinstance(within, Joint) else size.units
    W_out = _checks.array("W_out of ClosedLoop", cell.W_out, ("o", units), like=like)
    b_out = _checks.array("b_out of ClosedLoop", cell.b_out, (len(W_out),), like=like)
    if not 0 < len(W_out) <= size.inputs:
        raise LyapflowError(
            f"what is fed back must be some of the {size.inputs} inputs of {type(within).__name__}, "
            f"got {len(W_out)} outputs"
        )
    return fed_back(within, W_out, b_out)


@within_bounds.register
def _(cell: ClosedLoop) -> ClosedLoop:
    return cell._replace(cell=within_bounds(cell.cell))


@implement(step, ClosedLoop)
def loop_step(cell, turned, h, x, h_next, record):
    r, inputs = len(cell.within.record), len(cell.within.inputs)
    outputs, units = cell.W_out.shape
    (batch, n), first = h.shape, first_unit(cell.cell)
    z, within = np.empty((batch, inputs), h.dtype), np.empty((batch, r), h.dtype)
    for i in range(batch):
        for o in range(outputs):
            z[i, o] = cell.b_out[o]
    put(x, z, outputs)
    shown, said = window(h, 0, batch, first, first + units), window(z, 0, batch, 0, outputs)
    gemm(shown, False, turned.W_out, False, 1.0, 1.0, said)
    step(cell.cell, turned.cell, h, z, h_next, within)
    put(within, record, 0)
    put(h, record, r)
    put(z, record, r + n)


@jit
def _lengths(cell):
    """Of the record, step_work and tangent_work of the cell within."""
    within = cell.within
    return len(within.record), len(within.step_work), len(within.tangent_work)


@jit(allocates=True)
def _movements(cell, turned, Q, X):
    """Z (k, inputs): how the inputs move with a block."""
    outputs, units = cell.W_out.shape
    k, first = len(Q), first_unit(cell.cell)
    Z = np.zeros((k, len(cell.within.inputs)), Q.dtype)
    shown, said = window(Q, 0, k, first, first + units), window(Z, 0, k, 0, outputs)
    gemm(shown, False, turned.W_out, False, 1.0, 0.0, said)
    if X is not None:
        put(X, Z, outputs)
    return Z


@jit
def _pull_output_back(cell, z_bar, h_bar):
    """Add ``W_out^T z̄`` to the units of cotangents, in rows."""
    (outputs, units), rows, first = cell.W_out.shape, len(z_bar), first_unit(cell.cell)
    said_bar, shown_bar = (
        window(z_bar, 0, rows, 0, outputs),
        window(h_bar, 0, rows, first, first + units),
    )
    gemm(said_bar, False, cell.W_out, False, 1.0, 1.0, shown_bar)


@implement(driven_tangent, ClosedLoop)
def loop_driven_tangent(cell, turned, record, Q, X, Q_next, work):
    r, _, t = _lengths(cell)
    Z, within = _movements(cell, turned, Q, X), np.empty((len(Q), t), Q.dtype)
    driven_tangent(cell.cell, turned.cell, window(record, 0, r), Q, Z, Q_next, within)


@implement(step_pullback, ClosedLoop)
def loop_step_pullback(cell, record, h_next_bar, h_bar, work):
    r, w, _ = _lengths(cell)
    batch, n = h_bar.shape
    within, of_step = columns(record, 0, r), np.empty((batch, w), h_bar.dtype)
    h, z = columns(record, r, r + n), columns(record, r + n, record.shape[1])
    z_bar = np.empty_like(z)
    step_pullback(cell.cell, within, h_next_bar, h_bar, of_step)
    inputs_of_step(cell.cell, cell.within, z, h, within, h_next_bar, of_step, z_bar)
    _pull_output_back(cell, z_bar, h_bar)
    put(of_step, work, 0)
    put(h_next_bar, work, w)
    put(z_bar, work, w + n)


@implement(driven_tangent_pullback, ClosedLoop)
def loop_driven_tangent_pullback(
    cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
):
    r, w, t = _lengths(cell)
    n, inputs = h_bar.size, len(cell.within.inputs)
    Z, within = _movements(cell, turned, Q, X), np.empty((len(Q), t), Q.dtype)
    Z_bar = np.empty_like(Z)
    driven_tangent_pullback(
        cell.cell,
        turned.cell,
        window(record, 0, r),
        Q,
        Z,
        Q_next_bar,
        Q_bar,
        Z_bar,
        h_bar,
        window(step_work, 0, w),
        within,
    )
    _pull_output_back(cell, Z_bar, Q_bar)
    if X_bar is not None:
        put(columns(Z_bar, len(cell.b_out), inputs), X_bar, 0)
    put(within, work, 0)
    put(Z, work, t)
    put(Z_bar, work, t + inputs)

    # the input's cotangent with the part of second derivatives, which goes back to the state
    before, change = window(step_work, w + n, w + n + inputs), np.empty((1, inputs), Q.dtype)
    inputs_of_tangent(
        cell.cell,
        window(record, r + n, r + n + inputs),
        window(record, r, r + n),
        window(record, 0, r),
        window(step_work, w, w + n),
        window(step_work, 0, w),
        Q,
        Q_next_bar,
        within,
        change[0],
    )
    for i in range(inputs):
        change[0, i] -= before[i]
        before[i] += change[0, i]
    _pull_output_back(cell, change, alone(h_bar))


@implement(accumulate, ClosedLoop)
def loop_accumulate(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient
):
    r, w, t = _lengths(cell)
    inputs = len(cell.within.inputs)
    outputs, units = cell.W_out.shape
    n, first = h.shape[2], first_unit(cell.cell)
    z_bar = columns(as_matrix(step_work), w + n, w + n + outputs)
    shown = window(as_matrix(h), 0, len(z_bar), first, first + units)
    gemm(z_bar, True, shown, False, 1.0, 1.0, gradient.W_out)
    add_rows(z_bar, gradient.b_out)
    behind = t + inputs
    Z_bar = columns(as_matrix(tangent_work), behind, behind + outputs)
    moved = window(as_matrix(Q), 0, len(Z_bar), first, first + units)
    gemm(Z_bar, True, moved, False, 1.0, 1.0, gradient.W_out)

    within, Z = parts(tangent_work, 0, t), parts(tangent_work, t, behind)
    accumulate_driven(cell.cell, Z, Q_next_bar, within, gradient.cell)
    accumulate(
        cell.cell,
        parts(record, r + n, record.shape[2]),
        h,
        parts(record, 0, r),
        h_next_bar,
        parts(step_work, 0, w),
        Q,
        Q_next_bar,
        within,
        gradient.cell,
    )


@implement(input_pullback, ClosedLoop)
def loop_input_pullback(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar
):
    width = step_work.shape[2]
    put(columns(as_matrix(step_work), width - x.shape[2], width), as_matrix(x_bar), 0)


@implement(accumulate_driven, ClosedLoop)
def loop_accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient):
    pass  # `accumulate` has it all, for Z is in tangent_work
