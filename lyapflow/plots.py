"""Plots of results, each in axes of matplotlib that are given, or in new ones.

import lyapflow.plots as plots

ax = plots.convergence(spectrum)
ax.figure.savefig("convergence.pdf")"""

from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes

from lyapflow import _checks
from lyapflow.errors import LyapflowError
from lyapflow.lyapunov.finite_time import FiniteTime
from lyapflow.lyapunov.measured import Spectrum
from lyapflow.lyapunov.reach import DISAGREEMENT, Reach
from lyapflow.precision.condition import ConditionNumber

_R = TypeVar("_R")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # told apart by colour-blind readers, too
DECADE = float(np.log(10.0))
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
PREDICTED = "predicted: (λ₁ - λₘ)(t - τ) / ln 10"


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot  # here: it looks for a screen

    return pyplot.subplots(layout="constrained")[1]


def _lambda(i: int) -> str:
    return "λ" + str(i).translate(SUBSCRIPTS)


def _checked(found: Any, kind: type[_R]) -> _R:
    """What is to be drawn, which must be a result of the kind that a plot is of."""
    if not isinstance(found, kind):
        raise LyapflowError(
            f"this plot is of a {kind.__name__}, got {type(found).__name__} {found!r:.40}"
        )
    if isinstance(found, Spectrum) and found.exponents.ndim > 1:
        raise LyapflowError("a plot is of one network; give the members' spectra one by one")
    return found


def _numbers(exponents: Any, k: int) -> list[int]:
    """Numbers of exponents, counted from 1; one of them may stand alone."""
    several = [exponents] if np.ndim(exponents) == 0 else exponents
    return [_checks.integer("an exponent", i, 1, k) for i in several]


def spectrum(found: Spectrum, ax: Axes | None = None, **style: Any) -> Axes:
    """The exponents with two standard errors on either side.

    Parameters
    ----------
    found : Spectrum
    ax : matplotlib.axes.Axes, optional
    **style
        Of `matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    LyapflowError
        If it is no Spectrum, or that of an ensemble.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from matplotlib.figure import Figure
    >>> cell = lf.TanhRNN.random(10, 1, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((500, 1))
    >>> axes = lf.plots.spectrum(lf.lyapunov_spectrum(cell, x), ax=Figure().subplots())
    >>> axes.figure.savefig("spectrum.png")
    """
    found = _checked(found, Spectrum)
    ax = _axes(ax)
    number = np.arange(1, len(found.exponents) + 1)
    usual: dict[str, Any] = {"fmt": ".", "capsize": 2, "color": COLOURS[0]}
    ax.errorbar(number, found.exponents, 2 * found.stderr, **usual | style)
    ax.axhline(0.0, color="grey", linewidth=0.8)
    ax.set(xlabel="exponent i", ylabel="λᵢ ± 2 standard errors  (nats per step)")
    return ax


