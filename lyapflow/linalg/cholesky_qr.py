"""QR of a block by block Gram-Schmidt and Cholesky's method, as long as that is safe.

Rows are taken in panels: projected on those before (block Gram-Schmidt; a group of panels at once
on those of earlier groups), then factorised by Cholesky's method from their Gram matrix, which is
fast because it is matrix products, and squares the condition number of the panel. What that costs
is read off the factor. Let X be the inverse of a panel's diagonal block of L, and d, s the lengths
of its rows after and before projection; then rounding leaves ``Q Q^T`` off the identity by about

    ε (|X d|² + |X s|) + |X s| times the error of the panels before,    |X d|² = Σ_ij (X_ij d_j)²

(of 43 000 random blocks none lost more than 3.1 times that; tangent blocks of networks lose a tenth
of it). The last term bounds errors that add up, and multiplies from panel to panel: where it is too
large, four vectors z of random signs show ``Q Q^T z - z``, whose entries are as large as the rows
of the error. A panel that loses too much is taken a second time, which is enough; where even that
is not safe the block is done by Householder's method. All of it in float64, whatever the dtype of
the block.

Stathopoulos and Wu, *A block orthogonalization procedure with constant synchronization
requirements* (2002); Yamamoto, Nakatsukasa, Yanagisawa and Fukaya, *Roundoff error analysis of the
CholeskyQR2 algorithm* (2015)."""

import numpy as np

from lyapflow._engine.jit import jit
from lyapflow._engine.views import window
from lyapflow.linalg.elementary import copy
from lyapflow.linalg.lapack import potrf
from lyapflow.linalg.panels import group, invert_block, panel, panels
from lyapflow.linalg.products import LOWER_FACTOR, LOWER_RESULT, gemm, gemm_part

EPS = float(np.finfo(float).eps)
DEFECT = 2e-11  # most that Q Q^T may be off the identity before a panel is taken a second time
# most |X s|: beyond it log R would differ from Householder's by more than 1e-11
AMPLIFICATION = 1e5
ONCE, TWICE, HOUSEHOLDER = range(3)


@jit
def _project(P, before, along):
    """``P - along before``, which is orthogonal to the orthonormal rows `before`, in place of P."""
    if len(before) > 0:
        gemm(P, False, before, True, 1.0, 0.0, along)
        gemm(along, False, before, False, -1.0, 1.0, P)


@jit
def _take_panel(P, before, along, L, F, start, Q, projected):
    """``P = along before + L Q`` for the rows P, orthonormal rows `before`, and the diagonal block of L at start.

    That of F becomes the inverse. P is overwritten by its projection, the lengths of which it sets
    from start on. False where Cholesky's method breaks down."""
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
    invert_block(L, F, start, stop)
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
            scaled = x[j] * s[j]
            total += scaled * scaled
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
            off = seen[z, i] - signs[z, i]
            squares += off * off
        total = max(total, squares)
    return np.sqrt(total / len(signs))


@jit(inline="always")
def _take_again(P, new, along, start, stop, Q, L, F, work):
    """Take the panel once more, whose rows have lost orthogonality: the factor is the product of both.

    P becomes a copy of the panel's rows `new` of Q, which are replaced. False where Cholesky's
    method breaks down."""
    rows = stop - start
    copy(new, P)
    again = window(work.along, 0, rows, 0, start)
    if not _take_panel(
        P, window(Q, 0, start), again, work.L_again, work.F_again, start, new, work.projected
    ):
        return False
    L_own, F_own = window(L, start, stop, start, stop), window(F, start, stop, start, stop)
    L_new = window(work.L_again, start, stop, start, stop)
    F_new = window(work.F_again, start, stop, start, stop)
    product = window(work.product, 0, rows, 0, rows)
    gemm(L_own, False, again, False, 1.0, 1.0, along)
    gemm(L_own, False, L_new, False, 1.0, 0.0, product)
    copy(product, L_own)
    gemm(F_new, False, F_own, False, 1.0, 0.0, product)
    copy(product, F_own)
    return True


@jit(inline="always")
def by_cholesky(block, Q, L, F, work):
    """Factorise the block; whether a panel had to be taken twice, or HOUSEHOLDER where this method is not safe."""
    k = len(block)
    defect = EPS
    path = ONCE
    for p in range(panels(k)):
        start, stop = panel(p, k)
        first, last = group(p, k)
        new = window(Q, start, stop)

        # a group is orthogonalised against all groups before it at once, in one large product
        if start == first:
            together = window(work.group, 0, last - first)
            copy(window(block, first, last), together)
            _project(together, window(Q, 0, first), window(F, first, last, 0, first))

        # the panel is orthogonalised against the panels of its group, then factorised
        P, along = (
            window(work.group, start - first, stop - first),
            window(F, start, stop, first, start),
        )
        if not _take_panel(P, window(Q, first, start), along, L, F, start, new, work.projected):
            return HOUSEHOLDER

        # what that has cost in orthogonality, by the bound; where only errors of earlier panels are
        # feared, look
        amplification = _amplification(F, start, stop, work.lengths)
        if not amplification <= AMPLIFICATION:
            return HOUSEHOLDER
        after = _amplification(F, start, stop, work.projected)
        own = EPS * (after * after + amplification)
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
            if not _take_again(P, new, along, start, stop, Q, L, F, work):
                return HOUSEHOLDER
        copy(along, window(L, start, stop, 0, start))
    return path
