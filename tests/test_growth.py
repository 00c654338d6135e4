"""Exponents that exist, whatever the steps do to them: saturation, long intervals, losses among outliers."""

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.cells.interface import sizes, step, tangent
from lyapflow.lyapunov import growth
from lyapflow.lyapunov.problem import default_block, problem
from lyapflow.lyapunov.sweep import Sweep, new_tape
from tests.test_cells import each_kind
from tests.test_rank import exact_exponents

# pulses and short runs are meant here
pytestmark = pytest.mark.filterwarnings("ignore:growth rates stay")


def log_determinants(cell, x, h0):
    states = np.vstack([h0, lf.trajectory(cell, x, h0)])[:-1]
    return np.array(
        [np.linalg.slogdet(lf.jacobian(cell, h, driven))[1] for h, driven in zip(states, x)]
    )


@pytest.mark.parametrize("t_ons", [1, 3, "auto"])
@pytest.mark.parametrize("pulse", [14.0, 15.0, 18.0, 40.0, 150.0])
def test_one_saturated_step_costs_no_exponent(pulse, t_ons):
    cell = lf.TanhRNN(np.diag([0.9, 0.8]), np.array([[0.0], [1.0]]), np.zeros(2))
    x = np.zeros((1000, 1))
    x[500] = pulse
    states = np.vstack([np.zeros(2), lf.trajectory(cell, x)[:-1]])
    exact = np.log([0.9, 0.8]) - 2 * np.mean(np.log(np.cosh(states)), axis=0)
    found = lf.lyapunov_spectrum(cell, x, q0=np.eye(2), t_ons=t_ons)
    np.testing.assert_allclose(found.exponents, exact, atol=1e-9)
    if pulse == 15.0:
        found = lf.lyapunov_spectrum(cell, x, t_ons=t_ons)
        np.testing.assert_allclose(found.exponents, [-0.106439, -0.251906], atol=1e-6)
    np.testing.assert_array_equal(found.below_rounding, [0, pulse > 30])


@pytest.mark.parametrize("t_ons", [1, 2, 3])
def test_an_interval_that_is_too_long_costs_no_exponent(t_ons):
    cell = lf.TanhRNN(np.array([[0.8, 0.6], [-0.6, 0.8]]), np.array([[0.0], [1.0]]), np.zeros(2))
    x = np.array([[0.0], [8.0], [8.0], [0.0]])
    found = lf.lyapunov_spectrum(cell, x, t_ons=t_ons).exponents
    np.testing.assert_allclose(found, [-0.194291, -7.597629], atol=1e-6)
    assert found.sum() == pytest.approx(log_determinants(cell, x, np.zeros(2)).mean(), abs=1e-10)


@each_kind
@pytest.mark.parametrize("gain", [1.5, 6.0, 20.0])
def test_saturated_networks_against_high_precision(cell_class, gain):
    rng = np.random.default_rng(int(gain))
    cell = cell_class.random(2 if cell_class is lf.LSTM else 4, 1, rng=rng, g=gain)
    n = sizes(cell).state
    x, h0 = 3 * rng.standard_normal((25, 1)), 0.3 * rng.random(n)
    # which do not saturate: one direction in a million is left
    if cell_class in (lf.LinearRNN, lf.ReluRNN):
        cell, h0 = cell._replace(W=np.diag([1e-6, 0.5, 1e-3, 2.0]) @ np.abs(cell.W) / gain), h0 + 1
        x = np.abs(x)
        cell = cell._replace(V=np.abs(cell.V))
    exact = exact_exponents(cell, x, h0)
    assert np.isfinite(exact).all()
    for t_ons in (1, 2, 7, "auto"):
        found = lf.lyapunov_spectrum(cell, x, h0=h0, t_ons=t_ons)
        np.testing.assert_allclose(found.exponents, exact, rtol=1e-8, atol=1e-8)
        assert found.exponents.sum() == pytest.approx(exact.sum(), abs=1e-9, rel=1e-11)


def test_a_long_run_of_a_saturated_network_keeps_all_exponents():
    # plain QR finds these, too: a step leaves some hundred digits, but half of the steps are in
    # doubt
    rng = np.random.default_rng(5)
    cell, x = lf.TanhRNN.random(8, 1, rng=rng, g=5.0), rng.standard_normal((10_000, 1))
    found = lf.lyapunov_spectrum(cell, x)
    assert np.isfinite(found.exponents).all()
    assert found.exponents.sum() == pytest.approx(
        log_determinants(cell, x, np.zeros(8)).mean(), abs=1e-9
    )
    assert found.factorisations[3] > 1000


