"""Binary temporal XOR without flossing, with preflossing, and with five episodes of flossing (paper, Fig. 4 and 5).

    python -m validation.binary_xor

Protocol of the paper: 80 tanh units, g = 1, batch 16, T = 300, Adam 1e-3, clipping at 0.03,
flossing of 75 exponents over 500 epochs of 55 steps. A run ends early once five consecutive windows
of 100 epochs are above 99 %, and all episodes are over. Writes validation/out/binary_xor.csv and
.png; about an hour on two cores.

Exit code 1 unless, over the seeds run: without flossing delays 40 and 70 stay at chance (below 60
%); preflossing solves delay 40 (95 %) in most seeds; five episodes solve delays 40 and 70 in all.
"""

import argparse
import csv
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.learning.streams import stream

OUT = Path(__file__).parent / "out"
WINDOW = 100
EPISODES = {"none": (), "before": (0,), "five": (0, 100, 200, 300, 400)}


def run(delay: int, condition: str, seed: int, epochs: int, dtype: str) -> dict:
    """One network: accuracies of its windows of 100 epochs."""
    rng = stream(seed, "weights")
    model = lf.Model.random(lf.TanhRNN.random(80, 1, rng=rng, dtype=dtype), 1, rng=rng)
    at = EPISODES[condition]
    accuracies: list[float] = []

    def solved(record) -> bool:
        if record.kind != "training":
            return False
        accuracies.append(record.accuracy)
        last = (
            np.array(accuracies[-5 * WINDOW :]).reshape(-1, WINDOW)
            if len(accuracies) % WINDOW == 0
            else None
        )
        return (
            last is not None
            and len(last) == 5
            and record.epoch >= max(at, default=0)
            and last.mean(1).min() > 0.99
        )

    start = time.monotonic()
    lf.train(
        model,
        lf.tasks.BinaryTemporalXOR(delay),
        epochs=epochs,
        seed=seed,
        flossing=lf.Flossing(at=at) if at else None,
        callbacks=solved,
    )
    whole = len(accuracies) // WINDOW * WINDOW
    windows = np.array(accuracies[:whole]).reshape(-1, WINDOW).mean(axis=1)
    reached = np.flatnonzero(windows >= 0.95)
    return {
        "delay": delay,
        "condition": condition,
        "seed": seed,
        "accuracy": float(windows[-1]),
        "epochs": len(accuracies),
        "epoch of 95 %": int((reached[0] + 1) * WINDOW) if reached.size else None,
        "seconds": round(time.monotonic() - start),
        "windows": windows,
    }


def failures(results: list[dict]) -> list[str]:
    """Claims that these results contradict."""

    def accuracies(delay: int, condition: str) -> np.ndarray:
        return np.array(
            [r["accuracy"] for r in results if (r["delay"], r["condition"]) == (delay, condition)]
        )

    failed = [
        f"without flossing, delay {delay} leaves chance"
        for delay in (40, 70)
        if (accuracies(delay, "none") > 0.6).any()
    ]
    if (solved := accuracies(40, "before") >= 0.95).size and solved.mean() <= 0.5:
        failed.append("preflossing does not solve delay 40 in most seeds")
    failed += [
        f"five episodes do not solve delay {delay} in all seeds"
        for delay in (40, 70)
        if (accuracies(delay, "five") < 0.95).any()
    ]
    return failed


def picture(results: list[dict], path: Path) -> None:
    delays = sorted({r["delay"] for r in results})
    figure = Figure(figsize=(4.4 * len(delays), 3.8), layout="constrained")
    colours = dict(zip(EPISODES, ("#D55E00", "#E69F00", "#0072B2")))
    for axes, delay in zip(np.atleast_1d(figure.subplots(1, len(delays), sharey=True)), delays):
        for r in (r for r in results if r["delay"] == delay):
            epochs = (np.arange(len(r["windows"])) + 1) * WINDOW
            first = r["seed"] == min(s["seed"] for s in results)
            axes.plot(
                epochs,
                r["windows"],
                color=colours[r["condition"]],
                label=f"flossing: {r['condition']}" * first or None,
            )
        axes.set(title=f"delay {delay}", xlabel="training epoch", xscale="log")
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("accuracy, windows of 100 epochs")
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--delays", type=int, nargs="+", default=[20, 40, 70])
    parser.add_argument("--conditions", nargs="+", choices=list(EPISODES), default=list(EPISODES))
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    parser.add_argument("--epochs", type=int, default=10_000, help="training epochs at most")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    options = parser.parse_args()
    if options.epochs < WINDOW:
        parser.error(f"--epochs must be at least {WINDOW}")

    jobs = [
        (delay, condition, seed, options.epochs, options.dtype)
        for delay in reversed(options.delays)
        for condition in options.conditions
        for seed in range(options.seeds)
    ]
    run(20, "before", 0, WINDOW, options.dtype)  # compiles once, before the workers read the cache
    results = []
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, *job) for job in jobs]):
            results.append(result := future.result())
            print({key: value for key, value in result.items() if key != "windows"}, flush=True)

    results.sort(key=lambda r: (r["delay"], list(EPISODES).index(r["condition"]), r["seed"]))
    OUT.mkdir(exist_ok=True)
    columns = [name for name in results[0] if name != "windows"]
    with (OUT / "binary_xor.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(results)
    picture(results, OUT / "binary_xor.png")
    table = Table(*columns, title="Binary temporal XOR: accuracy of the last 100 epochs")
    for r in results:
        table.add_row(
            *(
                f"{r[c]:.3f}" if c == "accuracy" else "never" if r[c] is None else str(r[c])
                for c in columns
            )
        )
    Console().print(table)
    failed = failures(results)
    print("\n".join(f"FAILED: {claim}" for claim in failed) or "all claims hold")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
