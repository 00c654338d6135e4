"""The measured quantities as a user of lyapflow writes them, and the floor below which matrix products do not go."""

import numpy as np

import lyapflow as lf
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow.linalg.lapack import gemm


def training(model, task, T, batch, lr, clip_norm, rng):
    """A call that does one training epoch."""
    optimizer = lf.Adam(lr, clip_norm=clip_norm)
    state = optimizer.init(model)

    def run():
        nonlocal model, state
        x, y, first = task.sample(rng, T, batch, model.h0.dtype)
        loss, gradient = lf.bptt_value_and_grad(model, x, y, first=first)
        model, state = optimizer.update(state, model, gradient)
        return loss

    return run


@jit
def _products(A, B, C, times):
    for _ in range(times):
        gemm(A, False, B, False, 1.0, 0.0, C)


def products(n, k, dtype, times=200):
    """A call that multiplies a block (k, n) by a matrix (n, n), `times` times on one thread."""
    rng = np.random.default_rng(0)
    A, B, C = (rng.standard_normal(shape).astype(dtype) for shape in ((k, n), (n, n), (k, n)))

    def run():
        with one_blas_thread():
            _products(A, B, C, times)

    return run, 2.0 * k * n * n * times


def flossing_flops(n, k, T):
    """What a flossing epoch of a tanh network cannot do without, at t_ons = 1.

    Three products with n x n matrices (D Q, its adjoint, the gradient of W), and 6 n k² + k³ / 3
    for CholeskyQR and its pullback: Gram matrix, Cholesky factor and triangular product; ``Q^T
    Q_bar`` where it counts, ``Q M``, solve."""
    return T * (6.0 * n * n * k + 6.0 * n * k * k + k**3 / 3)
