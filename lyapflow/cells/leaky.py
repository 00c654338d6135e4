r"""Leaky networks ``h' = (1 - α) h + α ψ(W φ(h) + V x' + b)`` with elementwise φ and ψ, and a leak α for each unit.

A cell of this family has the fields W, V, b and leak, and says by `leaky` what φ and ψ are. With
v = φ(h), z = W v + V x' + b, y = ψ(z), s = φ'(h) and r = ψ'(z), in rows:

    tangent           p_j = W (s ⊙ q_j),   q'_j = (1 - α) q_j + α r p_j
    step pullback     z̄ = α r h̄',   h̄ = (1 - α) h̄' + s ⊙ W^T z̄
    tangent pullback  p̄_j = α r q̄'_j,   u_j = W^T p̄_j,   q̄_j = (1 - α) q̄'_j + s ⊙ u_j,
                      ζ = α ψ'' Σ_j q̄'_j p_j,   z̄ += ζ,   h̄ += s ⊙ W^T ζ + φ'' Σ_j u_j q_j
    parameters        W̄ = Σ z̄ v^T + Σ_j p̄_j (s ⊙ q_j)^T,   V̄ = Σ z̄ x'^T,   b̄ = Σ z̄,
                      ᾱ = Σ (y - h) h̄' + Σ_j (r p_j - q_j) q̄'_j
    input             x̄' = V^T z̄

Where the input moves by X_j, ``p_j += V X_j``, so ``X̄_j = V^T p̄_j`` and ``V̄ += Σ_j p̄_j X_j^T``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.views import as_matrix, window
from lyapflow.cells.additive import activation, bend
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
from lyapflow.errors import LyapflowError
from lyapflow.linalg.elementary import add_rows
from lyapflow.linalg.products import gemm


def outer_activation(cell, h, value, slope):
    """``value = ψ(z)``, ``slope = ψ'(z)`` of the vector z (n,), here h."""


def outer_bend(cell, value):
    """``ψ'' / ψ'`` from the value of ψ, one number."""


def leaky(inner: tuple[Callable, Callable], outer: tuple[Callable, Callable]) -> Any:
    """Register a class as a cell of this family; φ and ψ each by an `activation` and a `bend`."""

    def register(cell_class: Any) -> Any:
        sizes.register(cell_class, _sizes)
        kernels: list[Any] = [
            *zip((activation, bend), inner),
            *zip((outer_activation, outer_bend), outer),
            (step, _step),
            (driven_tangent, _driven_tangent),
            (step_pullback, _step_pullback),
            (driven_tangent_pullback, _driven_tangent_pullback),
            (accumulate, _accumulate),
            (input_pullback, _input_pullback),
            (accumulate_driven, _accumulate_driven),
            (jacobian, _jacobian),
        ]
        for generic, kernel in kernels:
            implement(generic, cell_class)(kernel)
        return driven(cell_class)

    return register


def given_leak(leak: ArrayLike, n: int, dtype: np.dtype) -> np.ndarray:
    """One leak for each of n units from a number or n of them, after checks."""
    found = _checks.finite("leak", leak)
    if found is None or found.shape not in ((), (n,)) or not ((found > 0) & (found <= 1)).all():
        raise LyapflowError(
            f"leak must be a number in (0, 1] or {n} of them, one for each unit, got {leak!r:.80}; it is dt / tau"
        )
    return np.full(n, found, dtype)


def _sizes(cell: Any) -> Sizes:
    n, m = cell.W.shape[0], cell.V.shape[1]
    return Sizes(
        state=n,
        units=n,
        inputs=m,
        record=4 * n,  # v, s, y, r
        # z̄; the part of ᾱ from tangents; ζ; scratch
        step_work=4 * n,
        tangent_work=2 * n,  # s ⊙ q, p̄
        shapes={"W": (n, n), "V": (n, m), "b": (n,), "leak": (n,)},
        bounds={"leak": (0.0, 1.0)},
    )


def _step(cell, turned, h, x, h_next, record):
    n = cell.b.size
    for i in range(len(h)):
        activation(cell, h[i], record[i, :n], record[i, n : 2 * n])
        for u in range(n):
            h_next[i, u] = cell.b[u]
    gemm(x, False, turned.V, False, 1.0, 1.0, h_next)
    gemm(window(record, 0, len(h), 0, n), False, turned.W, False, 1.0, 1.0, h_next)
    for i in range(len(h)):
        value, slope = record[i, 2 * n : 3 * n], record[i, 3 * n :]
        outer_activation(cell, h_next[i], value, slope)
        for u in range(n):
            h_next[i, u] = (1 - cell.leak[u]) * h[i, u] + cell.leak[u] * value[u]


def _driven_tangent(cell, turned, record, Q, X, Q_next, work):
    n = cell.b.size
    inner, outer = record[n : 2 * n], record[3 * n :]
    for j in range(len(Q)):
        for u in range(n):
            work[j, u] = inner[u] * Q[j, u]
    gemm(window(work, 0, len(Q), 0, n), False, turned.W, False, 1.0, 0.0, Q_next)
    add_driven(X, turned.V, Q_next)
    for j in range(len(Q)):
        for u in range(n):
            kept = (1 - cell.leak[u]) * Q[j, u]
            Q_next[j, u] = kept + cell.leak[u] * (outer[u] * Q_next[j, u])


