"""Check that flossing has left units that a readout can learn from: not all saturated."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lyapflow.cells.interface import Cell, sizes
from lyapflow.cells.layers import seen_units
from lyapflow.errors import Diverged, warn
from lyapflow.lyapunov.trajectory import trajectory

# nats per step: exponents this near to their targets, root mean square, have arrived
MET_TOLERANCE = 0.1
# of the input's relative variation; healthy units have 0.3 and more, saturated ones up to 0.09
STILL_VARIATION = 0.1
STILL_SHARE = 0.9  # of the units


def keeps_still(cell: Cell, x: ArrayLike | None, h0: ArrayLike | None, off: np.ndarray) -> bool:
    """Whether nearly all units keep still under a changing input although exponents are where they were wanted.

    Gates that let nothing go hold the exponents of an LSTM at 0 while its cell state c grows
    without bound. Then h = o tanh(c) is saturated: the exponents live in c alone, and a readout of
    h sees nothing of it."""
    if x is None or np.sqrt(np.mean(off**2)) > MET_TOLERANCE:
        return False
    try:
        states = trajectory(cell, x, h0)
    except Diverged:  # after the last update; the next use of the cell says so
        return False
    late = slice(len(states) // 2, None)  # from the zero state units move at first
    driving = np.asarray(x)[late]
    if not np.ptp(driving, axis=0).any():
        return False
    varies, size = _variation(driving)
    pace = np.linalg.norm(varies) / np.linalg.norm(size)
    varies, size = _variation(seen_units(cell, states[late]))
    return bool(np.mean(varies < STILL_VARIATION * pace * size) > STILL_SHARE)


def _variation(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation and root mean square over all axes but the last."""
    rows = a.reshape(-1, a.shape[-1]).astype(float)
    return rows.std(axis=0), np.sqrt(np.mean(rows**2, axis=0))


def warn_of_still_units(where: str, cell: Cell) -> None:
    warn(
        f"{where}flossing should leave units that follow the input, but nearly all {sizes(cell).units} of this "
        f"{type(cell).__name__} keep still, saturated, so that a readout sees nothing of what the exponents hold: "
        f"floss fewer exponents (lyapflow.recommended says how many), or at a smaller rate"
    )
