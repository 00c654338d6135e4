"""Task losses and their gradient by backpropagation through time."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.jobs import in_parts
from lyapflow._engine.pool import breathe, threads
from lyapflow._engine.scratch import scratch
from lyapflow._engine.team import share
from lyapflow._trees import arrays, like, map_arrays
from lyapflow.cells.interface import Sizes, accumulate, member, sizes, step, step_pullback, transposed
from lyapflow.ensemble import over_members
from lyapflow.errors import Diverged, LyapflowError
from lyapflow.learning.model import Model, checked_model
from lyapflow.linalg.elementary import add_rows, all_finite, copy
from lyapflow.linalg.products import call_help, gemm
from lyapflow.lyapunov.forward import state_lost, steps_per_segment
from lyapflow.lyapunov.pullback import gradient_lost, steps_per_chunk

LOSSES = ("cross_entropy", "mse")
WORTH = 2.5e7  # floating-point operations of a piece that is worth a thread


class _Pieces(NamedTuple):
    """P pieces of a batch, b sequences each, that are worked on together.

    Of T steps the last S are scored. A last piece is filled up with sequences that do not count.
    """

    model: Model
    turned: Any
    x: np.ndarray  # (P, T, b, m)
    y: np.ndarray  # (P, S, b, o), as the next three
    outputs: np.ndarray
    values: np.ndarray
    outputs_bar: np.ndarray
    real: np.ndarray  # (P,), sequences that count
    states: np.ndarray  # (P, T + 1, b, n_state), the state entering each step, and the last
    records: np.ndarray  # (P, T, b, n_record)
    h_bar: np.ndarray  # (P, b, n_state), the cotangent of the states where the reverse sweep is
    states_bar: np.ndarray  # (P, C + 1, b, n_state), those of a chunk: slot c before its c-th step
    step_work: np.ndarray  # (P, C, b, step_work)
    no_block: np.ndarray  # (0, 0, n_state), the tangent block that does not move
    no_work: np.ndarray  # (0, 0, tangent_work)
    gradient: Model  # every array with P ahead
    lost: np.ndarray  # (P,), the step at which something stopped being finite, or -1


@jit
def _score(cross_entropy, states, W_out, b_out, y, real, count, outputs, values, outputs_bar):
    """Outputs and losses of states (S, b, n_state), and the outputs' cotangents, for a mean over `count` outputs."""
    steps, batch, number = len(y), y.shape[1], y.dtype.type
    zero, one = number(0.0), number(1.0)
    flat = states.reshape(steps * batch, states.shape[2])
    gemm(flat[:, : W_out.shape[1]], False, W_out, True, 1.0, 0.0, outputs.reshape(steps * batch, len(b_out)))
    for t in range(steps):
        for i in range(batch):
            for j in range(b_out.size):
                outputs[t, i, j] += b_out[j]
                z, off = outputs[t, i, j], outputs[t, i, j] - y[t, i, j]
                if i >= real:
                    value, slope = zero, zero
                elif cross_entropy:
                    decay = math.exp(-abs(z))
                    value = max(z, zero) - z * y[t, i, j] + math.log1p(decay)
                    slope = (one if z >= 0 else decay) / (one + decay) - y[t, i, j]
                else:
                    value, slope = off * off, off + off
                values[t, i, j], outputs_bar[t, i, j] = value, slope / number(count)


@jit
def _ahead(job, p):
    """Steps of piece p from start to stop, and what is scored of them."""
    work, start, stop, cross_entropy, count = job
    model, states = work.model, work.states[p]
    for t in range(start, stop):
        step(model.cell, work.turned, states[t], work.x[p, t], states[t + 1], work.records[p, t])
        if not all_finite(states[t + 1]):
            work.lost[p] = t
            return
    unscored = work.x.shape[1] - work.y.shape[1]
    first = max(start, unscored)
    if first < stop:
        here = slice(first - unscored, stop - unscored)
        _score(
            cross_entropy,
            states[first + 1 : stop + 1],
            model.W_out,
            model.b_out,
            work.y[p, here],
            work.real[p],
            count,
            work.outputs[p, here],
            work.values[p, here],
            work.outputs_bar[p, here],
        )


