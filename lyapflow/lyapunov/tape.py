"""A taped sweep of one trajectory: its growth, and its pieces, last first, for a sweep back.

The tape of all steps may be too long for the memory. Then the sweep keeps checkpoints instead, and
each piece, from one of them to the next, is swept again with a tape of its own when its turn has
come (Griewank and Walther 2008, *Evaluating Derivatives*, ch. 12). That takes half as much time
more and gives the same bits.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lyapflow._engine.pool import threads
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.resolution import Suspicious, all_resolved, resolved_sweep, suspicious
from lyapflow.lyapunov.segments import steps_per_chunk
from lyapflow.lyapunov.sweep import Checkpoint, Recover, Tape, new_tape, sweep


class Piece(NamedTuple):
    """Consecutive steps of a sweep that one tape covers."""

    first: int  # of its steps, in the sweep
    given: Problem  # of these steps alone
    tape: Tape


class TapedSweep(NamedTuple):
    """A sweep that can be gone back over."""

    given: Problem  # with the schedule that was taken
    growth: np.ndarray  # (k,), sum of the counted log R
    tape: Tape | None  # of all steps, or None where there are checkpoints
    checkpoints: dict[int, Checkpoint]  # before the first step of each piece

    def pieces(self) -> Iterator[Piece]:
        """The last first."""
        if self.tape is not None:
            yield Piece(0, self.given, self.tape)
        end = self.given.plan.steps
        for first in reversed(self.checkpoints):
            yield self._again(first, end)  # without a name: its tape goes before the next is made
            end = first

    def _again(self, first: int, end: int) -> Piece:
        states, block = self.checkpoints[first]
        plan = self.given.plan.between(first, end)
        given = self.given._replace(x=self.given.x[first:end], plan=plan, h0=states, block=block)
        tape = new_tape(given, full=True)
        sweep(given, tape)
        return Piece(first, given, tape)


def taped_sweep(given: Problem, starts: list[int]) -> TapedSweep:
    """Sweep one trajectory, with a tape of all its steps or with checkpoints before those of `starts`.

    Where an interval between QRs is ill-conditioned, or rank is lost, it is swept again with a QR
    after every step.

    Raises
    ------
    Diverged
        As `lyapflow.lyapunov.resolution.resolved_sweep`.
    """
    if given.plan.t_ons > 1:
        try:
            return _taped(given, starts, suspicious)
        except Suspicious:
            given = given.with_interval(1)
    return _taped(given, starts, all_resolved(given))


def _taped(given: Problem, starts: list[int], recover: Recover) -> TapedSweep:
    tape = new_tape(given, full=not starts)
    checkpoints: dict = dict.fromkeys(starts)
    log_R = resolved_sweep(given, tape, recover, checkpoints)
    growth = log_R[given.plan.uncounted :].sum(axis=0)
    return TapedSweep(given, growth, None if starts else tape, checkpoints)


def piece_starts(given: Problem, memory: float) -> list[int]:
    """First steps of the pieces whose tapes fit into memory (bytes), one at a time, with checkpoints.

    None of them if the whole tapes of all trajectories fit at once. Pieces are of whole chunks of
    the reverse sweep, as few of them as fit; or, where nothing does, as many as take the least
    memory.
    """
    size, steps, batch, itemsize = given.size, given.plan.steps, len(given.h0), given.x.itemsize
    k, n = given.block.shape
    tape = itemsize * (n + size.record + k * n + k * k)  # of a step, with a QR after each
    checkpoint = itemsize * (n + k * n)
    if batch * steps * tape <= memory:
        return []

    def taken(length: int) -> int:
        return batch * -(-steps // length) * checkpoint + min(batch, threads()) * length * tape

    chunk = steps_per_chunk(size, 1, k)
    lengths = range(chunk, steps + chunk, chunk)
    fitting = [length for length in lengths if taken(length) <= memory]
    length = max(fitting) if fitting else min(lengths, key=taken)
    return sorted({0, *range(steps - length, 0, -length)})
