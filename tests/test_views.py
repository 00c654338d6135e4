"""Views that kernels make, against NumPy's."""

import numpy as np
import pytest
from numba.core.errors import TypingError

from lyapflow._engine import views
from lyapflow._engine.jit import jit


@jit(allocates=True)
def rows(a, start, stop, result):
    result[:] = views.window(a, start, stop)


@jit(allocates=True)
def window(a, top, bottom, left, right, result):
    result[:] = views.window(a, top, bottom, left, right)


@jit(allocates=True)
def as_matrix(a, result):
    result[:] = views.as_matrix(a)


@jit(allocates=True)
def through_the_stack(a, result):
    here = views.on_stack(3, 32, a[0, 0])
    for i in range(3):
        for j in range(here.shape[1]):
            here[i, j] = a[i, j]
    result[:] = here


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_windows(dtype):
    a = np.arange(60, dtype=dtype).reshape(6, 10)
    for start, stop in ((0, 6), (2, 5), (3, 3), (6, 6)):
        found = np.empty((stop - start, 10), dtype)
        rows(a, start, stop, found)
        np.testing.assert_array_equal(found, a[start:stop])
        for matrix in (a, a[:, 1:9]):
            found = np.empty((stop - start, 4), dtype)
            window(matrix, start, stop, 3, 7, found)
            np.testing.assert_array_equal(found, matrix[start:stop, 3:7])


def test_a_window_of_more_axes():
    a = np.arange(120.0).reshape(6, 4, 5)
    found = np.empty((2, 4, 5))
    rows(a, 3, 5, found)
    np.testing.assert_array_equal(found, a[3:5])


def test_as_matrix():
    a = np.arange(24.0)
    for shape in ((2, 3, 4), (6, 4), (2, 3, 1, 4), (3, 0, 4)):
        whole = a[: np.prod(shape)].reshape(shape)
        found = np.empty((whole.size // 4, 4))
        as_matrix(whole, found)
        np.testing.assert_array_equal(found, whole.reshape(-1, 4))
    with pytest.raises(TypingError, match="two axes"):
        as_matrix(a, np.empty((6, 4)))


def test_as_matrix_where_a_new_axis_has_no_stride():
    x = np.arange(6.0).reshape(3, 2)[:, None, :]
    x = np.lib.stride_tricks.as_strided(x, strides=(16, 0, 8))  # contiguous to NumPy
    found = np.empty((3, 2))
    as_matrix(x, found)
    np.testing.assert_array_equal(found, x[:, 0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scratch_on_the_stack(dtype):
    columns = 32 // np.dtype(dtype).itemsize
    a = np.arange(3 * columns, dtype=dtype).reshape(3, columns)
    found = np.empty_like(a)
    through_the_stack(a, found)
    np.testing.assert_array_equal(found, a)
