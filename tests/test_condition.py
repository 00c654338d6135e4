"""Condition numbers of long-term Jacobians: closed forms, two arithmetics, and NumPy where float64 can see."""

import math

import mpmath
import numpy as np
import pytest

import lyapflow as lf
from lyapflow.cells.interface import sizes
from lyapflow.precision import cells
from lyapflow.precision.arithmetic import Balls, Undecided, arithmetic, exact
from lyapflow.precision.products import _log_singular_values, _rounded
from lyapflow.precision.residues import Residues, rank
from lyapflow.precision.singular_values import log_singular_values
from lyapflow.precision.spectrum import exponents
from tests.test_cells import each_cell, each_kind

try:
    import flint
except ImportError:
    flint = None

BACKENDS = ["mpmath", *(["flint"] if flint else [])]
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def problem(cell_class, n=4, T=40, seed=0):
    rng = np.random.default_rng(seed)
    cell = cell_class.random(n, 1, rng=rng)
    if "leak" in cell._fields:
        cell = cell._replace(leak=rng.uniform(0.3, 1.0, n))
    if cell_class in (lf.ReluRNN, lf.ElmanReluRNN):  # all units stay active
        cell = cell._replace(b=np.full(n, 20.0), W=cell.W / 4)
    if cell_class is lf.LSTM:  # whose forget gate has no recurrent weights
        cell = cell._replace(W=cell.W + 0.3 * rng.standard_normal(cell.W.shape))
    return cell, rng.standard_normal((T, 1)), 0.3 + 0.1 * rng.random(sizes(cell).state)


def linear(W):
    W = np.array(W, float)
    return lf.LinearRNN(W, np.zeros((len(W), 0)), np.zeros(len(W)))


def float64_product(cell, x, h, steps):
    T = np.eye(len(h))
    for before, driven in zip([h, *lf.trajectory(cell, x, h0=h)], x[:steps]):
        T = lf.jacobian(cell, before, driven) @ T
    return T


@each_backend
@each_kind
def test_what_float64_sees(cell_class, backend):
    cell, x, h = problem(cell_class)
    found = lf.condition_number(cell, x, steps=[0, 1, 3], h0=h, backend=backend)
    for t, logs, log_kappa, error in zip(
        found.steps, found.log_singular_values, found.log_kappa, found.error
    ):
        sigma = np.linalg.svd(float64_product(cell, x, h, t), compute_uv=False)
        np.testing.assert_allclose(np.exp(logs), sigma, rtol=0, atol=1e-12 * sigma[0])
        assert log_kappa == logs[0] - logs[-1]
        assert error <= 1e-6
    assert found.log_kappa[0] == 0.0
    Q = lf.condition_number(cell, x, steps=3, h0=h, backend=backend, m=2)
    columns = lf.lyapunov.problem.default_block(len(h), 2, np.dtype(float)).T
    sigma = np.linalg.svd(float64_product(cell, x, h, 3) @ columns, compute_uv=False)
    np.testing.assert_allclose(np.exp(Q.log_singular_values), sigma, rtol=0, atol=1e-12 * sigma[0])


@pytest.mark.skipif(flint is None, reason="no python-flint")
@each_kind
def test_arithmetics_agree_far_beyond_float64(cell_class):
    cell, x, h = problem(cell_class)
    balls, floats = (
        lf.condition_number(cell, x, steps=[10, 40], h0=h, backend=b) for b in ("flint", "mpmath")
    )
    np.testing.assert_allclose(
        balls.log_singular_values, floats.log_singular_values, rtol=1e-12, atol=1e-12
    )
    assert balls.proved and not floats.proved
    assert balls.log_kappa[1] > 37 or cell_class in (lf.GRU, lf.ReluRNN)


