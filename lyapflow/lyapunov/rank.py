"""Which vectors of a tangent block are lost exactly: the sweep once more, modulo a prime."""

from typing import Any

import numpy as np

from lyapflow._engine.jit import jit
from lyapflow._engine.pool import breathe
from lyapflow.cells.interface import Sizes, step, transposed
from lyapflow.cells.linearisation import linearise
from lyapflow.linalg.elementary import copy
from lyapflow.linalg.modular import independent, multiply, residues
from lyapflow.lyapunov.forward import steps_per_segment


@jit
def _carry(cell, turned, x, start, stop, transient, h, h_next, record, basis, DT, work, block, block_next):
    for t in range(start, stop):
        if t < transient:
            step(cell, turned, h, x[t], h_next, record)
        else:
            linearise(cell, turned, h, x[t], h_next, record, basis, DT, work)
            residues(DT, DT)
            multiply(block, DT, block_next)
            copy(block_next, block)
        copy(h_next, h)


class ExactBlock:
    """A tangent block ``D_t ... D_0 Q`` of float64 numbers, exactly, as residues modulo a prime.

    It is carried no further than it is asked for: most sweeps never ask.

    Parameters
    ----------
    x : array (T, 1, m)
    h0 : array (1, n_state)
    block : array (k, n_state)
    transient : int
        First steps, which move the state alone.
    """

    def __init__(
        self, cell: Any, size: Sizes, x: np.ndarray, h0: np.ndarray, block: np.ndarray, transient: int
    ) -> None:
        n = size.state
        self.cell, self.x, self.transient, self.t = cell, x, transient, 0
        self.block = np.empty_like(block)
        residues(block, self.block)
        self._turned = transposed(cell)
        self._state = h0.copy()
        self._scratch = (
            np.empty_like(h0),
            np.empty((1, size.record)),
            np.eye(n),
            np.empty((n, n)),
            np.empty((n, size.tangent_work)),
        )
        self._segment = -(-steps_per_segment(size, n) // 16)

    def lost(self, t: int) -> list[int]:
        """Vectors that depend, after step t, on those before them."""
        while self.t <= t:
            breathe()
            stop = min(self.t + self._segment, t + 1)
            _carry(
                self.cell,
                self._turned,
                self.x,
                self.t,
                stop,
                self.transient,
                self._state,
                *self._scratch,
                self.block,
                np.empty_like(self.block),
            )
            self.t = stop
        kept = np.empty(len(self.block), bool)
        independent(self.block.copy(), kept)
        return np.flatnonzero(~kept).tolist()

    def keep(self, rows: int) -> None:
        """Go on with the leading vectors alone."""
        self.block = self.block[:rows].copy()
