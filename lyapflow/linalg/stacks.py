"""The public QR and its pullback, of one matrix or of a stack in parallel."""

from __future__ import annotations

import os
import threading

import numba
import numpy as np
from numba import prange
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.pool import threads
from lyapflow.errors import LyapflowError
from lyapflow.linalg.householder import by_householder
from lyapflow.linalg.panels import solve
from lyapflow.linalg.products import gemm
from lyapflow.linalg.qr import independent_rows, rounding, row_lengths
from lyapflow.linalg.qr_pullback import pull_back


class _ParallelKernel:
    """Whoever runs a parallel kernel holds this.

    Numba's threading layers abort the process where one starts while another runs, and in a fork of
    a process that has run one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: int | None = None

    def allowed(self) -> bool:
        """Whether this process is not a fork of one that has run a parallel kernel."""
        return self._process in (None, os.getpid())

    def __enter__(self) -> None:
        self._lock.acquire()
        self._process = os.getpid()
        numba.set_num_threads(min(threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]

    def __exit__(self, *_: object) -> None:
        self._lock.release()


parallel_kernel = _ParallelKernel()


def transposed(A: np.ndarray) -> np.ndarray:
    """A stack (..., n, k) as a stack (s, k, n) of the transposed matrices, copied."""
    return np.array(A.reshape(-1, *A.shape[-2:]).transpose(0, 2, 1), order="C")


@jit(parallel=True, allocates=True)
def _orthonormalise_stack(blocks, Q, L, resolution, ranks):
    for s in prange(len(blocks)):
        ranks[s] = _orthonormalise_one(blocks[s], Q[s], L[s], resolution)


@jit(allocates=True)
def _orthonormalise_one(block, Q, L, resolution):
    k = len(block)
    lengths, noise = np.empty(k), np.empty(k)
    row_lengths(block, lengths)
    by_householder(block, Q, L, np.empty(33 * k))
    return independent_rows(L, resolution, 0.0, lengths, noise)


def qr(A: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """QR factorisation ``A = Q R`` with ``R_ii > 0``, of one matrix or of a stack in parallel.

    Parameters
    ----------
    A : array (..., n, k), n >= k
        Matrices of full column rank, float64 or float32.

    Returns
    -------
    Q : array (..., n, k)
        Orthonormal columns.
    R : array (..., k, k)
        Upper triangular with positive diagonal.

    Raises
    ------
    LyapflowError
        If A is not such an array, or a column depends on those before it: ``R_jj <= n ε max_i
        |R_ij|``.

    Notes
    -----
    Householder's method (LAPACK ``geqrf``, ``orgqr``) in float64, then the signs are turned. Sweeps
    take a faster way where it is safe.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> Q, R = lf.qr(np.array([[3.0, 1.0], [4.0, 2.0]]))
    >>> R.round(12)
    array([[5. , 2.2],
           [0. , 0.4]])
    """
    A = _checks.array("A", A, ("...", "n", "k"))
    *stack, n, k = A.shape
    if not n >= k >= 1:
        raise LyapflowError(
            f"A must have at least as many rows as columns, and a column, got shape {A.shape}"
        )
    blocks = transposed(A.astype(float))
    Q, L = np.empty_like(blocks), np.empty((len(blocks), k, k))
    ranks = np.empty(len(blocks), np.int64)
    resolution = rounding(n, A.dtype)
    with one_blas_thread():
        if len(blocks) > 1 and parallel_kernel.allowed():
            with parallel_kernel:
                _orthonormalise_stack(blocks, Q, L, resolution, ranks)
        else:
            for s in range(len(blocks)):
                ranks[s] = _orthonormalise_one(blocks[s], Q[s], L[s], resolution)
    if (ranks < k).any():
        first = int(np.argmax(ranks < k))
        where = f" of matrix {tuple(map(int, np.unravel_index(first, stack)))}" if stack else ""
        raise LyapflowError(
            f"A must have independent columns: column {ranks[first]}{where} is a combination of those before it"
        )
    factors = (transposed(a).astype(A.dtype) for a in (Q, L))
    return tuple(a.reshape(*stack, *a.shape[1:]) for a in factors)  # type: ignore[return-value]


@jit(allocates=True)
def _pull_back_one(Q, L, Q_bar, L_bar, A_bar):
    M, F = np.empty_like(L), np.empty_like(L)
    gemm(L, True, L_bar, False, 1.0, 0.0, M)
    solve(L, F)
    pull_back(Q, F, Q_bar, M, A_bar)


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
    Paper, Eq. 8; Walter and Lehmann, *Algorithmic differentiation of linear algebra functions*
    (2018).

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
        raise LyapflowError(
            f"Q must have at least as many rows as columns, and a column, got shape {Q.shape}"
        )
    R = _checks.array("R", R, (*Q.shape[:-2], k, k), like=Q)
    Q_bar = _checks.array("Q_bar", Q_bar, Q.shape, like=Q)
    R_bar = _checks.array("R_bar", R_bar, R.shape, like=Q)
    diagonal = np.diagonal(R, axis1=-2, axis2=-1)
    if not (diagonal > 0).all():
        raise LyapflowError(
            f"R must have a positive diagonal, as qr returns it, got {diagonal.min()} on it"
        )
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
