"""How spectra look to people and to other programs."""

import doctest
import sys

import numpy as np
import pytest

import lyapflow as lf
import lyapflow.learning.history

CELL = lf.TanhRNN.random(6, 1, rng=np.random.default_rng(0), g=3.0)
X = np.random.default_rng(1).standard_normal((300, 2, 1))


def test_a_few_lines_say_what_matters():
    spectrum = lf.lyapunov_spectrum(CELL, X, t_ons=3, transient=30)
    first, *others = repr(spectrum).splitlines()
    assert first == "Spectrum, 6 of 6 exponents: 2 trajectories, 270 steps, t_ons=3"
    assert [line.split()[0] for line in others] == ["first", "last", "dimension"]
    value, error = spectrum.exponents[0], 2 * spectrum.stderr[0]
    assert f"{value:.3f} ± {error:.3f} nats per step" in others[0]
    assert "nats per unit of time" in repr(spectrum.per(0.1))
    html = spectrum._repr_html_()
    assert html.startswith("<table>") and html.count("<tr>") == 4
    assert others[0][12:] in html


@pytest.mark.filterwarnings("ignore::lyapflow.LyapflowWarning")
def test_lost_directions_and_lost_networks_are_counted():
    lost = lf.LinearRNN(np.diag([0.5, 0.0]), np.zeros((2, 1)), np.zeros(2))
    said = repr(lf.lyapunov_spectrum(lost, X))
    assert "first     -0.697" in said and "-inf      1" in said and "last" not in said
    wild = lf.LinearRNN(np.diag([1e9, 1.0]), np.ones((2, 1)), np.zeros(2))
    both = lf.lyapunov_spectrum(lf.stack([lost, wild]), np.stack([X, X]))
    said = repr(both).splitlines()
    assert said[0] == "2 spectra, 2 of 2 exponents: 2 trajectories, 300 steps, t_ons=1"
    assert said[1] == "  first from -0.6967 to -0.6967 nats per step"
    assert said[2] == "  lost  1 networks, see reasons"


@pytest.mark.filterwarnings("ignore::lyapflow.LyapflowWarning")
def test_an_exponent_that_is_zero_within_its_bar_is_not_called_positive():
    leaky = lf.RateRNN.random(40, 0, rng=np.random.default_rng(6), g=2.5, leak=0.1)
    h0 = np.random.default_rng(2).standard_normal(40)
    cycle = lf.lyapunov_spectrum(leaky, steps=6000, h0=h0, transient=4000, q_transient=500)
    assert abs(cycle.exponents[0]) <= 2 * cycle.stderr[0]
    assert repr(cycle).endswith("exponents: 0 positive, 1 zero within bars")
    growing = lf.LinearRNN(np.diag([1.5, 1.2]), np.empty((2, 0)), np.zeros(2))
    few = lf.lyapunov_spectrum(growing, steps=20, k=1, h0=np.ones(2))
    assert repr(few).endswith("needs a larger k; exponents: 1 positive")


def test_local_exponents_and_reach_say_what_they_come_to():
    local = lf.lyapunov_spectrum(CELL, X, 2).finite_time(50)
    first, *others = repr(local).splitlines()
    assert first == "FiniteTime, 12 windows of 50 steps, 2 exponents"
    low, high = local.quantiles([0.05, 0.95])[:, 1]
    assert f"{local.mean[1]:.4g}, standard deviation {local.std[1]:.2g}" in others[1]
    assert others[1].endswith(f"from {low:.4g} to {high:.4g} in 90 % of the windows")
    assert local._repr_html_().count("<tr>") == 3
    model = lf.Model.random(CELL, 1, rng=np.random.default_rng(2))
    found = lf.gradient_reach(model, X, [1, 5, 30])
    first, norms, readout, horizon = repr(found).splitlines()
    assert first == "Reach, 32 times, lags from 1 to 30"
    median = found.quartiles()[1, -1] / np.log(10)
    assert norms.startswith(f"  norms   10^{median:.1f} over 30 steps")
    assert readout.startswith("  readout 10^")
    far = found.horizon()
    steps = "more than 30" if np.isinf(far) else f"{far:.0f}"
    assert horizon == f"  horizon {steps} steps for changes of 0.001"


def test_pandas_has_a_row_for_each_exponent():
    spectrum = lf.lyapunov_spectrum(CELL, X, 4)
    table = spectrum.to_pandas()
    assert table.index.name == "exponent" and table.loc[2, "stderr"] == spectrum.stderr[1]
    both = lf.lyapunov_spectrum(lf.stack([CELL, CELL]), np.stack([X, -X]), 4)
    assert both.to_pandas().loc[(1, 3), "exponents"] == both.exponents[1, 2]
    layers = lf.layers(CELL, lf.GRU.random(3, 6, rng=np.random.default_rng(0)))
    found = lf.lyapunov_spectrum(layers, X)
    assert found.to_pandas()["layer"].tolist() == found.layer.tolist()


