"""How far gradients reach: against products of Jacobians, differences, and what is known of orthogonal networks."""

import numpy as np
import pytest

import lyapflow as lf
from lyapflow._trees import arrays, like
from tests.exact_systems import HenonMap

X = np.random.default_rng(1).standard_normal((200, 2))
LAGS = [1, 2, 5, 20]


def product(cell, x, t, lag, h0=None):
    """∂h_t / ∂h_{t-lag} from the Jacobians of all steps."""
    n = lf.trajectory(cell, x[:1]).shape[1]
    states = np.vstack([np.zeros((1, n)), lf.trajectory(cell, x, h0)])
    M = np.eye(n)
    for s in range(t - lag, t):
        M = lf.jacobian(cell, states[s], x[s]) @ M
    return M


@pytest.mark.parametrize(
    ("cell", "seen_rows"),
    [
        (lf.TanhRNN.random(9, 2, rng=np.random.default_rng(0), g=1.5), slice(9)),
        (lf.LSTM.random(5, 2, rng=np.random.default_rng(0), g=2.0), slice(5)),
        (
            lf.layers(
                lf.TanhRNN.random(4, 2, rng=np.random.default_rng(0)),
                lf.GRU.random(3, 4, rng=np.random.default_rng(1)),
            ),
            slice(4, 7),
        ),
    ],
    ids=["tanh", "lstm", "layers"],
)
def test_singular_values_are_those_of_the_product(cell, seen_rows):
    model = lf.Model.random(cell, 2, rng=np.random.default_rng(2))
    found = lf.gradient_reach(model, X, LAGS, transient=30, times=3)
    assert found.log_singular_values.shape[:2] == (3, 4)
    for a, t in enumerate((50, 125, 200)):
        for i, lag in enumerate(LAGS):
            M = product(cell, X, t, lag)
            sigma = np.linalg.svd(M, compute_uv=False)
            logs = found.log_singular_values[a, i]
            there = ~np.isnan(logs)
            np.testing.assert_allclose(np.exp(logs[there]), sigma[there], rtol=1e-9, atol=1e-14)
            assert (sigma[~there] <= 1e-12 * sigma[0]).all()
            rank = (sigma**2).sum() ** 2 / (sigma**4).sum()
            assert found.effective_rank[a, i] == pytest.approx(rank, rel=1e-9)
            seen = model.W_out @ M[seen_rows]
            assert found.log_readout[a, i] == pytest.approx(
                np.log(np.linalg.norm(seen, 2)), rel=1e-9
            )
    np.testing.assert_array_equal(found.log_norms, found.log_singular_values[:, :, 0])


@pytest.mark.parametrize(
    "cell",
    [
        lf.TanhRNN.random(4, 2, rng=np.random.default_rng(0)),
        lf.layers(
            lf.TanhRNN.random(3, 2, rng=np.random.default_rng(0)),
            lf.TanhRNN.random(2, 3, rng=np.random.default_rng(1)),
        ),
    ],
    ids=["tanh", "layers"],
)
def test_what_the_parameters_of_one_step_give_is_its_difference(cell, monkeypatch):
    """Against differences in every parameter of the step; with many probes, to a few per cent."""
    monkeypatch.setattr("lyapflow.lyapunov.reach.PROBES", 4000)
    x = X[:40]
    found = lf.gradient_reach(cell, x, [1, 3], times=1)
    for i, lag in enumerate((1, 3)):
        before = lf.trajectory(cell, x)[40 - lag - 1]
        total = 0.0
        for number, array in enumerate(arrays(cell)):
            for at in np.ndindex(array.shape):
                ends = []
                for sign in (1, -1):
                    changed = [a.copy() for a in arrays(cell)]
                    changed[number][at] += sign * 1e-6
                    other = like(cell, iter(changed))
                    h = lf.trajectory(other, x[40 - lag : 40 - lag + 1], before)[-1]
                    ends.append(lf.trajectory(cell, x[40 - lag + 1 :], h)[-1] if lag > 1 else h)
                total += (((ends[0] - ends[1]) / 2e-6) ** 2).sum()
        assert np.exp(found.log_parameters[0, i]) == pytest.approx(np.sqrt(total), rel=0.1)


