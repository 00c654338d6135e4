"""The two sweeps of backpropagation through time, over pieces of a batch of sequences side by side."""

import math
from typing import Any, NamedTuple

import numpy as np

from lyapflow._engine.jit import jit
from lyapflow._engine.jobs import in_parts
from lyapflow._engine.pool import check_interrupt
from lyapflow._engine.scratch import scratch
from lyapflow._engine.team import share
from lyapflow._engine.views import window
from lyapflow._trees import arrays, like, map_arrays
from lyapflow.cells.interface import (
    accumulate,
    input_pullback,
    member,
    sizes,
    step,
    step_pullback,
    transposed,
)
from lyapflow.cells.layers import each_layer, split_states
from lyapflow.errors import Diverged
from lyapflow.learning.model import Model
from lyapflow.linalg.elementary import add_rows, all_finite, copy
from lyapflow.linalg.products import gemm, start_helpers_for
from lyapflow.lyapunov.pullback import gradient_lost
from lyapflow.lyapunov.segments import steps_per_chunk, steps_per_segment
from lyapflow.lyapunov.sweep import state_lost


class _Pieces(NamedTuple):
    """P pieces of a batch, b sequences each, that are worked on together.

    Of T steps the last S are scored. Sequences that are padded end earlier; a last piece is filled
    up with sequences that end before they begin.
    """

    model: Model
    turned: Any
    x: np.ndarray  # (P, T, b, m)
    y: np.ndarray  # (P, S, b, o), as the next three
    outputs: np.ndarray
    values: np.ndarray
    outputs_bar: np.ndarray
    ends: np.ndarray  # int (P, b), how many steps of each sequence count
    states: np.ndarray  # (P, T + 1, b, n_state), the state entering each step, and the last
    records: np.ndarray  # (P, T, b, n_record), without what only second derivatives take
    record: np.ndarray  # (P, b, n_record), all of a step's
    h_bar: np.ndarray  # (P, b, n_state), the cotangent of the states where the reverse sweep is
    states_bar: np.ndarray  # (P, C + 1, b, n_state), those of a chunk: slot c before its c-th step
    step_work: np.ndarray  # (P, C, b, step_work)
    no_block: np.ndarray  # (0, 0, n_state), the tangent block that does not move
    no_work: np.ndarray  # (0, 0, tangent_work)
    x_bar: np.ndarray | None  # (P, T, b, m), cotangents of the inputs, where they are asked for
    units_bar: np.ndarray | None  # (P, T, b, units), what comes to the units from a layer above
    gradient: Model  # every array with P ahead
    lost: np.ndarray  # (P,), the step at which something stopped being finite, or -1


@jit
def _score(
    cross_entropy, states, W_out, b_out, y, start, ends, count, outputs, values, outputs_bar
):
    """Outputs and losses of states (S, b, n_state), and the outputs' cotangents, for a mean over `count` outputs.

    The first of the states follows step `start`."""
    steps, batch, number = len(y), y.shape[1], y.dtype.type
    zero, one = number(0.0), number(1.0)
    flat = states.reshape(steps * batch, states.shape[2])
    gemm(
        flat[:, : W_out.shape[1]],
        False,
        W_out,
        True,
        1.0,
        0.0,
        outputs.reshape(steps * batch, len(b_out)),
    )
    for t in range(steps):
        for i in range(batch):
            for j in range(b_out.size):
                outputs[t, i, j] += b_out[j]
                z, off = outputs[t, i, j], outputs[t, i, j] - y[t, i, j]
                if start + t >= ends[i]:
                    value, slope = zero, zero
                elif cross_entropy:
                    decay = math.exp(-abs(z))
                    value = max(z, zero) - z * y[t, i, j] + math.log1p(decay)
                    slope = (one if z >= 0 else decay) / (one + decay) - y[t, i, j]
                else:
                    value, slope = off * off, off + off
                values[t, i, j], outputs_bar[t, i, j] = value, slope / number(count)


@jit
def _forget(states, t, ends):
    """Zero the states, after step t, of sequences that have ended: nothing comes of them, and nothing grows."""
    for i in range(len(states)):
        if t >= ends[i]:
            for u in range(states.shape[1]):
                states[i, u] = 0.0


