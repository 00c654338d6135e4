"""Lyapunov spectra: closed forms, an independent QR, error bars, derived quantities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow.lyapunov.spectrum import Spectrum
from tests.exact_systems import (
    CAT,
    HENON,
    CatMap,
    HenonMap,
    LogisticMap,
    MatrixProduct,
    TentMap,
    gaussian_product,
    mean_field_exponent,
)
from tests.test_cells import tanh_cells


def autonomous(steps):
    return np.empty((steps, 0))


def reference(cell, x, k, *, h0, q0, t_ons, transient, q_transient):
    """Exponents by NumPy's QR and the Jacobian, in the plainest way."""
    h, Q = h0, q0
    total, counted, since = np.zeros(k), 0, 0
    for t, driven in enumerate(x):
        D = lf.jacobian(cell, h, driven)
        h = np.tanh(h) @ cell.W.T + driven @ cell.V.T + cell.b
        if t < transient:
            continue
        Q = D @ Q
        since += 1
        if since == t_ons or t + 1 in (transient + q_transient, len(x)):
            Q, R = np.linalg.qr(Q)
            Q = Q * np.sign(np.diag(R))
            since = 0
            if t >= transient + q_transient:
                total += np.log(np.abs(np.diag(R)))
        counted += t >= transient + q_transient
    return total / counted


