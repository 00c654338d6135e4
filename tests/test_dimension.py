"""Kaplan-Yorke dimension and entropy rate: closed cases, and their standard errors."""

import dataclasses

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.lyapunov.dimension import entropy_rate, kaplan_yorke
from lyapflow.lyapunov.measured import Spectrum
from tests.exact_systems import MatrixProduct, autonomous


def made_up(exponents, n_state):
    exponents = np.array(exponents)
    k = len(exponents.T)
    counts = 1, n_state, 1, np.zeros(4, int), np.zeros(k, int)
    growth = np.zeros((1, 1, k)), np.ones(1), np.zeros((1, n_state)), None
    return Spectrum(exponents, np.zeros_like(exponents), exponents[None], *counts, *growth)


def test_kaplan_yorke_dimension_and_entropy_rate():
    assert made_up([0.5, -0.2, -1.0], 3).kaplan_yorke_dimension == pytest.approx(2.3)
    # QR order may be off by noise
    assert made_up([-0.2, 0.5, -1.0], 3).kaplan_yorke_dimension == pytest.approx(2.3)
    assert made_up([-0.1, -0.2], 2).kaplan_yorke_dimension == 0
    assert made_up([0.3, 0.2], 2).kaplan_yorke_dimension == 2
    assert np.isnan(made_up([0.3, -0.2], 3).kaplan_yorke_dimension)  # the third is needed
    assert made_up([0.3, -0.5], 3).kaplan_yorke_dimension == pytest.approx(1.6)
    assert made_up([0.5, 0.1, -1.0], 3).entropy_rate == pytest.approx(0.6)
    assert made_up([-0.5], 3).entropy_rate == 0
    assert np.isnan(made_up([0.5, 0.1], 3).entropy_rate)
    assert made_up([0.3, -np.inf], 2).kaplan_yorke_dimension == 1
    assert made_up([0.3, -np.inf], 2).entropy_rate == 0.3
    assert made_up([-np.inf, -np.inf], 2).kaplan_yorke_dimension == 0
    assert np.isnan(made_up([np.nan, np.nan], 2).kaplan_yorke_dimension)
    assert np.isnan(made_up([np.nan, np.nan], 2).entropy_rate)
    two = made_up([[0.5, -0.2, -1.0], [-0.1, -0.2, -0.3]], 3)
    np.testing.assert_allclose(two.kaplan_yorke_dimension, [2.3, 0])
    np.testing.assert_allclose(two.entropy_rate, [0.5, 0])


def test_a_wide_bar_of_a_late_exponent_does_not_raise_the_dimension():
    found = dataclasses.replace(
        made_up([0.1, -0.3, -5.0], 3), deviations=np.diag([1e-3, 1e-3, 4.0])
    )
    assert found.kaplan_yorke_dimension == pytest.approx(4 / 3)


def determinant_one(rng, steps):
    a = rng.standard_normal((steps, 2, 2))
    a[:, 0] *= np.sign(np.linalg.det(a))[:, None]
    return a / np.sqrt(np.linalg.det(a))[:, None, None]


def test_dimension_of_marginal_systems():
    cell = lf.LinearRNN.random(3, 0, rng=np.random.default_rng(0), weights="orthogonal")
    spectrum = lf.lyapunov_spectrum(cell, autonomous(100), h0=np.ones(3))
    assert spectrum.kaplan_yorke_dimension == 3
    assert spectrum.kaplan_yorke_stderr == 0
    none = np.zeros((0, 3))
    assert kaplan_yorke(np.array([-1e-16, -1e-16, -0.5]), none, 3)[0] == 2
    assert kaplan_yorke(np.array([-1e-10, -1e-10, -0.5]), none, 3)[0] == 0
    uncertain = np.diag([0.01, 0.01, 0.01])
    assert kaplan_yorke(np.array([-0.015, -0.5, -0.6]), uncertain, 3)[0] == 1  # zero, by its bar
    assert kaplan_yorke(np.array([-0.025, -0.5, -0.6]), uncertain, 3)[0] == 0


def test_errors_that_cancel():
    opposite = np.array([[0.01, -0.01]])
    assert kaplan_yorke(np.array([0.5, -0.5]), opposite, 2) == (2, 0)
    assert entropy_rate(np.array([0.5, -0.5]), opposite, 2) == (0.5, 0.01)
    assert entropy_rate(
        np.array([0.5, 0.4, -2.0]), np.array([[0.01, 0.01, 0.1]]), 3
    ) == pytest.approx((0.9, 0.02))
    one = np.diag([0.01, 0.02])
    assert kaplan_yorke(np.array([0.5, -1.0]), one, 2) == pytest.approx(
        (1.5, np.hypot(0.01, 0.5 * 0.02))
    )
    # a sum near zero moves the dimension by no step: it is not taken for zero
    assert kaplan_yorke(np.array([0.5, -0.505]), one, 2) == pytest.approx(
        (1 + 0.5 / 0.505, np.hypot(0.01 / 0.505, 0.02 * 0.5 / 0.505**2))
    )
    three = np.diag([0.01, 0.02, 0.02])
    for last in (-0.495, -0.505):  # two percent, and not at 2 twice
        found, _ = kaplan_yorke(np.array([0.5, last, -1.0]), three, 3)
        assert found == pytest.approx(2.005 if last > -0.5 else 1 + 0.5 / 0.505)
    spectrum = lf.lyapunov_spectrum(
        MatrixProduct(np.ones(2)), determinant_one(np.random.default_rng(0), 500).reshape(500, 4)
    )
    assert spectrum.stderr[0] == pytest.approx(spectrum.stderr[1])
    assert spectrum.kaplan_yorke_dimension == pytest.approx(2)
    assert spectrum.kaplan_yorke_stderr < 1e-10


def test_standard_errors_of_dimension_and_entropy_are_their_scatter():
    spectra = []
    for seed in range(150):
        x = 0.8 * np.random.default_rng(seed).standard_normal((400, 16))
        spectra.append(lf.lyapunov_spectrum(MatrixProduct(np.ones(4)), x))
    for number in ("kaplan_yorke_dimension", "entropy_rate"):
        values = np.array([getattr(s, number) for s in spectra])
        stderr = np.array(
            [getattr(s, number.replace("_dimension", "") + "_stderr") for s in spectra]
        )
        assert stderr.mean() == pytest.approx(values.std(), rel=0.15), number


def test_derived_numbers_of_an_ensemble():
    rng = np.random.default_rng(0)
    cells = lf.stack([lf.TanhRNN.random(6, 1, rng=rng, g=g) for g in (0.5, 3.0)])
    x = rng.standard_normal((2, 300, 1))
    together = lf.lyapunov_spectrum(cells, x)
    for r in range(2):
        alone = lf.lyapunov_spectrum(cells[r], x[r])
        for name in (
            "kaplan_yorke_dimension",
            "kaplan_yorke_stderr",
            "entropy_rate",
            "entropy_rate_stderr",
        ):
            assert getattr(together, name)[r] == getattr(alone, name)
