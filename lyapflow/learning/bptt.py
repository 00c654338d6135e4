"""Task losses and their gradient by backpropagation through time."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._checks import Diverged, LyapflowError
from lyapflow._jit import one_blas_thread
from lyapflow.cells.ensemble import over_members
from lyapflow.cells.interface import Sizes, sizes
from lyapflow.cells.parameters import arrays, map_arrays
from lyapflow.learning.model import Model, checked_model
from lyapflow.lyapunov.forward import Schedule, Tape, new_tape, state_schedule, sweep
from lyapflow.lyapunov.pullback import retreat


def _cross_entropy(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    decay = np.exp(-np.abs(z))
    value = np.maximum(z, 0) - z * y + np.log1p(decay)
    return value, np.where(z >= 0, 1, decay) / (1 + decay) - y


def _mse(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    off = z - y
    return off**2, 2 * off


LOSSES = {"cross_entropy": _cross_entropy, "mse": _mse}


def run(model: Model, size: Sizes, x: np.ndarray, first: int) -> tuple[Tape, Schedule, np.ndarray]:
    """States of a batch, and the outputs (S, B, o) of its scored steps."""
    plan = state_schedule(len(x))
    h0 = np.broadcast_to(model.h0, (x.shape[1], size.state))
    tape = new_tape(size, h0, np.empty((0, size.state), x.dtype), plan, full=True)
    sweep(model.cell, size, x, tape, plan)
    with one_blas_thread(), np.errstate(all="ignore"):
        outputs = tape.states[first + 1 :, :, : size.units] @ model.W_out.T + model.b_out
    return tape, plan, outputs


def bptt(
    model: Model, size: Sizes, x: np.ndarray, y: np.ndarray, first: int, loss: str
) -> tuple[float, Model, np.ndarray]:
    """`bptt_value_and_grad` of checked arguments, with the scored outputs (S, B, o)."""
    tape, plan, outputs = run(model, size, x, first)
    with np.errstate(all="ignore"):  # what overflows is caught below, by its result
        values, outputs_bar = LOSSES[loss](outputs, y[first:])
    if not np.isfinite(values).all():
        lost, member, _ = map(int, np.argwhere(~np.isfinite(values))[0])
        raise Diverged(
            f"the task loss stopped being finite at step {first + lost}: use smaller weights",
            step=first + lost,
            member=member,
        )
    outputs_bar /= values.size
    n_outputs = len(model.b_out)
    rows = outputs_bar.reshape(-1, n_outputs)
    states_bar = np.zeros((*outputs.shape[:2], size.state), x.dtype)
    with one_blas_thread(), np.errstate(all="ignore"):
        np.matmul(outputs_bar, model.W_out, out=states_bar[:, :, : size.units])
        W_out_bar = rows.T @ tape.states[first + 1 :, :, : size.units].reshape(-1, size.units)
    cell_bar, h0_bar = retreat(model.cell, size, x, tape, plan, np.empty((0, 0), x.dtype), states_bar)
    gradient = Model(cell_bar, W_out_bar, rows.sum(axis=0), h0_bar.sum(axis=0))
    value = float(values.mean(dtype=float))
    if not np.isfinite(value) or not all(np.isfinite(a).all() for a in arrays(gradient)):
        raise Diverged("the task loss or its gradient, summed over steps, is not finite: use smaller weights")
    return value, gradient, outputs


def _checked(model: Any, x: Any, y: Any, first: Any, loss: Any) -> tuple[Model, Sizes, np.ndarray, np.ndarray, int]:
    model = checked_model(model)
    size = sizes(model.cell)
    return model, size, *checked_data(model, size, x, y, first, loss)


def _lost(checked: tuple[Model, Sizes, np.ndarray, np.ndarray, int]) -> tuple[float, Model]:
    return np.nan, map_arrays(lambda a: np.full_like(a, np.nan), checked[0])


@over_members("x", "y", check=_checked, lost=_lost)
def bptt_value_and_grad(
    model: Model, x: ArrayLike, y: ArrayLike, *, first: int = 0, loss: str = "cross_entropy"
) -> tuple[float, Model]:
    r"""Task loss and its gradient in all parameters of the Model, by backpropagation through time.

    .. math:: L = \frac{1}{S B o} \sum_{t \ge first} \ell(y_t, W_{out} h_t + b_{out})

    with the squared error, or the cross-entropy of logits
    :math:`\ell(y, z) = \log(1 + e^z) - y z`, averaged over the S scored steps, the batch and the outputs.

    Parameters
    ----------
    model : Model
    x : array (T, B, m)
    y : array (T, B, o)
        Targets; in [0, 1] for the cross-entropy.
    first : int
        First scored step, 0-based; ``y[:first]`` does not count.
    loss : {"cross_entropy", "mse"}

    Returns
    -------
    loss : float
    gradient : Model
        With the gradient in the initial state as its h0.

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state, the loss or the gradient stops being finite.
    """
    value, gradient, _ = bptt(*_checked(model, x, y, first, loss), loss)
    return value, gradient


def checked_data(
    model: Model, size: Sizes, x: Any, y: Any, first: Any, loss: Any
) -> tuple[np.ndarray, np.ndarray, int]:
    """Inputs and targets that fit the Model and each other."""
    _checks.one_of("loss", loss, tuple(LOSSES))
    x = _checks.array("x", x, ("T", "B", size.inputs), like=model.h0)
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise LyapflowError(f"x must have at least one step and one trajectory, got shape {x.shape}")
    y = _checks.array("y", y, (*x.shape[:2], len(model.b_out)), like=model.h0)
    first = _checks.integer("first", first, 0, len(x) - 1)
    if loss == "cross_entropy" and not ((y[first:] >= 0) & (y[first:] <= 1)).all():
        raise LyapflowError("y must lie in [0, 1] for the cross-entropy; use loss='mse' for other targets")
    return x, y, first


def accuracy(outputs: np.ndarray, y: np.ndarray, loss: str) -> float:
    """Share of scored outputs on the right side of 0; NaN where the loss is no cross-entropy."""
    if loss != "cross_entropy":
        return np.nan
    return float(np.mean((outputs > 0) == (y > 0.5)))
