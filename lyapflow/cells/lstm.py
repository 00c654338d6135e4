r"""The LSTM (paper, Eq. 12-17), with state [h, c] and gates i, f, g, o.

    a = W h + V x' + b,   i, f, o = σ(a_i), σ(a_f), σ(a_o),   g = tanh(a_g)
    c' = f ⊙ c + i ⊙ g,   h' = o ⊙ tanh(c')

With t = tanh(c'), s = sech²(c') and the coefficients

    α_i = g i',   α_f = c f',   α_g = i g',   α_o = t o',   ρ = o s

a tangent vector (q_h, q_c) moves as (for the pullbacks see ``docs/derivations.md``)

    p = W q_h,   q'_c = f q_c + α_i p_i + α_f p_f + α_g p_g,   q'_h = α_o p_o + ρ q'_c

and where the input moves by X, ``p = W q_h + V X``.
"""

from typing import Any, NamedTuple

import numpy as np

from lyapflow._engine.views import as_matrix, window
from lyapflow.cells.driven import add_driven, driven, pull_driven_back
from lyapflow.cells.gates import random_gates
from lyapflow.cells.interface import (
    Sizes,
    accumulate,
    accumulate_driven,
    driven_tangent,
    driven_tangent_pullback,
    implement,
    input_pullback,
    jacobian,
    sizes,
    step,
    step_pullback,
)
from lyapflow.linalg.elementary import add_rows, repeat, sigmoid, tanh_sech2
from lyapflow.linalg.products import gemm