@each_cell
def test_equations_are_those_of_the_cells(cell_class):
    cell, x, h = problem(cell_class)
    a = arithmetic("mpmath")
    exactly = type(cell)(*(exact(a, array) for array in cell))
    state, driven = exact(a, h), exact(a, x[0])
    with a.precision(200):
        h_next, D = cells.step(exactly, a, state, driven), cells.jacobian(exactly, a, state, driven)
    np.testing.assert_allclose(
        np.array(h_next, float), lf.trajectory(cell, x[:1], h0=h)[0], rtol=1e-14
    )
    np.testing.assert_allclose(
        np.array(D, float), lf.jacobian(cell, h, x[0]), rtol=1e-13, atol=1e-15
    )


@pytest.mark.skipif(flint is None, reason="no python-flint")
def test_balls_too_wide_for_an_answer_say_so():
    a = Balls()
    assert (
        a.not_negative(flint.arb(0))
        and a.not_negative(flint.arb(2, 1))
        and not a.not_negative(flint.arb(-2, 1))
    )
    with pytest.raises(Undecided):
        a.not_negative(flint.arb(1, 2))
    narrow, wide = (
        [[flint.arb(1, 2.0**-e), flint.arb(0)], [flint.arb(0), flint.arb(1)]] for e in (90, 60)
    )
    assert _rounded(a, narrow, 64)[0][0] > 0.9
    with pytest.raises(Undecided):
        _rounded(a, wide, 64)


@each_backend
def test_the_bound_holds_where_bits_are_few(backend):
    rng, a, worst = np.random.default_rng(0), arithmetic(backend), 0.0
    for _ in range(10):
        A, B = rng.standard_normal((6, 3)) * np.exp2([0, -30, -60]), rng.standard_normal((3, 3))
        with a.precision(300):  # exact
            T = a.product(exact(a, A), exact(a, B))
        with a.precision(80):
            logs, error = log_singular_values(a, T, 3)
        with mpmath.workprec(300):
            truth = [
                mpmath.log(v)
                for v in mpmath.svd(mpmath.matrix(A) * mpmath.matrix(B), compute_uv=False)
            ]
            off = max(abs(mpmath.expm1(log - exactly)) for log, exactly in zip(logs, truth))
        assert off <= error < 1e-3
        worst = max(worst, off)
    assert worst > 1e-13  # far more than a logarithm's rounding


@each_backend
def test_what_a_lower_rank_leaves_is_in_the_bound(backend):
    a = arithmetic(backend)
    with a.precision(200):
        logs, error = log_singular_values(a, exact(a, np.diag([1.0, 0.5, 1e-8])), 2)
    assert len(logs) == 2
    assert 2e-8 <= error < 3e-8


@each_backend
def test_known_products(backend):
    permutation = linear([[0, 0, -1], [1, 0, 0], [0, 1, 0]])
    x = np.zeros((300, 0))
    assert lf.condition_number(permutation, x, steps=299, backend=backend).log_kappa == 0.0
    # [[2, 1], [0, 1/2]]² = [[4, 5/2], [0, 1/4]]: σ₁ σ₂ = 1, σ₁² + σ₂² = 16 + 25/4 + 1/16
    found = lf.condition_number(linear([[2, 1], [0, 0.5]]), x, steps=2, backend=backend)
    larger = math.acosh((16 + 25 / 4 + 1 / 16) / 2) / 2
    np.testing.assert_allclose(found.log_singular_values, [larger, -larger], rtol=1e-14)
    # log κ approaches the gap of the logarithms of the moduli of eigenvalues
    W = np.diag([0.9, 0.5, 0.1]) + np.triu(np.ones((3, 3)), 1)
    found = lf.condition_number(linear(W), x, steps=[100, 300], backend=backend)
    assert np.diff(found.log_kappa)[0] / 200 == pytest.approx(math.log(9), rel=1e-6)
    np.testing.assert_allclose(found.predicted, found.log_kappa, rtol=0.03)


