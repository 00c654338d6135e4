"""Movements X (k, m) of the input, for cells that see it through ``V x'`` alone.

The tangent of an argument ``a = W(..) + V x'`` is ``p_j = W(..) + V X_j``: X adds to p, and X̄ and V̄
are made of p̄. Where the input does not move, X and X_bar are None, of which compiled code has no
trace: so one kernel is both a cell's `driven_tangent` and its `tangent`."""

from typing import Any

from lyapflow._engine.jit import jit
from lyapflow.cells.interface import (
    driven_tangent,
    driven_tangent_pullback,
    implement,
    tangent,
    tangent_pullback,
)
from lyapflow.linalg.products import gemm


@jit
def add_driven(X, turned_V, p):
    """``p_j += V X_j`` for k tangent vectors."""
    if X is not None:
        gemm(X, False, turned_V, False, 1.0, 1.0, p)


@jit
def pull_driven_back(p_bar, V, X_bar):
    """``X_bar_j = V^T p_bar_j``."""
    if X_bar is not None:
        gemm(p_bar, False, V, False, 1.0, 0.0, X_bar)


def driven(cell_class: Any) -> Any:
    """Register a class's `tangent` and `tangent_pullback`: its driven ones without X."""
    implement(tangent, cell_class)(_tangent)
    implement(tangent_pullback, cell_class)(_tangent_pullback)
    return cell_class


def _tangent(cell, turned, record, Q, Q_next, work):
    driven_tangent(cell, turned, record, Q, None, Q_next, work)


def _tangent_pullback(cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work):
    driven_tangent_pullback(
        cell, turned, record, Q, None, Q_next_bar, Q_bar, None, h_bar, step_work, work
    )
