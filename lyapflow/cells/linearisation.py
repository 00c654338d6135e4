"""The Jacobian of one step, as a matrix."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow.cells import interface
from lyapflow.ensemble import over_members


@jit
def _jacobian(cell, turned, h, x, D):
    interface.jacobian(cell, turned, h, x, D)


def _checked(cell: Any, h: Any, x: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    cell = interface.checked(cell, interface.jacobian)
    size = interface.sizes(cell)
    h = _checks.array("h", h, (size.state,), like=cell[0])
    return cell, h, _checks.array("x", x, (size.inputs,), like=cell[0])


@over_members("h", "x", check=_checked, lost=lambda checked: np.full((checked[1].size,) * 2, np.nan))
def jacobian(cell: Any, h: ArrayLike, x: ArrayLike) -> np.ndarray:
    """One-step Jacobian ``D_ij = ∂f_i(h, x) / ∂h_j`` at the state *before* the step.

    Parameters
    ----------
    cell : cell
    h : array (n_state,)
    x : array (m,)

    Returns
    -------
    array (n_state, n_state)

    Raises
    ------
    LyapflowError
        If arguments do not fit the cell.

    Notes
    -----
    Written out analytically for each cell. Paper, Eq. 2 and Eq. 9.
    """
    cell, h, x = _checked(cell, h, x)
    D = np.empty((h.size, h.size), h.dtype)
    with one_blas_thread():
        _jacobian(cell, interface.transposed(cell), h, x, D)
    return D
