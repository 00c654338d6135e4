"""The states of a network in time, without tangents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow.cells.interface import checked, first_array, sizes, step, tangent
from lyapflow.cells.layers import Layers, of_layer
from lyapflow.ensemble import over_members
from lyapflow.lyapunov.padding import end_of_padding, padded
from lyapflow.lyapunov.problem import Problem, doubt_layout, initial_state, inputs
from lyapflow.lyapunov.schedule import state_schedule
from lyapflow.lyapunov.sweep import new_tape, sweep


def _checked(cell: Any, x: Any, h0: Any, steps: Any, lengths: Any) -> tuple[Problem, bool]:
    """The problem, without a tangent block, and whether x came as a batch."""
    cell = checked(cell, step, tangent)
    size = sizes(cell)
    lengths, (x,) = end_of_padding(lengths, x=x)
    x, batched = inputs(x, size, first_array(cell), steps, h0)
    length, batch = x.shape[:2]
    _checks.affordable(
        f"a trajectory of {length} steps", length * batch * (2 * size.state + size.record)
    )
    h0 = initial_state(h0, size, batch, first_array(cell))
    return no_tangents(cell, x, h0)._replace(lengths=lengths), batched


def no_tangents(cell: Any, x: np.ndarray, h0: np.ndarray) -> Problem:
    """The problem of inputs (T, B, m) and initial states (B, n_state), without a tangent block."""
    size = sizes(cell)
    block = np.empty((0, size.state), x.dtype)
    return Problem(cell, size, x, state_schedule(len(x)), h0, block)


def _lost(checked: tuple[Problem, bool]) -> np.ndarray:
    given, batched = checked
    shape = given.x.shape[:2] if batched else given.x.shape[:1]
    return np.full((*shape, given.size.state), np.nan, given.x.dtype)


@over_members("x", "h0", "lengths", check=_checked, lost=_lost)
def trajectory(
    cell: Any,
    x: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    steps: int | None = None,
    lengths: ArrayLike | None = None,
) -> np.ndarray:
    """States that follow each input: ``h_{s+1} = f(h_s, x_{s+1})``.

    Parameters
    ----------
    cell : cell
    x : array (T, m) or (T, B, m)
        Inputs of one trajectory or of B; for a cell without inputs give `steps` instead.
    h0 : array (n_state,) or (B, n_state), optional
        State before the first input; zeros by default.
    steps : int, optional
        Number of steps of a cell without inputs; h0 (B, n_state) makes B trajectories.
    lengths : int array (B,), optional
        Length of each trajectory, if x (T, B, m) is padded at the ends.

    Returns
    -------
    array (T, n_state) or (T, B, n_state)
        ``states[t]`` follows ``x[t]``; h0 is not among them. NaN beyond the end of a trajectory.

    Raises
    ------
    LyapflowError
        If arguments do not fit the cell.
    Diverged
        If a state stops being finite.

    Warns
    -----
    LyapflowWarning
        If x has fewer steps than trajectories.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LinearRNN(np.array([[0.5]]), np.ones((1, 1)), np.zeros(1))
    >>> lf.trajectory(cell, np.ones((3, 1)))
    array([[1.  ],
           [1.5 ],
           [1.75]])
    """
    given, batched = _checked(cell, x, h0, steps, lengths)
    if steps is None:
        doubt_layout(given.x)
    states = states_of(given, np.nan)
    return states.copy() if batched else states[:, 0].copy()


def states_of(given: Problem, fill: float = 0.0) -> np.ndarray:
    """The states (T, B, n_state) after each step; those of layers one layer after the other, over all time.

    Behind the end of a trajectory stands `fill`."""
    if given.lengths is not None:
        each = [
            states_of(no_tangents(given.cell, given.x[:length, b : b + 1], given.h0[b : b + 1]))
            for b, length in enumerate(given.lengths)
        ]
        return padded(each, len(given.x), fill)
    if not isinstance(given.cell, Layers):
        alone = no_tangents(given.cell, given.x, given.h0)
        tape = new_tape(alone, full=True)
        sweep(alone, tape)
        return tape.states[1:]
    found, x = [], given.x
    for number, (layer, h0) in enumerate(zip(given.cell.layers, given.cell.split(given.h0))):
        with of_layer(number, len(given.cell.layers)):
            found.append(states_of(no_tangents(layer, x, np.ascontiguousarray(h0))))
        x = np.ascontiguousarray(found[-1][:, :, : sizes(layer).units])
    return np.concatenate(found, axis=2)
