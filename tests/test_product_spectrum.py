"""Products of given Jacobians against the cells that they are of, and functions that move tangent vectors."""

import tracemalloc

import mpmath
import numpy as np
import pytest

import lyapflow as lf
from tests.exact_systems import gaussian_product


def jacobians_of(cell, x):
    n = lf.trajectory(cell, x).shape[1]
    before = np.vstack([np.zeros((1, n)), lf.trajectory(cell, x)[:-1]])
    return np.array([lf.jacobian(cell, h, inputs) for h, inputs in zip(before, x)])


@pytest.mark.parametrize("kind", [lf.TanhRNN, lf.LSTM, lf.GRU])
def test_jacobians_of_a_cell_have_its_exponents(kind):
    rng = np.random.default_rng(0)
    cell, x = kind.random(6, 2, rng=rng, g=2.0), rng.standard_normal((300, 2))
    jacobians = jacobians_of(cell, x)
    for k, how in ((None, {}), (3, {"t_ons": 4, "q_transient": 50})):
        own = lf.lyapunov_spectrum(cell, x, k, **how)
        found = lf.product_spectrum(jacobians, k, **how)
        np.testing.assert_allclose(found.exponents, own.exponents, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.stderr, own.stderr, rtol=1e-9)
        assert lf.product_spectrum(lambda t: jacobians[t], k, steps=300, **how) == found
        assert lf.product_spectrum(iter(jacobians), k, **how) == found
    moved = lf.product_spectrum(lambda t, V: jacobians[t] @ V, 3, n=len(jacobians[0]), steps=300)
    own = lf.lyapunov_spectrum(cell, x, 3)
    np.testing.assert_allclose(moved.exponents, own.exponents, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moved.stderr, own.stderr, rtol=1e-9)


def test_pieces_of_an_iterator_and_of_a_function(monkeypatch):
    jacobians = np.random.default_rng(0).standard_normal((90, 4, 4))
    whole = lf.product_spectrum(jacobians, 2)
    monkeypatch.setattr("lyapflow.lyapunov.product.PIECE", 16 * 7)
    monkeypatch.setattr("lyapflow.lyapunov.supply.PIECE", 16 * 7)
    assert lf.product_spectrum(iter(jacobians), 2) == whole
    assert lf.product_spectrum(lambda t: jacobians[t], 2, steps=90) == whole
    part = lf.product_spectrum(jacobians[:40], 2)
    assert lf.product_spectrum(jacobians[40:], continue_from=part) == whole
    assert lf.product_spectrum(lambda t: jacobians[t], steps=50, continue_from=part) == whole


def test_gaussian_matrices_until_their_bars_are_small():
    truth, _ = gaussian_product(6, 0.5)

    def jacobian(t):
        return 0.5 * np.random.default_rng(t).standard_normal((6, 6))

    found = lf.product_spectrum(jacobian, 3, until_stderr=0.01, max_steps=10**5)
    assert found.stderr.max() <= 0.01 and found.steps_counted < 10**5
    assert (np.abs(found.exponents - truth[:3]) < 4 * found.stderr).all()


def test_depth_in_place_of_time_against_high_precision():
    """Jacobians of residual layers, one after the other; QR with 200 bits."""
    rng = np.random.default_rng(3)
    jacobians = np.eye(5) + 0.3 * rng.standard_normal((40, 5, 5))
    with mpmath.workprec(200):
        Q, growth = mpmath.eye(5), [mpmath.mpf(0)] * 5
        for D in jacobians:
            Q, R = mpmath.qr(mpmath.matrix(D.tolist()) * Q)
            growth = [g + mpmath.log(abs(R[i, i])) for i, g in enumerate(growth)]
        right = [float(g / 40) for g in growth]
    found = lf.product_spectrum(jacobians, q0=np.eye(5))
    np.testing.assert_allclose(found.exponents, right, rtol=1e-12, atol=1e-13)


