r"""Pullback of QR (paper, Eq. 8), general in both cotangents, and for a loss of log R alone.

.. math:: \bar A = [\bar Q + Q\,\mathrm{copyltu}(M)]\,R^{-T}, \qquad M = R \bar R^T - \bar Q^T Q,

with :math:`\mathrm{copyltu}(M)_{ij} = M_{\max(i,j),\min(i,j)}`. Where the loss sees R only through
:math:`\sum_i g_i \log R_{ii}`, the lower triangle of :math:`R \bar R^T` is diag(g): no division by R_ii is left but
the triangular solve. Kernels work on blocks of rows and on ``L = R^T`` (see `lyapflow.linalg.qr`).
"""

import numpy as np
from numba import prange
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.by_address import ByAddress
from lyapflow._engine.jit import jit
from lyapflow._engine.parallel import parallel_kernel
from lyapflow._engine.views import window
from lyapflow.errors import LyapflowError
from lyapflow.linalg.products import LOWER_RESULT, UPPER_FACTOR, gemm, gemm_part
from lyapflow.linalg.qr import group, panel, panels, solve, transposed


@jit(inline="always")
def _pull_back(Q, F, Q_bar, M, A_bar):
    """Sets ``A_bar`` (k, n), given the lower triangle of ``R R_bar^T`` in M (k, k); Q_bar is overwritten."""
    gemm_part(Q_bar, False, Q, True, -1.0, 1.0, M, LOWER_RESULT)
    for i in range(len(M)):
        for j in range(i):
            M[j, i] = M[i, j]
    gemm(M, False, Q, False, 1.0, 1.0, Q_bar)
    for p in range(panels(len(M)) - 1, -1, -1):  # A_bar = L^-T Q_bar, the last panel first
        start, stop = panel(p, len(M))
        first, last = group(p, len(M))
        rows, new = window(Q_bar, start, stop), window(A_bar, start, stop)
        gemm_part(window(F, start, stop, start, stop), True, rows, False, 1.0, 0.0, new, UPPER_FACTOR)
        gemm(window(F, start, stop, first, start), True, new, False, -1.0, 1.0, window(Q_bar, first, start))
        if start == first:
            along, together = window(F, first, last, 0, first), window(A_bar, first, last)
            gemm(along, True, together, False, -1.0, 1.0, window(Q_bar, 0, first))


@jit
def _pull_back_log(Q, F, g, Q_bar, M, A_bar):
    """Pullback for a loss with gradient g (k,) in log R_ii: sets A_bar; Q_bar and M (k, k) are scratch afterwards.

    F is the solved factor of ``L = R^T``.
    """
    M[:] = 0.0
    for i in range(len(M)):
        M[i, i] = g[i]
    _pull_back(Q, F, Q_bar, M, A_bar)


def _arguments(dtype):
    block = types.Array(dtype, 2, "C")
    return block, block, types.Array(dtype, 1, "C"), block, block, block


pullbacks = ByAddress("pullbacks", _pull_back_log, _arguments)


@intrinsic
def pull_back_log(typingctx, Q, F, g, Q_bar, M, A_bar):
    """`_pull_back_log` by its address."""
    return pullbacks.call(Q.dtype, Q, F, g, Q_bar, M, A_bar)


@jit(allocates=True)
def _pull_back_one(Q, L, Q_bar, L_bar, A_bar):
    M, F = np.empty_like(L), np.empty_like(L)
    gemm(L, True, L_bar, False, 1.0, 0.0, M)
    solve(L, F)
    _pull_back(Q, F, Q_bar, M, A_bar)


@jit(parallel=True, allocates=True)
def _pull_back_stack(Q, L, Q_bar, L_bar, A_bar):
    for s in prange(len(Q)):
        _pull_back_one(Q[s], L[s], Q_bar[s], L_bar[s], A_bar[s])


def qr_pullback(Q: ArrayLike, R: ArrayLike, Q_bar: ArrayLike, R_bar: ArrayLike) -> np.ndarray:
    r"""Cotangent of A from the cotangents of its QR factors.

    .. math:: \bar A = [\bar Q + Q\,\mathrm{copyltu}(R \bar R^T - \bar Q^T Q)]\,R^{-T}

    Parameters
    ----------
    Q : array (..., n, k)
    R : array (..., k, k)
        Factors as `qr` returns them.
    Q_bar, R_bar : arrays of the same shapes
        Derivatives of a loss in Q and in R; only the upper triangle of R_bar counts.

    Returns
    -------
    A_bar : array (..., n, k)

    Raises
    ------
    LyapflowError
        If shapes or dtypes do not fit, or R has a diagonal that is not positive.

    Notes
    -----
    Paper, Eq. 8; Walter and Lehmann, *Algorithmic differentiation of linear algebra functions* (2018).

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> Q, R = lf.qr(np.array([[3.0, 1.0], [4.0, 2.0]]))
    >>> R_bar = np.diag([1 / R[0, 0], 0.0])  # of the loss log R_00
    >>> lf.qr_pullback(Q, R, np.zeros((2, 2)), R_bar).round(12)
    array([[0.12, 0.  ],
           [0.16, 0.  ]])
    """
    Q = _checks.array("Q", Q, ("...", "n", "k"))
    n, k = Q.shape[-2:]
    if not n >= k >= 1:
        raise LyapflowError(f"Q must have at least as many rows as columns, and a column, got shape {Q.shape}")
    R = _checks.array("R", R, (*Q.shape[:-2], k, k), like=Q)
    Q_bar = _checks.array("Q_bar", Q_bar, Q.shape, like=Q)
    R_bar = _checks.array("R_bar", R_bar, R.shape, like=Q)
    diagonal = np.diagonal(R, axis1=-2, axis2=-1)
    if not (diagonal > 0).all():
        raise LyapflowError(f"R must have a positive diagonal, as qr returns it, got {diagonal.min()} on it")
    stacks = [transposed(a) for a in (Q, np.triu(R), Q_bar, np.triu(R_bar))]
    A_bar = np.empty_like(stacks[0])
    with one_blas_thread():
        if len(A_bar) > 1 and parallel_kernel.allowed():
            with parallel_kernel:
                _pull_back_stack(*stacks, A_bar)
        else:
            for one in zip(*stacks, A_bar):
                _pull_back_one(*one)
    return transposed(A_bar).reshape(Q.shape)