@jit
def _back(job, p):
    """Steps of piece p from stop back to start, in whole chunks from stop on."""
    work, start, stop, _, _ = job
    W_out, bars, gradient = work.model.W_out, work.states_bar[p], member(work.gradient.cell, p)
    n_outputs, units = W_out.shape
    batch, n = work.h_bar.shape[1:]
    unscored, chunk = work.x.shape[1] - work.y.shape[1], work.step_work.shape[1]
    for end in range(stop, start, -chunk):
        begin = max(end - chunk, start)
        copy(work.h_bar[p], bars[end - begin])
        for t in range(end - 1, begin - 1, -1):
            after = bars[t - begin + 1]
            if t >= unscored:
                gemm(work.outputs_bar[p, t - unscored], False, W_out, False, 1.0, 1.0, after[:, :units])
            step_pullback(work.model.cell, work.records[p, t], after, bars[t - begin], work.step_work[p, t - begin])
        copy(bars[0], work.h_bar[p])
        if not all_finite(bars[0]):
            t = end - 1
            while all_finite(bars[t - begin]):
                t -= 1
            work.lost[p] = t
            return
        accumulate(
            work.model.cell,
            work.x[p, begin:end],
            work.states[p, begin:end],
            work.records[p, begin:end],
            bars[1 : end - begin + 1],
            work.step_work[p, : end - begin],
            work.no_block,
            work.no_block,
            work.no_work,
            gradient,
        )
        first = max(begin, unscored)
        rows = (end - first) * batch
        if rows > 0:
            outputs_bar = work.outputs_bar[p, first - unscored : end - unscored].reshape(rows, n_outputs)
            scored = work.states[p, first + 1 : end + 1].reshape(rows, n)[:, :units]
            gemm(outputs_bar, True, scored, False, 1.0, 1.0, work.gradient.W_out[p])
            add_rows(outputs_bar, work.gradient.b_out[p])
    if start == 0:
        add_rows(work.h_bar[p], work.gradient.h0[p])


_ahead_addresses, _back_addresses = in_parts(_ahead), in_parts(_back)


@jit
def _run(ahead, pieces, work, start, stop, cross_entropy, count):
    job = (work, start, stop, cross_entropy, count)
    function, arguments = _ahead_addresses(job) if ahead else _back_addresses(job)
    share(pieces, function, arguments)


@jit
def _add_pieces(pieces, lengths, numbers, total):
    """Add up what pieces have of each of several arrays, which follow one another in numbers and in total."""
    at = first = 0
    for length in lengths:
        for _ in range(pieces):
            for i in range(length):
                total[first + i] += numbers[at + i]
            at += length
        first += length


def _views(model: Model, numbers: np.ndarray, *ahead: int) -> Model:
    """Consecutive parts of numbers as a Model, every array with axes ahead."""
    views, start = [], 0
    for a in arrays(model):
        shape = (*ahead, *a.shape)
        stop = start + math.prod(shape)
        views.append(numbers[start:stop].reshape(shape))
        start = stop
    return like(model, iter(views))