def test_intervals_agree_with_single_steps_where_a_few_exponents_are_asked_for():
    cell, rng = lf.TanhRNN.random(20, 1, rng=np.random.default_rng(3)), np.random.default_rng(4)
    x = 4 * rng.standard_normal((1000, 1))
    single = lf.lyapunov_spectrum(cell, x, 10, q_transient=50).exponents
    assert np.isfinite(single).all()
    for t_ons in (2, 3, 5, 50, 1000, "auto"):
        found = lf.lyapunov_spectrum(cell, x, 10, q_transient=50, t_ons=t_ons).exponents
        np.testing.assert_allclose(found, single, atol=1e-8)


@pytest.mark.filterwarnings("ignore:the trajectory starts on a fixed point")
@pytest.mark.parametrize("off_diagonal", [10.0, 1e6, 1e12])
def test_non_normal_matrices(off_diagonal):
    cell = lf.LinearRNN(np.array([[0.9, off_diagonal], [0.0, 0.9]]), np.empty((2, 0)), np.zeros(2))
    for t_ons in (1, 4):
        found = lf.lyapunov_spectrum(cell, steps=300, t_ons=t_ons).exponents
        product = exact_exponents(cell, np.empty((300, 0)), np.zeros(2))
        np.testing.assert_allclose(found, product, atol=1e-9)
        assert found.sum() == pytest.approx(2 * np.log(0.9), abs=1e-12)


def test_losses_among_saturated_steps():
    # a delay line behind saturated units: its end is lost, whatever the units do
    rng = np.random.default_rng(0)
    W = np.zeros((6, 6))
    W[:4, :4] = rng.standard_normal((4, 4))
    W[4:, 3:-1] = np.eye(2)
    cell, x = lf.TanhRNN(W, np.ones((6, 1)), np.zeros(6)), rng.standard_normal((40, 1))
    x[[7, 20]] = 20.0
    exact = exact_exponents(cell, x, np.zeros(6))
    np.testing.assert_array_equal(np.isfinite(exact), np.arange(6) < 4)
    for t_ons in (1, 3):
        found = lf.lyapunov_spectrum(cell, x, t_ons=t_ons)
        np.testing.assert_array_equal(np.isfinite(found.exponents), np.isfinite(exact))
        error = np.abs(found.exponents[:4] - exact[:4])
        assert (error[:3] < 1e-8).all()
        assert error[3] < np.fmax(1e-8, 2 * found.stderr[3])


@pytest.mark.parametrize(("pulse", "known"), [(12.0, True), (40.0, False)])
def test_a_direction_that_float64_cannot_resolve_has_a_wide_bar(pulse, known):
    # the first vector of the block is shortened far below the rounding of the second: its next
    # direction could be any
    cell = lf.TanhRNN(np.diag([0.9, 0.8]), np.array([[1.0], [0.0]]), np.zeros(2))
    x = np.zeros((1000, 1))
    x[500] = pulse
    found = lf.lyapunov_spectrum(cell, x, q0=np.eye(2))
    plain = lf.lyapunov_spectrum(cell._replace(V=cell.V[::-1].copy()), x, q0=np.eye(2))
    states = np.vstack([np.zeros(2), lf.trajectory(cell, x)[:-1]])
    exact = np.log([0.9, 0.8]) - 2 * np.mean(np.log(np.cosh(states)), axis=0)
    np.testing.assert_allclose(found.exponents, exact, atol=1e-9)
    # about the same pulse, in the same place
    unknown = np.sqrt(found.stderr[0] ** 2 - plain.stderr[1] ** 2)
    assert unknown < 0.01 if known else unknown > 35 / 1000


def test_rounding_of_the_jacobian_itself_is_in_the_bar():
    # output gates that are all but open: h and c move almost in parallel, by less than the rounding
    # of D
    cell = lf.LSTM.random(1, 1, rng=np.random.default_rng(0))
    cell.b[3] = 40.0
    found = lf.lyapunov_spectrum(
        cell, np.random.default_rng(1).standard_normal((30, 1)), h0=np.array([0.3, 0.4])
    )
    assert abs(found.exponents[1] + 48.8) < 2 * found.stderr[1]  # by 3000 bits from the equations
    assert found.stderr[0] < 1
    assert found.stderr[1] > 10


