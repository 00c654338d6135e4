"""The Jacobian of one step, as a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow.cells import interface
from lyapflow.cells.interface import C, Cell
from lyapflow.cells.layers import Layers, of_layer
from lyapflow.cells.step_jacobian import jacobian_workspace, linearise
from lyapflow.ensemble import Ensemble, over_members


@jit
def _jacobian(cell, turned, h, x, D):
    interface.jacobian(cell, turned, h, x, D)


def with_jacobian(cell: C) -> C:
    """The cell, checked to have all that its Jacobian takes."""
    generics: tuple = (interface.step, interface.tangent)
    if interface.has(cell, interface.jacobian):
        generics = (interface.jacobian,)
    cell = interface.checked(cell, *generics)
    if isinstance(cell, Layers):
        for number, layer in enumerate(cell.layers[1:], 1):
            with of_layer(number, 2):
                interface.checked(layer, interface.driven_tangent)
    return cell


def _checked(cell: C, h: Any, x: Any) -> tuple[C, np.ndarray, np.ndarray]:
    cell = with_jacobian(cell)
    size = interface.sizes(cell)
    h = _checks.data("h", h, (size.state,), like=interface.first_array(cell))
    return cell, h, _checks.data("x", x, (size.inputs,), like=interface.first_array(cell))


@jit
def _moved(cell, turned, h, x, Q, X, h_next, record, Q_next, work):
    interface.step(cell, turned, h, x, h_next, record)
    if X is None:
        interface.tangent(cell, turned, record[0], Q, Q_next, work)
    else:
        interface.driven_tangent(cell, turned, record[0], Q, X, Q_next, work)


def _of_layers(network: Layers, h: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The Jacobian of all layers: what unit vectors move in one layer moves the input of the next."""
    n, ends = h.size, np.cumsum([interface.sizes(layer).state for layer in network.layers])
    DT, X = np.zeros((n, n), h.dtype), None
    for layer, end in zip(network.layers, ends):
        size = interface.sizes(layer)
        own = slice(end - size.state, end)
        h_next, record = np.empty((1, size.state), h.dtype), np.empty((1, size.record), h.dtype)
        moved, work = np.empty((n, size.state), h.dtype), np.empty((n, size.tangent_work), h.dtype)
        unit = np.eye(n, dtype=h.dtype)[:, own].copy()
        turned = interface.transposed(layer)
        with one_blas_thread():
            _moved(layer, turned, h[None, own], x[None], unit, X, h_next, record, moved, work)
        DT[:, own] = moved
        x, X = h_next[0, : size.units], moved[:, : size.units].copy()
    return np.ascontiguousarray(DT.T)


def jacobian_of(cell: Any, h: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`jacobian` of checked arguments."""
    if isinstance(cell, Layers):
        return _of_layers(cell, h, x)
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
    Written out analytically for each cell of the package; of a network of layers made of these; of a cell without
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
    return jacobian_of(*_checked(cell, h, x))
