"""Error bars: do they cover, and do they say where they cannot?"""

import warnings

import numpy as np
import pytest
from scipy.signal import lfilter

import lyapflow as lf
from lyapflow.errors import collected_warnings
from lyapflow.lyapunov.error_bars import (
    EXCHANGED,
    error_bars,
    excess,
    exchanged,
    returns,
    same_input,
)
from tests.exact_systems import CatMap, LogisticMap, MatrixProduct, autonomous, gaussian_product

SHORT = "growth rates stay"


def bars(log_R, groups=None, **options):
    """Error bars of log_R (B, n_qr, k), a QR after every step; all trajectories of one input by default."""
    groups = np.zeros(len(log_R), int) if groups is None else np.asarray(groups)
    return error_bars(log_R, np.ones(log_R.shape[1], int), groups, **options)


def of_many(runs, truth=0.0, groups=None):
    """Of runs, each log_R (B, n_qr, k): what covers, what is doubtful, and mean bar over scatter."""
    found = [bars(log_R, groups) for log_R in runs]
    errors = np.array([log_R.mean(axis=(0, 1)) for log_R in runs]) - truth
    stderr = np.array([f.stderr for f in found])
    doubtful = np.array([f.doubtful for f in found])
    return np.abs(errors) < 2 * stderr, doubtful, stderr.mean(axis=0) / errors.std(axis=0)


def autoregressive(rng, shape, rho):
    """Stationary, of variance one, along the last axis."""
    noise = np.sqrt(1 - rho**2) * rng.standard_normal(shape)
    noise[..., 0] /= np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise)


@pytest.mark.parametrize("steps", [8, 30, 100, 1000])
def test_independent_rates(steps):
    rng = np.random.default_rng(steps)
    covered, doubtful, ratio = of_many(rng.standard_normal((1000, 1, steps, 2)))
    assert 0.93 < covered.mean() < 0.975
    assert doubtful.mean() < 0.02
    if steps >= 100:  # below, Student's factor is felt
        np.testing.assert_allclose(ratio, 1, atol=0.12)


@pytest.mark.parametrize(
    ("rho", "steps"), [(0.9, 100), (0.9, 900), (0.99, 100), (0.99, 900), (0.99, 20_000)]
)
def test_rates_with_a_long_memory_are_covered_or_doubtful(rho, steps):
    rates = autoregressive(np.random.default_rng(0), (400, 1, steps), rho)[..., None]
    covered, doubtful, _ = of_many(rates)
    assert (~covered[:, 0] & ~doubtful).mean() < 0.1
    if steps > 50 / (1 - rho):  # the run is long enough, and bars should know
        assert covered[~doubtful].mean() > 0.9


def test_rates_with_a_long_memory_need_no_warning_in_long_runs():
    rates = autoregressive(np.random.default_rng(1), (200, 1, 20_000), 0.9)[..., None]
    covered, doubtful, ratio = of_many(rates)
    assert doubtful.mean() < 0.05
    assert covered.mean() > 0.92
    np.testing.assert_allclose(ratio, 1, atol=0.15)


def test_a_memory_of_twenty_steps_is_covered_in_300():
    covered, _, _ = of_many(
        autoregressive(np.random.default_rng(2), (400, 1, 300), 0.95)[..., None]
    )
    assert covered.mean() > 0.9  # by cosines alone, 79 %


def test_fast_fluctuations_that_cancel():
    rng = np.random.default_rng(0)
    runs = rng.standard_normal((400, 1, 400, 1)) + np.diff(
        3 * rng.standard_normal((400, 1, 401, 1)), axis=2
    )
    covered, doubtful, ratio = of_many(runs)
    assert covered.mean() > 0.92
    assert doubtful.mean() < 0.02
    assert ratio[0] == pytest.approx(1.1, abs=0.15)


def test_drifts_of_the_size_of_rounding_errors():
    log_R = -0.1 + 1e-12 * np.arange(100.0)[None, :, None]
    assert bars(log_R).doubtful
    assert not bars(log_R, rounding=1e-8).doubtful


