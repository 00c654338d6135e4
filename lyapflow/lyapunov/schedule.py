"""The schedule of a sweep: which of its steps are counted, and after which a QR follows.

`transient` steps move the state alone, `q_transient` steps move state and tangent block without
counting, the rest is counted. The block is reorthonormalised every `t_ons` steps, after the last
uncounted step and after the last step.
"""

import functools
from typing import NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow.errors import LyapflowError


class Schedule(NamedTuple):
    """Which steps do what.

    Attributes
    ----------
    steps, transient : int
        All steps, and those that move the state alone.
    factor_after : int64 array (steps,)
        Number of the QR that follows a step, or -1.
    ends : int64 array (n_qr_counted,)
        Counted steps up to and including each counted QR.
    uncounted : int
        Number of QRs before counting starts.
    t_ons : int
        Steps of the longest interval between QRs.
    """

    steps: int
    transient: int
    factor_after: np.ndarray
    ends: np.ndarray
    uncounted: int
    t_ons: int

    @property
    def before(self) -> int:
        """Steps before counting starts."""
        return self.steps - int(self.ends[-1])

    @property
    def n_qr(self) -> int:
        return self.uncounted + len(self.ends)

    @property
    def intervals(self) -> np.ndarray:
        """Steps (n_qr_counted,) that each counted QR is behind the one before."""
        return differences(self.ends, 0)

    def with_interval(self, t_ons: int) -> "Schedule":
        """The same, with a QR after every t_ons steps."""
        return schedule(self.steps, t_ons, self.transient, self.before - self.transient)

    def of_length(self, steps: int) -> "Schedule":
        """The same for another number of steps."""
        return schedule(steps, self.t_ons, self.transient, self.before - self.transient)

    def between(self, start: int, stop: int) -> "Schedule":
        """The steps from start to stop as a sweep of its own, whose `ends` count from before."""
        number = self.factor_after[start:stop]
        before = int((self.factor_after[:start] >= 0).sum())
        after = before + int((number >= 0).sum())
        return self._replace(
            steps=stop - start,
            transient=min(max(self.transient - start, 0), stop - start),
            factor_after=np.where(number >= 0, number - before, -1),
            ends=self.ends[max(before - self.uncounted, 0) : max(after - self.uncounted, 0)],
            uncounted=min(max(self.uncounted - before, 0), after - before),
        )


def differences(ends: np.ndarray, start: int) -> np.ndarray:
    """How far each of some ends is from the one before, and the first from the start."""
    found = ends.copy()
    found[1:] -= ends[:-1]
    found[:1] -= start
    return found


def schedule(steps: int, t_ons: int, transient: int, q_transient: int) -> Schedule:
    """Lay out the reorthonormalisations of a sweep; raises LyapflowError where nothing is left to count."""
    t_ons = min(_checks.integer("t_ons", t_ons, 1), steps)
    transient = _checks.integer("transient", transient, 0)
    q_transient = _checks.integer("q_transient", q_transient, 0)
    counting = transient + q_transient
    if steps <= counting:
        raise LyapflowError(
            f"the input must be longer than its transients: got {steps} steps with transient={transient} "
            f"and q_transient={q_transient}"
        )

    _checks.affordable(f"the schedule of {steps} steps", 5 * steps)

    before, counted = _ends(q_transient, t_ons), _ends(steps - counting, t_ons)
    factor_after = np.full(steps, -1)
    at = np.concatenate([transient + before, counting + counted]) - 1
    factor_after[at] = np.arange(at.size)
    return Schedule(steps, transient, factor_after, counted, before.size, t_ons)


def intervals(steps: int, longest: int) -> np.ndarray:
    """The lengths of intervals that make up so many steps, all but the last being the longest."""
    return differences(_ends(steps, longest), 0)


def _ends(steps: int, longest: int) -> np.ndarray:
    return np.minimum(np.arange(longest, steps + longest, longest), steps)


@functools.lru_cache(maxsize=8)
def state_schedule(steps: int) -> Schedule:
    """A sweep of states alone."""
    return Schedule(steps, steps, np.full(steps, -1), np.empty(0, np.int64), 0, 1)
