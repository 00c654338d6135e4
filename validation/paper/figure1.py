"""Figures 1B-D and 6: first exponents driven to targets, and whole spectra flossed.

Networks of 32 units. Every flossing epoch draws four Gaussian inputs of 200 steps and unit
variance, of which 20 steps align the tangent block. Adam's rate is 0.01 for 60 epochs, then falls
to 0.001 until epoch 100 and stays; the gradient of each array is clipped to the norm 0.01, or large
first gradients would slow Adam down for long. Before every update λ₁ is measured on one held-out
input of 1000 steps per network. Tanh networks have gains ~ Unif(0, 1), ReLU networks Unif(0, 2), so
that some are unstable at first, and LSTMs gains of their own."""

import itertools
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import lyapflow as lf
from lyapflow.ensemble import Ensemble
from validation.paper.drawing import listed
from validation.paper.sizes import Size
from validation.paper.tables import Tables
from validation.paper.verdicts import Claim

STEPS, BATCH, ALIGNING, HELD_OUT = 200, 4, 20, 1000
CLOSE, SOON, ENOUGH = 0.02, 100, 0.8  # nats per step; epochs; share of the networks
TARGETS = {
    ("tanh", lf.TanhRNN, 1.0): (0.0, -0.5, -1.0, 0.5),
    ("ReLU", lf.ReluRNN, 2.0): (0.0,),
    ("LSTM", lf.LSTM, None): (0.0,),
}


class Plan(NamedTuple):
    """What the sizes differ in."""

    units: int
    networks: int
    epochs: int


def plan(size: Size) -> Plan:
    return Plan(32, 10, 200) if size.units == 80 else Plan(16, 5, 120)


def draw_input(seed: int, purpose: str, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *purpose.encode()]).standard_normal(shape)


def networks(units: int, cell_class: type, largest_gain: float | None, seeds: range) -> Ensemble:
    cells = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        gain = {} if largest_gain is None else {"g": largest_gain * rng.random()}
        cells.append(cell_class.random(units, 1, rng=rng, **gain))
    return lf.stack(cells)


def rate(epoch: int) -> float:
    return 0.01 * 10.0 ** -np.clip((epoch - 60) / 40, 0, 1)


