"""The reverse sweep over a tape: from cotangents of log R and of states to those of parameters."""

from typing import Any, NamedTuple

import numpy as np

from lyapflow._checks import Diverged
from lyapflow._jit import jit, one_blas_thread
from lyapflow._threads import breathe
from lyapflow.cells.interface import Sizes, accumulate, step_pullback, tangent_pullback, transposed, zeros_like
from lyapflow.linalg.elementary import all_finite
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


@jit
def _retreat(cell, turned, x, start, stop, transient, factor_after, tape, log_R_bar, states_bar, bars, gradient):
    """Take the steps from stop back to start.

    states_bar (S, B, n_state) is the loss's own cotangent of the states after the last S steps. On entry bars.block and
    the last slot of bars.states hold the cotangents after step stop - 1, on return those before step start. Returns -1,
    or the step at which a cotangent was the first that is not finite.
    """
    states, records, blocks, factors = tape
    chunk = len(bars.step_work)
    k = blocks.shape[1]
    first = len(x) - len(states_bar)
    c = chunk
    for t in range(stop - 1, start - 1, -1):
        c -= 1
        if t >= first:
            bars.states[c + 1] += states_bar[t - first]
        step_pullback(cell, turned, records[t], bars.states[c + 1], bars.states[c], bars.step_work[c])
        moved = k > 0 and t >= transient
        s = max(t - transient, 0)
        if moved:
            f = factor_after[t]
            if f >= 0:
                pull_back_log(blocks[s + 1], factors[f], log_R_bar[f], bars.block, bars.M, bars.blocks[c])
            else:
                bars.blocks[c] = bars.block
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
            taken = chunk - c
            moves = taken if moved else 0
            accumulate(
                cell,
                x[t : t + taken],
                states[t : t + taken],
                records[t : t + taken],
                bars.states[c + 1 :],
                bars.step_work[c:],
                blocks[s : s + moves],
                bars.blocks[c : c + moves],
                bars.tangent_work[c : c + moves],
                gradient,
            )
            if not (all_finite(bars.states[c]) and all_finite(bars.block)):
                for d in range(chunk - 1, c, -1):
                    if not (all_finite(bars.states[d]) and (not moved or all_finite(bars.blocks[d]))):
                        return t + d - c
                return t
            bars.states[chunk] = bars.states[c]
            c = chunk
    return -1


def retreat(
    cell: Any,
    size: Sizes,
    x: np.ndarray,
    tape: Tape,
    plan: Schedule,
    log_R_bar: np.ndarray,
    states_bar: np.ndarray,
) -> tuple[Any, np.ndarray]:
    """Gradient of a loss in the cell's parameters and in the initial states.

    Parameters
    ----------
    log_R_bar : array (n_qr, k)
        Derivative of the loss in log R_ii of each QR.
    states_bar : array (S, B, n_state)
        Derivative of the loss, as it stands, in the states after the last S steps.

    Returns
    -------
    gradient : cell
    h0_bar : array (B, n_state)

    Raises
    ------
    Diverged
        If a cotangent stops being finite; it names the step.
    """
    batch, k = x.shape[1], tape.blocks.shape[1]
    segment = steps_per_segment(size, k + batch)
    chunk = max(1, min(plan.steps, segment, ROWS_PER_CHUNK // max(batch, k)))
    bars = Cotangents(
        np.empty((chunk + 1, batch, size.state), x.dtype),
        np.empty((chunk, k, size.state), x.dtype),
        np.zeros((k, size.state), x.dtype),
        np.empty((k, k), x.dtype),
        np.empty((chunk, batch, size.step_work), x.dtype),
        np.empty((chunk, k, size.tangent_work), x.dtype),
    )
    bars.states[chunk] = 0.0
    turned, gradient = transposed(cell), zeros_like(cell)
    segment -= segment % chunk
    with one_blas_thread():
        for stop in range(plan.steps, 0, -segment):
            breathe()
            start = max(stop - segment, 0)
            lost = _retreat(
                cell,
                turned,
                x,
                start,
                stop,
                plan.transient,
                plan.factor_after,
                tape,
                log_R_bar,
                states_bar,
                bars,
                gradient,
            )
            if lost >= 0:
                raise Diverged(
                    f"the gradient stopped being finite at step {lost}: use smaller weights or a shorter input",
                    step=lost,
                )
    return gradient, bars.states[chunk].copy()
