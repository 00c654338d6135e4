"""Exponents of maps beside pynamicalsys and lyapax, and what a call costs where there is little to compute.

    python -m pip install pynamicalsys lyapax && python -m validation.benchmarks.maps

Hénon's map and the standard map, 10^5 steps with both exponents; 200 coupled maps, 200 steps with all.
Then 10^6 steps of Hénon's map beside a loop in Numba that does the same with eight numbers, and a call
of ten steps. Exit code 1 where a peer is faster. Two minutes on two cores."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.cells.interface import Sizes, implement, sizes, step, tangent
from tests.exact_systems import HenonMap, StandardMap
from validation.benchmarks.measure import side_by_side

ROUNDS, STEPS, LONG, COUPLED = 5, 10**5, 10**6, 200
A, B, K = 1.4, 0.3, 6.0  # of Hénon's map, and of the standard map
BEND, COUPLING = 1.9, 0.1  # of the coupled maps
AT_MOST = (
    0.1  # by which exponents of two programs may differ: trajectories part, and blocks still align
)


class CoupledMaps(NamedTuple):
    """``x_i' = (1 - c) f(x_i) + c (f(x_{i-1}) + f(x_{i+1})) / 2`` on a ring, ``f(x) = 1 - a x²``."""

    a: np.ndarray  # (1,)
    c: np.ndarray  # (1,)
    like: np.ndarray  # (n,), says how many


@sizes.register
def _(cell: CoupledMaps) -> Sizes:
    n = len(cell.like)
    return Sizes(
        n, n, 0, record=n, step_work=0, tangent_work=n, shapes={"a": (1,), "c": (1,), "like": (n,)}
    )


@implement(step, CoupledMaps)
def coupled_step(cell, turned, h, x, h_next, record):
    a, c, n = cell.a[0], cell.c[0], h.shape[1]
    for b in range(len(h)):
        for i in range(n):
            record[b, i] = -2 * a * h[b, i]
        for i in range(n):
            left, here, right = (
                h[b, i - 1 if i else n - 1],
                h[b, i],
                h[b, i + 1 if i + 1 < n else 0],
            )
            beside = 2 - a * (left * left + right * right)
            h_next[b, i] = (1 - c) * (1 - a * here * here) + c / 2 * beside


@implement(tangent, CoupledMaps)
def coupled_tangent(cell, turned, record, Q, Q_next, work):
    c, n = cell.c[0], Q.shape[1]
    for j in range(len(Q)):
        moved = work[j]
        for i in range(n):
            moved[i] = record[i] * Q[j, i]
        for i in range(n):
            beside = moved[i - 1 if i else n - 1] + moved[i + 1 if i + 1 < n else 0]
            Q_next[j, i] = (1 - c) * moved[i] + c / 2 * beside


class System(NamedTuple):
    """A map as each program takes it.

    Attributes
    ----------
    cell, mapping, jacobian, step : cell, and functions
        Of lyapflow; of pynamicalsys, compiled by Numba; of lyapax.
    """

    cell: object
    mapping: Callable
    jacobian: Callable
    step: Callable
    start: np.ndarray
    steps: int


def systems() -> dict[str, System]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    @numba.njit
    def henon(u, p):
        return np.array([1 - p[0] * u[0] ** 2 + u[1], p[1] * u[0]])

    @numba.njit
    def henon_jacobian(u, p, *_):
        return np.array([[-2 * p[0] * u[0], 1.0], [p[1], 0.0]])

    @numba.njit
    def standard(u, p):
        momentum = u[1] + p[0] * np.sin(u[0])
        return np.array([u[0] + momentum, momentum]) % (2 * np.pi)

    @numba.njit
    def standard_jacobian(u, p, *_):
        bend = p[0] * np.cos(u[0])
        return np.array([[1 + bend, 1.0], [bend, 1.0]])

    @numba.njit
    def coupled(u, p):
        f = 1 - p[0] * u**2
        return (1 - p[1]) * f + p[1] / 2 * (np.roll(f, 1) + np.roll(f, -1))

    @numba.njit
    def coupled_jacobian(u, p, *_):
        n = len(u)
        D = np.zeros((n, n))
        for i in range(n):
            for j, share in ((i, 1 - p[1]), ((i - 1) % n, p[1] / 2), ((i + 1) % n, p[1] / 2)):
                D[i, j] = -2 * p[0] * u[j] * share
        return D

    def jax_coupled(u):
        f = 1 - BEND * u**2
        return (1 - COUPLING) * f + COUPLING / 2 * (jnp.roll(f, 1) + jnp.roll(f, -1))

    def jax_standard(u):
        momentum = u[1] + K * jnp.sin(u[0])
        return jnp.array([u[0] + momentum, momentum]) % (2 * jnp.pi)

    numbers = np.random.default_rng(0)
    one = np.array
    return {
        "Hénon's map": System(
            HenonMap(one([A]), one([B])),
            henon,
            henon_jacobian,
            lambda u: jnp.array([1 - A * u[0] ** 2 + u[1], B * u[0]]),
            one([0.1, 0.1]),
            STEPS,
        ),
        "standard map": System(
            StandardMap(one([K])), standard, standard_jacobian, jax_standard, one([1.0, 0.5]), STEPS
        ),
        f"{COUPLED} coupled maps": System(
            CoupledMaps(one([BEND]), one([COUPLING]), np.zeros(COUPLED)),
            coupled,
            coupled_jacobian,
            jax_coupled,
            numbers.uniform(-0.5, 0.5, COUPLED),
            COUPLED,
        ),
    }


