"""Not in the paper: networks that are smaller or larger than critical at the start, flossed and not."""

from matplotlib.figure import Figure

from validation.paper.drawing import listed
from validation.paper.larger import beside_the_usual
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import CHANCE, SOLVED, Claim

GROUPS = ("gain", "binary")


def judge(tables: Tables, size: Size) -> list[Claim]:
    runs = beside_the_usual(tables, size, "gain")
    scores = {
        condition: runs[runs["condition"] == condition].groupby("gain")["accuracy"]
        for condition in ("none", "before")
    }
    plain, flossed = scores["none"], scores["before"]
    return [
        Claim(
            f"no gain at the start replaces flossing: all stay at chance without (d = {size.middle})",
            bool((plain.max() < CHANCE).all()),
            bool((plain.median() < CHANCE).all()),
            "; ".join(f"g = {gain:g}: {listed(of)}" for gain, of in plain),
        ),
        Claim(
            f"preflossing bridges d = {size.middle} from every gain",
            bool((flossed.min() >= SOLVED).all()),
            bool((flossed.median() >= SOLVED).mean() > 0.5),
            "; ".join(f"g = {gain:g}: {listed(of)}" for gain, of in flossed),
        ),
    ]


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    runs = beside_the_usual(tables, size, "gain")
    for condition, colour in (("none", "#0072B2"), ("before", "#E69F00")):
        of = runs[runs["condition"] == condition]
        axes.plot(of["gain"], of["accuracy"], ".", color=colour)
        axes.plot(of.groupby("gain")["accuracy"].median(), color=colour, label=condition)
    axes.set(xlabel="gain g at the start", ylabel="final accuracy")
    axes.set_title(f"binary XOR, d = {size.middle}")
    axes.legend()
    return figure