def test_what_cancels_in_float64_but_is_not_lost_is_not_taken_for_zero():
    W = np.array([[-1, -2, -2, 2], [-1, -2, -2, 2], [-2, -2, -2, -2], [1, 2, 2, 2]], float)
    r = np.random.default_rng(126)
    r.integers(-2, 3, (4, 4)), r.integers(-1, 2, (4, 1))
    cell = lf.TanhRNN(W, np.array([[0.0], [0.0], [1.0], [-1.0]]), np.zeros(4))
    found = lf.lyapunov_spectrum(cell, 20 * r.standard_normal((100, 1)), 3)
    # -39.13 in 3000 bits; -52 were found once, -1398 nats of them in one step
    assert found.exponents[2] > -45
    assert abs(found.exponents[2] + 39.13) < 2 * found.stderr[2]


@pytest.mark.parametrize("k", [4, 12])
def test_what_the_rank_of_one_jacobian_says_asks_for_no_history(monkeypatch, k):
    monkeypatch.setattr(growth, "ExactBlock", None)
    cell = lf.ReluRNN.random(12, 1, rng=np.random.default_rng(0))
    x = np.zeros((50, 1))
    x[-2] = 1e6 * np.sign(cell.V[:, 0]).sum()
    cell = cell._replace(
        b=np.full(12, 0.2), V=np.where(np.arange(12) < 3, 1.0, -1.0)[:, None] * np.sign(x[-2])
    )
    found = lf.lyapunov_spectrum(cell, x, k)
    np.testing.assert_array_equal(np.isfinite(found.exponents), np.arange(k) < 3)


def test_intervals_become_shorter_and_longer_by_themselves(monkeypatch):
    lengths = set()

    class Watched(growth._Trajectory):
        def _stop(self):
            lengths.add(self.every)
            return super()._stop()

    monkeypatch.setattr(growth, "_Trajectory", Watched)
    rng = np.random.default_rng(0)
    quiet = lf.TanhRNN.random(8, 1, rng=rng, g=0.5)
    lf.lyapunov_spectrum(quiet, 0.1 * rng.standard_normal((4000, 1)), 2, t_ons=64)
    assert {8, 16, 32} <= lengths and min(lengths) == 8
    lengths.clear()
    x = np.zeros((2000, 1))
    x[1000:] = 10 * rng.standard_normal((1000, 1))
    found = lf.lyapunov_spectrum(quiet, x, 8, t_ons=64)
    assert min(lengths) == 1
    np.testing.assert_allclose(
        found.exponents, lf.lyapunov_spectrum(quiet, x, 8).exponents, atol=1e-8
    )


def test_an_interval_in_doubt_is_done_again_once():
    cell = lf.TanhRNN(np.diag([0.9, 0.8]), np.array([[0.0], [1.0]]), np.zeros(2))
    x = np.zeros((1000, 1))
    x[502] = 18.0
    by_steps, by_intervals = (lf.lyapunov_spectrum(cell, x, t_ons=t_ons) for t_ons in (1, 8))
    # the interval, and the steps in it
    assert by_intervals.factorisations[3] == 1 + by_steps.factorisations[3]
    np.testing.assert_allclose(by_intervals.exponents, by_steps.exponents, atol=1e-12)


def test_a_sweep_has_a_qr_after_as_many_steps_as_it_is_told():
    rng = np.random.default_rng(0)
    cell, x = lf.TanhRNN.random(4, 1, rng=rng), rng.standard_normal((12, 1))
    given = problem((step, tangent), cell, x, 2, None, None, None, 12, 0, 0)
    run = Sweep(given, new_tape(given, full=False))
    run.every = 2
    assert run.to(12)
    assert run.tally.paths.sum() == 6


def test_a_large_block_of_few_vectors_takes_few_pivots():
    # k far below n: elimination stops early, and loses nothing
    rng = np.random.default_rng(0)
    cell = lf.TanhRNN.random(200, 1, rng=rng, g=40.0)
    x = 5 * rng.standard_normal((6, 1))
    found = lf.lyapunov_spectrum(cell, x, 3, h0=50 * rng.standard_normal(200))
    q = default_block(200, 3, np.dtype(float)).T
    assert np.isfinite(found.exponents).all() and q.shape == (200, 3)