@jit
def _ahead(job, p):
    """Steps of piece p from start to stop, and what is scored of them."""
    work, start, stop, cross_entropy, count = job
    model, states = work.model, work.states[p]
    whole = work.record.shape[2] == work.records.shape[3]
    for t in range(start, stop):
        kept = work.records[p, t]
        record = kept if whole else work.record[p]
        step(model.cell, work.turned, states[t], work.x[p, t], states[t + 1], record)
        if not whole:
            copy(window(record, 0, len(record), 0, kept.shape[1]), kept)
        _forget(states[t + 1], t, work.ends[p])
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
            first,
            work.ends[p],
            count,
            work.outputs[p, here],
            work.values[p, here],
            work.outputs_bar[p, here],
        )


@jit
def _pull_inputs_back(work, p, begin, end, x_bar):
    """Cotangents of the inputs of a chunk; before `accumulate`, which may write over its arguments."""
    if x_bar is not None:
        input_pullback(
            work.model.cell,
            work.x[p, begin:end],
            work.states[p, begin:end],
            work.records[p, begin:end],
            work.states_bar[p, 1 : end - begin + 1],
            work.step_work[p, : end - begin],
            work.no_block,
            work.no_block,
            work.no_work,
            x_bar[p, begin:end],
        )


@jit
def _add_from_above(units_bar, p, t, states_bar):
    if units_bar is not None:
        for i in range(len(states_bar)):
            for u in range(units_bar.shape[3]):
                states_bar[i, u] += units_bar[p, t, i, u]


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
            _add_from_above(work.units_bar, p, t, after)
            if t >= unscored:
                gemm(
                    work.outputs_bar[p, t - unscored],
                    False,
                    W_out,
                    False,
                    1.0,
                    1.0,
                    after[:, :units],
                )
            step_pullback(
                work.model.cell,
                work.records[p, t],
                after,
                bars[t - begin],
                work.step_work[p, t - begin],
            )
        copy(bars[0], work.h_bar[p])
        if not all_finite(bars[0]):
            t = end - 1
            while all_finite(bars[t - begin]):
                t -= 1
            work.lost[p] = t
            return
        _pull_inputs_back(work, p, begin, end, work.x_bar)
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
            outputs_bar = work.outputs_bar[p, first - unscored : end - unscored].reshape(
                rows, n_outputs
            )
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


def views(model: Model, numbers: np.ndarray) -> Model:
    """Consecutive parts of numbers as a Model."""
    parts, start = [], 0
    for a in arrays(model):
        parts.append(numbers[start : start + a.size].reshape(a.shape))
        start += a.size
    return like(model, iter(parts))


def _workspace(
    model: Model,
    x: np.ndarray,
    y: np.ndarray,
    ends: np.ndarray,
    input_gradient: bool,
    layer: int,
) -> _Pieces:
    """All arrays of pieces, of which the states before the first step and the gradient are set."""
    size = sizes(model.cell)
    pieces, steps, batch = x.shape[:3]
    chunk = steps_per_chunk(size, batch, 0)
    work = _Pieces(
        model,
        transposed(model.cell),
        x,
        y,
        np.empty_like(y),
        np.empty_like(y),
        np.empty_like(y),
        ends,
        scratch(f"states {layer}", (pieces, steps + 1, batch, size.state), x.dtype),
        scratch(f"records {layer}", (pieces, steps, batch, size.record - size.second), x.dtype),
        np.empty((pieces, batch, size.record), x.dtype),
        np.zeros((pieces, batch, size.state), x.dtype),
        np.empty((pieces, chunk + 1, batch, size.state), x.dtype),
        np.empty((pieces, chunk, batch, size.step_work), x.dtype),
        np.empty((0, 0, size.state), x.dtype),
        np.empty((0, 0, size.tangent_work), x.dtype),
        np.empty_like(x) if input_gradient else None,
        None,
        map_arrays(lambda a: np.zeros((pieces, *a.shape), x.dtype), model),
        np.full(pieces, -1),
    )
    work.states[:, 0] = model.h0
    return work


