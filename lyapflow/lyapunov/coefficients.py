r"""The backward sweep of covariant vectors over the tape of a forward sweep.

With the orthonormal blocks :math:`Q_t` and factors :math:`R_t` of the forward sweep,
:math:`D_t Q_t = Q_{t+1} R_t`, covariant vectors are :math:`V_t = Q_t C_t` with upper triangular
:math:`C_t`, columns of length 1, and

.. math:: C_t = R_t^{-1} C_{t+1} G_t, \qquad D_t V_t = V_{t+1} G_t,

with the diagonal G of their growth. Backward in time almost every C comes to the one that belongs
to the covariant vectors, as almost every Q does forward (Ginelli et al. 2007). The diagonal of C
stays positive: so each vector points to the side of its q_i, and D takes it to its successor, not
to minus that. In the package's storage vectors are rows, and C^T is lower triangular.
"""

from typing import NamedTuple

import numpy as np

from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.pool import check_interrupt
from lyapflow.linalg.products import LOWER_FACTOR, gemm_part, start_helpers_for
from lyapflow.linalg.triangular import divide
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.schedule import schedule
from lyapflow.lyapunov.segments import steps_per_segment
from lyapflow.lyapunov.sweep import new_tape, sweep
from lyapflow.lyapunov.tape import Piece, TapedSweep


class Backward(NamedTuple):
    """What a backward sweep finds at the counted steps, of which there are T."""

    vectors: np.ndarray  # (T / every, k, n_state), before every so manyth step
    states: np.ndarray  # (T / every, n_state), where they are
    growth: np.ndarray  # (T, k), logarithms
    first_block: np.ndarray  # (k, n_state), Q before the first counted step
    # (k,), distance from the vectors of other starting coefficients, after the last counted step
    apart: np.ndarray


@jit(inline="always")
def _step_back(tape, factor, C, moved, growth):
    """Take coefficients C (k, k), a row for each vector, from after a step to before it."""
    divide(C, tape.factors[factor], moved)
    for i in range(len(C)):
        total = 0.0
        for j in range(i + 1):
            total += np.float64(moved[i, j]) * np.float64(moved[i, j])
        length = np.sqrt(total)
        growth[i] = -np.log(length)
        for j in range(i + 1):
            C[i, j] = moved[i, j] / length


@jit
def _align(tape, plan, start, stop, C, moved, growth):
    """Take the steps from stop back to start."""
    for t in range(stop - 1, start - 1, -1):
        _step_back(tape, plan.factor_after[t], C, moved, growth)


@jit
def _record(tape, plan, start, stop, C, moved, before, every, found):
    """The same, into found: step t of the tape is the counted step before + t."""
    for t in range(stop - 1, start - 1, -1):
        counted = before + t
        _step_back(tape, plan.factor_after[t], C, moved, found.growth[counted])
        if counted % every == 0:
            at = counted // every
            block = tape.blocks[t - plan.transient]
            gemm_part(C, False, block, False, 1.0, 0.0, found.vectors[at], LOWER_FACTOR)
            for i in range(block.shape[1]):
                found.states[at, i] = tape.states[t, 0, i]


def backward(taped: TapedSweep, first: int, last: int, every: int) -> Backward:
    """Covariant vectors of the steps from first to last; those after them align the coefficients."""
    given = taped.given
    (k, n), dtype, counted = given.block.shape, given.x.dtype, last - first
    kept = -(-counted // every)
    found = Backward(
        np.empty((kept, k, n), dtype),
        np.empty((kept, n), dtype),
        np.empty((counted, k)),
        np.empty((k, n), dtype),
        np.empty(k),
    )
    C, other, moved = np.eye(k, dtype=dtype), _other_coefficients(k, dtype), np.zeros((k, k), dtype)
    segment = steps_per_segment(given.size, k + 1)

    def through(piece: Piece, start: int, stop: int) -> None:
        """Steps of the sweep, all of them counted or none."""
        tape, plan = piece.tape, piece.given.plan
        for end in range(stop, start, -segment):
            check_interrupt()
            start_helpers_for(k**2 * max(k, n))
            span = max(end - segment, start) - piece.first, end - piece.first
            if stop > last:
                for of in (C, other):
                    _align(tape, plan, *span, of, moved, found.apart)
            else:
                _record(tape, plan, *span, C, moved, piece.first - first, every, found)

    with one_blas_thread():
        for piece in taped.pieces():
            stop = piece.first + piece.given.plan.steps
            through(piece, max(last, piece.first), stop)
            if stop >= last:
                found.apart[:] = np.linalg.norm(C - other, axis=1)
            through(piece, max(first, piece.first), min(last, stop))
            if piece.first <= first:
                at = first - piece.first - piece.given.plan.transient
                found.first_block[:] = piece.tape.blocks[at]
                break
            del piece  # its tape, before the next is made
    return found


def _other_coefficients(k: int, dtype: np.dtype) -> np.ndarray:
    """Coefficients (k, k) of vectors as good as any at the end of a sweep, always the same."""
    C = np.tril(np.random.default_rng(k).standard_normal((k, k)))
    C *= np.sign(np.diagonal(C))[:, None]
    return (C / np.linalg.norm(C, axis=1, keepdims=True)).astype(dtype)


def flags_apart(given: Problem, first: int, block: np.ndarray) -> np.ndarray:
    r"""How far the spans of the first i vectors are from those that another initial block comes to, for i = 1 ... k.

    Given the block (k, n_state) before step `first`: the root of the sum of the squared sines of
    the principal angles between the two."""
    k, n = block.shape
    with one_blas_thread():
        other = np.linalg.qr(np.random.default_rng([n, k]).standard_normal((n, k)))[0].T
        other = np.ascontiguousarray(other, given.x.dtype)
    if first > given.plan.transient:
        plan = schedule(first, 1, given.plan.transient, 0)
        again = given._replace(x=given.x[:first], plan=plan, block=other)
        reached: dict = {first: None}
        sweep(again, new_tape(again, full=False), checkpoints=reached)
        other = reached[first].block
    along = other.astype(float) @ block.T.astype(float)
    outside = ((other - along @ block) ** 2).sum(axis=1)
    beyond = np.triu(np.cumsum(along**2, axis=0), 1).sum(axis=1)
    return np.sqrt(np.cumsum(outside) + beyond)