def piece_length(n_state: int, steps: int, batch: int) -> int:
    """Sequences of a batch that a thread takes together: about 8 or more, in at most 16 pieces, each worth a thread."""
    flops = 6.0 * n_state * (n_state + 30) * steps * batch  # tanh and the like take as long as 30 products
    return -(-batch // max(1, min(16, batch // 8, int(flops / WORTH))))


def bptt(
    model: Model, size: Sizes, x: np.ndarray, y: np.ndarray, first: int, loss: str
) -> tuple[float, Model, np.ndarray]:
    """`bptt_value_and_grad` of checked arguments, with the scored outputs (S, B, o)."""
    steps, batch = x.shape[:2]
    length = piece_length(size.state, steps, batch)
    count = -(-batch // length)
    together = min(count, threads())
    with one_blas_thread():
        places = np.minimum(np.arange(count * length), batch - 1).reshape(count, length)
        x, wanted = (np.ascontiguousarray(a[:, places].swapaxes(0, 1)) for a in (x, y[first:]))
        real = np.minimum(batch - length * np.arange(count), length)
        rounds = []
        total = np.zeros(sum(a.size for a in arrays(model)), x.dtype)
        for start in range(0, count, together):
            now = slice(start, start + together)
            rounds.append(_together(model, size, x[now], wanted[now], real[now], start, y[first:].size, loss, total))
    values, outputs = zip(*rounds)
    value = float(np.concatenate(values).sum(dtype=float)) / y[first:].size
    if not np.isfinite(value) or not np.isfinite(total).all():
        raise Diverged("the task loss or its gradient, summed over steps, is not finite: use smaller weights")
    found = np.concatenate(outputs).swapaxes(0, 1).reshape(steps - first, -1, y.shape[2])[:, :batch]
    return value, _views(model, total), found


def _together(
    model: Model,
    size: Sizes,
    x: np.ndarray,
    y: np.ndarray,
    real: np.ndarray,
    start: int,
    count: int,
    loss: str,
    total: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Losses and outputs of each of the pieces from number start on, for a mean over `count` outputs.

    Their gradients are added to total, in which the arrays of a Model follow one another.
    """
    (pieces, steps, batch), scored = x.shape[:3], y.shape[1]
    chunk, segment = steps_per_chunk(size, batch, 0), max(1, steps_per_segment(size, batch) // pieces)
    segment = -(-segment // chunk) * chunk
    numbers = np.zeros(pieces * total.size, x.dtype)
    work = _Pieces(
        model,
        transposed(model.cell),
        x,
        y,
        np.empty_like(y),
        np.empty_like(y),
        np.empty_like(y),
        real,
        scratch("states", (pieces, steps + 1, batch, size.state), x.dtype),
        scratch("records", (pieces, steps, batch, size.record), x.dtype),
        np.zeros((pieces, batch, size.state), x.dtype),
        np.empty((pieces, chunk + 1, batch, size.state), x.dtype),
        np.empty((pieces, chunk, batch, size.step_work), x.dtype),
        np.empty((0, 0, size.state), x.dtype),
        np.empty((0, 0, size.tangent_work), x.dtype),
        _views(model, numbers, pieces),
        np.full(pieces, -1),
    )
    work.states[:, 0] = model.h0
    alive, error = pieces, None  # the first piece that fails is told, so those before it go on

    def lose(piece: int, fault: Diverged) -> None:
        nonlocal alive, error
        alive, error = piece, fault
        if fault.member is not None:
            fault.member += (start + piece) * batch

    def run(ahead: bool, first: int, last: int) -> None:
        breathe()
        call_help(size.state**2 * batch, pieces)
        _run(ahead, alive, work, first, last, loss == "cross_entropy", count)
        if (work.lost[:alive] >= 0).any():
            p = int(np.argmax(work.lost >= 0))
            t = int(work.lost[p])
            lose(p, state_lost(t, work.states[p, t + 1]) if ahead else gradient_lost(t, work.h_bar[p]))

    for first in range(0, steps, segment):
        run(True, first, min(first + segment, steps))
    if not np.isfinite(work.values[:alive]).all():
        p, s, *_ = map(int, np.argwhere(~np.isfinite(work.values))[0])
        lose(p, Diverged.not_finite("the task loss", steps - scored + s, work.values[p, s], "use smaller weights"))
    for last in range(steps, 0, -segment):
        run(False, max(last - segment, 0), last)
    if error is not None:
        raise error
    _add_pieces(pieces, np.array([a.size for a in arrays(model)]), numbers, total)
    return work.values, work.outputs


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
    return float(np.count_nonzero((outputs > 0) == (y > 0.5)) / y.size)