@pytest.mark.parametrize("z", [1.5, 1.7, 1.9])
def test_laminar_phases_are_doubtful(z):
    h, rates = np.random.default_rng(0).random(300), np.empty((300, 1, 2000, 1))
    for t in range(2000):
        rates[:, 0, t, 0] = np.log1p(z * h ** (z - 1))
        h = (h + h**z) % 1.0
    _, doubtful, _ = of_many(rates)
    assert doubtful.mean() > 0.9


def test_slow_input_of_a_network_is_covered_or_warned_of():
    rng = np.random.default_rng(0)
    cell = lf.GRU.random(6, 1, rng=rng)
    x = autoregressive(rng, (41, 100_000), np.exp(-1 / 50))[:, :, None]
    truth = lf.lyapunov_spectrum(cell, x[0], 1, q_transient=200).exponents[0]
    neither = []
    for driven in x[1:, :400]:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            spectrum = lf.lyapunov_spectrum(cell, driven, 1, q_transient=200)
        neither.append(not said and abs(spectrum.exponents[0] - truth) > 2 * spectrum.stderr[0])
    assert np.mean(neither) < 0.15  # 40 runs


def test_ordinary_networks_get_no_warning():
    task = lf.tasks.BinaryTemporalXOR(delay=20)
    for seed in range(20):  # LyapflowWarning is an error here
        rng = np.random.default_rng(seed)
        cell = lf.TanhRNN.random(40, 1, rng=rng)
        lf.lyapunov_spectrum(cell, task.inputs(rng, 1000, 1)[:, 0], 10, q_transient=100)


def test_trajectories_that_disagree():
    cell = lf.TanhRNN(np.array([[2.0]]), np.empty((1, 0)), np.array([0.3]))
    spectrum = lf.lyapunov_spectrum(cell, np.empty((1000, 2, 0)), h0=np.array([[2.0], [-2.0]]))
    np.testing.assert_allclose(np.sort(spectrum.trajectories[:, 0]), [-2.456, -1.047], atol=1e-3)
    half = np.ptp(spectrum.trajectories[:, 0]) / 2
    assert spectrum.stderr[0] == pytest.approx(half, rel=1e-6)  # which reaches both from their mean


def test_trajectories_of_one_input_count_as_one():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((300, 1, 400, 1))
    runs = np.repeat(one, 16, axis=1) + 0.1 * rng.standard_normal((300, 16, 400, 1))
    covered, _, ratio = of_many(runs)
    assert covered.mean() > 0.92
    assert ratio[0] == pytest.approx(1, abs=0.12)
    # as independent ones they are four times too sure
    covered, _, ratio = of_many(runs, groups=np.arange(16))
    assert covered.mean() < 0.5


def test_short_runs_of_many_trajectories():
    covered, _, ratio = of_many(
        np.random.default_rng(0).standard_normal((400, 16, 9, 1)), groups=np.arange(16)
    )
    assert 0.92 < covered.mean() < 0.975
    assert ratio[0] == pytest.approx(1, abs=0.12)


def test_groups_of_trajectories():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 3)
    runs = rng.standard_normal((400, 4, 60, 1))[:, groups]
    covered, _, ratio = of_many(runs, groups=groups)
    assert 0.92 < covered.mean() < 0.975
    assert ratio[0] == pytest.approx(1, abs=0.12)


def test_groups_that_disagree():
    rng = np.random.default_rng(0)
    log_R = rng.standard_normal((4, 500, 1))[np.repeat(np.arange(4), 3)]
    log_R += np.repeat([0.0, 1.0, 2.0, 3.0], 3)[:, None, None]
    found = bars(log_R, np.repeat(np.arange(4), 3)).stderr[0]
    # of 4 means, not of 12
    assert found == pytest.approx(np.std([0, 1, 2, 3], ddof=1) / 2, rel=0.05)


