"""Directions that rounding errors outgrow: they are found, and others are not suspected."""

import warnings

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.cells.interface import step, tangent
from lyapflow.lyapunov.course import begin
from lyapflow.lyapunov.problem import problem
from lyapflow.lyapunov.rounding import measured_errors, rounding_errors
from lyapflow.precision.arithmetic import arithmetic, exact
from lyapflow.precision.spectrum import exponents
from tests.exact_systems import DelayedHenonMap, autonomous


def delay_line_behind_a_network(rng, taps, steps=120):
    core, n = 3, 3 + taps
    W, V = np.zeros((n, n)), np.zeros((n, 1))
    W[:core, :core], W[core:, core - 1 : -1], V[:core] = (
        rng.standard_normal((core, core)),
        np.eye(taps),
        1.0,
    )
    x, h0 = rng.standard_normal((steps, 1)), 0.5 * rng.standard_normal(n)
    return lf.TanhRNN(W, V, np.zeros(n)), x, h0


def test_delay_lines_that_rounding_errors_outgrow():
    def spectrum(n, **options):
        cell = DelayedHenonMap(np.array([1.4]), np.array([0.3]), np.zeros(n))
        return lf.lyapunov_spectrum(cell, autonomous(2100), 2, transient=100, **options)

    for n in (5, 15):
        found = spectrum(n)
        assert found.exponents[1] == pytest.approx(-1.623, abs=0.01)
    for n in (30, 50, 100):
        for q_transient in (0, 200):
            with pytest.warns(lf.LyapflowWarning, match="ask for k <= 1"):
                spectrum(n, q_transient=q_transient)
    assert lf.lyapunov_spectrum(
        DelayedHenonMap(np.array([1.4]), np.array([0.3]), np.zeros(100)),
        autonomous(2100),
        1,
        transient=100,
    ).exponents[0] == pytest.approx(0.42, abs=0.02)


def test_a_state_that_has_not_settled_is_no_delay_line():
    # the block of this network loses 40 nats while the state grows from nearly zero
    rng = np.random.default_rng(2)
    cell = lf.TanhRNN.random(100, 0, rng=rng, g=2.0)
    h0 = 0.1 * rng.standard_normal(100)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        lf.lyapunov_spectrum(cell, autonomous(600), h0=h0)
    assert not any("outgrow" in str(warning.message) for warning in said)


@pytest.mark.parametrize("t_ons", [1, 5, "auto"])
def test_short_runs_of_delay_lines_that_rounding_errors_outgrow(t_ons):
    cell, x, h0 = delay_line_behind_a_network(np.random.default_rng(6), 38)
    with pytest.warns(lf.LyapflowWarning, match="outgrow"):
        lf.lyapunov_spectrum(cell, x, 3, h0=h0, t_ons=t_ons)


def test_rounding_errors_are_measured():
    """In delay lines of a few lengths, against 300 bits: what is harmed, and by how much at most, is found."""
    unharmed = 0
    for seed in range(12):
        cell, x, h0 = delay_line_behind_a_network(
            np.random.default_rng(seed), (4, 6, 38)[seed % 3], steps=80
        )
        given = problem((step, tangent), cell, x, 3, None, h0, None, 1, 0, 0)
        errors = measured_errors(given)
        a = arithmetic(None)
        with a.precision(300):
            mp = exponents(
                a, lf.TanhRNN(*(exact(a, array) for array in cell)), x, h0, given.block.T
            )
            mp = np.array([a.to_float(value) for value in mp])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = lf.lyapunov_spectrum(cell, x, 3, h0=h0).exponents
        real = np.abs(found - mp)
        if np.isinf(errors).any():
            assert (real > 1e-3).any()
        else:
            assert (real <= np.maximum(1e-12, 30 * errors)).all()
            assert (errors <= np.maximum(1e-10, 1000 * real)).all()
            unharmed += 1
    assert unharmed == 8


def test_zeros_of_all_vectors_but_the_first_are_rounded():
    # the second is where it stays for ever if its zeros are exact
    cell = lf.LinearRNN(np.diag([0.9, 0.5, 0.7]), np.empty((3, 0)), np.zeros(3))
    given = problem((step, tangent), cell, None, 3, 400, None, np.eye(3), 1, 0, 0)
    errors = measured_errors(given)
    assert errors[0] < 1e-12
    np.testing.assert_array_equal(np.isinf(errors), [False, True, True])


def test_float32_networks_whose_sweep_was_done_in_float64_have_its_rounding_errors(monkeypatch):
    rng = np.random.default_rng(0)
    cell = lf.TanhRNN.random(16, 1, rng=rng, dtype=np.float32)
    x = rng.standard_normal((100, 1)).astype(np.float32)
    given = problem((step, tangent), cell, x, 14, None, None, None, 1, 0, 0)
    (course,) = begin([given]).courses
    (growth,) = course.found
    assert growth.dtype == np.float64  # the last of 16 cannot be told from noise in float32
    monkeypatch.setattr("lyapflow.lyapunov.rounding.measured_errors", None)
    assert not rounding_errors(course).any()
    with pytest.raises(TypeError):
        rounding_errors(course._replace(found=[growth._replace(dtype=np.dtype(np.float32))]))


def test_rounding_errors_are_in_the_error_bars(monkeypatch):
    rng = np.random.default_rng(0)
    cell, x = lf.TanhRNN.random(4, 1, rng=rng), rng.standard_normal((500, 1))
    before = lf.lyapunov_spectrum(cell, x, 3).stderr
    errors = np.array([0.0, 0.01, 0.1])
    monkeypatch.setattr("lyapflow.lyapunov.measured.rounding_errors", lambda *_: errors)
    after = lf.lyapunov_spectrum(cell, x, 3).stderr
    np.testing.assert_allclose(after, np.hypot(before, errors), rtol=0.1)
