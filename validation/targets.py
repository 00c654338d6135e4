"""First Lyapunov exponents driven to targets, and whole spectra flossed (paper, Fig. 1B-D and 6).

    python -m validation.targets [first seed]

N = 32, ten networks per row. Every flossing epoch draws four Gaussian inputs of 200 steps and unit
variance, of which 20 steps align the tangent block. Adam's rate is 0.01 for 60 epochs, then falls
to 0.001 until epoch 100 and stays; the gradient of each array is clipped to the norm 0.01, or large
first gradients would slow Adam down for long. Before every update λ₁ is measured on one held-out
input of 1000 steps per network: the epoch in which it first comes within 0.02 of the target, and
whether it stays. Tanh networks have gains ~ Unif(0, 1), ReLU networks Unif(0, 2), so that some are
unstable at first, and LSTMs gains of their own. Then 1, 16 and 32 exponents of tanh networks are
flossed to 0.

Prints tables and writes lyapflow-targets.png. Exit code 1 unless at least eight of ten tanh
networks come to 0, and to -0.5, within 100 epochs, eight of ten ReLU and LSTM networks to 0, all
unstable ReLU networks among them, and none to 0.5. Ten minutes."""

import sys
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import lyapflow as lf
from lyapflow.ensemble import Ensemble

N, NETWORKS, EPOCHS = 32, 10, 200
STEPS, BATCH, ALIGNING, HELD_OUT = 200, 4, 20, 1000
CLOSE, SOON, ENOUGH = 0.02, 100, 8


class Course(NamedTuple):
    """What flossing did: λ₁ on held-out inputs and the flossing loss (epochs, networks), spectra before and after."""

    exponent: np.ndarray
    loss: np.ndarray
    before: np.ndarray
    after: np.ndarray


def draw(seed: int, purpose: str, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *purpose.encode()]).standard_normal(shape)


def networks(cell_class: type, largest_gain: float | None, seeds: range) -> Ensemble:
    cells = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        gain = {} if largest_gain is None else {"g": largest_gain * rng.random()}
        cells.append(cell_class.random(N, 1, rng=rng, **gain))
    return lf.stack(cells)


def rate(epoch: int) -> float:
    return 0.01 * 10.0 ** -np.clip((epoch - 60) / 40, 0, 1)


def floss(cells: Ensemble, seeds: range, k: int, target: float) -> Course:
    """Floss an ensemble, looking at it before every update."""
    held_out = np.stack([draw(seed, "held out", HELD_OUT, 1) for seed in seeds])

    def spectrum(k: int | None = None) -> np.ndarray:
        return lf.lyapunov_spectrum(cells, held_out, k, q_transient=ALIGNING).exponents

    state, before, exponent, losses = lf.Adam().init(cells), spectrum(), [], []
    for epoch in range(EPOCHS):
        exponent.append(spectrum(1)[:, 0])
        x = np.stack([draw(seed, f"epoch {epoch}", STEPS, BATCH, 1) for seed in seeds])
        loss, gradient, _ = lf.flossing_value_and_grad(
            cells, x, k, target=target, q_transient=ALIGNING
        )
        losses.append(loss)
        optimizer = lf.Adam(rate(epoch), clip_norm=0.01)
        # a member without k exponents stays as it is
        cells, state = optimizer.update(state, cells, gradient)
    return Course(np.array(exponent), np.array(losses), before, spectrum())


def first_epochs(course: Course, target: float) -> list[int | None]:
    """The epoch in which each network comes close to the target."""
    close = np.abs(course.exponent - target) < CLOSE
    return [int(np.argmax(column)) if column.any() else None for column in close.T]


def share_later(course: Course, target: float, distance: float) -> float:
    """Of the epochs after each first hit, the share in which λ₁ is within a distance of the target."""
    later = [
        np.abs(column[first:] - target) < distance
        for first, column in zip(first_epochs(course, target), course.exponent.T)
        if first is not None
    ]
    return float(np.concatenate(later).mean()) if later else np.nan