def test_who_shares_input():
    x = np.random.default_rng(0).standard_normal((10, 4, 2))
    x[:, 2] = x[:, 0]
    np.testing.assert_array_equal(same_input(x), [0, 1, 0, 2])
    np.testing.assert_array_equal(same_input(np.empty((10, 3, 0))), [0, 0, 0])


def test_shared_input_of_a_driven_network():
    rng = np.random.default_rng(0)
    cell = lf.TanhRNN.random(10, 1, rng=rng)
    x, h0 = rng.standard_normal((300, 1, 1)), rng.standard_normal((16, 10))
    one = lf.lyapunov_spectrum(cell, x[:, 0], 2, q_transient=50)
    sixteen = lf.lyapunov_spectrum(cell, np.repeat(x, 16, axis=1), 2, h0=h0, q_transient=50)
    np.testing.assert_allclose(sixteen.stderr, one.stderr, rtol=0.05)


@pytest.mark.parametrize("q_transient", [0, 100])
def test_a_block_that_has_not_aligned(q_transient):
    cell = lf.LinearRNN(np.diag([0.9, 0.899]), np.empty((2, 0)), np.zeros(2))
    with pytest.warns(lf.LyapflowWarning, match=SHORT):
        lf.lyapunov_spectrum(cell, autonomous(200), q_transient=q_transient)


def test_a_quiet_start():
    rng = np.random.default_rng(0)
    cell, x = lf.TanhRNN.random(8, 1, rng=rng), 0.01 * rng.standard_normal((600, 1))
    x[300:] *= 200
    with pytest.warns(lf.LyapflowWarning, match=SHORT):
        lf.lyapunov_spectrum(cell, x, 2)


def test_an_exponent_that_settles_from_the_start_on_gets_no_warning():
    cell = lf.LinearRNN(np.diag([0.9, 0.5]), np.empty((2, 0)), np.zeros(2))
    spectrum = lf.lyapunov_spectrum(cell, autonomous(500), h0=np.ones(2))
    assert (np.abs(spectrum.exponents - np.log([0.9, 0.5])) < 2 * spectrum.stderr).all()


def test_what_a_starting_block_gains():
    rng = np.random.default_rng(0)
    log_R = 0.1 * rng.standard_normal((1, 400, 3)) - [0.0, 1.0, 2.0]
    steps = np.ones(400, int)
    assert (excess(log_R, steps, 5.0) < 3).all()
    log_R[0, :25, 2] += 2.0
    assert excess(log_R, steps, 5.0) == pytest.approx([0, 0, 50], abs=3)
    log_R[0, :, 1] = -np.inf
    assert excess(log_R, steps, 5.0) == pytest.approx([0, 0, 50], abs=3)
    for _ in range(20):  # a random walk goes as far
        assert (excess(20 * rng.standard_normal((1, 400, 3)), steps, 5.0) == 0).all()


@pytest.mark.parametrize(
    ("cell", "h0"),
    [
        (lf.TanhRNN.random(30, 0, rng=np.random.default_rng(0), g=2.0), None),
        (LogisticMap(np.array([4.0])), None),
        (LogisticMap(np.array([4.0])), np.array([0.75])),
        # a cycle of three steps
        (CatMap(np.array([[2.0, 1.0], [1.0, 1.0]])), np.array([0.5, 0.0])),
    ],
)
def test_a_trajectory_that_never_leaves_a_repelling_point(cell, h0):
    with pytest.warns(lf.LyapflowWarning, match="start from a random h0"):
        lf.lyapunov_spectrum(cell, autonomous(300), 1, h0=h0)


def test_no_word_of_repelling_points_elsewhere():
    silent = lf.TanhRNN.random(30, 0, rng=np.random.default_rng(0), g=0.5)
    lf.lyapunov_spectrum(silent, autonomous(300), 1)  # the fixed point at zero attracts
    lf.lyapunov_spectrum(LogisticMap(np.array([4.0])), autonomous(300), h0=np.array([0.3]))
    assert not returns(np.arange(6.0).reshape(3, 2, 1)).any()
    assert not returns(np.array([[[0.0, 1.0]], [[0.0, 2.0]]])).any()
    np.testing.assert_array_equal(
        returns(np.array([[[0.0], [1.0]], [[1.0], [2.0]], [[0.0], [3.0]]])), [True, False]
    )


