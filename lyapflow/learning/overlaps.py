r"""The direction of the gradient in the state before a sequence, compared with the covariant vectors there (App. D).

Covariant vectors at a state need steps before it. So a held-back sequence is taken up from the
state that inputs of their own have led to, from the Model's h0 on, and not from h0 itself, which is
on no trajectory: h is the state between the two, the vectors are aligned by the inputs before it
and by the sequence after it, and the gradient is the exact dL/dh of the sequence's loss.

The overlap is a plain cosine, :math:`|\langle dL/dh, v_i \rangle| / |dL/dh|`. A gradient is a
cotangent vector, so it depends on the coordinates of the state, and none of the overlaps need be
small where another is near 1: covariant vectors are not orthogonal."""

import numpy as np

from lyapflow.cells.interface import Sizes
from lyapflow.errors import Diverged, collected_warnings
from lyapflow.learning.bptt import bptt
from lyapflow.learning.model import Model
from lyapflow.lyapunov.vectors import covariant_vectors


def overlaps(
    model: Model,
    size: Sizes,
    k: int,
    before: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    first: int,
    loss: str,
) -> np.ndarray:
    """Of the first k vectors, for inputs `before` (T, 1, m) and the first sequence of x, y.

    NaN where the vectors are not unique, do not exist, or the gradient is 0."""
    inputs = np.concatenate([before[:, 0], x[:, 0]])
    transients = {"q_transient": len(before), "end_transient": len(x) - 1}
    try:
        with collected_warnings():  # of convergence, which nobody will see
            found = covariant_vectors(model.cell, inputs, k, h0=model.h0, **transients)
        start = model._replace(h0=found.states[0])
        gradient = bptt(start, size, x[:, :1], y[:, :1], first, loss).gradient
    except Diverged:
        return np.full(k, np.nan, x.dtype)
    # a gradient that has vanished on its way may have a square that is 0; powers of two round nothing
    h0_bar = gradient.h0.astype(float)
    h0_bar = np.ldexp(h0_bar, -np.frexp(np.abs(h0_bar).max())[1])
    with np.errstate(invalid="ignore"):
        cosines = h0_bar @ found.vectors[0] / np.linalg.norm(h0_bar)
    return np.abs(cosines).astype(x.dtype)
