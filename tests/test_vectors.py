"""Covariant Lyapunov vectors: closed forms, what defines them, an oracle in high precision, and errors."""

import mpmath
import numpy as np
import pytest
from scipy.linalg import subspace_angles

import lyapflow as lf
from lyapflow import _checks
from lyapflow.cells.interface import step, tangent
from lyapflow.lyapunov.coefficients import flags_apart
from lyapflow.lyapunov.problem import default_block, problem
from tests.exact_systems import CAT, CatMap, HenonMap, MatrixProduct
from tests.high_precision import gram_schmidt, matrix

pytestmark = pytest.mark.filterwarnings("ignore:.*have not converged")


def linear(W):
    W = np.asarray(W, float)
    return lf.LinearRNN(W, np.empty((len(W), 0)), np.zeros(len(W)))


def driven(n=6, g=1.0, dtype=np.float64, seed=0, steps=400):
    rng = np.random.default_rng(seed)
    cell = lf.TanhRNN.random(n, 1, rng=rng, g=g, dtype=dtype)
    return cell, rng.standard_normal((steps, 1)).astype(dtype)


def parallel(a, b):
    """Distance of the directions of columns."""
    return np.abs(a - b * np.sign((a * b).sum(axis=-2, keepdims=True))).max()


def off_covariance(cell, found, x):
    """How far D v_i(t) is from growth times v_i(t + 1)."""
    worst = 0.0
    for t in range(len(found.vectors) - 1):
        moved = lf.jacobian(cell, found.states[t], x[t]) @ found.vectors[t]
        worst = max(worst, np.abs(moved / np.exp(found.growth[t]) - found.vectors[t + 1]).max())
    return worst


def test_cat_map():
    cell = CatMap(np.array([[2.0, 1.0], [1.0, 1.0]]))
    found = lf.covariant_vectors(
        cell, steps=150, h0=np.array([0.1, 0.2]), q_transient=40, end_transient=40
    )
    eigenvectors = np.linalg.eigh(cell.A)[1][:, ::-1]
    assert found.vectors.shape == (70, 2, 2) and found.growth.shape == (70, 2)
    assert parallel(found.vectors, eigenvectors) < 1e-14
    np.testing.assert_allclose(found.growth, np.tile([CAT, -CAT], (70, 1)), rtol=1e-13)
    np.testing.assert_allclose(found.exponents, [CAT, -CAT], rtol=1e-13)
    np.testing.assert_allclose(found.angles()[:, 0, 1], np.pi / 2)


def test_henon_map():
    """Its unstable direction is where any vector comes to, its stable one where any comes to back in time."""
    cell, steps, aside = HenonMap(np.array([1.4]), np.array([0.3])), 1000, 60
    found = lf.covariant_vectors(
        cell, steps=steps, h0=np.array([0.1, 0.1]), q_transient=aside, end_transient=aside
    )
    h = np.vstack([[0.1, 0.1], lf.trajectory(cell, h0=np.array([0.1, 0.1]), steps=steps)])
    np.testing.assert_array_equal(found.states, h[aside : steps - aside])
    D = np.array([[[-2.8 * x, 1.0], [0.3, 0.0]] for x in h[:-1, 0]])
    unstable, stable = np.ones((steps + 1, 2)), np.ones((steps + 1, 2))
    for t in range(steps):
        unstable[t + 1] = D[t] @ unstable[t] / np.linalg.norm(D[t] @ unstable[t])
    for t in range(steps - 1, -1, -1):
        stable[t] = np.linalg.solve(D[t], stable[t + 1])
        stable[t] /= np.linalg.norm(stable[t])
    expected = np.dstack([unstable, stable])[aside : steps - aside]
    assert parallel(found.vectors, expected) < 1e-9

    # |det D| = b: what the vectors gain and what their angle changes
    sine = np.sin(found.angles()[:, 0, 1])
    volume = found.growth[:-1].sum(axis=1) + np.log(sine[1:] / sine[:-1])
    np.testing.assert_allclose(volume, np.log(0.3), atol=1e-6)
    assert sine.min() < 0.02  # tangencies: it is not hyperbolic


