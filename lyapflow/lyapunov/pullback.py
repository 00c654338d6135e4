"""The reverse sweep over a tape: from cotangents of log R and of states to those of parameters and inputs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.pool import check_interrupt
from lyapflow._engine.views import window
from lyapflow._trees import arrays, like
from lyapflow.cells.interface import (
    Sizes,
    accumulate,
    first_array,
    input_pullback,
    step_pullback,
    tangent_pullback,
    transposed,
    zeros_like,
)
from lyapflow.errors import Diverged
from lyapflow.linalg.elementary import all_finite, copy
from lyapflow.linalg.products import start_helpers_for
from lyapflow.linalg.qr_pullback import pull_back_log
from lyapflow.lyapunov.segments import steps_per_chunk, steps_per_segment
from lyapflow.lyapunov.sweep import Drive, Tape
from lyapflow.lyapunov.tape import Piece, TapedSweep


class Cotangents(NamedTuple):
    """Cotangents of a chunk of C steps, and scratch.

    The kernels of a cell take batches of states; here a batch is one state.
    """

    states: np.ndarray  # (C + 1, 1, n_state): slot c + 1 after the c-th step, slot c before it
    blocks: np.ndarray  # (C, k, n_state): slot c after the c-th step, before its QR
    block: np.ndarray  # (k, n_state): where the sweep is, after a QR
    M: np.ndarray  # (k, k)
    step_work: np.ndarray  # (C, 1, step_work)
    tangent_work: np.ndarray  # (C, k, tangent_work)


def _new_cotangents(size: Sizes, chunk: int, k: int, dtype: np.dtype) -> Cotangents:
    """Of the last states and block, which are zero."""
    return Cotangents(
        np.zeros((chunk + 1, 1, size.state), dtype),
        np.empty((chunk, k, size.state), dtype),
        np.zeros((k, size.state), dtype),
        np.empty((k, k), dtype),
        np.empty((chunk, 1, size.step_work), dtype),
        np.empty((chunk, k, size.tangent_work), dtype),
    )


@jit
def _retreat(drive, start, stop, tape, growth_bar, states_bar, bars, gradient, x_bar):
    """Take the steps from stop back to start; all chunks but the last are full.

    On entry bars.block and the last slot of bars.states hold the cotangents after step stop - 1, on
    return those before step start. states_bar (steps, units) is what comes to the units after each
    step from outside, x_bar (steps, 1, m) gets the cotangents of the inputs; both may be None.
    Returns -1, or the step at which a cotangent was the first that
    is not finite.
    """
    cell, plan = drive.cell, drive.plan
    chunk = len(bars.step_work)
    c = top = chunk  # slots from c to top wait to be accumulated
    for t in range(stop - 1, start - 1, -1):
        c -= 1
        if states_bar is not None:
            for i in range(states_bar.shape[1]):
                bars.states[c + 1, 0, i] += states_bar[t, i]
        step_pullback(cell, tape.records[t], bars.states[c + 1], bars.states[c], bars.step_work[c])

        moved = t >= plan.transient
        s = max(t - plan.transient, 0)
        if moved:
            _block_back(drive, t, tape, growth_bar, bars, c)

        # a full chunk goes into the gradient, and so does what there is where the sweep ends, or
        # where the block stops moving
        if c == 0 or t == start or t == plan.transient:
            taken = top - c
            moves = taken if moved else 0
            x, h = window(drive.x, t, t + taken), window(tape.states, t, t + taken)
            record, h_next_bar = (
                window(tape.records, t, t + taken),
                window(bars.states, c + 1, top + 1),
            )
            step_work, Q = window(bars.step_work, c, top), window(tape.blocks, s, s + moves)
            Q_next_bar = window(bars.blocks, c, c + moves)
            tangent_work = window(bars.tangent_work, c, c + moves)
            if x_bar is not None:  # before accumulate, which may write over its arguments
                input_pullback(
                    cell,
                    x,
                    h,
                    record,
                    h_next_bar,
                    step_work,
                    Q,
                    Q_next_bar,
                    tangent_work,
                    window(x_bar, t, t + taken),
                )
            accumulate(
                cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient
            )
            if not (all_finite(bars.states[c]) and all_finite(bars.block)):
                return t + _last_lost(bars, c, top, moved) - c
            top = c
            if c == 0 or t == start:
                copy(bars.states[c], bars.states[chunk])
                c = top = chunk
    return -1


@jit(inline="always")
def _block_back(drive, t, tape, growth_bar, bars, c):
    """The block's cotangent back through step t, and its part in that of the state before it."""
    plan, records = drive.plan, tape.records
    s = t - plan.transient
    f = plan.factor_after[t]
    if f >= 0:
        Q, F = tape.blocks[s + 1], tape.factors[f]
        pull_back_log(Q, F, growth_bar[f], bars.block, bars.M, bars.blocks[c])
    else:
        copy(bars.block, bars.blocks[c])
    tangent_pullback(
        drive.cell,
        drive.transposed,
        records[t, 0],
        tape.blocks[s],
        bars.blocks[c],
        bars.block,
        bars.states[c, 0],
        bars.step_work[c, 0],
        bars.tangent_work[c],
    )


