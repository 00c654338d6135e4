"""Task losses and their gradient by backpropagation through time."""

import math
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

LOSSES = ("cross_entropy", "mse")


@jit
def _score(cross_entropy, states, W_out, b_out, y, count, outputs, values, states_bar, W_out_bar, b_out_bar):
    """Outputs and loss of states, rows all, and the cotangents of what gave them, for a mean over `count` outputs.

    states_bar has the places of the units alone.
    """
    gemm(states, False, W_out, True, 1.0, 0.0, outputs)
    number = outputs.dtype.type
    one = number(1.0)
    outputs_bar = np.empty_like(outputs)
    for i in range(outputs.shape[0]):
        for j in range(outputs.shape[1]):
            outputs[i, j] += b_out[j]
            z, off = outputs[i, j], outputs[i, j] - y[i, j]
            if cross_entropy:
                decay = math.exp(-abs(z))
                values[i, j] = max(z, number(0.0)) - z * y[i, j] + math.log1p(decay)
                slope = (one if z >= 0 else decay) / (one + decay) - y[i, j]
            else:
                values[i, j], slope = off * off, off + off
            outputs_bar[i, j] = slope / number(count)
            b_out_bar[j] += outputs_bar[i, j]
    gemm(outputs_bar, False, W_out, False, 1.0, 0.0, states_bar)
    gemm(outputs_bar, True, states, False, 1.0, 0.0, W_out_bar)


def pieces(n_state: int, steps: int, batch: int) -> list[slice]:
    """Sequences of a batch that a thread takes together: about 8 or more, in at most 16 pieces, each worth a thread."""
    flops = 6.0 * n_state * (n_state + 30) * steps * batch  # tanh and the like take as long as 30 products
    length = -(-batch // max(1, min(16, batch // 8, int(flops / 2.5e7))))
    return [slice(start, min(start + length, batch)) for start in range(0, batch, length)]


def bptt(
    model: Model, size: Sizes, x: np.ndarray, y: np.ndarray, first: int, loss: str
) -> tuple[float, Model, np.ndarray]:
    """`bptt_value_and_grad` of checked arguments, with the scored outputs (S, B, o)."""
    places = pieces(size.state, *x.shape[:2])

    def piece(p: int) -> tuple[float, Model, np.ndarray]:
        here = places[p]
        try:
            sequences, wanted = np.ascontiguousarray(x[:, here]), np.ascontiguousarray(y[first:, here])
            return _piece(model, size, sequences, wanted, loss, y[first:].size)
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
    plan, steps, batch = state_schedule(len(x)), len(y), x.shape[1]
    h0 = np.empty((batch, size.state), x.dtype)
    h0[:] = model.h0
    tape = new_tape(size, h0, np.empty((0, size.state), x.dtype), plan, full=True, empty=scratch)
    sweep(model.cell, size, x, tape, plan)
    units = slice(None, size.units)
    states_bar = scratch("states_bar", (steps, batch, size.state), x.dtype)
    states_bar[..., size.units :] = 0.0
    outputs, values, W_out_bar, b_out_bar = map(np.empty_like, (y, y, model.W_out, model.b_out))
    b_out_bar[:] = 0.0
    _score(
        loss == "cross_entropy",
        tape.states[-steps:].reshape(-1, size.state)[:, units],
        model.W_out,
        model.b_out,
        y.reshape(-1, y.shape[2]),
        count,
        outputs.reshape(-1, y.shape[2]),
        values.reshape(-1, y.shape[2]),
        states_bar.reshape(-1, size.state)[:, units],
        W_out_bar,
        b_out_bar,
    )
    total = float(values.sum(dtype=float))
    if not np.isfinite(total) and not np.isfinite(values).all():
        lost, member, _ = map(int, np.argwhere(~np.isfinite(values))[0])
        step = len(x) - steps + lost
        raise Diverged(
            f"the task loss stopped being finite at step {step}: use smaller weights", step=step, member=member
        )
    cell_bar, h0_bar = retreat(model.cell, size, [Piece(0, x, tape, plan, np.empty((0, 0), x.dtype), states_bar)])
    return total / count, Model(cell_bar, W_out_bar, b_out_bar, h0_bar.sum(axis=0)), outputs


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
    _checks.one_of("loss", loss, LOSSES)
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
