"""The LAPACK wrapper that does not return what NumPy's does."""

import numpy as np
import pytest

from lyapflow.linalg.lapack import potrf


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
