"""Progress of training runs, spectra and long products: live in a terminal or notebook, else line by line."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
import rich.progress
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lyapflow.learning.history import History

# what a column is called, how wide it is, and in which order columns go where there is no room
COLUMNS = {
    "network": ("network", 8),
    "epoch": ("epoch", 9),
    "flossing": ("flossing", 11),
    "loss": ("loss", 8),
    "accuracy": ("accuracy", 8),
    "λ₁": ("λ₁", 7),
    "norm": ("‖dL/dh₀‖", 8),
    "left": ("left", 6),
    "penalty": ("penalty", 8),
    "flossing loss": ("flossing loss", 13),
}
GAP = 2
LEAST = ("flossing loss", "norm", "penalty", "λ₁", "accuracy", "loss")


@dataclass
class Plan:
    """What a run is to do, what of it is done, and how long that has taken.

    Parameters
    ----------
    epochs : int
        Training epochs.
    at : sequence of int
        Those before which an episode of flossing runs.
    episode : int
        Flossing epochs of an episode.
    done : History
        Of the epochs that were done before.
    """

    epochs: int
    at: Sequence[int] = ()
    episode: int = 0
    done: History = field(default_factory=History)

    def __post_init__(self) -> None:
        self.at = sorted(self.at)
        self.count = {"training": len(self.done.training), "flossing": len(self.done.flossing)}
        self.total = {"training": self.epochs, "flossing": self.episode * len(self.at)}
        self.before = time.monotonic()
        # seconds of the epochs of each kind, and how many: the first one compiles
        self.seconds: dict[str, float] = {}
        self.timed: dict[str, int] = {}

    def took(self, kind: str) -> None:
        """An epoch of a kind is over."""
        now = time.monotonic()
        self.count[kind] += 1
        if kind in self.timed:
            self.seconds[kind] += now - self.before
            self.timed[kind] += 1
        else:
            self.seconds[kind], self.timed[kind] = 0.0, 0
        self.before = now

    @property
    def share(self) -> float:
        """Of all epochs."""
        return sum(self.count.values()) / max(1, sum(self.total.values()))

    def left(self) -> str:
        """The time that is left: epochs of a kind that none was timed of take as long as others."""
        paces = {kind: self.seconds[kind] / n for kind, n in self.timed.items() if n >= 3}
        if not paces:
            return "?"
        usual = max(paces.values())
        seconds = sum(
            (total - self.count[kind]) * paces.get(kind, usual)
            for kind, total in self.total.items()
        )
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

    def place(self, record: Any) -> str:
        """Which episode of flossing a record is from, and which epoch of it."""
        number = list(self.at).index(record.training_epoch) + 1
        return f"{number}/{len(self.at)} {record.epoch + 1}/{self.episode}"


def is_live(console: Console) -> bool:
    """Whether a console can show the same place again."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None  # with which rich draws there
    return console.is_terminal


