"""Growth rates as they are kept, and local exponents, against plain loops."""

import numpy as np
import pytest

import lyapflow as lf

CELL = lf.TanhRNN.random(8, 1, rng=np.random.default_rng(0), g=2.0)
X = np.random.default_rng(1).standard_normal((205, 3, 1))


def plain_loop(x, k, transient, window):
    """Local exponents (windows, k) with a QR in each step."""
    h, Q = np.zeros(8), lf.lyapunov_spectrum(CELL, x[:1], k).block[0]
    Q = np.linalg.qr(np.random.default_rng(8).standard_normal((k, 8)).T)
    Q = Q[0] * np.sign(np.diagonal(Q[1]))
    logs = []
    for t, inputs in enumerate(x):
        D = lf.jacobian(CELL, h, inputs)
        h = np.tanh(h) @ CELL.W.T + inputs @ CELL.V.T + CELL.b
        if t >= transient:
            Q, R = lf.qr(D @ Q)
            logs.append(np.log(np.diagonal(R)))
    whole = len(logs) // window
    return np.array(logs)[: whole * window].reshape(whole, window, k).mean(axis=1)


@pytest.mark.parametrize("t_ons", [1, 5])
def test_local_exponents_are_those_of_a_plain_loop(t_ons):
    spectrum = lf.lyapunov_spectrum(CELL, X, 3, t_ons=t_ons, transient=2)
    found = spectrum.finite_time(50)
    assert found.exponents.shape == (3, 4, 3)
    for b in range(3):
        np.testing.assert_allclose(found.exponents[b], plain_loop(X[:, b], 3, 2, 50), atol=1e-12)
    all_of_them = found.exponents.reshape(-1, 3)
    np.testing.assert_allclose(found.mean, all_of_them.mean(axis=0))
    np.testing.assert_allclose(found.std, all_of_them.std(axis=0, ddof=1))
    assert (found.quantiles([0.0, 1.0]) == [all_of_them.min(axis=0), all_of_them.max(axis=0)]).all()
    np.testing.assert_allclose(spectrum.per(0.1).finite_time(50).mean, 10 * found.mean)


def test_growth_rates_make_history_and_exponents():
    spectrum = lf.lyapunov_spectrum(CELL, X, 3, t_ons=4, transient=2)
    assert spectrum.log_growth.shape == (3, 51, 3)
    np.testing.assert_array_equal(spectrum.intervals, [4] * 50 + [3])
    sums = spectrum.log_growth.cumsum(axis=1) / np.cumsum(spectrum.intervals)[:, None]
    np.testing.assert_array_equal(spectrum.history, sums.mean(axis=0))
    np.testing.assert_array_equal(spectrum.history[-1], spectrum.exponents)
    np.testing.assert_array_equal(spectrum.state, lf.trajectory(CELL, X)[-1])
    for block in spectrum.block:
        np.testing.assert_allclose(block.T @ block, np.eye(3), atol=1e-13)


def test_sequences_of_different_lengths():
    lengths = np.array([205, 100, 51])
    spectrum = lf.lyapunov_spectrum(CELL, X, 3, t_ons=5, lengths=lengths)
    found = spectrum.finite_time(50).exponents
    assert np.isfinite(found).all(axis=2).sum(axis=1).tolist() == [4, 2, 1]
    for b, length in enumerate(lengths):
        alone = lf.lyapunov_spectrum(CELL, X[:length, b], 3, t_ons=5)
        whole = length // 50
        np.testing.assert_array_equal(found[b, :whole], alone.finite_time(50).exponents[0])
        rows = spectrum.intervals[b] > 0
        np.testing.assert_array_equal(spectrum.log_growth[b, rows], alone.log_growth[0])
        np.testing.assert_array_equal(spectrum.state[b], alone.state[0])
    # sequences that are shorter than a window, or than an interval, have none
    spectrum = lf.lyapunov_spectrum(CELL, X, 3, t_ons=5, lengths=np.array([100, 3, 8]))
    for window, number in ((5, [20, 0, 1]), (10, [10, 0, 0])):
        found = spectrum.finite_time(window).exponents
        assert np.isfinite(found).all(axis=2).sum(axis=1).tolist() == number


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (7, "window must be a multiple of 5, the steps of a row of log_growth, got 7"),
        (500, "window must be an integer between 1 and 200 = the steps"),
        (0, "window must be an integer"),
    ],
)
def test_bad_windows(window, said):
    spectrum = lf.lyapunov_spectrum(CELL, X, 3, t_ons=5, transient=5)
    with pytest.raises(lf.LyapflowError, match=said):
        spectrum.finite_time(window)
    with pytest.raises(lf.LyapflowError, match="one by one"):
        lf.lyapunov_spectrum(lf.stack([CELL]), X[None], 3).finite_time(5)
    with pytest.raises(lf.LyapflowError, match="levels must be numbers between 0 and 1"):
        spectrum.finite_time(5).quantiles([2.0])
