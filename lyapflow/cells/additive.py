r"""Networks ``h' = W φ(h) + V x' + b`` with an elementwise φ: tanh, ReLU or the identity.

A cell of this family has the fields W, V, b, says what φ is by `activation`, and registers with
`additive`. With D = W diag(φ'(h)), in rows (u_j = W^T of the cotangent of tangent vector j):

    tangent           q'_j = W (φ' ⊙ q_j)
    step pullback     h̄ = φ' ⊙ W^T h̄'
    tangent pullback  q̄_j = φ' ⊙ u_j,   h̄ += φ'' ⊙ Σ_j u_j ⊙ q_j
    parameters        W̄ = Σ h̄' φ(h)^T + Σ_j q̄'_j (φ' ⊙ q_j)^T,   V̄ = Σ h̄' x'^T,   b̄ = Σ h̄'
    input             x̄' = V^T h̄'

Where the input moves by X_j, ``q'_j += V X_j``, so ``X̄_j = V^T q̄'_j`` and ``V̄ += Σ_j q̄'_j X_j^T``.
"""

from typing import Any

import numpy as np

from lyapflow import _checks
from lyapflow._engine.jit import jit
from lyapflow._engine.views import as_matrix, window
from lyapflow.cells.driven import add_driven, driven, pull_driven_back
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
from lyapflow.linalg.elementary import add_rows
from lyapflow.linalg.products import gemm
from lyapflow.linalg.stacks import qr


def activation(cell, h, value, slope):
    """``value = φ(h)``, ``slope = φ'(h)`` of a state (n,)."""


def bend(cell, value):
    """``φ'' / φ'`` from the value of φ, one number."""


def random_weights(
    n: Any, m: Any, rng: Any, g: Any, dtype: Any, weights: str = "gaussian", mean: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W, V ~ N(0, 1) and b = 0, after checks.

    W_ij ~ N(mean/n, g²/n), or W is g times a Haar-distributed orthogonal matrix.
    """
    n = _checks.integer("n", n, 1)
    m = _checks.integer("m", m, 0)
    dtype = _checks.dtype(dtype)
    g = _checks.number("g", g, 0.0, float(np.sqrt(np.finfo(dtype).max)))
    rng = _checks.generator("rng", rng)
    _checks.one_of("weights", weights, ("gaussian", "orthogonal"))
    _checks.affordable(f"a network of {n} units with {m} inputs", n * (n + m))
    W = rng.standard_normal((n, n))
    W = mean / n + g * (W / np.sqrt(n)) if weights == "gaussian" else g * qr(W)[0]
    V = rng.standard_normal((n, m))
    return W.astype(dtype), V.astype(dtype), np.zeros(n, dtype)


def additive(cell_class: Any) -> Any:
    """Register a class with fields W, V, b as a cell of this family; its `activation` and `bend` are its own."""
    sizes.register(cell_class, _sizes)
    for generic, kernel in (
        (step, _step),
        (driven_tangent, _driven_tangent),
        (step_pullback, _step_pullback),
        (driven_tangent_pullback, _driven_tangent_pullback),
        (accumulate, _accumulate),
        (input_pullback, _input_pullback),
        (accumulate_driven, _accumulate_driven),
        (jacobian, _jacobian),
    ):
        implement(generic, cell_class)(kernel)
    return driven(cell_class)


def _sizes(cell: Any) -> Sizes:
    n, m = cell.W.shape[0], cell.V.shape[1]
    return Sizes(
        state=n,
        units=n,
        inputs=m,
        record=2 * n,  # φ(h), φ'(h)
        step_work=0,
        tangent_work=n,  # φ' ⊙ q
        shapes={"W": (n, n), "V": (n, m), "b": (n,)},
    )


def _step(cell, turned, h, x, h_next, record):
    n = cell.b.size
    for i in range(len(h)):
        activation(cell, h[i], record[i, :n], record[i, n:])
        for u in range(n):
            h_next[i, u] = cell.b[u]
    gemm(x, False, turned.V, False, 1.0, 1.0, h_next)
    gemm(window(record, 0, len(h), 0, n), False, turned.W, False, 1.0, 1.0, h_next)


@jit
def _scale_rows(slope, Q, scaled):
    for j in range(len(Q)):
        for i in range(slope.size):
            scaled[j, i] = slope[i] * Q[j, i]


def _driven_tangent(cell, turned, record, Q, X, Q_next, work):
    _scale_rows(record[cell.b.size :], Q, work)
    gemm(work, False, turned.W, False, 1.0, 0.0, Q_next)
    add_driven(X, turned.V, Q_next)


def _step_pullback(cell, record, h_next_bar, h_bar, work):
    gemm(h_next_bar, False, cell.W, False, 1.0, 0.0, h_bar)
    for i in range(len(h_bar)):
        slope = record[i, cell.b.size :]
        for u in range(slope.size):
            h_bar[i, u] *= slope[u]


def _driven_tangent_pullback(
    cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
):
    n = cell.b.size
    value, slope = record[:n], record[n:]
    _scale_rows(slope, Q, work)
    gemm(Q_next_bar, False, cell.W, False, 1.0, 0.0, Q_bar)
    for j in range(len(Q)):
        for i in range(n):
            h_bar[i] += bend(cell, value[i]) * (Q_bar[j, i] * work[j, i])
            Q_bar[j, i] *= slope[i]
    pull_driven_back(Q_next_bar, cell.V, X_bar)


def _accumulate(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient):
    n = cell.b.size
    h_next_bar = as_matrix(h_next_bar)
    value = window(as_matrix(record), 0, len(h_next_bar), 0, n)
    gemm(h_next_bar, True, value, False, 1.0, 1.0, gradient.W)
    gemm(h_next_bar, True, as_matrix(x), False, 1.0, 1.0, gradient.V)
    add_rows(h_next_bar, gradient.b)
    gemm(as_matrix(Q_next_bar), True, as_matrix(tangent_work), False, 1.0, 1.0, gradient.W)


def _input_pullback(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar):
    gemm(as_matrix(h_next_bar), False, cell.V, False, 1.0, 0.0, as_matrix(x_bar))


def _accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient):
    gemm(as_matrix(Q_next_bar), True, as_matrix(X), False, 1.0, 1.0, gradient.V)


def _jacobian(cell, turned, h, x, D):
    slope = np.empty_like(h)
    activation(cell, h, np.empty_like(h), slope)
    D[:] = cell.W * slope