def test_an_orthogonal_network_reaches_for_ever_and_a_contracting_one_does_not():
    Q = lf.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    x = np.zeros((600, 1))
    cell = lf.LinearRNN(Q, np.ones((6, 1)), np.zeros(6))
    found = lf.gradient_reach(cell, x, h0=np.ones(6))
    np.testing.assert_allclose(found.log_singular_values, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.effective_rank, 6.0)
    assert found.lag() == np.inf and found.horizon() == np.inf and found.lags[-1] == 256
    shrinking = lf.gradient_reach(cell._replace(W=0.5 * Q), x, h0=np.ones(6))
    # 2^-7 < 0.01 < 2^-6, and the lags by default are 1, 2, ..., 6, 8, ...
    assert shrinking.lag() == 8 and shrinking.lag(0.3) == 2 and shrinking.horizon() == np.inf
    np.testing.assert_allclose(shrinking.quartiles()[1], -np.log(2) * shrinking.lags, rtol=1e-12)


def test_gradients_through_chaos_mean_nothing_beyond_a_horizon():
    """A change of 1e-3 is as large as the attractor after ln(1000) / λ_1 steps, one of 1e-6 after twice as many."""
    cell = HenonMap(np.array([1.4]), np.array([0.3]))
    start = np.array([0.1, 0.1])
    found = [
        lf.gradient_reach(cell, steps=4000, h0=start, transient=100, times=200, change=c).horizon()
        for c in (1e-3, 1e-6)
    ]
    tiny = [
        lf.gradient_reach(cell, steps=4000, h0=start, transient=100, times=50, change=c).horizon()
        for c in (1e-9, 1e-12)
    ]
    assert found[1] < tiny[0] < tiny[1]
    assert 4 <= found[0] <= np.log(1e3) / 0.419 + 2
    assert 0.6 * np.log(1e3) / 0.419 <= found[1] - found[0] <= 1.4 * np.log(1e3) / 0.419


def test_products_neither_overflow_nor_vanish_and_dead_networks_have_none():
    x = np.zeros((700, 1))
    small = lf.LinearRNN(np.diag([1e-3, 1e-4]), np.ones((2, 1)), np.zeros(2))
    found = lf.gradient_reach(small, x, [1, 600], times=2)
    np.testing.assert_allclose(found.log_norms[:, 1], 600 * np.log(1e-3), rtol=1e-12)
    assert np.isnan(found.log_singular_values[:, 1, 1]).all()
    dead = lf.ReluRNN(np.eye(2), np.ones((2, 1)), -np.ones(2))
    found = lf.gradient_reach(dead, x, [1, 5], times=2, transient=1)
    assert (found.log_norms == -np.inf).all() and (found.effective_rank == 0).all()
    assert found.lag() == 1 and found.horizon() == np.inf


def test_float32_and_batches():
    cell = lf.TanhRNN.random(6, 2, rng=np.random.default_rng(0), dtype=np.float32)
    x = np.random.default_rng(1).standard_normal((60, 3, 2)).astype(np.float32)
    found = lf.gradient_reach(cell, x, [2, 10], times=6, transient=20)
    double = lf.TanhRNN(*(a.astype(float) for a in cell))
    assert found == lf.gradient_reach(double, x.astype(float), [2, 10], times=6, transient=20)
    M = product(double, x[:, 2].astype(float), 42, 10)
    assert found.log_norms[2, 1] == pytest.approx(np.log(np.linalg.norm(M, 2)), rel=1e-10)


CELL = lf.TanhRNN.random(4, 2, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"lags": np.array([3, 2], np.uint8)}, "lags must be ascending"),
        ({"lags": [0, 1]}, "lags must be ascending integers from 1 to the 200 steps"),
        ({"lags": [2, 2]}, "lags must be ascending"),
        ({"lags": [1, 201]}, "lags must be ascending"),
        ({"lags": [1.5]}, "lags must be ascending"),
        ({"lags": []}, "lags must be ascending"),
        ({"transient": 200}, "transient must be an integer between 0 and 199"),
        ({"times": 0}, "times must be an integer at least 1"),
        ({"change": 0.0}, "change must be a finite number at least 1e-12"),
        ({"x": None}, "give either x"),
    ],
)
def test_bad_input(arguments, said):
    with pytest.raises(lf.LyapflowError, match=said):
        lf.gradient_reach(CELL, **{"x": X} | arguments)


def test_bad_questions():
    found = lf.gradient_reach(CELL, X, [1, 2], times=1)
    with pytest.raises(lf.LyapflowError, match="readout was not measured"):
        found.quartiles("readout")
    with pytest.raises(lf.LyapflowError, match="of must be one of"):
        found.lag(of="gates")
    with pytest.raises(lf.LyapflowError, match="level must be"):
        found.lag(0.0)
    with pytest.raises(lf.LyapflowError, match="h0 is the Model's own"):
        lf.gradient_reach(lf.Model.random(CELL, 1, rng=np.random.default_rng(0)), X, h0=np.zeros(4))
