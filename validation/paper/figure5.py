"""Figures 5 and 7: accuracy against delay and number of flossed exponents, five episodes and preflossing alone."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from validation.paper.drawing import listed
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import CHANCE, SOLVED, Claim

GROUPS = ("number", "number-before")


def _medians(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each delay (row) and number of exponents (column)."""
    return runs.pivot_table(index="delay", columns="k", values="accuracy", aggfunc="median")


def _needed(medians: pd.DataFrame) -> np.ndarray:
    """The fewest exponents that solve each delay; infinitely many where none do."""
    solved = medians >= SOLVED
    return np.where(solved.any(axis=1), solved.idxmax(axis=1), np.inf)


def judge(tables: Tables, size: Size) -> list[Claim]:
    five, before = (_medians(tables.runs(group)) for group in GROUPS)
    needed, needed_before = _needed(five), _needed(before)
    bridged = needed_before[:-1]  # without the longest delay, which preflossing is not to bridge
    delays = ", ".join(map(str, five.index))
    runs = tables.runs("number-before")
    most = runs[(runs["k"] == max(size.ks)) & (runs["delay"] == size.hard)]["accuracy"]
    solved = five.loc[size.hard].max()
    return [
        Claim(
            "longer delays need more exponents",
            bool((np.diff(needed) >= 0).all() and needed[-1] > needed[0]),
            bool(needed[-1] > needed[0]),
            f"fewest exponents with a median accuracy of {SOLVED:g} at d = {delays}: {listed(needed)}",
        ),
        Claim(
            f"preflossing cannot replace flossing during training, even of k = {max(size.ks)}",
            bool((most < CHANCE).all() and solved >= SOLVED),
            bool(most.median() < solved - 0.1),
            f"d = {size.hard}: {listed(most)} preflossed; best median with five episodes {solved:.3f}",
        ),
        Claim(
            "preflossing shows the same trend: longer delays need more exponents",
            bool((np.diff(bridged) >= 0).all() and bridged[-1] > bridged[0]),
            bool(needed_before[-1] > needed_before[0]),
            f"fewest at d = {delays}: {listed(needed_before)}",
        ),
    ]  # fmt: skip


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(14, 8), layout="constrained")
    rows = figure.subplots(2, 3)
    for (by_delay, by_k, plane), group, name in zip(rows, GROUPS, ("five episodes", "preflossing")):
        runs = tables.runs(group)
        for axes, along, lines in ((by_delay, "delay", "k"), (by_k, "k", "delay")):
            values = sorted(runs[lines].unique())
            for shade, value in zip(np.linspace(0.25, 1, len(values)), values):
                at = runs[runs[lines] == value]
                colour = (0.0, 0.45 * shade, 0.7 * shade)
                axes.plot(at[along], at["accuracy"], ".", color=colour, alpha=0.4)
                axes.plot(
                    at.groupby(along)["accuracy"].mean(), color=colour, label=f"{lines} = {value}"
                )
            axes.set(xlabel=along, ylabel="final accuracy", title=name)
            axes.legend(fontsize=7)
        medians = _medians(runs)
        mesh = plane.imshow(medians, vmin=0.5, vmax=1.0, origin="lower", aspect="auto")
        plane.set(xlabel="k", ylabel="delay", title=f"median accuracy, {name}")
        plane.set_xticks(range(len(medians.columns)), medians.columns)
        plane.set_yticks(range(len(medians)), medians.index)
        figure.colorbar(mesh, ax=plane)
    return figure
