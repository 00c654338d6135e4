"""Section 7.1 asks: delay and number of stored items varied independently, by copying items."""

import pandas as pd
from matplotlib.figure import Figure

from validation.paper.drawing import listed
from validation.paper.figure3 import LEARNT
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim

GROUPS = ("items",)


def shares(tables: Tables) -> pd.DataFrame:
    """The runs with their loss over that of a network that knows when items come and keeps none."""
    runs = tables.runs("items")
    return runs.assign(share=runs["loss"] * 12 * runs["delay"] / runs["items"])


def judge(tables: Tables, size: Size) -> list[Claim]:
    middle = shares(tables).pivot_table(
        index=["delay", "items"], columns="condition", values="share", aggfunc="median"
    )
    one = middle.xs(1, level="items")
    most = middle.groupby("delay").tail(1)
    helped = middle["before"] < 0.75 * middle["none"]
    return [
        Claim(
            "the delay itself, not the number of items, makes the task hard without flossing",
            bool((one["none"].iloc[1:] > 2 * LEARNT).all()),
            bool(one["none"].iloc[-1] > one["none"].iloc[0]),
            f"one item, d = {', '.join(map(str, one.index))}: median share of the loss {listed(one['none'])}",
        ),
        Claim(
            "flossing helps at every delay and number of items that is not learnt without",
            bool(helped[middle["none"] > LEARNT].all()),
            bool(helped[middle["none"] > LEARNT].mean() > 0.5),
            "; ".join(
                f"d = {d}, {n} items: {row.none:.2f} -> {row.before:.2f}"
                for (d, n), row in middle.iterrows()
            ),
        ),
        Claim(
            "at a given delay more items are harder for a flossed network",
            bool((most["before"].to_numpy() > one["before"].to_numpy()).all()),
            bool((most["before"].to_numpy() > one["before"].to_numpy()).mean() > 0.5),
            f"one item {listed(one['before'])}, as many as were tried {listed(most['before'])}",
        ),
    ]


def draw(tables: Tables, size: Size) -> Figure:
    delays = [delay for delay, _ in size.items]
    figure = Figure(figsize=(4 * len(delays), 4), layout="constrained")
    runs = shares(tables)
    for axes, delay in zip(figure.subplots(1, len(delays), squeeze=False)[0], delays):
        for condition, colour in (("none", "#0072B2"), ("before", "#E69F00")):
            of = runs[(runs["delay"] == delay) & (runs["condition"] == condition)]
            axes.plot(of["items"], of["share"], ".", color=colour)
            axes.plot(of.groupby("items")["share"].median(), color=colour, label=condition)
        axes.set(xscale="log", xlabel="items kept", title=f"copy of items, d = {delay}")
        axes.set(yscale="log", ylabel="loss over that without memory")
        axes.legend(fontsize=8)
    return figure