def test_large_states_take_the_memory_of_three_blocks():
    n, k = 10**5, 5
    scale = np.random.default_rng(0).uniform(0.5, 1.5, n)

    def move(t, V):
        moved = np.roll(V, 1, axis=0)
        moved *= scale[:, None]
        return moved

    lf.product_spectrum(move, k, n=n, steps=1)
    tracemalloc.start()
    found = lf.product_spectrum(move, k, n=n, steps=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.block.shape == (1, n, k)
    assert peak < 3 * n * k * 8


def test_arrays_that_are_written_to_again_are_taken_as_they_were():
    D = np.random.default_rng(0).standard_normal((90, 4, 4))
    matrix, block = np.empty((4, 4)), np.empty((4, 2), order="F")

    def jacobian(t):
        matrix[:] = D[t]
        return matrix

    def move(t, V):
        block[:] = D[t] @ V
        return block

    right = lf.product_spectrum(D, 2)
    assert lf.product_spectrum(map(jacobian, range(90)), 2) == right
    assert lf.product_spectrum(jacobian, 2, steps=90) == right
    free = lf.product_spectrum(move, 2, n=4, steps=90)
    assert free == lf.product_spectrum(lambda t, V: D[t] @ V, 2, n=4, steps=90)


def test_blocks_that_vanish_or_nearly():
    vanishing = lf.product_spectrum(lambda t, V: 0 * V if t == 50 else V, 2, n=3, steps=100)
    assert np.isneginf(vanishing.exponents).all()
    assert np.isneginf(vanishing.log_growth[0, 50:]).all()
    np.testing.assert_allclose(vanishing.log_growth[0, :50], 0, atol=1e-12)
    assert np.isnan(vanishing.block).all()
    D = np.random.default_rng(0).standard_normal((100, 3, 3))
    for scale in (1e-300, 1e-160, 1e150, 1e300):
        right = lf.product_spectrum(scale * D, 3)
        found = lf.product_spectrum(lambda t, V, scale=scale: scale * D[t] @ V, 3, n=3, steps=100)
        np.testing.assert_allclose(found.exponents, right.exponents, rtol=1e-12)
    # of so small numbers float64 has four digits
    with pytest.warns(lf.LyapflowWarning, match="directions below rounding"):
        found = lf.product_spectrum(lambda t, V: 1e-308 * (1e-12 * D[t] @ V), 3, n=3, steps=100)
    off = np.abs(found.exponents - np.log(1e-20) - lf.product_spectrum(1e-300 * D).exponents)
    assert (off < 1e-3).all() and (off > 0).all()
    with pytest.warns(lf.LyapflowWarning, match="directions below rounding"):  # and of these one
        lf.product_spectrum(lambda t, V: 1e-322 * (D[t] @ V), 3, n=3, steps=100)


def test_blocks_that_are_changed_in_place_or_in_float32():
    D = np.random.default_rng(0).standard_normal((8, 8))
    right = lf.product_spectrum(lambda t, V: D @ V, 3, n=8, steps=50)

    def in_place(t, V):
        V[:] = D @ V
        return V

    assert lf.product_spectrum(in_place, 3, n=8, steps=50) == right
    rounded = lf.product_spectrum(lambda t, V: (D @ V).astype(np.float32), 3, n=8, steps=50)
    np.testing.assert_allclose(rounded.exponents, right.exponents, atol=1e-5)
    q0 = lf.qr(np.random.default_rng(1).standard_normal((8, 3)))[0]
    mine = lf.product_spectrum(lambda t, V: D @ V, 3, n=8, steps=50, q0=q0, q_transient=10)
    np.testing.assert_allclose(
        mine.exponents,
        lf.product_spectrum(np.stack([D] * 50), 3, q0=q0, q_transient=10).exponents,
        atol=1e-12,
    )


def test_what_falls_below_rounding_is_said_where_only_jacobians_could_tell():
    D = np.diag([1.0, 1e-20, 0.5])
    with pytest.warns(lf.LyapflowWarning, match=r"from exponent 3 on .* ask for k <= 2"):
        found = lf.product_spectrum(lambda t, V: D @ V, 3, n=3, steps=200)
    np.testing.assert_allclose(found.exponents[:2], [0, np.log(0.5)], atol=0.02)
    assert found.below_rounding[2] > 0 and found.stderr[2] > 1
    exact = lf.product_spectrum(np.stack([D] * 200))
    np.testing.assert_allclose(exact.exponents[2], np.log(1e-20), rtol=0.01)


def test_what_is_not_known_of_directions_near_rounding_is_in_the_error_bars():
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((2, 2)))[0]
    D = axes @ np.diag([1.0, 1e-9]) @ axes.T
    found = lf.product_spectrum(lambda t, V: D @ V, 2, n=2, steps=100, q_transient=5)
    error = abs(found.exponents[1] - np.log(1e-9))
    assert error < 2 * found.stderr[1] and 1e-6 < found.stderr[1] < 1e-4
    assert found.stderr[0] < 1e-12


MOVE = {"n": 4, "k": 2, "steps": 3}


@pytest.mark.parametrize(
    ("jacobians", "arguments", "said"),
    [
        (np.zeros((3, 2, 4)), {}, r"square matrices \(n, n\), got shape \(2, 4\)"),
        (np.zeros((3, 3)), {}, r"jacobians must have shape \(T, n, n\), got \(3, 3\)"),
        (np.zeros((3, 2, 2), int), {}, "float64 or float32"),
        (np.full((3, 2, 2), np.nan), {}, "jacobians must be finite"),
        (np.zeros((3, 2, 2)), {"steps": 2}, "steps is for a function"),
        (np.zeros((0, 2, 2)), {}, "jacobians must hold at least one, got none"),
        (
            np.ones((3, 4, 4)),
            {"continue_from": lf.product_spectrum(lambda t, V: V, 2, n=4, steps=60)},
            "nor one without Jacobians",
        ),
        (iter([]), {}, "at least one, got an iterator at its end"),
        (iter([np.eye(2), np.eye(3)]), {}, r"Jacobian 1 must have shape \(2, 2\), got \(3, 3\)"),
        (iter([np.eye(2)]), {"until_stderr": 1.0}, "until_stderr is not for an iterator"),
        (lambda t: np.eye(2), {}, "where x is a function, give either steps"),
        (lambda t: np.eye(2 + t), {"steps": 2}, r"jacobians\(1\) must have shape \(2, 2\)"),
        (lambda t, V: V, {"n": 4}, "with n, give k, .* and steps"),
        (np.eye(4), MOVE, "with n, a function of t and V must be given, got ndarray"),
        (
            lambda t, V: V[:2],
            MOVE,
            r"jacobians\(0, V\) must return real numbers of the shape of V, \(4, 2\)",
        ),
        (lambda t, V: V, MOVE | {"k": 5}, "k must be an integer between 1 and 4 = n"),
        (lambda t, V: V, MOVE | {"t_ons": 2}, "does not take t_ons"),
        (lambda t, V: V, MOVE | {"q0": np.ones((4, 2))}, "q0 must have orthonormal columns"),
        # the second, less its share of the first, has length 1
        (
            lambda t, V: V,
            MOVE | {"q0": np.eye(4)[:, :2] + np.eye(4, 2, 1)},
            "q0 must have orthonormal",
        ),
        (lambda t, V: V * np.inf, MOVE, "not finite after step 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_input(jacobians, arguments, said):
    with pytest.raises(lf.LyapflowError, match=said):
        lf.product_spectrum(jacobians, **arguments)