@jit(inline="always")
def _last_lost(bars, c, top, moved):
    """The last of the slots from c to top that is not finite, which the sweep met first."""
    for d in range(top - 1, c, -1):
        if not (all_finite(bars.states[d]) and (not moved or all_finite(bars.blocks[d]))):
            return d
    return c


def gradient_lost(step: int, h_bar: np.ndarray) -> Diverged:
    """The error of cotangents (B, n_state) of the states before a step that are not all finite."""
    return Diverged.not_finite(
        "the gradient", step, h_bar, "use smaller weights or a shorter input"
    )


class Retreat:
    """A sweep back on its way.

    Attributes
    ----------
    gradient : cell
        What the steps that were taken have given the parameters.
    bars : Cotangents
        Where the sweep is.
    """

    def __init__(self, cell: Any, size: Sizes, k: int, chunk: int) -> None:
        self.gradient = zeros_like(cell)
        self.bars = _new_cotangents(size, chunk, k, first_array(cell).dtype)
        self._terms = size.state**2 * max(k, 1)

    def take(
        self,
        drive: Drive,
        start: int,
        stop: int,
        tape: Tape,
        log_R_bar: np.ndarray,
        first: int = 0,
        states_bar: np.ndarray | None = None,
        x_bar: np.ndarray | None = None,
    ) -> None:
        """Take the steps from stop back to start; Diverged names the step, counted from `first` on.

        states_bar and x_bar are those of `_retreat`.
        """
        check_interrupt()
        start_helpers_for(self._terms)
        lost = _retreat(
            drive, start, stop, tape, log_R_bar, states_bar, self.bars, self.gradient, x_bar
        )
        if lost >= 0:
            raise gradient_lost(first + lost, self.bars.states[0])


def retreat(
    taped: TapedSweep,
    growth_bar: np.ndarray,
    states_bar: np.ndarray | None = None,
    x_bar: np.ndarray | None = None,
) -> Any:
    """Gradient of a loss in the cell's parameters, a cell, from its derivative (k,) in `taped.growth`.

    states_bar (T, units) is the loss's derivative in the units after each step, where it has one;
    x_bar (T, 1, m) is set to that in the inputs, where it is asked for.

    All pieces but the first of the sweep are of whole chunks, which makes the gradient the same, to
    the bit, in however many pieces it comes.

    Raises
    ------
    Diverged
        If a cotangent stops being finite; it names the step.
    """
    cell, size, k = taped.given.cell, taped.given.size, len(growth_bar)
    chunk = steps_per_chunk(size, 1, k)
    segment = steps_per_segment(size, k + 1) // chunk * chunk
    transposed_cell, back = transposed(cell), Retreat(cell, size, k, chunk)

    def through(piece: Piece) -> None:
        plan = piece.given.plan
        drive = Drive(cell, transposed_cell, np.ascontiguousarray(piece.given.x), plan)
        log_R_bar = np.zeros((plan.n_qr, k), taped.given.x.dtype)
        log_R_bar[plan.uncounted :] = growth_bar
        steps = slice(piece.first, piece.first + plan.steps)
        outside = None if states_bar is None else states_bar[steps]
        inputs = None if x_bar is None else x_bar[steps]
        for stop in range(plan.steps, 0, -segment):
            start = max(stop - segment, 0)
            back.take(drive, start, stop, piece.tape, log_R_bar, piece.first, outside, inputs)

    with one_blas_thread():
        for piece in taped.pieces():
            through(piece)
            del piece  # its tape, before the next is made
    return back.gradient


def total(gradients: Sequence[Any], of: str) -> Any:
    """The sum of the gradients of all trajectories; raises Diverged if it is not finite."""
    sums = (sum(of[1:], of[0]) for of in zip(*map(arrays, gradients)))
    gradient = like(gradients[0], sums)
    if not all(np.isfinite(a).all() for a in arrays(gradient)):
        raise Diverged(f"the {of} gradient, summed over steps, is not finite: use a shorter input")
    return gradient
