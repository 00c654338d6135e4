"""QR with a positive diagonal of R, which makes the factors unique.

Inside the package a block of k tangent vectors is stored as k *rows*, so that a block is a batch of states, and
row-major memory is what column-major LAPACK expects. In that storage ``A = Q R`` reads ``A^T = L Q^T`` with
``L = R^T`` lower triangular: the kernels speak of blocks and of L, the public functions of Q and R.

Rows are taken in panels: projected on those before (block Gram-Schmidt; a group of panels at once on those of earlier
groups), then factorised by Cholesky's method from their Gram matrix, which is fast because it is matrix products, and
squares the condition number of the panel. What that costs is read off the factor. Let X be the inverse of a panel's
diagonal block of L, and d, s the lengths of its rows after and before projection; then rounding leaves ``Q Q^T`` off
the identity by about

    ε (|X d|² + |X s|) + |X s| times the error of the panels before,    |X d|² = Σ_ij (X_ij d_j)²

(of 43 000 random blocks none lost more than 3.1 times that; tangent blocks of networks lose a tenth of it). The last
term bounds errors that add up, and multiplies from panel to panel: where it is too large, four vectors z of random
signs show ``Q Q^T z - z``, whose entries are as large as the rows of the error. A panel that loses too much is taken a
second time, which is enough; where even that is not safe the block is done by Householder's method. All of it in
float64, whatever the dtype of the block.

A *solved* factor F is L with the diagonal blocks of its panels inverted. Solving with it takes matrix products alone.
"""

import functools
from typing import NamedTuple

import numpy as np
from numba import prange, typeof
from numba.core import types
from numba.extending import intrinsic, overload
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.by_address import ByAddress
from lyapflow._engine.jit import OPTIONS, jit
from lyapflow._engine.parallel import parallel_kernel
from lyapflow._engine.views import window
from lyapflow.errors import LyapflowError
from lyapflow.linalg.elementary import copy
from lyapflow.linalg.lapack import geqrf, orgqr, potrf
from lyapflow.linalg.products import LOWER_FACTOR, LOWER_RESULT, gemm, gemm_part

EPS = float(np.finfo(float).eps)
PANEL = 24  # rows of a panel, but for the last, which may have half as many more, or less
GROUP = 4  # panels that are projected together on the groups before
DEFECT = 2e-11  # most that Q Q^T may be off the identity before a panel is taken a second time
AMPLIFICATION = 1e5  # most |X s|: beyond it log R would differ from Householder's by more than 1e-11
SHORTEST, LONGEST = 1e-140, 1e140  # rows whose squares are far from the ends of float64

ONCE, TWICE, HOUSEHOLDER = range(3)


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
    Q: np.ndarray  # (k, n), and
    F: np.ndarray  # (k, k), or empty where those of the caller are of float64


def rounding(n: int, dtype: np.dtype) -> float:
    """``n ε``: the rounding error of Householder's factorisation of a block (k, n), relative to each row."""
    return n * float(np.finfo(dtype).eps)


