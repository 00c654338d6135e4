"""Appendix F asks: processor time of flossing against that of a larger network, at equal accuracy."""

import pandas as pd
from matplotlib.figure import Figure

from validation.paper.drawing import listed
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import SOLVED, Claim

GROUPS = ("larger", "binary")


def beside_the_usual(tables: Tables, size: Size, group: str) -> pd.DataFrame:
    """A group's networks and the usual ones at the middle delay, flossed before training or not at all."""
    binary = tables.runs("binary")
    usual = binary[(binary["delay"] == size.middle) & (binary["condition"] != "twice")]
    return pd.concat([usual, tables.runs(group)], ignore_index=True)


def judge(tables: Tables, size: Size) -> list[Claim]:
    runs = beside_the_usual(tables, size, "larger")
    flossed = runs[runs["condition"] == "before"]
    larger = runs[(runs["condition"] == "none") & (runs["units"] > size.units)]
    at = larger.groupby("units")
    solved = at["accuracy"].median() >= SOLVED
    # of those that reach the accuracy, the cheapest
    cheapest = at["seconds"].median()[solved].min() if solved.any() else float("inf")
    cost = flossed["seconds"].median()
    sizes = "; ".join(
        f"N = {units}: accuracy {listed(of['accuracy'])}, {of['seconds'].median():.0f} s"
        for units, of in at
    )
    return [
        Claim(
            f"flossing costs less processor time than a larger network of equal accuracy (d = {size.middle})",
            bool(flossed["accuracy"].median() >= SOLVED and cost < cheapest),
            bool(flossed["accuracy"].median() >= SOLVED and cost < 2 * cheapest),
            f"N = {size.units}, flossed: accuracy {listed(flossed['accuracy'])}, {cost:.0f} s; {sizes}",
        )
    ]


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    for (units, condition), of in beside_the_usual(tables, size, "larger").groupby(
        ["units", "condition"]
    ):
        name = "flossed" if condition == "before" else "not flossed"
        axes.plot(of["seconds"], of["accuracy"], "o", alpha=0.7, label=f"N = {units}, {name}")
    axes.set(xscale="log", xlabel="processor seconds of a run", ylabel="final accuracy")
    axes.set_title(f"binary XOR, d = {size.middle}")
    axes.legend(fontsize=8)
    return figure
