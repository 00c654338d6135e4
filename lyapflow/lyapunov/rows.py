"""Growth rates of long runs: where there are too many, those of neighbouring QRs are added in pairs.

Which are added follows from their number alone, and sums are added in pairs again, so that a run
in pieces has the bits of one run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MOST = 2**20  # rows that are kept, if nothing else is asked for
FEWEST = 1024  # error bars need no more


class Rows(NamedTuple):
    """log R of one trajectory, at most so many rows of its counted QRs."""

    most: int
    uncounted: np.ndarray  # (n, k), a row for each QR before counting starts
    # (n, k) each, latest rows first: of sums over 1, 2, 4, ... QRs, one at most but in the last
    levels: list[np.ndarray]

    @property
    def each(self) -> int:
        """How many QRs a row stands for; the last one may stand for fewer."""
        return 2 ** (len(self.levels) - 1)

    def with_more(self, log_growth: np.ndarray) -> "Rows":
        """With those of further QRs."""
        counted = sum(len(rows) << level for level, rows in enumerate(self.levels))
        return self._replace(levels=_levels(self.levels, log_growth, counted, self.most))

    def together(self) -> np.ndarray:
        """All rows (n, k) in order of time, those that are not counted first."""
        *later, whole = self.levels
        rest = [rows for rows in reversed(later) if len(rows)]
        last = [np.sum(rest, axis=0)] if rest else []
        return np.concatenate([self.uncounted, whole, *last])


def first_rows(log_growth: np.ndarray, uncounted: int, most: int) -> Rows:
    """Those of the first QRs, so many of which are not counted."""
    k = log_growth.shape[1]
    nothing = Rows(most, log_growth[:uncounted].copy(), [np.empty((0, k))])
    return nothing.with_more(log_growth[uncounted:])


def side_by_side(of: Sequence[Rows]) -> Rows:
    """Those of several blocks as those of one."""
    levels = [np.hstack(level) for level in zip(*(rows.levels for rows in of))]
    return Rows(of[0].most, np.hstack([rows.uncounted for rows in of]), levels)


def _levels(
    before: list[np.ndarray], log_growth: np.ndarray, counted: int, most: int
) -> list[np.ndarray]:
    """Levels with more QRs, where so many were counted before."""
    number, arriving = counted + len(log_growth), log_growth
    found: list[np.ndarray] = []
    while True:
        level = len(found)
        rows = np.concatenate([before[level], arriving]) if level < len(before) else arriving
        if -(-number // 2**level) <= most and level + 1 >= len(before):
            return [*found, rows]
        pairs = len(rows) // 2 * 2
        arriving = rows[0:pairs:2] + rows[1:pairs:2]
        found.append(rows[pairs:].copy())