@each_backend
def test_few_bits_see_no_more_than_they_can(backend):
    cell, x = linear(np.diag([1.0, 2.0**-10])), np.zeros((60, 0))
    found = lf.condition_number(cell, x, steps=range(61), bits=256, backend=backend)
    seen = np.isfinite(found.log_kappa)
    exact = 10 * math.log(2) * np.arange(61)
    np.testing.assert_allclose(found.log_kappa[seen], exact[seen], rtol=1e-12)
    rng = np.random.default_rng(0)
    cell = lf.LinearRNN(
        lf.qr(rng.standard_normal((2, 2)))[0] @ np.diag([1.0, 2.0**-10]),
        np.zeros((2, 0)),
        np.zeros(2),
    )
    found = lf.condition_number(cell, x, steps=range(61), bits=256, backend=backend)
    seen = np.isfinite(found.log_kappa)
    last = int(np.argmin(seen)) - 1  # 2^256 is far beyond, at first in sight
    assert seen[: last + 1].all() and not seen[last + 1 :].any()
    assert 150 < found.log_kappa[last] / math.log(2) < 256
    assert f"256 bits do not show all singular values from step {last + 1} on" in found.reason
    more = lf.condition_number(cell, x, steps=60, backend=backend)
    assert more.reason is None and more.log_kappa / math.log(2) > 256


@each_backend
def test_lost_rank_is_infinite(backend):
    cell, x, h = problem(lf.ReluRNN)
    h[2] = -1.0
    found = lf.condition_number(cell, x, steps=[0, 3], h0=h, backend=backend)
    np.testing.assert_array_equal(found.rank, [4, 3])
    np.testing.assert_array_equal(found.log_kappa, [0.0, np.inf])
    sigma = np.linalg.svd(float64_product(cell, x, h, 3), compute_uv=False)
    np.testing.assert_allclose(np.exp(found.log_singular_values[1]), sigma, atol=1e-13 * sigma[0])
    assert found.log_singular_values[1, 3] == -np.inf


@each_backend
def test_an_lstm_at_rest_has_lost_half_its_rank(backend):
    cell = lf.LSTM.random(2, 1, rng=np.random.default_rng(0))
    cell = cell._replace(b=np.zeros_like(cell.b))
    found = lf.condition_number(cell, np.zeros((5, 1)), steps=[0, 5], backend=backend)
    np.testing.assert_array_equal(found.rank, [4, 2])
    sigma = np.linalg.svd(float64_product(cell, np.zeros((5, 1)), np.zeros(4), 5), compute_uv=False)
    np.testing.assert_allclose(np.exp(found.log_singular_values[1]), sigma, atol=1e-13 * sigma[0])


def products_in_float64(cell, x, h, steps):
    """Singular values of the products, and how far float64 can be off."""
    sigma = np.linalg.svd(float64_product(cell, x, h, steps), compute_uv=False)
    return sigma, 1e-12 * sigma[0]


two_pruned = np.random.default_rng(0).standard_normal((5, 5)) * [1, 0, 1, 0, 1]
few = np.array([[1, 2], [3, -1], [2, 2], [0, 1]]) @ [[1, 0, 1, -1], [2, 1, 1, 3]] / 8


