"""How often to reorthonormalise: t_ons chosen from a short sweep (paper, App. J)."""

from typing import Any

import numpy as np

from lyapflow.cells.interface import Sizes
from lyapflow.lyapunov.forward import Schedule, schedule
from lyapflow.lyapunov.growth import volume_growth

LONGEST = 48  # steps of the short sweep, and of an interval


def automatic(cell: Any, size: Sizes, x: np.ndarray, h0: np.ndarray, block: np.ndarray, plan: Schedule) -> int:
    """The longest interval over which no R_ii, wherever it starts, falls below ε^(1/6) of the largest of any.

    The ratio bounds the condition number of an interval from below. ε^(-1/6) keeps QR on its fastest path, and the
    margin to ε^(-1/2), where the sweep itself finds an interval in doubt, is for what the ratio misses. It is
    measured over an eighth of the counted steps, 48 at most, of one trajectory: inputs x (T, 1, m), state h0
    (1, n_state), block (k, n_state). What comes later the sweep sees by itself: it shortens intervals.
    """
    counted = int(plan.ends[-1])
    uncounted, length = plan.steps - counted, min(LONGEST, max(1, counted // 8))
    short = schedule(uncounted + length, 1, plan.transient, uncounted - plan.transient)
    steps = volume_growth(cell, size, x[: short.steps], h0, block, short).log_growth[short.uncounted :]
    steps = steps[:, np.isfinite(steps).all(axis=0)]  # what is lost is in nobody's way
    if steps.size == 0:
        return 1
    t_ons, growth = 1, np.cumsum(np.vstack([np.zeros(steps.shape[1]), steps]), axis=0)
    most, bound = steps.max(), -np.log(np.finfo(x.dtype).eps) / 6
    while t_ons < length:
        longer = growth[t_ons + 1 :] - growth[: -t_ons - 1]
        most = max(most, longer.max())
        if most - longer.min() > bound:
            break
        t_ons += 1
    return t_ons
