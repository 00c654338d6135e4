"""QR of a small block, row by row, where products of whole panels would not pay for their calls.

A row is projected on those before it, and where that leaves less than half of its length once more,
which is enough (Giraud, Langou and Rozložník, *The loss of orthogonality in the Gram-Schmidt
orthogonalization process*, 2005). What the second time leaves less than half of is rounding."""

import numpy as np

from lyapflow._engine.jit import jit

SMALL = 256  # k k n up to which a block is small
ENOUGH = 0.5


@jit
def _project_row(Q, L, i):
    """Take from row i of Q what it has along the rows before, which is added to L; its length afterwards."""
    n = Q.shape[1]
    for j in range(i):
        along = 0.0
        for c in range(n):
            along += Q[j, c] * Q[i, c]
        for c in range(n):
            Q[i, c] -= along * Q[j, c]
        L[i, j] += along
    squares = 0.0
    for c in range(n):
        squares += Q[i, c] * Q[i, c]
    return np.sqrt(squares)


@jit
def by_rows(block, Q, L, lengths):
    """``block = L Q`` for rows (k, n) of such lengths; False where a row depends on those before.

    L is zero above its diagonal already."""
    k, n = block.shape
    for i in range(k):
        for c in range(n):
            Q[i, c] = block[i, c]
        L[i, :i] = 0.0
        length = _project_row(Q, L, i)
        if not length > ENOUGH * lengths[i]:
            before = length
            length = _project_row(Q, L, i)
            if not length > ENOUGH * before:
                return False
        L[i, i] = length
        for c in range(n):
            Q[i, c] /= length
    return True
