"""Leaky networks: plain ones at a leak of 1, flows where steps become short, leaks that are held or trained."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import lyapflow as lf
from tests.gradcheck import random_cell

LEAKY = [lf.RateRNN, lf.ElmanRNN, lf.ElmanReluRNN]
each_leaky = pytest.mark.parametrize("cell_class", LEAKY)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_rate_network_that_leaks_all_is_a_tanh_network_to_the_bit(dtype):
    rng = np.random.default_rng(0)
    plain = random_cell(lf.TanhRNN, 20, 2, rng, 1.5, dtype)
    leaky = lf.RateRNN(*plain, np.ones(20, dtype))
    x, y = rng.standard_normal((100, 3, 2)).astype(dtype), rng.random((100, 3, 1)).astype(dtype)
    np.testing.assert_array_equal(lf.trajectory(leaky, x), lf.trajectory(plain, x))
    found, expected = (lf.lyapunov_spectrum(cell, x, q_transient=9) for cell in (leaky, plain))
    np.testing.assert_array_equal(found.exponents, expected.exponents)
    np.testing.assert_array_equal(found.stderr, expected.stderr)
    loss, gradient, _ = lf.flossing_value_and_grad(leaky, x, 5, t_ons=3)
    expected_loss, expected_gradient, _ = lf.flossing_value_and_grad(plain, x, 5, t_ons=3)
    assert loss == expected_loss
    for a, b in zip(gradient, expected_gradient):
        np.testing.assert_array_equal(a, b)
    models = [lf.Model.random(cell, 1, rng=np.random.default_rng(1)) for cell in (leaky, plain)]
    (_, gradient), (_, expected_gradient) = (
        lf.bptt_value_and_grad(model, x, y, first=5) for model in models
    )
    for a, b in zip(gradient.cell, expected_gradient.cell):
        np.testing.assert_array_equal(a, b)


def test_an_elman_network_is_the_tanh_network_seen_behind_its_nonlinearity():
    rng = np.random.default_rng(0)
    plain = random_cell(lf.TanhRNN, 8, 2, rng, 1.5)
    elman = lf.ElmanRNN(*plain, np.ones(8))
    x = rng.standard_normal((4000, 2))
    # a = tanh(h), one step of the input later
    h, a = lf.trajectory(plain, x), lf.trajectory(elman, x)
    np.testing.assert_allclose(a, np.tanh(h), atol=1e-13)
    found, expected = (lf.lyapunov_spectrum(c, x, q_transient=100) for c in (elman, plain))
    np.testing.assert_allclose(found.exponents, expected.exponents, atol=0.01)


@each_leaky
def test_exponents_at_a_fixed_point_in_closed_form(cell_class):
    rng = np.random.default_rng(1)
    W, leak = 0.5 * np.linalg.qr(rng.standard_normal((5, 5)))[0], rng.uniform(0.2, 1.0, 5)
    cell = cell_class(W, np.empty((5, 0)), np.zeros(5), leak)  # 0 is fixed, slopes there are 1
    eigenvalues = np.linalg.eigvals(np.diag(1 - leak) + leak[:, None] * W)
    expected = np.sort(np.log(np.abs(eigenvalues)))[::-1]
    found = lf.lyapunov_spectrum(cell, steps=20_000, q_transient=2000).exponents
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(found.sum(), expected.sum(), atol=1e-12)


def test_exponents_per_time_come_to_those_of_the_flow_at_first_order():
    # dh/dt = -h + 2 tanh(h) + cos t,  λ = <-1 + 2 sech²(h)>
    def flow(t, state):
        h = state[0]
        return [-h + 2 * np.tanh(h) + np.cos(t), -1 + 2 / np.cosh(h) ** 2]

    periods = 40 * np.pi
    start = solve_ivp(flow, (0, periods), [0.5, 0.0], rtol=1e-12, atol=1e-12).y[0, -1]
    ended = solve_ivp(flow, (0, periods), [start, 0.0], rtol=1e-12, atol=1e-12).y[1, -1]
    exact, errors = ended / periods, []
    for steps in (4000, 8000, 16000):
        dt = periods / steps
        x = np.cos(dt * np.arange(steps))[:, None]
        cell = lf.RateRNN(np.array([[2.0]]), np.ones((1, 1)), np.zeros(1), np.full(1, dt))
        found = lf.lyapunov_spectrum(cell, x, h0=np.array([start]))
        errors.append(found.per(dt).exponents[0] - exact)
    assert abs(errors[0]) < 0.05
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 2, atol=0.1)


def test_per_time():
    rng = np.random.default_rng(0)
    cells = [lf.RateRNN.random(6, 1, rng=rng, g=2.0, leak=0.9) for _ in range(2)]
    x = rng.standard_normal((2, 400, 3, 1))
    for found in (lf.lyapunov_spectrum(cells[0], x[0]), lf.lyapunov_spectrum(lf.stack(cells), x)):
        timed = found.per(0.1)
        for name in ("exponents", "stderr", "history", "trajectories", "deviations", "spread"):
            rounding = 1e-13 if name == "spread" else 0  # which is made of what is divided
            np.testing.assert_allclose(
                getattr(timed, name), getattr(found, name) / 0.1, rtol=rounding
            )
        np.testing.assert_allclose(timed.entropy_rate, found.entropy_rate / 0.1)
        np.testing.assert_allclose(timed.kaplan_yorke_dimension, found.kaplan_yorke_dimension)
        np.testing.assert_allclose(timed.kaplan_yorke_stderr, found.kaplan_yorke_stderr)
    with pytest.raises(lf.LyapflowError, match=r"^dt, .*, must be above 0, got 0"):
        found.per(0.0)
    with pytest.raises(lf.LyapflowError, match=r"^dt must be a finite number at least 0"):
        found.per(-1.0)


@each_leaky
@pytest.mark.parametrize("leak", [0.0, 1.5, -0.1, np.nan, "all", [0.5, 0.5]])
def test_leaks_out_of_range_are_refused(cell_class, leak):
    with pytest.raises(lf.LyapflowError, match=r"^leak must be a number in \(0, 1\] or 3 of them"):
        cell_class.random(3, 1, rng=np.random.default_rng(0), leak=leak)
    if isinstance(leak, float) and np.isfinite(leak):
        cell = cell_class.random(3, 1, rng=np.random.default_rng(0))
        cell = cell._replace(leak=np.array([0.5, leak, 0.5]))
        with pytest.raises(lf.LyapflowError, match=r"^leak of \w+ must lie in \(0, 1\], got .* at"):
            lf.lyapunov_spectrum(cell, np.zeros((9, 1)))


def test_leaks_are_held_unless_they_are_to_be_trained():
    rng = np.random.default_rng(0)
    cell = lf.ElmanRNN.random(8, 1, rng=rng, leak=0.3)
    model, task = lf.Model.random(cell, 1, rng=rng), lf.tasks.DelayedCopy(2)
    settings = {"epochs": 6, "seed": 0, "T": 30, "batch": 4}
    flossing = lf.Flossing(k=2, epochs=3, steps=30, at=(0,))
    held, _ = lf.train(model, task, flossing=flossing, **settings)
    np.testing.assert_array_equal(held.cell.leak, cell.leak)
    assert not np.array_equal(held.cell.W, cell.W)
    free, _ = lf.train(model, task, optimizer=lf.Adam(0.5, hold=()), **settings)
    assert (free.cell.leak != cell.leak).any()
    assert ((free.cell.leak > 0) & (free.cell.leak <= 1)).all()
    flossed, _ = lf.floss(
        cell, lambda epoch: np.zeros((30, 1)), k=2, epochs=20, optimizer=lf.Adam(0.5, hold=())
    )
    assert ((flossed.leak > 0) & (flossed.leak <= 1)).all() and (flossed.leak != 0.3).any()


def test_what_is_held_leaves_the_rest_of_an_update_as_it_is():
    rng = np.random.default_rng(0)
    model = lf.Model.random(lf.ElmanRNN.random(8, 1, rng=rng), 1, rng=rng)
    x, y, first = lf.tasks.DelayedCopy(2).sample(rng, 30, 4)
    _, gradient = lf.bptt_value_and_grad(model, x, y, first=first, loss="mse")
    some, every = lf.Adam(0.1, hold=("W", "h0")), lf.Adam(0.1, hold=())
    held, _ = some.update(some.init(model), model, gradient)
    free, _ = every.update(every.init(model), model, gradient)
    np.testing.assert_array_equal(held.cell.W, model.cell.W)
    np.testing.assert_array_equal(held.h0, model.h0)
    for name in ("V", "b", "leak"):
        np.testing.assert_array_equal(getattr(held.cell, name), getattr(free.cell, name))
    np.testing.assert_array_equal(held.W_out, free.W_out)
    with pytest.raises(lf.LyapflowError, match=r"^hold must be names of arrays"):
        lf.Adam(hold="leak")
