"""Rules that end a training run early: callbacks of `lyapflow.train` and `lyapflow.resume`."""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from lyapflow import _checks
from lyapflow.learning.history import TrainingRecord

WINDOW = 20  # epochs, of which one mean is taken: one epoch's accuracy is noise


class StopRule(Protocol):
    """A callback that ends a run.

    Attributes
    ----------
    reason : str
        Why it ended the run; empty as long as it has not.
    """

    reason: str

    def __call__(self, record: Any) -> bool: ...


class AccuracyReached:
    """Ends a run when the mean accuracy of its last epochs reaches a goal; a rule serves one run.

    Of an ensemble, when all members have reached it; frozen ones do not count. Where the task has
    no accuracy, never.

    Parameters
    ----------
    goal : float
        Between 0 and 1.
    window : int
        Number of epochs that the mean is taken of.
    after : int
        Number of epochs before which it ends no run.
    before : iterable of TrainingRecord
        What was recorded before, of a run that goes on.

    Attributes
    ----------
    reason : str
        Why it ended the run; empty as long as it has not.

    Raises
    ------
    LyapflowError
        If goal, window or after is out of its range.

    Examples
    --------
    ::

        rules = [AccuracyReached(0.99), TimeLimit(minutes=60)]
        lf.train(model, task, epochs=10_000, seed=0, callbacks=rules)
    """

    def __init__(
        self,
        goal: float,
        *,
        window: int = WINDOW,
        after: int = 0,
        before: Iterable[TrainingRecord] = (),
    ) -> None:
        self.goal = _checks.number("goal", goal, 0.0, 1.0)
        self.after = _checks.integer("after", after, 0)
        self.reason = ""
        self.window = _checks.integer("window", window, 1)
        self._last: deque = deque(maxlen=self.window)
        self._epochs = 0
        for record in before:
            self._take(record)

    def __call__(self, record: Any) -> bool:
        if record.kind == "training":
            self._take(record)
        if self.reached():
            self.reason = f"accuracy {self.goal:g}"
        return bool(self.reason)

    def reached(self) -> bool:
        """Whether a run of the records so far is to end."""
        if len(self._last) < self.window or self._epochs < self.after:
            return False
        means = np.atleast_1d(np.mean(self._last, axis=0))
        means = means[~np.isnan(means)]  # one for each network that still learns
        return bool(means.size and (means >= self.goal).all())

    def _take(self, record: TrainingRecord) -> None:
        self._last.append(record.accuracy)
        self._epochs += 1


class TimeLimit:
    """Ends a run after so many minutes, counted from when the rule is made.

    Parameters
    ----------
    minutes : float

    Attributes
    ----------
    reason : str
        Why it ended the run; empty as long as it has not.

    Raises
    ------
    LyapflowError
        If minutes is negative or not finite.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes = _checks.number("minutes", minutes, 0.0)
        self.reason = ""
        self._begun = time.monotonic()

    def __call__(self, record: Any) -> bool:
        if time.monotonic() - self._begun >= 60 * self.minutes:
            self.reason = f"time limit of {self.minutes:g} minutes"
        return bool(self.reason)
