"""Errors and warnings about what users pass or ask for."""

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def printable(text: str) -> str:
    """Text, maybe from a file that means no good, with whatever a terminal would act on written as ``repr`` has it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class LyapflowError(ValueError):
    """Every error of a user's making, in one line: the rule, what was received, the way out.

    Examples
    --------
    >>> import lyapflow as lf
    >>> try:
    ...     lf.tasks.DelayedCopy(0)
    ... except lf.LyapflowError as error:
    ...     print(error)
    delay must be an integer at least 1, got 0
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(line.strip() for line in message.splitlines())))


class Diverged(LyapflowError):
    """A computation met a state, block or gradient that it cannot go on from.

    Attributes
    ----------
    epoch : int or None
        Epoch in which it happened, counted from 0.
    step : int or None
        Time step in which it happened, counted from 0.
    member : int or None
        Trajectory of the batch in which it happened; members of an ensemble raise nothing.
    rank : int or None
        Exponents that were left where a tangent block lost rank.
    history : object or None
        What was recorded before.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LinearRNN(np.array([[1e200]]), np.empty((1, 0)), np.zeros(1))
    >>> try:
    ...     lf.trajectory(cell, h0=np.ones(1), steps=5)
    ... except lf.Diverged as error:
    ...     print(error.step)
    1
    """

    def __init__(
        self,
        message: str,
        *,
        epoch: int | None = None,
        step: int | None = None,
        member: int | None = None,
        rank: int | None = None,
        history: Any = None,
    ) -> None:
        super().__init__(message)
        self.epoch, self.step, self.member, self.rank, self.history = (
            epoch,
            step,
            member,
            rank,
            history,
        )

    @classmethod
    def not_finite(cls, what: str, step: int, rows: np.ndarray, way_out: str) -> "Diverged":
        """Of a step at which rows, one for each trajectory, are not all finite."""
        lost = ~np.isfinite(rows).all(axis=-1)
        member = int(np.argmax(lost)) if len(lost) > 1 else None
        return cls(
            f"{what} stopped being finite at step {step}: {way_out}", step=step, member=member
        )

    def at(self, where: str, epoch: int, history: Any) -> "Diverged":
        """The same error with its place in a run put before it."""
        return Diverged(
            f"{where}{self}",
            epoch=epoch,
            step=self.step,
            member=self.member,
            rank=self.rank,
            history=history,
        )


class LyapflowWarning(UserWarning):
    """What is probably not meant, or a number that cannot be trusted: one line with the rule and the way out.

    Examples
    --------
    To silence what lyapflow warns of, or to make it an error:

    >>> import warnings, lyapflow as lf
    >>> warnings.filterwarnings("ignore", category=lf.LyapflowWarning)
    >>> warnings.filterwarnings("error", category=lf.LyapflowWarning)
    """


_here = threading.local()


def warn(message: str) -> None:
    """Warn with a LyapflowWarning at the line of the user's code that called the package.

    Inside `collected_warnings` the message is kept for whoever collects.
    """
    if (kept := getattr(_here, "warnings", None)) is not None:
        if message not in kept:
            kept.append(message)
        return
    depth, frame = 1, sys._getframe(1)
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] == __package__
    ):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(LyapflowWarning(message), stacklevel=depth + 1)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """What `warn` says in this thread, as a list, for a caller who will say it once in its own thread."""
    before, _here.warnings = getattr(_here, "warnings", None), []
    try:
        yield _here.warnings
    finally:
        _here.warnings = before
