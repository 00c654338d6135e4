"""QR with a positive diagonal of R, which makes the factors unique.

Inside the package a block of k tangent vectors is stored as k *rows*, so that a block is a batch of
states, and row-major memory is what column-major LAPACK expects. In that storage ``A = Q R`` reads
``A^T = L Q^T`` with ``L = R^T`` lower triangular: the kernels speak of blocks and of L, the public
functions of Q and R.

Rows are factorised one by one in small blocks (`lyapflow.linalg.gram_schmidt`), panel by panel in
others, by Cholesky's method (`lyapflow.linalg.cholesky_qr`); where that is not safe, by
Householder's (`lyapflow.linalg.householder`). All of it in
float64, whatever the dtype of the block."""

import functools
from typing import NamedTuple

import numpy as np
from numba import typeof
from numba.core import types
from numba.extending import intrinsic, overload

from lyapflow._engine.by_address import ByAddress
from lyapflow._engine.jit import OPTIONS, jit
from lyapflow.linalg.cholesky_qr import HOUSEHOLDER, ONCE, by_cholesky
from lyapflow.linalg.elementary import copy
from lyapflow.linalg.gram_schmidt import SMALL, by_rows
from lyapflow.linalg.householder import by_householder
from lyapflow.linalg.panels import GROUP, PANEL, solve

SHORTEST, LONGEST = 1e-140, 1e140  # rows whose squares are far from the ends of float64


class Workspace(NamedTuple):
    """Scratch of `orthonormalise` for blocks (k, n), in float64."""

    lengths: np.ndarray  # (k,), of the rows of the block
    noise: np.ndarray  # (k,)
    L: np.ndarray  # (k, k), zero above the diagonal
    group: np.ndarray  # (g, n)
    projected: np.ndarray  # (k,), after projection
    signs: np.ndarray  # (4, k)
    mixed: np.ndarray  # (4, n)
    seen: np.ndarray  # (4, k)
    along: np.ndarray  # (w, k)
    L_again: np.ndarray  # (k, k)
    F_again: np.ndarray  # (k, k)
    product: np.ndarray  # (w, w)
    reflectors: np.ndarray  # LAPACK's: their scalar factors, then blocks of 32 columns
    Q: np.ndarray  # (k, n), in place of the caller's of float32, else empty
    F: np.ndarray  # (k, k), likewise


def rounding(n: int, dtype: np.dtype) -> float:
    """``n ε``: the rounding error of Householder's factorisation of a block (k, n), relative to each row."""
    return n * float(np.finfo(dtype).eps)


@functools.lru_cache(maxsize=8)
def _signs(k: int) -> np.ndarray:
    return np.random.default_rng(k).choice([-1.0, 1.0], (4, k))


def workspace(k: int, n: int, double: bool) -> Workspace:
    """Scratch for blocks (k, n), whose Q and F are of float64 if double."""
    w, g = (min(k, rows + PANEL // 2) for rows in (PANEL, GROUP * PANEL))
    wide = 0 if double else k
    return Workspace(
        np.empty(k),
        np.empty(k),
        np.zeros((k, k)),
        np.empty((g, n)),
        np.empty(k),
        _signs(k),
        np.empty((4, n)),
        np.empty((4, k)),
        np.empty((w, k)),
        np.empty((k, k)),
        np.empty((k, k)),
        np.empty((w, w)),
        np.empty(33 * max(k, 1)),
        np.empty((wide, n)),
        np.empty((wide, wide)),
    )


def _double(a, scratch):
    """The array itself where it is of float64, else scratch."""


@overload(_double, jit_options=OPTIONS)
def _double_of(a, scratch):
    if a.dtype == types.float64:
        return lambda a, scratch: a
    return lambda a, scratch: scratch


def _rounded(double, a):
    """Round into a what `_double` gave in its place."""


@overload(_rounded, jit_options=OPTIONS)
def _rounded_into(double, a):
    if a.dtype == types.float64:
        return lambda double, a: None

    return lambda double, a: copy(double, a)


@jit(fastmath={"reassoc"})  # sums in any order, the same in every run: they serve bounds
def row_lengths(block, lengths):
    """Lengths of the rows; their largest entries where a length would overflow or underflow. Whether all is well."""
    safe = True
    for j in range(len(block)):
        row, total = block[j], 0.0
        for i in range(row.size):
            total += np.float64(row[i]) * np.float64(row[i])
        lengths[j] = np.sqrt(total)
        if not SHORTEST < lengths[j] < LONGEST:
            safe = False
            lengths[j] = 0.0
            for i in range(row.size):
                lengths[j] = max(lengths[j], abs(row[i]))
    return safe


@jit(inline="always")
def independent_rows(L, resolution, scale, lengths, c):
    """Number of leading rows of L whose diagonal is above the noise; the others cannot be told from it.

    A row is known to within resolution times its length, or `scale` where that is larger. The new
    direction of row j has the noise of the row and, times c_i, that of the rows before it, which
    are taken away: ``c L[:j, :j] = L[j, :j]``."""
    largest = scale
    smallest = np.inf
    for j in range(len(L)):
        largest = max(largest, lengths[j])
        new = abs(L[j, j])
        smallest = min(smallest, new)
        # c is of the order of largest / smallest at most
        if not new * smallest > resolution * largest * largest:
            noise = max(scale, lengths[j])
            for i in range(j):
                c[i] = L[j, i]
            for i in range(j - 1, -1, -1):
                c[i] /= L[i, i]
                noise += abs(c[i]) * max(scale, lengths[i])
                for m in range(i):
                    c[m] -= c[i] * L[i, m]
            if not new > resolution * noise:  # NaN fails too
                return j
    return len(L)


@jit
def _orthonormalise(block, Q, F, work, resolution, scale):
    """``block = L Q`` for rows (k, n): orthonormal rows Q, and F, solved from L, which is left in work.

    Returns the number of leading rows that are independent (`independent_rows`), and the path:
    ONCE, TWICE or HOUSEHOLDER. With scale = 0 neither depends on how the rows are scaled."""
    double_Q, double_F = _double(Q, work.Q), _double(F, work.F)
    path = HOUSEHOLDER
    if row_lengths(block, work.lengths):
        if len(block) * block.size > SMALL:
            path = by_cholesky(block, double_Q, work.L, double_F, work)
        elif by_rows(block, double_Q, work.L, work.lengths):
            solve(work.L, double_F)
            path = ONCE
    if path == HOUSEHOLDER:
        by_householder(block, double_Q, work.L, work.reflectors)
        solve(work.L, double_F)
    _rounded(double_Q, Q)
    _rounded(double_F, F)
    return independent_rows(work.L, resolution, scale, work.lengths, work.noise), path


def _arguments(dtype):
    block = types.Array(dtype, 2, "C")
    return (
        block,
        block,
        block,
        typeof(workspace(1, 1, dtype is types.float64)),
        types.float64,
        types.float64,
    )


orthonormalisations = ByAddress("orthonormalisations", _orthonormalise, _arguments)


@intrinsic
def orthonormalise(typingctx, block, Q, F, work, resolution, scale):
    """`_orthonormalise` by its address."""
    return orthonormalisations.call(block.dtype, block, Q, F, work, resolution, scale)
