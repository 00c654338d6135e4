"""Lyapunov exponents by QR in arbitrary precision, for a few steps of small networks."""

from typing import Any

import numpy as np

from lyapflow.precision.arithmetic import Arithmetic, Vector, exact
from lyapflow.precision.cells import move, step
from lyapflow.precision.singular_values import orthonormalised


def exponents(
    a: Arithmetic,
    cell: Any,
    x: np.ndarray,
    h: np.ndarray,
    Q: np.ndarray,
    *,
    t_ons: int = 1,
    transient: int = 0,
    q_transient: int = 0,
) -> Vector:
    """Exponents (k,), in nats per step and the precision that is set, of a cell whose fields are `exact`.

    Input x (T, m), state h (n_state,), tangent block Q (n_state, k) and the schedule are those of
    `lyapflow.lyapunov_spectrum`; nothing is proved.
    """
    state, T = exact(a, h), exact(a, Q)
    sums = [a.number(0.0)] * Q.shape[1]
    counting, since = transient + q_transient, 0
    for t, driven in enumerate(exact(a, x)):
        if t < transient:
            state = step(cell, a, state, driven)
            continue
        state, T = move(cell, a, state, driven, T)
        since += 1
        if since == t_ons or t + 1 in (counting, len(x)):
            columns, R, _ = orthonormalised(a, [list(column) for column in zip(*T)], Q.shape[1])
            T = [list(row) for row in zip(*columns)]
            if t >= counting:
                sums = [s + a.log(row[i]) for i, (s, row) in enumerate(zip(sums, R))]
            since = 0
    return [s / (len(x) - counting) for s in sums]
