"""QR with a positive diagonal, and its pullback."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import lyapflow as lf
from lyapflow.linalg.cholesky_qr import DEFECT, HOUSEHOLDER, ONCE, TWICE
from lyapflow.linalg.gram_schmidt import SMALL
from lyapflow.linalg.panels import panel, panels, solve
from lyapflow.linalg.qr import _orthonormalise, independent_rows, rounding, workspace
from lyapflow.linalg.qr_pullback import _pull_back_log
from lyapflow.testing.differences import central
from tests.exact_systems import gaussian_product

EPS = {np.dtype(np.float64): 2.3e-16, np.dtype(np.float32): 1.2e-7}


@st.composite
def matrices(draw, stack=True):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, 9))
    k = draw(st.integers(1, n))
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2)])) if stack else ()
    scale = 10.0 ** draw(st.integers(-5, 5))
    A = scale * rng.standard_normal((*shape, n, k))
    assume(np.linalg.cond(A).max() < 1e3)
    return A


@given(matrices(), st.sampled_from([np.float64, np.float32]))
def test_factors(A, dtype):
    A = A.astype(dtype)
    Q, R = lf.qr(A)
    eps = EPS[A.dtype]
    assert Q.dtype == R.dtype == A.dtype
    np.testing.assert_allclose(Q @ R, A, rtol=0, atol=20 * eps * np.abs(A).max())
    np.testing.assert_allclose(
        np.swapaxes(Q, -1, -2) @ Q, np.broadcast_to(np.eye(A.shape[-1]), R.shape), atol=40 * eps
    )
    assert (np.diagonal(R, axis1=-2, axis2=-1) > 0).all()
    assert (R == np.triu(R)).all()


def test_a_stack_has_the_bits_of_its_members():
    A = np.random.default_rng(0).standard_normal((5, 6, 4))
    Q, R = lf.qr(A)
    for s in range(5):
        alone = lf.qr(A[s])
        np.testing.assert_array_equal(alone[0], Q[s])
        np.testing.assert_array_equal(alone[1], R[s])


def orthonormalised(block, resolution=0.0):
    """Q, solved factor, L, number of independent rows, path; in a workspace that has been used before."""
    k, n = block.shape
    Q, F, work = (
        np.empty_like(block),
        np.empty((k, k), block.dtype),
        workspace(k, n, block.dtype == float),
    )
    before = np.random.default_rng(1).standard_normal(block.shape).astype(block.dtype)
    _orthonormalise(before, Q, F, work, resolution, 0.0)
    rank, path = _orthonormalise(block, Q, F, work, resolution, 0.0)
    return Q, F, work.L, rank, path


def independent(block):
    return orthonormalised(block, rounding(block.shape[1], block.dtype))[3]


def test_rank_is_counted_whatever_the_scale_of_the_vectors():
    rng = np.random.default_rng(1)
    block = rng.standard_normal((4, 6)) * np.array([[1.0], [1e-150], [1e100], [1.0]])
    assert independent(block) == 4
    block[2] = 3 * block[0] + 1e150 * block[1]
    assert independent(block) == 2
    block[1] = 0
    assert independent(block) == 1
    block[0, 0] = np.nan
    assert independent(block) == 0


@pytest.mark.parametrize("scale", [0.0, 30.0])
def test_the_noise_of_a_direction_has_that_of_the_rows_before_it(scale):
    rng, tried = np.random.default_rng(2), 0
    for _ in range(20):
        L = np.tril(rng.standard_normal((5, 5)), -1) + np.diag(np.geomspace(1.0, 1e-2, 5))
        lengths = np.linalg.norm(L, axis=1)
        known = np.maximum(scale, lengths)
        # what row j takes of those before it
        taken = [np.abs(np.linalg.solve(L[:j, :j].T, L[j, :j])) for j in range(5)]
        noise = [known[j] + c @ known[:j] for j, c in enumerate(taken)]
        ratios = np.diagonal(L) / noise
        # rows so far above it that nobody looks; their c are larger than any of a real block
        clear = np.diagonal(L) * np.minimum.accumulate(np.diagonal(L)) > ratios * known.max() ** 2
        for resolution in np.outer(ratios[~clear], [1 - 1e-9, 1 + 1e-9]).ravel():
            found = independent_rows(L, resolution, scale, lengths, np.empty(5))
            assert found == np.argmin(np.append(ratios, 0.0) > resolution)
            tried += 1
    assert tried > 50


def conditioned(rng, k, n, condition, last=False):
    """A block (k, n) with this condition number: graded, or with one direction that is short."""
    sizes = np.r_[np.ones(k - 1), 1 / condition] if last else np.geomspace(1, 1 / condition, k)
    U, V = (np.linalg.qr(rng.standard_normal(shape))[0] for shape in ((k, k), (n, k)))
    return (U * sizes) @ V.T


def check_factors(block):
    """The path that the block went, after checks of its factors; reference: Householder's method in NumPy."""
    wide = block.dtype == float
    Q, F, L, _, path = orthonormalised(block)
    k = len(block)
    assert np.abs(Q.astype(float) @ Q.T.astype(float) - np.eye(k)).max() < (1e-10 if wide else 1e-5)
    scale = np.linalg.norm(block.astype(float), axis=1)
    assert np.abs((L @ Q - block) / scale[:, None]).max() < (1e-11 if wide else 1e-5)
    reference = np.abs(np.diagonal(np.linalg.qr(block.T.astype(float))[1]))
    blurred = 1e-15 * block.shape[1] * np.linalg.cond(block.astype(float) / scale[:, None])
    # Cholesky's method squares the condition number, as far as it may
    squared = DEFECT if path == ONCE else 0.0
    np.testing.assert_allclose(np.diagonal(L), reference, rtol=max(blurred, squared))
    Y, B = np.empty((k, 3)), np.random.default_rng(0).standard_normal((k, 3))
    for p in range(panels(k)):  # what F means
        start, stop = panel(p, k)
        here = slice(start, stop)
        Y[here] = F[here, here] @ (B[here] - F[here, :start] @ Y[:start])
    assert np.abs(L @ Y - B).max() < (1e-12 if wide else 1e-5) * np.abs(L).max() * np.abs(Y).max()
    return path


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("k", "n"), [(5, 7), (40, 60), (41, 41), (75, 80), (130, 200)])
def test_orthogonality_of_every_path(k, n, dtype):
    rng = np.random.default_rng(k)
    found = {}
    for condition in (1.0, 1e2, 1e4, 1e6, 1e13):
        for last in (False, True):
            found[condition, last] = check_factors(
                conditioned(rng, k, n, condition, last).astype(dtype)
            )
    assert found[1.0, False] == ONCE
    if k * k * n > SMALL:
        assert found[1e4, True] == TWICE
        assert dtype == np.float32 or found[1e13, True] == HOUSEHOLDER
    else:
        assert set(found.values()) == {ONCE}


