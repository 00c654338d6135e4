"""Outputs of a Model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow.cells.interface import sizes, step, tangent
from lyapflow.cells.layers import seen_units
from lyapflow.ensemble import over_members
from lyapflow.errors import Diverged
from lyapflow.learning.model import Model, checked_model
from lyapflow.lyapunov.padding import end_of_padding
from lyapflow.lyapunov.problem import doubt_layout, initial_state, inputs
from lyapflow.lyapunov.trajectory import no_tangents, states_of


def _checked(model: Any, x: Any, h0: Any, steps: Any, lengths: Any) -> tuple[Any, ...]:
    model = checked_model(model, (step, tangent))
    size = sizes(model.cell)
    start = model.h0 if h0 is None else h0
    lengths, (x,) = end_of_padding(lengths, x=x)
    x, batched = inputs(x, size, model.h0, steps, start)
    states = initial_state(start, size, x.shape[1], model.h0)
    _checks.affordable(f"outputs of {len(x)} steps", len(x) * x.shape[1] * 2 * size.state)
    return model, no_tangents(model.cell, x, states)._replace(lengths=lengths), batched


def _lost(checked: tuple[Any, ...]) -> np.ndarray:
    model, given, batched = checked
    shape = given.x.shape[:2] if batched else given.x.shape[:1]
    return np.full((*shape, len(model.b_out)), np.nan, given.x.dtype)


@over_members("x", "h0", "lengths", check=_checked, lost=_lost)
def outputs(
    model: Model,
    x: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    steps: int | None = None,
    lengths: ArrayLike | None = None,
) -> np.ndarray:
    r"""Outputs of a Model after each input, :math:`y_t = W_{out} h_t + b_{out}`.

    For tasks with the cross-entropy these are logits, positive for a 1.

    Parameters
    ----------
    model : Model
    x : array (T, m) or (T, B, m)
        Inputs of one sequence or of B; for a cell without inputs give `steps` instead.
    h0 : array (n_state,) or (B, n_state), optional
        State before the first input; the Model's own by default.
    steps : int, optional
        Number of steps of a cell without inputs; h0 (B, n_state) makes B sequences.
    lengths : int array (B,), optional
        Length of each sequence, if x (T, B, m) is padded at the ends.

    Returns
    -------
    array (T, o) or (T, B, o)
        NaN behind the end of a sequence.

    Raises
    ------
    LyapflowError
        If arguments do not fit the Model.
    Diverged
        If a state or an output stops being finite.

    Warns
    -----
    LyapflowWarning
        If x has fewer steps than sequences.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LinearRNN(np.array([[0.5]]), np.ones((1, 1)), np.zeros(1))
    >>> model = lf.Model(cell, np.array([[2.0]]), np.array([1.0]), np.zeros(1))
    >>> lf.outputs(model, np.ones((3, 1)))
    array([[3. ],
           [4. ],
           [4.5]])
    """
    model, given, batched = _checked(model, x, h0, steps, lengths)
    if steps is None:
        doubt_layout(given.x)
    units = np.ascontiguousarray(seen_units(model.cell, states_of(given)))
    with one_blas_thread(), np.errstate(all="ignore"):  # BLAS raises flags over nothing
        found = units @ model.W_out.T + model.b_out
    lost = ~np.isfinite(found).all(axis=(1, 2))
    if lost.any():
        step = int(np.argmax(lost))
        raise Diverged.not_finite("an output", step, found[step], "use smaller weights")
    if given.lengths is not None:
        found[np.arange(len(found))[:, None] >= given.lengths] = np.nan
    return found if batched else found[:, 0]
