"""What layers, closed loops and gradients in the input cost, float64.

    python -m validation.benchmarks.composed

A network of two layers beside one of the same size, and beside both alone; a flossing epoch with the gradient in the
input beside one without; closed loops of a cell that absorbs its readout, and of two that do not, beside the cell
that is driven by what the loop says. Exit code 1 where two layers take more than 2.2 times as long as one, or the
input's gradient adds more than 5 %. Two minutes."""

import sys
import warnings

import numpy as np
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from validation.benchmarks.measure import side_by_side

N, STEPS, ROUNDS, REPEATS = 80, 2000, 3, 5
LAYERS_BAR, INPUT_BAR = 2.2, 1.05


def layers(kind, k) -> dict:
    rng = np.random.default_rng(0)
    lower, upper = kind.random(N, 3, rng=rng), kind.random(N, N, rng=rng)
    x = rng.standard_normal((STEPS, 3))
    between = np.ascontiguousarray(lf.trajectory(lower, x)[:, :N])
    # as much input as the lower one has: a saturated layer contracts so much that QR takes longer
    upper = upper._replace(V=upper.V * np.sqrt(3 / N) / between.std())
    both = lf.layers(lower, upper)
    return {
        "one": lambda: lf.lyapunov_spectrum(lower, x, k),
        "the upper one": lambda: lf.lyapunov_spectrum(upper, between, k),
        "two": lambda: lf.lyapunov_spectrum(both, x, [k, k]),
    }


def input_gradient(kind, k) -> dict:
    rng = np.random.default_rng(0)
    cell, x = kind.random(N, 1, rng=rng), rng.standard_normal((300, 1))
    return {
        "without": lambda: lf.flossing_value_and_grad(cell, x, k),
        "with": lambda: lf.flossing_value_and_grad(cell, x, k, input_gradient=True),
    }


def loop(kind, k) -> dict:
    rng = np.random.default_rng(0)
    cell = kind.random(N, 3, rng=rng)
    model = lf.Model.random(cell, 3, rng=rng)
    model = model._replace(W_out=model.W_out / np.sqrt(N), h0=rng.standard_normal(model.h0.size))
    closed, h0 = lf.closed_loop(model), model.h0
    said = lf.outputs(model._replace(cell=closed), steps=STEPS)
    x = np.vstack([model.W_out @ h0[:N], said[:-1]])
    return {
        "open": lambda: lf.lyapunov_spectrum(cell, x, k, h0=h0),
        "closed": lambda: lf.lyapunov_spectrum(closed, k=k, steps=STEPS, h0=h0),
    }


def measured(calls, *arguments) -> dict[str, float]:
    """Median seconds of each call, over arrays that are made anew: where they lie matters by a tenth."""
    found = [side_by_side(calls(*arguments), ROUNDS) for _ in range(REPEATS)]
    return {name: float(np.median([one[name] for one in found])) for name in found[0]}


def main() -> int:
    warnings.simplefilter("ignore", lf.LyapflowWarning)  # of error bars
    table, good = Table("what", "time", "of", "ratio", "bar"), True

    def row(name: str, seconds: float, of: str, other: float, bar: float | None = None) -> None:
        nonlocal good
        ratio = seconds / other
        good &= bar is None or ratio <= bar
        table.add_row(name, f"{1e3 * seconds:.1f} ms", of, f"{ratio:.2f}", f"{bar or ''}")

    for kind, k in ((lf.TanhRNN, N), (lf.LSTM, N // 2)):
        name = f"{kind.__name__}, {N} units, k = {k}"
        found = measured(layers, kind, k)
        row(f"two layers of {name}", found["two"], "one", found["one"], LAYERS_BAR)
        alone = found["one"] + found["the upper one"]
        row(f"two layers of {name}", found["two"], "each alone", alone)
        found = measured(input_gradient, kind, k)
        row(f"flossing epoch with x̄, {name}", found["with"], "without", found["without"], INPUT_BAR)
    for kind in (lf.ElmanRNN, lf.TanhRNN, lf.GRU):
        found = measured(loop, kind, N // 2)
        name = f"closed loop of {kind.__name__}, {N} units, k = {N // 2}"
        row(name, found["closed"], "the open one", found["open"])
    Console(width=120).print(table)
    return not good


if __name__ == "__main__":
    sys.exit(main())
