"""Maps with known Lyapunov exponents, as cells from outside the package."""

from typing import NamedTuple

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import polygamma, psi

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


def autonomous(steps):
    """The input of a cell without inputs."""
    return np.empty((steps, 0))


HENON = 0.41922, -1.62319
CAT = 0.9624236501192069
IKEDA = 0.50757, -0.71829  # u = 0.9; 2e7 steps, the sum is 2 ln u
STANDARD = 1.1367, -1.1367  # K = 6, the chaotic sea; 2e7 steps
# by z; the transfer operator on 10^4 cells
INTERMITTENT = {1.3: 0.64922, 1.5: 0.56233, 1.7: 0.41088, 1.9: 0.16729}


class HenonMap(NamedTuple):
    """``x' = 1 - a x² + y, y' = b x``."""

    a: np.ndarray  # (1,)
    b: np.ndarray  # (1,)


@sizes.register
def _(cell: HenonMap) -> Sizes:
    return Sizes(2, 2, 0, record=1, step_work=0, tangent_work=0, shapes={"a": (1,), "b": (1,)})


@implement(step, HenonMap)
def henon_step(cell, turned, h, x, h_next, record):
    for i in range(len(h)):
        record[i, 0] = h[i, 0]
        h_next[i, 0] = 1 - cell.a[0] * h[i, 0] ** 2 + h[i, 1]
        h_next[i, 1] = cell.b[0] * h[i, 0]


@implement(tangent, HenonMap)
def henon_tangent(cell, turned, record, Q, Q_next, work):
    for j in range(len(Q)):
        Q_next[j, 0] = -2 * cell.a[0] * record[0] * Q[j, 0] + Q[j, 1]
        Q_next[j, 1] = cell.b[0] * Q[j, 0]


@implement(step_pullback, HenonMap)
def henon_step_pullback(cell, record, h_next_bar, h_bar, work):
    for i in range(len(h_bar)):
        h_bar[i, 0] = (
            -2 * cell.a[0] * record[i, 0] * h_next_bar[i, 0] + cell.b[0] * h_next_bar[i, 1]
        )
        h_bar[i, 1] = h_next_bar[i, 0]


@implement(tangent_pullback, HenonMap)
def henon_tangent_pullback(cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work):
    for j in range(len(Q)):
        Q_bar[j, 0] = -2 * cell.a[0] * record[0] * Q_next_bar[j, 0] + cell.b[0] * Q_next_bar[j, 1]
        Q_bar[j, 1] = Q_next_bar[j, 0]
        h_bar[0] += -2 * cell.a[0] * Q[j, 0] * Q_next_bar[j, 0]


@implement(accumulate, HenonMap)
def henon_accumulate(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient
):
    for c in range(len(h)):
        for i in range(h.shape[1]):
            gradient.a[0] -= h[c, i, 0] ** 2 * h_next_bar[c, i, 0]
            gradient.b[0] += h[c, i, 0] * h_next_bar[c, i, 1]
    for c in range(len(Q)):
        for j in range(Q.shape[1]):
            gradient.a[0] -= 2 * record[c, 0, 0] * Q[c, j, 0] * Q_next_bar[c, j, 0]
            gradient.b[0] += Q[c, j, 0] * Q_next_bar[c, j, 1]


@implement(jacobian, HenonMap)
def henon_jacobian(cell, turned, h, x, D):
    D[0, 0], D[0, 1] = -2 * cell.a[0] * h[0], 1.0
    D[1, 0], D[1, 1] = cell.b[0], 0.0


class CatMap(NamedTuple):
    """``h' = A h mod 1``; Arnold's for A = [[2, 1], [1, 1]]."""

    A: np.ndarray  # (n, n)


@sizes.register
def _(cell: CatMap) -> Sizes:
    n = len(cell.A)
    return Sizes(n, n, 0, record=0, step_work=0, tangent_work=0, shapes={"A": (n, n)})


@implement(step, CatMap)
def cat_step(cell, turned, h, x, h_next, record):
    h_next[:] = (h @ cell.A.T) % 1.0


@implement(tangent, CatMap)
def cat_tangent(cell, turned, record, Q, Q_next, work):
    Q_next[:] = Q @ cell.A.T


@implement(step_pullback, CatMap)
def cat_step_pullback(cell, record, h_next_bar, h_bar, work):
    h_bar[:] = h_next_bar @ cell.A


