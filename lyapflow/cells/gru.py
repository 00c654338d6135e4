r"""The GRU as PyTorch defines it, with gates r, z, n and the state h.

    a = W h,   r = σ(a_r + V_r x' + b_r),   z = σ(a_z + V_z x' + b_z)
    y = a_n + b_n,   e = V_n x' + b_2 + r ⊙ y,   n = tanh(e),   h' = (1 - z) ⊙ n + z ⊙ h

With the coefficients

    κ_r = n' y r',   κ_n = n' r,   α_z = (h - n) z'

a tangent vector q moves as (for the pullbacks see ``docs/derivations.md``)

    p = W q,   d = κ_r p_r + κ_n p_n,   q' = z q + α_z p_z + (1 - z) d

and where the input moves by X, p_r and p_z gain V_r X and V_z X, and d gains n' V_n X.
"""

from typing import Any, NamedTuple

import numpy as np

from lyapflow._engine.jit import jit
from lyapflow._engine.views import as_matrix, window
from lyapflow.cells.driven import driven
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
class GRU(NamedTuple):
    """Parameters of a GRU, gates in the order r, z, n.

    ``r, z = σ(W h + V x' + b)``, ``n = tanh(V x' + b + r ⊙ (W h + b_n))``, each with its own W, V
    and b; ``h' = (1 - z) ⊙ n + z ⊙ h``.

    Attributes
    ----------
    W : array (3, n, n)
        Recurrent weights.
    V : array (3, n, m)
        Input weights; m = 0 for an autonomous network.
    b : array (3, n)
        Bias.
    b_n : array (n,)
        Bias inside the reset gate.

    Notes
    -----
    Cho et al. (2014) in PyTorch's variant, whose reset gate acts after the matrix product. For a
    `torch.nn.GRU` of one layer, all arrays by ``.detach().numpy()``::

        W, V = weight_hh_l0.reshape(3, n, n), weight_ih_l0.reshape(3, n, m)
        b_ih, b_hh = bias_ih_l0.reshape(3, n), bias_hh_l0.reshape(3, n)
        b = np.stack([b_ih[0] + b_hh[0], b_ih[1] + b_hh[1], b_ih[2]])
        b_n = b_hh[2]

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.GRU.random(4, 1, rng=np.random.default_rng(0))
    >>> lf.trajectory(cell, np.ones((10, 1))).shape
    (10, 4)
    """

    W: np.ndarray
    V: np.ndarray
    b: np.ndarray
    b_n: np.ndarray

    @classmethod
    def random(
        cls,
        n: int,
        m: int,
        *,
        rng: np.random.Generator,
        g: float = 1.0,
        dtype: Any = np.float64,
    ) -> "GRU":
        r"""A random GRU, each gate with gains of its own.

        Recurrent weights are N(0, gain²/n) with gain ~ Unif(0, g), input weights N(0, gain²/n) with
        gain ~ Unif(0, 1), biases 0.

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
        GRU

        Raises
        ------
        LyapflowError
            If an argument is out of its range.
        """
        W, V, b = random_gates(3, n, m, rng, g, dtype)
        return cls(W, V, b, np.zeros_like(b[0]))


@sizes.register
def _(cell: GRU) -> Sizes:
    _, n, m = cell.V.shape
    return Sizes(
        state=n,
        units=n,
        inputs=m,
        record=10 * n,  # κ_r, α_z, κ_n, z, n', and for the second derivatives r, n, z', y r', n' r'
        second=5 * n,
        # cotangents of a and of e; the part of the former through the second derivatives; scratch
        step_work=10 * n,
        tangent_work=4 * n,  # p and X's part in e, then their cotangents
        shapes={"W": (3, n, n), "V": (3, n, m), "b": (3, n), "b_n": (n,)},
    )


@implement(step, GRU)
def gru_step(cell, turned, h, x, h_next, record):
    n = cell.b_n.size
    driven = window(record, 0, len(h), 4 * n, 7 * n)
    repeat(cell.b.reshape(3 * n), driven)
    gemm(x, False, turned.V, False, 1.0, 1.0, driven)
    gemm(h, False, turned.W, False, 1.0, 0.0, record[:, : 3 * n])
    for b in range(len(h)):
        parts = record[b].reshape(10, n)
        kappa_r, alpha_z, kappa_n, z, new_slope = parts[0], parts[1], parts[2], parts[3], parts[4]
        r, new, z_slope, y_r_slope, new_slope_r_slope = (
            parts[5],
            parts[6],
            parts[7],
            parts[8],
            parts[9],
        )
        # W h at first, in the place of what is last
        argument_r, argument_z, y = parts[0], parts[1], parts[2]
        driven_r, driven_z, driven_n = parts[4], parts[5], parts[6]  # V x' + b
        for u in range(n):
            argument_r[u] += driven_r[u]
            argument_z[u] += driven_z[u]
            y[u] += cell.b_n[u]
        sigmoid(argument_r, r, new_slope_r_slope)
        sigmoid(argument_z, z, z_slope)
        e = argument_r
        for u in range(n):
            y_r_slope[u] = y[u] * new_slope_r_slope[u]
            e[u] = driven_n[u] + r[u] * y[u]
        tanh_sech2(e, new, new_slope)
        for u in range(n):
            h_next[b, u] = (1 - z[u]) * new[u] + z[u] * h[b, u]
            kappa_r[u] = new_slope[u] * y_r_slope[u]
            alpha_z[u] = (h[b, u] - new[u]) * z_slope[u]
            kappa_n[u] = new_slope[u] * r[u]
            new_slope_r_slope[u] *= new_slope[u]


