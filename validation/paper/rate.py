"""Not in the paper: preflossing at ten times the rate, 1e-2."""

from matplotlib.figure import Figure

from validation.paper.drawing import listed
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import SOLVED, Claim

GROUPS = ("rate", "binary")


def judge(tables: Tables, size: Size) -> list[Claim]:
    fast = tables.runs("rate")
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
    rows = ((binary[binary["condition"] == "before"], "1e-3"), (tables.runs("rate"), "1e-2"))
    for (runs, name), colour in zip(rows, ("#E69F00", "#CC79A7")):
        axes.plot(runs["delay"], runs["accuracy"], ".", color=colour)
        axes.plot(runs.groupby("delay")["accuracy"].median(), color=colour, label=f"rate {name}")
    axes.set(xlabel="delay d", ylabel="final accuracy", title="preflossing, binary XOR")
    axes.legend()
    return figure
