"""Which exponents of a step have a gradient that floating-point numbers can resolve.

The pullback of QR divides by R, so rounding errors grow by ``|D| / R_jj``. Let a vector be known to
within δ; then D q is to within ``δ |D|``, and taking away the vectors before it adds their errors,
c_i times each, where ``D q_j = Σ_i c_i D q_i + new direction``. A direction not longer than
``δ |D| (1 + Σ_i |c_i|)`` is not resolved. In float64 δ is 4096 ε, in float32, where that would
refuse ordinary networks, n ε.

Errors of vectors may also grow over many steps, none of which shows it. So where a float64 sweep
has come near such a step its log R are compared with those of `lyapflow.lyapunov.growth`, which
keep their digits, and with what is unknown of these. Of 11 000 gradients of small saturated
networks none was off by more than twice the largest difference in a log R, relative to its norm
(high-precision differences).
"""

from collections.abc import Callable

import numpy as np
import scipy

from lyapflow._engine.blas import one_blas_thread
from lyapflow.cells.interface import transposed
from lyapflow.cells.step_jacobian import jacobian_workspace, linearise
from lyapflow.errors import Diverged
from lyapflow.linalg.graded import KNOWN, NOISE
from lyapflow.linalg.qr import rounding
from lyapflow.lyapunov.growth import volume_growth
from lyapflow.lyapunov.problem import Problem, each_trajectory
from lyapflow.lyapunov.sweep import Checkpoint, Recover, Tape, new_tape, sweep

LOG_R_TOLERANCE = 2e-5  # nats by which a log R may be off


def resolution(n: int, dtype: np.dtype) -> float:
    """How well a vector is taken to be known, relative to its length: δ."""
    return max(rounding(n, dtype), KNOWN) if dtype == np.float64 else rounding(n, dtype)


def _resolved(t: int, given: Problem, tape: Tape) -> list[int]:
    """The vectors of the block that step t leaves resolved, found in float64."""
    plan, size = given.plan, given.size
    h = tape.states[t % len(tape.states)]
    block = tape.blocks[(t - plan.transient) % len(tape.blocks)]
    step = given._replace(x=given.x[t : t + 1], h0=h, block=block).in_float64()
    h_next = np.empty_like(step.h0)
    record = np.empty((1, size.record))
    work = jacobian_workspace(size)
    with one_blas_thread(), np.errstate(all="ignore"):
        linearise(step.cell, transposed(step.cell), step.h0, step.x[0], h_next, record, work)
        moved = step.block @ work.DT
        if not (np.isfinite(work.DT).all() and np.isfinite(moved).all()):
            raise Diverged(f"the tangent block overflowed at step {t}: use smaller weights", step=t)
        noise = float(np.linalg.norm(work.DT, 2)) * resolution(size.state, given.x.dtype)
        return _independent(moved, noise)


def _independent(B: np.ndarray, noise: float) -> list[int]:
    """Rows of B, each known to within noise, whose new direction is longer than what that makes of it."""
    k, n = B.shape
    kept: list[int] = []
    Q, L = np.empty((k, n)), np.zeros((k, k))
    for j in range(k):
        r = len(kept)
        direction, along = B[j].copy(), np.zeros(r)
        for _ in range(2):  # Gram-Schmidt twice is as good as Householder
            again = Q[:r] @ direction
            direction -= again @ Q[:r]
            along += again
        c = (
            scipy.linalg.solve_triangular(
                L[:r, :r], along, lower=True, trans="T", check_finite=False
            )
            if r
            else along
        )
        length = float(np.linalg.norm(direction))
        if length > noise * (1 + float(np.abs(c).sum())):
            Q[r], L[r, :r], L[r, r] = direction / length, along, length
            kept.append(j)
    return kept


def resolved_sweep(
    given: Problem,
    tape: Tape,
    recover: Recover,
    checkpoints: dict[int, Checkpoint | None] | None = None,
) -> np.ndarray:
    """log R of one trajectory, as of `sweep`, whose gradient floating-point numbers can carry.

    Else it raises Diverged with the step and, as rank, the number of leading exponents whose
    gradient they can carry."""
    dtype = given.x.dtype
    log_R, ratio = sweep(given, tape, resolution(given.size.state, dtype), recover, checkpoints)
    if dtype == np.float64 and ratio < NOISE:
        _confirm(log_R, given)
    return log_R


def _confirm(log_R: np.ndarray, given: Problem) -> None:
    """Raise Diverged, with the number of leading exponents that are right as rank, where rounding errors spoil log R.

    Takes a sweep of the one trajectory that is given.
    """
    exact = volume_growth(given)
    with np.errstate(invalid="ignore"):
        error = np.abs(log_R - exact.log_growth) + exact.unknown
    spoilt = ~(error <= LOG_R_TOLERANCE)
    if spoilt.any():
        leading = int(np.argmax(spoilt.any(axis=0)))
        step = int(np.flatnonzero(given.plan.factor_after >= 0)[np.argmax(spoilt.any(axis=1))])
        raise Diverged(
            f"rounding errors spoil the tangent block up to step {step} (strong saturation): float64 carries the "
            f"gradient of {leading or 'none'} of {len(given.block)} exponents",
            step=step,
            rank=leading,
        )


def all_resolved(given: Problem) -> Callable[[int, Tape], None]:
    """A `recover` of sweeps with a QR after every step that goes on where a suspicion was wrong.

    Else it raises Diverged with the step and, as rank, the number of leading exponents that are
    resolved there."""

    def recover(t: int, tape: Tape) -> None:
        rows, k = _resolved(t, given, tape), tape.blocks.shape[1]
        if len(rows) == k:
            return
        leading = next(i for i, row in enumerate([*rows, k]) if row != i) if rows else 0
        raise Diverged(
            f"the tangent block lost rank at step {t} (silent units, shut gates or saturation): "
            f"{len(rows) or 'none'} of {k} exponents can be told from rounding errors there",
            step=t,
            rank=leading,
        )

    return recover


def with_way_out(error: Diverged, given: Problem) -> Diverged:
    """The error of lost rank with the largest k that works for all trajectories, found by sweeps without a tape."""
    k = error.rank or 0

    def leading(b: int) -> None:
        one = given.alone(b).with_interval(1)._replace(block=given.block[:k])
        resolved_sweep(one, new_tape(one, full=False), all_resolved(one))

    works = False
    while k > 0 and not works:
        try:
            each_trajectory(leading, len(given.h0))
            works = True
        except Diverged as lower:
            if lower.rank is None:
                raise
            k = lower.rank
    way_out = f"ask for k <= {k}" if k else "use other weights or another q0"
    if given.x.dtype == np.float32:
        way_out += ", or use float64"
    return Diverged(f"{error}; {way_out}", step=error.step, member=error.member, rank=k)


class Suspicious(Exception):
    """Raised to repeat the sweep with a QR after every step."""


def suspicious(t: int, tape: Tape) -> None:
    """A `recover` that leaves the sweep."""
    raise Suspicious
