"""Argument checks; only public functions call them."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lyapflow.errors import LyapflowError

DTYPES = (np.dtype(np.float64), np.dtype(np.float32))


def array(
    name: str, value: Any, shape: Sequence[int | str] | None = None, *, like: Any = None
) -> np.ndarray:
    """A C-contiguous, writable, finite float array of the wanted shape and dtype.

    ``shape`` has a number where the length is fixed and a letter where it is free; ``...`` first
    allows any leading axes. ``like`` is an array whose dtype must be met."""
    not_masked(name, value)
    try:
        result = np.asarray(value)
    except ValueError as error:
        raise LyapflowError(
            f"{name} must be an array, got {type(value).__name__} ({error})"
        ) from None
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
    flags = result.flags
    if flags.c_contiguous and flags.writeable and flags.aligned:
        return result  # `require` would take longer than all checks to find that out
    return np.require(result, requirements=["C", "W", "A"])


def data(name: str, value: Any, shape: Sequence[int | str], like: np.ndarray) -> np.ndarray:
    """As `array`; integers and booleans become floating-point numbers like a network's, if none is rounded."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "bui":
        return array(name, value, shape, like=like)
    not_masked(name, value)
    found = value.astype(like.dtype)
    if (rounded := found.astype(value.dtype) != value).any():
        raise LyapflowError(
            f"{name} has integers that {like.dtype} cannot represent, such as {value[rounded][0]}; scale them"
        )
    return array(name, found, shape, like=like)


def not_masked(name: str, value: Any) -> None:
    """Refuse an array, or a sequence of arrays, of which anything is masked: nothing that follows knows masks."""
    if any(map(np.ma.is_masked, value if isinstance(value, (list, tuple)) else [value])):
        raise LyapflowError(
            f"{name} must have no masked entries, for a mask would be ignored; "
            f"fill them with .filled(value), or cut them out"
        )


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise LyapflowError(f"{name} must be True or False, got {value!r:.80}")
    return bool(value)


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
    return len(actual) == len(wanted) and all(
        w == a for w, a in zip(wanted, actual) if isinstance(w, int)
    )


def integer(name: str, value: Any, low: int, high: int | None = None, why: str = "") -> int:
    """An integer between two bounds, both included."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        rule = f"between {low} and {high}" if high is not None else f"at least {low}"
        raise LyapflowError(f"{name} must be an integer {rule}{why}, got {value!r}")
    return int(value)


def integers(name: str, text: str, what: str) -> tuple[int, ...]:
    """Integers that are written with commas between them."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise LyapflowError(f"{name} must be {what} separated by commas, got {text!r}") from None


def number(
    name: str, value: Any, low: float, high: float = np.inf, *, open_low: bool = False
) -> float:
    """A finite real number between two bounds."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    try:
        found = float(value) if real else np.nan
    except OverflowError:
        found = np.inf
    if not np.isfinite(found) or not low <= found <= high or (open_low and found == low):
        rule = f" above {low}" if open_low else f" at least {low}" if np.isfinite(low) else ""
        rule += f" and at most {high}" if np.isfinite(high) else ""
        raise LyapflowError(f"{name} must be a finite number{rule}, got {value!r}")
    return found


def finite(name: str, value: Any) -> np.ndarray | None:
    """Finite real numbers as float64, in an array of any shape; None for anything else."""
    not_masked(name, value)
    try:
        found = np.asarray(value)
    except ValueError:  # ragged
        return None
    return found.astype(float) if found.dtype.kind in "iuf" and np.isfinite(found).all() else None


def affordable(what: str, numbers: int) -> None:
    """Refuse so many float64 where the machine's memory would not hold them twice."""
    if 8 * numbers > half_of_memory():
        raise LyapflowError(
            f"{what} would take {8 * numbers // 10**9} GB, more than half of this machine's memory; make it smaller"
        )


@functools.cache
def half_of_memory() -> int:
    """In bytes."""
    import psutil  # here, so that importing the package takes no longer

    return psutil.virtual_memory().total // 2


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
        raise LyapflowError(
            f"{name} must be a numpy.random.Generator, such as np.random.default_rng(0), got {value!r}"
        )
    return value
