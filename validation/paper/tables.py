"""Tables of the runs: one row a run, and curves where a figure asks for them, in small CSV files.

A run whose row stands in its group's table is not done again, so that the tables are all that has
to be kept of a night; what has begun goes on from its run folder."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lyapflow as lf
from lyapflow.cli.show import exponents
from lyapflow.learning.history import History
from lyapflow.runs.folder import RunFolder
from lyapflow.runs.grid import recipes
from lyapflow.runs.recipe import Recipe
from lyapflow.runs.sweep_folder import SweepFolder
from validation.paper.grids import condition, groups, text
from validation.paper.sizes import SIZES, Size
from validation.paper.verdicts import SOLVED

HERE = Path(__file__).parent
LAST = 100  # epochs whose mean is what a run has reached
DIGITS = 5  # significant, in the files
EXPONENTS = (1, 10, 75)  # that are kept
BROKE_DOWN = "epoch "  # how the reason begins where it is the network's, not the machine's
# in which runs of a group may differ
SETTINGS = (
    "task",
    "delay",
    "items",
    "cell",
    "units",
    "gain",
    "weights",
    "k",
    "floss_lr",
    "floss_penalty",
    "seed",
)


class Tables:
    """The tables of one size.

    Parameters
    ----------
    size_name : str

    Attributes
    ----------
    folder : Path
        Where they are.
    """

    def __init__(self, size_name: str) -> None:
        self.size: Size = SIZES[size_name]
        self.groups = groups(self.size)
        self.runs_folder = HERE.parent / "out" / "paper" / size_name
        if size_name == "smoke":  # checks the path, from its beginning
            shutil.rmtree(self.runs_folder, ignore_errors=True)
            self.folder = self.runs_folder / "tables"
        else:
            self.folder = HERE / "results" / size_name
        self.folder.mkdir(parents=True, exist_ok=True)

    def work(self, names: Iterable[str], **how: Any) -> bool:
        """Work the runs of these groups that are not in their tables; whether nothing has stopped them.

        Further arguments are those of `lyapflow.sweep`.
        """
        for name in names:
            folder = SweepFolder(self.runs_folder / name)
            if missing := self._missing(name):
                # a sweep that has begun goes on as it was
                grid = None if folder.holds_a_sweep() else [_as_grid(recipe) for recipe in missing]
                result = lf.sweep(folder.path, grid, **how)
                self._take_in(name, folder)
                for run, reason in result.failed.items():
                    print(f"{name}, {run} failed: {reason}")
                if result.stopped:
                    return False
        return True

    def runs(self, group: str) -> pd.DataFrame:
        """One row a run: its settings, and what it has reached; an accuracy of 0 where it broke down."""
        runs = self._read(group, "runs")
        return runs.fillna({"accuracy": 0.0})

    def curves(self, group: str) -> pd.DataFrame:
        """Means of windows of training epochs, with the settings of each run."""
        return self._read(group, "curves").merge(self._settings(group), on="run")

    def measured(self, group: str) -> pd.DataFrame:
        """What was measured on held-out inputs, with the settings of each run."""
        return self._read(group, "measured").merge(self._settings(group), on="run")

    def computed(self, figure: str, name: str) -> pd.DataFrame:
        """A table of a figure that needs no training runs."""
        return self._read(figure, name)

    def compute(self, figure: str, how: Callable[[Size], dict[str, pd.DataFrame]]) -> None:
        """Compute such tables, unless they are there."""
        if not list(self.folder.glob(f"{figure}-*.csv")):
            for name, table in how(self.size).items():
                self._write(figure, name, table)

    def complete(self, names: Iterable[str]) -> bool:
        """Whether all runs of these groups are in their tables."""
        return all(not self._missing(name) for name in names)

    def write_verdicts(self, figure: str, claims: Sequence[tuple[str, str, str]]) -> None:
        """Put a figure's verdicts, claims and numbers into the table of all figures."""
        rows = [(figure, *claim) for claim in claims]
        new = pd.DataFrame(rows, columns=["figure", "verdict", "claim", "found"])
        path = self.folder / "verdicts.csv"
        old = pd.read_csv(path) if path.exists() else new[:0]
        pd.concat([old[old["figure"] != figure], new]).to_csv(path, index=False)

    def _missing(self, group: str) -> list[Recipe]:
        """The runs of a group that are not in its table."""
        path = self.folder / f"{group}-runs.csv"
        done = set(pd.read_csv(path)["run"]) if path.exists() else set()
        return [r for r in recipes(self.groups[group].grids) if name_of(r) not in done]

    def _take_in(self, group: str, folder: SweepFolder) -> None:
        """Put the runs that a sweep has finished into the tables of their group."""
        of = self.groups[group]
        wanted = {name_of(recipe) for recipe in self._missing(group)}
        rows, curves, measured = [], [], []
        for name, recipe in folder.runs().items():
            status, run = folder.status(name), name_of(recipe)
            if run not in wanted or status is None:
                continue
            settings = {"run": run, "condition": condition(self.size, recipe)}
            settings |= {setting: getattr(recipe, setting) for setting in SETTINGS}
            if status.kind == "failed" and status.reason.startswith(BROKE_DOWN):
                rows.append(settings | {"accuracy": np.nan, "failed": status.reason})
            if not status.ends(recipe):
                continue
            place = RunFolder(folder.path / name)
            history = place.history()
            rows.append(
                settings
                | reached(history)
                | exponents_of(place, recipe)
                | {"seconds": status.seconds}
            )
            if of.window is not None:
                curves.append(windows(history, of.window).assign(run=run))
            if of.measured:
                measured.append(measurements(history, recipe.units).assign(run=run))
        for kind, tables in (("curves", curves), ("measured", measured)):
            self._append(group, kind, tables)
        # last: it says that the others are complete
        self._append(group, "runs", [pd.DataFrame([row]) for row in rows])

    def _append(self, group: str, kind: str, tables: list[pd.DataFrame]) -> None:
        """Add rows of runs to a table; those that an interrupted call left of the same runs go."""
        if not tables:
            return
        new, path = pd.concat(tables), self.folder / f"{group}-{kind}.csv"
        if path.exists():
            there = pd.read_csv(path)
            new = pd.concat([there[~there["run"].isin(new["run"])], new])
        self._write(group, kind, new)

    def _read(self, *names: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / f"{'-'.join(names)}.csv")

    def _write(self, name: str, kind: str, table: pd.DataFrame) -> None:
        table.to_csv(self.folder / f"{name}-{kind}.csv", index=False, float_format=f"%.{DIGITS}g")

    def _settings(self, group: str) -> pd.DataFrame:
        """The columns of a group's runs that say what they are."""
        runs = self.runs(group)
        return runs[["run", "condition", *SETTINGS]]


