"""Error bars: do they cover, do they say where they cannot, and what do numbers made of exponents know of them?"""

import warnings

import numpy as np
import pytest
from scipy.signal import lfilter

import lyapflow as lf
from lyapflow.cells.interface import step, tangent
from lyapflow.lyapunov.dimension import entropy_rate, kaplan_yorke
from lyapflow.lyapunov.error_bars import error_bars, excess, returns, same_input
from lyapflow.lyapunov.problem import problem
from lyapflow.lyapunov.rounding import measured_errors
from lyapflow.precision.arithmetic import arithmetic, exact
from lyapflow.precision.spectrum import exponents
from tests.exact_systems import CatMap, DelayedHenonMap, LogisticMap, MatrixProduct

SHORT = "growth rates stay"


def autonomous(steps):
    return np.empty((steps, 0))


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


@pytest.mark.parametrize(("rho", "steps"), [(0.9, 100), (0.9, 900), (0.99, 100), (0.99, 900), (0.99, 20_000)])
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
    covered, _, _ = of_many(autoregressive(np.random.default_rng(2), (400, 1, 300), 0.95)[..., None])
    assert covered.mean() > 0.9  # by cosines alone, 79 %


def test_fast_fluctuations_that_cancel():
    rng = np.random.default_rng(0)
    runs = rng.standard_normal((400, 1, 400, 1)) + np.diff(3 * rng.standard_normal((400, 1, 401, 1)), axis=2)
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
    covered, _, ratio = of_many(runs, groups=np.arange(16))  # as independent ones they are four times too sure
    assert covered.mean() < 0.5


def test_short_runs_of_many_trajectories():
    covered, _, ratio = of_many(np.random.default_rng(0).standard_normal((400, 16, 9, 1)), groups=np.arange(16))
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
    assert found == pytest.approx(np.std([0, 1, 2, 3], ddof=1) / 2, rel=0.05)  # of 4 means, not of 12


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
        DelayedHenonMap(np.array([1.4]), np.array([0.3]), np.zeros(100)), autonomous(2100), 1, transient=100
    ).exponents[0] == pytest.approx(0.42, abs=0.02)


def test_a_state_that_has_not_settled_is_no_delay_line():
    rng = np.random.default_rng(2)  # the block of this network loses 40 nats while the state grows from nearly zero
    cell = lf.TanhRNN.random(100, 0, rng=rng, g=2.0)
    h0 = 0.1 * rng.standard_normal(100)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        lf.lyapunov_spectrum(cell, autonomous(600), h0=h0)
    assert not any("outgrow" in str(warning.message) for warning in said)


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


def delay_line_behind_a_network(rng, taps, steps=120):
    core, n = 3, 3 + taps
    W, V = np.zeros((n, n)), np.zeros((n, 1))
    W[:core, :core], W[core:, core - 1 : -1], V[:core] = rng.standard_normal((core, core)), np.eye(taps), 1.0
    x, h0 = rng.standard_normal((steps, 1)), 0.5 * rng.standard_normal(n)
    return lf.TanhRNN(W, V, np.zeros(n)), x, h0


@pytest.mark.parametrize("t_ons", [1, 5, "auto"])
def test_short_runs_of_delay_lines_that_rounding_errors_outgrow(t_ons):
    cell, x, h0 = delay_line_behind_a_network(np.random.default_rng(6), 38)
    with pytest.warns(lf.LyapflowWarning, match="outgrow"):
        lf.lyapunov_spectrum(cell, x, 3, h0=h0, t_ons=t_ons)


def test_rounding_errors_are_measured():
    """In delay lines of a few lengths, against 300 bits: what is harmed, and by how much at most, is found."""
    unharmed = 0
    for seed in range(12):
        cell, x, h0 = delay_line_behind_a_network(np.random.default_rng(seed), (4, 6, 38)[seed % 3], steps=80)
        given = problem((step, tangent), cell, x, 3, None, h0, None, 1, 0, 0)
        errors = measured_errors(given)
        a = arithmetic(None)
        with a.precision(300):
            mp = exponents(a, lf.TanhRNN(*(exact(a, array) for array in cell)), x, h0, given.block.T)
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


@pytest.mark.parametrize(
    ("cell", "h0"),
    [
        (lf.TanhRNN.random(30, 0, rng=np.random.default_rng(0), g=2.0), None),
        (LogisticMap(np.array([4.0])), None),
        (LogisticMap(np.array([4.0])), np.array([0.75])),
        (CatMap(np.array([[2.0, 1.0], [1.0, 1.0]])), np.array([0.5, 0.0])),  # a cycle of three steps
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
    np.testing.assert_array_equal(returns(np.array([[[0.0], [1.0]], [[1.0], [2.0]], [[0.0], [3.0]]])), [True, False])


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
    assert entropy_rate(np.array([0.5, 0.4, -2.0]), np.array([[0.01, 0.01, 0.1]]), 3) == pytest.approx((0.9, 0.02))
    one = np.diag([0.01, 0.02])
    assert kaplan_yorke(np.array([0.5, -1.0]), one, 2) == pytest.approx((1.5, np.hypot(0.01, 0.5 * 0.02)))
    assert kaplan_yorke(np.array([0.5, -0.505]), one, 2) == pytest.approx((2, np.hypot(0.01, 0.02) / 0.505))
    spectrum = lf.lyapunov_spectrum(
        MatrixProduct(np.ones(2)), determinant_one(np.random.default_rng(0), 500).reshape(500, 4)
    )
    assert spectrum.stderr[0] == pytest.approx(spectrum.stderr[1])
    assert spectrum.kaplan_yorke_dimension == pytest.approx(2)
    assert spectrum.kaplan_yorke_stderr < 1e-10


def determinant_one(rng, steps):
    a = rng.standard_normal((steps, 2, 2))
    a[:, 0] *= np.sign(np.linalg.det(a))[:, None]
    return a / np.sqrt(np.linalg.det(a))[:, None, None]


def test_standard_errors_of_dimension_and_entropy_are_their_scatter():
    spectra = []
    for seed in range(150):
        x = 0.8 * np.random.default_rng(seed).standard_normal((400, 16))
        spectra.append(lf.lyapunov_spectrum(MatrixProduct(np.ones(4)), x))
    for number in ("kaplan_yorke_dimension", "entropy_rate"):
        values = np.array([getattr(s, number) for s in spectra])
        stderr = np.array([getattr(s, number.replace("_dimension", "") + "_stderr") for s in spectra])
        assert stderr.mean() == pytest.approx(values.std(), rel=0.15), number


def test_derived_numbers_of_an_ensemble():
    rng = np.random.default_rng(0)
    cells = lf.stack([lf.TanhRNN.random(6, 1, rng=rng, g=g) for g in (0.5, 3.0)])
    x = rng.standard_normal((2, 300, 1))
    together = lf.lyapunov_spectrum(cells, x)
    for r in range(2):
        alone = lf.lyapunov_spectrum(cells[r], x[r])
        for name in ("kaplan_yorke_dimension", "kaplan_yorke_stderr", "entropy_rate", "entropy_rate_stderr"):
            assert getattr(together, name)[r] == getattr(alone, name)
