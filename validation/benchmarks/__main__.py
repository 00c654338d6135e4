"""lyapflow beside JAX and PyTorch on the CPU, every row measured side by side in one run.

    python -m pip install ".[validation]" && python -m validation.benchmarks

Prints one table and writes it, with a picture, to benchmarks.csv and benchmarks.png. All sides may
use every core; ours uses NUMBA_NUM_THREADS. The ratio is the best peer's median time over ours, the
target that for this kind of processor. Exit code 1 where a target is missed. Ten minutes on two cores.

Whole runs are preflossing and training as in the paper's Fig. 4, a tenth of the epochs of each, and
beside JAX with both scanned on the device, in turns. A first gradient is that of a fresh process,
without and with compiled kernels in the cache: seconds of the clock and of the processor."""

import csv
import os
import platform
import subprocess
import sys
import tempfile
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
from lyapflow._engine.registers import vector_bytes
from lyapflow.plots import COLOURS
from validation.benchmarks import jax_peer, ours, torch_peer
from validation.benchmarks.measure import side_by_side

N, K, T, BATCH, MEMBERS = 80, 75, 300, 16, 16
LEARNING = {"lr": 1e-3, "clip_norm": 0.03}

WIDE = vector_bytes() == 64
PROCESSOR = "AVX-512" if WIDE else "AVX2"  # kinds of processor that there are targets for
# row -> the least ratio in float64 and in float32, with AVX-512 and without
TARGETS = {
    "flossing epoch": ((4.5, 4.5), (4.0, 4.5)),
    "spectrum": ((2.5, 2.0), (3.0, 2.0)),
    "training epoch": ((3.5, 2.5), (2.5, 2.5)),
    "LSTM flossing epoch, k = 40": ((4.5, 4.5), (4.5, 4.5)),
    "LSTM training epoch": ((3.0, 2.0), (2.5, 2.0)),
    "16 networks, flossing": ((6.0, 6.0), (6.5, 6.5)),
    "whole run": ((3.0, 2.5), (3.0, 2.5)),
}
FLOOR_TARGET = 1.4 if WIDE else 1.3  # flossing epoch in float64 over the time of its products
MEMBERS_TARGET = MEMBERS / 2 * 1.05  # of an ensemble on two cores, in times of one of its networks
WHOLE = {"epochs": 1000, "floss_epochs": 50}  # a tenth of the paper's
WHOLE_ROUNDS = 3

FIRST_GRADIENT = """
import time; start = time.perf_counter()
import numpy as np, lyapflow as lf
cell = lf.TanhRNN.random(80, 1, rng=np.random.default_rng(0))
lf.flossing_value_and_grad(cell, np.ones((300, 1)), 75)
print(time.perf_counter() - start, time.process_time())
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
            "one": lambda: lf.flossing_value_and_grad(cell, x, K, q0=Q),
        },
    )


def whole_run(dtype):
    """Median seconds of each side."""
    rng = np.random.default_rng(0)
    model = lf.Model.random(lf.TanhRNN.random(N, 1, rng=rng, dtype=dtype), 1, rng=rng)
    flossing = lf.Flossing(at=(0,), epochs=WHOLE["floss_epochs"])
    lengths = {"floss_T": flossing.steps, "uncounted": flossing.q_transient}

    def ours():
        task = lf.tasks.BinaryTemporalXOR(40)
        lf.train(model, task, epochs=WHOLE["epochs"], seed=0, T=T, batch=BATCH, flossing=flossing)

    Q = block(N, K, dtype)
    peer = jax_peer.whole_run(model, 40, Q, T=T, batch=BATCH, **WHOLE, **lengths, **LEARNING)
    return side_by_side({"lyapflow": ours, "JAX": peer}, WHOLE_ROUNDS)


def cold_and_warm():
    """Seconds of clock and processor up to the first flossing gradient, without and with kernels in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", FIRST_GRADIENT]
        outputs = [
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            for _ in range(2)
        ]
        return [tuple(map(float, output.stdout.split())) for output in outputs]


