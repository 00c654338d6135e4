"""QR of products whose vectors differ in length by any factor, and ranks modulo a prime."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lyapflow.linalg import modular
from lyapflow.linalg.graded import _orthonormalise_product, graded
from lyapflow.linalg.modular import PRIME, independent, multiply, residues


def exact_qr(DT, B):
    """log L_jj and Q of ``B D^T = L Q`` in 2500 bits."""
    with mpmath.workprec(2500):
        growth, basis = [], []
        for row in (mpmath.matrix(B.tolist()) * mpmath.matrix(DT.tolist())).tolist():
            for q in basis:
                along = mpmath.fdot(q, row)
                row = [a - along * b for a, b in zip(row, q)]
            length = mpmath.sqrt(mpmath.fdot(row, row))
            growth.append(float(mpmath.log(length)))
            basis.append([a / length for a in row])
        return np.array(growth), np.array(basis, float)


def factorised(DT, B):
    Q, growth, work = np.empty_like(B), np.empty(len(B)), graded(*B.shape)
    sure, rank, largest = _orthonormalise_product(DT, B, Q, growth, work)
    return Q, growth, sure, rank, largest, work


def orthonormal(rng, k, n):
    return np.ascontiguousarray(np.linalg.qr(rng.standard_normal((n, k)))[0].T)


@pytest.mark.parametrize("side", ["columns", "rows", "both"])
@pytest.mark.parametrize(
    ("n", "k", "size"), [(1, 1, 50), (5, 5, 3), (8, 8, 40), (9, 4, 150), (30, 3, 20)]
)
def test_every_length_keeps_its_digits(side, n, k, size):
    rng = np.random.default_rng(n)
    DT = rng.standard_normal((n, n))
    for scaled in (DT,) if side == "rows" else (DT.T,) if side == "columns" else (DT, DT.T):
        scaled *= np.exp(size * rng.standard_normal(n))
    B = orthonormal(rng, k, n)
    Q, growth, sure, rank, largest, _ = factorised(DT, B)
    exact_growth, exact_Q = exact_qr(DT, B)
    np.testing.assert_allclose(growth, exact_growth, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(Q, exact_Q, atol=1e-11)
    assert (sure, rank) == (k, n)
    assert largest == pytest.approx(np.log(np.abs(DT).max()))


def test_all_pivots_are_taken_where_they_matter():
    rng = np.random.default_rng(0)
    DT, B = rng.standard_normal((40, 40)), orthonormal(rng, 2, 40)
    Q, growth, *_ = factorised(DT, B)
    expected = exact_qr(DT, B)
    np.testing.assert_allclose(growth, expected[0], rtol=1e-13)
    np.testing.assert_allclose(Q, expected[1], atol=1e-13)


def test_lengths_beyond_float64():
    DT = np.diag([1e-300, 1e-310, 1e280, 1e-303])
    B = orthonormal(np.random.default_rng(0), 4, 4)
    np.testing.assert_allclose(factorised(DT, B)[1], exact_qr(DT, B)[0], rtol=1e-13)


def test_what_cancels_in_D_itself_is_seen():
    # rank one but for the rounding of each entry
    rng = np.random.default_rng(0)
    DT = np.outer(rng.standard_normal(5), rng.standard_normal(5))
    B = orthonormal(rng, 5, 5)
    _, growth, _, rank, _, work = factorised(DT, B)
    np.testing.assert_allclose(growth, exact_qr(DT, B)[0], rtol=1e-10)
    assert growth[1] < -30
    assert rank == 5
    assert work.error[0] < 1e-10
    assert (work.error[1:] > 0.1).all()  # other roundings would have given other directions


def test_a_vector_that_a_small_error_would_lengthen_is_not_sure():
    DT, B = np.diag([1e-20, 1.0]), np.eye(2)
    _, growth, sure, rank, _, work = factorised(DT, B)
    np.testing.assert_allclose(growth, np.log([1e-20, 1.0]))
    assert (sure, rank) == (0, 2)
    np.testing.assert_allclose(work.left / np.abs(work.pivots), [1e20, 1.0])
    assert factorised(DT, B[::-1].copy())[2] == 2


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_singular_matrices_are_told(rank):
    rng = np.random.default_rng(rank)
    DT = (rng.integers(-9, 10, (5, rank)) @ rng.integers(-9, 10, (rank, 5))).astype(float)
    Q, _, sure, found, _, _ = factorised(DT, orthonormal(rng, 5, 5))
    assert (sure, found) == (rank, -rank)  # elimination leaves rounding, which might be more
    np.testing.assert_allclose(Q @ Q.T, np.eye(5), atol=1e-12)
    DT = rng.standard_normal((5, 5))
    DT[:, rank:] = 0.0
    assert factorised(DT, orthonormal(rng, 5, 5))[2:4] == (rank, rank)  # here it leaves nothing


def residue(number):
    found = Fraction(number)
    return found.numerator * pow(found.denominator, -1, int(PRIME)) % int(PRIME)


def modulo(A):
    R = np.empty_like(A)
    residues(A, R)
    return R


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
@example([5e-324, -3e-310, 2.2250738585072014e-308, 1.7976931348623157e308])
def test_residues_of_any_number(numbers):
    R = modulo(np.array([numbers]))
    assert [int(r) % int(PRIME) for r in R[0]] == [residue(number) for number in numbers]
    assert np.abs(R).max() <= 0.51 * PRIME


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_products_of_residues(seed, inner):
    rng = np.random.default_rng(seed)
    A, B = modulo(rng.standard_normal((2, inner))), modulo(rng.standard_normal((inner, 3)))
    C = np.empty((2, 3))
    multiply(A, B, C)
    exact = np.array(
        [[sum(int(a) * int(b) for a, b in zip(row, col)) % int(PRIME) for col in B.T] for row in A]
    )
    np.testing.assert_array_equal(np.vectorize(int)(C) % int(PRIME), exact)
    assert np.abs(C).max() <= 0.51 * PRIME


def test_residues_may_take_the_place_of_their_numbers():
    A = np.random.default_rng(0).standard_normal((3, 3))
    expected = modulo(A)
    residues(A, A)
    np.testing.assert_array_equal(A, expected)


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9))
def test_rows_that_depend_on_those_before_are_found(seed, k, n):
    rng = np.random.default_rng(seed)
    # many dependent rows; 0.1 times 3 is no third number
    A = rng.integers(-2, 3, (k, n)).astype(float) * 0.1
    kept = np.empty(k, bool)
    independent(modulo(A), kept)
    exact, rows = [], []
    for row in A:
        row = [Fraction(a) for a in row]
        for pivot, other in rows:
            factor = row[pivot] / other[pivot]
            row = [a - factor * b for a, b in zip(row, other)]
        exact.append(any(row))
        if any(row):
            rows.append((next(i for i, a in enumerate(row) if a), row))
    np.testing.assert_array_equal(kept, exact)


def test_the_prime_is_one():
    p = int(PRIME)
    assert all(pow(a, p - 1, p) == 1 for a in (2, 3, 5, 7, 11, 13, 17, 19, 23))
    assert modular.TERMS * 0.51 * p < 2**53
