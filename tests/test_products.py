"""Matrix products in tiles, and by BLAS, against NumPy."""

import ctypes
import itertools
import mmap
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numba.core.errors import TypingError

from lyapflow._engine.jit import jit
from lyapflow.linalg import lapack, products
from lyapflow.linalg.products import BLAS_WORK, DEPTH, LOWER_FACTOR, LOWER_RESULT, UPPER_FACTOR

SIZE = st.integers(1, 60)
DTYPE = st.sampled_from([np.float64, np.float32])


@jit
def gemm(A, transpose_A, B, transpose_B, alpha, beta, C):
    products.gemm(A, transpose_A, B, transpose_B, alpha, beta, C)


@jit
def gemm_part(A, transpose_A, B, transpose_B, alpha, beta, C, part):
    products.gemm_part(A, transpose_A, B, transpose_B, alpha, beta, C, part)


def matrices(rng, m, n, inner, transpose_a, transpose_b, padding, dtype):
    """A, B, C and op(A), op(B) as views, whose rows lie padding numbers apart."""

    def matrix(rows, columns):
        return rng.standard_normal((rows, columns + padding)).astype(dtype)[:, :columns]

    A = matrix(inner, m) if transpose_a else matrix(m, inner)
    B = matrix(n, inner) if transpose_b else matrix(inner, n)
    return A, B, matrix(m, n), A.T if transpose_a else A, B.T if transpose_b else B


def bound(A, B, dtype):
    return 4 * np.finfo(dtype).eps * (np.abs(A) @ np.abs(B) + 1).max()


@given(
    SIZE,
    SIZE,
    st.integers(0, 3 * DEPTH),
    st.booleans(),
    st.booleans(),
    st.integers(0, 40),
    DTYPE,
    st.integers(0, 99),
)
@example(1, 4, 1, False, True, 0, np.float64, 0)
@example(5, 17, 4, True, True, 1, np.float32, 0)
@example(32, 2, 50, True, False, 1, np.float64, 0)  # few columns: vectors along the other side
@example(40, 30, DEPTH + 1, False, False, 30, np.float64, 0)  # rows of B far apart, and many of A
def test_gemm_is_the_matrix_product_of_strided_rows(
    m, n, inner, transpose_a, transpose_b, padding, dtype, seed
):
    A, B, C, left, right = matrices(
        np.random.default_rng(seed), m, n, inner, transpose_a, transpose_b, padding, dtype
    )
    beside = C.base[:, n:].copy()
    expected = 0.5 * left @ right - 2 * C
    gemm(A, transpose_a, B, transpose_b, 0.5, -2.0, C)
    np.testing.assert_allclose(C, expected, rtol=0, atol=bound(left, right, dtype))
    np.testing.assert_array_equal(C.base[:, n:], beside)
    C[:] = np.nan
    gemm(A, transpose_a, B, transpose_b, 1.0, 0.0, C)
    np.testing.assert_allclose(C, left @ right, rtol=0, atol=bound(left, right, dtype))


