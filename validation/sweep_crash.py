"""Kill a sweep's master and workers at random moments, fill its disk: every run must end as if nothing had happened.

    python -m validation.sweep_crash [--kills N] [--seed N]

A sweep of eight small networks, flossed and not, in both precisions, works in two processes that
write a checkpoint after every update. Each kill takes, by lot, the master or one of its workers, after
a random part of the time that the whole sweep takes; where the master was taken it is started
again with --resume. Folders that come to their end are compared, to the bit, with those of a sweep
that nothing came between: weights, Adam's moments, history and settings. Then the same with another
file that takes all of a small disk. Three minutes on two cores; the disk is a tmpfs, which takes
root."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

import lyapflow as lf
from lyapflow.runs import checkpoint, files
from lyapflow.runs.sweep_folder import SweepFolder
from lyapflow.runs.weights import flat
from validation.crash import small_disk

GRID = """
units = 8
k = 3
delay = 2
steps = 20
batch = 4
epochs = 400
measure_every = 50
floss_epochs = 20
floss_steps = 24
floss = ["none", "during"]
dtype = ["float64", "float32"]
seed = { from = 0, to = 1 }
"""


def start(folder: Path, grid: Path) -> subprocess.Popen:
    """A master that begins the sweep, or goes on with it."""
    words = [sys.executable, "-m", "lyapflow", "sweep", str(folder)]
    words += ["--resume"] if (folder / "sweep.json").exists() else [str(grid)]
    words += ["--workers", "2", "--checkpoint-epochs", "1"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(master: subprocess.Popen) -> tuple[int, str]:
    said = master.communicate()[0]
    return master.returncode, said


def bits(folder: Path) -> dict[str, str]:
    """A digest of each run: settings, weights, moments and history."""
    found = {}
    for name in SweepFolder(folder).runs():
        run = lf.RunFolder(folder / name)
        state, history = run.state()
        content = (
            flat(state.model, "model.") | flat(state.moments, "adam.") | checkpoint.columns(history)
        )
        same = lf.digest(lf.load(run.path / "model.safetensors")) == lf.digest(state.model)
        found[name] = files.digest(content, json.dumps(run.settings()["training"]) + str(same))
    return found


def kill_one(master: subprocess.Popen, rng: np.random.Generator) -> str:
    """Kill the master or one of its workers, whichever it is to be."""
    processes = [psutil.Process(master.pid)]
    processes += [
        child
        for child in processes[0].children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    which = int(rng.integers(len(processes)))
    processes[which].kill()
    return "a worker" if which else "the master"


def killed(base: Path, grid: Path, kills: int, rng: np.random.Generator, whole: float) -> list:
    """Digests of the sweeps that it takes for so many kills."""
    found, taken = [], []
    folder, number = base / "sweep-0", 0
    while len(taken) < kills or (folder / "sweep.json").exists():
        master = start(folder, grid)
        try:
            if len(taken) < kills:
                master.wait(rng.uniform(0.0, whole / 2))
        except subprocess.TimeoutExpired:
            taken.append(kill_one(master, rng))
        code, said = end(master)
        if code == 0:
            found.append(bits(folder))
            number += 1
            folder = base / f"sweep-{number}"
        elif code != -9:
            raise SystemExit(f"a sweep ended with {code}: {said}")
    print(f"killed {', '.join(taken)}", flush=True)
    return found


def filled(disk: Path, grid: Path, rng: np.random.Generator, whole: float) -> tuple[dict, list]:
    """Another file takes all of the disk at a random moment, and goes before the sweep goes on."""
    folder, lines = disk / "sweep", []
    while True:
        master = start(folder, grid)
        while master.poll() is None and not list(folder.glob("*/settings.json")):
            time.sleep(0.1)  # it starts
        time.sleep(rng.uniform(0.0, whole / 8))
        with open(disk / "other", "wb", buffering=0) as other:
            try:
                while len(lines) < 3:
                    other.write(bytes(512))
            except OSError:
                pass
        code, said = end(master)
        (disk / "other").unlink()
        if code == 0:
            return bits(folder), lines
        if code != 2:
            raise SystemExit(f"a sweep on a full disk ended with {code}: {said}")
        # other runs may have warned that they go on without a checkpoint
        lines.append("\n".join(line for line in said.splitlines() if "the run goes on" not in line))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        grid = base / "grid.toml"
        grid.write_text(GRID)
        for _ in range(2):  # the first compiles
            shutil.rmtree(base / "whole", ignore_errors=True)
            begun = time.perf_counter()
            code, said = end(start(base / "whole", grid))
            if code:
                raise SystemExit(f"a sweep that nothing comes between ends with {code}: {said}")
            whole = time.perf_counter() - begun
        expected = bits(base / "whole")
        print(
            f"lyapflow {lf.__version__}, seed {options.seed}; a whole sweep takes {whole:.1f} s",
            flush=True,
        )
        sweeps = killed(base, grid, options.kills, rng, whole)
        right = sum(found == expected for found in sweeps)
        print(
            f"{right} of {len(sweeps)} sweeps end with the same bits in all of {len(expected)} runs"
        )
        held = [right == len(sweeps) > 0]
        with small_disk(base, "4m") as disk:
            if disk is None:
                print("full disk: not run, a tmpfs cannot be mounted here")
            else:
                found, lines = filled(disk, grid, rng, whole)
                held.append(
                    found == expected
                    and bool(lines)
                    and all(len(line.splitlines()) == 1 for line in lines)
                )
                print(f"full disk, {len(lines)} times; the same bits: {found == expected}; it said")
                print("\n".join(lines))
    return not all(held)


if __name__ == "__main__":
    sys.exit(main())
