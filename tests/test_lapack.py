"""BLAS wrappers against NumPy."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lyapflow.linalg.lapack import gemm, potrf, symm

SIZE = st.integers(1, 7)
DTYPE = st.sampled_from([np.float64, np.float32])


@given(SIZE, SIZE, st.integers(0, 20), st.booleans(), st.booleans(), st.integers(0, 3), DTYPE, st.integers(0, 99))
@example(1, 4, 1, False, True, 0, np.float64, 0)
@example(7, 6, 19, False, True, 2, np.float64, 0)
def test_gemm_is_the_matrix_product_of_strided_rows(m, n, inner, transpose_a, transpose_b, padding, dtype, seed):
    rng = np.random.default_rng(seed)

    def matrix(rows, columns):
        return rng.standard_normal((rows, columns + padding)).astype(dtype)[:, :columns]

    A = matrix(inner, m) if transpose_a else matrix(m, inner)
    B = matrix(n, inner) if transpose_b else matrix(inner, n)
    C = matrix(m, n)
    expected = 0.5 * (A.T if transpose_a else A) @ (B.T if transpose_b else B) - 2 * C
    gemm(A, transpose_a, B, transpose_b, 0.5, -2.0, C)
    np.testing.assert_allclose(C, expected, atol=100 * np.finfo(dtype).eps)


def test_a_single_row_may_have_any_stride():
    # a new axis has stride 0, which BLAS would refuse as a leading dimension
    x = np.ones((3, 2))[0][None, :]
    C = np.zeros((1, 2))
    gemm(x, False, np.array([[1.0, 2.0], [3.0, 4.0]]), False, 1.0, 0.0, C)
    np.testing.assert_array_equal(C, [[4.0, 6.0]])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_symm_reads_the_lower_triangle(dtype):
    rng = np.random.default_rng(0)
    S, B, C = (rng.standard_normal(shape).astype(dtype) for shape in ((4, 4), (4, 6), (4, 6)))
    lower = np.tril(S)
    expected = (lower + np.tril(S, -1).T) @ B + C
    symm(S, B, C)
    np.testing.assert_allclose(C, expected, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_potrf(dtype):
    A = np.random.default_rng(0).standard_normal((5, 9)).astype(dtype)
    G = A @ A.T
    L = G.copy()
    potrf(L)
    np.testing.assert_allclose(np.tril(L) @ np.tril(L).T, G, atol=40 * np.finfo(dtype).eps)
    for bad in (np.nan, -1.0, 0.0):
        L = G.copy()
        L[2, 2] = bad
        potrf(L)
        assert not (np.diagonal(L) > 0).all()
