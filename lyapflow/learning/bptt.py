"""Task losses and their gradient by backpropagation through time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.pool import threads
from lyapflow._trees import arrays, map_arrays
from lyapflow.cells.interface import Sizes, checked, input_pullback, sizes
from lyapflow.ensemble import over_members
from lyapflow.errors import Diverged, LyapflowError
from lyapflow.learning.model import Model, checked_model
from lyapflow.learning.sequences import together, views
from lyapflow.lyapunov.padding import end_of_padding

LOSSES = ("cross_entropy", "mse")
FLOPS_WORTH_A_THREAD = 2.5e7  # floating-point operations of a piece that is worth a thread


def piece_length(n_state: int, steps: int, batch: int) -> int:
    """Sequences of a batch that a thread takes together: about 8 or more, in at most 16 pieces, each worth a thread."""
    # tanh and the like take as long as 30 products
    flops = 6.0 * n_state * (n_state + 30) * steps * batch
    return -(-batch // max(1, min(16, batch // 8, int(flops / FLOPS_WORTH_A_THREAD))))


class Backpropagated(NamedTuple):
    """What a pass ahead and one back find."""

    loss: float
    gradient: Model
    outputs: np.ndarray  # (S, B, o), the scored ones
    x_bar: np.ndarray | None  # (T, B, m), where it was asked for


def bptt(
    model: Model,
    size: Sizes,
    x: np.ndarray,
    y: np.ndarray,
    first: int,
    loss: str,
    input_gradient: bool = False,
    lengths: np.ndarray | None = None,
) -> Backpropagated:
    """`bptt_value_and_grad` of checked arguments, with the outputs."""
    steps, batch = x.shape[:2]
    length = piece_length(size.state, steps, batch)
    count = -(-batch // length)
    scored = y[first:].size
    if lengths is not None:
        scored = int(np.maximum(lengths - first, 0).sum()) * y.shape[2]
    at_once = min(count, threads())
    with one_blas_thread():
        places = np.minimum(np.arange(count * length), batch - 1).reshape(count, length)
        x, wanted = (np.ascontiguousarray(a[:, places].swapaxes(0, 1)) for a in (x, y[first:]))
        ends = np.full(batch, steps) if lengths is None else lengths
        ends = np.pad(ends, (0, count * length - batch)).reshape(count, length)
        rounds = []
        total = np.zeros(sum(a.size for a in arrays(model)), x.dtype)
        for start in range(0, count, at_once):
            now = slice(start, start + at_once)
            rounds.append(
                together(
                    model,
                    x[now],
                    wanted[now],
                    ends[now],
                    start,
                    scored,
                    loss,
                    total,
                    input_gradient,
                )
            )
    values, outputs, x_bars = zip(*rounds)
    value = float(np.concatenate(values).sum(dtype=float)) / scored
    if not np.isfinite(value) or not np.isfinite(total).all():
        raise Diverged(
            "the task loss or its gradient, summed over steps, is not finite: use smaller weights"
        )

    def joined(pieces: tuple[np.ndarray, ...]) -> np.ndarray:
        """(steps, B, ·) of rounds of pieces (P, steps, b, ·), without what filled the last one up."""
        found = np.concatenate(pieces).swapaxes(0, 1)
        return found.reshape(len(found), count * length, found.shape[-1])[:, :batch]

    x_bar = np.ascontiguousarray(joined(x_bars)) if input_gradient else None
    return Backpropagated(value, views(model, total), joined(outputs), x_bar)


def _checked(
    model: Any, x: Any, y: Any, first: Any, loss: Any, input_gradient: Any, lengths: Any
) -> tuple[Model, Sizes, np.ndarray, np.ndarray, int, str, bool, np.ndarray | None]:
    model = checked_model(model)
    size = sizes(model.cell)
    lengths, (x, y) = end_of_padding(lengths, x=x, y=y)
    data = checked_data(model, size, x, y, first, loss)
    asked = _checks.flag("input_gradient", input_gradient)
    if asked:
        checked(model.cell, input_pullback)
    if lengths is not None and not (lengths > data[2]).any():
        raise LyapflowError(
            f"first must come before the end of a sequence, got first={data[2]} and at most {lengths.max()} steps"
        )
    return model, size, *data, loss, asked, lengths


def _lost(arguments: tuple) -> tuple:
    model, _, x, _, _, _, input_gradient, _ = arguments
    nothing = np.nan, map_arrays(lambda a: np.full_like(a, np.nan), model)
    return (*nothing, np.full_like(x, np.nan)) if input_gradient else nothing


@over_members("x", "y", "lengths", check=_checked, lost=_lost)
def bptt_value_and_grad(
    model: Model,
    x: ArrayLike,
    y: ArrayLike,
    *,
    first: int = 0,
    loss: str = "cross_entropy",
    input_gradient: bool = False,
    lengths: ArrayLike | None = None,
) -> Any:
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
    input_gradient : bool
        Whether to return the gradient in the inputs, too, for whatever precedes the network.
    lengths : int array (B,), optional
        Length of each sequence, if x and y are padded at the ends; the mean is over the scored
        steps within these lengths.

    Returns
    -------
    loss : float
    gradient : Model
        With the gradient in the initial state as its h0.
    x_bar : array (T, B, m)
        The gradient in x, with `input_gradient`.

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state, the loss or the gradient stops being finite.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(8, 1, rng=np.random.default_rng(0))
    >>> model = lf.Model.random(cell, 1, rng=np.random.default_rng(1))
    >>> x, y, first = lf.tasks.DelayedCopy(2).sample(np.random.default_rng(2), 20, 4)
    >>> loss, gradient = lf.bptt_value_and_grad(model, x, y, first=first, loss="mse")
    >>> gradient.cell.W.shape
    (8, 8)
    """
    found = bptt(*_checked(model, x, y, first, loss, input_gradient, lengths))
    if input_gradient:
        return found.loss, found.gradient, found.x_bar
    return found.loss, found.gradient


def checked_data(
    model: Model, size: Sizes, x: Any, y: Any, first: Any, loss: Any
) -> tuple[np.ndarray, np.ndarray, int]:
    """Inputs and targets that fit the Model and each other."""
    _checks.one_of("loss", loss, LOSSES)
    x = _checks.data("x", x, ("T", "B", size.inputs), like=model.h0)
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise LyapflowError(
            f"x must have at least one step and one trajectory, got shape {x.shape}"
        )
    y = _checks.data("y", y, (*x.shape[:2], len(model.b_out)), like=model.h0)
    first = _checks.integer("first", first, 0, len(x) - 1)
    if loss == "cross_entropy" and not ((y[first:] >= 0) & (y[first:] <= 1)).all():
        raise LyapflowError(
            "y must lie in [0, 1] for the cross-entropy; use loss='mse' for other targets"
        )
    return x, y, first


def accuracy(outputs: np.ndarray, y: np.ndarray, loss: str) -> float:
    """Share of scored outputs on the right side of 0; NaN where the loss is no cross-entropy."""
    if loss != "cross_entropy":
        return np.nan
    return float(np.count_nonzero((outputs > 0) == (y > 0.5)) / y.size)