@driven
class LSTM(NamedTuple):
    """Parameters of an LSTM, gates in the order i, f, g, o.

    ``i, f, o = σ(W h + V x' + b)``, ``g = tanh(W h + V x' + b)``, each with its own W, V and b;
    ``c' = f ⊙ c + i ⊙ g``, ``h' = o ⊙ tanh(c')``. The state is [h, c], of length 2n; a readout sees
    h.

    Attributes
    ----------
    W : array (4, n, n)
        Recurrent weights.
    V : array (4, n, m)
        Input weights; m = 0 for an autonomous network.
    b : array (4, n)
        Bias.

    Notes
    -----
    Paper, Eq. 12-17. For a `torch.nn.LSTM` of one layer, whose output is the first n entries of the
    states, all arrays by ``.detach().numpy()``::

        W, V = weight_hh_l0.reshape(4, n, n), weight_ih_l0.reshape(4, n, m)
        b = (bias_ih_l0 + bias_hh_l0).reshape(4, n)

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LSTM.random(4, 1, rng=np.random.default_rng(0))
    >>> lf.trajectory(cell, np.ones((10, 1))).shape  # h and c
    (10, 8)
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
        dtype: Any = np.float64,
    ) -> "LSTM":
        r"""A random LSTM, each gate with gains of its own.

        Recurrent weights are N(0, gain²/n) with gain ~ Unif(0, g), 0 for the forget gate; input
        weights N(0, gain²/n) with gain ~ Unif(0, 1); biases 0, but b_f ~ Unif(0, 1), one number for
        all units.

        Parameters
        ----------
        n : int
            Number of units.
        m : int
            Number of inputs.
        rng : numpy.random.Generator
        g : float
            Largest gain of the recurrent weights.
        dtype : float64 or float32
            The same numbers are drawn for both.

        Returns
        -------
        LSTM

        Raises
        ------
        LyapflowError
            If an argument is out of its range.

        Notes
        -----
        Paper, App. B.1.
        """
        W, V, b = random_gates(4, n, m, rng, g, dtype)
        W[1] = 0.0
        b[1] = rng.random()
        return cls(W, V, b)


@sizes.register
def _(cell: LSTM) -> Sizes:
    _, n, m = cell.V.shape
    return Sizes(
        state=2 * n,
        units=n,
        inputs=m,
        record=13 * n,  # α (4n), f, ρ, and for the second derivatives i, g, o, f', i' g', t, s o'
        second=7 * n,
        # cotangent of a; the part of it that came through the second derivatives; scratch
        step_work=11 * n,
        tangent_work=4 * n,  # p, then its cotangent
        shapes={"W": (4, n, n), "V": (4, n, m), "b": (4, n)},
    )


@implement(step, LSTM)
def lstm_step(cell, turned, h, x, h_next, record):
    n = cell.b.shape[1]
    a = record[:, : 4 * n]
    repeat(cell.b.reshape(4 * n), a)
    gemm(x, False, turned.V, False, 1.0, 1.0, a)
    gemm(window(h, 0, len(h), 0, n), False, turned.W, False, 1.0, 1.0, a)
    for r in range(len(h)):
        alpha, parts = record[r, : 4 * n].reshape(4, n), record[r, 4 * n :].reshape(9, n)
        f, rho, i, g, o = parts[0], parts[1], parts[2], parts[3], parts[4]
        f_slope, i_slope_g_slope, t, s_o_slope = parts[5], parts[6], parts[7], parts[8]
        c, c_next = h[r, n:], h_next[r, n:]
        sigmoid(alpha[0], i, i_slope_g_slope)
        sigmoid(alpha[1], f, f_slope)
        tanh_sech2(alpha[2], g, rho)
        sigmoid(alpha[3], o, s_o_slope)
        for u in range(n):
            c_next[u] = f[u] * c[u] + i[u] * g[u]
        for u in range(n):
            alpha[1, u] = c[u] * f_slope[u]
        for u in range(n):
            i_slope, g_slope = i_slope_g_slope[u], rho[u]
            alpha[0, u] = g[u] * i_slope
            alpha[2, u] = i[u] * g_slope
            i_slope_g_slope[u] = i_slope * g_slope
        tanh_sech2(c_next, t, rho)
        for u in range(n):
            h_next[r, u] = o[u] * t[u]
            alpha[3, u] = t[u] * s_o_slope[u]
            s_o_slope[u] *= rho[u]
            rho[u] *= o[u]


@implement(driven_tangent, LSTM)
def lstm_driven_tangent(cell, turned, record, Q, X, Q_next, work):
    n = cell.b.shape[1]
    alpha, f, rho = record[: 4 * n].reshape(4, n), record[4 * n : 5 * n], record[5 * n : 6 * n]
    gemm(window(Q, 0, len(Q), 0, n), False, turned.W, False, 1.0, 0.0, work)
    add_driven(X, turned.V, work)
    for j in range(len(Q)):
        p = work[j].reshape(4, n)
        for u in range(n):
            q_c = f[u] * Q[j, n + u] + (
                alpha[0, u] * p[0, u] + alpha[1, u] * p[1, u] + alpha[2, u] * p[2, u]
            )
            Q_next[j, n + u] = q_c
            Q_next[j, u] = alpha[3, u] * p[3, u] + rho[u] * q_c


@implement(step_pullback, LSTM)
def lstm_step_pullback(cell, record, h_next_bar, h_bar, work):
    n = cell.b.shape[1]
    for r in range(len(h_bar)):
        alpha, f, rho = (
            record[r, : 4 * n].reshape(4, n),
            record[r, 4 * n : 5 * n],
            record[r, 5 * n : 6 * n],
        )
        a_bar = work[r, : 4 * n].reshape(4, n)
        for u in range(n):
            c_next_bar = h_next_bar[r, n + u] + rho[u] * h_next_bar[r, u]
            a_bar[0, u] = alpha[0, u] * c_next_bar
            a_bar[1, u] = alpha[1, u] * c_next_bar
            a_bar[2, u] = alpha[2, u] * c_next_bar
            a_bar[3, u] = alpha[3, u] * h_next_bar[r, u]
            h_bar[r, n + u] = f[u] * c_next_bar
    a_bar, units_bar = window(work, 0, len(work), 0, 4 * n), window(h_bar, 0, len(work), 0, n)
    gemm(a_bar, False, as_matrix(cell.W), False, 1.0, 0.0, units_bar)


@implement(driven_tangent_pullback, LSTM)
def lstm_driven_tangent_pullback(
    cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
):
    n = cell.b.shape[1]
    W = as_matrix(cell.W)
    alpha, parts = record[: 4 * n].reshape(4, n), record[4 * n :].reshape(9, n)
    f, rho, i, g, o = parts[0], parts[1], parts[2], parts[3], parts[4]
    f_slope, i_slope_g_slope, t, s_o_slope = parts[5], parts[6], parts[7], parts[8]
    through_second, scratch = (
        step_work[4 * n : 8 * n].reshape(1, 4 * n),
        step_work[8 * n :].reshape(3, n),
    )
    a_bar, q_c_next, w, c_next_bar = (
        through_second.reshape(4, n),
        scratch[0],
        scratch[1],
        scratch[2],
    )
    a_bar[:] = 0.0
    gemm(window(Q, 0, len(Q), 0, n), False, turned.W, False, 1.0, 0.0, work)
    add_driven(X, turned.V, work)
    for j in range(len(Q)):  # loops that write one array each: those are vectorised
        p = work[j].reshape(4, n)
        p_i, p_f, p_g, p_o = p[0], p[1], p[2], p[3]
        q_c, v, v_c, q_c_bar = Q[j, n:], Q_next_bar[j, :n], Q_next_bar[j, n:], Q_bar[j, n:]
        for u in range(n):
            q_c_next[u] = f[u] * q_c[u] + (
                alpha[0, u] * p_i[u] + alpha[1, u] * p_f[u] + alpha[2, u] * p_g[u]
            )
        for u in range(n):
            w[u] = v_c[u] + rho[u] * v[u]
        for u in range(n):
            c_next_bar[u] = v[u] * (s_o_slope[u] * p_o[u] - (t[u] + t[u]) * rho[u] * q_c_next[u])
        for u in range(n):
            second = alpha[0, u] * (c_next_bar[u] + (1 - 2 * i[u]) * w[u] * p_i[u])
            a_bar[0, u] += second + i_slope_g_slope[u] * w[u] * p_g[u]
        for u in range(n):
            second = alpha[1, u] * (c_next_bar[u] + (1 - 2 * f[u]) * w[u] * p_f[u])
            a_bar[1, u] += second + f_slope[u] * w[u] * q_c[u]
        for u in range(n):
            second = alpha[2, u] * (c_next_bar[u] - 2 * g[u] * w[u] * p_g[u])
            a_bar[2, u] += second + i_slope_g_slope[u] * w[u] * p_i[u]
        for u in range(n):
            a_bar[3, u] += v[u] * (
                alpha[3, u] * (1 - 2 * o[u]) * p_o[u] + s_o_slope[u] * q_c_next[u]
            )
        for u in range(n):
            h_bar[n + u] += f[u] * c_next_bar[u] + f_slope[u] * w[u] * p_f[u]
        for gate in range(3):
            for u in range(n):
                p[gate, u] = alpha[gate, u] * w[u]
        for u in range(n):
            p_o[u] = alpha[3, u] * v[u]
        for u in range(n):
            q_c_bar[u] = f[u] * w[u]
    gemm(work, False, W, False, 1.0, 0.0, window(Q_bar, 0, len(Q), 0, n))
    pull_driven_back(work, as_matrix(cell.V), X_bar)
    gemm(through_second, False, W, False, 1.0, 1.0, h_bar[:n].reshape(1, n))
    step_work[: 4 * n] += through_second[0]


@implement(accumulate, LSTM)
def lstm_accumulate(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient
):
    n = cell.b.shape[1]
    h, Q, W_bar, step_work = as_matrix(h), as_matrix(Q), as_matrix(gradient.W), as_matrix(step_work)
    a_bar = window(step_work, 0, len(h), 0, 4 * n)
    gemm(a_bar, True, window(h, 0, len(h), 0, n), False, 1.0, 1.0, W_bar)
    gemm(a_bar, True, as_matrix(x), False, 1.0, 1.0, as_matrix(gradient.V))
    add_rows(a_bar, gradient.b.reshape(4 * n))
    gemm(as_matrix(tangent_work), True, window(Q, 0, len(Q), 0, n), False, 1.0, 1.0, W_bar)


@implement(input_pullback, LSTM)
def lstm_input_pullback(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar
):
    bars, n = as_matrix(step_work), cell.b.shape[1]
    a_bar = window(bars, 0, len(bars), 0, 4 * n)
    gemm(a_bar, False, as_matrix(cell.V), False, 1.0, 0.0, as_matrix(x_bar))


@implement(accumulate_driven, LSTM)
def lstm_accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient):
    gemm(as_matrix(tangent_work), True, as_matrix(X), False, 1.0, 1.0, as_matrix(gradient.V))


@implement(jacobian, LSTM)
def lstm_jacobian(cell, turned, h, x, D):
    n = cell.b.shape[1]
    h_next, record = np.empty((1, 2 * n), h.dtype), np.empty((1, 13 * n), h.dtype)
    step(cell, turned, h.reshape(1, 2 * n), x.reshape(1, x.size), h_next, record)
    alpha, f, rho = (
        record[0, : 4 * n].reshape(4, n),
        record[0, 4 * n : 5 * n],
        record[0, 5 * n : 6 * n],
    )
    D[:] = 0.0
    for u in range(n):
        for v in range(n):
            D[n + u, v] = (
                alpha[0, u] * cell.W[0, u, v]
                + alpha[1, u] * cell.W[1, u, v]
                + alpha[2, u] * cell.W[2, u, v]
            )
            D[u, v] = alpha[3, u] * cell.W[3, u, v] + rho[u] * D[n + u, v]
        D[n + u, n + u] = f[u]
        D[u, n + u] = rho[u] * f[u]