@pytest.mark.parametrize(
    ("W", "ranks"),
    [
        (np.zeros((3, 3)), [3, 0, 0, 0]),
        (np.ones((4, 4)), [4, 1, 1, 1]),
        ([[1, 1], [1, 1]], [2, 1, 1, 1]),
        (two_pruned, [5, 3, 3, 3]),
        (few, [4, 2, 2, 2]),
        ([[1, -1], [1, -1]], [2, 1, 0, 0]),
        (np.diag(np.ones(4), -1), [5, 4, 3, 1]),
        (np.random.default_rng(1).standard_normal((4, 4))[[0, 1, 1, 0]], [4, 2, 2, 2]),
    ],
)
@each_backend
def test_lost_rank_of_any_kind(W, ranks, backend):
    cell, x = linear(W), np.zeros((4, 0))
    found = lf.condition_number(cell, x, steps=[0, 1, 2, 4], backend=backend)
    np.testing.assert_array_equal(found.rank, ranks)
    np.testing.assert_array_equal(found.log_kappa, np.where(found.rank < len(W), np.inf, 0.0))
    assert found.reason is None and found.error.max() < 1e-6 and found.bits < 400
    for t, logs, left in zip(found.steps, found.log_singular_values, found.rank):
        sigma, off = products_in_float64(cell, x, np.zeros(len(W)), t)
        np.testing.assert_allclose(np.exp(logs), sigma, rtol=0, atol=off)
        np.testing.assert_array_equal(np.isneginf(logs), np.arange(len(W)) >= left)
    tanh = lf.TanhRNN(cell.W, cell.V, np.arange(1.0, len(W) + 1))
    moved = lf.condition_number(tanh, x, steps=[0, 1, 2, 4], h0=tanh.b, backend=backend)
    nilpotent = np.array_equal(W, [[1, -1], [1, -1]])  # which slopes that differ undo
    np.testing.assert_array_equal(moved.rank, [2, 1, 1, 1] if nilpotent else ranks)
    resting = lf.condition_number(tanh._replace(b=cell.b), x, steps=[0, 1, 2, 4], backend=backend)
    np.testing.assert_array_equal(resting.rank, ranks)


@each_backend
def test_a_step_in_which_all_units_are_silent(backend):
    cell = lf.ReluRNN(np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((2, 0)), -np.ones(2))
    found = lf.condition_number(cell, np.zeros((3, 0)), steps=[1, 2, 3], backend=backend)
    np.testing.assert_array_equal(found.rank, [2, 0, 0])
    np.testing.assert_array_equal(found.log_singular_values[1:], -np.inf)
    np.testing.assert_array_equal(found.log_kappa[1:], np.inf)
    np.testing.assert_array_equal(found.error[1:], 0.0)


@pytest.mark.parametrize(("cell_class", "rank"), [(lf.LSTM, 3), (lf.GRU, 3)])
@each_backend
def test_gates_without_weights(cell_class, rank, backend):
    cell, x, h = problem(cell_class, n=3)
    none = lf.condition_number(cell._replace(W=0 * cell.W), x, steps=[1, 4], h0=h, backend=backend)
    np.testing.assert_array_equal(none.rank, rank)  # what the forget or update gate keeps
    sigma, off = products_in_float64(cell._replace(W=0 * cell.W), x, h, 4)
    np.testing.assert_allclose(np.exp(none.log_singular_values[1]), sigma, rtol=0, atol=off)


@each_backend
def test_units_that_cancel_are_at_zero_exactly(backend):
    """Which no ball of a few thousand bits shows: two units are equal, a third is their difference."""
    W = np.array([[0.3, 0.3, 0.7], [0.3, 0.3, 0.7], [0.1, -0.1, 0.2]])
    cell = lf.ReluRNN(W, np.zeros((3, 0)), np.array([0.1, 0.1, 0.0]))
    found = lf.condition_number(
        cell, np.zeros((600, 0)), steps=[1, 600], h0=np.array([0.3, 0.3, 0]), backend=backend
    )
    assert found.reason is None
    # all three units are active, the first two are equal
    np.testing.assert_array_equal(found.rank, [2, 2])


@each_backend
def test_rank_that_nothing_shows_is_not_searched_for_ever(backend, monkeypatch):
    monkeypatch.setattr("lyapflow.precision.products.rank", lambda T: len(T[0]))
    found = lf.condition_number(
        linear([[1, 1], [1, 1]]), np.zeros((9, 0)), steps=[0, 3], backend=backend
    )
    assert found.log_kappa[0] == 0.0 and np.isnan(found.log_kappa[1])
    assert "from step 3 on" in found.reason


