"""Lyapunov spectra: closed forms, and an independent QR."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import sizes
from tests.exact_systems import (
    CAT,
    HENON,
    CatMap,
    HenonMap,
    LogisticMap,
    TentMap,
    autonomous,
    mean_field_exponent,
)
from tests.gradcheck import cells, next_state, sigma
from tests.test_cells import each_cell, each_dtype, each_kind
from tests.test_dimension import made_up


def reference(cell, x, k, *, h0, q0, transient, q_transient):
    """Exponents by NumPy's QR of every step and the Jacobian, in the plainest way."""
    h, Q, total = h0, q0, np.zeros(k)
    for t, driven in enumerate(x):
        if t >= transient:
            Q, R = np.linalg.qr(lf.jacobian(cell, h, driven) @ Q)
            if t >= transient + q_transient:
                total += np.log(np.abs(np.diag(R)))
        h = next_state(cell, h, driven)
    return total / (len(x) - transient - q_transient)


def drive(cell, rng, steps):
    return rng.standard_normal((steps, sizes(cell).inputs)), rng.standard_normal(sizes(cell).state)


@each_cell
@given(st.data(), st.integers(1, 4), st.integers(0, 4), st.integers(0, 5), st.integers(1, 15))
def test_against_a_plain_implementation(cell_class, data, t_ons, transient, q_transient, counted):
    cell, rng = data.draw(cells(cell_class, gains=[1e-3, 0.5, 1.0, 3.0]))
    x, h0 = drive(cell, rng, transient + q_transient + counted)
    k = data.draw(st.integers(1, h0.size))
    options = {
        "h0": h0,
        "q0": np.linalg.qr(rng.standard_normal((h0.size, k)))[0],
        "transient": transient,
        "q_transient": q_transient,
    }
    spectrum = lf.lyapunov_spectrum(cell, x, k, t_ons=t_ons, **options)
    assert spectrum.steps_counted == counted
    assert spectrum.history.shape == (-(-counted // t_ons), k)
    kept = np.isfinite(spectrum.exponents)
    assert not kept[np.argmin(kept) :].any() or kept.all()  # those without volume come last
    with np.errstate(divide="ignore"):
        plain = reference(cell, x, k, **options)
    # an ill-conditioned step costs digits in both
    np.testing.assert_allclose(spectrum.exponents[kept], plain[kept], rtol=1e-8, atol=1e-8)


@each_kind
@each_dtype
@given(data=st.data())
def test_the_sum_of_all_exponents_is_the_mean_log_determinant(cell_class, dtype, data):
    cell, rng = data.draw(cells(cell_class, dtype, gains=[0.5, 1.0, 3.0]))
    x, h0 = (a.astype(dtype) for a in drive(cell, rng, 12))
    states = np.vstack([h0, lf.trajectory(cell, x, h0)])[:-1]
    exact = map_arrays(lambda a: a.astype(float), cell)
    jacobians = [
        lf.jacobian(exact, h, driven) for h, driven in zip(states.astype(float), x.astype(float))
    ]
    singular_values = np.linalg.svd(jacobians, compute_uv=False)
    exponents = lf.lyapunov_spectrum(cell, x, h0=h0).exponents
    if not np.isfinite(exponents).all():  # then some step has no volume to speak of
        assert (singular_values[:, -1] <= 1e-12 * singular_values[:, 0]).any()
        return
    assume((singular_values[:, -1] > 1e3 * np.finfo(dtype).eps * singular_values[:, 0]).all())
    tolerance = 1e-7 if dtype is np.float64 else 0.05
    assert exponents.sum() == pytest.approx(
        np.log(singular_values).sum(axis=1).mean(), abs=tolerance, rel=tolerance
    )


@each_dtype
@pytest.mark.parametrize("cell_class", [lf.LinearRNN, lf.ReluRNN])
def test_a_constant_jacobian_has_the_eigenvalues_moduli(cell_class, dtype):
    # positive weights, states and inputs: every unit of the ReLU network is active
    moduli = np.array([0.9, 0.7, 0.5, 0.3])
    rng = np.random.default_rng(0)
    basis = np.eye(4) + 0.1 * rng.random((4, 4))
    W = (basis * moduli @ np.linalg.inv(basis)).astype(dtype)
    cell = cell_class(W, np.ones((4, 1), dtype), np.full(4, 10, dtype))
    x = rng.random((400, 1)).astype(dtype)
    spectrum = lf.lyapunov_spectrum(cell, x, h0=np.full(4, 10, dtype), q_transient=100)
    tolerance = 1e-10 if dtype is np.float64 else 1e-5
    np.testing.assert_allclose(spectrum.exponents, np.log(moduli), atol=tolerance)


@each_dtype
def test_an_orthogonal_linear_network_has_exponents_ln_g(dtype):
    cell = lf.LinearRNN.random(
        12, 1, rng=np.random.default_rng(0), g=0.8, weights="orthogonal", dtype=dtype
    )
    x = np.random.default_rng(1).standard_normal((50, 1)).astype(dtype)
    for t_ons in (1, 7):
        exponents = lf.lyapunov_spectrum(cell, x, t_ons=t_ons).exponents
        np.testing.assert_allclose(exponents, np.log(0.8), atol=10 * np.finfo(dtype).eps)


@each_dtype
def test_gates_alone(dtype):
    # without recurrent weights a GRU's D is diag(z), and an LSTM's c moves by diag(f) and takes h
    # along
    rng = np.random.default_rng(0)
    argument = np.linspace(1, -1, 5).astype(dtype)
    log_gate = np.log(sigma(argument.astype(float)))
    b = rng.standard_normal((4, 5)).astype(dtype)
    b[1] = argument
    autonomous_x = np.empty((800, 0), dtype)
    tolerance = 1e-9 if dtype is np.float64 else 1e-5
    gru = lf.GRU(np.zeros((3, 5, 5), dtype), np.empty((3, 5, 0), dtype), b[:3], b[0])
    found = lf.lyapunov_spectrum(gru, autonomous_x, q_transient=400).exponents
    np.testing.assert_allclose(found, log_gate, atol=tolerance)
    lstm = lf.LSTM(np.zeros((4, 5, 5), dtype), np.empty((4, 5, 0), dtype), b)
    found = lf.lyapunov_spectrum(lstm, autonomous_x, q_transient=400).exponents
    np.testing.assert_allclose(found[:5], log_gate, atol=tolerance)
    assert (found[5:] == -np.inf).all()


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
    assert lf.lyapunov_spectrum(TentMap(np.array([1.5])), x, h0=h0).exponents[0] == pytest.approx(
        np.log(1.5)
    )


@pytest.mark.parametrize(("n", "bound"), [(250, 0.02), (500, 0.008), (1000, 0.004)])
def test_autonomous_network_against_mean_field_theory(n, bound):
    rng = np.random.default_rng(n)
    cell = lf.TanhRNN.random(n, 0, rng=rng, g=2.0)
    h0 = 2 * rng.standard_normal(n)
    spectrum = lf.lyapunov_spectrum(
        cell, autonomous(2500), 1, h0=h0, transient=200, q_transient=100
    )
    assert abs(spectrum.exponents[0] - mean_field_exponent(2.0)) < bound


def test_the_mean_field_value_itself():
    assert mean_field_exponent(1.5) == pytest.approx(0.065217, abs=1e-6)
    assert mean_field_exponent(2.0) == pytest.approx(0.154724, abs=1e-6)


def test_a_spectrum_is_shown_in_a_few_lines():
    assert len(repr(made_up([0.5, 0.1], 3))) < 200


def test_history_ends_at_the_exponents_and_averages_the_start():
    cell = lf.TanhRNN.random(4, 1, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((10, 1))
    spectrum = lf.lyapunov_spectrum(cell, x, 2, t_ons=3)
    np.testing.assert_array_equal(spectrum.history[-1], spectrum.exponents)
    np.testing.assert_allclose(
        spectrum.history[1], lf.lyapunov_spectrum(cell, x[:6], 2, t_ons=3).exponents
    )
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
    np.testing.assert_allclose(
        lf.lyapunov_spectrum(cell, x, 3).exponents, all_of_them[:3], atol=1e-12
    )


def test_a_batch_of_trajectories_is_averaged():
    rng = np.random.default_rng(0)
    cell, x, h0 = (
        lf.TanhRNN.random(6, 1, rng=rng),
        rng.standard_normal((80, 5, 1)),
        rng.standard_normal((5, 6)),
    )
    together = lf.lyapunov_spectrum(cell, x, 4, h0=h0, q_transient=5)
    alone = [lf.lyapunov_spectrum(cell, x[:, b], 4, h0=h0[b], q_transient=5) for b in range(5)]
    np.testing.assert_array_equal(together.trajectories, [s.exponents for s in alone])
    np.testing.assert_allclose(
        together.exponents, np.mean(together.trajectories, axis=0), rtol=1e-14
    )
    np.testing.assert_allclose(
        together.history, np.mean([s.history for s in alone], axis=0), rtol=1e-13
    )
    np.testing.assert_allclose(
        together.spread, np.std(together.trajectories, axis=0, ddof=1), rtol=1e-14
    )
    assert np.isnan(alone[0].spread).all()
    assert together.steps_counted == 75


@pytest.mark.filterwarnings("ignore:growth rates stay")
def test_how_often_each_way_of_qr_ran_is_told():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 1))
    once = lf.lyapunov_spectrum(lf.TanhRNN.random(8, 1, rng=rng), x, 2).factorisations
    np.testing.assert_array_equal(once, [50, 0, 0, 0])
    saturated = lf.lyapunov_spectrum(lf.TanhRNN.random(8, 1, rng=rng, g=30.0), x, 8).factorisations
    assert saturated[2] > 0 and saturated[3] > 0
    batch = lf.lyapunov_spectrum(
        lf.TanhRNN.random(8, 1, rng=rng), rng.standard_normal((50, 3, 1)), 2
    ).factorisations
    assert batch.sum() == 150


@pytest.mark.parametrize(("steps", "batch", "k"), [(40_000, 1, 4), (10_000, 3, 4), (60_000, 1, 1)])
def test_what_memory_would_not_hold_is_refused_before_the_sweep(monkeypatch, steps, batch, k):
    """The estimate is about the peak that is measured."""
    cell, x = lf.TanhRNN.random(4, 1, rng=np.random.default_rng(0)), np.ones((steps, batch, 1))
    lf.lyapunov_spectrum(cell, x[:5], k)
    tracemalloc.start()
    lf.lyapunov_spectrum(cell, x, k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    monkeypatch.setattr("lyapflow._checks.half_of_memory", lambda: 2 * peak)
    lf.lyapunov_spectrum(cell, x, k)
    monkeypatch.setattr("lyapflow._checks.half_of_memory", lambda: 0.8 * peak)
    monkeypatch.setattr("lyapflow.lyapunov.course.volume_growth", None)
    with pytest.raises(lf.LyapflowError, match=r"would take .* make it smaller"):
        lf.lyapunov_spectrum(cell, x, k)
