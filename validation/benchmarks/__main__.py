"""lyapflow beside JAX and PyTorch on the CPU, every row measured side by side in one run.

    python -m pip install ".[validation]" && python -m validation.benchmarks

Prints one table and writes it, with a picture, to benchmarks.csv and benchmarks.png. All sides may
use every core; ours uses NUMBA_NUM_THREADS. The ratio is the best peer's median time over ours.
Exit code 1 where a ratio is below its bar. Ten minutes on two cores."""

import csv
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import matplotlib
import numba
import numpy as np
import scipy
import torch
import typer
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from validation.benchmarks import jax_peer, ours, torch_peer
from validation.benchmarks.measure import side_by_side

N, K, T, BATCH, MEMBERS = 80, 75, 300, 16, 16
LEARNING = {"lr": 1e-3, "clip_norm": 0.03}

# row -> the least ratio in float64 and in float32
BARS = {
    "flossing epoch": (2.5, 2.2),
    "spectrum": (1.5, 1.3),
    "training epoch": (2.0, 1.7),
    "LSTM flossing epoch, k = 40": (2.5, 2.2),
    "LSTM training epoch": (2.0, 1.0),
    "16 networks, flossing": (5.0, 4.0),
}
FLOOR_BAR = 2.2  # flossing epoch in float64 over the time of its products

FIRST_GRADIENT = """
import time; start = time.perf_counter()
import numpy as np, lyapflow as lf
cell = lf.TanhRNN.random(80, 1, rng=np.random.default_rng(0))
lf.flossing_value_and_grad(cell, np.ones((300, 1)), 75)
print(time.perf_counter() - start)
"""


def block(n, k, dtype):
    return np.linalg.qr(np.random.default_rng(n).standard_normal((n, k)))[0].astype(dtype)


def rows(dtype):
    """(row, {library: call}) for one dtype."""
    rng = np.random.default_rng(0)
    task = lf.tasks.BinaryTemporalXOR(40)
    cell, lstm = (cls.random(N, 1, rng=rng, dtype=dtype) for cls in (lf.TanhRNN, lf.LSTM))
    x = task.inputs(rng, T, 1, dtype)[:, 0]
    Q, Q_lstm = block(N, K, dtype), block(2 * N, 40, dtype)
    many = lf.stack([lf.TanhRNN.random(N, 1, rng=rng, dtype=dtype) for _ in range(MEMBERS)])
    xs = np.stack([task.inputs(rng, T, 1, dtype)[:, 0] for _ in range(MEMBERS)])

    def flossing(cell, k, Q):
        return {
            "lyapflow": lambda: lf.flossing_value_and_grad(cell, x, k, q0=Q),
            "JAX": jax_peer.flossing(cell, x, Q),
            "PyTorch": torch_peer.flossing(cell, x, Q),
        }

    def training(cell):
        model = lf.Model.random(cell, 1, rng=rng)
        sides = {"lyapflow": ours, "JAX": jax_peer, "PyTorch": torch_peer}
        return {
            name: side.training(model, task, T, BATCH, rng=rng, **LEARNING)
            for name, side in sides.items()
        }

    yield "flossing epoch", {**flossing(cell, K, Q), "floor": ours.products(N, K, dtype)[0]}
    yield (
        "spectrum",
        {
            "lyapflow": lambda: lf.lyapunov_spectrum(cell, x, K, q0=Q),
            "JAX": jax_peer.spectrum(cell, x, Q),
            "PyTorch": torch_peer.spectrum(cell, x, Q),
        },
    )
    yield "training epoch", training(cell)
    yield "LSTM flossing epoch, k = 40", flossing(lstm, 40, Q_lstm)
    yield "LSTM training epoch", training(lstm)
    shared = np.broadcast_to(Q, (MEMBERS, *Q.shape))
    yield (
        "16 networks, flossing",
        {
            "lyapflow": lambda: lf.flossing_value_and_grad(many, xs, K, q0=shared),
            "JAX": jax_peer.flossing(many, xs, Q),
        },
    )


def whole_run(dtype):
    """Seconds of preflossing and 10 000 training epochs, as in the paper's Fig. 4."""
    rng = np.random.default_rng(0)
    model = lf.Model.random(lf.TanhRNN.random(N, 1, rng=rng, dtype=dtype), 1, rng=rng)
    start = time.perf_counter()
    lf.train(
        model, lf.tasks.BinaryTemporalXOR(40), epochs=10_000, seed=0, flossing=lf.Flossing(at=(0,))
    )
    return time.perf_counter() - start