def test_henon_map_at_its_fixed_point():
    """Eigenvectors (μ, b) of D = [[-2 a x, 1], [b, 0]], before rounding drives the state away."""
    x = (-0.7 + np.sqrt(0.49 + 5.6)) / 2.8
    mu = -1.4 * x + np.array([-1, 1]) * np.sqrt((1.4 * x) ** 2 + 0.3)
    found = lf.covariant_vectors(
        HenonMap(np.array([1.4]), np.array([0.3])),
        steps=25,
        h0=np.array([x, 0.3 * x]),
        q_transient=11,
        end_transient=11,
    )
    eigenvectors = np.array([mu, [0.3, 0.3]]) / np.hypot(mu, 0.3)
    assert parallel(found.vectors, eigenvectors) < 1e-8
    np.testing.assert_allclose(found.growth, np.tile(np.log(np.abs(mu)), (3, 1)), atol=1e-8)
    along = abs(eigenvectors[:, 0] @ eigenvectors[:, 1])
    np.testing.assert_allclose(found.angles()[:, 0, 1], np.arccos(along), atol=1e-8)


def test_constant_triangular_system():
    W = np.triu(np.random.default_rng(0).standard_normal((5, 5)))
    np.fill_diagonal(W, [1.1, -0.8, 0.5, 0.3, -0.1])
    found = lf.covariant_vectors(linear(W), steps=300, q_transient=100, end_transient=100)
    values, vectors = np.linalg.eig(W)
    order = np.argsort(-np.abs(values))
    assert parallel(found.vectors, vectors[:, order]) < 1e-10
    np.testing.assert_allclose(
        found.growth, np.tile(np.log([1.1, 0.8, 0.5, 0.3, 0.1]), (100, 1)), atol=1e-10
    )


def test_random_triangular_system():
    """Growth is that of the diagonal, and of the components along it, which telescope."""
    rng, n, steps = np.random.default_rng(1), 4, 400
    D = np.triu(rng.standard_normal((steps, n, n)))
    D[:, range(n), range(n)] = [1.5, 0.9, 0.4, 0.1] * rng.uniform(0.8, 1.2, (steps, n))
    found = lf.covariant_vectors(
        MatrixProduct(np.ones(n)),
        D.reshape(steps, -1),
        q0=np.eye(n),
        q_transient=150,
        end_transient=100,
    )
    assert found.convergence.max() < 1e-12
    np.testing.assert_array_equal(np.tril(found.vectors, -1), 0)
    along = np.log(found.vectors[:, range(n), range(n)])
    diagonal = np.log(D[150:299, range(n), range(n)])
    np.testing.assert_allclose(found.growth[:-1], diagonal + along[:-1] - along[1:], atol=1e-10)
    for t in range(0, 149, 10):
        moved = D[150 + t] @ found.vectors[t]
        np.testing.assert_allclose(
            moved / np.exp(found.growth[t]), found.vectors[t + 1], atol=1e-12
        )


def test_against_256_bits():
    """Vectors of the first i directions from the start that end up orthogonal to the first i - 1 at the end."""
    n, k, steps, first, last = 5, 4, 36, 10, 24
    cell, x = driven(n, steps=steps)
    found = lf.covariant_vectors(cell, x, k, q_transient=first, end_transient=steps - last)
    q0 = default_block(n, k, np.dtype(float)).T
    with mpmath.workprec(256):
        W, V, b = map(matrix, (cell.W, cell.V, cell.b[:, None]))
        h, D = mpmath.zeros(n, 1), []
        for u in x[:, 0]:
            D.append(W * mpmath.diag([mpmath.sech(v) ** 2 for v in h]))
            h = W * h.apply(mpmath.tanh) + V * mpmath.mpf(float(u)) + b
        for t in (first, 17, last - 1):
            to_t, onwards = matrix(q0), mpmath.eye(n)
            for s in range(t):
                to_t = D[s] * to_t
            for s in range(t, steps):
                onwards = D[s] * onwards
            E, Q = gram_schmidt(to_t)[0], gram_schmidt(onwards * to_t)[0]
            for i in range(k):
                forbidden = Q[:, :i].T * onwards * E[:, : i + 1] if i else mpmath.zeros(0, 1)
                c = mpmath.ones(i + 1, 1)
                if i:
                    c[:i] = mpmath.lu_solve(forbidden[:, :i], -forbidden[:, i])
                v = E[:, : i + 1] * c
                v = v / mpmath.norm(v)
                growth = mpmath.log(mpmath.norm(D[t] * v))
                expected = np.array([float(a) for a in v])
                np.testing.assert_allclose(found.vectors[t - first, :, i], expected, atol=1e-12)
                assert found.growth[t - first, i] == pytest.approx(float(growth), abs=1e-12)


