"""One table of many runs: their settings and results."""

import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lyapflow import _checks
from lyapflow.errors import LyapflowError
from lyapflow.learning.history import History
from lyapflow.runs.folder import RunFolder
from lyapflow.runs.recipe import Recipe
from lyapflow.runs.sweep_folder import SweepFolder

if TYPE_CHECKING:
    import pandas

EXPONENTS = 3


def collect(
    folder: str | os.PathLike | Iterable[str | os.PathLike],
    *,
    level: float = 0.95,
    exponents: int = EXPONENTS,
    histories: bool = False,
) -> "pandas.DataFrame":
    """One table of the runs of sweeps, also of those that go on or have not begun.

    Parameters
    ----------
    folder : path, or several
        Of a sweep.
    level : float
        An accuracy, between 0 and 1.
    exponents : int
        How many of the last measurement to show.
    histories : bool
        Whether to give the histories instead, a row for each epoch.

    Returns
    -------
    pandas.DataFrame
        A row for each run: the settings that differ between runs; `run`, the name of its folder;
        `status` ("waiting", "running", "stopped", "done" or "failed"), `reason`, and `seconds` of
        work; `epochs_done`; `loss` and `accuracy`, means of the last `stop_window` epochs;
        `epoch_at_level`, the first number of epochs after which that mean accuracy was `level` or
        more; `λ1`, `λ2`, ... (nats per step) of the last measurement. What is not known is missing.

        With histories, a row for each epoch of each run: the settings that differ, `run`, `kind`
        ("training", "penalty", "flossing" or "measurement"), `epoch`, `flossing_epoch`, `loss`,
        `accuracy`, `h0_gradient_norm`, `λ1`, `λ2`, ...

    Raises
    ------
    LyapflowError
        If a folder is not that of a sweep, a run in it is damaged, or pandas is not installed.

    Examples
    --------
    ::

        table = lf.collect("runs")
        table.groupby(["delay", "floss"]).accuracy.median()

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import lyapflow as lf
    >>> grid = {"task": "copy", "delay": [2, 3], "units": 4, "epochs": 2, "steps": 10, "floss": "none"}
    >>> swept = lf.sweep("runs/delays", grid, executor=ThreadPoolExecutor(1))
    >>> lf.collect("runs/delays")["delay"].tolist()
    [2, 3]
    """
    pandas = _pandas()
    _checks.number("level", level, 0.0, 1.0)
    _checks.integer("exponents", exponents, 0)
    folders = [folder] if isinstance(folder, (str, os.PathLike)) else list(folder)
    every = [
        (SweepFolder(path), name, recipe)
        for path in folders
        for name, recipe in SweepFolder(path).runs().items()
    ]
    names = [field.name for field in fields(Recipe)]
    differ = [name for name in names if len({getattr(run, name) for _, _, run in every}) > 1]
    several = len(folders) > 1
    rows: list[dict[str, Any]] = []
    for place, name, recipe in every:
        row: dict[str, Any] = {"sweep": place.path.name} if several else {}
        row |= {setting: _plain(getattr(recipe, setting)) for setting in differ}
        row["run"] = name
        history = _history(place.path / name)
        if histories:
            rows += [row | record for record in _records(history, exponents)]
        else:
            rows.append(
                row | _status(place, name, recipe) | _outcome(history, recipe, level, exponents)
            )
    return pandas.DataFrame(rows)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise LyapflowError(
            "a table of runs needs pandas, which is not installed; install lyapflow[sweep]"
        ) from None
    return pandas


def _plain(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def _history(run: Path) -> History:
    """What a run has recorded, nothing if it has not begun."""
    return RunFolder(run).state()[1]


def _status(place: SweepFolder, name: str, recipe: Recipe) -> dict[str, Any]:
    status = place.status(name)
    if status is None:
        return {"status": "waiting", "reason": "", "seconds": np.nan}
    extended = status.kind == "done" and not status.ends(recipe)
    kind = "stopped" if extended else status.kind
    return {"status": kind, "reason": status.reason, "seconds": status.seconds}


def _outcome(history: History, recipe: Recipe, level: float, exponents: int) -> dict[str, Any]:
    """End points of a run."""
    log, window = history.training, recipe.stop_window
    reached = np.flatnonzero(_running_mean(log["accuracy"], window) >= level)
    found = {
        "epochs_done": len(log),
        "loss": log["loss"][-window:].mean() if log else np.nan,
        "accuracy": log["accuracy"][-window:].mean() if log else np.nan,
        "epoch_at_level": reached[0] + window if reached.size else np.nan,
    }
    return found | _exponents(history.measurement[-1:], exponents)


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Of each window of so many values, the first that is whole to the last."""
    if len(values) < window:
        return np.empty(0)
    return np.lib.stride_tricks.sliding_window_view(values, window).mean(axis=1)


def _exponents(last: Any, count: int) -> dict[str, float]:
    values = last[0].exponents[:count] if last else ()
    return {f"λ{i}": float(value) for i, value in enumerate(values, 1)}


def _records(history: History, exponents: int) -> list[dict[str, Any]]:
    """Every record of a run, by its training epoch."""
    rows: list[dict[str, Any]] = []
    for record in (record for log in vars(history).values() for record in log):
        row = {"kind": record.kind, "epoch": record.epoch, "loss": float(record.loss)}
        for name in ("accuracy", "h0_gradient_norm"):
            row[name] = float(getattr(record, name, np.nan))
        if record.kind == "flossing":
            row |= {"epoch": record.training_epoch, "flossing_epoch": record.epoch}
        if record.kind in ("flossing", "measurement"):
            row |= _exponents([record], exponents)
        rows.append(row)
    return sorted(rows, key=lambda row: (row["epoch"], row["kind"], row.get("flossing_epoch", 0)))


def write_table(table: "pandas.DataFrame", path: Path) -> None:
    """Write a table as CSV or Parquet, by the ending of the file's name.

    Raises LyapflowError if it is another, or the file cannot be written.
    """
    try:
        if path.suffix == ".parquet":
            table.to_parquet(path, index=False)
        else:
            table.to_csv(path, index=False)
    except ImportError:
        raise LyapflowError(
            "Parquet needs pyarrow, which is not installed; install lyapflow[sweep], or write a .csv"
        ) from None
    except OSError as error:
        raise LyapflowError(f"cannot write the table {path}: {error.strerror or error}") from None


def check_table(path: Path) -> None:
    """Refuse the name of a table whose kind nobody knows."""
    if path.suffix not in (".csv", ".parquet"):
        raise LyapflowError(f"a table must be a .csv or a .parquet, got {path}")
