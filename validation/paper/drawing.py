"""Pictures that several figures share: scores over delays, and curves over epochs."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

# as the paper: blue without flossing, orange before training, green during it, red throughout
COLOURS = {
    "none": "#0072B2",
    "before": "#E69F00",
    "twice": "#009E73",
    "five": "#009E73",
    "throughout": "#D55E00",
}
NAMES = {
    "none": "no flossing",
    "before": "before training",
    "twice": "before and during",
    "five": "five episodes",
    "throughout": "throughout",
}


def over_delays(
    axes: Axes, runs: pd.DataFrame, score: str, spread: tuple[float, float] = (0.2, 0.8)
) -> None:
    """Each run's score as a dot, means as lines, and the spread between two quantiles."""
    for condition, of in runs.groupby("condition", sort=False):
        colour = COLOURS[condition]
        at = of.groupby("delay")[score]
        axes.plot(of["delay"], of[score], ".", color=colour, alpha=0.5)
        axes.plot(at.mean(), color=colour, label=NAMES[condition])
        low, high = at.quantile(spread[0]), at.quantile(spread[1])
        axes.fill_between(low.index, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="delay d")
    axes.legend(fontsize=8)


def over_epochs(axes: Axes, curves: pd.DataFrame, column: str, middle: str | None = None) -> None:
    """A thin line a run and, where asked for, their mean or median as a thick one."""
    for condition, of in curves.groupby("condition", sort=False):
        colour = COLOURS[condition]
        for _, run in of.groupby("run"):
            axes.plot(run["epoch"], run[column], color=colour, alpha=0.35, linewidth=0.7)
        if middle is not None:
            # a run that has ended early stays where it was
            table = of.pivot(index="epoch", columns="run", values=column).ffill()
            axes.plot(table.agg(middle, axis=1), color=colour, linewidth=2)
        axes.plot([], [], color=colour, label=NAMES[condition])
    axes.set(xlabel="training epoch")
    axes.legend(fontsize=8)


def per_delay(runs: pd.DataFrame, score: str, how: str = "median") -> pd.DataFrame:
    """Of each condition (column) and delay (row)."""
    return runs.pivot_table(index="delay", columns="condition", values=score, aggfunc=how)


def listed(values: Iterable[float], digits: int = 3) -> str:
    """Numbers in a sentence."""
    words = ("-" if np.isnan(v) else "never" if np.isinf(v) else f"{v:.{digits}g}" for v in values)
    return ", ".join(words)
