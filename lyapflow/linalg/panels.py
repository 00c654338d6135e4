"""Panels of rows, groups of panels, and factors L that are solved panel by panel.

A *solved* factor F is L with the diagonal blocks of its panels inverted. Solving with it takes
matrix products alone."""

from lyapflow._engine.jit import jit
from lyapflow._engine.views import window
from lyapflow.linalg.elementary import copy

PANEL = 24  # rows of a panel, but for the last, which may have half as many more, or less
GROUP = 4  # panels that are projected together on the groups before


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


@jit
def invert_block(L, F, start, stop):
    """The diagonal block of F from start to stop becomes the inverse of that of L, which is lower triangular.

    Rows that are done are taken away four at a time. Blocks are named by their place, because Numba
    cannot know that rows of a slice are contiguous."""
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
        invert_block(L, F, start, stop)
