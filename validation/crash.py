"""Kill runs at random moments, fill their disk, let their writes fail: each must end as if nothing had happened.

    python -m validation.crash [--runs N] [--seed N]

A run trains 8 units with flossing and writes a checkpoint after every update, so that most moments
are within a write. It starts again from its folder, as often as it takes; after every end the
folder must be whole and not behind its last checkpoint. At the end weights, Adam's moments and
history are compared, to the bit, with those of a run that nothing came between. Networks alone in
both precisions and ensembles take turns. Two minutes on two cores; the full disk is a small tmpfs,
which takes root."""

import argparse
import errno
import functools
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import lyapflow as lf
from lyapflow.runs import checkpoint, files
from lyapflow.runs.weights import flat

TASK = lf.tasks.BinaryTemporalXOR(2)
FLOSSING = lf.Flossing(k=3, epochs=4, steps=12, q_transient=4, at=(0, 6))
# exit codes of an attempt: at the end, ended by LyapflowError, by anything else
DONE, ERROR, FAILED = 0, 3, 4


def model(seed: int, dtype: type = np.float64) -> lf.Model:
    rng = np.random.default_rng(seed)
    return lf.Model.random(lf.TanhRNN.random(8, 1, rng=rng, dtype=dtype), 1, rng=rng)


STARTS = [(model(0), 0), (model(1, np.float32), 1), (lf.stack([model(2), model(3)]), (2, 3))]


def start_or_go_on(folder: Path, which: int) -> None:
    if (folder / "settings.json").exists():
        lf.resume(folder, checkpoint_epochs=1)
        return
    network, seed = STARTS[which]
    settings = {"epochs": 12, "T": 20, "batch": 4, "measure_every": 5, "flossing": FLOSSING}
    lf.train(network, TASK, seed=seed, **settings, folder=folder, checkpoint_epochs=1)


def attempt(folder: Path, which: int, sabotage: Callable[[], None] = lambda: None) -> int:
    """A process of its own that starts the run of a folder or goes on with it; its number."""
    if process := os.fork():
        return process
    code = FAILED
    try:
        warnings.simplefilter("ignore")  # that a checkpoint could not be written
        sabotage()
        start_or_go_on(folder, which)
        code = DONE
    except lf.LyapflowError:
        code = ERROR
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def end(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def bits(folder: Path) -> str:
    """A digest of weights, Adam's moments and history; the results must be those of the checkpoint."""
    state, history = lf.RunFolder(folder).state()
    content = (
        flat(state.model, "model.") | flat(state.moments, "adam.") | checkpoint.columns(history)
    )
    same = lf.digest(lf.load(folder / "model.safetensors")) == lf.digest(state.model)
    with np.load(folder / "history.npz") as results:
        same &= files.digest(dict(results)) == files.digest(checkpoint.columns(history))
    return files.digest(content) if same else "results differ from the checkpoint"


def place(folder: Path) -> tuple:
    """How far the last checkpoint is; raises LyapflowError if the folder is not whole."""
    state, history = lf.RunFolder(folder).state()
    if (folder / "settings.json").exists():
        lf.RunFolder(folder).training()
        lf.RunFolder(folder).start()
    return (state.epoch, state.measured, state.flossed, len(history.flossing)) if state else (-1,)


class Count:
    """What came of the runs of one kind of harm."""

    def __init__(self, name: str, expected: list[str]) -> None:
        self.name, self.expected = name, expected
        self.runs = self.right = self.ends = self.within_a_write = self.behind = self.odd = 0

    def ended(self, folder: Path, code: int, allowed: int, before: tuple) -> tuple:
        """After an attempt that did not come to its end: where the folder stands now."""
        self.ends += 1
        self.odd += code != allowed
        self.within_a_write += bool(list(folder.glob(f".*{files.PART}")))
        now = place(folder)
        self.behind += now < before
        return now

    def finished(self, folder: Path, which: int) -> None:
        self.runs += 1
        leftovers = list(folder.glob(f".*{files.PART}"))
        self.right += bits(folder) == self.expected[which] and not leftovers
        shutil.rmtree(folder)

    def report(self) -> bool:
        print(
            f"{self.name}: {self.right} of {self.runs} runs end with the same bits, after {self.ends} ends before the "
            f"end, {self.within_a_write} with a file half written; {self.behind} went back, {self.odd} ended oddly",
            flush=True,
        )
        return self.right == self.runs and not self.behind and not self.odd


def killed(base: Path, runs: int, rng: np.random.Generator, count: Count, whole: float) -> None:
    """SIGKILL after a random time, up to half of what a run takes."""
    for number in range(runs):
        folder, which, before = base / "run", number % len(STARTS), (-1,)
        while True:
            process = attempt(folder, which)
            time.sleep(rng.uniform(0.0, whole / 2))
            os.kill(process, signal.SIGKILL)  # one that has ended stays until it is waited for
            if (code := end(process)) == DONE:
                break
            before = count.ended(folder, code, -signal.SIGKILL, before)
        count.finished(folder, which)


def failing(seed: int) -> None:
    """In this process, writes fail now and then: in the middle, at fsync, or at the rename."""
    rng = np.random.default_rng(seed)

    def now_and_then(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object) -> object:
            if rng.random() < 0.25:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments)

        setattr(os, name, call)

    if rng.random() < 0.5:
        resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (int(rng.integers(500, 20_000)),))
    else:
        now_and_then("fsync")
        now_and_then("replace")