@jit
def _move_arguments(cell, turned, Q, X, work):
    """p = W q, with the part V X of the gates r and z; that of e, which the reset gate does not meet, behind it."""
    n, k = cell.b_n.size, len(Q)
    gemm(Q, False, turned.W, False, 1.0, 0.0, window(work, 0, k, 0, 3 * n))
    if X is not None:
        m = len(turned.V)
        V_gates, V_new = window(turned.V, 0, m, 0, 2 * n), window(turned.V, 0, m, 2 * n, 3 * n)
        gemm(X, False, V_gates, False, 1.0, 1.0, window(work, 0, k, 0, 2 * n))
        gemm(X, False, V_new, False, 1.0, 0.0, window(work, 0, k, 3 * n, 4 * n))


@implement(driven_tangent, GRU)
def gru_driven_tangent(cell, turned, record, Q, X, Q_next, work):
    n = cell.b_n.size
    parts = record.reshape(10, n)
    kappa_r, alpha_z, kappa_n, z, new_slope = parts[0], parts[1], parts[2], parts[3], parts[4]
    _move_arguments(cell, turned, Q, X, work)
    for j in range(len(Q)):
        p = work[j].reshape(4, n)
        for u in range(n):
            d = kappa_r[u] * p[0, u] + kappa_n[u] * p[2, u]
            if X is not None:
                d += new_slope[u] * p[3, u]
            Q_next[j, u] = z[u] * Q[j, u] + alpha_z[u] * p[1, u] + (1 - z[u]) * d


@jit
def _pull_inputs_back(cell, bars, x_bar):
    """``x̄ = V^T ā`` in rows; bars has the cotangents of a and, behind it, of e, which V_n gives to."""
    V, n, rows = as_matrix(cell.V), cell.b_n.size, len(bars)
    gates, e_bar = window(bars, 0, rows, 0, 2 * n), window(bars, 0, rows, 3 * n, 4 * n)
    gemm(gates, False, window(V, 0, 2 * n), False, 1.0, 0.0, x_bar)
    gemm(e_bar, False, window(V, 2 * n, 3 * n), False, 1.0, 1.0, x_bar)


@jit
def _accumulate_inputs(bars, x, gradient):
    """``V̄ += Σ ā x^T`` of rows such as those of `_pull_inputs_back`."""
    V_bar, n, rows = as_matrix(gradient.V), len(gradient.b_n), len(bars)
    gates, e_bar = window(bars, 0, rows, 0, 2 * n), window(bars, 0, rows, 3 * n, 4 * n)
    gemm(gates, True, x, False, 1.0, 1.0, window(V_bar, 0, 2 * n))
    gemm(e_bar, True, x, False, 1.0, 1.0, window(V_bar, 2 * n, 3 * n))


@implement(step_pullback, GRU)
def gru_step_pullback(cell, record, h_next_bar, h_bar, work):
    n = cell.b_n.size
    for b in range(len(h_bar)):
        parts = record[b, : 5 * n].reshape(5, n)
        kappa_r, alpha_z, kappa_n, z, new_slope = parts[0], parts[1], parts[2], parts[3], parts[4]
        a_bar = work[b, : 4 * n].reshape(4, n)
        for u in range(n):
            new_bar = (1 - z[u]) * h_next_bar[b, u]
            a_bar[0, u] = kappa_r[u] * new_bar
            a_bar[1, u] = alpha_z[u] * h_next_bar[b, u]
            a_bar[2, u] = kappa_n[u] * new_bar
            a_bar[3, u] = new_slope[u] * new_bar
            h_bar[b, u] = z[u] * h_next_bar[b, u]
    gemm(work[:, : 3 * n], False, as_matrix(cell.W), False, 1.0, 1.0, h_bar)


