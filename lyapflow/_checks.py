"""Argument checks and the errors they raise; only public functions call them."""

import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

DTYPES = (np.dtype(np.float64), np.dtype(np.float32))


def printable(text: str) -> str:
    """Text, maybe from a file that means no good, with whatever a terminal would act on written as ``repr`` has it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class LyapflowError(ValueError):
    """Every error of a user's making, in one line: the rule, what was received, the way out."""

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
        self.epoch, self.step, self.member, self.rank, self.history = epoch, step, member, rank, history

    @classmethod
    def not_finite(cls, what: str, step: int, rows: np.ndarray, way_out: str) -> "Diverged":
        """Of a step at which rows, one for each trajectory, are not all finite."""
        lost = ~np.isfinite(rows).all(axis=-1)
        member = int(np.argmax(lost)) if len(lost) > 1 else None
        return cls(f"{what} stopped being finite at step {step}: {way_out}", step=step, member=member)

    def at(self, where: str, epoch: int, history: Any) -> "Diverged":
        """The same error with its place in a run put before it."""
        return Diverged(
            f"{where}{self}", epoch=epoch, step=self.step, member=self.member, rank=self.rank, history=history
        )


class LyapflowWarning(UserWarning):
    """What is probably not meant, or a number that cannot be trusted: one line with the rule and the way out."""


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
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
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


def array(name: str, value: Any, shape: Sequence[int | str] | None = None, *, like: Any = None) -> np.ndarray:
    """A C-contiguous, writable, finite float array of the wanted shape and dtype.

    ``shape`` has a number where the length is fixed and a letter where it is free; ``...`` first allows any leading
    axes. ``like`` is an array whose dtype must be met.
    """
    not_masked(name, value)
    try:
        result = np.asarray(value)
    except ValueError as error:
        raise LyapflowError(f"{name} must be an array, got {type(value).__name__} ({error})") from None
    if result.dtype == object:
        raise LyapflowError(f"{name} must be an array of numbers, got {type(value).__name__}")
    if result.dtype not in DTYPES:
        wanted = np.dtype(np.float64) if like is None else like.dtype
        raise LyapflowError(
            f"{name} must be of dtype float64 or float32, got {result.dtype}; convert it with .astype(np.{wanted})"
        )
    if like is not None and result.dtype != like.dtype:
        raise LyapflowError(
            f"all arrays must be of one dtype, got {name} in {result.dtype} beside {like.dtype}; "
            f"convert it with .astype(np.{like.dtype})"
        )
    if shape is not None and not _fits(result.shape, list(shape)):
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise LyapflowError(f"{name} must have shape ({wanted}), got {result.shape}")
    if not np.isfinite(result).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        raise LyapflowError(f"{name} must be finite, got {result[index]} at index {index}")
    return np.require(result, requirements=["C", "W", "A"])


def not_masked(name: str, value: Any) -> None:
    """Refuse an array, or a sequence of arrays, of which anything is masked: nothing that follows knows masks."""
    if any(map(np.ma.is_masked, value if isinstance(value, (list, tuple)) else [value])):
        raise LyapflowError(
            f"{name} must have no masked entries, for a mask would be ignored; "
            f"fill them with .filled(value), or cut them out"
        )


def ndim(value: Any) -> int:
    """Number of axes; 0 for what is no array."""
    try:
        return np.ndim(value)
    except ValueError:
        return 0


def _fits(actual: tuple[int, ...], wanted: list) -> bool:
    if wanted and wanted[0] == "...":
        wanted = wanted[1:]
        actual = actual[max(0, len(actual) - len(wanted)) :]
    return len(actual) == len(wanted) and all(w == a for w, a in zip(wanted, actual) if isinstance(w, int))


def integer(name: str, value: Any, low: int, high: int | None = None, why: str = "") -> int:
    """An integer between two bounds, both included."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        rule = f"between {low} and {high}" if high is not None else f"at least {low}"
        raise LyapflowError(f"{name} must be an integer {rule}{why}, got {value!r}")
    return int(value)


def number(name: str, value: Any, low: float, high: float = np.inf, *, open_low: bool = False) -> float:
    """A finite real number between two bounds."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    try:
        found = float(value) if real else np.nan
    except OverflowError:
        found = np.inf
    if not np.isfinite(found) or not low <= found <= high or (open_low and found == low):
        rule = f"above {low}" if open_low else f"at least {low}"
        rule += f" and at most {high}" if np.isfinite(high) else ""
        raise LyapflowError(f"{name} must be a finite number {rule}, got {value!r}")
    return found


def affordable(what: str, numbers: int) -> None:
    """Refuse so many float64 where the machine's memory would not hold them twice."""
    if 8 * numbers > half_of_memory():
        raise LyapflowError(
            f"{what} would take {8 * numbers // 10**9} GB, more than half of this machine's memory; make it smaller"
        )


def half_of_memory() -> int:
    """In bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    """One word out of a few."""
    if not isinstance(value, str) or value not in allowed:
        raise LyapflowError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def dtype(value: Any) -> np.dtype:
    """float64 or float32, by any name NumPy has for them."""
    try:
        result = np.dtype(value)
    except (TypeError, ValueError, SyntaxError):
        result = np.dtype(object)
    if result not in DTYPES:
        raise LyapflowError(f"dtype must be float64 or float32, got {value!r}")
    return result


def generator(name: str, value: Any) -> np.random.Generator:
    """A NumPy random generator."""
    if not isinstance(value, np.random.Generator):
        raise LyapflowError(f"{name} must be a numpy.random.Generator, such as np.random.default_rng(0), got {value!r}")
    return value