def test_growth_that_is_not_known():
    log_R = np.random.default_rng(0).standard_normal((2, 100, 3))
    unknown = np.array([[0.0, 0.0, 30.0], [0.0, 10.0, 30.0]])
    without, found = bars(log_R), bars(log_R, unknown=unknown)
    np.testing.assert_allclose(found.stderr, np.hypot(without.stderr, [0.0, 0.05, 0.3]))
    np.testing.assert_allclose(np.linalg.norm(found.deviations, axis=0), found.stderr)


def test_bars_of_what_has_none():
    log_R = np.random.default_rng(0).standard_normal((1, 100, 3))
    alone = bars(log_R[:, :, :2])
    log_R[0, 50:, 2] = -np.inf
    found = bars(log_R)
    np.testing.assert_allclose(found.stderr[:2], alone.stderr, rtol=1e-12)
    assert np.isnan(found.stderr[2])
    assert (found.deviations[:, 2] == 0).all()
    assert np.isnan(bars(log_R[:, :3]).stderr).all()
    assert np.isnan(bars(np.full((1, 100, 2), np.nan)).stderr).all()


def test_long_and_short_intervals_weigh_by_their_steps():
    rng = np.random.default_rng(0)
    rates = rng.standard_normal((1, 600, 1))
    every = bars(rates).stderr[0]
    starts = np.sort(rng.choice(np.arange(1, 600), 199, replace=False))
    starts = np.concatenate([[0], starts])
    steps = np.diff(starts, append=600)
    some = error_bars(np.add.reduceat(rates, starts, axis=1), steps, np.zeros(1, int)).stderr[0]
    assert some == pytest.approx(every, rel=0.1)


def coverage(errors, stderr):
    return np.mean(np.abs(errors) < 2 * stderr)


@pytest.mark.filterwarnings("ignore:growth rates stay")
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
    np.testing.assert_allclose(
        np.sqrt((stderr**2).mean(axis=0)), np.sqrt(variance / steps), rtol=0.08
    )


@pytest.mark.filterwarnings("ignore:growth rates stay")
def test_error_bars_respect_correlations():
    # growth rates that are a slow AR(1) process: the naive error bar would be too small by a factor
    # of 6
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
        lf.lyapunov_spectrum(LogisticMap(np.array([4.0])), autonomous(4000), h0=rng.random(1))
        for _ in range(150)
    ]
    errors = np.array([s.exponents[0] for s in results]) - np.log(2)
    stderr = np.array([s.stderr[0] for s in results])
    assert coverage(errors, stderr) > 0.95
    assert np.median(stderr) < 10 * errors.std()


@pytest.mark.filterwarnings("ignore:growth rates stay")
@pytest.mark.parametrize("steps", [4, 9, 40, 100])
def test_error_bars_of_short_runs(steps):
    rng = np.random.default_rng(steps)
    spectra = [
        lf.lyapunov_spectrum(MatrixProduct(np.ones(1)), np.exp(rng.standard_normal((steps, 1))))
        for _ in range(1000)
    ]
    errors, stderr = (
        np.array([getattr(s, name)[0] for s in spectra]) for name in ("exponents", "stderr")
    )
    assert 0.93 < coverage(errors, stderr) < 0.975