def floss(
    cells: Ensemble, seeds: range, k: int, target: float, epochs: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Floss an ensemble: λ₁ on held-out inputs and the loss (epochs, networks), and the spectra at the end."""
    held_out = np.stack([draw_input(seed, "held out", HELD_OUT, 1) for seed in seeds])

    def spectrum(k: int | None = None) -> np.ndarray:
        with warnings.catch_warnings():
            # of error bars, which nobody looks at
            warnings.simplefilter("ignore", lf.LyapflowWarning)
            return lf.lyapunov_spectrum(cells, held_out, k, q_transient=ALIGNING).exponents

    state, exponent, losses = lf.Adam().init(cells), [], []
    for epoch in range(epochs):
        exponent.append(spectrum(1)[:, 0])
        x = np.stack([draw_input(seed, f"epoch {epoch}", STEPS, BATCH, 1) for seed in seeds])
        loss, gradient, _ = lf.flossing_value_and_grad(
            cells, x, k, target=target, q_transient=ALIGNING
        )
        losses.append(loss)
        optimizer = lf.Adam(rate(epoch), clip_norm=0.01)
        # a member without k exponents stays as it is
        cells, state = optimizer.update(state, cells, gradient)
    return np.array(exponent), np.array(losses), spectrum()


def compute(size: Size) -> dict[str, pd.DataFrame]:
    units, count, epochs = plan(size)
    seeds = range(count)
    courses = []
    for (name, cell_class, gain), targets in TARGETS.items():
        for target in targets:
            cells = networks(units, cell_class, gain, seeds)
            exponent, _, _ = floss(cells, seeds, 1, target, epochs)
            courses += [
                {"cell": name, "target": target, "network": seed, "epoch": epoch, "exponent": value}
                for (epoch, seed), value in np.ndenumerate(exponent)
            ]
    losses, spectra = [], []
    for k in (0, 1, units // 2, units):
        cells = networks(units, lf.TanhRNN, 1.0, seeds)
        _, loss, after = floss(cells, seeds, max(k, 1), 0.0, epochs if k else 0)
        losses += [
            {"k": k, "network": seed, "epoch": epoch, "loss": value}
            for (epoch, seed), value in np.ndenumerate(loss)
        ]
        spectra += [
            {"k": k, "network": seed, "i": i + 1, "exponent": value}
            for (seed, i), value in np.ndenumerate(after)
        ]
    return {
        "courses": pd.DataFrame(courses),
        "losses": pd.DataFrame(losses),
        "spectra": pd.DataFrame(spectra),
    }


def first_epochs(of: pd.DataFrame, target: float) -> pd.Series:
    """The epoch in which each network first comes close to the target; infinite for never."""
    close = of[(of["exponent"] - target).abs() < CLOSE]
    return (
        close.groupby("network")["epoch"].min().reindex(of["network"].unique(), fill_value=np.inf)
    )


def judge(tables: Tables, size: Size) -> list[Claim]:
    courses = tables.computed("figure1", "courses")
    claims = []
    for (name, target), of in courses.groupby(["cell", "target"], sort=False):
        epochs = first_epochs(of, target)
        soon = (epochs <= SOON).mean()
        found = f"epochs {listed(epochs)}"
        if target > 0:
            text = f"{name}: a positive target, {target:g}, is not reached"
            claims.append(Claim(text, soon == 0, soon <= 1 - ENOUGH, found, small=True))
            continue
        text = f"{name}: λ₁ comes to {target:g} in less than {SOON} epochs"
        claims.append(Claim(text, soon == 1, soon >= ENOUGH, found, small=True))
        if name == "ReLU":
            start = of[of["epoch"] == 0].set_index("network")["exponent"]
            unstable = epochs[start > 0]
            claims.append(
                Claim(
                    "unstable ReLU networks are stabilised",
                    bool(len(unstable) and (unstable <= SOON).all()),
                    bool(len(unstable) and (unstable <= SOON).mean() >= ENOUGH),
                    f"{len(unstable)} are unstable at first, epochs {listed(unstable)}",
                )
            )
    spectra = tables.computed("figure1", "spectra").groupby(["k", "i"])["exponent"].median()
    units = plan(size).units
    worst = {k: spectra[k].loc[:k].abs().max() for k in (1, units // 2, units)}
    claims.append(
        Claim(
            f"k = 1, {units // 2} and {units} flossed exponents are at 0 afterwards, the others vary",
            max(worst.values()) < 0.05,
            max(worst[1], worst[units // 2]) < 0.05 and worst[units] < spectra[0].abs().max() / 3,
            "largest median distance: " + ", ".join(f"{v:.3f} (k = {k})" for k, v in worst.items()),
        )
    )
    return claims


def draw(tables: Tables, size: Size) -> Figure:
    figure = Figure(figsize=(12, 8), layout="constrained")
    (tanh, others), (losses, after) = figure.subplots(2, 2)
    courses = tables.computed("figure1", "courses")
    colours = itertools.cycle(("#0072B2", "#D55E00", "#009E73", "#CC79A7"))
    for (name, target), of in courses.groupby(["cell", "target"], sort=False):
        axes, colour = (tanh if name == "tanh" else others), next(colours)
        table = of.pivot(index="epoch", columns="network", values="exponent")
        axes.plot(table, color=colour, linewidth=0.7, alpha=0.7)
        axes.plot([], [], color=colour, label=f"{name}, target {target:g}")
        axes.axhline(target, color=colour, linestyle="--", linewidth=1)
    for axes, title in ((tanh, "Fig. 1B: tanh networks"), (others, "Fig. 6: ReLU and LSTM")):
        axes.set(xlabel="flossing epoch", ylabel="λ₁ on a held-out input  (nats per step)")
        axes.set(title=title, ylim=(-2.5, 1.0))
        axes.legend(loc="lower right", fontsize=8)
    for k, of in tables.computed("figure1", "losses").groupby("k"):
        low, middle, high = (of.groupby("epoch")["loss"].quantile(q) for q in (0.25, 0.5, 0.75))
        line = losses.semilogy(middle, label=f"k = {k}")[0]
        losses.fill_between(low.index, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    for k, of in tables.computed("figure1", "spectra").groupby("k"):
        name, style = (f"k = {k} flossed", ".-") if k else ("before", "k--")
        after.plot(of.groupby("i")["exponent"].median(), style, label=name)
    after.axhline(0.0, color="grey", linewidth=0.8)
    losses.set(xlabel="flossing epoch", ylabel="Σ λᵢ², i ≤ k  (median, quartiles)", title="Fig. 1C")
    after.set(xlabel="exponent i", ylabel="λᵢ  (nats per step, median)", title="Fig. 1D")
    losses.legend(fontsize=8)
    after.legend(fontsize=8)
    return figure