def sides(of: System) -> dict[str, Callable[[], np.ndarray]]:
    """What each program is called with for all exponents of a map."""
    import jax
    import jax.numpy as jnp
    import lyapax
    import pynamicalsys

    n = len(of.start)
    parameters = [float(p[0]) for p in of.cell if p.shape == (1,)]
    system = pynamicalsys.DiscreteDynamicalSystem(
        mapping=of.mapping,
        jacobian=of.jacobian,
        system_dimension=n,
        number_of_parameters=len(parameters),
    )
    start = jnp.array(of.start)
    scanned = jax.jit(
        lambda h: lyapax.lyapunov_spectrum(of.step, h, dt=1.0, n_steps=of.steps, k=n).exponents
    )
    return {
        "lyapflow": lambda: lf.lyapunov_spectrum(of.cell, steps=of.steps, h0=of.start).exponents,
        "pynamicalsys": lambda: system.lyapunov(of.start, of.steps, parameters=parameters),
        "lyapax": lambda: np.sort(scanned(start))[::-1],
    }


@numba.njit
def bare_loop(a, b, steps):
    """Both exponents of Hénon's map by a loop over eight numbers."""
    x = y = 0.1
    q0, q1, p0, p1 = 1.0, 0.0, 0.0, 1.0
    first = second = 0.0
    for _ in range(steps):
        bend = -2 * a * x
        x, y = 1 - a * x * x + y, b * x
        q0, q1 = bend * q0 + q1, b * q0
        p0, p1 = bend * p0 + p1, b * p0
        length = np.sqrt(q0 * q0 + q1 * q1)
        q0, q1 = q0 / length, q1 / length
        first += np.log(length)
        along = q0 * p0 + q1 * p1
        p0, p1 = p0 - along * q0, p1 - along * q1
        length = np.sqrt(p0 * p0 + p1 * p1)
        p0, p1 = p0 / length, p1 / length
        second += np.log(length)
    return np.array([first, second]) / steps


def overheads() -> dict[str, float]:
    """Seconds of a long run of a small map, of the bare loop, and of calls of ten steps."""
    henon = HenonMap(np.array([A]), np.array([B]))
    cell = lf.TanhRNN.random(80, 1, rng=np.random.default_rng(0))
    start, x = np.array([0.1, 0.1]), np.random.default_rng(0).standard_normal((10, 1))
    return side_by_side(
        {
            "10^6 steps of Hénon's map": lambda: lf.lyapunov_spectrum(henon, steps=LONG, h0=start),
            "a bare loop": lambda: bare_loop(A, B, LONG),
            "ten steps of Hénon's map": lambda: lf.lyapunov_spectrum(henon, steps=10, h0=start),
            "ten steps of 80 units, k = 5": lambda: lf.lyapunov_spectrum(cell, x, 5),
            "ten steps, flossing gradient": lambda: lf.flossing_value_and_grad(cell, x, 5),
        },
        ROUNDS,
    )


def main() -> int:
    console = Console()
    table = Table("map", "lyapflow ms", "pynamicalsys", "lyapax", "best peer / ours")
    slower = []
    for name, of in systems().items():
        calls = sides(of)
        found = {side: call() for side, call in calls.items()}
        for side, exponents in found.items():
            off = np.abs(exponents - found["lyapflow"]).max()
            if off > AT_MOST:
                console.print(f"{name}: exponents of {side} differ by {off:.3f}", style="red")
        seconds = side_by_side(calls, ROUNDS)
        ours, *peers = seconds.values()
        table.add_row(
            name, *(f"{1e3 * s:.1f}" for s in seconds.values()), f"{min(peers) / ours:.2f}"
        )
        if min(peers) < ours:
            slower.append(name)
    console.print(table)
    for name, taken in overheads().items():
        console.print(f"{name}: {1e3 * taken:.3f} ms")
    for name in slower:
        console.print(f"a peer is faster: {name}", style="red")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