class Progress:
    """Shows several runs at once, each through the callback that it is given.

    Parameters
    ----------
    console : rich.console.Console
    plans : mapping from a run's label to its Plan
    """

    def __init__(self, console: Console, plans: Mapping[str, Plan]) -> None:
        self.console = console
        self.plans = plans
        self.rows: dict[str, dict[str, str]] = {
            label: {"epoch": f"{plan.count['training']}/{plan.epochs}"}
            for label, plan in plans.items()
        }
        self.start = time.monotonic()
        self.live = Live(
            get_renderable=self._shown, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> "Progress":
        if is_live(self.console):
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if is_live(self.console):
            self.live.stop()

    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.start

    def callback(self, label: str) -> Callable[[Any], None]:
        """What a run is to call with each record."""

        def show(record: Any) -> None:
            milestone = self._update(label, record)
            if milestone and not is_live(self.console):
                self._print(label, record.kind)

        return show

    def _print(self, label: str, kind: str) -> None:
        """A line of what is known."""
        row = self.rows[label]
        names = (
            ("flossing", "flossing loss")
            if kind == "flossing"
            else ("epoch", "loss", "accuracy", "λ₁", "penalty", "norm")
        )
        parts = [f"{COLUMNS[name][0]} {row[name]}" for name in names if row.get(name)]
        print(f"{label}:", "  ".join(parts), f" {self.plans[label].left()} left", flush=True)

    def _update(self, label: str, record: Any) -> bool:
        """Take a record in; whether it deserves a line."""
        row, plan = self.rows[label], self.plans[label]
        # of an ensemble, means over its networks
        loss = float(np.mean(record.loss))
        if record.kind == "measurement":
            row["λ₁"] = f"{np.mean(record.exponents[..., 0]):z.3f}"
            return False
        if record.kind == "penalty":
            row["penalty"] = f"{loss:.3g}"
            return False
        plan.took(record.kind)
        if record.kind == "flossing":
            row["flossing"], row["flossing loss"] = plan.place(record), f"{loss:.4g}"
            return (record.epoch + 1) % 250 == 0
        row["epoch"] = f"{record.epoch + 1}/{plan.epochs}"
        row["loss"] = f"{loss:.4g}"
        row["norm"] = f"{np.mean(record.h0_gradient_norm):.1e}"
        accuracy = float(np.mean(record.accuracy))
        row["accuracy"] = "" if np.isnan(accuracy) else f"{100 * accuracy:.1f} %"
        return (record.epoch + 1) % 100 == 0 or record.epoch + 1 == plan.epochs

    def _names(self) -> list[str]:
        """The columns that there is room for."""
        names = list(COLUMNS)
        if not any("penalty" in row for row in self.rows.values()):
            names.remove("penalty")
        if not any(plan.at for plan in self.plans.values()):
            names.remove("flossing")
            names.remove("flossing loss")
        for least in LEAST:
            if self._spare(names) >= 0:
                break
            if least in names:
                names.remove(least)
        return names

    def _spare(self, names: list[str]) -> int:
        """How much wider the console is than these columns."""
        return self.console.width + GAP - sum(COLUMNS[name][1] + GAP for name in names)

    def _shown(self) -> Group:
        """A row for each run, and a bar."""
        first, *names = self._names()
        room = max(0, self._spare([first, *names])) + COLUMNS[first][1]
        wide = min(room, max(COLUMNS[first][1], *map(len, self.plans)))
        table, bars = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0)), Table.grid()
        table.add_column(first, no_wrap=True, overflow="ellipsis", min_width=wide, max_width=wide)
        for name in names:
            title, width = COLUMNS[name]
            table.add_column(title, justify="right", no_wrap=True, min_width=width)
        for label, row in self.rows.items():
            plan = self.plans[label]
            known = row | {"left": plan.left()}
            table.add_row(Text(label), *(known.get(name, "") for name in names))
            bar = ProgressBar(
                completed=plan.share, total=1.0, width=min(50, self.console.width - 8)
            )
            bars.add_row(bar, f" {100 * plan.share:.0f} %")
        return Group(table, bars)


def _bar(console: Console) -> rich.progress.Progress:
    """A bar with the time that is left and the numbers done and in all, where a console is live."""
    columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
    return rich.progress.Progress(
        *columns, console=console, transient=True, disable=not is_live(console)
    )


@contextmanager
def counted(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of something that is counted, through the function that it gives, of how many are done and of all."""
    with _bar(console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def long_product(console: Console, steps: int) -> Iterator[Callable[[float, int], None]]:
    """Shows how far a product of Jacobians has come, through the callback that it gives: (step, bits)."""
    said = time.monotonic()
    with _bar(console) as bar:
        task = bar.add_task("", total=steps)

        def show(t: float, bits: int) -> None:
            nonlocal said
            bar.update(task, completed=t, description=f"product of {bits} bits")
            now = time.monotonic()
            if not is_live(console) and ((t and t % 100 == 0) or now - said > 30):
                said = now
                print(f"step {t:.4g} of {steps}, {bits} bits", flush=True)

        yield show