@implement(driven_tangent_pullback, GRU)
def gru_driven_tangent_pullback(
    cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
):
    n, k = cell.b_n.size, len(Q)
    W = as_matrix(cell.W)
    parts = record.reshape(10, n)
    kappa_r, alpha_z, kappa_n, z, new_slope = parts[0], parts[1], parts[2], parts[3], parts[4]
    r, new, z_slope, y_r_slope, new_slope_r_slope = parts[5], parts[6], parts[7], parts[8], parts[9]
    through_second, scratch = (
        step_work[4 * n : 7 * n].reshape(1, 3 * n),
        step_work[7 * n :].reshape(3, n),
    )
    a_bar, step_e_bar = through_second.reshape(3, n), step_work[3 * n : 4 * n]
    d, w, e_bar = scratch[0], scratch[1], scratch[2]
    a_bar[:] = 0.0
    _move_arguments(cell, turned, Q, X, work)
    for j in range(k):  # loops that write one array each: those are vectorised
        p = work[j].reshape(4, n)
        p_r, p_z, p_n, q, v, q_bar = p[0], p[1], p[2], Q[j], Q_next_bar[j], Q_bar[j]
        for u in range(n):
            d[u] = kappa_r[u] * p_r[u] + kappa_n[u] * p_n[u]
        if X is not None:
            for u in range(n):
                d[u] += new_slope[u] * p[3, u]
        for u in range(n):
            w[u] = (1 - z[u]) * v[u]
        for u in range(n):
            e_bar[u] = -2 * new[u] * w[u] * d[u] - new_slope[u] * z_slope[u] * v[u] * p_z[u]
        for u in range(n):
            second = kappa_r[u] * (1 - 2 * r[u]) * p_r[u] + new_slope_r_slope[u] * p_n[u]
            a_bar[0, u] += y_r_slope[u] * e_bar[u] + w[u] * second
        for u in range(n):
            a_bar[1, u] += v[u] * (
                z_slope[u] * (q[u] - d[u]) + alpha_z[u] * (1 - 2 * z[u]) * p_z[u]
            )
        for u in range(n):
            a_bar[2, u] += r[u] * e_bar[u] + w[u] * new_slope_r_slope[u] * p_r[u]
        for u in range(n):
            step_e_bar[u] += e_bar[u]
        for u in range(n):
            h_bar[u] += z_slope[u] * v[u] * p_z[u]
        for u in range(n):
            p_r[u] = kappa_r[u] * w[u]
        for u in range(n):
            p_z[u] = alpha_z[u] * v[u]
        for u in range(n):
            p_n[u] = kappa_n[u] * w[u]
        if X is not None:
            for u in range(n):
                p[3, u] = new_slope[u] * w[u]
        for u in range(n):
            q_bar[u] = z[u] * v[u]
    gemm(window(work, 0, k, 0, 3 * n), False, W, False, 1.0, 1.0, Q_bar)
    if X_bar is not None:
        _pull_inputs_back(cell, work, X_bar)
    gemm(through_second, False, W, False, 1.0, 1.0, h_bar.reshape(1, n))
    step_work[: 3 * n] += through_second[0]


@implement(accumulate, GRU)
def gru_accumulate(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient
):
    n = cell.b_n.size
    W_bar, b_bar = as_matrix(gradient.W), gradient.b.reshape(3 * n)
    bars, states = as_matrix(step_work), h.shape[0] * h.shape[1]
    through_W, through_V = window(bars, 0, states, 0, 3 * n), window(bars, 0, states, 0, 2 * n)
    within, step_bar = window(bars, 0, states, 2 * n, 3 * n), window(bars, 0, states, 3 * n, 4 * n)
    gemm(through_W, True, as_matrix(h), False, 1.0, 1.0, W_bar)
    _accumulate_inputs(bars, as_matrix(x), gradient)
    add_rows(through_V, b_bar[: 2 * n])
    add_rows(within, gradient.b_n)
    add_rows(step_bar, b_bar[2 * n :])
    moved = as_matrix(tangent_work)
    p_bar = window(moved, 0, len(moved), 0, 3 * n)
    gemm(p_bar, True, as_matrix(Q), False, 1.0, 1.0, W_bar)


@implement(input_pullback, GRU)
def gru_input_pullback(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar
):
    _pull_inputs_back(cell, as_matrix(step_work), as_matrix(x_bar))


@implement(accumulate_driven, GRU)
def gru_accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient):
    _accumulate_inputs(as_matrix(tangent_work), as_matrix(X), gradient)


@implement(jacobian, GRU)
def gru_jacobian(cell, turned, h, x, D):
    n = h.size
    h_next, record = np.empty((1, n), h.dtype), np.empty((1, 10 * n), h.dtype)
    step(cell, turned, h.reshape(1, n), x.reshape(1, x.size), h_next, record)
    parts = record.reshape(10, n)
    kappa_r, alpha_z, kappa_n, z = parts[0], parts[1], parts[2], parts[3]
    for u in range(n):
        for v in range(n):
            d = kappa_r[u] * cell.W[0, u, v] + kappa_n[u] * cell.W[2, u, v]
            D[u, v] = alpha_z[u] * cell.W[1, u, v] + (1 - z[u]) * d
        D[u, u] += z[u]
