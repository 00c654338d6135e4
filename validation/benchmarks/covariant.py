"""Covariant Lyapunov vectors beside clvlib, lyapynov and pynamicalsys, those of them that can be imported.

    python -m pip install clvlib lyapynov pynamicalsys && python -m validation.benchmarks.covariant

First Hénon's map, twenty steps before trajectories part by rounding: how far D v_i(t) is from the
direction of v_i(t + 1), and the angle between both directions from ours, over the first ten steps
and over all. Then seconds for a chaotic network of 80 tanh units without input, k = 75, 1000
counted steps and 200 to align on either side, in turns. Exit code 1 where ours takes more than 3 s,
a peer is faster, or one whose vectors are covariant has other angles in the first ten steps. Two
minutes.
"""

import sys
import warnings
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from tests.exact_systems import HenonMap
from validation.benchmarks.measure import side_by_side

N, K, STEPS, ALIGN = 80, 75, 1000, 200
ROUNDS = 3
# state before, k, steps that align, steps counted -> vectors (T, n, k)
Vectors = Callable[[np.ndarray, int, int, int], np.ndarray]


def ours(cell) -> Vectors:
    def vectors(h0, k, align, steps):
        return lf.covariant_vectors(
            cell, steps=steps + 2 * align, h0=h0, k=k, q_transient=align, end_transient=align
        ).vectors

    return vectors


def by_clvlib(f, jacobian) -> Vectors:
    import clvlib

    def vectors(h0, k, align, steps):
        states = [h0]
        for _ in range(steps + 2 * align):
            states.append(f(states[-1]))
        found = clvlib.lyap_analysis(
            lambda t, h: f(h),
            lambda t, h: jacobian(h),
            np.array(states),
            np.arange(float(len(states))),
            stepper="discrete",
            n_lyap=k,
        )
        return found[4][align : align + steps]

    return vectors


def by_lyapynov(f, jacobian) -> Vectors:
    import lyapynov

    def vectors(h0, k, align, steps):
        system = lyapynov.DiscreteDS(h0, 0.0, lambda h, t: f(h), lambda h, t: jacobian(h))
        return np.array(lyapynov.CLV(system, k, 0, align, steps, align, False)[:steps])

    return vectors


def by_pynamicalsys(mapping, jacobian, parameters) -> Vectors:
    import pynamicalsys

    def vectors(h0, k, align, steps):
        system = pynamicalsys.DiscreteDynamicalSystem(
            mapping=mapping,
            jacobian=jacobian,
            system_dimension=len(h0),
            number_of_parameters=len(parameters),
        )
        return system.CLV(h0, steps, parameters, num_clvs=k, warmup_time=align, tail_time=align)[0][
            :steps
        ]

    return vectors


def compiled():
    """Hénon's map and the network, of states and parameters, as pynamicalsys takes them."""
    from numba import njit

    def henon(u, parameters):
        return np.array([1 - 1.4 * u[0] ** 2 + u[1], 0.3 * u[0]])

    def henon_jacobian(u, parameters, mapping):
        return np.array([[-2.8 * u[0], 1.0], [0.3, 0.0]])

    def network(u, parameters):
        return parameters.reshape(len(u), len(u)) @ np.tanh(u)

    def network_jacobian(u, parameters, mapping):
        return parameters.reshape(len(u), len(u)) / np.cosh(u) ** 2

    return [njit(f) for f in (henon, henon_jacobian, network, network_jacobian)]


def peers(which: str, W: np.ndarray) -> dict[str, Vectors]:
    """Those that are installed, for "henon" or for the network with weights W."""
    if which == "henon":
        f = lambda h: np.array([1 - 1.4 * h[0] ** 2 + h[1], 0.3 * h[0]])  # noqa: E731
        D = lambda h: np.array([[-2.8 * h[0], 1.0], [0.3, 0.0]])  # noqa: E731
    else:
        f, D = lambda h: W @ np.tanh(h), lambda h: W / np.cosh(h) ** 2
    kernels = compiled()[:2] if which == "henon" else compiled()[2:]
    makers = {
        "clvlib": lambda: by_clvlib(f, D),
        "lyapynov": lambda: by_lyapynov(f, D),
        "pynamicalsys": lambda: by_pynamicalsys(*kernels, W.ravel()),
    }
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError:
            print(f"{name} cannot be imported")
    return found


def angles(vectors: np.ndarray) -> np.ndarray:
    return np.arccos(np.abs((vectors[:, :, 0] * vectors[:, :, 1]).sum(axis=1)))


def off_covariance(vectors: np.ndarray, states: np.ndarray) -> float:
    """Largest sine between D v(t) and v(t + 1) on Hénon's map."""
    D = np.array([[[-2.8 * x, 1.0], [0.3, 0.0]] for x in states[:-1, 0]])
    moved, after = D @ vectors[:-1], vectors[1:]
    across = np.abs(moved[:, 0] * after[:, 1] - moved[:, 1] * after[:, 0])
    return float((across / np.linalg.norm(moved, axis=1)).max())


def henon_rows() -> tuple[dict[str, list[str]], bool]:
    """What is found for Hénon's map, and whether it agrees."""
    h0, cell = np.array([0.1, 0.1]), HenonMap(np.array([1.4]), np.array([0.3]))
    states = lf.trajectory(cell, h0=h0, steps=39)[19:]
    wanted = angles(ours(cell)(h0, 2, 20, 20))
    rows, good = {}, True
    for name, find in {"lyapflow": ours(cell), **peers("henon", np.ones((1, 1)))}.items():
        vectors = find(h0, 2, 20, 20)
        off, apart = off_covariance(vectors, states), np.abs(angles(vectors) - wanted)
        good &= bool(off > 1e-6 or apart[:10].max() < 1e-6)
        rows[name] = [f"{off:.0e}", f"{apart[:10].max():.0e}", f"{apart.max():.0e}"]
    return rows, good


def main() -> int:
    warnings.simplefilter("ignore")  # of vectors that have not converged
    rows, good = henon_rows()
    W = np.random.default_rng(0).standard_normal((N, N)) * 2.5 / np.sqrt(N)
    state = np.random.default_rng(1).standard_normal(N)
    network = lf.TanhRNN(W, np.empty((N, 0)), np.zeros(N))
    calls = {"lyapflow": ours(network)} | peers("network", W)
    seconds = side_by_side(
        {name: lambda find=find: find(state, K, ALIGN, STEPS) for name, find in calls.items()},
        ROUNDS,
    )
    table = Table("", "D v off v'", "10 angles off ours", "all", "seconds", "beside ours")
    for name, s in seconds.items():
        table.add_row(name, *rows[name], f"{s:.2f}", f"{s / seconds['lyapflow']:.1f}")
    Console(width=100).print(table)
    return not (good and seconds["lyapflow"] < 3 and min(seconds, key=seconds.get) == "lyapflow")


if __name__ == "__main__":
    sys.exit(main())