@given(
    st.integers(1, 60), st.integers(1, 30), st.booleans(), st.booleans(), DTYPE, st.integers(0, 99)
)
@example(3 * DEPTH, 20, True, False, np.float64, 0)
def test_triangles(m, n, transpose_a, transpose_b, dtype, seed):
    rng = np.random.default_rng(seed)
    A, B, C, left, right = matrices(rng, m, n, m, transpose_a, transpose_b, 0, dtype)
    full = left.copy()
    for part, triangle in ((LOWER_FACTOR, np.tril), (UPPER_FACTOR, np.triu)):
        A[:] = triangle(full).T if transpose_a else triangle(full)
        gemm_part(A, transpose_a, B, transpose_b, 1.0, 0.0, C, part)
        np.testing.assert_allclose(C, left @ right, rtol=0, atol=bound(left, right, dtype))
    A, B, C, left, right = matrices(rng, m, m, n, transpose_a, transpose_b, 0, dtype)
    gemm_part(A, transpose_a, B, transpose_b, 1.0, 0.0, C, LOWER_RESULT)
    np.testing.assert_allclose(
        np.tril(C), np.tril(left @ right), rtol=0, atol=bound(left, right, dtype)
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_entry_depends_on_its_row_and_its_column_alone(dtype):
    rng = np.random.default_rng(0)
    A, B = (
        rng.standard_normal((41, 300)).astype(dtype),
        rng.standard_normal((300, 90)).astype(dtype),
    )
    before = rng.standard_normal((41, 90)).astype(dtype)
    whole = before.copy()
    gemm(A, False, B, False, 0.7, 0.3, whole)
    for rows, columns in (
        (slice(0, 1), slice(0, 90)),
        (slice(3, 10), slice(5, 61)),
        (slice(40, 41), slice(89, 90)),
    ):
        part = before[rows, columns].copy()
        gemm(A[rows], False, B[:, columns], False, 0.7, 0.3, part)
        np.testing.assert_array_equal(part, whole[rows, columns])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_large_products(transpose_a, transpose_b, dtype):
    m, n = 230, 300
    inner = BLAS_WORK // (m * n * np.dtype(dtype).itemsize) + 1
    A, B, C, left, right = matrices(
        np.random.default_rng(0), m, n, inner, transpose_a, transpose_b, 3, dtype
    )
    expected = 0.5 * left @ right - 2 * C
    beside = C.copy()
    gemm(A, transpose_a, B, transpose_b, 0.5, -2.0, C)
    np.testing.assert_allclose(C, expected, rtol=0, atol=bound(left, right, dtype))
    for columns in (slice(0, n // 2), slice(n // 2, n)):  # for about COLUMNS each
        right = B[columns] if transpose_b else B[:, columns]
        lapack.gemm(A, transpose_a, right, transpose_b, 0.5, -2.0, beside[:, columns])
    np.testing.assert_array_equal(C, beside)  # BLAS_WORK is where BLAS begins


def test_matrices_by_columns_are_refused():
    A, C = np.ones((3, 3)), np.empty((3, 3))
    with pytest.raises(TypingError, match="row-major"):
        gemm(A, False, np.asfortranarray(np.ones((3, 4))), False, 1.0, 0.0, C)
    with pytest.raises(TypingError, match="one dtype"):
        gemm(A, False, A.astype(np.float32), False, 1.0, 0.0, C)


def test_ctrl_c_while_a_product_is_loaded(monkeypatch):
    A, C, tried, find = np.ones((3, 3)), np.empty((3, 3)), [], products.products.find
    gemm(A, False, A, False, 1.0, 0.0, C)

    def interrupted(index):
        tried.append(index)
        if len(tried) == 1:
            raise KeyboardInterrupt
        find(index)

    monkeypatch.setattr(products.products, "find", interrupted)
    products.products.addresses[0] = 0  # as in a process whose kernels came from the cache
    C[:] = 0
    with pytest.raises(KeyboardInterrupt):
        gemm(A, False, A, False, 1.0, 0.0, C)
        for _ in range(2000):  # it is heard between two of them
            time.sleep(0.01)
    np.testing.assert_array_equal(C, 3.0)
    assert tried == [0, 0]


def at_the_end_of_memory(a):
    """A copy, behind which nothing may be read or written."""
    size = -(-a.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert (
        ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + size), ctypes.c_size_t(mmap.PAGESIZE), 0)
        == 0
    )
    copy = np.frombuffer(memory, a.dtype, a.size, size - a.nbytes).reshape(a.shape)
    copy[:] = a
    return copy


@pytest.mark.skipif(sys.platform == "win32", reason="no mprotect")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_nothing_is_touched_behind_the_matrices(transpose_a, transpose_b, dtype):
    rng = np.random.default_rng(0)
    for m, n, inner in ((1, 1, 1), (5, 7, 6), (6, 8, 6), (4, 13, 3), (33, 14, 131), (40, 3, 9)):
        A, B, C, left, right = matrices(rng, m, n, inner, transpose_a, transpose_b, 0, dtype)
        C = at_the_end_of_memory(C)
        A, B = at_the_end_of_memory(A), at_the_end_of_memory(B)
        gemm(A, transpose_a, B, transpose_b, 1.0, 0.0, C)
        np.testing.assert_allclose(C, left @ right, rtol=0, atol=bound(left, right, dtype))
        gemm(A, transpose_a, B, transpose_b, 1.0, 1.0, C)
        np.testing.assert_allclose(C, 2 * left @ right, rtol=0, atol=2 * bound(left, right, dtype))


def test_nothing_times_nothing():
    for (m, n, inner), beta in itertools.product(((0, 3, 2), (3, 0, 2), (3, 2, 0)), (0, 1, 2)):
        C = np.ones((m, n))
        gemm(np.ones((m, inner)), False, np.ones((inner, n)), False, 1.0, beta, C)
        np.testing.assert_array_equal(C, np.full((m, n), beta))


def test_a_single_row_may_have_any_stride():
    x = np.ones((3, 2))[0][None, :]  # a new axis has stride 0
    C = np.zeros((1, 2))
    gemm(x, False, np.array([[1.0, 2.0], [3.0, 4.0]]), False, 1.0, 0.0, C)
    np.testing.assert_array_equal(C, [[4.0, 6.0]])


def python(*arguments, **environment):
    """What another process prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_bit_depends_on_the_shape_of_tiles():
    # of SSE, AVX2, NEON and AVX-512
    shapes = (16, 4), (32, 4), (16, 8), (64, 8)
    found = [python("-m", "tests.widths", *map(str, shape)) for shape in shapes]
    assert found[0] != ""
    assert found == [found[0]] * 4


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="names of other processors"
)
@pytest.mark.parametrize(
    "environment, width, count",
    [
        ({"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}, 16, 16),
        ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}, 32, 16),  # the portable settings
        ({"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": ""}, 64, 32),
        ({"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": "-avx512f"}, 32, 16),
    ],
)
def test_registers_are_those_of_the_processor_that_numba_compiles_for(environment, width, count):
    program = "from lyapflow._engine.registers import *; print(vector_bytes(), vector_registers())"
    assert python("-c", program, **environment) == f"{width} {count}\n"
