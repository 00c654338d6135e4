"""Figure 16: running estimates of λ₁, λ₂₀, λ₆₀ and λ₈₀ of one network from ten initial states meet."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import lyapflow as lf
from validation.paper.drawing import listed
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim

STEPS, STATES, EARLY = 100, 10, 5
INDICES = (1, 20, 60, 80)


def compute(size: Size) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    cell = lf.TanhRNN.random(80, 1, rng=rng)
    x = rng.standard_normal((STEPS, 1))
    rows = []
    for state in range(STATES):
        found = lf.lyapunov_spectrum(cell, x, h0=rng.standard_normal(80))
        rows += [
            {"state": state, "t": t + 1, **{f"λ{i}": found.history[t, i - 1] for i in INDICES}}
            for t in range(STEPS)
        ]
    return {"running": pd.DataFrame(rows)}


def judge(tables: Tables, size: Size) -> list[Claim]:
    at = tables.computed("figure16", "running").set_index("t").drop(columns="state")
    early, late = (at.loc[t].agg(np.ptp) for t in (EARLY, STEPS))
    share = late / early
    return [
        Claim(
            "the estimates from ten initial states meet",
            bool((share <= 0.2).all()),
            bool((share < 1).all()),
            f"range of λ{', λ'.join(map(str, INDICES))} after {STEPS} steps: {listed(late)}; "
            f"after {EARLY}: {listed(early)}",
            small=True,
        )
    ]


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    running = tables.computed("figure16", "running")
    colours = ("#0072B2", "#E69F00", "#009E73", "#D55E00")
    for index, colour in zip(INDICES, colours):
        for _, of in running.groupby("state"):
            axes.plot(of["t"], of[f"λ{index}"], color=colour, linewidth=0.8)
        axes.plot([], [], color=colour, label=f"i = {index}")
    axes.set(xscale="log", xlabel="steps", ylabel="running mean of λᵢ  (nats per step)")
    axes.legend()
    return figure
