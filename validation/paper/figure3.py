"""Figure 3: preflossing on delayed copy and temporal XOR: loss over epochs (A, B) and over delays (C, D)."""

from matplotlib.figure import Figure

from validation.paper.drawing import listed, over_delays, over_epochs, per_delay
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim

GROUPS = ("copy", "temporal")
# of the targets: what a network reaches that answers with their mean
VARIANCE = {"copy": 1 / 12, "temporal": 1 / 18}
LEARNT, NOT_LEARNT = 0.25, 0.9  # of this variance


def judge(tables: Tables, size: Size) -> list[Claim]:
    claims = []
    reach = size.copy_delays[-2]  # 40
    easy = [d for d in size.copy_delays if d <= reach // 2]
    for group, name in (("copy", "delayed copy"), ("temporal", "temporal XOR")):
        runs = tables.runs(group)
        runs["share"] = runs["loss"] / VARIANCE[group]
        at = runs[runs["delay"] == reach].groupby("condition")["share"]
        middle = at.median()
        claims.append(
            Claim(
                f"{name}, d = {reach}: flossed networks learn, others do not",
                middle["before"] <= LEARNT and middle["none"] >= NOT_LEARNT,
                middle["before"] <= 0.75 * middle["none"],
                f"median loss over variance {middle['before']:.3f} flossed, {middle['none']:.3f} not",
            )
        )
        medians = per_delay(runs, "share")
        solved = {c: medians.index[medians[c] <= LEARNT].max() for c in ("none", "before")}
        if group == "copy":
            later = medians["none"][medians.index > reach // 2]
            worst = at.max()["before"]
            claims.append(
                Claim(
                    f"copy: without flossing d <= {reach // 2} is learnt and larger d is not; with it d = {reach} "
                    f"is, reliably",
                    bool(
                        (medians["none"][easy] <= LEARNT).all()
                        and (later >= NOT_LEARNT).all()
                        and worst <= LEARNT
                    ),
                    bool((later > 2 * medians["before"][later.index]).all()),
                    f"medians by d: {listed(medians['none'])} without, {listed(medians['before'])} with; "
                    f"worst flossed network at {reach}: {worst:.3f}",
                )
            )
        else:
            claims.append(
                Claim(
                    "temporal XOR: flossing extends the delays that are learnt",
                    solved["before"] >= 2 * solved["none"],
                    solved["before"] > solved["none"],
                    f"largest d learnt {solved['before']} with, {solved['none']} without; medians by d: "
                    f"{listed(medians['none'])} without, {listed(medians['before'])} with",
                )
            )
    return claims


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(10, 8), layout="constrained")
    reach = size.copy_delays[-2]
    columns = figure.subplots(2, 2).T
    for (over, across), group, name in zip(columns, GROUPS, ("Copy", "Temporal XOR")):
        curves = tables.curves(group)
        over_epochs(over, curves[curves["delay"] == reach], "loss", "median")
        over.set(title=f"{name}, d = {reach}", ylabel="loss", yscale="log", xscale="log")
        over_delays(across, tables.runs(group), "loss")
        across.set(title=name, ylabel="final loss", yscale="log")
    return figure
