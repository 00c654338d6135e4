"""Output that several commands share: tables, and summaries of training runs."""

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lyapflow.errors import Diverged, LyapflowError, collected_warnings
from lyapflow.learning.history import History
from lyapflow.learning.model import Model
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import Task
from lyapflow.lyapunov.spectrum import lyapunov_spectrum

# exit code where --time-limit ended a run or sweep: EX_TEMPFAIL, to try again later
OUT_OF_TIME = 75

console = Console(highlight=False, markup=False)


def table_of_numbers(*columns: str) -> Table:
    """An empty table of numbers."""
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right")
    return table


def table_of_networks(*columns: str) -> Table:
    """An empty table with a network in each row: its name, cut if too long, and numbers, never cut."""
    table = Table(box=None, pad_edge=False)
    table.add_column("network", no_wrap=True, overflow="ellipsis", max_width=16)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def exponents(model: Model, task: Task, seed: Any) -> np.ndarray:
    """The whole spectrum under the task's input; NaN where states do not stay finite."""
    x = task.inputs(stream(seed, "picture"), 400, 1, model.h0.dtype)[:, 0]
    try:
        with collected_warnings():  # of error bars, which nobody will see
            return lyapunov_spectrum(model.cell, x, h0=model.h0, q_transient=100).exponents
    except Diverged:
        return np.full(model.h0.shape, np.nan)


def print_summary(runs: Mapping[str, tuple[History, np.ndarray]], before: np.ndarray) -> None:
    """A table of training runs: of each its history and its last exponents; all began with `before`."""
    from lyapflow.plotting import WINDOW, smooth

    graded = any(np.isfinite(history.training["accuracy"]).any() for history, _ in runs.values())
    titles = ["loss", "λ₁ before", "λ₁ after", "‖dL/dh₀‖"]
    titles[1:1] = ["accuracy", "95 % at epoch"] if graded else []
    rows = {}
    for label, (history, after) in runs.items():
        log = history.training
        cells = [f"{smooth(log['loss'])[-1]:.4f}" if len(log) else ""]
        if graded:
            score = smooth(log["accuracy"]) if len(log) else np.array([np.nan])
            reached = np.flatnonzero(score >= 0.95)
            known = not np.isnan(score[-1])
            cells.append(f"{100 * score[-1]:.1f} %" if known else "")
            cells.append((str(reached[0] + 1) if reached.size else "never") if known else "")
        cells.append(f"{before[0]:z.3f}")
        cells.append("diverged" if np.isnan(after[0]) else f"{after[0]:z.3f}")
        cells.append(f"{np.median(log['h0_gradient_norm']):.1e}" if len(log) else "")
        rows[label] = cells
    table = table_of_networks(*titles)
    for label, cells in rows.items():
        table.add_row(Text(label), *cells)
    wide = console.options.update(max_width=10_000)
    if console.measure(table, options=wide).maximum > console.width:
        # a line for each number, and none is cut
        table = table_of_numbers("", *rows)
        for title, *cells in zip(titles, *rows.values()):
            table.add_row(title, *cells)
    console.print(table)
    console.print(
        f"means of the last {WINDOW} epochs; λ in nats per step, of a fresh input; ‖dL/dh₀‖: median of all epochs"
    )


def check_writable(path: Path, what: str = "picture") -> None:
    """Refuse a picture or table that could not be written, before the work that it is to show."""
    try:
        if not path.parent.is_dir():
            raise LyapflowError(f"the {what}'s folder must exist, got {path.parent}")
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(path).st_mode):
                raise LyapflowError(f"the {what} must be a file, {path} is a folder")
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise LyapflowError(f"cannot write the {what} {path}: {error.strerror}") from None
