"""Which vectors of a tangent block are lost exactly, decided by repeating the sweep modulo a prime."""

from typing import NamedTuple

import numpy as np

from lyapflow._engine.jit import jit
from lyapflow._engine.pool import check_interrupt
from lyapflow.cells.interface import step
from lyapflow.cells.step_jacobian import JacobianWorkspace, jacobian_workspace, linearise
from lyapflow.linalg.elementary import copy
from lyapflow.linalg.modular import independent, multiply, residues
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.segments import jacobians_per_segment
from lyapflow.lyapunov.sweep import new_drive


class _Workspace(NamedTuple):
    """The state of one trajectory, and scratch of a step."""

    h: np.ndarray  # (1, n_state)
    h_next: np.ndarray  # (1, n_state)
    record: np.ndarray  # (1, n_record)
    jacobian: JacobianWorkspace


@jit
def _carry(drive, start, stop, work, block, block_next):
    """Take state and block through the steps from start to stop."""
    cell, transposed = drive.cell, drive.transposed
    h, h_next, record = work.h, work.h_next, work.record
    DT = work.jacobian.DT
    for t in range(start, stop):
        if t < drive.plan.transient:
            step(cell, transposed, h, drive.x[t], h_next, record)
        else:
            linearise(cell, transposed, h, drive.x[t], h_next, record, work.jacobian)
            residues(DT, DT)
            multiply(block, DT, block_next)
            copy(block_next, block)
        copy(h_next, h)


class ExactBlock:
    """A tangent block ``D_t ... D_0 Q`` of float64 numbers, exactly, as residues modulo a prime.

    It is carried no further than it is asked for: most sweeps never ask.
    """

    def __init__(self, given: Problem) -> None:
        self.t = 0
        self.block = np.empty_like(given.block)
        residues(given.block, self.block)
        self._drive = new_drive(given)
        self._segment = jacobians_per_segment(given.size)
        self._work = _Workspace(
            given.h0.copy(),
            np.empty_like(given.h0),
            np.empty((1, given.size.record)),
            jacobian_workspace(given.size),
        )

    def lost(self, t: int) -> list[int]:
        """Vectors that depend, after step t, on those before them."""
        block_next = np.empty_like(self.block)
        while self.t <= t:
            check_interrupt()
            stop = min(self.t + self._segment, t + 1)
            _carry(self._drive, self.t, stop, self._work, self.block, block_next)
            self.t = stop
        kept = np.empty(len(self.block), bool)
        independent(self.block.copy(), kept)
        return np.flatnonzero(~kept).tolist()

    def keep(self, rows: int) -> None:
        """Go on with the leading vectors alone."""
        self.block = self.block[:rows].copy()
