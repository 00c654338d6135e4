"""How often to reorthonormalise: t_ons chosen from a short sweep (paper, App. J)."""

from typing import Any

import numpy as np

from lyapflow.cells.interface import Sizes
from lyapflow.lyapunov.forward import schedule
from lyapflow.lyapunov.growth import volume_growth

LONGEST = 48  # steps of the short sweep, and of an interval


def automatic(
    cell: Any, size: Sizes, x: np.ndarray, h0: np.ndarray, block: np.ndarray, transient: int, q_transient: int
) -> int:
    """The longest interval over which no R_ii, wherever it starts, falls below ε^(1/6) of the largest of any.

    The ratio bounds the condition number of an interval from below. ε^(-1/6) keeps QR on its fastest path, and the
    margin to ε^(-1/2), where the sweep itself finds an interval suspicious, is for what the ratio misses. It is
    measured over an eighth of the counted steps, 48 at most, of one trajectory: inputs x (T, 1, m), state h0
    (1, n_state), block (k, n_state).
    """
    uncounted = transient + q_transient
    length = min(LONGEST, max(1, (len(x) - uncounted) // 8))
    plan = schedule(uncounted + length, 1, transient, q_transient)
    found = volume_growth(cell, size, x[: plan.steps], h0, block, plan)
    steps, t_ons = found.log_growth[plan.uncounted :], 1
    if not np.isfinite(steps).all():  # lost rank: intervals would be done again anyway
        return 1
    growth = np.cumsum(np.vstack([np.zeros(len(block)), steps]), axis=0)
    most, bound = steps.max(), -np.log(np.finfo(x.dtype).eps) / 6
    while t_ons < length:
        longer = growth[t_ons + 1 :] - growth[: -t_ons - 1]
        most = max(most, longer.max())
        if most - longer.min() > bound:
            break
        t_ons += 1
    return t_ons