def test_the_jacobian_takes_each_vector_to_its_successor():
    cell, x = driven(40, steps=300)
    found = lf.covariant_vectors(cell, x, 36, q_transient=50, end_transient=50)
    assert off_covariance(cell, found, x[50:]) < 1e-10  # of two panels
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-14)


def test_growth_is_that_of_the_spectrum():
    """Up to the components of the vectors in the forward block, R of their own QR, at both ends."""
    cell, x = driven(30)
    found = lf.covariant_vectors(cell, x, 12, q_transient=50, end_transient=50)
    until = len(found.growth) - 1
    spectrum = lf.lyapunov_spectrum(cell, x[: 50 + until], 12, q_transient=50)
    first, last = (
        np.log(np.abs(np.diagonal(np.linalg.qr(found.vectors[t])[1]))) for t in (0, until)
    )
    np.testing.assert_allclose(
        found.growth[:until].sum(axis=0),
        until * spectrum.exponents + first - last,
        atol=1e-9,
    )


def test_float32():
    cell, x = driven(8, dtype=np.float32)
    found = lf.covariant_vectors(cell, x, 4, q_transient=100, end_transient=100)
    assert {a.dtype for a in (found.vectors, found.growth, found.states, found.convergence)} == {
        np.dtype(np.float32)
    }
    assert off_covariance(cell, found, x[100:]) < 1e-5
    double = lf.TanhRNN(*(a.astype(float) for a in cell))
    exact = lf.covariant_vectors(double, x.astype(float), 4, q_transient=100, end_transient=100)
    np.testing.assert_allclose(found.exponents, exact.exponents, atol=1e-5)


def test_memory_and_every_change_no_bit():
    cell, x = driven()
    settings = {"k": 4, "q_transient": 50, "end_transient": 150}
    found = lf.covariant_vectors(cell, x, **settings)
    for every, memory in ((1, 0.0), (7, 1e5), (300, 1e9)):
        again = lf.covariant_vectors(cell, x, every=every, memory=memory, **settings)
        assert again.every == every
        np.testing.assert_array_equal(again.vectors, found.vectors[::every])
        np.testing.assert_array_equal(again.states, found.states[::every])
        np.testing.assert_array_equal(again.growth, found.growth)
        np.testing.assert_array_equal(again.convergence, found.convergence)


@pytest.mark.parametrize(("before", "after", "at"), [(20, 150, 0), (150, 20, -1)])
def test_convergence_is_the_error(before, after, at):
    cell, x = driven(5, seed=3, steps=600)
    long = lf.covariant_vectors(cell, x, q_transient=200, end_transient=200)
    x = x[200 - before : 400 + after]
    short = lf.covariant_vectors(
        cell, x, h0=lf.trajectory(cell, driven(5, seed=3, steps=600)[1])[199 - before],
        q_transient=before, end_transient=after,
    )  # fmt: skip
    assert long.convergence.max() < 1e-9
    worst = 0.0
    for i in range(5):
        error = parallel(short.vectors[at][:, [i]], long.vectors[at][:, [i]])
        assert error < 20 * short.convergence[i] + 1e-12
        worst = max(worst, error)
    assert 1e-8 < short.convergence.max() < 50 * worst