def cold_and_warm():
    """Seconds from import to the first flossing gradient, without and with compiled kernels in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", FIRST_GRADIENT]
        return [
            float(
                subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=True
                ).stdout
            )
            for _ in range(2)
        ]


def main(
    rounds: int = typer.Option(9, help="Turns of each competitor."),
    runs: bool = typer.Option(True, help="Measure whole runs and cold starts as well."),
    out: Path = typer.Option(Path("."), help="Folder of benchmarks.csv and benchmarks.png."),
) -> None:
    """lyapflow beside JAX and PyTorch on the CPU."""
    console = Console()
    versions = {"numpy": np, "numba": numba, "scipy": scipy, "JAX": jax, "PyTorch": torch}
    title = (
        f"N = {N}, k = {K}, T = {T}, batch {BATCH}; median milliseconds of {rounds} turns\n"
        f"{os.cpu_count()} cores {platform.machine()}, threads: lyapflow {numba.config.NUMBA_NUM_THREADS}, "
        f"PyTorch {torch.get_num_threads()}, JAX its own pool; Python {platform.python_version()}, "
        + ", ".join(f"{name} {module.__version__}" for name, module in versions.items())
    )
    table = Table(
        "", "dtype", "lyapflow", "JAX", "PyTorch", "ratio", "bar", "of the floor", title=title
    )
    found, failed = [], []
    for column, dtype in enumerate((np.float64, np.float32)):
        for name, calls in rows(dtype):
            seconds = side_by_side(calls, rounds)
            best = min(seconds[peer] for peer in ("JAX", "PyTorch") if peer in seconds)
            ratio, bar = best / seconds["lyapflow"], BARS[name][column]
            floor = ""
            if "floor" in seconds:
                flops = ours.products(N, K, dtype)[1]
                over = seconds["lyapflow"] / (
                    seconds["floor"] * ours.flossing_flops(N, K, T) / flops
                )
                floor = f"{over:.2f} x"
                if dtype == np.float64 and over > FLOOR_BAR:
                    failed.append(f"{name}: {over:.2f} times the floor")
            if ratio < bar:
                failed.append(f"{name} {dtype.__name__}: {ratio:.2f} < {bar}")
            row = [
                name,
                dtype.__name__,
                *(
                    f"{1e3 * seconds[s]:.1f}" if s in seconds else ""
                    for s in ("lyapflow", "JAX", "PyTorch")
                ),
            ]
            row += [f"{ratio:.2f}", f"{bar}", floor]
            table.add_row(*row)
            found.append(row)
            console.print(" ".join(row), style="dim")
    console.print(table)
    if runs:
        for dtype, bar in ((np.float64, 60), (np.float32, 35)):
            seconds = whole_run(dtype)
            console.print(
                f"preflossing and 10 000 training epochs, {dtype.__name__}: {seconds:.1f} s (bar {bar} s)"
            )
            found.append(["whole run", dtype.__name__, f"{1e3 * seconds:.0f}", "", "", "", "", ""])
            if seconds > bar:
                failed.append(f"whole run {dtype.__name__}: {seconds:.0f} s")
        cold, warm = cold_and_warm()
        console.print(
            f"import and first flossing gradient: {cold:.1f} s cold (bar 20 s), {warm:.2f} s warm (bar 1.5 s)"
        )
        found += [
            ["cold start", "float64", f"{1e3 * cold:.0f}"],
            ["warm start", "float64", f"{1e3 * warm:.0f}"],
        ]
        if cold > 20 or warm > 1.5:
            failed.append(f"start: {cold:.1f} s cold, {warm:.2f} s warm")
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "benchmarks.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [
                ["row", "dtype", "lyapflow ms", "JAX ms", "PyTorch ms", "ratio", "bar", "floor"],
                *found,
            ]
        )
    draw(found, out / "benchmarks.png")
    for line in failed:
        console.print(f"below its bar: {line}", style="red")
    raise typer.Exit(bool(failed))


def draw(found, path):
    """Times of all sides, relative to ours."""
    measured = [row for row in found if len(row) > 5 and row[5]]
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True, layout="constrained")
    for axis, dtype in zip(axes, ("float64", "float32")):
        of_dtype = [row for row in measured if row[1] == dtype]
        for shift, (side, column) in enumerate((("lyapflow", 2), ("JAX", 3), ("PyTorch", 4))):
            values = [
                float(row[column]) / float(row[2]) if row[column] else np.nan for row in of_dtype
            ]
            axis.barh(np.arange(len(of_dtype)) + 0.27 * (shift - 1), values, 0.25, label=side)
        axis.set_yticks(range(len(of_dtype)), [row[0] for row in of_dtype])
        axis.set(title=dtype, xlabel="time / time of lyapflow")
    axes[0].invert_yaxis()  # the axes share it
    axes[1].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    matplotlib.use("agg")
    typer.run(main)
