"""Table 1 and Appendix F: how the cost grows with units and exponents, and the share of preflossing in a run."""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import lyapflow as lf
from lyapflow._engine.blas import one_blas_thread
from validation.benchmarks.operations import TIMES, operations
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim

STEPS, REPEATS = 40, 5  # of a trajectory; measurements
POWERS = {
    ("step", "N"): 2,
    ("tangent", "N"): 2,
    ("tangent", "k"): 1,
    ("QR", "N"): 1,
    ("QR", "k"): 2,
}
EPOCHS = 10_000  # of the paper's run, after 500 of preflossing


def seconds(work: Callable[[], object]) -> float:
    """The median of several measurements, the first of which also compiles."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def per_step(N: int, k: int) -> dict[str, float]:
    """Seconds of one step of 16 sequences, of one D Q, and of one QR."""
    rng = np.random.default_rng(0)
    cell = lf.TanhRNN.random(N, 1, rng=rng)
    x = rng.random((STEPS, 16, 1))
    kernels = operations(cell, k, 1)
    with one_blas_thread():
        tangent, qr = (seconds(kernels[name][0]) / TIMES for name in ("tangent", "QR"))
    step = seconds(lambda: lf.trajectory(cell, x)) / STEPS
    return {"N": N, "k": k, "step": step, "tangent": tangent, "QR": qr}


def share(size: Size) -> dict[str, float]:
    """Seconds of a flossing epoch and of a training epoch."""
    rng = np.random.default_rng(0)
    cell = lf.TanhRNN.random(size.units, 1, rng=rng, dtype=np.float32)
    model, task = lf.Model.random(cell, 1, rng=rng), lf.tasks.BinaryTemporalXOR(size.hard)
    inputs = task.inputs(rng, 55, 1, np.float32)[:, 0]
    flossing = seconds(
        lambda: lf.floss(cell, lambda epoch: inputs, k=size.k, epochs=20, q_transient=16)
    )
    training = seconds(lambda: lf.train(model, task, epochs=20, seed=0, T=size.T))
    return {"flossing": flossing / 20, "training": training / 20}


def compute(size: Size) -> dict[str, pd.DataFrame]:
    small = size.units < 80
    lengths, numbers = ((20, 40), (5, 10)) if small else ((160, 320, 640), (20, 40, 80))
    rows = [per_step(N, numbers[-1]) for N in lengths]
    rows += [per_step(lengths[-1], k) for k in numbers[:-1]]
    return {"steps": pd.DataFrame(rows), "epochs": pd.DataFrame([share(size)])}


def powers(steps: pd.DataFrame) -> dict[tuple[str, str], float]:
    """By which power of N, and of k, each cost grows."""
    fixed = {"N": steps["k"] == steps["k"].max(), "k": steps["N"] == steps["N"].max()}
    return {
        (cost, along): float(
            np.polyfit(np.log(steps[fixed[along]][along]), np.log(steps[fixed[along]][cost]), 1)[0]
        )
        for cost, along in POWERS
    }


def judge(tables: Tables, size: Size) -> list[Claim]:
    found = powers(tables.computed("cost", "steps"))
    off = np.array([found[key] - POWERS[key] for key in POWERS])
    epochs = tables.computed("cost", "epochs").iloc[0]
    before = 500 * epochs["flossing"]
    part = before / (before + EPOCHS * epochs["training"])
    return [
        Claim(
            "a step costs N² b, its tangent N² k, a QR N k²",
            bool((np.abs(off) <= 0.35).all()),
            bool((off <= 0.35).all()),
            "measured powers: " + ", ".join(f"{c} in {a} {v:.2f}" for (c, a), v in found.items()),
        ),
        Claim(
            "preflossing is 2.2 % of a run",
            bool(part <= 0.03),
            bool(part <= 0.15),
            f"{part:.1%}; milliseconds of a flossing and of a training epoch: "
            f"{1e3 * epochs['flossing']:.2f}, {1e3 * epochs['training']:.2f}",
        ),
    ]


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    steps = tables.computed("cost", "steps")
    fixed = {"N": steps["k"] == steps["k"].max(), "k": steps["N"] == steps["N"].max()}
    for axes, along in zip(figure.subplots(1, 2), ("N", "k")):
        rows = steps[fixed[along]].sort_values(along)
        for cost in ("step", "tangent", "QR"):
            axes.loglog(rows[along], 1e6 * rows[cost], "o-", label=cost)
        axes.set(xlabel=along, ylabel="µs per time step")
        axes.legend()
    return figure
