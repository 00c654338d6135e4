"""Random weights of gated cells."""

from typing import Any

import numpy as np

from lyapflow import _checks


def random_gates(
    gates: int, n: Any, m: Any, rng: Any, g: Any, dtype: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (gates, n, n), V (gates, n, m) and b = 0 (gates, n), after checks.

    Every gate draws a gain of its own for W, Unif(0, g), and for V, Unif(0, 1); entries are N(0,
    gain²/n)."""
    n = _checks.integer("n", n, 1)
    m = _checks.integer("m", m, 0)
    dtype = _checks.dtype(dtype)
    g = _checks.number("g", g, 0.0, float(np.sqrt(np.finfo(dtype).max)))
    rng = _checks.generator("rng", rng)
    _checks.affordable(f"a network of {n} units with {m} inputs", gates * n * (n + m))
    gains = rng.random((2, gates, 1, 1)) / np.sqrt(n)
    W = g * gains[0] * rng.standard_normal((gates, n, n))
    V = gains[1] * rng.standard_normal((gates, n, m))
    return W.astype(dtype), V.astype(dtype), np.zeros((gates, n), dtype)