def test_xarray_has_named_axes():
    spectrum = lf.lyapunov_spectrum(CELL, X, 4, t_ons=7)
    data = spectrum.to_xarray()
    assert data.sizes == {"exponent": 4, "trajectory": 2, "reorthonormalisation": 43, "unit": 6}
    np.testing.assert_array_equal(data.log_growth.sel(exponent=2), spectrum.log_growth[:, :, 1])
    means = data.log_growth.sum("reorthonormalisation") / data.intervals.sum()
    np.testing.assert_allclose(means.mean("trajectory"), spectrum.exponents)
    assert data.attrs == {"n_state": 6, "t_ons": 7}
    both = lf.lyapunov_spectrum(lf.stack([CELL, CELL]), np.stack([X, -X]), 4).to_xarray()
    assert both.history.dims == ("network", "reorthonormalisation", "exponent")
    lengths = lf.lyapunov_spectrum(CELL, X, 4, lengths=np.array([300, 100])).to_xarray()
    assert lengths.intervals.dims == ("trajectory", "reorthonormalisation")
    assert "history" not in lengths


@pytest.mark.parametrize("library", ["pandas", "xarray"])
def test_what_is_not_installed_is_named(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    spectrum = lf.lyapunov_spectrum(CELL, X, 1)
    with pytest.raises(lf.LyapflowError, match=rf"needs {library}, .* 'lyapflow\[tables\]'"):
        getattr(spectrum, f"to_{library}")()


MODELS = [
    lf.Model.random(
        lf.TanhRNN.random(4, 1, rng=np.random.default_rng(i)), 1, rng=np.random.default_rng(i)
    )
    for i in range(2)
]
TASK, HOW = lf.tasks.DelayedCopy(2), {"T": 20, "epochs": 3, "measure_every": 2}


def test_a_history_says_how_it_went():
    _, history = lf.train(MODELS[0], TASK, seed=0, **HOW)
    first, loss, exponent = repr(history).splitlines()
    assert first == "History, 3 training epochs, 0 flossing epochs, 3 measurements"
    losses = history.training["loss"]
    assert loss.split() == f"loss {losses[0]:.4g} at first, {losses[-1]:.4g} at last".split()
    lambda_1 = history.measurement["exponents"][:, 0]
    assert f"{lambda_1[0]:.4g} at first, {lambda_1[-1]:.4g} at last" in exponent
    assert history._repr_html_().count("<tr>") == 3
    assert repr(type(history)()) == "History, 0 training epochs, 0 flossing epochs, 0 measurements"

    table = history.to_pandas()
    assert table["loss"].tolist() == losses.tolist()
    measured = history.to_pandas("measurement")
    assert measured["exponents_1"].tolist() == lambda_1.tolist()
    with pytest.raises(lf.LyapflowError, match="kind must be one of 'training', 'flossing'"):
        history.to_pandas("loss")

    _, both = lf.train(lf.stack(MODELS), TASK, seed=(0, 1), **HOW)
    table = both.to_pandas("measurement").set_index(["epoch", "network"])
    assert table.loc[(2, 1), "exponents_4"] == both.measurement[1].exponents[1, 3]
    assert table.loc[(0, 0), "exponents_1"] == lambda_1[0]
    assert " to " in repr(both).splitlines()[1]


def test_examples_of_histories():
    found = doctest.testmod(lyapflow.learning.history)
    assert found.attempted and not found.failed


def test_a_run_folder_says_how_far_it_is(tmp_path):
    folder = lf.RunFolder(tmp_path / "run")
    assert repr(folder).splitlines()[1].startswith("  nothing ")
    lf.train(MODELS[0], TASK, seed=0, folder=tmp_path / "run", **HOW)
    first, task, done, *others = repr(folder).splitlines()
    assert first == f"RunFolder, {tmp_path / 'run'}"
    assert task.split() == ["task", "DelayedCopy", "delay=2"]
    assert done.split()[:5] == "done 3 of 3 epochs;".split()
    assert [line.split()[0] for line in others] == ["loss", "λ₁"]
    assert folder._repr_html_().count("<tr>") == 5


def test_runs_show_how_far_they_are(capsys):
    _, history = lf.train(MODELS[0], TASK, seed=0, **HOW)
    _, shown = lf.train(MODELS[0], TASK, seed=0, progress=True, **HOW)
    assert shown == history
    assert "network: epoch 3/3  loss" in capsys.readouterr().out
    lf.train(lf.stack(MODELS), TASK, seed=(0, 1), progress=True, **HOW)
    assert "network: epoch 3/3  loss" in capsys.readouterr().out
    lf.floss(CELL, lambda epoch: X[:20], k=1, epochs=250, progress=True)
    assert "network: flossing 1/1 250/250  flossing loss" in capsys.readouterr().out