@implement(tangent_pullback, CatMap)
def cat_tangent_pullback(cell, turned, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work):
    Q_bar[:] = Q_next_bar @ cell.A


@implement(accumulate, CatMap)
def cat_accumulate(
    cell, x, h, record, h_next_bar, step_work, Q, Q_next_bar, tangent_work, gradient
):
    for c in range(len(h)):
        gradient.A[:] += h_next_bar[c].T @ h[c]
    for c in range(len(Q)):
        gradient.A[:] += Q_next_bar[c].T @ Q[c]


class LogisticMap(NamedTuple):
    """``h' = r h (1 - h)``: ln 2 for r = 4."""

    r: np.ndarray  # (1,)


@sizes.register
def _(cell: LogisticMap) -> Sizes:
    return Sizes(1, 1, 0, record=1, step_work=0, tangent_work=0, shapes={"r": (1,)})


@implement(step, LogisticMap)
def logistic_step(cell, turned, h, x, h_next, record):
    record[:] = 1 - 2 * h
    h_next[:] = cell.r * h * (1 - h)


@implement(tangent, LogisticMap)
def logistic_tangent(cell, turned, record, Q, Q_next, work):
    Q_next[:] = cell.r * record * Q


class TentMap(NamedTuple):
    """``h' = s min(h, 1 - h)``: ln s."""

    s: np.ndarray  # (1,)


@sizes.register
def _(cell: TentMap) -> Sizes:
    return Sizes(1, 1, 0, record=1, step_work=0, tangent_work=0, shapes={"s": (1,)})


@implement(step, TentMap)
def tent_step(cell, turned, h, x, h_next, record):
    record[:] = np.where(h < 0.5, cell.s, -cell.s)
    h_next[:] = cell.s * np.minimum(h, 1 - h)


@implement(tangent, TentMap)
def tent_tangent(cell, turned, record, Q, Q_next, work):
    Q_next[:] = record * Q


class IkedaMap(NamedTuple):
    """``z' = 1 + u z exp(i (0.4 - 6 / (1 + |z|²)))`` for complex z: chaotic for u = 0.9."""

    u: np.ndarray  # (1,)


@sizes.register
def _(cell: IkedaMap) -> Sizes:
    return Sizes(2, 2, 0, record=4, step_work=0, tangent_work=0, shapes={"u": (1,)})


@implement(step, IkedaMap)
def ikeda_step(cell, turned, h, x, h_next, record):
    for i in range(len(h)):
        a, b, u = h[i, 0], h[i, 1], cell.u[0]
        size = 1 + a * a + b * b
        angle, turn = 0.4 - 6 / size, 12 / size**2
        re, im = a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)
        record[i, 0], record[i, 1] = (
            u * (np.cos(angle) - im * turn * a),
            u * (-np.sin(angle) - im * turn * b),
        )
        record[i, 2], record[i, 3] = (
            u * (np.sin(angle) + re * turn * a),
            u * (np.cos(angle) + re * turn * b),
        )
        h_next[i, 0], h_next[i, 1] = 1 + u * re, u * im


@implement(tangent, IkedaMap)
def ikeda_tangent(cell, turned, record, Q, Q_next, work):
    for j in range(len(Q)):
        Q_next[j, 0] = record[0] * Q[j, 0] + record[1] * Q[j, 1]
        Q_next[j, 1] = record[2] * Q[j, 0] + record[3] * Q[j, 1]


class StandardMap(NamedTuple):
    """``p' = p + K sin θ, θ' = θ + p'``, both mod 2π; state (θ, p)."""

    K: np.ndarray  # (1,)


@sizes.register
def _(cell: StandardMap) -> Sizes:
    return Sizes(2, 2, 0, record=1, step_work=0, tangent_work=0, shapes={"K": (1,)})


@implement(step, StandardMap)
def standard_step(cell, turned, h, x, h_next, record):
    for i in range(len(h)):
        record[i, 0] = cell.K[0] * np.cos(h[i, 0])
        p = h[i, 1] + cell.K[0] * np.sin(h[i, 0])
        h_next[i, 0], h_next[i, 1] = (h[i, 0] + p) % (2 * np.pi), p % (2 * np.pi)