@given(
    st.integers(1, 90),
    st.integers(0, 30),
    st.floats(0, 13),
    st.booleans(),
    # exact, as rounding may change the path
    st.sampled_from([2.0**-498, 2.0**-332, 1.0, 2.0**332, 2.0**498]),
    st.integers(0, 2**32),
)
@example(2, 0, 3.0, False, 1.0, 0)
@example(66, 1, 3.0, False, 2.0**-332, 0)
def test_orthogonality_of_drawn_blocks(k, extra, digits, last, unit, seed):
    rng = np.random.default_rng(seed)
    block = conditioned(rng, k, k + extra, 10.0**digits, last)
    path = check_factors(block)
    if 2.0**-400 < unit < 2.0**400:
        units = np.where(rng.random(k) < 0.5, unit, 1.0)[:, None]
        assert check_factors(block * units) == path  # how rows are scaled does not matter
    else:
        assert check_factors(block * unit) == HOUSEHOLDER  # squares would overflow or vanish


def test_errors_that_add_up_from_panel_to_panel():
    rng = np.random.default_rng(0)
    assert check_factors(rng.standard_normal((240, 256))) == ONCE
    # each row against the sum of all rows before, as in Kahan's matrix: errors of earlier rows add
    # up in step
    k, n, sine, cosine = 200, 208, np.sin(1.2), np.cos(1.2)
    L = (np.diag(sine ** np.arange(k)) @ (np.eye(k) - cosine * np.triu(np.ones((k, k)), 1))).T
    assert check_factors(L @ np.linalg.qr(rng.standard_normal((n, k)))[0].T) > ONCE


def test_a_block_of_zeros_or_nan_goes_to_householder():
    for bad in (0.0, np.nan, np.inf):
        block = np.random.default_rng(0).standard_normal((3, 5))
        block[1] = bad
        assert orthonormalised(block)[4] == HOUSEHOLDER


def test_small_blocks_of_rows_that_depend_on_each_other():
    paths = set()
    for seed in range(20):
        block = np.random.default_rng(seed).standard_normal((4, 6))
        block[2] = 2 * block[0] - block[1]
        Q, _, _, _, path = orthonormalised(block)
        np.testing.assert_allclose(Q @ Q.T, np.eye(4), rtol=0, atol=1e-14)
        paths.add(path)
    assert HOUSEHOLDER in paths  # where what is left of a row is not orthogonal to the others


def loss(Q_bar, R_bar):
    """A function of A whose cotangents in Q and R are the given ones."""

    def value(A):
        Q, R = lf.qr(A)
        return float((Q * Q_bar).sum() + (R * R_bar).sum())

    return value