@each_backend
def test_what_is_beyond_any_number_of_bits_has_a_reason(backend):
    cell = lf.TanhRNN(
        1e300 * np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((2, 0)), np.array([0.1, 1e300])
    )
    found = lf.condition_number(cell, np.zeros((3, 0)), steps=[1, 3], backend=backend)
    assert np.isfinite(found.log_kappa[0]) and np.isnan(found.log_kappa[1])
    assert "do not show all singular values from step 3 on" in found.reason


@each_backend
def test_a_rank_that_is_not_there_ends(backend):
    a = arithmetic(backend)
    for matrix in (np.zeros((4, 4)), np.ones((4, 4)), two_pruned):
        with a.precision(200):
            assert log_singular_values(a, exact(a, matrix), len(matrix)) == ([], math.inf)


@each_backend
def test_the_bound_takes_in_what_vectors_are_off(backend, monkeypatch):
    a = arithmetic(backend)

    def short(a, T, rank, tell):  # right singular vectors, but not of length 1
        return exact(a, 0.8 * np.eye(2))

    monkeypatch.setattr("lyapflow.precision.singular_values._right_vectors", short)
    with a.precision(200):
        found, error = log_singular_values(a, exact(a, np.diag([1.0, 0.5])), 2)
    assert np.expm1(-found[0]) == pytest.approx(0.25)
    assert error >= 0.25


@each_backend
def test_bits_are_as_many_as_exponents_ask_for(backend, monkeypatch):
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    found = lf.condition_number(linear(rotation), np.zeros((90, 0)), steps=90, backend=backend)
    assert found.log_kappa < 1e-9 and found.bits < 200
    # where the first are too few, the rest is left to more of them
    tried = []

    def watched(a, T, full, bits, *rest):
        tried.append(bits)
        return _log_singular_values(a, T, full, bits, *rest)

    monkeypatch.setattr("lyapflow.precision.products._log_singular_values", watched)
    monkeypatch.setattr("lyapflow.precision.condition._predicted", lambda *_: (np.zeros(2), 0.0))
    cell, steps = linear([[1.0, 0.3], [0.2, 0.07]]), [25, 28, 30]
    found = lf.condition_number(cell, np.zeros((30, 0)), steps=steps, backend=backend)
    assert (found.log_kappa > 25 * np.log(50)).all()
    assert (
        backend == "mpmath" or tried.count(tried[0]) == 1
    )  # which does not know without a second try


@each_backend
def test_silent_units_start_with_few_bits(backend):
    cell, x, h = problem(lf.ReluRNN)
    cell = cell._replace(b=np.array([20.0, 20.0, 20.0, -50.0]))
    found = lf.condition_number(cell, x, steps=[1, 3], h0=h, backend=backend)
    assert found.predicted[1] > 100 or np.isinf(found.predicted[1])
    np.testing.assert_array_equal(found.rank, [4, 3])
    assert found.bits < 300


@each_backend
def test_many_columns(backend):
    """More than a block of them, with every length, and fewer independent ones."""
    rng, a = np.random.default_rng(0), arithmetic(backend)
    left, right = (lf.qr(rng.standard_normal((40, 40)))[0][:, :30] for _ in range(2))
    logs = np.r_[np.zeros(5), np.linspace(-1, -60, 25)] * math.log(2)
    with a.precision(500):
        graded = a.product(exact(a, left), exact(a, (right * np.exp(logs)).T.copy()))
        found, error = log_singular_values(a, graded, 30)
        np.testing.assert_allclose(found, logs, rtol=0, atol=1e-10)
        assert error < 1e-9
        found, error = log_singular_values(a, graded, 20)
        np.testing.assert_allclose(found, logs[:20], rtol=0, atol=error)
        assert 0.1 < error < 1.0  # what it leaves out


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("backend", "way_out"), [("mpmath", "python-flint takes a fifth"), ("flint", "by m=")]
)
def test_long_work_is_announced_and_shown(backend, way_out, monkeypatch):
    if backend not in BACKENDS:
        pytest.skip("no python-flint")
    cell, x, h = problem(lf.TanhRNN)
    monkeypatch.setattr("lyapflow.precision.condition.ANNOUNCED_SECONDS", 0.0)
    calls = []
    with pytest.warns(
        lf.LyapflowWarning, match=f"a state of 4 over 3 steps take about 1 minutes.*{way_out}"
    ):
        lf.condition_number(
            cell, x, steps=3, h0=h, backend=backend, progress=lambda t, bits: calls.append(t)
        )
    within = [t for t in calls if 2 < t < 3]
    assert len(within) >= 3 and 3 in calls


