"""Progress of training runs and long products: live in a terminal, else a line now and then."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import rich.progress
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lyapflow.cli.show import table_of_networks


class Progress:
    """Shows several runs at once, each through the callback that it is given.

    Parameters
    ----------
    console : rich.console.Console
    work : mapping from a run's label to the flossing and training epochs that it will take
    epochs : int
        Training epochs of a run.
    """

    def __init__(self, console: Console, work: Mapping[str, int], epochs: int) -> None:
        self.console = console
        self.work = work
        self.epochs = epochs
        self.rows: dict[str, dict[str, str]] = {label: {} for label in work}
        self.done = dict.fromkeys(work, 0)
        self.start = time.monotonic()
        self.live = Live(
            get_renderable=self._table, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.start

    def callback(self, label: str) -> Callable[[Any], None]:
        """What a run is to call with each record."""

        def show(record: Any) -> None:
            milestone = self._update(label, record)
            if milestone and not self.console.is_terminal:
                row = self.rows[label]
                names = {
                    "epoch": "epoch",
                    "loss": "loss",
                    "accuracy": "accuracy",
                    "λ₁": "λ₁",
                    "penalty": "penalty",
                    "norm": "‖dL/dh₀‖",
                }
                parts = [f"{name} {row[key]}" for key, name in names.items() if row.get(key)]
                print(f"{label}:", "  ".join(parts), f" {self._left(label)} left", flush=True)

        return show

    def _update(self, label: str, record: Any) -> bool:
        """Take a record in; whether it deserves a line."""
        row = self.rows[label]
        if record.kind == "measurement":
            row["λ₁"] = f"{record.exponents[0]:.3f} @ {record.epoch}"
            return False
        if record.kind == "penalty":
            row["penalty"] = f"{record.loss:.4g}"
            return False
        self.done[label] += 1
        row["loss"] = f"{record.loss:.4g}"
        if record.kind == "flossing":
            row.update(
                {
                    "epoch": f"{record.training_epoch} (floss {record.epoch + 1})",
                    "accuracy": "",
                    "norm": "",
                }
            )
            row["λ₁"] = f"{record.exponents[0]:.3f}" if record.exponents.size else ""
            return (record.epoch + 1) % 250 == 0
        row["epoch"] = f"{record.epoch + 1}/{self.epochs}"
        if "@" not in row.get("λ₁", ""):
            row["λ₁"] = ""  # of a flossing epoch, whose network it no longer is
        row["norm"] = f"{record.h0_gradient_norm:.1e}"
        row["accuracy"] = "" if np.isnan(record.accuracy) else f"{100 * record.accuracy:.1f} %"
        return (record.epoch + 1) % 100 == 0 or record.epoch + 1 == self.epochs

    def _left(self, label: str) -> str:
        done = self.done[label]
        if done < min(10, self.work[label]):
            return "?"
        seconds = self.seconds() * (self.work[label] - done) / max(1, done)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

    def _table(self) -> Table:
        names = {name: name for name in ("epoch", "loss", "accuracy", "λ₁")}
        if any("penalty" in row for row in self.rows.values()):
            names["penalty"] = "penalty"
        names["norm"] = "‖dL/dh₀‖"
        table = table_of_networks(*names.values(), "time left")
        for label, row in self.rows.items():
            cells = (row.get(name, "") for name in names)
            table.add_row(Text(label), *cells, self._left(label))
        return table


@contextmanager
def long_product(console: Console, steps: int) -> Iterator[Callable[[float, int], None]]:
    """Shows how far a product of Jacobians has come, through the callback that it gives: (step, bits)."""
    columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
    said = time.monotonic()
    with rich.progress.Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=steps)

        def show(t: float, bits: int) -> None:
            nonlocal said
            bar.update(task, completed=t, description=f"product of {bits} bits")
            now = time.monotonic()
            if not console.is_terminal and ((t and t % 100 == 0) or now - said > 30):
                said = now
                print(f"step {t:.4g} of {steps}, {bits} bits", flush=True)

        yield show