@given(tanh_cells(), st.integers(1, 4), st.integers(0, 4), st.integers(0, 5), st.integers(1, 15), st.data())
def test_against_a_plain_implementation(drawn, t_ons, transient, q_transient, counted, data):
    cell, rng = drawn
    n = len(cell.b)
    k = data.draw(st.integers(1, n))
    options = {
        "h0": rng.standard_normal(n),
        "q0": np.linalg.qr(rng.standard_normal((n, k)))[0],
        "t_ons": t_ons,
        "transient": transient,
        "q_transient": q_transient,
    }
    x = rng.standard_normal((transient + q_transient + counted, cell.V.shape[1]))
    try:
        spectrum = lf.lyapunov_spectrum(cell, x, k, **options)
    except lf.Diverged as error:
        assert "lost rank" in str(error)  # saturated: all of phi' is tiny
        return
    assert spectrum.steps_counted == counted
    assert spectrum.history.shape == (-(-counted // t_ons), k)
    # an ill-conditioned interval costs digits in both
    np.testing.assert_allclose(spectrum.exponents, reference(cell, x, k, **options), rtol=1e-5, atol=1e-5)


@given(tanh_cells())
def test_the_sum_of_all_exponents_is_the_mean_log_determinant(drawn):
    cell, rng = drawn
    x = rng.standard_normal((12, cell.V.shape[1]))
    states = np.vstack([np.zeros(len(cell.b)), lf.trajectory(cell, x)])[:-1]
    log_det = [np.linalg.slogdet(lf.jacobian(cell, h, driven))[1] for h, driven in zip(states, x)]
    try:
        exponents = lf.lyapunov_spectrum(cell, x).exponents
    except lf.Diverged:
        return
    assert exponents.sum() == pytest.approx(np.mean(log_det), abs=1e-9, rel=1e-9)


def test_cat_map():
    cell = CatMap(np.array([[2.0, 1.0], [1.0, 1.0]]))
    spectrum = lf.lyapunov_spectrum(cell, autonomous(1000), h0=np.array([0.1, 0.7]), q_transient=30)
    np.testing.assert_allclose(spectrum.exponents, [CAT, -CAT], atol=1e-12)
    assert spectrum.kaplan_yorke_dimension == pytest.approx(2)
    assert spectrum.entropy_rate == pytest.approx(CAT)


def test_henon_map():
    cell = HenonMap(np.array([1.4]), np.array([0.3]))
    spectrum = lf.lyapunov_spectrum(cell, autonomous(200_000), transient=100, q_transient=100)
    assert (np.abs(spectrum.exponents - HENON) < 5 * spectrum.stderr + 1e-5).all()
    assert (spectrum.stderr < 2e-3).all()
    assert spectrum.exponents.sum() == pytest.approx(np.log(0.3), abs=1e-12)
    assert spectrum.kaplan_yorke_dimension == pytest.approx(1.258, abs=0.002)


def test_logistic_and_tent_map():
    x, h0 = autonomous(100_000), np.array([0.3])
    logistic = lf.lyapunov_spectrum(LogisticMap(np.array([4.0])), x, h0=h0)
    assert abs(logistic.exponents[0] - np.log(2)) < 5 * logistic.stderr[0]
    assert logistic.stderr[0] < 1e-3
    tent = lf.lyapunov_spectrum(TentMap(np.array([2.0])), x, h0=h0)
    assert tent.exponents[0] == pytest.approx(np.log(2), abs=1e-11)  # rounding of a sum of 10^5
    assert lf.lyapunov_spectrum(TentMap(np.array([1.5])), x, h0=h0).exponents[0] == pytest.approx(np.log(1.5))


@pytest.mark.parametrize(("n", "bound"), [(250, 0.02), (500, 0.008), (1000, 0.004)])
def test_autonomous_network_against_mean_field_theory(n, bound):
    rng = np.random.default_rng(n)
    cell = lf.TanhRNN.random(n, 0, rng=rng, g=2.0)
    h0 = 2 * rng.standard_normal(n)
    spectrum = lf.lyapunov_spectrum(cell, autonomous(2500), 1, h0=h0, transient=200, q_transient=100)
    assert abs(spectrum.exponents[0] - mean_field_exponent(2.0)) < bound


def test_the_mean_field_value_itself():
    assert mean_field_exponent(1.5) == pytest.approx(0.065217, abs=1e-6)
    assert mean_field_exponent(2.0) == pytest.approx(0.154724, abs=1e-6)


def coverage(errors, stderr):
    return np.mean(np.abs(errors) < 2 * stderr)


def test_error_bars_of_gaussian_products():
    n, steps, seeds = 4, 2000, 150
    exact, variance = gaussian_product(n, 0.5)
    spectra = []
    for seed in range(seeds):
        x = 0.5 * np.random.default_rng(seed).standard_normal((steps, n * n))
        spectra.append(lf.lyapunov_spectrum(MatrixProduct(np.ones(n)), x))
    errors = np.array([s.exponents for s in spectra]) - exact
    stderr = np.array([s.stderr for s in spectra])
    # of 600 exponents 95 % within two error bars; the binomial standard error is 0.9 %
    assert 0.915 < coverage(errors, stderr) < 0.985
    np.testing.assert_allclose(np.sqrt((stderr**2).mean(axis=0)), np.sqrt(variance / steps), rtol=0.08)


def test_error_bars_respect_correlations():
    # growth rates that are a slow AR(1) process: the naive error bar would be too small by a factor of 6
    steps, seeds, phi = 20_000, 100, 0.95
    errors, stderr = [], []
    for seed in range(seeds):
        noise = np.random.default_rng(seed).standard_normal(steps)
        rate = np.empty(steps)
        rate[0] = noise[0] / np.sqrt(1 - phi**2)
        for t in range(1, steps):
            rate[t] = phi * rate[t - 1] + noise[t]
        spectrum = lf.lyapunov_spectrum(MatrixProduct(np.ones(1)), np.exp(0.1 * rate)[:, None])
        errors.append(spectrum.exponents[0])
        stderr.append(spectrum.stderr[0])
    assert 0.88 < coverage(np.array(errors), np.array(stderr)) <= 1.0
    assert np.mean(stderr) == pytest.approx(0.1 / (1 - phi) / np.sqrt(steps), rel=0.1)


def test_error_bars_of_the_logistic_map_err_on_the_safe_side():
    # growth rates telescope, the true error falls as 1/T: error bars cover, and are too wide
    rng = np.random.default_rng(0)
    results = [
        lf.lyapunov_spectrum(LogisticMap(np.array([4.0])), autonomous(4000), h0=rng.random(1)) for _ in range(150)
    ]
    errors = np.array([s.exponents[0] for s in results]) - np.log(2)
    stderr = np.array([s.stderr[0] for s in results])
    assert coverage(errors, stderr) > 0.95
    assert np.median(stderr) < 10 * errors.std()


@pytest.mark.parametrize("steps", [4, 9, 40, 100])
def test_error_bars_of_short_runs(steps):
    rng = np.random.default_rng(steps)
    spectra = [
        lf.lyapunov_spectrum(MatrixProduct(np.ones(1)), np.exp(rng.standard_normal((steps, 1)))) for _ in range(1000)
    ]
    errors, stderr = (np.array([getattr(s, name)[0] for s in spectra]) for name in ("exponents", "stderr"))
    assert 0.93 < coverage(errors, stderr) < 0.975


def made_up(exponents, n_state):
    exponents = np.array(exponents)
    return Spectrum(exponents, 0 * exponents, exponents[None], 1, n_state)


def test_kaplan_yorke_dimension_and_entropy_rate():
    assert made_up([0.5, -0.2, -1.0], 3).kaplan_yorke_dimension == pytest.approx(2.3)
    assert made_up([-0.2, 0.5, -1.0], 3).kaplan_yorke_dimension == pytest.approx(2.3)  # QR order may be off by noise
    assert made_up([-0.1, -0.2], 2).kaplan_yorke_dimension == 0
    assert made_up([0.3, 0.2], 2).kaplan_yorke_dimension == 2
    assert np.isnan(made_up([0.3, -0.2], 3).kaplan_yorke_dimension)  # the third is needed
    assert made_up([0.3, -0.5], 3).kaplan_yorke_dimension == pytest.approx(1.6)
    assert made_up([0.5, 0.1, -1.0], 3).entropy_rate == pytest.approx(0.6)
    assert made_up([-0.5], 3).entropy_rate == 0
    assert np.isnan(made_up([0.5, 0.1], 3).entropy_rate)


def test_a_spectrum_is_shown_in_a_few_lines():
    assert len(repr(made_up([0.5, 0.1], 3))) < 200


def test_history_ends_at_the_exponents_and_averages_the_start():
    cell = lf.TanhRNN.random(4, 1, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((10, 1))
    spectrum = lf.lyapunov_spectrum(cell, x, 2, t_ons=3)
    np.testing.assert_array_equal(spectrum.history[-1], spectrum.exponents)
    np.testing.assert_allclose(spectrum.history[1], lf.lyapunov_spectrum(cell, x[:6], 2, t_ons=3).exponents)
    assert np.isnan(lf.lyapunov_spectrum(cell, x[:3], 2).stderr).all()


def test_float32_follows_float64():
    rng = np.random.default_rng(0)
    double = lf.TanhRNN.random(20, 1, rng=rng)
    single = lf.TanhRNN(*(a.astype(np.float32) for a in double))
    x = rng.standard_normal((50, 1))
    a = lf.lyapunov_spectrum(double, x, 15).exponents
    b = lf.lyapunov_spectrum(single, x.astype(np.float32), 15).exponents
    assert b.dtype == np.float32
    np.testing.assert_allclose(a, b, atol=2e-4)


def test_the_first_exponents_do_not_depend_on_k():
    rng = np.random.default_rng(0)
    cell, x = lf.TanhRNN.random(10, 1, rng=rng), rng.standard_normal((30, 1))
    all_of_them = lf.lyapunov_spectrum(cell, x).exponents
    np.testing.assert_allclose(lf.lyapunov_spectrum(cell, x, 3).exponents, all_of_them[:3], atol=1e-12)


@pytest.mark.parametrize("batch", [(), (4,)])
def test_trajectory(batch):
    rng = np.random.default_rng(0)
    cell = lf.TanhRNN.random(5, 2, rng=rng)
    x, h = rng.standard_normal((7, *batch, 2)), rng.standard_normal((*batch, 5))
    states = lf.trajectory(cell, x, h)
    assert states.shape == (7, *batch, 5)
    for t in range(7):
        h = np.tanh(h) @ cell.W.T + x[t] @ cell.V.T + cell.b
        np.testing.assert_allclose(states[t], h, atol=1e-13)
