"""QR with a positive diagonal of R, which makes the factors unique.

Inside the package a block of k tangent vectors is stored as k *rows*, so that a block is a batch of states, and
row-major memory is what column-major LAPACK expects. In that storage ``A = Q R`` reads ``A^T = L Q^T`` with
``L = R^T`` lower triangular: the kernels speak of blocks and of L, the public functions of Q and R.
"""

import numpy as np
from numba import prange
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._jit import jit, one_blas_thread, parallel_kernel
from lyapflow.linalg.lapack import geqrf, orgqr


def workspace(k: int, dtype: np.dtype) -> np.ndarray:
    """Scratch for `orthonormalise`: the reflectors' scalar factors, then LAPACK's blocks of 32 columns."""
    return np.empty(k + 32 * max(k, 1), dtype)


def rounding(n: int, dtype: np.dtype) -> float:
    """``n ε``: the rounding error of Householder's factorisation of a block (k, n), relative to each row."""
    return n * float(np.finfo(dtype).eps)


@jit
def orthonormalise(block, L, work, resolution):
    """Replace the rows of block (k, n) by orthonormal rows and set L (k, k) so that ``block_before = L block``.

    Returns the number of leading rows that are independent: k, or the index of the first row whose new direction
    ``L[j, j]`` is at most ``resolution max|L[j, :]|``. The test looks at each row alone, as the rounding error of
    Householder's factorisation does, so it does not depend on how rows are scaled.
    """
    k, n = block.shape
    tau, scratch = work[:k], work[k:]
    geqrf(block, tau, scratch)
    rank = k
    for j in range(k):
        largest = block.dtype.type(0.0)
        for i in range(j + 1):
            L[j, i] = block[j, i]
            largest = max(largest, abs(block[j, i]))
        L[j, j + 1 :] = 0.0
        if rank == k and not (abs(L[j, j]) > resolution * largest):  # NaN fails too
            rank = j
    orgqr(block, tau, scratch)
    for i in range(k):
        if L[i, i] < 0:
            for j in range(i, k):
                L[j, i] = -L[j, i]
            for j in range(n):
                block[i, j] = -block[i, j]
    return rank


def transposed(A: np.ndarray) -> np.ndarray:
    """A stack (..., n, k) as a stack (s, k, n) of the transposed matrices, copied."""
    return np.array(A.reshape(-1, *A.shape[-2:]).transpose(0, 2, 1), order="C")


@jit(parallel=True)
def _orthonormalise_stack(blocks, factors, work, resolution, ranks):
    for s in prange(len(blocks)):
        ranks[s] = orthonormalise(blocks[s], factors[s], work[s], resolution)


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
        If A is not such an array, or a column depends on those before it: ``R_jj <= n ε max_i |R_ij|``.

    Notes
    -----
    Householder's method (LAPACK ``geqrf``, ``orgqr``), then the signs are turned.
    """
    A = _checks.array("A", A, ("...", "n", "k"))
    *stack, n, k = A.shape
    if not n >= k >= 1:
        raise _checks.LyapflowError(f"A must have at least as many rows as columns, and a column, got shape {A.shape}")
    blocks = transposed(A)
    factors = np.empty((len(blocks), k, k), A.dtype)
    work = np.empty((len(blocks), workspace(k, A.dtype).size), A.dtype)
    ranks = np.empty(len(blocks), np.int64)
    resolution = rounding(n, A.dtype)
    with one_blas_thread():
        if len(blocks) > 1 and parallel_kernel.allowed():
            with parallel_kernel:
                _orthonormalise_stack(blocks, factors, work, resolution, ranks)
        else:
            for s in range(len(blocks)):
                ranks[s] = orthonormalise(blocks[s], factors[s], work[s], resolution)
    if (ranks < k).any():
        first = int(np.argmax(ranks < k))
        where = f" of matrix {tuple(map(int, np.unravel_index(first, stack)))}" if stack else ""
        raise _checks.LyapflowError(
            f"A must have independent columns: column {ranks[first]}{where} is a combination of those before it"
        )
    return transposed(blocks).reshape(A.shape), transposed(factors).reshape(*stack, k, k)
