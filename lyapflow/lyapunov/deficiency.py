"""Tangent blocks that lose rank: exponents without volume are minus infinity, the others go on.

A QR after t_ons steps cannot tell a lost direction from an ill-conditioned interval. So the interval is done again in
float64 with a QR after every step. What a single step then leaves at or below the rounding error of its own column,
``R_jj <= n ε max_i |R_ij|``, has no volume: it is 31 nats below for n = 100.
"""

from typing import Any

import numpy as np

from lyapflow._checks import Diverged
from lyapflow.cells.interface import Sizes
from lyapflow.cells.parameters import map_arrays
from lyapflow.lyapunov.forward import Schedule, Tape, new_tape, schedule, sweep


class _Dependent(Exception):
    """Vectors of the block were lost that others come after."""

    def __init__(self, lost: list[int]) -> None:
        super().__init__(lost)
        self.lost = lost


def volume_growth(
    cell: Any, size: Sizes, x: np.ndarray, h0: np.ndarray, block: np.ndarray, plan: Schedule
) -> np.ndarray:
    """log R (n_qr, k) of a sweep from state h0 (1, n_state) and block (k, n_state).

    A vector is lost where it comes to depend on those before it. The exponents of the others are those of the block
    without it; they come first, and -inf follows from the step of the loss on.
    """
    k = len(block)
    kept = np.arange(k)

    def recover(t: int, tape: Tape, log_R: np.ndarray) -> Tape:
        first = plan.interval(t)
        steps, s = t + 1 - first, first - plan.transient
        h, vectors = (ring[index % len(ring)].astype(float) for ring, index in ((tape.states, first), (tape.blocks, s)))
        try:
            rows, growth, after = _survivors(cell, size, x[first : t + 1], h, vectors)
        except Diverged as error:
            at = first + (error.step or 0)
            raise Diverged(f"the tangent block overflowed at step {at}: use smaller weights", step=at) from None
        if lost := sorted(set(range(max(rows, default=0))) - set(rows)):
            raise _Dependent(lost)
        log_R[plan.factor_after[t], : len(rows)] = growth
        log_R[plan.factor_after[t] :, len(rows) :] = -np.inf
        blocks = np.empty((len(tape.blocks), *after.shape), x.dtype)
        blocks[(s + steps) % len(blocks)] = after
        return tape._replace(blocks=blocks, factors=np.empty((1, len(rows), len(rows)), x.dtype))

    while True:
        try:
            log_R = sweep(cell, size, x, new_tape(size, h0, block[kept], plan, full=False), plan, recover)
        except _Dependent as found:
            kept = np.delete(kept, found.lost)
            continue
        return np.hstack([log_R, np.full((plan.n_qr, k - len(kept)), -np.inf)])


def _survivors(
    cell: Any, size: Sizes, x: np.ndarray, h: np.ndarray, vectors: np.ndarray
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Which of the vectors keep volume over the steps of x, the growth of each (nats), and the block they end as.

    Raises Diverged where numbers overflow, which is no loss of volume.
    """
    cell, x = map_arrays(lambda a: a.astype(float), cell), x.astype(float)
    plan = schedule(len(x), 1, 0, 0)
    rows = list(range(len(vectors)))
    while True:
        tape = new_tape(size, h, vectors[rows], plan, full=False)
        try:
            growth = sweep(cell, size, x, tape, plan).sum(axis=0)
            return rows, growth, tape.blocks[len(x) % len(tape.blocks)]
        except Diverged as error:
            if error.rank is None or not np.isfinite(tape.factors).all():
                raise
            del rows[error.rank]
