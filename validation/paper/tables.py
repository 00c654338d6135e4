"""Tables of the runs: one row a run, and curves where a figure asks for them, in small CSV files.

A run whose row stands in its group's table is not done again, so that the tables are all that has
to be kept of a night; what has begun goes on from its run folder."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lyapflow.learning.history import History
from validation.paper.grids import groups
from validation.paper.sizes import SIZES, Size
from validation.paper.verdicts import SOLVED

HERE = Path(__file__).parent
LAST = 100  # epochs whose mean is what a run has reached
DIGITS = 5  # significant, in the files
EXPONENTS = (1, 10, 75)  # that are kept
REACHED = ("accuracy", "loss", "epochs_done", "epoch_solved", "seconds")


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

    def runs(self, group: str) -> pd.DataFrame:
        """One row a run: its settings, and what it has reached."""
        return self._read(group, "runs")

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

    def _read(self, *names: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / f"{'-'.join(names)}.csv")

    def _write(self, name: str, kind: str, table: pd.DataFrame) -> None:
        table.to_csv(self.folder / f"{name}-{kind}.csv", index=False, float_format=f"%.{DIGITS}g")

    def _settings(self, group: str) -> pd.DataFrame:
        """The columns of a group's runs that say what they are."""
        runs = self.runs(group)
        return runs[[name for name in runs if name not in REACHED]]


def reached(history: History) -> dict[str, float]:
    """What a run has reached: means of its last epochs, and what was measured at start and end."""
    last = history.training[-LAST:]
    accuracies = history.training["accuracy"]
    whole = len(accuracies) // LAST * LAST
    windows = accuracies[:whole].reshape(-1, LAST).mean(axis=1)
    solved = np.flatnonzero(windows >= SOLVED)
    found = {
        "accuracy": last["accuracy"].mean(),
        "loss": last["loss"].mean(),
        "epochs_done": len(history.training),
        "epoch_solved": (solved[0] + 1) * LAST if solved.size else np.nan,
    }
    for when, measurement in (("start", history.measurement[0]), ("end", history.measurement[-1])):
        for index in EXPONENTS:
            if index <= len(measurement.exponents):
                found[f"exponent_{index}_{when}"] = measurement.exponents[index - 1]
    return found


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
