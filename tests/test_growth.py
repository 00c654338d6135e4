"""Exponents that exist, whatever the steps do to them: saturation, long intervals, losses among outliers."""

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.cells.interface import sizes
from lyapflow.lyapunov import growth
from lyapflow.lyapunov.spectrum import default_block
from tests.test_cells import each_cell
from tests.test_deficiency import exact_exponents

pytestmark = pytest.mark.filterwarnings("ignore:growth rates stay")  # pulses and short runs are meant here


def log_determinants(cell, x, h0):
    states = np.vstack([h0, lf.trajectory(cell, x, h0)])[:-1]
    return np.array([np.linalg.slogdet(lf.jacobian(cell, h, driven))[1] for h, driven in zip(states, x)])


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


@each_cell
@pytest.mark.parametrize("gain", [1.5, 6.0, 20.0])
def test_saturated_networks_against_high_precision(cell_class, gain):
    rng = np.random.default_rng(int(gain))
    cell = cell_class.random(2 if cell_class is lf.LSTM else 4, 1, rng=rng, g=gain)
    n = sizes(cell).state
    x, h0 = 3 * rng.standard_normal((25, 1)), 0.3 * rng.random(n)
    if cell_class in (lf.LinearRNN, lf.ReluRNN):  # which do not saturate: one direction in a million is left
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
    # plain QR finds these, too: a step leaves some hundred digits, but half of the steps are in doubt
    rng = np.random.default_rng(5)
    cell, x = lf.TanhRNN.random(8, 1, rng=rng, g=5.0), rng.standard_normal((10_000, 1))
    found = lf.lyapunov_spectrum(cell, x)
    assert np.isfinite(found.exponents).all()
    assert found.exponents.sum() == pytest.approx(log_determinants(cell, x, np.zeros(8)).mean(), abs=1e-9)
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


def test_a_direction_that_float64_cannot_resolve_has_a_wide_bar():
    # D shrinks the first vector of the block alone, far below the rounding of its place: the next is all noise
    turn = np.array([[np.cos(1.0), -np.sin(1.0)], [np.sin(1.0), np.cos(1.0)]])
    cell = lf.TanhRNN(turn, np.eye(2), np.zeros(2))
    x = np.random.default_rng(0).standard_normal((60, 2))
    q0, h0 = np.eye(2), np.array([100.0, 0.0])  # the first step saturates the first unit, exactly along q_1
    found = lf.lyapunov_spectrum(cell, x, q0=q0, h0=h0)
    exact = exact_exponents(cell, x, h0, q0)
    error = np.abs(found.exponents - exact)
    assert (error < np.maximum(1e-9, 2 * found.stderr)).all()
    assert (found.stderr[0] > 36 / 60) or error[0] < 1e-9


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
    np.testing.assert_allclose(found.exponents, lf.lyapunov_spectrum(quiet, x, 8).exponents, atol=1e-8)


def test_a_large_block_of_few_vectors_takes_few_pivots():
    # k far below n: elimination stops early, and loses nothing
    rng = np.random.default_rng(0)
    cell = lf.TanhRNN.random(200, 1, rng=rng, g=40.0)
    x = 5 * rng.standard_normal((6, 1))
    found = lf.lyapunov_spectrum(cell, x, 3, h0=50 * rng.standard_normal(200))
    q = default_block(200, 3, np.dtype(float)).T
    assert np.isfinite(found.exponents).all() and q.shape == (200, 3)


def test_automatic_intervals_belong_to_each_member():
    good, bad = (
        lf.LinearRNN(np.eye(1), np.empty((1, 0)), np.zeros(1)),
        lf.LinearRNN(np.full((1, 1), 1e200), np.empty((1, 0)), np.zeros(1)),
    )
    spectra = lf.lyapunov_spectrum(lf.stack([good, bad]), steps=100, h0=np.ones((2, 1)), t_ons="auto")
    assert spectra.exponents[0] == pytest.approx(0)
    assert np.isnan(spectra.exponents[1])
    assert "finite" in spectra.reasons[1]


def test_flossing_names_a_k_that_works_at_once():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        cell, x = lf.TanhRNN.random(12, 1, rng=rng, g=6.0), 4 * rng.standard_normal((40, 3, 1))
        with pytest.raises(lf.Diverged, match=r"ask for k <= \d+$") as caught:
            lf.flossing_value_and_grad(cell, x, 12)
        assert str(caught.value).endswith(f"k <= {caught.value.rank}")
        assert np.isfinite(lf.flossing_value_and_grad(cell, x, caught.value.rank)[0])


@pytest.mark.parametrize("seed", [329, 568])
def test_gradients_that_rounding_spoils_over_many_steps_are_refused(seed):
    # no single step is beyond float64, and yet a log R is off by more than its gradient may be
    rng = np.random.default_rng(seed)
    cell, x = lf.TanhRNN.random(8, 1, rng=rng, g=14.0), 2.7 * rng.standard_normal((15, 1))
    h0 = 0.1 * rng.standard_normal(8)
    with pytest.raises(lf.Diverged, match="rounding errors spoil the tangent block up to step") as caught:
        lf.flossing_value_and_grad(cell, x, 3, h0=h0)
    k = caught.value.rank
    _, _, exponents = lf.flossing_value_and_grad(cell, x, k, h0=h0)
    np.testing.assert_allclose(exponents, lf.lyapunov_spectrum(cell, x, k, h0=h0).exponents, atol=3e-6)
