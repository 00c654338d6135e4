"""What intervals between QRs cost and save: time beside t_ons = 1, float64.

    python -m validation.benchmarks.intervals

Systems whose intervals are soon too long (the standard map, all exponents of a network, a quiet
start, a superstable orbit) and some whose are not, with t_ons = 2, 5, 10, 20 and "auto", in turns
with t_ons = 1. Exit code 1 where one takes more than 1.5 times as long, or an exponent differs by
more than 1e-8. One minute."""

import sys
import warnings

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from tests.exact_systems import LogisticMap, StandardMap
from validation.benchmarks.measure import side_by_side

T_ONS = (1, 2, 5, 10, 20, "auto")


def systems() -> dict[str, tuple]:
    """Name -> cell, keywords of `lyapunov_spectrum`."""
    rng = np.random.default_rng(0)
    ordinary, large, quiet, loud = (lf.TanhRNN.random(n, 1, rng=rng) for n in (64, 80, 64, 64))
    x = rng.standard_normal((2000, 1))
    quiet_then_loud = np.concatenate([np.zeros((400, 1)), 3 * rng.standard_normal((2600, 1))])
    return {
        "standard map, K = 6": (
            StandardMap(np.array([6.0])),
            {"steps": 20_000, "h0": np.array([1.0, 0.5])},
        ),
        "64 units, k = 64": (ordinary, {"x": x}),
        "400 quiet, 2600 loud steps, k = 5": (loud, {"x": quiet_then_loud, "k": 5}),
        "logistic map, r = 2": (
            LogisticMap(np.array([2.0])),
            {"steps": 20_000, "h0": np.array([0.3])},
        ),
        "64 units, small weights, k = 5": (quiet._replace(W=0.5 * quiet.W), {"x": x, "k": 5}),
        "80 units, k = 75": (large, {"x": x[:600], "k": 75}),
        "LSTM, 40 units, k = 10": (lf.LSTM.random(40, 1, rng=rng), {"x": x, "k": 10}),
    }


def main() -> int:
    warnings.simplefilter("ignore", lf.LyapflowWarning)  # of error bars
    table = Table("system", "t_ons = 1", *map(str, T_ONS[1:]), "largest difference")
    good = True
    for name, (cell, keywords) in systems().items():
        found = {}

        def run(t_ons, cell=cell, keywords=keywords, found=found):
            found[t_ons] = lf.lyapunov_spectrum(cell, **keywords, t_ons=t_ons).exponents

        seconds = side_by_side({t: lambda t=t, run=run: run(t) for t in T_ONS}, 7)
        finite = np.isfinite(found[1])
        off = max(np.abs(found[t] - found[1])[finite].max(initial=0.0) for t in T_ONS)
        ratios = [seconds[t] / seconds[1] for t in T_ONS[1:]]
        good &= max(ratios) <= 1.5 and bool(off <= 1e-8)
        table.add_row(
            name, f"{1e3 * seconds[1]:.1f} ms", *(f"{ratio:.2f}" for ratio in ratios), f"{off:.0e}"
        )
    Console(width=120).print(table)
    return not good


if __name__ == "__main__":
    sys.exit(main())