def test_distance_of_spans_is_that_of_their_principal_angles():
    """Against blocks of which one is taken ten steps further."""
    cell, x = driven(6)
    given = problem((step, tangent), cell, x, 4, None, None, None, 1, 0, 10)
    n, k = 6, 4
    block = np.linalg.qr(np.random.default_rng(9).standard_normal((n, k)))[0]
    other = np.linalg.qr(np.random.default_rng([n, k]).standard_normal((n, k)))[0]
    h = np.vstack([np.zeros(n), lf.trajectory(cell, x)])
    for t in range(10):
        other = lf.jacobian(cell, h[t], x[t]) @ other
    other = np.linalg.qr(other)[0]
    apart = flags_apart(given, 10, np.ascontiguousarray(block.T))
    for i in range(1, k + 1):
        sines = np.sin(subspace_angles(block[:, :i], other[:, :i]))
        assert apart[i - 1] == pytest.approx(np.sqrt((sines**2).sum()), rel=1e-9)


def test_angles_between_subspaces():
    cell, x = driven(8)
    found = lf.covariant_vectors(cell, x, 6, q_transient=50, end_transient=50)
    for first, second in ((2, None), ([0, 3], [1]), ([5], [0, 1, 2])):
        angles = found.subspace_angles(first, second)
        a = [0, 1] if first == 2 else first
        b = [2, 3, 4, 5] if second is None else second
        for t in (0, 100):
            expected = subspace_angles(found.vectors[t][:, a], found.vectors[t][:, b])[::-1]
            np.testing.assert_allclose(angles[t], expected, atol=1e-14)
    pairs = found.angles()
    np.testing.assert_allclose(pairs[:, 1, 4], found.subspace_angles([1], [4])[:, 0], atol=1e-7)
    np.testing.assert_array_equal(pairs, pairs.swapaxes(1, 2))


def test_small_angles_keep_their_digits():
    tilt = 1e-12
    found = lf.CovariantVectors(
        np.array([[[1.0, np.cos(tilt)], [0.0, np.sin(tilt)]]]),
        np.zeros((1, 2)),
        np.zeros((1, 2)),
        np.zeros(2),
    )
    assert found.subspace_angles(1)[0, 0] == pytest.approx(tilt, rel=1e-6, abs=0)


@pytest.mark.parametrize(
    ("first", "second"),
    [(0, None), (6, None), ([], [1]), ([0, 1], [1]), ([6], None), (2, []), ("01", None), (2, 3)],
)
def test_sets_that_are_none(first, second):
    cell, x = driven(8)
    found = lf.covariant_vectors(cell, x, 6, q_transient=50, end_transient=50)
    with pytest.raises(lf.LyapflowError, match=r"(first|second)"):
        found.subspace_angles(first, second)


def test_an_ensemble_is_its_members():
    cells, xs = zip(*(driven(seed=seed) for seed in (0, 1)))
    settings = {"q_transient": 50, "end_transient": 50}
    together = lf.covariant_vectors(lf.stack(cells), np.array(xs), 3, **settings)
    assert together.reasons == (None, None) and together.exponents.shape == (2, 3)
    for r in range(2):
        alone = lf.covariant_vectors(cells[r], xs[r], 3, **settings)
        np.testing.assert_array_equal(together.vectors[r], alone.vectors)
        np.testing.assert_array_equal(together.angles()[r], alone.angles())
        np.testing.assert_array_equal(together.subspace_angles(1)[r], alone.subspace_angles(1))


def test_a_lost_member_has_no_angles():
    good, bad = (
        linear(np.triu(np.ones((3, 3)), 1) + np.diag([0.9, 0.5, 0.1])),
        linear(np.eye(3) * 0),
    )
    settings = {"steps": 120, "q_transient": 50, "end_transient": 50}
    together = lf.covariant_vectors(lf.stack([good, bad]), **settings)
    assert together.reasons[1] is not None
    alone = lf.covariant_vectors(good, **settings)
    for name, given in (("angles", ()), ("subspace_angles", (1,))):
        found = getattr(together, name)(*given)
        np.testing.assert_array_equal(found[0], getattr(alone, name)(*given))
        assert np.isnan(found[1]).all()


