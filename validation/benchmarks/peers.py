"""Peers on their home ground, in one run: maps, their exponents and their covariant vectors.

    python -m pip install pynamicalsys lyapax clvlib lyapynov && python -m validation.benchmarks.peers

Hénon's map, the standard map (10^5 steps) and 200 coupled maps (200 steps), all exponents; their
covariant vectors over 20,000 and 200 steps, with 200 to align on either side. Each program is given
the map as it takes it, after one call that compiles; medians of turns. Exponents must be the same
within what two programs may differ by. Exit code 1 where a peer is faster. Ten minutes on two
cores, most of them in programs that call Python at each step."""

import os
import sys
import warnings
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from validation.benchmarks import covariant, maps
from validation.benchmarks.measure import side_by_side

ROUNDS, ALIGN = 3, 200
VECTOR_STEPS = {"Hénon's map": 20_000, "standard map": 20_000, f"{maps.COUPLED} coupled maps": 200}


def exponents(of: maps.System) -> dict[str, Callable[[], np.ndarray]]:
    """What each program is called with for all exponents of a map."""
    return maps.sides(of) | {
        "clvlib": lambda: by_clvlib(of),
        "lyapynov": lambda: by_lyapynov(of),
    }


def in_python(of: maps.System) -> tuple[Callable, Callable, list[float]]:
    """The map and its Jacobian as functions of the state, and the parameters."""
    parameters = [float(p[0]) for p in of.cell if p.shape == (1,)]
    numbers = np.array(parameters)
    return lambda h: of.mapping(h, numbers), lambda h: of.jacobian(h, numbers), parameters


def by_clvlib(of: maps.System) -> np.ndarray:
    import clvlib

    f, D, _ = in_python(of)
    states = [of.start]
    for _ in range(of.steps):
        states.append(f(states[-1]))
    times = np.arange(float(len(states)))
    return clvlib.lyap_exp(
        lambda t, h: f(h), lambda t, h: D(h), np.array(states), times, stepper="discrete"
    )[0]


def by_lyapynov(of: maps.System) -> np.ndarray:
    import lyapynov

    f, D, _ = in_python(of)
    system = lyapynov.DiscreteDS(of.start, 0.0, lambda h, t: f(h), lambda h, t: D(h))
    return lyapynov.LCE(system, len(of.start), 0, of.steps, False)


def vectors(of: maps.System, steps: int) -> dict[str, Callable[[], np.ndarray]]:
    """The same for covariant vectors (steps, n, n)."""
    f, D, parameters = in_python(of)
    finders = {
        "lyapflow": covariant.ours(of.cell),
        "pynamicalsys": covariant.by_pynamicalsys(of.mapping, of.jacobian, parameters),
        "clvlib": covariant.by_clvlib(f, D),
        "lyapynov": covariant.by_lyapynov(f, D),
    }
    k = len(of.start)
    return {
        name: lambda find=find: find(of.start, k, ALIGN, steps) for name, find in finders.items()
    }


def compare(what: str, calls: dict[str, Callable], table: Table) -> dict[str, np.ndarray]:
    """Time the calls, add a row, and give back what each has found."""
    found = {name: call() for name, call in calls.items()}
    seconds = side_by_side(calls, ROUNDS)
    ours = seconds["lyapflow"]
    beside = {name: f"{seconds[name] / ours:.2f}" if name in seconds else "-" for name in SIDES}
    best = min(s for name, s in seconds.items() if name != "lyapflow") / ours
    table.add_row(what, f"{1e3 * ours:.1f}", *beside.values(), f"{best:.2f}")
    return found


SIDES = "pynamicalsys", "lyapax", "clvlib", "lyapynov"


def main() -> int:
    os.environ["TQDM_DISABLE"] = "1"  # clvlib's bars of progress
    warnings.simplefilter("ignore")  # of vectors that have not converged
    console, good = Console(width=110), True
    table = Table("", "lyapflow ms", *(f"{name} / ours" for name in SIDES), "best / ours")
    for name, of in maps.systems().items():
        found = compare(f"{name}: exponents", exponents(of), table)
        for side, values in found.items():
            off = np.abs(np.sort(values) - np.sort(found["lyapflow"])).max()
            if off > maps.AT_MOST:
                good = False
                console.print(f"{name}: exponents of {side} differ by {off:.3f}", style="red")
        compare(f"{name}: vectors", vectors(of, VECTOR_STEPS[name]), table)
    console.print(table)
    return int(not good or any(float(best) < 1 for best in table.columns[-1].cells))


if __name__ == "__main__":
    sys.exit(main())
