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
def _independent_rows(L, resolution, scale, size, c):
    """Number of leading rows of L whose diagonal is above the noise; the others cannot be told from it.

    A row is known to within resolution times its size, or `scale` where that is larger. The new direction of row j has
    the noise of the row and, times c_i, that of the rows before it, which are taken away: ``c L[:j, :j] = L[j, :j]``.
    """
    k = len(L)
    largest = scale
    smallest = L.dtype.type(np.inf)
    for j in range(k):
        size[j] = scale
        for i in range(j + 1):
            size[j] = max(size[j], abs(L[j, i]))
        largest = max(largest, size[j])
        new = abs(L[j, j])
        smallest = min(smallest, new)
        if not new * smallest > resolution * largest * largest:  # c is of the order of largest / smallest at most
            noise = size[j]
            for i in range(j - 1, -1, -1):
                c[i] = L[j, i]
                for m in range(i + 1, j):
                    c[i] -= c[m] * L[m, i]
                c[i] /= L[i, i]
                noise += abs(c[i]) * size[i]
            if not new > resolution * noise:  # NaN fails too
                return j
    return k


@jit
def orthonormalise(block, L, work, resolution, scale):
    """Replace the rows of block (k, n) by orthonormal rows and set L (k, k) so that ``block_before = L block``.

    Returns the number of leading rows that are independent (`_independent_rows`). With scale = 0 that does not depend
    on how the rows are scaled.
    """
    k, n = block.shape
    tau, scratch = work[:k], work[k:]
    geqrf(block, tau, scratch)
    for j in range(k):
        for i in range(j + 1):
            L[j, i] = block[j, i]
        L[j, j + 1 :] = 0.0
    rank = _independent_rows(L, resolution, scale, scratch[:k], scratch[k : 2 * k])
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
        ranks[s] = orthonormalise(blocks[s], factors[s], work[s], resolution, 0.0)


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
                ranks[s] = orthonormalise(blocks[s], factors[s], work[s], resolution, 0.0)
    if (ranks < k).any():
        first = int(np.argmax(ranks < k))
        where = f" of matrix {tuple(map(int, np.unravel_index(first, stack)))}" if stack else ""
        raise _checks.LyapflowError(
            f"A must have independent columns: column {ranks[first]}{where} is a combination of those before it"
        )
    return transposed(blocks).reshape(A.shape), transposed(factors).reshape(*stack, k, k)
