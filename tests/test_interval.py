"""Intervals between QRs that choose themselves."""

import numpy as np
import pytest

import lyapflow as lf
from tests.gradcheck import random_cell
from tests.test_cells import each_dtype, each_kind


@pytest.mark.filterwarnings("ignore:growth rates stay")
@each_kind
@each_dtype
def test_automatic_intervals(cell_class, dtype):
    rng = np.random.default_rng(0)
    lengths = []
    for gain in (0.1, 0.5, 1.0):
        cell = random_cell(cell_class, 12, 1, rng, gain, dtype)
        x = rng.standard_normal((400, 1)).astype(dtype)
        for k in (1, 4, 12):
            options = {"transient": 5, "q_transient": 20}
            plain = lf.lyapunov_spectrum(cell, x, k, **options)
            automatic = lf.lyapunov_spectrum(cell, x, k, t_ons="auto", **options)
            assert automatic.t_ons * len(automatic.history) >= automatic.steps_counted
            np.testing.assert_allclose(
                automatic.exponents, plain.exponents, atol=1e-8 if dtype == np.float64 else 1e-3
            )
            lengths.append(automatic.t_ons)
    assert dtype == np.float32 or max(lengths) > 1


@pytest.mark.filterwarnings("ignore:growth rates stay")
def test_an_interval_that_becomes_ill_conditioned_later_is_done_again():
    rng = np.random.default_rng(0)
    cell = lf.TanhRNN.random(8, 1, rng=rng)
    x = np.zeros((400, 1))
    x[200:] = 3 * rng.standard_normal((200, 1))  # saturation, of which the short sweep sees nothing
    spectrum = lf.lyapunov_spectrum(cell, x, 4, t_ons="auto")
    assert spectrum.t_ons > 1 and spectrum.factorisations[3] > 0
    np.testing.assert_allclose(
        spectrum.exponents, lf.lyapunov_spectrum(cell, x, 4).exponents, atol=1e-8
    )
    flossed, plain = (lf.flossing_value_and_grad(cell, x, 4, t_ons=t_ons) for t_ons in ("auto", 1))
    np.testing.assert_array_equal(flossed[2], plain[2])


@pytest.mark.filterwarnings("ignore:growth rates stay")
def test_automatic_intervals_of_an_ensemble():
    rng = np.random.default_rng(0)
    cells = lf.stack([lf.TanhRNN.random(8, 1, rng=rng, g=g) for g in (0.3, 1.0, 2.0)])
    x = rng.standard_normal((3, 300, 1))
    spectra = lf.lyapunov_spectrum(cells, x, 6, t_ons="auto")
    for r in range(3):
        alone = lf.lyapunov_spectrum(cells[r], x[r], 6, t_ons="auto")
        np.testing.assert_array_equal(spectra.exponents[r], alone.exponents)
        np.testing.assert_array_equal(spectra.history[r, -len(alone.history) :], alone.history)
        assert spectra.t_ons[r] == alone.t_ons
        np.testing.assert_array_equal(spectra.factorisations[r], alone.factorisations)


@pytest.mark.filterwarnings("ignore:growth rates stay")  # short runs are meant here
def test_automatic_intervals_belong_to_each_member():
    good, bad = (
        lf.LinearRNN(np.eye(1), np.empty((1, 0)), np.zeros(1)),
        lf.LinearRNN(np.full((1, 1), 1e200), np.empty((1, 0)), np.zeros(1)),
    )
    spectra = lf.lyapunov_spectrum(
        lf.stack([good, bad]), steps=100, h0=np.ones((2, 1)), t_ons="auto"
    )
    assert spectra.exponents[0] == pytest.approx(0)
    assert np.isnan(spectra.exponents[1])
    assert "finite" in spectra.reasons[1]


@each_dtype
def test_automatic_intervals_are_as_long_as_the_bound_lets_them(dtype):
    """R is diag(1, e^-t) after t steps: ε^(-1/6) is e^6.007 in float64, e^2.657 in float32."""
    W = np.diag(np.exp([0.0, -1.0])).astype(dtype)
    cell = lf.LinearRNN(W, np.empty((2, 0), dtype), np.zeros(2, dtype))
    options = {"steps": 500, "h0": np.ones(2, dtype), "q_transient": 60, "t_ons": "auto"}
    found = lf.lyapunov_spectrum(cell, **options)
    assert found.t_ons == {np.float64: 6, np.float32: 2}[dtype]
    assert (
        lf.lyapunov_spectrum(cell, k=1, **options).t_ons == 48
    )  # one direction alone has no ratio