@pytest.mark.filterwarnings("ignore:x is .T, B, m.")  # more trajectories than steps are meant here
@pytest.mark.filterwarnings("ignore:growth rates stay")
@pytest.mark.parametrize(("trajectories", "steps"), [(4, 40), (16, 9)])
def test_error_bars_of_trajectories(trajectories, steps):
    rng = np.random.default_rng(steps)
    spectra = [
        lf.lyapunov_spectrum(
            MatrixProduct(np.ones(1)), np.exp(rng.standard_normal((steps, trajectories, 1)))
        )
        for _ in range(1000)
    ]
    errors, stderr = (
        np.array([getattr(s, name)[0] for s in spectra]) for name in ("exponents", "stderr")
    )
    assert 0.93 < coverage(errors, stderr) < 0.975
    assert np.sqrt((stderr**2).mean()) == pytest.approx(1 / np.sqrt(trajectories * steps), rel=0.1)


def test_two_vectors_exchange_a_nat_or_so_while_they_align():
    """From many starting blocks: the scatter of λ_1 is what its bar says, and that of the sum nothing."""
    gap, T = 0.005, 4000
    cell = lf.LinearRNN(np.diag([0.9, 0.9 * np.exp(-gap)]), np.empty((2, 0)), np.zeros(2))
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    nats = []
    for c, s in zip(np.cos(angles), np.sin(angles)):
        with collected_warnings():
            found = lf.lyapunov_spectrum(cell, steps=T, q0=np.array([[c, -s], [s, c]]))
        nats.append(T * (found.exponents - np.log([0.9, 0.9 * np.exp(-gap)])))
    rms = np.sqrt(np.mean(np.square(nats), axis=0))
    np.testing.assert_allclose(rms, EXCHANGED, rtol=0.15)
    np.testing.assert_allclose(np.sum(nats, axis=1), 0, atol=1e-9)
    shared = T * found.deviations[-1]
    np.testing.assert_allclose(shared, [EXCHANGED, -EXCHANGED], rtol=1e-6)
    with collected_warnings():
        later = lf.lyapunov_spectrum(cell, steps=T, q_transient=400)
    aligned = EXCHANGED * (np.exp(-gap * 400) - np.exp(-gap * T))
    assert (T - 400) * later.deviations[-1, 0] == pytest.approx(aligned, rel=0.03)


def test_bars_of_gated_networks_cover_what_another_block_changes():
    """Exponents 10^-3 apart: another block moved λ_1 by 1.8 nats, and bars were 0.2."""
    cell = lf.GRU.random(47, 1, rng=np.random.default_rng(839881), g=10.0)
    x = np.random.default_rng(839882).standard_normal((4000, 1))
    times = {"transient": 100, "q_transient": 200}
    found = lf.lyapunov_spectrum(cell, x, 3, **times)
    for seed in range(4):
        q0 = lf.qr(np.random.default_rng(seed).standard_normal((47, 3)))[0]
        other = lf.lyapunov_spectrum(cell, x, 3, q0=q0, **times)
        assert (np.abs(other.exponents - found.exponents) < 5 * found.stderr).all()


def test_layers_exchange_nothing_and_neither_do_constant_rates():
    half = lf.LinearRNN(np.array([[0.5]]), np.zeros((1, 1)), np.zeros(1))
    found = lf.lyapunov_spectrum(lf.layers(half, half, half), np.zeros((100, 1)))
    assert (found.stderr < 1e-15).all()
    turning = lf.LinearRNN(np.array([[0.0, -1.0], [1.0, 0.0]]), np.empty((2, 0)), np.zeros(2))
    assert (lf.lyapunov_spectrum(turning, steps=100, h0=np.ones(2)).stderr < 1e-15).all()


def test_sequences_exchange_each_for_itself():
    rates = np.random.default_rng(1).standard_normal((3, 300, 4)) * 1e-3 + [0.0, -0.5, -0.5, -0.5]
    steps = np.ones(300, np.int64)
    alone = exchanged(rates[:1], steps, 0)
    joined = exchanged(rates.reshape(1, 900, 4), np.ones(900, np.int64), 0, sequences=3)
    assert alone[0, 0] == pytest.approx(EXCHANGED) and joined[0, 0] == pytest.approx(3 * EXCHANGED)
    assert (alone.sum(axis=1) == 0).all() and (np.abs(alone[1]) <= EXCHANGED).all()
