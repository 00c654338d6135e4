"""The forward sweep through time: states, tangent block, log R, and the tape for a sweep back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.pool import breathe
from lyapflow.cells.interface import step, tangent, transposed
from lyapflow.errors import Diverged
from lyapflow.linalg import qr
from lyapflow.linalg.elementary import all_finite
from lyapflow.linalg.products import call_help
from lyapflow.linalg.qr import orthonormalise
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.schedule import Schedule
from lyapflow.lyapunov.segments import steps_per_segment

NOT_FINITE = -1
FORGOTTEN = 0.9  # what a QR leaves of the longest vector of those before


class Drive(NamedTuple):
    """What moves states and tangents, as kernels take it."""

    cell: Any
    transposed: Any  # the cell with each array transposed
    x: np.ndarray  # (T, B, m)
    plan: Schedule


def drive(given: Problem) -> Drive:
    return Drive(given.cell, transposed(given.cell), np.ascontiguousarray(given.x), given.plan)


class Tape(NamedTuple):
    """Arrays that the sweep writes, each a ring over time: of all steps, or of one interval between QRs."""

    states: np.ndarray  # (steps + 1, B, n_state), the state entering each step, and the last
    records: np.ndarray  # (steps, B, n_record), the linearisation of each step
    blocks: np.ndarray  # (steps - transient + 1, k, n_state), as the states
    factors: np.ndarray  # (n_qr, k, k), L = R^T, solved (lyapflow.linalg.qr)


def new_tape(given: Problem, *, full: bool) -> Tape:
    """A tape that begins with the problem's states and block."""
    (batch, n), k = given.h0.shape, len(given.block)
    plan, dtype = given.plan, given.h0.dtype
    interval = plan.t_ons, 1, plan.t_ons, 1
    whole = plan.steps, plan.steps, plan.steps - plan.transient, plan.n_qr
    steps, records, tangent_steps, n_qr = whole if full else interval
    tape = Tape(
        np.empty((steps + 1, batch, n), dtype),
        np.empty((records, batch, given.size.record), dtype),
        np.empty((tangent_steps + 1, k, n), dtype),
        np.empty((max(n_qr, 1), k, k), dtype),
    )
    tape.states[0] = given.h0
    tape.blocks[0] = given.block
    return tape


class Tally(NamedTuple):
    """What a sweep has counted so far; kernels go on with it. Arrays (1,) hold a number."""

    log_growth: np.ndarray  # (n_qr, k), log R_ii, a row for each interval of the schedule
    row: np.ndarray  # int (1,), the row of the next step
    since: np.ndarray  # int (1,), steps since the last QR
    longest: np.ndarray  # (1,), vector of late blocks: one that is much shorter may be all noise
    ratio: np.ndarray  # (1,), the smallest of any R_ii to the longest vector of its block
    paths: np.ndarray  # int (4,), QRs by each path of lyapflow.linalg.qr, and suspicious ones


def _new_tally(n_qr: int, k: int) -> Tally:
    return Tally(
        np.zeros((n_qr, k)),
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        np.zeros(1),
        np.full(1, np.inf),
        np.zeros(4, np.int64),
    )


class Workspace(NamedTuple):
    """Scratch of `advance` for a block (k, n_state)."""

    moved: np.ndarray  # (k, n_state), the block after a step, before its QR
    tangent: np.ndarray  # (k, tangent_work)
    qr: qr.Workspace


@jit
def advance(drive, start, stop, every, resolution, tape, tally, work):
    """Take the steps from start to stop; the tangent block belongs to the first state of the batch.

    A QR follows a step that the schedule names, or that ends `every` steps without one.

    Returns the step at which it ended, and k; or the failing step, which is not counted, and
    NOT_FINITE or the number of vectors before the first suspicious one.
    """
    cell, transposed, plan = drive.cell, drive.transposed, drive.plan
    states, blocks, factors = tape.states, tape.blocks, tape.factors
    k = blocks.shape[1]
    for t in range(start, stop):
        h_next, record = states[(t + 1) % len(states)], tape.records[t % len(tape.records)]
        step(cell, transposed, states[t % len(states)], drive.x[t], h_next, record)
        if not all_finite(h_next):
            return t, NOT_FINITE
        if k == 0 or t < plan.transient:
            continue

        # the block moves, straight to where it stays or to where its QR takes it from
        s = t - plan.transient
        Q, Q_next = blocks[s % len(blocks)], blocks[(s + 1) % len(blocks)]
        scheduled = plan.factor_after[t] >= 0
        if not scheduled and tally.since[0] + 1 < every:
            tangent(cell, transposed, record[0], Q, Q_next, work.tangent)
            tally.since[0] += 1
            continue
        tangent(cell, transposed, record[0], Q, work.moved, work.tangent)
        row = tally.row[0]
        F = factors[row % len(factors)]
        rank, path = orthonormalise(work.moved, Q_next, F, work.qr, resolution, tally.longest[0])
        if rank < k:
            return t, rank

        # what the QR says is counted
        tally.paths[path] += 1
        longest, shortest = 0.0, np.inf
        for i in range(k):
            tally.log_growth[row, i] += np.log(work.qr.L[i, i])
            longest = max(longest, work.qr.lengths[i])
            shortest = min(shortest, work.qr.L[i, i])
        tally.longest[0] = max(FORGOTTEN * tally.longest[0], longest)
        tally.ratio[0] = min(tally.ratio[0], shortest / longest)
        tally.row[0] += scheduled
        tally.since[0] = 0
    return stop, k


