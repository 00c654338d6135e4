"""QR of a product D B whose vectors differ in length by any factor: each R_jj to nearly full relative accuracy.

Where units saturate, columns of D differ by a hundred orders of magnitude. The product itself,
formed in any fixed number of digits, has lost what is smaller than its rounding. So it is never
formed. Gaussian elimination with complete pivoting gives ``D = L diag(d) U``, whatever the scales
of its rows and columns, with d graded and L, U well-conditioned (Demmel et al. 1999, *Computing the
singular value decomposition with high relative accuracy*). Elimination of ``(B L) diag(d)``, row by
row, gives pivots p and a matrix N, which is well-conditioned, too. Then the QR of N U gives

    log R_jj = log |p_j| + log R_jj(N U)

All up to N is done in twice the digits (`lyapflow.linalg.double_double`), for what cancels in D
itself.

As everywhere, vectors are rows: D^T is given, with rows D e_i, and B is (k, n).
"""

import math
from typing import NamedTuple

import numpy as np
from numba import typeof
from numba.core import types
from numba.extending import intrinsic

from lyapflow._engine.by_address import ByAddress
from lyapflow._engine.jit import jit
from lyapflow.linalg.double_double import quotient, subtract_multiple, subtract_product
from lyapflow.linalg.qr import Workspace, orthonormalise, workspace

EPS = float(np.finfo(float).eps)
KNOWN = 4096 * EPS  # relative error with which vectors of a block are taken to be known
NOISE = float(np.sqrt(EPS))  # and the largest that is feared, where something may be lost
LOST = 2.0**-80  # what is so much smaller than the terms of its sum may be all rounding
SCALE = 1000  # the largest entry of D becomes 2^SCALE, so that the smallest are far from underflow
NEGLIGIBLE = 2.0**-50  # of D, beside the shortest vector


class Graded(NamedTuple):
    """Scratch of `orthonormalise_product` for a block (k, n)."""

    # (n, n), D^T, then its factors: d on the diagonal, unit triangles below and above
    A: np.ndarray
    A_low: np.ndarray
    rows: np.ndarray  # int (n,), the order of elimination
    columns: np.ndarray
    largest: np.ndarray  # (n,), modulus of each row's entries that are left
    rounding: np.ndarray  # (n,), what rounding of D's entries makes of each pivot, relative to it
    M: np.ndarray  # (k, n), then N
    M_low: np.ndarray
    taken: np.ndarray  # bool (n,)
    Z: np.ndarray  # (k, n)
    pivots: np.ndarray  # (k,)
    left: np.ndarray  # (k,), the largest pivot that a vector in its place might have
    error: np.ndarray  # (k,), relative, of pivots and thus of growth
    F: np.ndarray  # (k, k)
    qr: Workspace


def graded(k: int, n: int) -> Graded:
    """Scratch for blocks (k, n)."""
    return Graded(
        np.empty((n, n)),
        np.empty((n, n)),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n),
        np.empty(n),
        np.empty((k, n)),
        np.empty((k, n)),
        np.empty(n, np.bool_),
        np.empty((k, n)),
        np.empty(k),
        np.empty(k),
        np.empty(k),
        np.empty((k, k)),
        workspace(k, n, True),
    )


@jit(fastmath={"nnan", "nsz"})
def _largest(A, i, start):
    found = 0.0
    for c in range(start, A.shape[1]):
        found = max(found, abs(A[i, c]))
    return found


@jit
def _load(DT, work):
    """A = D^T, scaled; the exponent of the power of two that it was scaled by."""
    n, most = len(DT), 0.0
    for i in range(n):
        most = max(most, _largest(DT, i, 0))
    exponent = SCALE - math.frexp(most)[1]
    for i in range(n):
        for c in range(n):
            work.A[i, c] = math.ldexp(DT[i, c], exponent)
            work.A_low[i, c] = 0.0
        work.rows[i] = work.columns[i] = i
        work.largest[i] = _largest(work.A, i, 0)
    return exponent


@jit
def _bring(m, work):
    """Move the largest entry that is left to the diagonal."""
    A, A_low, n = work.A, work.A_low, len(work.A)
    p = q = m
    for i in range(m + 1, n):
        if work.largest[i] > work.largest[p]:
            p = i
    for c in range(m + 1, n):
        if abs(A[p, c]) > abs(A[p, q]):
            q = c
    for c in range(n):
        A[p, c], A[m, c] = A[m, c], A[p, c]
        A_low[p, c], A_low[m, c] = A_low[m, c], A_low[p, c]
    for i in range(n):
        A[i, q], A[i, m] = A[i, m], A[i, q]
        A_low[i, q], A_low[i, m] = A_low[i, m], A_low[i, q]
    work.rows[p], work.rows[m] = work.rows[m], work.rows[p]
    work.columns[q], work.columns[m] = work.columns[m], work.columns[q]
    work.largest[p] = work.largest[m]


@jit
def _eliminate(rank, stop, work):
    """Take pivots from rank on, up to stop or to what may be all rounding; the number of pivots taken in all."""
    A, A_low, n = work.A, work.A_low, len(work.A)
    for m in range(rank, stop):
        _bring(m, work)
        d, d_low, terms = A[m, m], A_low[m, m], abs(A[m, m])
        for s in range(m):
            terms = max(terms, abs(A[m, s] * A[s, s] * A[s, m]))
        if not abs(d) > LOST * terms:
            return m
        work.rounding[m] = EPS * terms / abs(d)
        for i in range(m + 1, n):
            factor, factor_low = quotient(A[i, m], A_low[i, m], d, d_low)
            A[i, m], A_low[i, m] = factor, factor_low
            if factor != 0.0:
                subtract_multiple(
                    A[i, m + 1 :],
                    A_low[i, m + 1 :],
                    factor,
                    factor_low,
                    A[m, m + 1 :],
                    A_low[m, m + 1 :],
                )
            work.largest[i] = _largest(A, i, m + 1)
        for c in range(m + 1, n):
            A[m, c], A_low[m, c] = quotient(A[m, c], A_low[m, c], d, d_low)
    return stop


