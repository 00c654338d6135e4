"""Figures 8 and 9: the norm of dL/dh0 over training, and how long its rise precedes that of the accuracy."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from validation.paper.drawing import listed, over_epochs
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import CHANCE, SOLVED, Claim

GROUPS = ("gradient",)
RISEN = 1e-3  # norm that the paper aligns Fig. 9 to
SMALL, SPIKE = 1e-6, 1e-2


def _last(curve: pd.DataFrame, low: pd.Series) -> float:
    """The end of the last window in which a curve is low."""
    return float(curve["epoch"][low].max()) if low.any() else 0.0


def rises(tables: Tables, size: Size) -> pd.DataFrame:
    """Of each flossed network that learns: the last epoch of a small norm, and of an accuracy at chance."""
    curves = tables.curves("gradient")
    rows = []
    for run, curve in curves[curves["condition"] == "five"].groupby("run"):
        after = curve[curve["epoch"] > size.episodes[-1] + size.episodes[1]]
        if len(after) and after["accuracy"].iloc[-1] >= SOLVED:
            norm = _last(after, after["norm"] < RISEN)
            accuracy = _last(after, after["accuracy"] < CHANCE)
            rows.append({"run": run, "norm": norm, "accuracy": accuracy})
    return pd.DataFrame(rows, columns=["run", "norm", "accuracy"])


def judge(tables: Tables, size: Size) -> list[Claim]:
    curves = tables.curves("gradient")
    none, five = (curves[curves["condition"] == name] for name in ("none", "five"))
    largest, middle = (none.groupby("run")["norm"].agg(how) for how in ("max", "median"))
    window = int(curves["epoch"].min())
    starts = [episode + window for episode in size.episodes]
    spikes = five[five["epoch"].isin(starts)]["largest_norm"] > SPIKE
    found = rises(tables, size)
    lead = found["accuracy"] - found["norm"]
    return [
        Claim(
            f"without flossing the norm stays below {SMALL:g}",
            bool(largest.median() < SMALL),
            bool((middle < SMALL).all()),
            f"medians over the epochs {listed(middle, 2)}, largest {listed(largest, 2)}",
        ),
        Claim(
            f"each episode lifts it above {SPIKE:g}",
            bool(spikes.mean() >= 0.8),
            bool(spikes.groupby(five["run"]).any().all()),
            f"after {spikes.mean():.0%} of {len(spikes)} episodes",
        ),
        Claim(
            f"its rise above {RISEN:g} precedes that of the accuracy by hundreds of epochs",
            bool(len(lead) and lead.median() >= 100 and (lead > 0).mean() >= 0.8),
            bool(len(lead) and (lead > 0).mean() > 0.5),
            f"of {len(lead)} networks that learn, epochs ahead: {listed(lead, 4)}",
        ),
    ]


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(11, 8), layout="constrained")
    (norm, accuracy), (by_accuracy, by_norm) = figure.subplots(2, 2)
    curves = tables.curves("gradient")
    over_epochs(norm, curves, "norm")
    norm.set(yscale="log", ylabel="‖dL/dh₀‖", title="Fig. 8")
    over_epochs(accuracy, curves, "accuracy")
    accuracy.set(ylabel="accuracy")
    found = rises(tables, size)
    for row in found.itertuples():
        curve = curves[curves["run"] == row.run]
        by_accuracy.plot(curve["epoch"] - row.accuracy, curve["norm"], linewidth=0.7)
        by_norm.plot(curve["epoch"] - row.norm, curve["accuracy"], linewidth=0.7)
    wide = (-1500, 1500) if len(found) and np.ptp(curves["epoch"]) > 3000 else (None, None)
    by_accuracy.set(
        xlim=wide, yscale="log", ylabel="‖dL/dh₀‖", title="Fig. 9",
        xlabel=f"epochs from the last accuracy below {CHANCE:g}",
    )  # fmt: skip
    by_norm.set(xlim=wide, ylabel="accuracy", xlabel=f"epochs from the last norm below {RISEN:g}")
    return figure
