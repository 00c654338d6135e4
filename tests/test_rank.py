"""Tangent blocks that lose rank: what is minus infinity, and what stays right."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow._trees import map_arrays
from lyapflow.lyapunov.problem import default_block
from tests.exact_systems import MatrixProduct
from tests.test_cells import each_dtype

TOLERANCE = {np.float64: 1e-9, np.float32: 2e-5}


def dead_units(n, active, rng, dtype):
    """An autonomous ReLU network whose first units alone are active, and its exponents."""
    moduli = np.linspace(0.9, 0.4, active)
    basis = np.eye(active) + 0.1 * rng.random((active, active))
    W = rng.standard_normal((n, n))
    W[:active, :active] = basis * moduli @ np.linalg.inv(basis)
    W[active:] = -np.abs(W[active:])
    b = np.where(np.arange(n) < active, 10.0, -1.0)
    cell = lf.ReluRNN(W.astype(dtype), np.empty((n, 0), dtype), b.astype(dtype))
    return cell, np.concatenate([np.log(moduli), np.full(n - active, -np.inf)])


@each_dtype
@pytest.mark.parametrize("t_ons", [1, 3, 20])
@pytest.mark.parametrize(("n", "active"), [(6, 3), (6, 5), (6, 0), (40, 7)])
def test_dead_units_have_exponents_of_minus_infinity(dtype, t_ons, n, active):
    cell, exact = dead_units(n, active, np.random.default_rng(0), dtype)
    spectrum = lf.lyapunov_spectrum(
        cell, np.empty((500, 0)).astype(dtype), q_transient=200, t_ons=t_ons
    )
    np.testing.assert_allclose(spectrum.exponents, exact, atol=TOLERANCE[dtype])
    assert np.isnan(spectrum.stderr[active:]).all()
    assert np.isfinite(spectrum.stderr[:active]).all()
    assert (spectrum.history[:, active:] == -np.inf).all()
    assert spectrum.kaplan_yorke_dimension == 0


@each_dtype
def test_the_number_of_exponents_is_the_rank_of_the_product(dtype):
    rng = np.random.default_rng(1)
    for _ in range(20):
        cell = lf.ReluRNN.random(12, 1, rng=rng, dtype=dtype)
        x, h0 = rng.standard_normal((60, 1)).astype(dtype), rng.standard_normal(12).astype(dtype)
        states = np.vstack([h0, lf.trajectory(cell, x, h0)])[:-1]
        active = (states >= 0).sum(axis=1)
        exponents = lf.lyapunov_spectrum(cell, x, h0=h0, t_ons=int(rng.integers(1, 6))).exponents
        assert np.isfinite(exponents).sum() <= active.min()  # never more than the rank of a factor
        product = np.eye(12)
        for h, driven in zip(states, x):
            product = lf.jacobian(cell, h, driven).astype(float) @ product
            product /= max(np.abs(product).max(), 1e-300)
        assert np.isfinite(exponents).sum() >= np.linalg.matrix_rank(product)


def exact_exponents(cell, x, h0, q0=None):
    """Exponents of q0, or the default block, in 3000 bits along the float64 states; -inf once a length is lost."""
    states, n = np.vstack([h0, lf.trajectory(cell, x, h0)]), len(h0)
    with mpmath.workprec(3000):
        block = default_block(n, n, np.dtype(float)) if q0 is None else q0.T
        vectors = [[mpmath.mpf(float(v)) for v in row] for row in block]
        growth = [mpmath.mpf(0)] * n
        for h, driven in zip(states, x):
            D = [[mpmath.mpf(v) for v in row] for row in lf.jacobian(cell, h, driven).tolist()]
            basis = []
            for j, vector in enumerate(vectors):
                moved = [mpmath.fdot(row, vector) for row in D]
                for q in basis:
                    along = mpmath.fdot(q, moved)
                    moved = [a - along * b for a, b in zip(moved, q)]
                length = mpmath.sqrt(mpmath.fdot(moved, moved))
                if length < mpmath.mpf(2) ** -1500:
                    break
                growth[j] += mpmath.log(length)
                basis.append([a / length for a in moved])
            vectors = basis
        return np.array(
            [float(g / len(x)) if j < len(vectors) else -np.inf for j, g in enumerate(growth)]
        )


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 13, 44, 77, 117])
def test_sparse_networks_against_exact_ranks(seed):
    # subspaces meet kernels exactly, and rounding hides it: up to 600 ε are left of what is lost
    rng, n = np.random.default_rng(seed), 6
    W = rng.standard_normal((n, n)) / np.sqrt(n) * (rng.random((n, n)) < 0.4)
    cell = lf.ReluRNN(W, 0.5 * rng.standard_normal((n, 1)), 0.7 * rng.standard_normal(n))
    x, h0 = rng.standard_normal((30, 1)), rng.standard_normal(n)
    exact = exact_exponents(cell, x, h0)
    rank = int(np.isfinite(exact).sum())
    assert rank < n
    for t_ons in (1, 2, 5, 30):
        found = lf.lyapunov_spectrum(cell, x, h0=h0, t_ons=t_ons).exponents
        np.testing.assert_allclose(found, exact, atol=1e-8)
    # what a transient loses is there when it ends
    warm = np.array([[50.0], [-50.0]])
    exact = exact_exponents(cell, x, lf.trajectory(cell, warm, h0)[-1])
    found = lf.lyapunov_spectrum(cell, np.vstack([warm, x]), h0=h0, transient=2).exponents
    np.testing.assert_allclose(found, exact, atol=1e-8)
    single = map_arrays(lambda a: a.astype(np.float32), cell)
    found = lf.lyapunov_spectrum(single, x.astype("f4"), h0=h0.astype("f4")).exponents
    assert np.isfinite(found).sum() == rank
    with pytest.raises(lf.Diverged) as caught:
        lf.flossing_value_and_grad(cell, x, rank + 1, h0=h0)
    assert caught.value.rank <= rank
    if rank:
        assert np.isfinite(lf.flossing_value_and_grad(cell, x, rank, h0=h0)[0])


@pytest.mark.filterwarnings("ignore:growth rates stay")
@pytest.mark.parametrize("ratio", [1e-4, 1e-6, 1e-8])
def test_ill_conditioned_active_units_do_not_lend_volume_to_silent_ones(ratio):
    # taking away the vectors before it magnifies the noise of a lost one by 1 / ratio
    for seed in range(20):
        rng = np.random.default_rng(seed)
        left, right = (lf.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
        W = rng.standard_normal((8, 8))
        W[:4, :4] = 0.5 * left * np.geomspace(1, ratio, 4) @ right
        cell = lf.ReluRNN(W, np.empty((8, 0)), np.repeat([30.0, -300.0], 4))
        exponents = lf.lyapunov_spectrum(cell, np.empty((40, 0)), h0=cell.b).exponents
        assert (exponents[4:] == -np.inf).all()
        assert np.isfinite(exponents[:3]).all()


@each_dtype
@pytest.mark.parametrize("t_ons", [1, 3, 5])
def test_layers_behind_a_recurrent_one_add_no_volume(dtype, t_ons):
    rng, n = np.random.default_rng(0), 4
    W, V = np.zeros((12, 12)), np.zeros((12, 1))
    for row, column in ((0, 0), (1, 0), (2, 1)):
        W[row * n : row * n + n, column * n : column * n + n] = rng.standard_normal(
            (n, n)
        ) / np.sqrt(n)
    V[:n, 0] = rng.standard_normal(n)
    cell = lf.TanhRNN(W.astype(dtype), V.astype(dtype), np.zeros(12, dtype))
    exponents = lf.lyapunov_spectrum(
        cell, rng.standard_normal((400, 1)).astype(dtype), t_ons=t_ons
    ).exponents
    assert np.isfinite(exponents[:n]).all()
    assert (exponents[n:] == -np.inf).all()


@each_dtype
def test_a_nilpotent_map_has_no_volume(dtype):
    W = np.array([[5, -3, 2], [15, -9, 6], [10, -6, 4]], dtype)
    cell = lf.LinearRNN(W, np.empty((3, 0), dtype), np.zeros(3, dtype))
    assert (lf.lyapunov_spectrum(cell, np.empty((30, 0), dtype)).exponents == -np.inf).all()


@each_dtype
def test_one_unit_may_contract_by_any_factor(dtype):
    # the Jacobian's size changes by 1e13 between steps: small is not lost
    cell = lf.TanhRNN(np.ones((1, 1), dtype), np.ones((1, 1), dtype), np.zeros(1, dtype))
    x = np.resize(np.array([0.0, 15.0], dtype), (40, 1))
    states = np.concatenate([[0.0], lf.trajectory(cell, x)[:-1, 0]]).astype(float)
    expected = np.mean(-2 * np.log(np.cosh(states)))
    assert expected < -5
    exponents = lf.lyapunov_spectrum(cell, x).exponents
    np.testing.assert_allclose(exponents, expected, rtol=1e-5)
    np.testing.assert_allclose(lf.flossing_value_and_grad(cell, x, 1)[2], expected, rtol=1e-5)


@each_dtype
def test_exponents_that_exist_are_those_of_a_smaller_block(dtype):
    rng = np.random.default_rng(0)
    cell = lf.ReluRNN.random(32, 1, rng=rng, dtype=dtype)
    x = rng.standard_normal((300, 1)).astype(dtype)
    spectrum = lf.lyapunov_spectrum(cell, x, q_transient=20)
    k = int(np.isfinite(spectrum.exponents).sum())
    assert 0 < k < 32
    alone = lf.lyapunov_spectrum(cell, x, k, q_transient=20)
    np.testing.assert_allclose(spectrum.exponents[:k], alone.exponents, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(spectrum.stderr[:k], alone.stderr, rtol=1e-3)
    for t_ons in (2, 5, 11):
        again = lf.lyapunov_spectrum(cell, x, q_transient=20, t_ons=t_ons).exponents
        np.testing.assert_allclose(again, spectrum.exponents, atol=TOLERANCE[dtype])


def test_a_vector_that_is_lost_does_not_take_others_with_it():
    # the first two columns of q0 are in the kernel of D, the others are not
    D = np.zeros((4, 4))
    D[:, 2:] = np.random.default_rng(0).standard_normal((4, 2))
    block = D[2:, 2:]
    x = np.tile(D.ravel(), (200, 1))
    found = lf.lyapunov_spectrum(MatrixProduct(np.ones(4)), x, q0=np.eye(4), q_transient=100)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(block))))[::-1]
    np.testing.assert_allclose(found.exponents[:2], expected, atol=1e-2)
    assert found.exponents[:2].sum() == pytest.approx(np.log(abs(np.linalg.det(block))), abs=1e-12)
    assert (found.exponents[2:] == -np.inf).all()


def test_volume_may_be_lost_in_the_middle_of_a_run():
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((50, 4, 4))
    factors[30, :, 2] = factors[30, :, 1]  # rank 3 from here on
    x = factors.reshape(50, 16)
    spectrum = lf.lyapunov_spectrum(MatrixProduct(np.ones(4)), x)
    before = lf.lyapunov_spectrum(MatrixProduct(np.ones(4)), x[:30])
    np.testing.assert_allclose(spectrum.history[:30], before.history, atol=1e-12)
    assert (spectrum.history[30:, 3] == -np.inf).all()
    three = lf.lyapunov_spectrum(MatrixProduct(np.ones(4)), x, 3)
    np.testing.assert_allclose(spectrum.exponents[:3], three.exponents, atol=1e-12)
    # also where it is lost before counting starts
    late = lf.lyapunov_spectrum(MatrixProduct(np.ones(4)), x, q_transient=35).exponents
    assert late[3] == -np.inf
    assert np.isfinite(late[:3]).all()


@each_dtype
@given(st.integers(2, 12), st.integers(0, 2**32))
def test_an_ill_conditioned_interval_is_no_loss(dtype, t_ons, seed):
    # gaps of 6 nats per step: an interval of t_ons steps looks like lost rank in either dtype
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    cell = lf.LinearRNN(
        (q * [1.0, np.exp(-6), np.exp(-12)] @ q.T).astype(dtype),
        np.empty((3, 0), dtype),
        np.zeros(3, dtype),
    )
    x = np.empty((60, 0), dtype)
    found = lf.lyapunov_spectrum(cell, x, q_transient=20, t_ons=t_ons).exponents
    exact = np.log(np.sort(np.abs(np.linalg.eigvals(cell.W.astype(float))))[::-1])
    np.testing.assert_allclose(found, exact, atol={np.float64: 1e-4, np.float32: 1e-3}[dtype])


def test_an_interval_that_overflows_is_done_step_by_step():
    cell = lf.TanhRNN(1e80 * np.eye(2), np.zeros((2, 1)), np.zeros(2))
    exponents = lf.lyapunov_spectrum(cell, np.zeros((10, 1)), t_ons=5).exponents
    np.testing.assert_allclose(exponents, np.log(1e80))
    cell = lf.LinearRNN(np.full((2, 2), 1.7e308), np.empty((2, 0)), np.zeros(2))
    with pytest.raises(lf.Diverged, match="the tangent block overflowed at step 2") as caught:
        lf.lyapunov_spectrum(
            cell, np.empty((8, 0)), 1, q0=np.full((2, 1), np.sqrt(0.5)), transient=2, t_ons=3
        )
    assert caught.value.step == 2


def test_saturation_beyond_the_number_format_has_no_volume():
    cell = lf.TanhRNN(np.eye(1), np.empty((1, 0)), np.full(1, 500.0))
    assert lf.lyapunov_spectrum(cell, np.empty((10, 0)), transient=1).exponents[0] == -np.inf


def test_float32_tells_directions_apart_that_its_own_rounding_would_hide():
    # one step contracts one direction by 1e-9, far below n ε of float32
    cell = lf.LinearRNN(
        np.diag([1.0, 1e-9]).astype("f4"), np.empty((2, 0), "f4"), np.zeros(2, "f4")
    )
    exponents = lf.lyapunov_spectrum(cell, np.empty((30, 0), "f4"), q_transient=3).exponents
    np.testing.assert_allclose(exponents, np.log([1.0, 1e-9]), atol=1e-6)


def test_a_spectrum_without_any_volume():
    cell = lf.LinearRNN(np.zeros((3, 3)), np.empty((3, 0)), np.ones(3))
    for t_ons in (1, 4):
        spectrum = lf.lyapunov_spectrum(cell, np.empty((10, 0)), t_ons=t_ons)
        assert (spectrum.exponents == -np.inf).all()
        assert spectrum.kaplan_yorke_dimension == spectrum.entropy_rate == 0
    batch = lf.lyapunov_spectrum(map_arrays(np.copy, cell), np.empty((10, 2, 0)))
    assert (batch.exponents == -np.inf).all()
    assert np.isnan(batch.spread).all()
