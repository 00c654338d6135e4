"""Task losses and their gradient by backpropagation through time."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._checks import Diverged, LyapflowError
from lyapflow._jit import jit, one_blas_thread
from lyapflow._threads import each, scratch
from lyapflow.cells.ensemble import over_members
from lyapflow.cells.interface import Sizes, sizes
from lyapflow.cells.parameters import arrays, like, map_arrays
from lyapflow.learning.model import Model, checked_model
from lyapflow.linalg.products import gemm
from lyapflow.lyapunov.forward import new_tape, state_schedule, sweep
from lyapflow.lyapunov.pullback import Piece, retreat


def _cross_entropy(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    decay = np.exp(-np.abs(z))
    value = np.maximum(z, 0) - z * y + np.log1p(decay)
    return value, np.where(z >= 0, 1, decay) / (1 + decay) - y


def _mse(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    off = z - y
    return off**2, 2 * off


LOSSES = {"cross_entropy": _cross_entropy, "mse": _mse}


@jit
def _multiply(A, B, C):
    gemm(A, False, B, False, 1.0, 0.0, C)


def pieces(batch: int) -> list[slice]:
    """Sequences of a batch that a thread takes together: at least 8, in at most 16 pieces."""
    length = max(8, -(-batch // 16))
    return [slice(start, min(start + length, batch)) for start in range(0, batch, length)]


def bptt(
    model: Model, size: Sizes, x: np.ndarray, y: np.ndarray, first: int, loss: str
) -> tuple[float, Model, np.ndarray]:
    """`bptt_value_and_grad` of checked arguments, with the scored outputs (S, B, o)."""
    places = pieces(x.shape[1])

    def piece(p: int) -> tuple[float, Model, np.ndarray]:
        here = places[p]
        try:
            return _piece(model, size, np.ascontiguousarray(x[:, here]), y[first:, here], loss, y[first:].size)
        except Diverged as error:
            member = here.start + (error.member or 0)
            raise Diverged(str(error), step=error.step, member=member if x.shape[1] > 1 else None) from None

    with one_blas_thread():
        values, gradients, outputs = zip(*each(piece, len(places)))
    gradient = like(model, (sum(parts[1:], parts[0]) for parts in zip(*map(arrays, gradients))))
    value = float(sum(values))
    if not np.isfinite(value) or not all(np.isfinite(a).all() for a in arrays(gradient)):
        raise Diverged("the task loss or its gradient, summed over steps, is not finite: use smaller weights")
    return value, gradient, np.concatenate(outputs, axis=1)


def _piece(
    model: Model, size: Sizes, x: np.ndarray, y: np.ndarray, loss: str, count: int
) -> tuple[float, Model, np.ndarray]:
    """What some sequences add to loss and gradient, means over `count` outputs; y (S, B, o) is that of scored steps."""
    plan, scored = state_schedule(len(x)), slice(len(x) - len(y) + 1, None)
    h0 = np.broadcast_to(model.h0, (x.shape[1], size.state))
    tape = new_tape(size, h0, np.empty((0, size.state), x.dtype), plan, full=True, empty=scratch)
    sweep(model.cell, size, x, tape, plan)
    with one_blas_thread(), np.errstate(all="ignore"):  # what overflows is caught below, by its result
        seen = tape.states[scored].reshape(-1, size.state)[:, : size.units]
        outputs = (seen @ model.W_out.T + model.b_out).reshape(y.shape)
        values, outputs_bar = LOSSES[loss](outputs, y)
    if not np.isfinite(values).all():
        lost, member, _ = map(int, np.argwhere(~np.isfinite(values))[0])
        step = len(x) - len(y) + lost
        raise Diverged(
            f"the task loss stopped being finite at step {step}: use smaller weights", step=step, member=member
        )
    outputs_bar /= count
    rows = outputs_bar.reshape(-1, len(model.b_out))
    states_bar = scratch("states_bar", (*outputs.shape[:2], size.state), x.dtype)
    states_bar[..., size.units :] = 0.0
    with one_blas_thread(), np.errstate(all="ignore"):
        _multiply(rows, model.W_out, states_bar.reshape(-1, size.state)[:, : size.units])
        W_out_bar = rows.T @ seen
    cell_bar, h0_bar = retreat(model.cell, size, [Piece(0, x, tape, plan, np.empty((0, 0), x.dtype), states_bar)])
    gradient = Model(cell_bar, W_out_bar, rows.sum(axis=0), h0_bar.sum(axis=0))
    return float(values.sum(dtype=float)) / count, gradient, outputs


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
