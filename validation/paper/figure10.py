"""Figures 10 and 11: singular values of dL/dW over training, of two networks."""

import pandas as pd
from matplotlib.figure import Figure

from validation.paper.drawing import COLOURS, listed, over_epochs
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim

GROUPS = ("rank",)


def columns(size: Size) -> dict[str, int]:
    """The singular values that are looked at: the first, the quarter's, the half's (1, 20 and 40 of 80)."""
    return {
        "singular_first": 1,
        "singular_quarter": size.units // 4,
        "singular_half": size.units // 2,
    }


def lifts(measured: pd.DataFrame, size: Size) -> pd.DataFrame:
    """By what factor each episode but the first, which nothing precedes, lifts each singular value."""
    five = measured[measured["condition"] == "five"]
    rows = []
    for _, run in five.groupby("run"):
        at = run.set_index("epoch")
        for episode in size.episodes[1:]:
            before = at.index[at.index < episode].max()
            # measured as the network enters the epoch, so after the episode
            after = at.index[at.index >= episode].min()
            rows.append({name: at[name][after] / at[name][before] for name in columns(size)})
    return pd.DataFrame(rows)


def judge(tables: Tables, size: Size) -> list[Claim]:
    lift = lifts(tables.measured("rank"), size).median()
    first, quarter, half = lift
    names = [f"singular value {index}" for index in columns(size).values()]
    return [
        Claim(
            f"{names[1]} and {names[2]} peak at flossing, {names[0]} hardly: the effective rank grows",
            bool(min(quarter, half) >= 10 and first <= min(quarter, half) / 3),
            bool(min(quarter, half) > max(first, 1.0)),
            f"median factors of {', '.join(names)}: {listed(lift)}",
        )
    ]


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(11, 8), layout="constrained")
    measured, curves = tables.measured("rank"), tables.curves("rank")
    seeds = sorted(measured["seed"].unique())
    for (values, accuracy), seed in zip(figure.subplots(len(seeds), 2), seeds):
        for condition, run in measured[measured["seed"] == seed].groupby("condition"):
            for style, (name, index) in zip(("-", "--", ":"), columns(size).items()):
                label = f"{index}, {condition}"
                values.plot(run["epoch"], run[name], style, color=COLOURS[condition], label=label)
        values.set(yscale="log", xlabel="training epoch", ylabel="singular values of dL/dW")
        values.legend(fontsize=7)
        over_epochs(accuracy, curves[curves["seed"] == seed], "accuracy")
        accuracy.set(ylabel="accuracy", title=f"network {seed}")
    return figure
