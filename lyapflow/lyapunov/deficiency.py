"""Tangent blocks that lose rank: what is lost is told apart from what is only small.

The QR of a sweep raises a suspicion, cheaply (`lyapflow.linalg.qr.orthonormalise`). Here the interval in question is
done again, in float64 and with a QR after every step, from the Jacobian written out. Let a vector be known to within δ;
then D q is to within δ |D|, and taking away the vectors before it adds their errors, c_i times each, where
``D q_j = Σ_i c_i D q_i + new direction``. A direction not longer than ``δ |D| (1 + Σ_i |c_i|)`` has no volume.

Rounding gives a vector an error of some ε; one that is about to align with others carries some hundred from the steps
before. So δ is 4096 ε in float64 (n ε for more units). In float32 that would refuse ordinary networks: their spectra
are done in float64 where a step is suspicious, and flossing takes δ = n ε.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from lyapflow._checks import Diverged
from lyapflow._jit import jit, one_blas_thread
from lyapflow.cells.interface import Sizes, step, tangent, transposed
from lyapflow.cells.parameters import map_arrays
from lyapflow.linalg.qr import rounding
from lyapflow.lyapunov.forward import Recover, Schedule, Tape, new_tape, sweep


class Examined(NamedTuple):
    """What the steps of an interval leave of a block."""

    rows: list[int]  # numbers of the vectors that keep volume
    growth: np.ndarray  # (len(rows),), their log R, summed over the steps
    block: np.ndarray  # (len(rows), n_state), where they end


def suspicious(n: int, dtype: np.dtype) -> float:
    """Relative size of what may be noise."""
    return max(rounding(n, dtype), 4096 * float(np.finfo(dtype).eps))


def resolution(n: int, dtype: np.dtype) -> float:
    """How well a vector is taken to be known, relative to its length: δ."""
    return suspicious(n, dtype) if dtype == np.float64 else rounding(n, dtype)


@jit
def _linearise(cell, turned, h, x, h_next, record, basis, D, work):
    """Next state, and D as the rows ``D e_i``."""
    step(cell, turned, h, x, h_next, record)
    tangent(cell, turned, record[0], basis, D, work)


def examine(t: int, cell: Any, size: Sizes, x: np.ndarray, tape: Tape, plan: Schedule) -> Examined:
    """Which vectors of the block keep volume over the interval that ends with step t.

    Works in float64, with the rounding errors of the tape's dtype. Raises Diverged where numbers overflow.
    """
    first, n = plan.interval(t), size.state
    h = tape.states[first % len(tape.states)].astype(float)
    block = tape.blocks[(first - plan.transient) % len(tape.blocks)].astype(float)
    cell = map_arrays(lambda a: a.astype(float), cell)
    turned = transposed(cell)
    basis, D, work = np.eye(n), np.empty((n, n)), np.empty((n, size.tangent_work))
    h_next, record = np.empty_like(h), np.empty((1, size.record))
    rows, growth, uncertain = np.arange(len(block)), np.zeros(len(block)), np.zeros(len(block))
    with one_blas_thread(), np.errstate(all="ignore"):
        for step_number in range(first, t + 1):
            _linearise(cell, turned, h, x[step_number].astype(float), h_next, record, basis, D, work)
            h, h_next = h_next, h
            moved = block @ D
            if not (np.isfinite(D).all() and np.isfinite(moved).all()):
                raise Diverged(
                    f"the tangent block overflowed at step {step_number}: use smaller weights", step=step_number
                )
            norm = float(np.linalg.norm(D, 2))
            kept, length, block, errors = _independent(moved, norm * resolution(n, x.dtype), uncertain)
            uncertain = norm * errors
            rows, growth = rows[kept], growth[kept] + np.log(length)
    return Examined(rows.tolist(), growth, block)


def _independent(
    B: np.ndarray, noise: float, uncertain: np.ndarray
) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
    """Rows of B whose new direction is longer than what noise gives it: numbers, lengths, directions.

    A row is known to within `noise`, times 1 + uncertain (k,) where its vector was not known that well. The last result
    is the error of the directions in units of noise, from this step alone: older errors fade as vectors align.
    """
    k, n = B.shape
    kept: list[int] = []
    Q, L, errors = np.empty((k, n)), np.zeros((k, k)), np.empty(k)
    for j in range(k):
        r = len(kept)
        direction, along = B[j].copy(), np.zeros(r)
        for _ in range(2):  # Gram-Schmidt twice is as good as Householder
            again = Q[:r] @ direction
            direction -= again @ Q[:r]
            along += again
        c = np.abs(solve_triangular(L[:r, :r], along, lower=True, trans="T", check_finite=False)) if r else along
        length = float(np.linalg.norm(direction))
        error = 1 + float(c.sum())
        doubt = 1.0 if r == j else 1e6  # what comes after a lost vector is its noise, unless it stands out
        if length > doubt * noise * (error + uncertain[j] + c @ uncertain[kept]):
            Q[r], L[r, :r], L[r, r], errors[r] = direction / length, along, length, error
            kept.append(j)
    r = len(kept)
    lengths = np.diagonal(L)[:r]
    return kept, lengths, Q[:r], errors[:r] / lengths


def no_loss(cell: Any, size: Sizes, x: np.ndarray, plan: Schedule) -> Recover:
    """A `recover` of sweeps with a QR after every step that goes on where a suspicion was wrong, and else stops.

    It raises Diverged with the step and the number of exponents that are left.
    """

    def recover(t: int, tape: Tape, log_R: np.ndarray) -> Tape:
        found, k = examine(t, cell, size, x, tape, plan), log_R.shape[1]
        left = len(found.rows)
        if left < k:
            way_out = f"ask for k <= {left} at most" if left else "use other weights"
            if found.rows != list(range(left)):
                way_out += " and another q0, vectors of which vanish"
            if x.dtype == np.float32:
                way_out += ", or use float64"
            raise Diverged(
                f"the tangent block lost rank at step {t} (silent units, shut gates or saturation): "
                f"{left or 'none'} of {k} exponents can be told from rounding errors there; {way_out}",
                step=t,
                rank=left,
            )
        return tape

    return recover


class Suspicious(Exception):
    """Enough to do the sweep again, more carefully."""


def careful(t: int, tape: Tape, log_R: np.ndarray) -> Tape:
    """A `recover` that leaves the sweep."""
    raise Suspicious


class _Dependent(Exception):
    """Vectors of the block were lost that others come after."""

    def __init__(self, lost: list[int]) -> None:
        super().__init__(lost)
        self.lost = lost


def volume_growth(
    cell: Any, size: Sizes, x: np.ndarray, h0: np.ndarray, block: np.ndarray, plan: Schedule
) -> tuple[np.ndarray, np.ndarray]:
    """log R (n_qr, k), and the paths (4,) of QR, of a sweep from state h0 (1, n_state) and block (k, n_state).

    A vector is lost where it comes to depend on those before it. The exponents of the others are those of the block
    without it; they come first, and -inf follows from the step of the loss on. Whatever is suspicious in float32 is
    done in float64, from the start.
    """
    k = len(block)
    kept = np.arange(k)

    def recover(t: int, tape: Tape, log_R: np.ndarray) -> Tape:
        if x.dtype == np.float32:
            raise Suspicious
        found, f = examine(t, cell, size, x, tape, plan), plan.factor_after[t]
        if lost := sorted(set(range(max(found.rows, default=0))) - set(found.rows)):
            raise _Dependent(lost)
        r = len(found.rows)
        log_R[f, :r], log_R[f:, r:] = found.growth, -np.inf
        blocks = np.empty((len(tape.blocks), r, size.state), x.dtype)
        blocks[(t + 1 - plan.transient) % len(blocks)] = found.block
        return tape._replace(blocks=blocks, factors=np.empty((1, r, r), x.dtype))

    while True:
        try:
            tape = new_tape(size, h0, block[kept], plan, full=False)
            log_R, paths = sweep(cell, size, x, tape, plan, suspicious(size.state, x.dtype), recover)
        except _Dependent as found:
            kept = np.delete(kept, found.lost)
        except Suspicious:
            double = map_arrays(lambda a: a.astype(float), cell)
            return volume_growth(double, size, x.astype(float), h0.astype(float), block.astype(float), plan)
        else:
            return np.hstack([log_R, np.full((plan.n_qr, k - len(kept)), -np.inf)]), paths