@given(matrices(), st.sampled_from(["Q", "R", "both"]), st.integers(0, 99))
def test_pullback_against_finite_differences(A, which, seed):
    A = A / np.abs(A).max()
    assume(np.linalg.cond(A).max() < 30)
    rng = np.random.default_rng(seed)
    Q, R = lf.qr(A)
    Q_bar, R_bar = rng.standard_normal(Q.shape), np.triu(rng.standard_normal(R.shape))
    Q_bar, R_bar = Q_bar * (which != "R"), R_bar * (which != "Q")
    A_bar = lf.qr_pullback(Q, R, Q_bar, R_bar)
    along = rng.standard_normal(A.shape)
    numeric = central(lambda s: loss(Q_bar, R_bar)(A + s * along), 1e-4)
    scale = np.abs(A_bar).max() * np.abs(along).sum() + 1
    assert abs(numeric - (A_bar * along).sum()) < 1e-8 * scale


@given(matrices(), st.integers(0, 99))
def test_pullback_of_the_product_is_the_identity(A, seed):
    # L = <C, Q R> = <C, A>, so A_bar = C: exact, but blind to some errors, hence the test above
    C = np.random.default_rng(seed).standard_normal(A.shape)
    Q, R = lf.qr(A)
    A_bar = lf.qr_pullback(Q, R, C @ np.swapaxes(R, -1, -2), np.triu(np.swapaxes(Q, -1, -2) @ C))
    np.testing.assert_allclose(A_bar, C, atol=1e-11)


def test_pullback_in_groups_of_panels():
    rng = np.random.default_rng(0)
    Q, R = lf.qr(rng.standard_normal((150, 220)).T)
    Q_bar, R_bar = rng.standard_normal(Q.shape), rng.standard_normal(R.shape)
    M = R @ np.triu(R_bar).T - Q_bar.T @ Q
    copyltu = np.tril(M) + np.tril(M, -1).T
    expected = (Q_bar + Q @ copyltu) @ np.linalg.inv(R).T
    np.testing.assert_allclose(
        lf.qr_pullback(Q, R, Q_bar, R_bar), expected, atol=1e-11 * np.abs(expected).max()
    )


@given(matrices(stack=False), st.integers(0, 99))
def test_the_form_for_log_R_is_the_general_one(A, seed):
    rng = np.random.default_rng(seed)
    Q, R = lf.qr(A)
    g, Q_bar = rng.standard_normal(len(R)), rng.standard_normal(Q.shape)
    block_bar = np.array(Q_bar.T, order="C")
    F, A_bar = np.empty_like(R), np.empty_like(block_bar)
    solve(np.ascontiguousarray(R.T), F)
    _pull_back_log(np.ascontiguousarray(Q.T), F, g, block_bar, np.empty_like(R), A_bar)
    general = lf.qr_pullback(Q, R, Q_bar, np.diag(g / np.diag(R)))
    np.testing.assert_allclose(A_bar.T, general, atol=1e-11 * np.abs(general).max())


def test_only_the_upper_triangle_of_R_bar_counts():
    rng = np.random.default_rng(0)
    Q, R = lf.qr(rng.standard_normal((5, 3)))
    R_bar = rng.standard_normal((3, 3))
    full = lf.qr_pullback(Q, R, np.zeros_like(Q), R_bar)
    np.testing.assert_array_equal(full, lf.qr_pullback(Q, R, np.zeros_like(Q), np.triu(R_bar)))


@pytest.mark.parametrize(("n", "sigma"), [(2, 1.0), (4, 0.5), (8, 0.3)])
def test_products_of_gaussian_matrices(n, sigma):
    steps, stack = 500, 40
    rng = np.random.default_rng(n)
    Q = np.broadcast_to(np.eye(n), (stack, n, n))
    total = np.zeros((stack, n))
    for _ in range(steps):
        Q, R = lf.qr(sigma * rng.standard_normal((stack, n, n)) @ Q)
        total += np.log(np.diagonal(R, axis1=1, axis2=2))
    exact, variance = gaussian_product(n, sigma)
    assert (
        np.abs(total.mean(axis=0) / steps - exact) < 5 * np.sqrt(variance / (steps * stack))
    ).all()
    # the scatter over the stack is that of independent steps: ratio of variances, chi-squared with
    # 39 degrees
    assert (
        np.abs(total.var(axis=0, ddof=1) / (steps * variance) - 1) < 5 * np.sqrt(2 / (stack - 1))
    ).all()


@pytest.mark.parametrize(
    ("n", "exact"),
    [(2, [0.0579658, -0.6351814]), (4, [-0.1351814, -0.3283286, -0.6351814, -1.3283286])],
)
def test_the_closed_form_itself(n, exact):
    np.testing.assert_allclose(gaussian_product(n, 1.0 if n == 2 else 0.5)[0], exact, atol=1e-6)
