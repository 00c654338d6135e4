"""How cost grows (paper, Table 1), and whether a peer overtakes as networks grow.

    python -m pip install ".[validation]" && python -m validation.benchmarks.scaling

Times flossing epochs over N, k, T and t_ons and training epochs over N, batch and T, one varied at
a time, and prints the exponent of a power law through the larger half of each beside the paper's.
Then flossing epochs for N from 16 to 1024 beside JAX and PyTorch. Writes scaling.csv and
scaling.png. Exit code 1 where an exponent exceeds the paper's by more than 0.3, or a peer is
faster. Fifteen minutes on two cores."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.plots import COLOURS
from validation.benchmarks import jax_peer, ours, torch_peer
from validation.benchmarks.measure import side_by_side

TASK = lf.tasks.BinaryTemporalXOR(20)


def network(n):
    return lf.TanhRNN.random(n, 1, rng=np.random.default_rng(n))


def drive(T):
    return TASK.inputs(np.random.default_rng(T), T, 1)[:, 0]


def flossing(n=128, k=32, T=100, t_ons=1) -> Callable[[], object]:
    cell, x = network(n), drive(T)
    return lambda: lf.flossing_value_and_grad(cell, x, k, t_ons=t_ons)


def training(n=128, batch=16, T=100) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    return ours.training(lf.Model.random(network(n), 1, rng=rng), TASK, T, batch, 1e-3, 0.03, rng)


# what, in what, its values, the paper's exponent
SWEEPS = [
    (flossing, "n", (32, 64, 128, 256, 512, 1024), 2.0),
    (flossing, "k", (4, 8, 16, 32, 64, 128), 1.0),
    (flossing, "T", (25, 50, 100, 200, 400), 1.0),
    (flossing, "t_ons", (1, 2, 4, 8, 16), 0.0),
    (training, "n", (32, 64, 128, 256, 512, 1024), 2.0),
    (training, "batch", (8, 16, 32, 64, 128), 1.0),
    (training, "T", (50, 100, 200, 400, 800), 1.0),
]
MARGIN = 0.3
SIZES = (16, 32, 64, 128, 256, 512, 1024)


def slope(values, seconds) -> float:
    """Exponent of a power law through the larger half."""
    half = len(values) // 2
    return float(np.polyfit(np.log(values[half:]), np.log(seconds[half:]), 1)[0])


def beside_peers(n: int, share: float) -> dict[str, float]:
    """Seconds per flossing epoch of n units and share * n exponents, about the same work for every n."""
    k, T = max(1, round(share * n)), max(8, min(300, round(2e8 / (n * n * share * n))))
    cell, x, Q = (
        network(n),
        drive(T),
        np.linalg.qr(np.random.default_rng(n).standard_normal((n, k)))[0],
    )
    calls = {
        "lyapflow": lambda: lf.flossing_value_and_grad(cell, x, k, q0=Q),
        "JAX": jax_peer.flossing(cell, x, Q),
        "PyTorch": torch_peer.flossing(cell, x, Q),
    }
    return {name: seconds / T for name, seconds in side_by_side(calls, 3).items()}


def main() -> int:
    console, failed, rows = Console(), [], []
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    table = Table("epoch of", "over", "values", "milliseconds", "exponent", "paper")
    for make, name, values, paper in SWEEPS:
        calls = {str(value): make(**{name: value}) for value in values}
        seconds = np.array([*side_by_side(calls, 5).values()])
        found = slope(values, seconds)
        axis = axes[1 if make is training else 0]
        axis.loglog(
            np.array(values) / values[0],
            seconds / seconds[0],
            "o-",
            color=COLOURS[len(axis.lines)],
            label=f"{name}: {found:.2f} ({paper:.0f})",
        )
        table.add_row(
            make.__name__,
            name,
            str(values),
            " ".join(f"{1e3 * s:.3g}" for s in seconds),
            f"{found:.2f}",
            f"{paper:.0f}",
        )
        rows += [[make.__name__, name, value, s] for value, s in zip(values, seconds)]
        if found > paper + MARGIN:
            failed.append(f"{make.__name__} over {name}: exponent {found:.2f} > {paper} + {MARGIN}")
    console.print(table)
    for axis, title in zip(axes, ("flossing epoch", "training epoch")):
        axis.set(title=title, xlabel="value / smallest", ylabel="time / smallest")
        axis.legend(title="exponent (paper)", frameon=False, fontsize=8)
    for share, style in ((0.25, "-"), (0.9375, "--")):
        table = Table(
            "N",
            "k",
            "lyapflow",
            "JAX",
            "PyTorch",
            "ratio",
            title="milliseconds per step of a flossing epoch",
        )
        times = {n: beside_peers(n, share) for n in SIZES}
        for n, seconds in times.items():
            ratio = min(seconds["JAX"], seconds["PyTorch"]) / seconds["lyapflow"]
            k = str(max(1, round(share * n)))
            table.add_row(str(n), k, *(f"{1e3 * s:.3g}" for s in seconds.values()), f"{ratio:.2f}")
            rows += [["flossing step", f"{side} k={k}", n, s] for side, s in seconds.items()]
            if ratio < 1:
                failed.append(f"N = {n}, k = {k}: a peer is faster ({ratio:.2f})")
        for colour, side in enumerate(("lyapflow", "JAX", "PyTorch")):
            label = f"{side}, k = {'N/4' if share == 0.25 else '15 N/16'}"
            ms = [1e3 * times[n][side] for n in SIZES]
            axes[2].loglog(SIZES, ms, f"o{style}", color=COLOURS[colour], label=label)
        console.print(table)
    axes[2].set(title="flossing step beside peers", xlabel="N", ylabel="ms")
    axes[2].legend(frameon=False, fontsize=7)
    figure.savefig("scaling.png", dpi=120)
    with Path("scaling.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["what", "over", "value", "seconds"], *rows])
    for line in failed:
        console.print(line, style="red")
    return bool(failed)


if __name__ == "__main__":
    matplotlib.use("agg")
    sys.exit(main())