def test_an_ensemble_is_refused_with_the_way_out():
    cell, x, _ = problem(lf.TanhRNN)
    with pytest.raises(
        lf.LyapflowError,
        match="takes one cell, got an ensemble of 2; call it for each of its members",
    ):
        lf.condition_number(lf.stack([cell, cell]), np.stack([x, x]), steps=3)


def test_residues_obey_what_numbers_do():
    r, numbers = Residues(arithmetic("mpmath")), [0.1, -3.0, 5e-324, 1.7e308]
    a, b, c, d = map(r.number, numbers)
    assert (
        (a + b) * c == a * c + b * c
        and a / b * b == a
        and 1 - a == -(a - 1)
        and a**2 == a * a
        and 2 / a == 2 * a**-1
    )
    assert (
        r.number(0.1) + r.number(-0.1) == 0
        and r.number(0.25) * 4 == 1
        and d - r.number(1.7e308) == 0
    )
    assert r.exp(-a) * r.exp(a) == 1 == r.exp(r.number(0.0)) and r.exp(a) == r.exp(a) != r.exp(b)
    assert r.tanh(-a) == -r.tanh(a) and r.tanh(a) ** 2 + r.sech(a) ** 2 == 1
    assert r.sqrt(a) == r.sqrt(a) != r.log(a) and r.log(r.number(1.0)) == 0 == r.sqrt(r.number(0.0))
    A, B = exact(r, np.random.default_rng(0).standard_normal((3, 2))), exact(r, np.ones((2, 4)))
    assert r.product(A, B) == [[r.dot(row, column) for column in zip(*B)] for row in A]
    assert r.product(A, [[], []]) == [[], [], []]
    assert rank(A) == 2 and rank(r.product(A, B)) == 1 and rank(exact(r, np.zeros((2, 2)))) == 0
    with pytest.raises(TypeError):
        assert a < b


@each_backend
def test_settings_of_the_caller_neither_matter_nor_change(backend):
    cell, x, h = problem(lf.TanhRNN)
    expected = lf.condition_number(cell, x, steps=20, h0=h, backend=backend)
    with mpmath.workprec(20):
        found = lf.condition_number(cell, x, steps=20, h0=h, backend=backend)
        assert mpmath.mp.prec == 20
    np.testing.assert_array_equal(found.log_singular_values, expected.log_singular_values)


def test_the_precision_of_flint_survives_a_stop():
    if flint is None:
        pytest.skip("no python-flint")
    before = flint.ctx.prec

    def stop(t, bits):
        raise KeyboardInterrupt

    cell, x, h = problem(lf.TanhRNN)
    with pytest.raises(KeyboardInterrupt):
        lf.condition_number(cell, x, steps=[3, 20], h0=h, progress=stop)
    assert flint.ctx.prec == before


@each_backend
def test_the_precision_of_flint_does_not_matter(backend):
    cell, x, h = problem(lf.TanhRNN)
    expected = lf.condition_number(cell, x, steps=20, h0=h, backend=backend)
    if flint:
        before = flint.ctx.prec
        flint.ctx.prec = 20
        try:
            found = lf.condition_number(cell, x, steps=20, h0=h, backend=backend)
            assert flint.ctx.prec == 20
        finally:
            flint.ctx.prec = before
        np.testing.assert_array_equal(found.log_singular_values, expected.log_singular_values)