def name_of(recipe: Recipe) -> str:
    """What a run is called in the tables: by all its settings."""
    return f"{recipe.digest()}-{recipe.epochs}"


def _as_grid(recipe: Recipe) -> dict[str, Any]:
    """A grid of one run."""
    settings = recipe.given()
    if recipe.floss_at is not None:
        settings["floss_at"] = text(recipe.floss_at)
    return settings


def reached(history: History) -> dict[str, float]:
    """What a run has reached: means of its last epochs."""
    last = history.training[-LAST:]
    accuracies = history.training["accuracy"]
    whole = len(accuracies) // LAST * LAST
    windows = accuracies[:whole].reshape(-1, LAST).mean(axis=1)
    solved = np.flatnonzero(windows >= SOLVED)
    return {
        "accuracy": last["accuracy"].mean(),
        "loss": last["loss"].mean(),
        "epochs_done": len(history.training),
        "epoch_solved": (solved[0] + 1) * LAST if solved.size else np.nan,
    }


def exponents_of(run: RunFolder, recipe: Recipe) -> dict[str, float]:
    """Some exponents before and after training, on an input of the task."""
    task = run.training().task
    return {
        f"exponent_{index}_{when}": float(values[index - 1])
        for when, model in (("start", run.start()), ("end", run.model()))
        for values in [exponents(model, task, recipe.seed)]
        for index in EXPONENTS
        if index <= len(values)
    }


def windows(history: History, length: int) -> pd.DataFrame:
    """Means of windows of epochs, each named by the number of epochs at its end."""
    columns = ("accuracy", "loss", "h0_gradient_norm")
    table = pd.DataFrame({name: history.training[name] for name in columns})
    table = table.rename(columns={"h0_gradient_norm": "norm"})
    by = table.groupby(table.index // length)
    means = by.mean().assign(largest_norm=by["norm"].max())
    whole = means[by.size() == length]
    whole.insert(0, "epoch", (whole.index + 1) * length)
    return whole


def measurements(history: History, units: int) -> pd.DataFrame:
    """What was measured, one row a measurement."""
    rows = []
    for record in history.measurement:
        singular = record.singular_values
        rows.append(
            {
                "epoch": record.epoch,
                "accuracy": record.accuracy,
                "loss": record.loss,
                "singular_first": singular[0],
                "singular_quarter": singular[units // 4 - 1],
                "singular_half": singular[units // 2 - 1],
                **{f"overlap_{i + 1}": value for i, value in enumerate(record.overlaps)},
            }
        )
    return pd.DataFrame(rows)
