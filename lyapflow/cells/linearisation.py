"""The Jacobian of one step, as a matrix."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow.cells import interface
from lyapflow.cells.interface import C, Cell
from lyapflow.cells.step_jacobian import jacobian_workspace, linearise
from lyapflow.ensemble import Ensemble, over_members


@jit
def _jacobian(cell, turned, h, x, D):
    interface.jacobian(cell, turned, h, x, D)


def _checked(cell: C, h: Any, x: Any) -> tuple[C, np.ndarray, np.ndarray]:
    generics = (
        (interface.jacobian,)
        if interface.has(cell, interface.jacobian)
        else (interface.step, interface.tangent)
    )
    cell = interface.checked(cell, *generics)
    size = interface.sizes(cell)
    h = _checks.array("h", h, (size.state,), like=cell[0])
    return cell, h, _checks.array("x", x, (size.inputs,), like=cell[0])


@over_members(
    "h", "x", check=_checked, lost=lambda checked: np.full((checked[1].size,) * 2, np.nan)
)
def jacobian(cell: Cell | Ensemble, h: ArrayLike, x: ArrayLike) -> np.ndarray:
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
    Written out analytically for each cell of the package; of a cell without
    `lyapflow.cells.interface.jacobian`, its columns are the tangents of unit vectors. Paper, Eq. 2
    and Eq. 9.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> W = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> cell = lf.TanhRNN(W, np.empty((2, 0)), np.zeros(2))
    >>> lf.jacobian(cell, np.zeros(2), np.empty(0))  # W, since tanh'(0) = 1
    array([[1., 2.],
           [3., 4.]])
    """
    cell, h, x = _checked(cell, h, x)
    turned, n = interface.transposed(cell), h.size
    D = np.empty((n, n), h.dtype)
    with one_blas_thread():
        if interface.has(cell, interface.jacobian):
            _jacobian(cell, turned, h, x, D)
            return D
        work = jacobian_workspace(interface.sizes(cell), h.dtype)
        record = np.empty((1, interface.sizes(cell).record), h.dtype)
        linearise(cell, turned, h[None], x[None], np.empty((1, n), h.dtype), record, work)
    return np.ascontiguousarray(work.DT.T)
