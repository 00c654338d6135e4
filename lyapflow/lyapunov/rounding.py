"""What rounding errors make of exponents, measured: the last steps once more, with a block that is disturbed.

Each rounding error is a fresh vector of length ε beside an aligned one. In a long delay line with
strong contraction it outgrows that one by more than 1/ε: it lives on in old entries of the state
while the aligned vector shrinks. So the last steps are taken twice, from a fresh block. Once it has
aligned, it is disturbed now and then in one of the two, by DISTURBANCE. Growth rates that change by
Δ because of it change by ε / DISTURBANCE times as much because of rounding."""

from collections.abc import Sequence

import numpy as np

from lyapflow.lyapunov.error_bars import excess
from lyapflow.lyapunov.growth import RECENT, Growth, volume_growth
from lyapflow.lyapunov.problem import Problem, each_trajectory
from lyapflow.lyapunov.schedule import differences, schedule

SHORT_RUN = 256  # QRs, which cost little to take again
TRANSIENT = 0.4  # of the digits, gained by a starting block: rounding errors may then matter
TIMES = 32
DISTURBANCE = 2.0**-40
ROUNDINGS = 64  # in units of ε, of the steps of an interval and their QR
SATURATED = 0.1  # nats; a larger change means that another vector has taken over


def rounding_errors(given: Problem, found: Sequence[Growth], last: Problem) -> np.ndarray:
    """What rounding errors do to the exponents (B, k) of each trajectory, from its growth.

    The problem that is given may lack its inputs; its last steps are measured, which are there."""
    if given.lengths is not None:
        alone = [given.alone(b) for b in range(len(found))]
        return np.vstack([rounding_errors(of, [one], of) for of, one in zip(alone, found)])
    if given.x.dtype != np.float64 and all(growth.dtype == np.float64 for growth in found):
        given, last = given.in_float64(), last.in_float64()
    of = may_matter(given, found)
    if not of.any():
        return np.zeros((len(found), len(of)))
    measured = np.array(each_trajectory(lambda b: measured_errors(last.alone(b)), len(found)))
    measured[:, ~of] = 0.0
    return measured


def may_matter(given: Problem, found: Sequence[Growth]) -> np.ndarray:
    """Of which exponents (k,) rounding errors are to be measured: of none where a starting block does not show it.

    Of a vector that some step leaves below rounding, and of those after it, what is unknown was
    found in that step."""
    log_R = np.array([growth.log_growth for growth in found])
    below = np.any([growth.below_rounding for growth in found], axis=0)
    ahead = int(np.argmax(below)) if below.any() else len(below)
    none, most = np.zeros(len(below), bool), TRANSIENT * -float(np.log(np.finfo(given.x.dtype).eps))
    if given.plan.t_ons == 1:
        # in each step of the first half of a run a start gains less than growth rates differ by
        with np.errstate(invalid="ignore"):  # of -inf
            largest = len(log_R[0]) // 2 * np.ptp(log_R, axis=1).max(initial=0.0)
        if largest <= most:
            return none
    steps = differences(np.flatnonzero(given.plan.factor_after >= 0) + 1, given.plan.transient)
    sigmas = 0.0 if len(steps) < SHORT_RUN else 5.0
    if not (excess(log_R[:, :, :ahead], steps, sigmas) > most).any():
        return none
    return np.arange(len(below)) < ahead


def measured_errors(given: Problem) -> np.ndarray:
    """Error (k,) of the exponents of one trajectory, in nats per step; infinite where rounding errors outgrow."""
    eps = float(np.finfo(given.x.dtype).eps)
    plan = given.plan
    span = min(plan.steps - plan.transient, RECENT) // 2  # in the first half the block aligns
    middle = plan.steps - span
    late = schedule(plan.steps, plan.t_ons, middle - span, 0)
    given = given.in_float64()._replace(plan=late)
    marks = np.linspace(middle, plan.steps, TIMES, endpoint=False).astype(int)
    marks = np.unique(marks).tolist()
    rng = np.random.default_rng(0)

    def disturb(block: np.ndarray) -> None:
        # the first vector is scaled and never projected: rounding does not touch its zeros
        size = np.abs(block)
        size[1:] = size[1:].max(axis=1, keepdims=True)
        block += DISTURBANCE * rng.standard_normal(block.shape) * size

    clean = volume_growth(given).log_growth
    disturbed = volume_growth(given, disturb, marks).log_growth
    with np.errstate(invalid="ignore"):  # of -inf
        change = np.nan_to_num(np.abs((disturbed - clean).sum(axis=0)), nan=0.0)
    roundings = (late.factor_after[middle:] >= 0).sum() / len(marks)
    errors = ROUNDINGS * eps / DISTURBANCE * roundings * change / span
    return np.where(change > SATURATED, np.inf, errors)
