"""``lyapflow compare``: one table of the runs of sweeps."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.measure import Measurement
from rich.text import Text

from lyapflow.cli import options
from lyapflow.cli.show import check_writable, console, table_of_numbers
from lyapflow.runs.collect import EXPONENTS, check_table, collect, write_table
from lyapflow.runs.recipe import Recipe


def compare(
    folders: options.SweepFolders,
    out: options.TableFile = None,
    histories: options.HistoriesFile = None,
    level: options.Level = 0.95,
    exponents: options.ShownExponents = EXPONENTS,
) -> None:
    """One table of the runs of sweeps: the settings that differ, and the results of each.

    Exponents λ are those of the last measurement, in nats per step."""
    for path in filter(None, (out, histories)):
        check_table(path)
        check_writable(path, "table")
    table = collect(folders, level=level, exponents=exponents)
    _print(table, level)
    if out is not None:
        write_table(table, out)
    if histories is not None:
        write_table(collect(folders, exponents=exponents, histories=True), histories)
    for path in filter(None, (out, histories)):
        console.print(f"table: {path}", soft_wrap=True)


def _print(table: Any, level: float) -> None:
    # the names of the runs are made of the settings, which have columns
    shown = table.drop(columns=["run", "reason"])
    shown["seconds"] = shown["seconds"].round()
    reached = f"at {100 * level:g} %"
    shown = shown.rename(columns={"epoch_at_level": reached, "epochs_done": "done"})
    rows = table_of_numbers(*map(str, shown.columns))
    for row in shown.itertuples(index=False):
        rows.add_row(*(Text(_text(value)) for value in row))
    # numbers are never cut: a line may be longer than the terminal
    widest = Console(width=10_000)
    width = Measurement.get(widest, widest.options, rows).maximum
    Console(width=max(width, 1), highlight=False, markup=False).print(rows)
    for name, reason in table.loc[table["status"] == "failed", ["run", "reason"]].itertuples(
        index=False
    ):
        console.print(f"{name} failed: {reason}", soft_wrap=True)
    console.print(
        "done: epochs; loss and accuracy: means of the last epochs (stop_window of them, by default "
        f"{Recipe.stop_window}); {reached}: first epoch; λ in nats per step",
        soft_wrap=True,
    )


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return f"{value:.15g}"  # a count, in a column in which others are missing
    return f"{value:.4g}" if isinstance(value, float) else str(value)
