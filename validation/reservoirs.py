"""Echo state networks that have learnt chaotic systems, run on their own outputs: do they have the systems' exponents?

    python -m validation.reservoirs

Five networks of 300 tanh units each, sparse random weights of a given spectral radius, learn to say the next state
of Hénon's map, and of Lorenz's system every 0.02 units of time, by ridge regression. Their outputs are fed back
(`lyapflow.closed_loop`), and the exponents of that network are measured over 50 000 steps. Hénon's map has λ₁ =
0.41922 per step; Lorenz's system λ₁ = 0.906 per unit of time and λ₂ = 0 (Sprott 2003, *Chaos and Time-Series
Analysis*). What follows is the reservoir's own: how fast it forgets what it was told.

Limits: each of the five within 3 standard errors, and the root mean square of the five below 1.6 of them. Exit code
1 if one is passed. A minute.

Lorenz's settings were chosen on twelve other seeds, all of which kept to the attractor. A small ridge is not
reliable: of five networks with a spectral radius of 0.8, inputs scaled by 0.3 and a ridge of 1e-8 one left it, with
0.4, 0.5 and 1e-8 two, for motion of their own with λ₁ from 0.47 to 0.75 and a warning of slow growth rates."""

import sys
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse
from rich.console import Console
from rich.table import Table
from scipy.integrate import solve_ivp

import lyapflow as lf

UNITS, SEEDS, STEPS, K = 300, 5, 50_000, 4
WASHOUT = 500  # steps, in which a reservoir forgets its start


class System(NamedTuple):
    """What is to be learnt, and settings of a reservoir that learns it."""

    series: np.ndarray  # (T, m)
    dt: float  # time of a step
    exponents: tuple[float, ...]  # per unit of time, those that are known
    radius: float  # spectral radius of W
    scale: float  # of the input weights
    ridge: float


def henon(steps: int) -> np.ndarray:
    x = np.empty((steps, 2))
    u, v = 0.1, 0.1
    for t in range(steps):
        u, v = 1 - 1.4 * u**2 + v, 0.3 * u
        x[t] = u, v
    return x[WASHOUT:]


def lorenz(steps: int, dt: float) -> np.ndarray:
    def flow(_: float, v: np.ndarray) -> list[float]:
        x, y, z = v
        return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]

    times = dt * np.arange(steps)
    found = solve_ivp(flow, (0, times[-1]), [1, 1, 20], "DOP853", times, rtol=1e-10, atol=1e-10)
    x = found.y.T[WASHOUT:]
    return (x - x.mean(axis=0)) / x.std(axis=0)


def reservoir(system: System, rng: np.random.Generator) -> lf.ElmanRNN:
    """``a' = tanh(W a + V x' + b)`` with a twentieth of all weights."""
    m = system.series.shape[1]
    W = scipy.sparse.random_array(
        (UNITS, UNITS), density=0.05, rng=rng, data_sampler=rng.standard_normal
    ).toarray()
    W *= system.radius / np.abs(np.linalg.eigvals(W)).max()
    V, b = system.scale * rng.uniform(-1, 1, (UNITS, m)), 0.5 * rng.uniform(-1, 1, UNITS)
    return lf.ElmanRNN(W, V, b, np.ones(UNITS))


def trained(cell: lf.ElmanRNN, system: System) -> tuple[lf.Model, float]:
    """A readout that says the next state, by ridge regression, and its error on what it has learnt."""
    x = system.series
    states = lf.trajectory(cell, x[:-1])[WASHOUT:]
    wanted = x[WASHOUT + 1 :]
    H = np.column_stack([states, np.ones(len(states))])
    squares = H.T @ H + system.ridge * np.eye(H.shape[1])
    weights = scipy.linalg.solve(squares, H.T @ wanted, assume_a="pos").T
    error = float(np.sqrt(((H @ weights.T - wanted) ** 2).mean()))
    return lf.Model(cell, weights[:, :-1], weights[:, -1], states[-1]), error


def main() -> int:
    systems = {
        "Hénon's map": System(henon(4500), 1.0, (0.41922,), 0.3, 1.0, 1e-9),
        "Lorenz's system": System(lorenz(10_500, 0.02), 0.02, (0.906, 0.0), 0.4, 0.3, 1e-6),
    }
    table = Table("system", "seed", "error of a step", "exponents", "off, in standard errors")
    holds = True
    for name, system in systems.items():
        every = []
        for seed in range(SEEDS):
            cell = reservoir(system, np.random.default_rng(seed))
            model, error = trained(cell, system)
            loop = lf.closed_loop(model)
            found = lf.lyapunov_spectrum(loop, k=K, steps=STEPS, h0=model.h0, q_transient=2000)
            found = found.per(system.dt)
            known = len(system.exponents)
            off = (found.exponents[:known] - system.exponents) / found.stderr[:known]
            every.append(off)
            shown = (f"{v:.4f} ± {s:.4f}" for v, s in zip(found.exponents, found.stderr))
            table.add_row(
                name,
                str(seed),
                f"{error:.1e}",
                ", ".join(shown),
                ", ".join(f"{v:+.1f}" for v in off),
            )
        spread = np.sqrt(np.mean(np.square(every), axis=0))
        table.add_row(name, "all", "", "", ", ".join(f"{v:.2f}" for v in spread))
        holds &= bool((np.abs(every) < 3).all() and (spread < 1.6).all())
    Console(width=150).print(table)
    return not holds


if __name__ == "__main__":
    sys.exit(main())