def test_equal_exponents_are_refused():
    W = np.array([[0.9, 0.0, 0, 0], [0, 0.5, -0.6, 0.2], [0, 0.3, 0.4, 0.1], [0, 0, 0, 0.2]])
    settings = {"steps": 900, "q_transient": 150, "end_transient": 150}
    assert len(set(np.abs(np.linalg.eigvals(W)).round(9))) == 3
    with pytest.raises(lf.Diverged, match=r"exponents 2 and 3 are equal .*; ask for k <= 1") as e:
        lf.covariant_vectors(linear(W), **settings)
    assert e.value.rank == 1
    assert lf.covariant_vectors(linear(W), k=1, **settings).convergence[0] < 1e-9
    with pytest.raises(lf.Diverged, match="exponents 1 and 2 are equal"):
        lf.covariant_vectors(linear(0.5 * np.eye(2)), **settings)

    distinct = linear(np.diag([0.9, 0.8, 0.5, 0.2]) + np.triu(W, 1))
    found = lf.covariant_vectors(lf.stack([linear(W), distinct]), **settings)
    assert "exponents 2 and 3 are equal" in found.reasons[0] and found.reasons[1] is None
    assert np.isnan(found.vectors[0]).all() and np.isfinite(found.vectors[1]).all()


def test_lost_directions_are_refused_with_the_k_that_works():
    cell = linear(np.diag([0.9, 0.5, 0.0, 0.0]))
    settings = {"steps": 90, "q_transient": 30, "end_transient": 30}
    with pytest.raises(lf.Diverged, match=r"lost rank .*; ask for k <= 2"):
        lf.covariant_vectors(cell, **settings)
    found = lf.covariant_vectors(cell, k=2, **settings)
    np.testing.assert_allclose(found.growth, np.tile(np.log([0.9, 0.5]), (30, 1)), atol=1e-9)


@pytest.mark.filterwarnings("error")
def test_what_has_not_converged_is_warned_of():
    cell, x = driven()
    with pytest.warns(lf.LyapflowWarning, match=r"\d of 6 covariant vectors have not converged"):
        lf.covariant_vectors(cell, x, q_transient=2, end_transient=0)
    lf.covariant_vectors(cell, x, q_transient=190, end_transient=190)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"x": np.zeros((400, 2, 1))}, "covariant vectors are those of one trajectory, got 2"),
        ({"end_transient": 350}, "end_transient must be an integer between 0 and 349 for 400"),
        ({"end_transient": -1}, "end_transient must be an integer between 0 and 349"),
        ({"every": 0}, "every must be an integer at least 1"),
        ({"k": 7}, "k must be an integer between 1 and 6"),
        ({"memory": -1.0}, "memory must be a finite number at least 0"),
        ({"q_transient": 400}, "the input must be longer than its transients"),
    ],
)
def test_bad_input(settings, message):
    cell, x = driven()
    with pytest.raises(lf.LyapflowError, match=message):
        lf.covariant_vectors(cell, **{"x": x, "q_transient": 50, "end_transient": 50} | settings)


def test_more_vectors_than_memory_are_refused(monkeypatch):
    cell, x = driven(30)
    monkeypatch.setattr(_checks, "half_of_memory", lambda: 200_000)
    settings = {"x": x, "k": 4, "q_transient": 50, "end_transient": 50}
    with pytest.raises(lf.LyapflowError, match="4 covariant vectors of length 30 at 300 steps"):
        lf.covariant_vectors(cell, **settings)
    lf.covariant_vectors(cell, every=10, **settings)


@pytest.mark.parametrize("gap", [1e-3, 1e-4, 0.0])
def test_starts_that_agree_before_they_arrive_are_warned_of(gap):
    # far from normal: the second eigenvector is close to the first one, or there is none
    W = np.array([[0.9, 0.3], [0.0, 0.9 * (1 - gap)]])
    cell = lf.LinearRNN(W, np.empty((2, 0)), np.zeros(2))
    with pytest.warns(lf.LyapflowWarning, match="have not converged"):
        found = lf.covariant_vectors(cell, steps=3000, q_transient=1000, end_transient=1000)
    assert (found.convergence > 0.1).all()
    exact = np.linalg.eig(W)[1]
    cosines = np.abs(np.sum(found.vectors[0] * exact, axis=0))
    assert (np.sqrt(1 - np.minimum(cosines, 1.0) ** 2) <= found.convergence).all()
