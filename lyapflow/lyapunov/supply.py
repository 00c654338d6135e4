"""Inputs piece by piece: parts of an array, or results of a function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow.cells.interface import first_array, sizes
from lyapflow.errors import LyapflowError
from lyapflow.lyapunov.problem import inputs

PIECE = 2**22  # numbers that a step's inputs, or its growth rates, may be at a time, about


class Supply(NamedTuple):
    """Inputs of a cell from step number `first` on, as far as the step number `stop`, which is not among them."""

    cell: Any
    of: np.ndarray | Callable[[int, int], Any]  # (T, B, m), or a function of two step numbers
    first: int
    stop: int
    pieces: int = 0  # how many there are to be at least

    def piece(self, batch: int, t_ons: int) -> int:
        """How many steps to take at a time, so that what they need takes no more memory than it must."""
        size = sizes(self.cell)
        most = PIECE // (batch * max(size.inputs, size.state))
        return max(min(most, (self.stop - self.first) // max(1, self.pieces)), 4 * t_ons)

    def between(self, start: int, stop: int, batch: int | None = None) -> np.ndarray:
        """Inputs (stop - start, B, m), of so many trajectories, if that is known."""
        if isinstance(self.of, np.ndarray):
            return self.of[start - self.first : stop - self.first]
        given = self.of(start, stop)
        if given is None:
            raise LyapflowError(f"x({start}, {stop}) must return inputs, got None")
        found, _ = inputs(given, sizes(self.cell), first_array(self.cell))
        if len(found) != stop - start:
            raise LyapflowError(
                f"x({start}, {stop}) must return the inputs of {stop - start} steps, got those of {len(found)}"
            )
        if batch not in (None, found.shape[1]):
            raise LyapflowError(
                f"x({start}, {stop}) must return the inputs of {batch} trajectories, as before, "
                f"got those of {found.shape[1]}"
            )
        return found


def supply(
    cell: Any, x: Any, steps: Any, max_steps: Any, h0: Any, first: int = 0, pieces: int = 0
) -> Supply:
    """The supply of a checked cell; arguments as of `lyapunov_spectrum`, whose first step has the number `first`."""
    most = None if max_steps is None else _checks.integer("max_steps", max_steps, 1)
    if callable(x):
        if (steps is None) == (most is None):
            raise LyapflowError(
                "where x is a function, give either steps, how many to take, or, with until_stderr, max_steps, "
                f"how many at most; got {'neither' if steps is None else 'both'}"
            )
        count = _checks.integer("steps", steps, 1) if most is None else most
        return Supply(cell, x, first, first + count, pieces)
    found, _ = inputs(
        x, sizes(cell), first_array(cell), most if steps is None and x is None else steps, h0
    )
    count = len(found) if most is None else min(len(found), most)
    return Supply(cell, found, first, first + count, pieces)