def by_layer(model: Model) -> list[Model]:
    """A Model of each layer, bottom first: the top one has the readout, the others have one of no outputs."""
    layers, dtype = each_layer(model.cell), model.h0.dtype
    models = [
        Model(layer, np.empty((0, sizes(layer).units), dtype), np.empty(0, dtype), h0)
        for layer, h0 in zip(layers, split_states(model.cell, model.h0))
    ]
    models[-1] = models[-1]._replace(W_out=model.W_out, b_out=model.b_out)
    return models


class _Passes:
    """Passes ahead and back over pieces, of which number `start` is the first.

    The first piece that fails is told, so those before it go on."""

    def __init__(self, start: int, count: int, loss: str, pieces: int, layers: int) -> None:
        self.start, self.count, self.cross_entropy = start, count, loss == "cross_entropy"
        self.alive, self.layers = pieces, layers
        self.error: Diverged | None = None

    def lose(self, piece: int, fault: Diverged, batch: int, layer: int) -> None:
        self.alive = piece
        member = fault.member
        if member is not None:
            member += (self.start + piece) * batch
        where = f"layer {layer}: " if self.layers > 1 else ""
        self.error = Diverged(f"{where}{fault}", step=fault.step, member=member)

    def run(self, work: _Pieces, ahead: bool, layer: int) -> None:
        """All steps, in segments of whole chunks."""
        size = sizes(work.model.cell)
        (pieces, steps, batch), chunk = work.x.shape[:3], work.step_work.shape[1]
        segment = max(1, steps_per_segment(size, batch) // pieces)
        segment = -(-segment // chunk) * chunk
        bounds = [(first, min(first + segment, steps)) for first in range(0, steps, segment)]
        if not ahead:
            bounds = [(max(last - segment, 0), last) for last in range(steps, 0, -segment)]
        for first, last in bounds:
            check_interrupt()
            start_helpers_for(size.state**2 * batch, pieces)
            _run(ahead, self.alive, work, first, last, self.cross_entropy, self.count)
            if (work.lost[: self.alive] >= 0).any():
                p = int(np.argmax(work.lost >= 0))
                t = int(work.lost[p])
                fault = (
                    state_lost(t, work.states[p, t + 1])
                    if ahead
                    else gradient_lost(t, work.h_bar[p])
                )
                self.lose(p, fault, batch, layer)


def together(
    model: Model,
    x: np.ndarray,
    y: np.ndarray,
    ends: np.ndarray,
    start: int,
    count: int,
    loss: str,
    total: np.ndarray,
    input_gradient: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Losses, outputs and x_bar of each of the pieces from number start on, for a mean over `count` outputs.

    Their gradients are added to total, in which the arrays of a Model follow one another. Layers
    run one after the other over all time.
    """
    (pieces, steps, batch), scored = x.shape[:3], y.shape[1]
    models = by_layer(model)
    passes = _Passes(start, count, loss, pieces, len(models))
    # one kernel serves all layers: the bottom one finds cotangents of inputs that nobody asks for
    bars = input_gradient or len(models) > 1
    nothing = np.empty((pieces, 0, batch, 0), x.dtype)
    works: list[_Pieces] = []
    for number, layer in enumerate(models):
        if number > 0:
            x = np.ascontiguousarray(
                works[-1].states[:, 1:, :, : sizes(models[number - 1].cell).units]
            )
        wanted = y if number == len(models) - 1 else nothing
        works.append(_workspace(layer, x, wanted, ends, bars, number))
        passes.run(works[-1], True, number)
    top = works[-1]
    if not np.isfinite(top.values[: passes.alive]).all():
        p, s, *_ = map(int, np.argwhere(~np.isfinite(top.values))[0])
        fault = Diverged.not_finite(
            "the task loss", steps - scored + s, top.values[p, s], "use smaller weights"
        )
        passes.lose(p, fault, batch, len(models) - 1)
    units_bar = None
    for number in reversed(range(len(works))):
        passes.run(works[number]._replace(units_bar=units_bar), False, number)
        units_bar = works[number].x_bar
    if passes.error is not None:
        raise passes.error
    for of_pieces, of_all in zip(works, by_layer(views(model, total))):
        for several, one in zip(arrays(of_pieces.gradient), arrays(of_all)):
            for array in several:
                one += array
    return top.values, top.outputs, works[0].x_bar if input_gradient else None
