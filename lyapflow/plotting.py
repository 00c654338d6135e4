"""Pictures of spectra and of training runs."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lyapflow import plots
from lyapflow.errors import LyapflowError
from lyapflow.learning.history import History
from lyapflow.learning.stopping import WINDOW
from lyapflow.lyapunov.measured import Spectrum
from lyapflow.plots import COLOURS
from lyapflow.precision.condition import ConditionNumber
from lyapflow.runs.files import write_atomically

SUFFIXES = ("png", "pdf", "svg")


class Shown(NamedTuple):
    """One run in a picture: its history, and the exponents of its network at the end."""

    history: History
    exponents: np.ndarray


def smooth(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Running mean over the last `window` values, or as many as there are."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def training_figure(runs: Mapping[str, Shown], before: np.ndarray, title: str) -> Figure:
    """Accuracy or loss over epochs, ‖dL/dh0‖ over epochs, and Lyapunov spectra before and after.

    Parameters
    ----------
    runs : mapping from label to Shown
    before : array (n_state,)
        Exponents of the untrained network that the runs start from.
    title : str
    """
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    figure.suptitle(title, parse_math=False)
    score, norm, spectra = figure.subplots(1, 3)
    _plot_scores(score, runs)
    _plot_gradient_norms(norm, runs)
    _plot_spectra(spectra, runs, before)
    _mark_episodes((score, norm), runs)
    score.legend(loc="center right", fontsize=8)
    norm.legend(loc="best", fontsize=8)
    spectra.legend(loc="lower left", fontsize=8)
    return figure


def _plot_scores(axes: Axes, runs: Mapping[str, Shown]) -> None:
    graded = all(np.isfinite(shown.history.training["accuracy"]).all() for shown in runs.values())
    name = "accuracy" if graded else "loss"
    for (label, shown), colour in zip(runs.items(), COLOURS):
        epochs, column = shown.history.training["epoch"], shown.history.training[name]
        axes.plot(epochs, column, color=colour, alpha=0.2, linewidth=0.6)
        axes.plot(epochs, smooth(column), color=colour, label=label)
    axes.set(xlabel="training epoch", ylabel=name, title="Does it learn the task?")
    if not graded:
        axes.set_yscale("log")  # a random readout's first errors are a hundred times those to come
        return
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    right = axes.get_yaxis_transform()
    axes.text(0.99, 0.505, "chance", ha="right", va="bottom", color="grey", transform=right)
    axes.set_ylim(min(0.4, axes.get_ylim()[0]), 1.02)


def _plot_gradient_norms(axes: Axes, runs: Mapping[str, Shown]) -> None:
    for (label, shown), colour in zip(runs.items(), COLOURS):
        log = shown.history.training
        norms = np.maximum(log["h0_gradient_norm"], 1e-300)
        axes.semilogy(log["epoch"], norms, color=colour, linewidth=0.8, label=label)
    title = "Does the gradient reach the first step?"
    axes.set(xlabel="training epoch", ylabel="‖dL/dh₀‖", title=title)


def _plot_spectra(axes: Axes, runs: Mapping[str, Shown], before: np.ndarray) -> None:
    for (label, shown), colour in zip(runs.items(), COLOURS):
        index = np.arange(1, len(shown.exponents) + 1)
        words = f"{label}, trained"
        axes.plot(index, shown.exponents, ".-", markersize=3, color=colour, label=words)
    words = "both, untrained" if len(runs) > 1 else "untrained"
    index = np.arange(1, len(before) + 1)
    axes.plot(index, before, "--", color="black", linewidth=1.2, label=words, zorder=3)
    axes.axhline(0.0, color="grey", linewidth=0.8)
    title = "How fast do changes of the state fade?"
    axes.set(xlabel="exponent i", ylabel="λᵢ  (nats per step)", title=title)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], -6.0))


def _mark_episodes(panels: tuple[Axes, ...], runs: Mapping[str, Shown]) -> None:
    """A line where an episode of flossing comes before a training epoch."""
    logs = [shown.history.flossing["training_epoch"] for shown in runs.values()]
    style: dict[str, Any] = {
        "color": COLOURS[2],
        "linewidth": 1.2,
        "linestyle": "--",
        "alpha": 0.8,
        "zorder": 0,
    }
    for axes in panels:
        for number, epoch in enumerate(np.unique(np.concatenate(logs))):
            line = axes.axvline(epoch, **style)
            if number == 0:
                line.set_label("flossing episode")


def spectrum_figure(spectrum: Spectrum, title: str) -> Figure:
    """The exponents with error bars, and how their running means approach them."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle(title, parse_math=False)
    final, running = figure.subplots(1, 2)
    plots.spectrum(spectrum, final)
    final.set_title("Lyapunov spectrum")
    plots.convergence(spectrum, ax=running)
    running.set_title("Convergence, and what error bars let one expect")
    return figure


def condition_figure(found: ConditionNumber, title: str) -> Figure:
    """log₁₀ κ over time, and σ₁/σₘ of the longest product in sight over m, beside what the exponents predict.

    Parameters
    ----------
    found : ConditionNumber
        For several numbers of steps, in ascending order.
    title : str
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle(title, parse_math=False, fontsize=10)
    over_time, over_m = figure.subplots(1, 2)
    plots.condition(found, ax=over_time)
    plots.condition_of_subspaces(found, ax=over_m)
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as its suffix says (PNG, PDF or SVG; else PNG), atomically."""
    buffer, suffix = io.BytesIO(), path.suffix[1:].lower()
    figure.savefig(buffer, format=suffix if suffix in SUFFIXES else "png", dpi=130)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise LyapflowError(f"cannot write the picture {path}: {error.strerror}") from None
