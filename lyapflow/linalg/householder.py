"""QR of a block by Householder's method: slower, and safe whatever the block."""

from lyapflow._engine.jit import jit
from lyapflow.linalg.elementary import copy
from lyapflow.linalg.lapack import geqrf, orgqr


@jit(inline="always")
def by_householder(block, Q, L, reflectors):
    """``block = L Q`` for rows (k, n), with L_ii > 0; reflectors (33 k,) is scratch."""
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