@jit
def _multiply(rank, B, work):
    """``M = B L diag(d)``, its first columns."""
    A, A_low, M, M_low = work.A, work.A_low, work.M, work.M_low
    for j in range(len(B)):
        M[j] = 0.0
        M_low[j] = 0.0
        for i in range(len(A)):
            b, stop = B[j, work.rows[i]], min(i, rank)
            subtract_multiple(M[j, :stop], M_low[j, :stop], -b, 0.0, A[i, :stop], A_low[i, :stop])
            if i < rank:
                M[j, i], M_low[j, i] = subtract_product(M[j, i], M_low[j, i], -b, 0.0, 1.0, 0.0)
        for m in range(rank):
            M[j, m], M_low[j, m] = subtract_product(
                0.0, 0.0, -M[j, m], -M_low[j, m], A[m, m], A_low[m, m]
            )


@jit
def _triangularise(rank, work):
    """M becomes N, row by row: pivots, and what each might have been.

    A row without a pivot takes a column of what has been left of D, and a pivot of 0.
    """
    A, M, M_low, taken, spare = work.A, work.M, work.M_low, work.taken, rank
    taken[:] = False
    for j in range(len(M)):
        p, left = -1, 0.0
        for m in range(rank):
            if not taken[m]:
                left = max(left, abs(A[m, m]))
                if M[j, m] != 0.0 and (p < 0 or abs(M[j, m]) > abs(M[j, p])):
                    p = m
        work.left[j], work.pivots[j], work.error[j] = left, 0.0, np.inf
        if p < 0:
            M[j] = 0.0
            M[j, spare] = 1.0
            spare += 1
            continue
        taken[p] = True
        work.error[j] = KNOWN * left / abs(M[j, p]) + work.rounding[p]
        pivot, pivot_low = M[j, p], M_low[j, p]
        work.pivots[j] = pivot
        for i in range(j + 1, len(M)):
            factor, factor_low = quotient(M[i, p], M_low[i, p], pivot, pivot_low)
            if factor != 0.0:
                subtract_multiple(
                    M[i, :rank], M_low[i, :rank], factor, factor_low, M[j, :rank], M_low[j, :rank]
                )
            M[i, p] = M_low[i, p] = 0.0
        for m in range(rank):
            M[j, m] /= pivot


@jit
def _orthonormalise(rank, Q, work):
    """The QR of N U: Q, and diag R in work.qr.L."""
    A, N, product, n = work.A, work.M, work.M_low, len(work.A)
    for j in range(len(N)):
        for c in range(n):
            product[j, c] = N[j, c]
        for m in range(rank):
            factor = N[j, m]
            for c in range(m + 1, n):
                product[j, c] += factor * A[m, c]
        for c in range(n):
            work.Z[j, work.columns[c]] = product[j, c]
    orthonormalise(work.Z, Q, work.F, work.qr, 0.0, 0.0)
    for j in range(len(N)):
        if work.pivots[j] < 0:
            for c in range(n):
                Q[j, c] = -Q[j, c]


@jit
def _orthonormalise_product(DT, B, Q, growth, work):
    """``B D^T = L Q`` with orthonormal rows Q, for rows B (k, n) and D^T (n, n), which is finite.

    Sets growth (k,) to log L_jj, and work.error (k,) to the relative error of L_jj that errors of
    B, of relative size KNOWN, and the rounding of D's entries make. Returns the number of leading
    rows whose growth is above what errors of B of size NOISE would make; n, or the rank of D as far
    as can be told where that is less, negative where it may be more; and the logarithm of D's
    largest entry."""
    k, n = B.shape
    exponent = _load(DT, work)
    rank, stop = 0, min(n, max(2 * k, 16))
    while True:
        rank = _eliminate(rank, stop, work)
        _multiply(rank, B, work)
        _triangularise(rank, work)
        sure, shortest = 0, np.inf
        for j in range(k):
            shortest = min(shortest, abs(work.pivots[j]))
            if sure == j and abs(work.pivots[j]) > NOISE * work.left[j]:
                sure += 1
        rest = 0.0
        for i in range(rank, n):
            rest = max(rest, work.largest[i])
        if rank < stop or rank == n or (sure == k and n * rest < NEGLIGIBLE * shortest):
            break
        stop = min(n, 4 * stop)
    _orthonormalise(rank, Q, work)
    for j in range(k):
        pivot = abs(work.pivots[j])
        if pivot == 0.0:  # not to be told from the rounding of what it might be
            pivot = max(rest, EPS * work.left[j], math.ldexp(1.0, -1000))
        fraction, power = math.frexp(pivot * work.qr.L[j, j])
        growth[j] = math.log(fraction) + (power - exponent) * math.log(2.0)
    if rank < stop and rest > 0:
        rank = -rank
    return sure, rank if rank < stop else n, math.log(abs(work.A[0, 0])) - exponent * math.log(2.0)


def _arguments(dtype):
    matrix = types.Array(types.float64, 2, "C")
    return matrix, matrix, matrix, types.Array(types.float64, 1, "C"), typeof(graded(1, 1))


graded_products = ByAddress("graded_products", _orthonormalise_product, _arguments)


@intrinsic
def orthonormalise_product(typingctx, DT, B, Q, growth, work):
    """`_orthonormalise_product` by its address."""
    return graded_products.call(types.float64, DT, B, Q, growth, work)