class Sweep:
    """A forward sweep on its way.

    Parameters
    ----------
    resolution : float
        Relative size of what a QR takes for noise.

    Attributes
    ----------
    t : int
        The next step.
    every : int
        Steps after which a QR follows, at most.
    k : int
        Vectors of the block.
    """

    def __init__(self, given: Problem, tape: Tape, resolution: float = 0.0) -> None:
        self.size, self.drive, self.plan = given.size, drive(given), given.plan
        self.resolution, self.t, self.every = resolution, 0, given.plan.t_ons
        self.tally = _new_tally(given.plan.n_qr, tape.blocks.shape[1])
        self.go_on_with(tape)

    def go_on_with(self, tape: Tape) -> None:
        """Go on with another tape, whose block may have other vectors."""
        k, n = tape.blocks.shape[1:]
        dtype, batch = self.drive.x.dtype, self.drive.x.shape[1]
        self.tape, self.k = tape, k
        self._work = Workspace(
            np.empty((k, n), dtype),
            np.empty((k, self.size.tangent_work), dtype),
            qr.workspace(k, n, dtype == np.float64),
        )
        self._segment = steps_per_segment(self.size, k + batch)
        self._terms = n**2 * max(k, batch)  # of a step's products

    def to(self, stop: int) -> bool:
        """Advance to a step, returning to Python ten times a second; False at a suspicious step.

        That step is done, and its QR, but not counted. Raises Diverged, which names the step, if a
        state stops being finite.
        """
        while self.t < stop:
            breathe()
            call_help(self._terms)
            end = min(self.t + self._segment, stop)
            self.t, rank = advance(
                self.drive, self.t, end, self.every, self.resolution, self.tape, self.tally, self._work
            )
            if rank == NOT_FINITE:
                raise state_lost(self.t, self.tape.states[(self.t + 1) % len(self.tape.states)])
            if rank < self.k:
                self.tally.paths[-1] += 1
                return False
        return True

    def accept(self) -> None:
        """Count the suspicious step after all."""
        tally = self.tally
        tally.log_growth[tally.row[0]] += np.log(np.diagonal(self._work.qr.L))
        tally.ratio[0] = 0.0
        tally.row[0] += self.plan.factor_after[self.t] >= 0
        tally.since[0] = 0
        self.t += 1

    def rewind(self) -> None:
        """Go back from a suspicious step to the last QR."""
        since = int(self.tally.since[0])
        self.tally.longest[0] **= 1 / (since + 1)  # of an interval, then of a step
        self.t -= since
        self.tally.since[0] = 0


class Checkpoint(NamedTuple):
    """Where a sweep was before a step."""

    states: np.ndarray  # (B, n_state)
    block: np.ndarray  # (k, n_state)


Recover = Callable[[int, Tape], None]


def sweep(
    given: Problem,
    tape: Tape,
    resolution: float = 0.0,
    recover: Recover | None = None,
    checkpoints: dict[int, Checkpoint | None] | None = None,
) -> tuple[np.ndarray, float]:
    """log R (n_qr, k) of all steps, and the smallest ratio of an R_ii to the longest of its vectors.

    Where the QR after step t cannot tell a direction from noise of relative size `resolution`,
    recover(t, tape) may raise. The values of `checkpoints` are set to where the sweep is before the
    steps that are its keys.

    Raises
    ------
    Diverged
        If a state stops being finite; it names the step.
    """
    plan = given.plan
    if plan.t_ons > 1:  # after many steps a direction that has lost half of its digits is suspicious, too
        resolution = max(resolution, float(np.sqrt(np.finfo(given.x.dtype).eps)))
    run = Sweep(given, tape, resolution)
    checkpoints = {} if checkpoints is None else checkpoints
    with one_blas_thread():
        for mark in [*sorted(checkpoints), plan.steps]:
            while not run.to(mark):
                if recover is not None:
                    recover(run.t, tape)
                run.accept()
            if mark in checkpoints:
                block = tape.blocks[max(mark - plan.transient, 0) % len(tape.blocks)]
                states = tape.states[mark % len(tape.states)]
                checkpoints[mark] = Checkpoint(states.copy(), block.copy())
    return run.tally.log_growth, float(run.tally.ratio[0])


def state_lost(step: int, states: np.ndarray) -> Diverged:
    """The error of states (B, n_state), after a step, that are not all finite."""
    return Diverged.not_finite("the state", step, states, "use smaller weights or inputs")
