"""Figure 12: flossing throughout training, against five early episodes and none."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from validation.paper.drawing import listed, over_epochs
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import CHANCE, Claim

GROUPS = ("throughout",)
LEARNT = 0.8  # accuracy before an episode, from which one can fall


def falls(curves: pd.DataFrame, size: Size) -> pd.DataFrame:
    """Accuracy before and after each late episode that comes upon a network which has learnt."""
    rows = []
    window = int(curves["epoch"].min())
    every = size.episodes[1]
    for run, curve in curves[curves["condition"] == "throughout"].groupby("run"):
        at = curve.set_index("epoch")["accuracy"]
        for episode in range(size.episodes[-1] + every, size.throughout, every):
            before, after = at.get(episode, np.nan), at.get(episode + window, np.nan)
            if before >= LEARNT:
                rows.append({"run": run, "before": before, "after": after})
    return pd.DataFrame(rows, columns=["run", "before", "after"])


def judge(tables: Tables, size: Size) -> list[Claim]:
    curves, runs = tables.curves("throughout"), tables.runs("throughout")
    found = falls(curves, size)
    ends = runs.groupby("condition")["accuracy"]
    throughout = curves[curves["condition"] == "throughout"]
    best = throughout.groupby("run")["accuracy"].max()
    return [
        Claim(
            "accuracy falls to about 50 % after each late episode",
            bool(len(found) and (found["after"] < CHANCE).mean() >= 0.8),
            bool(len(found) and (found["before"] - found["after"]).mean() >= 0.1),
            f"{len(found)} episodes upon networks above {LEARNT:.0%}; median accuracy {found['before'].median():.3f} "
            f"before, {found['after'].median():.3f} in the epochs after",
        ),
        Claim(
            "flossing throughout is detrimental: five early episodes end better",
            bool(ends.median()["five"] > ends.median()["throughout"] + 0.05),
            bool(ends.median()["five"] > ends.median()["throughout"]),
            f"last 100 epochs: {listed(runs[runs['condition'] == 'five']['accuracy'])} with five, "
            f"{listed(runs[runs['condition'] == 'throughout']['accuracy'])} throughout; best windows {listed(best)}",
        ),
    ]


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    curves = tables.curves("throughout")
    one = curves[curves["seed"] == curves["seed"].min()]
    for axes, column, label in zip(
        figure.subplots(1, 3),
        ("accuracy", "loss", "norm"),
        ("accuracy", "loss", "‖dL/dh₀‖"),
    ):
        over_epochs(axes, one, column)
        axes.set(ylabel=label, yscale="linear" if column == "accuracy" else "log")
    figure.suptitle(f"binary XOR, d = {size.hard}, one network")
    return figure