def main(
    rounds: int = typer.Option(9, help="Turns of each competitor."),
    runs: bool = typer.Option(True, help="Measure whole runs and cold starts as well."),
    out: Path = typer.Option(Path("."), help="Folder of benchmarks.csv and benchmarks.png."),
) -> None:
    """lyapflow beside JAX and PyTorch on the CPU."""
    console = Console()
    versions = {"numpy": np, "numba": numba, "scipy": scipy, "JAX": jax, "PyTorch": torch}
    threads = numba.config.NUMBA_NUM_THREADS
    title = (
        f"N = {N}, k = {K}, T = {T}, batch {BATCH}; median milliseconds of {rounds} turns\n"
        f"{os.cpu_count()} cores {platform.machine()}, {PROCESSOR}; threads: lyapflow {threads}, "
        f"PyTorch {torch.get_num_threads()}, JAX its own pool; Python {platform.python_version()}, "
        + ", ".join(f"{name} {module.__version__}" for name, module in versions.items())
    )
    columns = ("row", "dtype", "lyapflow ms", "JAX ms", "PyTorch ms", "ratio", "target", "beside")
    table = Table(*columns, title=title)
    found, missed = [], []

    def add(name, column, seconds, beside=""):
        best = min(seconds[peer] for peer in ("JAX", "PyTorch") if peer in seconds)
        ratio, target = best / seconds["lyapflow"], TARGETS[name][not WIDE][column]
        dtype = ("float64", "float32")[column]
        if ratio < target:
            missed.append(f"{name} {dtype}: {ratio:.2f} < {target}")
        times = (
            f"{1e3 * seconds[side]:.1f}" if side in seconds else ""
            for side in ("lyapflow", "JAX", "PyTorch")
        )
        row = [name, dtype, *times, f"{ratio:.2f}", f"{target}", beside]
        table.add_row(*row)
        found.append(row)
        console.print(" ".join(row), style="dim")

    for column, dtype in enumerate((np.float64, np.float32)):
        for name, calls in rows(dtype):
            seconds = side_by_side(calls, rounds)
            beside = ""
            if "floor" in seconds:
                flops = ours.products(N, K, dtype)[1]
                floor = seconds["floor"] * ours.flossing_flops(N, K, T) / flops
                over = seconds["lyapflow"] / floor
                beside = f"{over:.2f} x the floor"
                if dtype == np.float64 and over > FLOOR_TARGET:
                    missed.append(f"{name}: {over:.2f} times the floor > {FLOOR_TARGET}")
            if "one" in seconds:
                times = seconds["lyapflow"] / seconds["one"]
                beside = f"{times:.2f} x one network"
                if times > MEMBERS_TARGET:
                    missed.append(f"{name}: {times:.2f} times one network > {MEMBERS_TARGET}")
            add(name, column, seconds, beside)
        if runs:
            add("whole run", column, whole_run(dtype), f"{WHOLE_ROUNDS} turns")
    console.print(table)
    if runs:
        for name, (clock, processor) in zip(("cold", "warm"), cold_and_warm()):
            console.print(
                f"first flossing gradient, {name}: {clock:.2f} s, {processor:.2f} s of processor"
            )
            found.append([f"{name} start", "float64", f"{1e3 * clock:.0f}"])
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "benchmarks.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *found])
    draw(found, out / "benchmarks.png")
    for line in missed:
        console.print(f"target missed: {line}", style="red")
    raise typer.Exit(bool(missed))


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
            places = np.arange(len(of_dtype)) + 0.27 * (shift - 1)
            axis.barh(places, values, 0.25, label=side, color=COLOURS[shift])
        axis.set_yticks(range(len(of_dtype)), [row[0] for row in of_dtype])
        axis.set(title=dtype, xlabel="time / time of lyapflow")
    axes[0].invert_yaxis()  # the axes share it
    axes[1].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    matplotlib.use("agg")
    typer.run(main)