def convergence(found: Spectrum, exponents: Any = None, ax: Axes | None = None) -> Axes:
    """How far running means are from the final exponents, beside what the error bars let one expect.

    The dashed lines are two standard errors of the difference, ``2 stderr √(T/t - 1)``. Exponents
    of -inf have none.

    Parameters
    ----------
    found : Spectrum
    exponents : int, or sequence of int, optional
        Which ones, counted from 1; the first, the last and one or two between by default.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    LyapflowError
        If an exponent is not there, or it is no Spectrum, or that of an ensemble.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from matplotlib.figure import Figure
    >>> cell = lf.TanhRNN.random(10, 1, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((500, 1))
    >>> axes = lf.plots.convergence(lf.lyapunov_spectrum(cell, x), (1, 10), ax=Figure().subplots())
    >>> axes.figure.savefig("convergence.png")
    """
    found = _checked(found, Spectrum)
    k = len(found.exponents)
    usual = sorted({1, k // 4 + 1, k // 2 + 1, k})
    wanted = _numbers(usual if exponents is None else exponents, k)
    ax, per_row = _axes(ax), np.ravel(found.intervals)
    steps = np.cumsum(per_row[per_row > 0])
    history = found.history[-len(steps) :]  # of sequences of different lengths it begins with NaN
    for colour, i in zip(COLOURS * k, wanted):
        if not np.isfinite(history[-1, i - 1]):
            continue
        off = np.abs(history[:-1, i - 1] - history[-1, i - 1])
        ax.loglog(steps[:-1], off, color=colour, linewidth=0.8, label=_lambda(i))
        expected = 2 * found.stderr[i - 1] * np.sqrt(steps[-1] / steps[:-1] - 1)
        ax.loglog(steps[:-1], expected, "--", color=colour, linewidth=0.8)
    ax.set(xlabel="steps counted", ylabel="|running mean - final|  (nats per step)")
    if ax.lines:
        ax.legend(fontsize=8)
    return ax


def finite_time(
    found: FiniteTime, exponents: Any = (1,), ax: Axes | None = None, **style: Any
) -> Axes:
    """Histograms of local exponents.

    Parameters
    ----------
    found : FiniteTime
        As `Spectrum.finite_time` returns it.
    exponents : int, or sequence of int
        Which ones, counted from 1.
    ax : matplotlib.axes.Axes, optional
    **style
        Of `matplotlib.axes.Axes.hist`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    LyapflowError
        If an exponent is not there, or is -inf.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from matplotlib.figure import Figure
    >>> cell = lf.TanhRNN.random(10, 1, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((500, 1))
    >>> local = lf.lyapunov_spectrum(cell, x).finite_time(20)
    >>> axes = lf.plots.finite_time(local, (1, 2), ax=Figure().subplots())
    >>> axes.figure.savefig("finite_time.png")
    """
    k = _checked(found, FiniteTime).exponents.shape[-1]
    wanted, ax = _numbers(exponents, k), _axes(ax)
    for colour, i in zip(COLOURS * k, wanted):
        values = found.exponents[..., i - 1].ravel()
        values = values[~np.isnan(values)]
        if not np.isfinite(values).all():
            raise LyapflowError(f"exponent {i} is -inf in some windows; ask for fewer exponents")
        usual: dict[str, Any] = {"bins": "auto", "alpha": 0.6, "color": colour, "label": _lambda(i)}
        ax.hist(values, **usual | style)
    ax.set(xlabel=f"exponent over {found.window} steps  (nats per step)", ylabel="windows")
    ax.legend(fontsize=8)
    return ax


def reach(found: Reach, ax: Axes | None = None) -> Axes:
    """Norms of ``∂h_t / ∂h_{t-l}`` over lags, median and quartiles; also of readout and parameters, where measured.

    Parameters
    ----------
    found : Reach
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from matplotlib.figure import Figure
    >>> cell = lf.TanhRNN.random(10, 1, rng=np.random.default_rng(0), g=3.0)
    >>> found = lf.gradient_reach(cell, np.random.default_rng(1).standard_normal((200, 1)), range(1, 21))
    >>> axes = lf.plots.reach(found, ax=Figure().subplots())
    >>> axes.figure.savefig("reach.png")
    """
    found = _checked(found, Reach)
    ax = _axes(ax)
    measured = {
        "norms": "state, ∂h(t)/∂h(t - l)",
        "readout": "readout, ∂y(t)/∂h(t - l)",
        "parameters": "parameters of a step, ∂h(t)/∂θ(t - l)",
    }
    for colour, (of, label) in zip(COLOURS, measured.items()):
        if of != "norms" and getattr(found, f"log_{of}") is None:
            continue
        low, median, high = found.quartiles(of) / np.log(10.0)
        ax.plot(found.lags, median, ".-", color=colour, label=label)
        ax.fill_between(found.lags, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.set(xlabel="lag l  (steps)", ylabel="log₁₀ of the norm")
    ax.legend(fontsize=8)
    return ax


def singular_values(found: Reach, ax: Axes | None = None, most: int = 8) -> Axes:
    """The first singular values of ``∂h_t / ∂h_{t-l}`` over lags, medians over the times.

    Parameters
    ----------
    found : Reach
    ax : matplotlib.axes.Axes, optional
    most : int
        How many.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    LyapflowError
        If most is not positive.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from matplotlib.figure import Figure
    >>> cell = lf.TanhRNN.random(10, 1, rng=np.random.default_rng(0), g=3.0)
    >>> found = lf.gradient_reach(cell, np.random.default_rng(1).standard_normal((200, 1)), range(1, 21))
    >>> axes = lf.plots.singular_values(found, ax=Figure().subplots())
    >>> axes.figure.savefig("singular_values.png")
    """
    found = _checked(found, Reach)
    ax = _axes(ax)
    shown = min(_checks.integer("most", most, 1), found.log_singular_values.shape[2])
    values = np.where(np.isnan(found.log_singular_values), -np.inf, found.log_singular_values)
    median = np.median(values[:, :, :shown], axis=0) / np.log(10.0)
    for i in range(shown):
        shade = 0.25 + 0.75 * (1 - i / shown)
        ax.plot(
            found.lags, median[:, i], ".-", color=COLOURS[0], alpha=shade, label=f"number {i + 1}"
        )
    ax.set(xlabel="lag l  (steps)", ylabel="log₁₀ of singular values")
    ax.legend(fontsize=8)
    return ax


def horizon(found: Reach, ax: Axes | None = None) -> Axes:
    """How far Jacobians are off what a small change does, over steps; the horizon is where the median passes the line.

    Parameters
    ----------
    found : Reach
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from matplotlib.figure import Figure
    >>> cell = lf.TanhRNN.random(10, 1, rng=np.random.default_rng(0), g=3.0)
    >>> found = lf.gradient_reach(cell, np.random.default_rng(1).standard_normal((200, 1)), range(1, 21))
    >>> axes = lf.plots.horizon(found, ax=Figure().subplots())
    >>> axes.figure.savefig("horizon.png")
    """
    found = _checked(found, Reach)
    ax, off = _axes(ax), np.where(np.isnan(found.disagreement), 0.0, found.disagreement)
    low, median, high = np.quantile(off, (0.25, 0.5, 0.75), axis=0)
    steps = np.arange(1, off.shape[1] + 1)
    ax.semilogy(steps, median, color=COLOURS[0])
    ax.fill_between(steps, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    ax.axhline(DISAGREEMENT, color="grey", linewidth=0.8)
    last = found.horizon()
    said = "no horizon in sight" if np.isinf(last) else f"gradients hold over {last:.0f} steps"
    ax.set(
        xlabel="steps",
        ylabel=f"|change - its derivative|, for changes of {found.change:g}",
        title=said,
    )
    return ax


def condition(found: ConditionNumber, ax: Axes | None = None) -> Axes:
    """The condition number of long-term Jacobians over their length, beside what the exponents predict.

    Parameters
    ----------
    found : ConditionNumber
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from matplotlib.figure import Figure
    >>> cell = lf.TanhRNN.random(4, 1, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((30, 1))
    >>> found = lf.condition_number(cell, x, steps=[1, 5, 20])
    >>> axes = lf.plots.condition(found, ax=Figure().subplots())
    >>> axes.figure.savefig("condition.png")
    """
    found = _checked(found, ConditionNumber)
    ax = _axes(ax)
    steps, log_kappa, predicted = map(
        np.atleast_1d, (found.steps, found.log_kappa, found.predicted)
    )
    ax.plot(steps, log_kappa / DECADE, "o-", markersize=4, color=COLOURS[0], label="direct")
    ax.plot(steps, predicted / DECADE, "--", color=COLOURS[1], label=PREDICTED)
    if not np.isfinite(log_kappa).all():
        first = steps[np.argmin(np.isfinite(log_kappa))]
        where = "infinite or out of sight" + (" from here on" if len(steps) > 1 else "")
        ax.axvline(first, color="grey", linestyle=":", label=where)
    ax.set(xlabel="t - τ  (steps)", ylabel="log₁₀ κ", title=f"{len(found.exponents)} dimensions")
    ax.legend(fontsize=8)
    return ax


def condition_of_subspaces(found: ConditionNumber, ax: Axes | None = None) -> Axes:
    """σ₁/σₘ of the longest product in sight over m, beside what the exponents predict.

    Parameters
    ----------
    found : ConditionNumber
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> from matplotlib.figure import Figure
    >>> cell = lf.TanhRNN.random(4, 1, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((30, 1))
    >>> found = lf.condition_number(cell, x, steps=[1, 5, 20])
    >>> axes = lf.plots.condition_of_subspaces(found, ax=Figure().subplots())
    >>> axes.figure.savefig("condition_of_subspaces.png")
    """
    found = _checked(found, ConditionNumber)
    ax = _axes(ax)
    steps, every = np.atleast_1d(found.steps), np.atleast_2d(found.log_singular_values)
    seen = np.flatnonzero(~np.isnan(every[:, 0]))
    if seen.size:
        logs, t = every[seen[-1]], steps[seen[-1]]
        m = np.arange(1, len(logs) + 1)
        ax.plot(m, (logs[0] - logs) / DECADE, ".", color=COLOURS[0], label="direct: σ₁/σₘ")
        gaps = found.exponents[0] - found.exponents
        ax.plot(m, gaps * t / DECADE, "--", color=COLOURS[1], label=PREDICTED)
        ax.set(title=f"after {t} steps")
        ax.legend(fontsize=8)
    ax.set(xlabel="dimensions m", ylabel="log₁₀ κ")
    return ax
