"""Appendix D: overlap of dL/dh0 with the first covariant Lyapunov vectors over training."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from validation.paper.drawing import listed
from validation.paper.figure8 import rises
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim

GROUPS = ("gradient",)
AROUND = 500  # epochs before and after the accuracy leaves chance


def changes(tables: Tables, size: Size) -> pd.DataFrame:
    """Median overlap with the first vector before and after each network leaves chance."""
    measured = tables.measured("gradient")
    rows = []
    for row in rises(tables, size).itertuples():
        run = measured[measured["run"] == row.run]
        since = run["epoch"] - row.accuracy
        early, late = (
            run["overlap_1"][since.between(*ends)].median() for ends in ((-AROUND, 0), (1, AROUND))
        )
        rows.append({"run": row.run, "at": row.accuracy, "before": early, "after": late})
    return pd.DataFrame(rows, columns=["run", "at", "before", "after"])


def judge(tables: Tables, size: Size) -> list[Claim]:
    found = changes(tables, size)
    factor = found["after"] / found["before"]
    return [
        Claim(
            "the overlap with the first covariant vector rises around the epoch where accuracy leaves chance",
            bool(len(factor) and (factor >= 2).mean() >= 0.8),
            bool(len(factor) and (factor > 1).mean() > 0.5),
            f"{len(factor)} networks that learn; medians {found['before'].median():.3f} in the {AROUND} epochs before, "
            f"{found['after'].median():.3f} after; factors {listed(factor, 2)}",
        )
    ]


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    over, aligned = figure.subplots(1, 2)
    measured = tables.measured("gradient")
    for _, run in measured[measured["condition"] == "five"].groupby("run"):
        over.plot(run["epoch"], run["overlap_1"], linewidth=0.7)
    for row in changes(tables, size).itertuples():
        run = measured[measured["run"] == row.run]
        aligned.plot(run["epoch"] - row.at, run["overlap_1"], linewidth=0.7)
    over.set(xlabel="training epoch", ylabel="|cos| of dL/dh₀ and the first covariant vector")
    aligned.set(xlabel="epochs from the last accuracy at chance", xlim=(-3 * AROUND, 3 * AROUND))
    # what two unrelated directions have
    for axes in (over, aligned):
        axes.axhline(np.sqrt(2 / np.pi / size.units), color="grey", linestyle=":")
    return figure
