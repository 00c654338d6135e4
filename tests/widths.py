"""Digests of products, and of what is made of them, in tiles of vectors of a given width and of so many rows.

    python -m tests.widths 32 4

Wider vectors than the processor's are several to LLVM, so that every processor runs all of them.
"""

import hashlib
import itertools
import sys

import numpy as np
from numba.core.caching import NullCache

import lyapflow as lf
from lyapflow.linalg import products, tiles
from tests import test_products
from tests.test_products import gemm, gemm_part, matrices

DTYPES = (np.float64, np.float32)
BOOLEANS = (False, True)


def force(width, rows):
    """Have such tiles, in a process that has not compiled any; they stay out of the on-disk cache."""
    assert not products._gemm.overloads
    tiles.VECTOR = products.VECTOR = width
    tiles.ROWS = products.ROWS = rows
    tiles.MASKS = products.MASKS = width == 64
    products.WIDTH = products.VECTORS * width
    for kernel in (products._gemm, products._columns):
        kernel._cache = NullCache()


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def all_products(dtype):
    """Of many shapes, with factors transposed or not, as windows of larger arrays or not, and of triangles."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        m, n = (int(rng.integers(1, 201 if rng.random() < 0.3 else 40)) for _ in range(2))
        inner = int(rng.integers(1, 301 if rng.random() < 0.3 else 60))
        transpose_a, transpose_b, padded = rng.random(3) < 0.5
        padding = int(rng.integers(1, 40)) if padded else 0
        beta = rng.choice([0.0, 1.0, -2.0])
        A, B, C, *_ = matrices(rng, m, n, inner, transpose_a, transpose_b, padding, dtype)
        gemm(A, transpose_a, B, transpose_b, 0.3, beta, C)
        found.append(C.base)  # what stands beside the window, too
        A, B, C, *_ = matrices(rng, m, n, m, transpose_a, transpose_b, padding, dtype)
        full = A.copy()
        for part, triangle in ((products.LOWER_FACTOR, np.tril), (products.UPPER_FACTOR, np.triu)):
            A[:] = triangle(full.T).T if transpose_a else triangle(full)
            gemm_part(A, transpose_a, B, transpose_b, 0.3, beta, C, part)
            found.append(C.copy())
        A, B, C, *_ = matrices(rng, m, m, inner, transpose_a, transpose_b, padding, dtype)
        gemm_part(A, transpose_a, B, transpose_b, 0.3, beta, C, products.LOWER_RESULT)
        found.append(np.tril(C))
    return digest(*found)


def made_of_products():
    """A spectrum and two gradients."""
    rng = np.random.default_rng(0)
    model = lf.Model.random(lf.TanhRNN.random(37, 1, rng=rng), 1, rng=rng)
    x, y, first = lf.tasks.DelayedCopy(3).sample(rng, 20, 5)
    spectrum = lf.lyapunov_spectrum(model.cell, x[:, 0], 30)
    loss, gradient, exponents = lf.flossing_value_and_grad(model.cell, x[:, 0], 30)
    task_loss, task_gradient = lf.bptt_value_and_grad(model, x, y, first=first)
    yield digest(spectrum.exponents, spectrum.history)
    yield digest(loss, *gradient, exponents)
    yield digest(task_loss, *task_gradient.cell, *task_gradient[1:])


if __name__ == "__main__":
    force(*map(int, sys.argv[1:]))
    if sys.platform != "win32":
        for case in itertools.product(BOOLEANS, BOOLEANS, DTYPES):
            test_products.test_nothing_is_touched_behind_the_matrices(*case)
    print(*map(all_products, DTYPES), *made_of_products())
