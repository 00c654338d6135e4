"""Not in the paper: preflossing at other rates than 1e-3, above all at ten times it."""

import pandas as pd
from matplotlib.figure import Figure

from validation.paper.drawing import listed
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import SOLVED, Claim

GROUPS = ("rate", "binary")


def judge(tables: Tables, size: Size) -> list[Claim]:
    rates = tables.runs("rate")
    fast = rates[rates["floss_lr"] == 0.01]
    binary = tables.runs("binary")
    slow = binary[binary["condition"] == "before"]
    claims = []
    for delay in (size.middle, size.hard):
        of_fast, of_slow = (runs[runs["delay"] == delay]["accuracy"] for runs in (fast, slow))
        claims.append(
            Claim(
                f"at a flossing rate of 1e-2 preflossing alone bridges d = {delay}",
                bool((of_fast >= SOLVED).all()),
                bool(of_fast.median() >= SOLVED),
                f"{listed(of_fast)}; at 1e-3 {listed(of_slow)}",
            )
        )
    return claims


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    binary = tables.runs("binary")
    runs = pd.concat([binary[binary["condition"] == "before"], tables.runs("rate")])
    for rate, of in runs.groupby("floss_lr"):
        (line,) = axes.plot(of.groupby("delay")["accuracy"].median(), label=f"rate {rate:g}")
        axes.plot(of["delay"], of["accuracy"], ".", color=line.get_color())
    axes.set(xlabel="delay d", ylabel="final accuracy", title="preflossing, binary XOR")
    axes.legend()
    return figure
