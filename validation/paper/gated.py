"""Gated cells and ReLU: flossing an LSTM, a GRU and a ReLU network, where it helps and where it harms."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from validation.paper.drawing import listed
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim

GROUPS = ("gated", "relu")
SCHEDULES = ("none", "few", "five", "as tanh")


def named(tables: Tables, size: Size) -> pd.DataFrame:
    """The runs with the name of their schedule, and a score that is better where it is larger."""
    runs = pd.concat([tables.runs(group) for group in GROUPS], ignore_index=True)
    every = runs["k"] == size.units // 2
    runs["schedule"] = runs["condition"].replace("before", "few").mask(every, "as tanh")
    runs.loc[(runs["cell"] == "relu") & (runs["schedule"] == "five"), "schedule"] = "few"
    graded = runs["task"] == "binary-xor"
    runs["score"] = runs["accuracy"].where(graded, 1 - 12 * runs["loss"])
    return runs


def judge(tables: Tables, size: Size) -> list[Claim]:
    runs = named(tables, size)
    middle = runs.pivot_table(
        index=["cell", "task", "delay"], columns="schedule", values="score", aggfunc="median"
    )

    def row(cell: str, task: str, delay: int) -> pd.Series:
        return middle.loc[(cell, task, delay)]

    def harmed(of: pd.DataFrame, errors: float) -> bool:
        """Whether flossing lowers the mean by more than 0.01 and so many standard errors."""
        none, few = (of[of["schedule"] == name]["score"] for name in ("none", "few"))
        error = np.hypot(none.sem(), few.sem())
        return bool(none.mean() - few.mean() > 0.01 + errors * error)

    def told(of: pd.Series) -> str:
        return ", ".join(f"{name} {of[name]:.3f}" for name in SCHEDULES)

    hard = row("lstm", "copy", size.middle)
    easy = [row(cell, "copy", size.delays[0]) for cell in ("lstm", "gru")]
    ruined = middle.drop(index="relu").xs("copy", level="task")
    rectified = runs[runs["cell"] == "relu"].groupby("task")
    return [
        Claim(
            f"an LSTM copies over {size.middle} steps with five episodes of few exponents, not without",
            bool(hard["none"] < 0.05 and hard["five"] > 0.15),
            bool(hard["five"] > hard["none"] + 0.05),
            f"1 - loss over variance: {told(hard)}",
        ),
        Claim(
            f"what an LSTM or GRU learns anyway (copy over {size.delays[0]} steps) it learns more slowly flossed",
            bool(all(of["few"] < of["none"] and of["five"] < of["none"] for of in easy)),
            bool(any(of["five"] < of["none"] for of in easy)),
            f"LSTM: {told(easy[0])}; GRU: {told(easy[1])}",
        ),
        Claim(
            "as many exponents as units ruin both: nothing is copied",
            bool((ruined["as tanh"] < 0.05).all()),
            bool((ruined["as tanh"] < ruined["none"] + 0.05).all()),
            f"medians {listed(ruined['as tanh'])}",
        ),
        Claim(
            "a twentieth of the units in five episodes does not harm a ReLU network",
            not any(harmed(of, 2) for _, of in rectified),
            not any(harmed(of, 3) for _, of in rectified),
            "; ".join(
                f"{task}: {listed(of[of['schedule'] == 'none']['score'])} without, "
                f"{listed(of[of['schedule'] == 'few']['score'])} with"
                for task, of in rectified
            ),
        ),
    ]


def draw(tables: Tables, size: Size) -> Figure:
    runs = named(tables, size)
    places = runs[["cell", "task", "delay"]].drop_duplicates()
    figure = Figure(figsize=(14, 7), layout="constrained")
    for axes, place in zip(figure.subplots(2, 4).flat, places.itertuples(index=False)):
        of = runs[(runs[["cell", "task", "delay"]] == list(place)).all(axis=1)]
        for at, schedule in enumerate(SCHEDULES):
            scores = of[of["schedule"] == schedule]["score"]
            axes.plot([at] * len(scores), scores, "o", color="#0072B2", alpha=0.6)
        axes.set_xticks(range(len(SCHEDULES)), SCHEDULES)
        cell, task, delay = place
        label = "accuracy" if task == "binary-xor" else "1 - loss over variance"
        axes.set(title=f"{cell.upper()}, {task}, d = {delay}", ylabel=label)
    return figure
