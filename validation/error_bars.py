"""Are the error bars honest? Share of seeds whose true exponent lies within ± 2 standard errors.

    python -m validation.error_bars

Products of Gaussian matrices (independent growth rates, closed form), Hénon's map and a driven tanh network
(correlated; truth of the latter from 400 000 steps), and the logistic map, whose growth rates telescope. Prints
coverage, scatter of the estimates and mean standard error. Exit code 1 unless coverage is 92 to 98 %, for the logistic
map at least 92 %. Half a minute.
"""

import sys

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from tests.exact_systems import HENON, HenonMap, LogisticMap, MatrixProduct, gaussian_product


def gaussian(seed: int, steps: int) -> lf.Spectrum:
    x = 0.5 * np.random.default_rng(seed).standard_normal((steps, 16))
    return lf.lyapunov_spectrum(MatrixProduct(np.ones(4)), x)


def henon(seed: int, steps: int) -> lf.Spectrum:
    h0 = 0.1 * np.random.default_rng(seed).random(2)
    cell = HenonMap(np.array([1.4]), np.array([0.3]))
    return lf.lyapunov_spectrum(cell, np.empty((steps + 150, 0)), h0=h0, transient=100, q_transient=50)


def logistic(seed: int, steps: int) -> lf.Spectrum:
    h0 = np.random.default_rng(seed).random(1)
    return lf.lyapunov_spectrum(LogisticMap(np.array([4.0])), np.empty((steps, 0)), h0=h0)


def driven(seed: int, steps: int) -> lf.Spectrum:
    cell = lf.TanhRNN.random(20, 1, rng=np.random.default_rng(1))
    x = lf.tasks.BinaryTemporalXOR(2).inputs(np.random.default_rng([2, seed]), steps + 100, 1)[:, 0]
    return lf.lyapunov_spectrum(cell, x, 4, q_transient=100)


def main() -> int:
    cases = [
        ("Gaussian products, n = 4", gaussian, 2000, gaussian_product(4, 0.5)[0]),
        ("Gaussian products, n = 4", gaussian, 40, gaussian_product(4, 0.5)[0]),
        ("Hénon map", henon, 10_000, np.array(HENON)),
        ("driven tanh network, k = 4", driven, 900, driven(10**6, 400_000).exponents),
        ("logistic map, r = 4", logistic, 1000, np.log([2.0])),
        ("logistic map, r = 4", logistic, 100_000, np.log([2.0])),
    ]
    table = Table("system", "steps", "coverage of ± 2", "scatter", "mean standard error", title="200 seeds each")
    honest = True
    for name, run, steps, truth in cases:
        spectra = [run(seed, steps) for seed in range(200)]
        errors = np.array([s.exponents for s in spectra]) - truth
        stderr = np.array([s.stderr for s in spectra])
        coverage = float(np.mean(np.abs(errors) < 2 * stderr))
        honest &= 0.92 < coverage < (1.01 if run is logistic else 0.98)
        scatter, mean = errors.std(axis=0)[0], stderr.mean(axis=0)[0]
        table.add_row(name, str(steps), f"{100 * coverage:.1f} %", f"{scatter:.2e}", f"{mean:.2e}")
    Console().print(table)
    return not honest


if __name__ == "__main__":
    sys.exit(main())