def _step_pullback(cell, record, h_next_bar, h_bar, work):
    n, batch = cell.b.size, len(h_bar)
    for i in range(batch):
        for u in range(n):
            work[i, u] = cell.leak[u] * (record[i, 3 * n + u] * h_next_bar[i, u])
            work[i, n + u] = 0.0
    gemm(window(work, 0, batch, 0, n), False, cell.W, False, 1.0, 0.0, h_bar)
    for i in range(batch):
        for u in range(n):
            kept = (1 - cell.leak[u]) * h_next_bar[i, u]
            h_bar[i, u] = kept + record[i, n + u] * h_bar[i, u]


def _driven_tangent_pullback(
    cell, turned, record, Q, X, Q_next_bar, Q_bar, X_bar, h_bar, step_work, work
):
    n, k = cell.b.size, len(Q)
    parts, bars = record.reshape(4, n), step_work.reshape(4, n)
    value, inner, outer_value, outer = parts[0], parts[1], parts[2], parts[3]
    z_bar, leak_bar, zeta, through_zeta = bars[0], bars[1], bars[2], bars[3]
    for j in range(k):
        for u in range(n):
            work[j, u] = inner[u] * Q[j, u]
    p = Q_bar  # until its own turn has come
    gemm(window(work, 0, k, 0, n), False, turned.W, False, 1.0, 0.0, p)
    add_driven(X, turned.V, p)
    zeta[:] = 0.0
    for j in range(k):  # loops that write one array each: those are vectorised
        for u in range(n):
            zeta[u] += Q_next_bar[j, u] * (outer[u] * p[j, u])
        for u in range(n):
            leak_bar[u] += Q_next_bar[j, u] * (outer[u] * p[j, u] - Q[j, u])
        for u in range(n):
            work[j, n + u] = cell.leak[u] * (outer[u] * Q_next_bar[j, u])
    for u in range(n):
        zeta[u] *= cell.leak[u] * outer_bend(cell, outer_value[u])
    for u in range(n):
        z_bar[u] += zeta[u]
    gemm(bars[2:3], False, cell.W, False, 1.0, 0.0, bars[3:4])
    p_bar = window(work, 0, k, n, 2 * n)
    gemm(p_bar, False, cell.W, False, 1.0, 0.0, Q_bar)
    pull_driven_back(p_bar, cell.V, X_bar)
    for u in range(n):
        h_bar[u] += inner[u] * through_zeta[u]
    for j in range(k):
        for u in range(n):
            h_bar[u] += bend(cell, value[u]) * (Q_bar[j, u] * work[j, u])
        for u in range(n):
            kept = (1 - cell.leak[u]) * Q_next_bar[j, u]
            Q_bar[j, u] = kept + inner[u] * Q_bar[j, u]


def _accumulate(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient):
    n = cell.b.size
    h, h_next_bar, record, bars = (
        as_matrix(h),
        as_matrix(h_next_bar),
        as_matrix(record),
        as_matrix(step_work),
    )
    moved, states = as_matrix(tangent_work), len(h)
    z_bar = window(bars, 0, states, 0, n)
    gemm(z_bar, True, window(record, 0, states, 0, n), False, 1.0, 1.0, gradient.W)
    gemm(z_bar, True, as_matrix(x), False, 1.0, 1.0, gradient.V)
    add_rows(z_bar, gradient.b)
    add_rows(window(bars, 0, states, n, 2 * n), gradient.leak)
    for i in range(states):
        for u in range(n):
            gradient.leak[u] += h_next_bar[i, u] * (record[i, 2 * n + u] - h[i, u])
    scaled, p_bar = window(moved, 0, len(moved), 0, n), window(moved, 0, len(moved), n, 2 * n)
    gemm(p_bar, True, scaled, False, 1.0, 1.0, gradient.W)


def _input_pullback(cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, x_bar):
    bars = as_matrix(step_work)
    z_bar = window(bars, 0, len(bars), 0, cell.b.size)
    gemm(z_bar, False, cell.V, False, 1.0, 0.0, as_matrix(x_bar))


def _accumulate_driven(cell, X, Q_next_bar, tangent_work, gradient):
    moved, n = as_matrix(tangent_work), cell.b.size
    p_bar = window(moved, 0, len(moved), n, 2 * n)
    gemm(p_bar, True, as_matrix(X), False, 1.0, 1.0, gradient.V)


def _jacobian(cell, turned, h, x, D):
    n = h.size
    h_next, record = np.empty((1, n), h.dtype), np.empty((1, 4 * n), h.dtype)
    step(cell, turned, h.reshape(1, n), x.reshape(1, x.size), h_next, record)
    inner, outer = record[0, n : 2 * n], record[0, 3 * n :]
    for i in range(n):
        for j in range(n):
            D[i, j] = cell.leak[i] * outer[i] * cell.W[i, j] * inner[j]
        D[i, i] += 1 - cell.leak[i]
