"""Appendix E: a linear network, flossed, on a task that it can solve and on one that it cannot."""

from matplotlib.figure import Figure

from validation.paper.drawing import COLOURS, NAMES, listed
from validation.paper.figure3 import LEARNT, VARIANCE
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import CHANCE, Claim

GROUPS = ("linear",)


def judge(tables: Tables, size: Size) -> list[Claim]:
    runs = tables.runs("linear")
    copy, xor = runs[runs["task"] == "copy"], runs[runs["task"] == "binary-xor"]
    share = copy.assign(share=copy["loss"] / VARIANCE["copy"]).groupby("condition")["share"]
    middle = share.median()
    return [
        Claim(
            f"flossing helps a linear network to copy over {size.copy_delays[-2]} steps",
            bool(middle["before"] <= LEARNT and middle["before"] <= middle["none"] / 2),
            bool(middle["before"] < middle["none"]),
            f"median loss over variance {middle['before']:.3g} flossed, {middle['none']:.3g} not",
        ),
        Claim(
            "it does not help it to a XOR",
            bool((xor["accuracy"] < CHANCE).all()),
            bool(xor["accuracy"].median() < CHANCE),
            f"accuracies {listed(xor['accuracy'])}",
        ),
    ]


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    runs = tables.runs("linear")
    scores = (("copy", "loss"), ("binary-xor", "accuracy"))
    for axes, (task, score) in zip(figure.subplots(1, 2), scores):
        of = runs[runs["task"] == task]
        for place, (condition, column) in enumerate(of.groupby("condition", sort=False)[score]):
            axes.plot([place] * len(column), column, "o", color=COLOURS[condition])
        names = [NAMES[condition] for condition in of["condition"].unique()]
        axes.set_xticks(range(len(names)), names)
        axes.set(ylabel=f"final {score}", title=f"{task}, linear network", xlim=(-0.5, 1.5))
    return figure
