"""The reverse sweep over a tape: from cotangents of log R and of states to those of parameters."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.pool import breathe
from lyapflow._engine.views import window
from lyapflow.cells.interface import Sizes, accumulate, step_pullback, tangent_pullback, transposed, zeros_like
from lyapflow.errors import Diverged
from lyapflow.linalg.elementary import all_finite, copy
from lyapflow.linalg.products import call_help
from lyapflow.linalg.qr_pullback import pull_back_log
from lyapflow.lyapunov.forward import Schedule, Tape, steps_per_segment

ROWS_PER_CHUNK = 512  # as many cotangent rows are gathered for one matrix product as stay in the L2 cache


class Cotangents(NamedTuple):
    """Cotangents of a chunk of C steps, and scratch."""

    states: np.ndarray  # (C + 1, B, n_state): slot c + 1 after the c-th step, slot c before it
    blocks: np.ndarray  # (C, k, n_state): slot c after the c-th step, before its QR
    block: np.ndarray  # (k, n_state): where the sweep is, after a QR
    M: np.ndarray  # (k, k)
    step_work: np.ndarray  # (C, B, step_work)
    tangent_work: np.ndarray  # (C, k, tangent_work)


class Piece(NamedTuple):
    """Consecutive steps of a trajectory that one tape covers, and what a loss says of them."""

    start: int  # of its steps, in the sweep
    x: np.ndarray  # (T, 1, m)
    tape: Tape
    plan: Schedule
    growth_bar: np.ndarray  # (n_qr, k), derivative of the loss in log R_ii of each QR


@jit
def _retreat(cell, turned, x, start, stop, transient, factor_after, tape, growth_bar, bars, gradient):
    """Take the steps from stop back to start; all chunks but the last are full.

    On entry bars.block and the last slot of bars.states hold the cotangents after step stop - 1, on return those before
    step start. Returns -1, or the step at which a cotangent was the first that is not finite.
    """
    states, records, blocks, factors = tape
    chunk = len(bars.step_work)
    c = top = chunk  # slots from c to top wait to be accumulated
    for t in range(stop - 1, start - 1, -1):
        c -= 1
        step_pullback(cell, records[t], bars.states[c + 1], bars.states[c], bars.step_work[c])
        moved = t >= transient
        s = max(t - transient, 0)
        if moved:
            f = factor_after[t]
            if f >= 0:
                pull_back_log(blocks[s + 1], factors[f], growth_bar[f], bars.block, bars.M, bars.blocks[c])
            else:
                copy(bars.block, bars.blocks[c])
            tangent_pullback(
                cell,
                turned,
                records[t, 0],
                blocks[s],
                bars.blocks[c],
                bars.block,
                bars.states[c, 0],
                bars.step_work[c, 0],
                bars.tangent_work[c],
            )
        if c == 0 or t == start or t == transient:
            taken = top - c
            moves = taken if moved else 0
            accumulate(
                cell,
                window(x, t, t + taken),
                window(states, t, t + taken),
                window(records, t, t + taken),
                window(bars.states, c + 1, top + 1),
                window(bars.step_work, c, top),
                window(blocks, s, s + moves),
                window(bars.blocks, c, c + moves),
                window(bars.tangent_work, c, c + moves),
                gradient,
            )
            if not (all_finite(bars.states[c]) and all_finite(bars.block)):
                for d in range(top - 1, c, -1):
                    if not (all_finite(bars.states[d]) and (not moved or all_finite(bars.blocks[d]))):
                        return t + d - c
                return t
            top = c
            if c == 0 or t == start:
                copy(bars.states[c], bars.states[chunk])
                c = top = chunk
    return -1


def gradient_lost(step: int, h_bar: np.ndarray) -> Diverged:
    """The error of cotangents (B, n_state) of the states before a step that are not all finite."""
    return Diverged.not_finite("the gradient", step, h_bar, "use smaller weights or a shorter input")


def steps_per_chunk(size: Sizes, batch: int, k: int) -> int:
    """Steps whose cotangents are gathered for one matrix product."""
    return max(1, min(steps_per_segment(size, k + batch), ROWS_PER_CHUNK // max(batch, k)))


def retreat(cell: Any, size: Sizes, pieces: Iterable[Piece]) -> Any:
    """Gradient of a loss in the cell's parameters, a cell.

    Parameters
    ----------
    pieces : iterable of Piece
        Of a sweep, the last first. All but the first of the sweep are of whole chunks, which makes the gradient the
        same, to the bit, in however many pieces it comes.

    Raises
    ------
    Diverged
        If a cotangent stops being finite; it names the step.
    """
    turned, gradient, bars = transposed(cell), zeros_like(cell), None
    with one_blas_thread():
        for piece in pieces:
            batch, k, dtype = piece.x.shape[1], piece.tape.blocks.shape[1], piece.x.dtype
            chunk = steps_per_chunk(size, batch, k)
            segment = steps_per_segment(size, k + batch) // chunk * chunk
            if bars is None:
                bars = Cotangents(
                    np.zeros((chunk + 1, batch, size.state), dtype),
                    np.empty((chunk, k, size.state), dtype),
                    np.zeros((k, size.state), dtype),
                    np.empty((k, k), dtype),
                    np.empty((chunk, batch, size.step_work), dtype),
                    np.empty((chunk, k, size.tangent_work), dtype),
                )
            for stop in range(piece.plan.steps, 0, -segment):
                breathe()
                call_help(size.state**2 * max(k, batch))
                lost = _retreat(
                    cell,
                    turned,
                    piece.x,
                    max(stop - segment, 0),
                    stop,
                    piece.plan.transient,
                    piece.plan.factor_after,
                    piece.tape,
                    piece.growth_bar,
                    bars,
                    gradient,
                )
                if lost >= 0:
                    raise gradient_lost(piece.start + lost, bars.states[0])
            del piece  # its tape, before the next is made
    return gradient