@each_backend
def test_float64_states_are_those_of_the_trajectory(backend):
    cell, x, h = problem(lf.TanhRNN, n=8)
    cell = cell._replace(W=6 * cell.W)
    exact, rounded = (
        lf.condition_number(cell, x, steps=[1, 40], h0=h, float64_states=f, backend=backend)
        for f in (False, True)
    )
    assert exact.log_kappa[0] == rounded.log_kappa[0]  # of the initial state alone
    assert 0 < abs(exact.log_kappa[1] - rounded.log_kappa[1]) < 1e-9


def test_without_flint_mpmath_does_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    cell, x, h = problem(lf.TanhRNN)
    assert not lf.condition_number(cell, x, steps=3, h0=h).proved
    with pytest.raises(lf.LyapflowError, match="needs python-flint; install it"):
        lf.condition_number(cell, x, steps=3, h0=h, backend="flint")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 41}, "steps must be an integer between 0 and 40 = steps of the input, got 41"),
        ({"steps": []}, "steps must be an integer or several, got none"),
        ({"steps": 2.5}, "steps must be an integer"),
        ({"bits": 8}, "bits must be an integer between 16 and 1000000, got 8"),
        ({"m": 5}, "m must be an integer between 1 and 4 = n_state, got 5"),
        ({"backend": "gmp"}, "backend must be one of 'flint', 'mpmath', got 'gmp'"),
        ({"x": np.zeros((40, 2, 1))}, "x must be the input of one trajectory"),
        ({"h0": np.zeros(3)}, "h0 must have shape"),
        ({"cell": 3}, "a cell must be one of lyapflow's"),
        ({"steps": "x"}, "steps must be"),
    ],
)
def test_bad_input(changes, message):
    cell, x, h = problem(lf.TanhRNN)
    arguments = {"cell": cell, "x": x, "steps": 3, "h0": h} | changes
    with pytest.raises(lf.LyapflowError, match=message.replace("(", r"\(")):
        lf.condition_number(arguments.pop("cell"), arguments.pop("x"), **arguments)


def test_prediction():
    assert lf.predicted_condition([0.5, 0.1, -1.0], 10) == pytest.approx(15.0)
    np.testing.assert_allclose(lf.predicted_condition([0.5, 0.1, -1.0], [0, 10], m=2), [0.0, 4.0])
    assert lf.predicted_condition([0.5, -np.inf], 3) == np.inf
    assert lf.predicted_condition([0.5, -np.inf], 0) == 0.0
    for wrong in ([], [np.nan], [[1.0]], "x"):
        with pytest.raises(lf.LyapflowError, match="exponents must be"):
            lf.predicted_condition(wrong, 3)
    with pytest.raises(lf.LyapflowError, match="m must be"):
        lf.predicted_condition([1.0], 3, m=2)


@each_backend
def test_precision_is_put_back(backend):
    a = arithmetic(backend)
    third = [a.number(1.0) / 3]
    with a.precision(300):
        with a.precision(100):
            pass
        third.append(a.number(1.0) / 3)
    third.append(a.number(1.0) / 3)
    with a.precision(400):
        apart = [a.to_float(abs(a.middle(value) - a.number(1.0) / 3)) for value in third]
    assert apart[0] == apart[2] > 1e-20 and apart[1] < 1e-85


@each_backend
@pytest.mark.parametrize("t_ons", [1, 3])
@each_kind
def test_exponents_in_arbitrary_precision_are_those_of_float64(cell_class, t_ons, backend):
    cell, x, h = problem(cell_class, T=23)
    Q = lf.qr(np.random.default_rng(1).standard_normal((len(h), 2)))[0]
    options = {"t_ons": t_ons, "transient": 2, "q_transient": 4}
    a = arithmetic(backend)
    with a.precision(200):
        found = exponents(a, type(cell)(*(exact(a, array) for array in cell)), x, h, Q, **options)
    expected = lf.lyapunov_spectrum(cell, x, 2, h0=h, q0=Q, **options).exponents
    np.testing.assert_allclose([a.to_float(v) for v in found], expected, rtol=1e-11)
