"""The Jacobian of one step, D, from what the step does to each unit vector."""

from typing import NamedTuple

import numpy as np

from lyapflow._engine.jit import jit
from lyapflow.cells.interface import Sizes, step, tangent


class JacobianWorkspace(NamedTuple):
    """A Jacobian, and what `linearise` takes to find it."""

    basis: np.ndarray  # (n, n), the identity
    DT: np.ndarray  # (n, n), D^T: its rows are D e_i
    tangent: np.ndarray  # (n, tangent_work), scratch


def jacobian_workspace(size: Sizes, dtype: np.dtype = np.dtype(np.float64)) -> JacobianWorkspace:
    n = size.state
    work = np.empty((n, size.tangent_work), dtype)
    return JacobianWorkspace(np.eye(n, dtype=dtype), np.empty((n, n), dtype), work)


@jit
def linearise(cell, transposed, h, x, h_next, record, work):
    """The next state of one, h (1, n_state), and work.DT."""
    step(cell, transposed, h, x, h_next, record)
    tangent(cell, transposed, record[0], work.basis, work.DT, work.tangent)
