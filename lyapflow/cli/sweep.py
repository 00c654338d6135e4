"""``lyapflow sweep``: the runs of a grid of settings, worked side by side, in a folder from which they can go on."""

import shlex
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

import lyapflow
from lyapflow import _checks
from lyapflow.cli import options
from lyapflow.cli.show import OUT_OF_TIME, console
from lyapflow.errors import LyapflowError
from lyapflow.learning.stopping import StopRule, TimeLimit
from lyapflow.runs.master import Swept
from lyapflow.runs.signals import EndOnSignal

SOME_FAILED = 3  # exit code
SECONDS_PER_LINE, SECONDS_BEFORE_RUNS = 30.0, 3.0
MOST_ROWS = 24


def sweep(
    folder: options.SweepFolder,
    grid: options.GridFile = None,
    resume: options.SweepResume = False,
    epochs: options.MoreEpochs = None,
    workers: options.Workers = None,
    threads: options.Threads = None,
    dask: options.Dask = None,
    mpi: options.Mpi = False,
    time_limit: options.TimeLimit = None,
    checkpoint_seconds: options.CheckpointSeconds = 10.0,
    checkpoint_epochs: options.CheckpointEpochs = None,
    yes: options.Yes = False,
) -> None:
    """Work the runs of a grid of settings side by side, and keep them in a folder, from which they can go on.

    A first Ctrl-C, or SIGTERM, ends each run after its epoch; --resume goes on with them, and they end with
    the bits of uninterrupted runs.

    Exit codes: 0 all done; 3 done, but some runs failed; 75 stopped by --time-limit; 128 plus the number of
    a signal; 2 for what cannot be done."""
    if (grid is None) != resume:
        raise LyapflowError(
            "a sweep needs a grid (a TOML file) or --resume, to go on with the grid of the folder; got "
            + ("neither" if grid is None else "both")
        )
    if workers is not None and (dask is not None or mpi):
        raise LyapflowError(
            "--workers counts processes of this machine, leave it out with --dask or --mpi"
        )
    limits: list[StopRule] = []
    if time_limit is not None:
        limits.append(TimeLimit(_checks.number("--time-limit", time_limit, 0.0)))
    with EndOnSignal() as signals, chosen_executor(dask, mpi) as executor, Progress() as display:
        swept = lyapflow.sweep(
            folder,
            grid,
            executor=executor,
            workers=workers,
            threads=threads,
            epochs=epochs,
            many=yes,
            stops=(signals, *limits),
            progress=display.show,
            checkpoint_seconds=checkpoint_seconds,
            checkpoint_epochs=checkpoint_epochs,
        )
    for name, reason in swept.failed.items():
        console.print(f"{name} failed: {reason}", soft_wrap=True)
    console.print(f"{_counts(swept)}   ({display.seconds():.0f} s)")
    quoted = shlex.quote(str(folder))
    console.print(f"table: lyapflow compare {quoted}", soft_wrap=True)
    if swept.stopped:
        words = f"stopped: {swept.stopped}; go on: lyapflow sweep {quoted} --resume"
        console.print(words, soft_wrap=True)
        raise typer.Exit(OUT_OF_TIME if signals.first is None else 128 + signals.first)
    if swept.failed:
        raise typer.Exit(SOME_FAILED)


@contextmanager
def chosen_executor(dask: str | None, mpi: bool) -> Iterator[Executor | None]:
    """The executor that is asked for; None for processes of this machine."""
    if dask is not None and mpi:
        raise LyapflowError("a sweep has one executor, got --dask and --mpi")
    if dask is not None:
        with _dask(dask) as client:
            yield client.get_executor()
    elif mpi:
        with _mpi() as executor:
            yield executor
    else:
        yield None


def _dask(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise LyapflowError(
            "--dask needs dask[distributed], which is not installed; install lyapflow[sweep]"
        ) from None
    try:
        return Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise LyapflowError(f"cannot reach the Dask scheduler {address}: {error}") from None


def _mpi() -> Any:
    try:
        from mpi4py.futures import MPIPoolExecutor
    except ImportError:
        raise LyapflowError("--mpi needs mpi4py, which is not installed; install mpi4py") from None
    return MPIPoolExecutor()


class Progress:
    """Shows how far a sweep is: live in a terminal, else a line now and then."""

    def __init__(self) -> None:
        self.start = self.said = time.monotonic()
        self.swept = Swept(0)
        self.live = Live(
            get_renderable=self._table, console=console, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> "Progress":
        if console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self.live.stop()

    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.start

    def show(self, swept: Swept) -> None:
        self.swept = swept
        due = SECONDS_BEFORE_RUNS if self.said == self.start else SECONDS_PER_LINE
        if not console.is_terminal and time.monotonic() - self.said >= due:
            self.said = time.monotonic()
            print(self._line(), flush=True)

    def _line(self) -> str:
        swept = self.swept
        if not (swept.running or swept.done or swept.failed):
            return (
                "workers start, and compile kernels where the cache has none: up to half a minute"
            )
        left = "?" if swept.seconds_left != swept.seconds_left else _clock(swept.seconds_left)
        return f"{_counts(swept)}, {100 * swept.share:.1f} % of all epochs, {left} left"

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False, show_header=False)
        running = list(self.swept.running.items())
        for name, status in running[:MOST_ROWS]:
            table.add_row(Text(name), Text(status.shown))
        if len(running) > MOST_ROWS:
            table.add_row(f"and {len(running) - MOST_ROWS} more")
        return Group(table, Text(self._line()))


def _counts(swept: Swept) -> str:
    failed = f", {len(swept.failed)} failed" if swept.failed else ""
    return f"{len(swept.done)} of {swept.total} runs done{failed}"


def _clock(seconds: float) -> str:
    minutes = int(seconds) // 60
    return f"{minutes // 60}:{minutes % 60:02d}:{int(seconds) % 60:02d}"