@jit(inline="always")
def panels(k):
    """Number of panels of k rows."""
    return max(1, (k + PANEL // 2) // PANEL)


@jit(inline="always")
def panel(p, k):
    """First row of panel p, and the one after its last."""
    return p * PANEL, k if p + 1 == panels(k) else (p + 1) * PANEL


@jit(inline="always")
def group(p, k):
    """First row of the group of panel p of k rows, and the one after its last."""
    first = p // GROUP * GROUP
    return first * PANEL, panel(min(first + GROUP, panels(k)) - 1, k)[1]


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
def _lengths(block, lengths):
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
def _independent_rows(L, resolution, scale, lengths, c):
    """Number of leading rows of L whose diagonal is above the noise; the others cannot be told from it.

    A row is known to within resolution times its length, or `scale` where that is larger. The new direction of row j
    has the noise of the row and, times c_i, that of the rows before it, which are taken away:
    ``c L[:j, :j] = L[j, :j]``.
    """
    largest = scale
    smallest = np.inf
    for j in range(len(L)):
        largest = max(largest, lengths[j])
        new = abs(L[j, j])
        smallest = min(smallest, new)
        if not new * smallest > resolution * largest * largest:  # c is of the order of largest / smallest at most
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
def _invert(L, F, start, stop):
    """The diagonal block of F from start to stop becomes the inverse of that of L, which is lower triangular.

    Rows that are done are taken away four at a time. Blocks are named by their place, because Numba cannot know that
    rows of a slice are contiguous.
    """
    for i in range(start, stop):
        F[i, start:stop] = 0.0
        p = start
        while p + 4 <= i:
            l0, l1, l2, l3 = L[i, p], L[i, p + 1], L[i, p + 2], L[i, p + 3]
            for c in range(start, p + 4):
                F[i, c] -= (l0 * F[p, c] + l1 * F[p + 1, c]) + (l2 * F[p + 2, c] + l3 * F[p + 3, c])
            p += 4
        while p < i:
            for c in range(start, p + 1):
                F[i, c] -= L[i, p] * F[p, c]
            p += 1
        new = 1.0 / L[i, i]
        for c in range(start, i):
            F[i, c] *= new
        F[i, i] = new


@jit
def solve(L, F):
    """The solved factor F of L."""
    for p in range(panels(len(L))):
        start, stop = panel(p, len(L))
        copy(window(L, start, stop, 0, start), window(F, start, stop, 0, start))
        _invert(L, F, start, stop)


@jit
def _project(P, before, along):
    """``P - along before``, which is orthogonal to the orthonormal rows `before`, in place of P."""
    if len(before) > 0:
        gemm(P, False, before, True, 1.0, 0.0, along)
        gemm(along, False, before, False, -1.0, 1.0, P)


@jit
def _take_panel(P, before, along, L, F, start, Q, projected):
    """``P = along before + L Q`` for the rows P, orthonormal rows `before`, and the diagonal block of L at start.

    That of F becomes the inverse. P is overwritten by its projection, the lengths of which it sets from start on. False
    where Cholesky's method breaks down.
    """
    stop = start + len(P)
    _project(P, before, along)
    G = window(L, start, stop, start, stop)
    gemm_part(P, False, P, True, 1.0, 0.0, G, LOWER_RESULT)
    for i in range(start, stop):
        projected[i] = np.sqrt(L[i, i])
    potrf(G)
    for i in range(start, stop):
        L[i, i + 1 : stop] = 0.0
        if not L[i, i] > 0:
            return False
    _invert(L, F, start, stop)
    gemm_part(window(F, start, stop, start, stop), False, P, False, 1.0, 0.0, Q, LOWER_FACTOR)
    return True


@jit(fastmath={"reassoc"})
def _amplification(F, start, stop, lengths):
    """``|X s|`` of the diagonal block X of F from start to stop."""
    total = 0.0
    s = lengths[start:stop]
    for i in range(start, stop):
        x = F[i, start:stop]
        for j in range(x.size):
            total += (x[j] * s[j]) ** 2
    return np.sqrt(total)


@jit(inline="always")
def _error(Q, signs, mixed, seen):
    """By how much a row of ``Q Q^T`` is off that of the identity, as vectors of random signs see it."""
    k, total = len(Q), 0.0
    gemm(window(signs, 0, len(signs), 0, k), False, Q, False, 1.0, 0.0, mixed)
    gemm(mixed, False, Q, True, 1.0, 0.0, window(seen, 0, len(seen), 0, k))
    for i in range(k):
        squares = 0.0
        for z in range(len(signs)):
            squares += (seen[z, i] - signs[z, i]) ** 2
        total = max(total, squares)
    return np.sqrt(total / len(signs))


@jit(inline="always")
def _by_cholesky(block, Q, L, F, work):
    """Factorise the block; whether a panel had to be taken twice, or HOUSEHOLDER where this method is not safe."""
    k = len(block)
    defect = EPS
    path = ONCE
    for p in range(panels(k)):
        start, stop = panel(p, k)
        first, last = group(p, k)
        rows, new = stop - start, window(Q, start, stop)
        if start == first:
            together = window(work.group, 0, last - first)
            copy(window(block, first, last), together)
            _project(together, window(Q, 0, first), window(F, first, last, 0, first))
        P, along = window(work.group, start - first, stop - first), window(F, start, stop, first, start)
        if not _take_panel(P, window(Q, first, start), along, L, F, start, new, work.projected):
            return HOUSEHOLDER
        amplification = _amplification(F, start, stop, work.lengths)
        if not amplification <= AMPLIFICATION:
            return HOUSEHOLDER
        own = EPS * (_amplification(F, start, stop, work.projected) ** 2 + amplification)
        lost = own + (EPS + defect) * amplification
        if own <= DEFECT < lost:
            lost = 4 * _error(window(Q, 0, stop), work.signs, work.mixed, work.seen)
            if lost <= DEFECT:
                defect = 0.0
        along = window(F, start, stop, 0, start)
        if lost <= DEFECT:
            defect = max(defect, lost)
        else:
            path = TWICE
            copy(new, P)
            again = window(work.along, 0, rows, 0, start)
            if not _take_panel(P, window(Q, 0, start), again, work.L_again, work.F_again, start, new, work.projected):
                return HOUSEHOLDER
            L_own, F_own = window(L, start, stop, start, stop), window(F, start, stop, start, stop)
            L_new = window(work.L_again, start, stop, start, stop)
            F_new = window(work.F_again, start, stop, start, stop)
            product = window(work.product, 0, rows, 0, rows)
            gemm(L_own, False, again, False, 1.0, 1.0, along)
            gemm(L_own, False, L_new, False, 1.0, 0.0, product)
            copy(product, L_own)
            gemm(F_new, False, F_own, False, 1.0, 0.0, product)
            copy(product, F_own)
        copy(along, window(L, start, stop, 0, start))
    return path


@jit(inline="always")
def _by_householder(block, Q, L, reflectors):
    k, n = block.shape
    tau, scratch = reflectors[:k], reflectors[k:]
    copy(block, Q)
    geqrf(Q, tau, scratch)
    for j in range(k):
        for i in range(j + 1):
            L[j, i] = Q[j, i]
        L[j, j + 1 :] = 0.0
    orgqr(Q, tau, scratch)
    for i in range(k):
        if L[i, i] < 0:
            for j in range(i, k):
                L[j, i] = -L[j, i]
            for j in range(n):
                Q[i, j] = -Q[i, j]


@jit
def _orthonormalise(block, Q, F, work, resolution, scale):
    """``block = L Q`` for rows (k, n): orthonormal rows Q, and F, solved from L, which is left in work.

    Returns the number of leading rows that are independent (`_independent_rows`), and the path: ONCE, TWICE or
    HOUSEHOLDER. With scale = 0 neither depends on how the rows are scaled.
    """
    double_Q, double_F = _double(Q, work.Q), _double(F, work.F)
    path = HOUSEHOLDER
    if _lengths(block, work.lengths):
        path = _by_cholesky(block, double_Q, work.L, double_F, work)
    if path == HOUSEHOLDER:
        _by_householder(block, double_Q, work.L, work.reflectors)
        solve(work.L, double_F)
    _rounded(double_Q, Q)
    _rounded(double_F, F)
    return _independent_rows(work.L, resolution, scale, work.lengths, work.noise), path


def _arguments(dtype):
    block = types.Array(dtype, 2, "C")
    return block, block, block, typeof(workspace(1, 1, dtype is types.float64)), types.float64, types.float64


orthonormalisations = ByAddress("orthonormalisations", _orthonormalise, _arguments)


@intrinsic
def orthonormalise(typingctx, block, Q, F, work, resolution, scale):
    """`_orthonormalise` by its address."""
    return orthonormalisations.call(block.dtype, block, Q, F, work, resolution, scale)


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
    _lengths(block, lengths)
    _by_householder(block, Q, L, np.empty(33 * k))
    return _independent_rows(L, resolution, 0.0, lengths, noise)


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
    Householder's method (LAPACK ``geqrf``, ``orgqr``) in float64, then the signs are turned. Sweeps take a faster way
    where it is safe.

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
        raise LyapflowError(f"A must have at least as many rows as columns, and a column, got shape {A.shape}")
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
