r"""The tanh ("vanilla") network: ``h' = W tanh(h) + V x' + b`` (paper, Eq. 9).

With φ = tanh, φ' = sech² and D = W diag(φ'(h)), in rows (u_j = W^T of the cotangent of tangent vector j):

    tangent           q'_j = W (φ' ⊙ q_j)
    step pullback     h̄ = φ' ⊙ W^T h̄'
    tangent pullback  q̄_j = φ' ⊙ u_j,   h̄ += φ'' ⊙ Σ_j u_j ⊙ q_j,   φ'' = -2 tanh sech²
    parameters        W̄ = Σ h̄' tanh(h)^T + Σ_j q̄'_j (φ' ⊙ q_j)^T,   V̄ = Σ h̄' x'^T,   b̄ = Σ h̄'
"""

from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow._jit import jit
from lyapflow.cells.interface import (
    Sizes,
    accumulate,
    implement,
    jacobian,
    sizes,
    step,
    step_pullback,
    tangent,
    tangent_pullback,
)
from lyapflow.linalg.elementary import tanh_sech2
from lyapflow.linalg.lapack import gemm
from lyapflow.linalg.qr import qr


class TanhRNN(NamedTuple):
    """Parameters of the tanh network ``h' = W tanh(h) + V x' + b``.

    Attributes
    ----------
    W : array (n, n)
        Recurrent weights.
    V : array (n, m)
        Input weights; m = 0 for an autonomous network.
    b : array (n,)
        Bias.

    Notes
    -----
    The state h is the pre-activation. The state ``a = tanh(h)`` of other libraries' networks follows the same
    dynamics after the change of variables, with the same Lyapunov exponents at long times. Paper, Eq. 9.
    """

    W: np.ndarray
    V: np.ndarray
    b: np.ndarray

    @classmethod
    def random(
        cls,
        n: int,
        m: int,
        *,
        rng: np.random.Generator,
        g: float = 1.0,
        weights: str = "gaussian",
        dtype: Any = np.float64,
    ) -> "TanhRNN":
        r"""A random network: V_ij ~ N(0, 1), b = 0, and W by ``weights``.

        Parameters
        ----------
        n, m : int
            Units and inputs.
        rng : numpy.random.Generator
        g : float
            Gain.
        weights : {"gaussian", "orthogonal"}
            ``W_ij ~ N(0, g²/n)``, or g times a Haar-distributed orthogonal matrix (paper, App. G).
        dtype : float64 or float32
            The same numbers are drawn for both.

        Raises
        ------
        LyapflowError
            If an argument is out of its range.
        """
        n = _checks.integer("n", n, 1)
        m = _checks.integer("m", m, 0)
        dtype = _checks.dtype(dtype)
        g = _checks.number("g", g, 0.0, float(np.sqrt(np.finfo(dtype).max)))
        rng = _checks.generator("rng", rng)
        _checks.one_of("weights", weights, ("gaussian", "orthogonal"))
        W = rng.standard_normal((n, n))
        W = g * (W / np.sqrt(n) if weights == "gaussian" else qr(W)[0])
        V = rng.standard_normal((n, m))
        return cls(W.astype(dtype), V.astype(dtype), np.zeros(n, dtype))


@sizes.register
def _(cell: TanhRNN) -> Sizes:
    n, m = cell.W.shape[0], cell.V.shape[1]
    return Sizes(
        state=n,
        units=n,
        inputs=m,
        record=2 * n,  # tanh(h), sech²(h)
        step_work=0,
        tangent_work=n,  # φ' ⊙ q
        shapes={"W": (n, n), "V": (n, m), "b": (n,)},
    )


@implement(step, TanhRNN)
def tanh_step(cell, h, x, h_next, record):
    n = cell.b.size
    for i in range(len(h)):
        tanh_sech2(h[i], record[i, :n], record[i, n:])
        h_next[i] = cell.b
    gemm(x, False, cell.V, True, 1.0, 1.0, h_next)
    gemm(record[:, :n], False, cell.W, True, 1.0, 1.0, h_next)


@jit
def _scale_rows(slope, Q, scaled):
    for j in range(len(Q)):
        for i in range(slope.size):
            scaled[j, i] = slope[i] * Q[j, i]


@implement(tangent, TanhRNN)
def tanh_tangent(cell, record, Q, Q_next, work):
    _scale_rows(record[cell.b.size :], Q, work)
    gemm(work, False, cell.W, True, 1.0, 0.0, Q_next)


@implement(step_pullback, TanhRNN)
def tanh_step_pullback(cell, record, h_next_bar, h_bar, work):
    gemm(h_next_bar, False, cell.W, False, 1.0, 0.0, h_bar)
    h_bar *= record[:, cell.b.size :]


@implement(tangent_pullback, TanhRNN)
def tanh_tangent_pullback(cell, record, Q, Q_next_bar, Q_bar, h_bar, work):
    n = cell.b.size
    tanh, slope = record[:n], record[n:]
    _scale_rows(slope, Q, work)
    gemm(Q_next_bar, False, cell.W, False, 1.0, 0.0, Q_bar)
    for j in range(len(Q)):
        for i in range(n):
            h_bar[i] -= (tanh[i] + tanh[i]) * (Q_bar[j, i] * work[j, i])
            Q_bar[j, i] *= slope[i]


@implement(accumulate, TanhRNN)
def tanh_accumulate(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient):
    n, m = cell.V.shape
    states = h.shape[0] * h.shape[1]
    h_next_bar = h_next_bar.reshape(states, n)
    gemm(h_next_bar, True, record.reshape(states, 2 * n)[:, :n], False, 1.0, 1.0, gradient.W)
    gemm(h_next_bar, True, x.reshape(states, m), False, 1.0, 1.0, gradient.V)
    for i in range(states):
        gradient.b[:] += h_next_bar[i]
    vectors = Q.shape[0] * Q.shape[1]
    gemm(Q_next_bar.reshape(vectors, n), True, tangent_work.reshape(vectors, n), False, 1.0, 1.0, gradient.W)


@implement(jacobian, TanhRNN)
def tanh_jacobian(cell, h, x, D):
    slope = np.empty_like(h)
    tanh_sech2(h, np.empty_like(h), slope)
    D[:] = cell.W * slope
