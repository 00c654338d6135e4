"""Plots: in axes that are given, or new ones, and what they show."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import lyapflow as lf
from lyapflow import plots

matplotlib.use("Agg")
CELL = lf.TanhRNN.random(8, 1, rng=np.random.default_rng(0), g=2.0)
X = np.random.default_rng(1).standard_normal((300, 1))
SPECTRUM = lf.lyapunov_spectrum(CELL, X, 4)
REACH = lf.gradient_reach(lf.Model.random(CELL, 1, rng=np.random.default_rng(2)), X, times=4)
KAPPA = lf.condition_number(CELL, X, steps=[2, 4], m=3)
PLOTS = {
    "condition": (plots.condition, KAPPA),
    "condition_of_subspaces": (plots.condition_of_subspaces, KAPPA),
    "spectrum": (plots.spectrum, SPECTRUM),
    "convergence": (plots.convergence, SPECTRUM),
    "finite_time": (plots.finite_time, SPECTRUM.finite_time(10)),
    "reach": (plots.reach, REACH),
    "singular_values": (plots.singular_values, REACH),
    "horizon": (plots.horizon, REACH),
}


@pytest.mark.parametrize("name", list(PLOTS))
def test_plots_take_axes_or_make_their_own(name, tmp_path):
    plot, found = PLOTS[name]
    given = Figure().subplots()
    assert plot(found, ax=given) is given
    assert given.get_xlabel() and given.get_ylabel()
    for suffix in ("png", "pdf", "svg"):
        plot(found).figure.savefig(tmp_path / f"it.{suffix}")
    matplotlib.pyplot.close("all")


def test_what_is_drawn():
    bars = plots.spectrum(SPECTRUM, Figure().subplots()).containers[0]
    np.testing.assert_array_equal(bars.lines[0].get_ydata(), SPECTRUM.exponents)
    lines = plots.convergence(SPECTRUM, (2,), Figure().subplots()).lines
    off = np.abs(SPECTRUM.history[:-1, 1] - SPECTRUM.exponents[1])
    np.testing.assert_array_equal(lines[0].get_ydata(), off)
    # a mean over half of the run is off by about one error of the whole
    assert lines[1].get_ydata()[149] == pytest.approx(2 * SPECTRUM.stderr[1])
    lost = lf.LinearRNN(np.diag([0.5, 0.0]), np.zeros((2, 1)), np.zeros(2))
    assert len(plots.convergence(lf.lyapunov_spectrum(lost, X), ax=Figure().subplots()).lines) == 2
    assert len(plots.reach(REACH, Figure().subplots()).lines) == 3
    assert len(plots.singular_values(REACH, Figure().subplots(), most=3).lines) == 3
    direct, predicted = plots.condition(KAPPA, Figure().subplots()).lines
    np.testing.assert_allclose(direct.get_ydata(), KAPPA.log_kappa / np.log(10))
    np.testing.assert_allclose(predicted.get_ydata(), KAPPA.predicted / np.log(10))
    last = plots.condition_of_subspaces(KAPPA, Figure().subplots()).lines[0].get_ydata()
    np.testing.assert_allclose(last[[0, -1]], [0, KAPPA.log_kappa[-1] / np.log(10)])
    one = plots.condition(lf.condition_number(lost, X, steps=3), Figure().subplots())
    assert [line.get_label() for line in one.lines][-1] == "infinite or out of sight"


def test_sequences_of_different_lengths_converge_as_one_series():
    x, lengths = np.random.default_rng(2).standard_normal((60, 2, X.shape[-1])), np.array([60, 25])
    spectrum = lf.lyapunov_spectrum(CELL, x, 2, lengths=lengths)
    off, _ = plots.convergence(spectrum, 1, Figure().subplots()).lines
    assert off.get_xdata().tolist() == list(range(1, 85))
    np.testing.assert_array_equal(
        off.get_ydata(), np.abs(spectrum.history[-85:-1, 0] - spectrum.exponents[0])
    )


def test_bad_input():
    for plot, _ in PLOTS.values():
        with pytest.raises(lf.LyapflowError, match=r"this plot is of a .*, got ndarray"):
            plot(X)
    with pytest.raises(lf.LyapflowError, match="an exponent must be an integer between 1 and 4"):
        plots.convergence(SPECTRUM, (5,), Figure().subplots())
    with pytest.raises(lf.LyapflowError, match="a plot is of one network"):
        plots.spectrum(lf.lyapunov_spectrum(lf.stack([CELL]), X[None], 2))
    lost = lf.LinearRNN(np.diag([0.5, 0.0]), np.zeros((2, 1)), np.zeros(2))
    with pytest.raises(lf.LyapflowError, match="exponent 2 is -inf in some windows"):
        plots.finite_time(lf.lyapunov_spectrum(lost, X).finite_time(10), (2,), Figure().subplots())
