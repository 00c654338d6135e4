r"""Pullback of QR (paper, Eq. 8), general in both cotangents, and for a loss of log R alone.

.. math:: \bar A = [\bar Q + Q\,\mathrm{copyltu}(M)]\,R^{-T}, \qquad M = R \bar R^T - \bar Q^T Q,

with :math:`\mathrm{copyltu}(M)_{ij} = M_{\max(i,j),\min(i,j)}`. Where the loss sees R only through
:math:`\sum_i g_i \log R_{ii}`, the lower triangle of :math:`R \bar R^T` is diag(g): no division by R_ii is left but
the triangular solve. Kernels work on blocks of rows and on ``L = R^T`` (see `lyapflow.linalg.qr`).
"""

from numba.core import types
from numba.extending import intrinsic

from lyapflow._engine.by_address import ByAddress
from lyapflow._engine.jit import jit
from lyapflow._engine.views import window
from lyapflow.linalg.panels import group, panel, panels
from lyapflow.linalg.products import LOWER_RESULT, UPPER_FACTOR, gemm, gemm_part


@jit(inline="always")
def pull_back(Q, F, Q_bar, M, A_bar):
    """Sets ``A_bar`` (k, n), given the lower triangle of ``R R_bar^T`` in M (k, k); Q_bar is overwritten."""
    gemm_part(Q_bar, False, Q, True, -1.0, 1.0, M, LOWER_RESULT)
    for i in range(len(M)):
        for j in range(i):
            M[j, i] = M[i, j]
    gemm(M, False, Q, False, 1.0, 1.0, Q_bar)
    for p in range(panels(len(M)) - 1, -1, -1):  # A_bar = L^-T Q_bar, the last panel first
        start, stop = panel(p, len(M))
        first, last = group(p, len(M))
        rows, new = window(Q_bar, start, stop), window(A_bar, start, stop)
        gemm_part(
            window(F, start, stop, start, stop), True, rows, False, 1.0, 0.0, new, UPPER_FACTOR
        )
        gemm(
            window(F, start, stop, first, start),
            True,
            new,
            False,
            -1.0,
            1.0,
            window(Q_bar, first, start),
        )
        if start == first:
            along, together = window(F, first, last, 0, first), window(A_bar, first, last)
            gemm(along, True, together, False, -1.0, 1.0, window(Q_bar, 0, first))


@jit
def _pull_back_log(Q, F, g, Q_bar, M, A_bar):
    """Pullback for a loss with gradient g (k,) in log R_ii: sets A_bar; Q_bar and M (k, k) are scratch afterwards.

    F is the solved factor of ``L = R^T``.
    """
    M[:] = 0.0
    for i in range(len(M)):
        M[i, i] = g[i]
    pull_back(Q, F, Q_bar, M, A_bar)


def _arguments(dtype):
    block = types.Array(dtype, 2, "C")
    return block, block, types.Array(dtype, 1, "C"), block, block, block


pullbacks = ByAddress("pullbacks", _pull_back_log, _arguments)


@intrinsic
def pull_back_log(typingctx, Q, F, g, Q_bar, M, A_bar):
    """`_pull_back_log` by its address."""
    return pullbacks.call(Q.dtype, Q, F, g, Q_bar, M, A_bar)
