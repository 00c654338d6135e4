"""Are the error bars honest? Share of seeds whose true exponent lies within ± 2 standard errors.

    python -m validation.error_bars

Each system is run with 200 seeds. Ordinary ones are products of Gaussian matrices (independent
growth rates, closed form), driven tanh networks and the maps of Hénon and Ikeda. Harder ones have
growth rates that are autoregressive, a GRU under slow input, a unit that switches between two
states, 16 trajectories that share their input, laminar phases (Pomeau and Manneville), or rates
that telescope (the logistic map).

Criteria, of which the first two hold for all: of runs without a `LyapflowWarning` at least 90 %
cover the truth, where such runs are at least a fifth of all (fewer are those that by chance have
not seen what the others warn of); at most 10 % of all runs neither cover nor warn. Of ordinary
systems at most 2 % of the runs warn, and the mean bar is within 15 % of the scatter, where the run
has 100 steps or more. Where neither theory nor literature knows the exponents, they are those of a
long run. Exit code 1 where something is missed. Two minutes."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.signal import lfilter

import lyapflow as lf
from lyapflow.errors import collected_warnings
from tests.exact_systems import (
    HENON,
    IKEDA,
    INTERMITTENT,
    STANDARD,
    HenonMap,
    IkedaMap,
    IntermittentMap,
    LogisticMap,
    MatrixProduct,
    StandardMap,
    gaussian_product,
)

SEEDS = 200


def autonomous(steps: int) -> np.ndarray:
    return np.empty((steps, 0))


def autoregressive(rng: np.random.Generator, steps: int, rho: float) -> np.ndarray:
    """(steps,) of variance one, stationary from the start."""
    noise = np.sqrt(1 - rho**2) * rng.standard_normal(steps)
    noise[0] /= np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise)


def gaussian(seed: int, steps: int) -> lf.Spectrum:
    x = 0.5 * np.random.default_rng(seed).standard_normal((steps, 16))
    return lf.lyapunov_spectrum(MatrixProduct(np.ones(4)), x)


def driven(seed: int, steps: int) -> lf.Spectrum:
    cell = lf.TanhRNN.random(20, 1, rng=np.random.default_rng(1))
    x = lf.tasks.BinaryTemporalXOR(2).inputs(np.random.default_rng([2, seed]), steps + 100, 1)[:, 0]
    return lf.lyapunov_spectrum(cell, x, 4, q_transient=100)


def readme(seed: int, steps: int) -> lf.Spectrum:
    cell = lf.TanhRNN.random(80, 1, rng=np.random.default_rng(0))
    x = lf.tasks.BinaryTemporalXOR(20).inputs(np.random.default_rng([3, seed]), steps + 100, 1)[
        :, 0
    ]
    return lf.lyapunov_spectrum(cell, x, 10, q_transient=100)


def batch(seed: int, steps: int, shared: bool) -> lf.Spectrum:
    rng, cell = (
        np.random.default_rng([4, seed]),
        lf.TanhRNN.random(20, 1, rng=np.random.default_rng(1)),
    )
    x = lf.tasks.BinaryTemporalXOR(2).inputs(rng, steps + 100, 1 if shared else 16)
    x = np.repeat(x, 16, axis=1) if shared else x
    return lf.lyapunov_spectrum(cell, x, 4, h0=rng.standard_normal((16, 20)), q_transient=100)


def henon(seed: int, steps: int) -> lf.Spectrum:
    h0 = 0.1 * np.random.default_rng(seed).random(2)
    cell = HenonMap(np.array([1.4]), np.array([0.3]))
    return lf.lyapunov_spectrum(cell, autonomous(steps + 150), h0=h0, transient=100, q_transient=50)


def ikeda(seed: int, steps: int) -> lf.Spectrum:
    h0 = 0.1 + 0.1 * np.random.default_rng(seed).random(2)
    cell = IkedaMap(np.array([0.9]))
    return lf.lyapunov_spectrum(cell, autonomous(steps + 150), h0=h0, transient=100, q_transient=50)


def standard(seed: int, steps: int) -> lf.Spectrum:
    h0 = 1e-3 * np.random.default_rng(seed).random(2)
    cell = StandardMap(np.array([6.0]))
    return lf.lyapunov_spectrum(cell, autonomous(steps + 150), h0=h0, transient=100, q_transient=50)


def logistic(seed: int, steps: int) -> lf.Spectrum:
    h0 = np.random.default_rng(seed).random(1)
    return lf.lyapunov_spectrum(LogisticMap(np.array([4.0])), autonomous(steps), h0=h0)


def intermittent(seed: int, steps: int, z: float) -> lf.Spectrum:
    h0 = np.random.default_rng(seed).random(1)
    return lf.lyapunov_spectrum(
        IntermittentMap(np.array([z])), autonomous(steps + 100), h0=h0, transient=100
    )


def slow_rates(seed: int, steps: int, rho: float) -> lf.Spectrum:
    rates = 0.1 * autoregressive(np.random.default_rng(seed), steps, rho)
    return lf.lyapunov_spectrum(MatrixProduct(np.ones(1)), np.exp(rates)[:, None])


def slow_input(seed: int, steps: int) -> lf.Spectrum:
    cell = lf.GRU.random(10, 1, rng=np.random.default_rng(1))
    x = autoregressive(np.random.default_rng([5, seed]), steps + 200, np.exp(-1 / 50))
    return lf.lyapunov_spectrum(cell, x[:, None], 3, q_transient=200)


def bistable(seed: int, steps: int, noise: float, b: float) -> lf.Spectrum:
    cell = lf.TanhRNN(np.array([[2.0]]), np.array([[noise]]), np.array([b]))
    x = np.random.default_rng([6, seed]).standard_normal((steps + 200, 1))
    return lf.lyapunov_spectrum(cell, x, q_transient=200)


class Case(NamedTuple):
    name: str
    run: Callable[..., lf.Spectrum]
    steps: int
    truth: np.ndarray | tuple | None  # None: from a long run
    options: tuple = ()
    ordinary: bool = False


LONG = {batch: 25_000, bistable: 4_000_000}  # steps, where not 400 000

CASES = [
    Case("Gaussian products, n = 4", gaussian, 2000, gaussian_product(4, 0.5)[0], ordinary=True),
    Case("Gaussian products, n = 4", gaussian, 40, gaussian_product(4, 0.5)[0], ordinary=True),
    Case("driven tanh network, k = 4", driven, 900, None, ordinary=True),
    Case("driven tanh network, k = 4", driven, 100, None, ordinary=True),
    Case("the README's network, k = 10", readme, 900, None, ordinary=True),
    Case("Hénon map", henon, 10_000, HENON, ordinary=True),
    Case("Ikeda map", ikeda, 10_000, IKEDA, ordinary=True),
    Case("standard map, K = 6", standard, 2000, STANDARD),
    Case("standard map, K = 6", standard, 10_000, STANDARD),
    Case("logistic map, r = 4", logistic, 1000, (np.log(2.0),)),
    Case("logistic map, r = 4", logistic, 100_000, (np.log(2.0),)),
    Case("16 trajectories, one input", batch, 300, None, (True,)),
    Case("16 trajectories, 16 inputs", batch, 300, None, (False,)),
    *(
        Case(f"autoregressive rates, rho = {rho}", slow_rates, steps, (0.0,), (rho,))
        for rho in (0.9, 0.99)
        for steps in (100, 900, 20_000)
    ),
    *(
        Case("GRU under slow input, tau = 50", slow_input, steps, None)
        for steps in (100, 900, 5000)
    ),
    Case("bistable unit, noise 0.45", bistable, 1000, None, (0.45, 0.3)),
    Case("bistable unit, noise 0.6", bistable, 20_000, None, (0.6, 0.1)),
    *(
        Case(f"laminar phases, z = {z}", intermittent, steps, (INTERMITTENT[z],), (z,))
        for z in INTERMITTENT
        for steps in (2000, 10_000)
    ),
]


def main() -> int:
    columns = (
        "system",
        "steps",
        "warned",
        "covers, if not warned",
        "neither",
        "scatter",
        "mean bar",
        "",
    )
    table = Table(*columns, title=f"{SEEDS} seeds each; scatter and bar of the first exponent")
    honest = True
    long_runs: dict[tuple, np.ndarray] = {}
    for case in CASES:
        truth = case.truth
        if truth is None:
            key = case.run, *case.options
            if key not in long_runs:
                long_runs[key] = case.run(
                    10**6, LONG.get(case.run, 400_000), *case.options
                ).exponents
            truth = long_runs[key]
        spectra, warned = [], np.zeros(SEEDS, bool)
        for seed in range(SEEDS):
            with collected_warnings() as said:
                spectra.append(case.run(seed, case.steps, *case.options))
            warned[seed] = bool(said)
        errors = np.array([s.exponents for s in spectra]) - truth
        stderr = np.array([s.stderr for s in spectra])
        covered = np.abs(errors) < 2 * stderr
        quiet = covered[~warned].mean() if (~warned).any() else np.nan
        neither = (~covered & ~warned[:, None]).mean()
        scatter, bar = errors.std(axis=0)[0], stderr.mean(axis=0)[0]
        good = neither <= 0.1 and (quiet >= 0.9 or (~warned).mean() < 0.2)
        if case.ordinary:
            good &= warned.mean() <= 0.02 and (case.steps < 100 or abs(bar / scatter - 1) < 0.15)
        honest &= bool(good)
        shares = (f"{100 * share:.1f} %" for share in (warned.mean(), quiet, neither))
        table.add_row(
            case.name,
            str(case.steps),
            *shares,
            f"{scatter:.2e}",
            f"{bar:.2e}",
            "" if good else "missed",
        )
    Console(width=130).print(table)
    return not honest


if __name__ == "__main__":
    sys.exit(main())
