"""The effect of rounding errors on exponents, measured by repeating the last steps with a disturbed block.

Each rounding error is a fresh vector of length ε beside an aligned one. In a long delay line with
strong contraction it outgrows that one by more than 1/ε: it lives on in old entries of the state
while the aligned vector shrinks. So the last steps are taken twice, from a fresh block. Once it has
aligned, it is disturbed now and then in one of the two, by DISTURBANCE. Growth rates that change by
Δ because of it change by ε / DISTURBANCE times as much because of rounding."""

import numpy as np

from lyapflow.lyapunov.course import Course
from lyapflow.lyapunov.error_bars import excess
from lyapflow.lyapunov.growth import RECENT, volume_growth
from lyapflow.lyapunov.problem import Problem, each_trajectory
from lyapflow.lyapunov.schedule import schedule

SHORT_RUN = 256  # QRs, which cost little to take again
TRANSIENT = 0.4  # of the digits, gained by a starting block: rounding errors may then matter
TIMES = 32
DISTURBANCE = 2.0**-40
ROUNDINGS = 64  # in units of ε, of the steps of an interval and their QR
SATURATED = 0.1  # nats; a larger change means that another vector has taken over


def rounding_errors(course: Course) -> np.ndarray:
    """What rounding errors do to the exponents (B, k) of each trajectory, measured along its last steps."""
    count = len(course.found)
    if course.begun.lengths is not None:
        return np.vstack([rounding_errors(course.alone(b)) for b in range(count)])
    of = may_matter(course)
    if not of.any():
        return np.zeros((count, len(of)))
    last = course.last
    if last.x.dtype != _dtype(course):
        last = last.in_float64()
    measured = np.array(each_trajectory(lambda b: measured_errors(last.alone(b)), count))
    measured[:, ~of] = 0.0
    return measured


def may_matter(course: Course) -> np.ndarray:
    """Of which exponents (k,) rounding errors are to be measured: of none where a starting block does not show it.

    Of a vector that some step leaves below rounding, and of those after it, what is unknown was
    found in that step."""
    log_R = np.array([rows.together() for rows in course.rows])
    below = np.any([growth.below_rounding for growth in course.found], axis=0)
    ahead = int(np.argmax(below)) if below.any() else len(below)
    none, most = (
        np.zeros(len(below), bool),
        TRANSIENT * -float(np.log(np.finfo(_dtype(course)).eps)),
    )
    if course.begun.plan.t_ons == 1:
        # in each step of the first half of a run a start gains less than growth rates differ by
        with np.errstate(invalid="ignore"):  # of -inf
            largest = len(log_R[0]) // 2 * np.ptp(log_R, axis=1).max(initial=0.0)
        if largest <= most:
            return none
    steps = np.concatenate(course.intervals)
    sigmas = 0.0 if len(steps) < SHORT_RUN else 5.0
    if not (excess(log_R[:, :, :ahead], steps, sigmas) > most).any():
        return none
    return np.arange(len(below)) < ahead


def _dtype(course: Course) -> np.dtype:
    """In which sweeps were done: float64, unless one of float32 was enough."""
    return min((growth.dtype for growth in course.found), key=lambda dtype: dtype.itemsize)


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
