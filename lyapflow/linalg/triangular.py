"""Products with the inverse of a triangular factor that is solved panel by panel."""

from lyapflow._engine.jit import jit
from lyapflow._engine.views import window
from lyapflow.linalg.panels import panel, panels
from lyapflow.linalg.products import gemm


@jit
def divide(B, F, X):
    """``X = B L^-1`` for lower triangular B and L (k, k); F is the solved factor of L, B scratch afterwards.

    What stands above the diagonal of X outside of its panels is left as it is."""
    k = len(B)
    # the last panel first; rows before it have nothing there
    for p in range(panels(k) - 1, -1, -1):
        start, stop = panel(p, k)
        new = window(X, start, k, start, stop)
        block, along = window(F, start, stop, start, stop), window(F, start, stop, 0, start)
        gemm(window(B, start, k, start, stop), False, block, False, 1.0, 0.0, new)
        gemm(new, False, along, False, -1.0, 1.0, window(B, start, k, 0, start))
