"""What t_ons="auto" chooses and saves: N = 80, T = 3000, float64, k from 1 to 75.

    python -m validation.benchmarks.intervals

Spectra with t_ons="auto" beside those of t_ons = 1, in turns. Exit code 1 where an exponent differs by more than 1e-11.
One minute.
"""

import sys

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from validation.benchmarks.measure import side_by_side

N, T, KS = 80, 3000, (1, 10, 20, 40, 75)


def main() -> int:
    rng, worst = np.random.default_rng(0), 0.0
    x = rng.standard_normal((T, 1))
    table = Table("cell", "k", "t_ons", "gain", "largest difference")
    for cell in (lf.TanhRNN.random(N, 1, rng=rng), lf.LSTM.random(N, 1, rng=rng)):
        for k in KS:
            found = {}

            def run(t_ons, cell=cell, k=k, found=found):
                found[t_ons] = lf.lyapunov_spectrum(cell, x, k, t_ons=t_ons)

            seconds = side_by_side({t: lambda t=t: run(t) for t in (1, "auto")}, 5)
            off = np.abs(found["auto"].exponents - found[1].exponents).max()
            worst = max(worst, off)
            gain = f"{seconds[1] / seconds['auto']:.2f}"
            table.add_row(type(cell).__name__, str(k), str(found["auto"].t_ons), gain, f"{off:.0e}")
    Console().print(table)
    return bool(worst > 1e-11)


if __name__ == "__main__":
    sys.exit(main())
