r"""The GRU whose reset gate acts before the matrix product, with gates r, z, n and the state h.

    r = σ(W_r h + V_r x' + b_r),   z = σ(W_z h + V_z x' + b_z)
    y = r ⊙ h,   e = W_n y + V_n x' + b_n,   n = tanh(e),   h' = (1 - z) ⊙ n + z ⊙ h

With the coefficients

    κ = h r',   α = (h - n) z',   β = (1 - z) n'

a tangent vector q moves as (for the pullbacks see ``docs/derivations.md``)

    p_r = W_r q,   p_z = W_z q,   y_q = r q + κ p_r,   p_n = W_n y_q,   q' = z q + α p_z + β p_n

and where the input moves by X, ``p_r = W_r q + V_r X`` and p_z and p_n likewise.
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
class GRUResetBefore(NamedTuple):
    """Parameters of a GRU with the reset gate before the product, gates in the order r, z, n.

    ``r, z = σ(W h + V x' + b)``, ``n = tanh(W (r ⊙ h) + V x' + b)``, each with its own W, V and b;
    ``h' = (1 - z) ⊙ n + z ⊙ h``.

    Attributes
    ----------
    W : array (3, n, n)
        Recurrent weights.
    V : array (3, n, m)
        Input weights; m = 0 for an autonomous network.
    b : array (3, n)
        Bias.

    Notes
    -----
    Cho et al. (2014); Keras's GRU with ``reset_after=False``, ONNX's with ``linear_before_reset=0``,
    its default. PyTorch's is `GRU`, another map.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.GRUResetBefore.random(4, 1, rng=np.random.default_rng(0))
    >>> lf.trajectory(cell, np.ones((10, 1))).shape
    (10, 4)
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
    ) -> "GRUResetBefore":
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
        GRUResetBefore

        Raises
        ------
        LyapflowError
            If an argument is out of its range.
        """
        return cls(*random_gates(3, n, m, rng, g, dtype))


@sizes.register
def _(cell: GRUResetBefore) -> Sizes:
    _, n, m = cell.V.shape
    return Sizes(
        state=n,
        units=n,
        inputs=m,
        record=10 * n,  # z, α, β, r, κ, y, and for the second derivatives r', n, n', z'
        second=4 * n,
        # cotangents of the arguments of r, z and n; those through the second derivatives; scratch
        step_work=8 * n,
        tangent_work=4 * n,  # p, then its cotangent; y_q
        shapes={"W": (3, n, n), "V": (3, n, m), "b": (3, n)},
    )


@implement(step, GRUResetBefore)
def gru_reset_before_step(cell, turned, h, x, h_next, record):
    n, batch = cell.b.shape[1], len(h)
    arguments = window(record, 0, batch, 0, 3 * n)
    repeat(cell.b.reshape(3 * n), arguments)
    gemm(x, False, turned.V, False, 1.0, 1.0, arguments)
    gates, new_argument = window(record, 0, batch, 0, 2 * n), window(record, 0, batch, 2 * n, 3 * n)
    W_gates, W_new = window(turned.W, 0, n, 0, 2 * n), window(turned.W, 0, n, 2 * n, 3 * n)
    gemm(h, False, W_gates, False, 1.0, 1.0, gates)
    for i in range(batch):
        parts = record[i].reshape(10, n)
        r, y, r_slope, z_slope = parts[3], parts[5], parts[6], parts[9]
        sigmoid(parts[0], r, r_slope)
        sigmoid(parts[1], parts[0], z_slope)
        for u in range(n):
            y[u] = r[u] * h[i, u]
    gemm(window(record, 0, batch, 5 * n, 6 * n), False, W_new, False, 1.0, 1.0, new_argument)
    for i in range(batch):
        parts = record[i].reshape(10, n)
        z, alpha, beta, kappa = parts[0], parts[1], parts[2], parts[4]
        r_slope, new, new_slope, z_slope = parts[6], parts[7], parts[8], parts[9]
        tanh_sech2(beta, new, new_slope)
        for u in range(n):
            h_next[i, u] = (1 - z[u]) * new[u] + z[u] * h[i, u]
            alpha[u] = (h[i, u] - new[u]) * z_slope[u]
            beta[u] = (1 - z[u]) * new_slope[u]
            kappa[u] = h[i, u] * r_slope[u]


@implement(driven_tangent, GRUResetBefore)
def gru_reset_before_driven_tangent(cell, turned, record, Q, X, Q_next, work):
    n, m, k = cell.b.shape[1], len(turned.V), len(Q)
    parts = record.reshape(10, n)
    z, alpha, beta, r, kappa = parts[0], parts[1], parts[2], parts[3], parts[4]
    gates, p_new = window(work, 0, k, 0, 2 * n), window(work, 0, k, 2 * n, 3 * n)
    W_gates, W_new = window(turned.W, 0, n, 0, 2 * n), window(turned.W, 0, n, 2 * n, 3 * n)
    V_gates, V_new = window(turned.V, 0, m, 0, 2 * n), window(turned.V, 0, m, 2 * n, 3 * n)
    gemm(Q, False, W_gates, False, 1.0, 0.0, gates)
    add_driven(X, V_gates, gates)
    for j in range(k):
        for u in range(n):
            work[j, 3 * n + u] = r[u] * Q[j, u] + kappa[u] * work[j, u]
    reset = window(work, 0, k, 3 * n, 4 * n)
    gemm(reset, False, W_new, False, 1.0, 0.0, p_new)
    add_driven(X, V_new, p_new)
    for j in range(k):
        for u in range(n):
            p_z, p_n = work[j, n + u], work[j, 2 * n + u]
            Q_next[j, u] = z[u] * Q[j, u] + alpha[u] * p_z + beta[u] * p_n


@implement(step_pullback, GRUResetBefore)
def gru_reset_before_step_pullback(cell, record, h_next_bar, h_bar, work):
    n, batch = cell.b.shape[1], len(h_bar)
    W = as_matrix(cell.W)
    for i in range(batch):
        alpha, beta = record[i, n : 2 * n], record[i, 2 * n : 3 * n]
        for u in range(n):
            work[i, n + u] = alpha[u] * h_next_bar[i, u]
            work[i, 2 * n + u] = beta[u] * h_next_bar[i, u]
    # the cotangent of y = r h, in the place of that of h
    gemm(
        window(work, 0, batch, 2 * n, 3 * n), False, window(W, 2 * n, 3 * n), False, 1.0, 0.0, h_bar
    )
    for i in range(batch):
        z, r, kappa = record[i, :n], record[i, 3 * n : 4 * n], record[i, 4 * n : 5 * n]
        for u in range(n):
            y_bar = h_bar[i, u]
            work[i, u] = kappa[u] * y_bar
            h_bar[i, u] = z[u] * h_next_bar[i, u] + r[u] * y_bar
    gemm(window(work, 0, batch, 0, 2 * n), False, window(W, 0, 2 * n), False, 1.0, 1.0, h_bar)


@implement(driven_tangent_pullback, GRUResetBefore)
def gru_reset_before_driven_tangent_pullback(
    cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
):
    n, k = cell.b.shape[1], len(Q)
    W, parts, second = as_matrix(cell.W), record.reshape(10, n), step_work[3 * n :].reshape(5, n)
    W_gates, W_new = window(W, 0, 2 * n), window(W, 2 * n, 3 * n)
    z, alpha, beta, r, kappa = parts[0], parts[1], parts[2], parts[3], parts[4]
    r_slope, new, new_slope, z_slope = parts[6], parts[7], parts[8], parts[9]
    r_bar, z_bar, e_bar, y_bar, h_direct = second[0], second[1], second[2], second[3], second[4]
    second[:] = 0.0
    driven_tangent(cell, turned, record, Q, X, Q_bar, work)  # for p and y_q
    p_bars = window(work, 0, k, 0, 3 * n)
    for j in range(k):  # loops that write one array each: those are vectorised
        q, v, p_z, p_n = Q[j], Q_next_bar[j], work[j, n : 2 * n], work[j, 2 * n : 3 * n]
        for u in range(n):
            e_bar[u] -= v[u] * (new_slope[u] * z_slope[u] * p_z[u] + 2 * new[u] * beta[u] * p_n[u])
        for u in range(n):
            through_value = z_slope[u] * (q[u] - new_slope[u] * p_n[u])
            z_bar[u] += v[u] * (through_value + alpha[u] * (1 - 2 * z[u]) * p_z[u])
        for u in range(n):
            h_direct[u] += z_slope[u] * v[u] * p_z[u]
        for u in range(n):
            p_z[u] = alpha[u] * v[u]
        for u in range(n):
            p_n[u] = beta[u] * v[u]
    # cotangents of y_q, in the place of those of q
    gemm(window(work, 0, k, 2 * n, 3 * n), False, W_new, False, 1.0, 0.0, Q_bar)
    for j in range(k):
        q, p_r, y_q_bar = Q[j], work[j, :n], Q_bar[j]
        for u in range(n):
            curved = kappa[u] * (1 - 2 * r[u]) * p_r[u]
            r_bar[u] += y_q_bar[u] * (r_slope[u] * q[u] + curved)
        for u in range(n):
            h_direct[u] += r_slope[u] * p_r[u] * y_q_bar[u]
        for u in range(n):
            p_r[u] = kappa[u] * y_q_bar[u]
        for u in range(n):
            y_q_bar[u] = z[u] * Q_next_bar[j, u] + r[u] * y_q_bar[u]
    gemm(window(p_bars, 0, k, 0, 2 * n), False, W_gates, False, 1.0, 1.0, Q_bar)
    pull_driven_back(p_bars, as_matrix(cell.V), X_bar)
    # from e through y to r and h, then from the arguments of the gates to h
    gemm(second[2:3], False, W_new, False, 1.0, 0.0, second[3:4])
    for u in range(n):
        r_bar[u] += kappa[u] * y_bar[u]
        h_bar[u] += h_direct[u] + r[u] * y_bar[u]
    gemm(second[:2].reshape(1, 2 * n), False, W_gates, False, 1.0, 1.0, h_bar.reshape(1, n))
    step_work[: 3 * n] += step_work[3 * n : 6 * n]


@implement(accumulate, GRUResetBefore)
def gru_reset_before_accumulate(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient
):
    n, states = cell.b.shape[1], h.shape[0] * h.shape[1]
    W_bar = as_matrix(gradient.W)
    bars, record, moved = as_matrix(step_work), as_matrix(record), as_matrix(tangent_work)
    gates, new = window(bars, 0, states, 0, 2 * n), window(bars, 0, states, 2 * n, 3 * n)
    arguments, y = window(bars, 0, states, 0, 3 * n), window(record, 0, states, 5 * n, 6 * n)
    W_gates_bar, W_new_bar = window(W_bar, 0, 2 * n), window(W_bar, 2 * n, 3 * n)
    gemm(gates, True, as_matrix(h), False, 1.0, 1.0, W_gates_bar)
    gemm(new, True, y, False, 1.0, 1.0, W_new_bar)
    gemm(arguments, True, as_matrix(x), False, 1.0, 1.0, as_matrix(gradient.V))
    add_rows(arguments, gradient.b.reshape(3 * n))
    vectors = len(moved)
    p_bar, reset = window(moved, 0, vectors, 0, 2 * n), window(moved, 0, vectors, 3 * n, 4 * n)
    gemm(p_bar, True, as_matrix(Q), False, 1.0, 1.0, W_gates_bar)
    gemm(window(moved, 0, vectors, 2 * n, 3 * n), True, reset, False, 1.0, 1.0, W_new_bar)


@implement(input_pullback, GRUResetBefore)
def gru_reset_before_input_pullback(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar
):
    bars, n = as_matrix(step_work), cell.b.shape[1]
    arguments = window(bars, 0, len(bars), 0, 3 * n)
    gemm(arguments, False, as_matrix(cell.V), False, 1.0, 0.0, as_matrix(x_bar))


@implement(accumulate_driven, GRUResetBefore)
def gru_reset_before_accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient):
    moved, n = as_matrix(tangent_work), cell.b.shape[1]
    p_bar = window(moved, 0, len(moved), 0, 3 * n)
    gemm(p_bar, True, as_matrix(X), False, 1.0, 1.0, as_matrix(gradient.V))


@implement(jacobian, GRUResetBefore)
def gru_reset_before_jacobian(cell, turned, h, x, D):
    n = h.size
    h_next, record = np.empty((1, n), h.dtype), np.empty((1, 10 * n), h.dtype)
    step(cell, turned, h.reshape(1, n), x.reshape(1, x.size), h_next, record)
    parts = record.reshape(10, n)
    z, alpha, beta, r, kappa = parts[0], parts[1], parts[2], parts[3], parts[4]
    for u in range(n):
        for v in range(n):
            # y = r h moves by its own h, and by all through the gate
            p_n = cell.W[2, u, v] * r[v]
            for w in range(n):
                p_n += cell.W[2, u, w] * kappa[w] * cell.W[0, w, v]
            D[u, v] = alpha[u] * cell.W[1, u, v] + beta[u] * p_n
        D[u, u] += z[u]
