"""Section 7: regularising the spectral radius of W, or single one-step Jacobians, in place of exponents."""

import pandas as pd
from matplotlib.figure import Figure

from validation.paper.drawing import NAMES, listed
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import CHANCE, SOLVED, Claim

GROUPS = ("controls", "binary")


def judge(tables: Tables, size: Size) -> list[Claim]:
    runs = tables.runs("controls")
    binary = tables.runs("binary")
    flossed = binary[(binary["condition"] == "before") & (binary["delay"] == size.middle)]
    reference = flossed["accuracy"].median()
    claims = []
    for penalty, of in runs.groupby("floss_penalty"):
        scores = {name: rows["accuracy"] for name, rows in of.groupby("condition")}
        middles = pd.Series({name: column.median() for name, column in scores.items()})
        found = "; ".join(f"{NAMES[name]} {listed(column)}" for name, column in scores.items())
        claims.append(
            Claim(
                f"{penalty} in place of exponents gives no training improvement (d = {size.middle})",
                bool(reference >= SOLVED and (middles < CHANCE).all()),
                bool((middles < reference - 0.1).all()),
                f"{found}; exponents, preflossing: {listed(flossed['accuracy'])}",
            )
        )
    return claims


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    binary = tables.runs("binary")
    at = binary[binary["delay"] == size.middle]
    columns = {NAMES[name]: rows["accuracy"] for name, rows in at.groupby("condition", sort=False)}
    for (penalty, name), rows in tables.runs("controls").groupby(["floss_penalty", "condition"]):
        columns[f"{penalty},\n{NAMES[name]}"] = rows["accuracy"]
    for place, column in enumerate(columns.values()):
        axes.plot([place] * len(column), column, "o", color="#0072B2", alpha=0.6)
    axes.set_xticks(range(len(columns)), list(columns), fontsize=7)
    axes.set(ylabel="final accuracy", title=f"binary XOR, d = {size.middle}")
    return figure
