"""How often to reorthonormalise: t_ons chosen from a short sweep (paper, App. J)."""

import numpy as np

from lyapflow.lyapunov.growth import volume_growth
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.schedule import schedule

LONGEST = 48  # steps of the short sweep, and of an interval


def with_intervals(given: Problem) -> Problem:
    """The problem with intervals chosen, where that was asked for: from a short sweep of the first trajectory."""
    if not given.automatic:
        return given
    return given.with_interval(_longest_harmless(given.alone(0)))


def _longest_harmless(given: Problem) -> int:
    """The longest interval over which no R_ii, wherever it starts, falls below ε^(1/6) of the largest of any.

    The ratio bounds the condition number of an interval from below. ε^(-1/6) keeps QR on its
    fastest path, and the margin to ε^(-1/2), where the sweep itself finds an interval in doubt, is
    for what the ratio misses. It is measured over an eighth of the counted steps, 48 at most, of
    the one trajectory that is given. What comes later the sweep sees by itself: it shortens
    intervals."""
    plan = given.plan
    counted = int(plan.ends[-1])
    uncounted = plan.before
    length = min(LONGEST, max(1, counted // 8))
    short = schedule(uncounted + length, 1, plan.transient, uncounted - plan.transient)
    found = volume_growth(given._replace(x=given.x[: short.steps], plan=short))
    steps = found.log_growth[short.uncounted :]
    steps = steps[:, np.isfinite(steps).all(axis=0)]  # what is lost is in nobody's way
    if steps.size == 0:
        return 1
    growth = np.cumsum(np.vstack([np.zeros(steps.shape[1]), steps]), axis=0)
    bound = -np.log(np.finfo(given.x.dtype).eps) / 6
    most = steps.max()
    t_ons = 1
    while t_ons < length:
        longer = growth[t_ons + 1 :] - growth[: -t_ons - 1]
        most = max(most, longer.max())
        if most - longer.min() > bound:
            break
        t_ons += 1
    return t_ons