def failed(base: Path, runs: int, rng: np.random.Generator, count: Count) -> None:
    """Writes that fail, until one attempt has luck to its end."""
    for number in range(runs):
        folder, which, before = base / "run", number % len(STARTS), (-1,)
        while (
            code := end(
                attempt(folder, which, functools.partial(failing, int(rng.integers(2**32))))
            )
        ) != DONE:
            before = count.ended(folder, code, ERROR, before)
        count.finished(folder, which)


@contextmanager
def small_disk(base: Path, size: str = "300k") -> Iterator[Path | None]:
    disk = base / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk],
        capture_output=True,
        check=False,
    )
    try:
        yield None if done.returncode else disk
    finally:
        if not done.returncode:
            subprocess.run(["umount", "-l", disk], check=True)


def filled(disk: Path, runs: int, rng: np.random.Generator, count: Count, whole: float) -> None:
    """Another file takes all of the disk at a random moment, and goes before the next attempt."""
    for number in range(runs):
        folder, which, before = disk / "run", number % len(STARTS), (-1,)
        process = attempt(folder, which)
        time.sleep(rng.uniform(0.0, whole))
        with open(disk / "other", "wb", buffering=0) as other:
            try:
                while True:
                    other.write(bytes(512))
            except OSError:
                pass
        code = end(process)
        while code != DONE:
            before = count.ended(folder, code, ERROR, before)
            (disk / "other").unlink(missing_ok=True)
            code = end(attempt(folder, which))
        (disk / "other").unlink(missing_ok=True)
        count.finished(folder, which)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, default=200, help="runs to kill; a third as many for the others"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, runs = np.random.default_rng(options.seed), options.runs
    with tempfile.TemporaryDirectory() as name:
        base, expected = Path(name), []
        # in this process too: it compiles, and the attempts inherit that
        for which in range(len(STARTS)):
            start_or_go_on(base / "whole", which)
            expected.append(bits(base / "whole"))
            shutil.rmtree(base / "whole")
        begun = time.perf_counter()
        if end(attempt(base / "whole", 0)) != DONE:
            raise SystemExit("a run that nothing comes between does not end")
        whole = time.perf_counter() - begun
        print(
            f"lyapflow {lf.__version__}, seed {options.seed}; a whole run takes {whole:.2f} s",
            flush=True,
        )
        held = []
        counts = [Count(name, expected) for name in ("SIGKILL", "failing writes", "full disk")]
        killed(base, runs, rng, counts[0], whole)
        held.append(counts[0].report())
        failed(base, -(-runs // 3), rng, counts[1])
        held.append(counts[1].report())
        with small_disk(base) as disk:
            if disk is None:
                print("full disk: not run, a tmpfs cannot be mounted here")
            else:
                filled(disk, -(-runs // 3), rng, counts[2], whole)
                held.append(counts[2].report())
        print(f"{time.perf_counter() - begun:.0f} s")
    return not all(held)


if __name__ == "__main__":
    sys.exit(main())