@implement(tangent, StandardMap)
def standard_tangent(cell, turned, record, Q, Q_next, work):
    for j in range(len(Q)):
        Q_next[j, 1] = Q[j, 1] + record[0] * Q[j, 0]
        Q_next[j, 0] = Q[j, 0] + Q_next[j, 1]


class IntermittentMap(NamedTuple):
    """``h' = h + h^z mod 1`` of Pomeau and Manneville: laminar phases near 0, of infinite variance for z > 1.5."""

    z: np.ndarray  # (1,)


@sizes.register
def _(cell: IntermittentMap) -> Sizes:
    return Sizes(1, 1, 0, record=1, step_work=0, tangent_work=0, shapes={"z": (1,)})


@implement(step, IntermittentMap)
def intermittent_step(cell, turned, h, x, h_next, record):
    for i in range(len(h)):
        record[i, 0] = 1 + cell.z[0] * h[i, 0] ** (cell.z[0] - 1)
        h_next[i, 0] = (h[i, 0] + h[i, 0] ** cell.z[0]) % 1.0


@implement(tangent, IntermittentMap)
def intermittent_tangent(cell, turned, record, Q, Q_next, work):
    for j in range(len(Q)):
        Q_next[j, 0] = record[0] * Q[j, 0]


class DelayedHenonMap(NamedTuple):
    """Hénon's map, its state the last values of x: the map's two exponents, and -inf."""

    a: np.ndarray  # (1,)
    b: np.ndarray  # (1,)
    values: np.ndarray  # (n,), of no other use than to say how many


@sizes.register
def _(cell: DelayedHenonMap) -> Sizes:
    n = len(cell.values)
    shapes = {"a": (1,), "b": (1,), "values": (n,)}
    return Sizes(n, n, 0, record=1, step_work=0, tangent_work=0, shapes=shapes)


@implement(step, DelayedHenonMap)
def delayed_henon_step(cell, turned, h, x, h_next, record):
    for i in range(len(h)):
        record[i, 0] = h[i, 0]
        h_next[i, 0] = 1 - cell.a[0] * h[i, 0] ** 2 + cell.b[0] * h[i, 1]
        for j in range(1, h.shape[1]):
            h_next[i, j] = h[i, j - 1]


@implement(tangent, DelayedHenonMap)
def delayed_henon_tangent(cell, turned, record, Q, Q_next, work):
    for i in range(len(Q)):
        Q_next[i, 0] = -2 * cell.a[0] * record[0] * Q[i, 0] + cell.b[0] * Q[i, 1]
        for j in range(1, Q.shape[1]):
            Q_next[i, j] = Q[i, j - 1]


class MatrixProduct(NamedTuple):
    """``h' = X h`` with the n x n matrix X as input: exponents of any given product of matrices."""

    scale: np.ndarray  # (n,), all one


@sizes.register
def _(cell: MatrixProduct) -> Sizes:
    n = len(cell.scale)
    return Sizes(n, n, n * n, record=n * n, step_work=0, tangent_work=0, shapes={"scale": (n,)})


@implement(step, MatrixProduct)
def product_step(cell, turned, h, x, h_next, record):
    record[:] = x
    h_next[:] = 0.0  # the state does not matter, and must not overflow


@implement(tangent, MatrixProduct)
def product_tangent(cell, turned, record, Q, Q_next, work):
    n = Q.shape[1]
    Q_next[:] = Q @ record.reshape(n, n).T


def gaussian_product(n: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Exponents of products of i.i.d. Gaussian matrices, and the variance of log R_ii per step. Newman (1986)."""
    half = (n - np.arange(n)) / 2
    return np.log(sigma) + 0.5 * (np.log(2) + psi(half)), polygamma(1, half) / 4


def mean_field_exponent(g: float) -> float:
    """λ_1 of an autonomous tanh network with W ~ N(0, g²/n), n to infinity: ln g + ½ ln<sech⁴ h>, h ~ N(0, σ²)."""

    def average(f, variance):
        weight = np.sqrt(variance)
        return quad(lambda z: f(weight * z) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), -12, 12)[0]

    variance = brentq(lambda v: g**2 * average(lambda h: np.tanh(h) ** 2, v) - v, 1e-3, 2 * g**2)
    return np.log(g) + 0.5 * np.log(average(lambda h: np.cosh(h) ** -4, variance))