def main() -> int:
    start = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    seeds = range(start, start + NETWORKS)
    to_targets = {
        (name, target): floss(networks(cell_class, gain, seeds), seeds, 1, target)
        for name, cell_class, gain, targets in (
            ("tanh", lf.TanhRNN, 1.0, (0.0, -0.5, -1.0, 0.5)),
            ("ReLU", lf.ReluRNN, 2.0, (0.0,)),
            ("LSTM", lf.LSTM, None, (0.0,)),
        )
        for target in targets
    }
    spectra = {k: floss(networks(lf.TanhRNN, 1.0, seeds), seeds, k, 0.0) for k in (1, 16, 32)}
    table = Table(
        "cell", "target", "by 100", "epochs, each network", "then ± 0.02", "± 0.05", "λ₁ at the end",
        title=f"λ₁ driven to a target, measured on a held-out input; networks {start} to {seeds[-1]}",
    )  # fmt: skip
    holds = True
    for (name, target), course in to_targets.items():
        epochs = first_epochs(course, target)
        soon = np.array([epoch is not None and epoch <= SOON for epoch in epochs])
        if target == 0.5:
            holds &= not soon.any()
        elif target != -1.0:
            holds &= soon.sum() >= ENOUGH
        if name == "ReLU":
            unstable = course.exponent[0] > 0
            holds &= bool(soon[unstable].all()) and bool(unstable.any())
            stabilised = f"ReLU networks unstable at first: {unstable.sum()}; by {SOON} at 0: {soon[unstable].sum()}"
        table.add_row(
            name,
            f"{target:g}",
            f"{soon.sum()} of {NETWORKS}",
            " ".join("-" if epoch is None else str(epoch) for epoch in epochs),
            *(f"{100 * share_later(course, target, distance):.0f} %" for distance in (CLOSE, 0.05)),
            "{1:.3f} ({0:.3f} to {2:.3f})".format(*np.quantile(course.exponent[-1], [0, 0.5, 1])),
        )
    Console().print(table)
    print(stabilised)
    table = Table(
        "k",
        "Σλ² at epoch 0",
        "100",
        str(EPOCHS - 1),
        "λ₁, λ₁₆, λ₃₂ at the end",
        title="Medians, tanh, target 0",
    )
    for k, course in spectra.items():
        losses = np.nanmedian(course.loss, axis=1)
        end = np.median(course.after, axis=0)
        table.add_row(
            str(k),
            *(f"{losses[e]:.3g}" for e in (0, 100, -1)),
            ", ".join(f"{end[i]:.3f}" for i in (0, 15, 31)),
        )
    Console().print(table)
    picture(to_targets, spectra).savefig("lyapflow-targets.png", dpi=130)
    print("all claims hold" if holds else "A CLAIM DOES NOT HOLD")
    return not holds


def picture(to_targets: dict[tuple[str, float], Course], spectra: dict[int, Course]) -> Figure:
    figure = Figure(figsize=(12, 8), layout="constrained")
    (tanh, others), (losses, after) = figure.subplots(2, 2)
    colours = iter(["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#0072B2", "#D55E00"])
    for (name, target), course in to_targets.items():
        axes, colour = (tanh if name == "tanh" else others), next(colours)
        axes.plot(course.exponent, color=colour, linewidth=0.7, alpha=0.7)
        axes.plot([], [], color=colour, label=f"{name}, target {target:g}")
        axes.axhline(target, color=colour, linestyle="--", linewidth=1)
    for axes, title in ((tanh, "Tanh networks"), (others, "ReLU and LSTM networks")):
        axes.set(
            xlabel="flossing epoch",
            ylabel="λ₁ on a held-out input  (nats per step)",
            title=title,
            ylim=(-2.5, 1.0),
        )
        axes.legend(loc="lower right", fontsize=8)
    colours = iter(["#0072B2", "#D55E00", "#009E73"])
    index = np.arange(1, N + 1)
    after.plot(index, np.median(spectra[1].before, axis=0), "--", color="black", label="before")
    for k, course in spectra.items():
        colour = next(colours)
        low, middle, high = np.nanquantile(course.loss, [0.25, 0.5, 0.75], axis=1)
        losses.semilogy(middle, color=colour, label=f"k = {k}")
        losses.fill_between(np.arange(len(middle)), low, high, color=colour, alpha=0.2, linewidth=0)
        after.plot(
            index, np.median(course.after, axis=0), ".-", color=colour, label=f"k = {k} flossed"
        )
    after.axhline(0.0, color="grey", linewidth=0.8)
    losses.set(
        xlabel="flossing epoch", ylabel="Σ λᵢ², i ≤ k  (median, quartiles)", title="Flossing loss"
    )
    after.set(
        xlabel="exponent i",
        ylabel="λᵢ  (nats per step, median)",
        title=f"Spectra after {EPOCHS} epochs",
    )
    losses.legend(fontsize=8)
    after.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    sys.exit(main())
