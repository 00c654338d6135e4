"""Runs an hour of a sweep beside the same runs in turn, and of a Dask local cluster beside processes.

    python -m pip install ".[sweep]" && python -m validation.benchmarks.sweeps [--runs N] [--epochs N]

Networks of 80 units on the binary XOR with an episode of flossing, by `lyapflow.train` one after the
other, with all threads, and by `lyapflow.sweep` in as many processes as processors, whose start is
counted. Kernels are compiled before. Exit code 1 where a sweep on two processors is less than 1.8
times as fast, or Dask more than 5 % slower than processes. Five minutes on two cores."""

import argparse
import sys
import tempfile
import time
from concurrent.futures import Executor
from pathlib import Path

from distributed import Client, LocalCluster

import lyapflow as lf
from lyapflow._engine.pool import threads
from lyapflow.runs.grid import recipes


def in_turn(folder: Path, grid: dict) -> None:
    for number, recipe in enumerate(recipes(grid)):
        start = recipe.start()
        lf.train(start, **vars(recipe.training(start)), folder=folder / str(number))


def by_sweep(folder: Path, grid: dict, executor: Executor | None = None) -> None:
    swept = lf.sweep(folder, grid, executor=executor)
    if len(swept.done) < swept.total:
        raise SystemExit(f"runs failed: {swept.failed}")


def by_dask(folder: Path, grid: dict) -> None:
    workers = {"n_workers": threads(), "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**workers) as cluster, Client(cluster) as client:
        by_sweep(folder, grid, client.get_executor())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=400)
    options = parser.parse_args()
    grid = {"delay": 20, "epochs": options.epochs, "floss": "before", "floss_epochs": 100}
    grid |= {"seed": range(options.runs)}
    seconds = {}
    with tempfile.TemporaryDirectory() as name:
        in_turn(Path(name) / "first", {**grid, "epochs": 2, "seed": 0})  # compiles
        ways = {"in turn by train": in_turn, "sweep, processes": by_sweep, "sweep, Dask": by_dask}
        for way, work in ways.items():
            begun = time.perf_counter()
            work(Path(name) / way, grid)
            seconds[way] = time.perf_counter() - begun
            rate = 3600 * options.runs / seconds[way]
            print(f"{way:18} {seconds[way]:7.1f} s, {rate:6.0f} runs an hour", flush=True)
    turn, processes, dask = seconds.values()
    print(f"sweep beside in turn: {turn / processes:.2f} times as fast on {threads()} processors")
    print(f"Dask beside processes: {100 * (dask / processes - 1):+.1f} % of time")
    return not (turn / processes >= 0.9 * threads() and dask <= 1.05 * processes)


if __name__ == "__main__":
    sys.exit(main())
