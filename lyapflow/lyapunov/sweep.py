"""The forward sweep through time: states, tangent block, log R, and the tape for a sweep back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.pool import check_interrupt
from lyapflow.cells.interface import step, tangent, transposed
from lyapflow.errors import Diverged
from lyapflow.linalg import qr
from lyapflow.linalg.elementary import all_finite
from lyapflow.linalg.products import start_helpers_for
from lyapflow.linalg.qr import orthonormalise
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.schedule import Schedule
from lyapflow.lyapunov.segments import steps_per_segment

NOT_FINITE = -1
LENGTH_DECAY = 0.9  # what a QR leaves of the longest vector of those before


class Drive(NamedTuple):
    """What moves states and tangents, as kernels take it."""

    cell: Any
    transposed: Any  # the cell with each array transposed
    x: np.ndarray  # (T, B, m)
    plan: Schedule


def new_drive(given: Problem) -> Drive:
    return Drive(given.cell, transposed(given.cell), np.ascontiguousarray(given.x), given.plan)


class Tape(NamedTuple):
    """Arrays that the sweep writes, each a ring over time: of all steps, or of one interval between QRs."""

    states: np.ndarray  # (steps + 1, B, n_state), the state entering each step, and the last
    records: np.ndarray  # (steps, B, n_record), the linearisation of each step
    blocks: np.ndarray  # (steps - transient + 1, k, n_state), as the states
    factors: np.ndarray  # (n_qr, k, k), L = R^T, solved (lyapflow.linalg.qr)


def new_tape(given: Problem, *, full: bool) -> Tape:
    """A tape that begins with the problem's states and block."""
    plan, dtype = given.plan, given.h0.dtype
    batch, n = given.h0.shape
    k = len(given.block)
    steps = plan.steps if full else plan.t_ons
    tangent_steps = plan.steps - plan.transient if full else plan.t_ons
    records = plan.steps if full else 1
    factors = max(plan.n_qr, 1) if full else 1
    tape = Tape(
        np.empty((steps + 1, batch, n), dtype),
        np.empty((records, batch, given.size.record), dtype),
        np.empty((tangent_steps + 1, k, n), dtype),
        np.empty((factors, k, k), dtype),
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
        np.array([np.inf]),
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
        h = states[t % len(states)]
        h_next = states[(t + 1) % len(states)]
        record = tape.records[t % len(tape.records)]
        step(cell, transposed, h, drive.x[t], h_next, record)
        if not all_finite(h_next):
            return t, NOT_FINITE
        if k == 0 or t < plan.transient:
            continue

        # without a QR the block moves to where it stays
        s = t - plan.transient
        Q = blocks[s % len(blocks)]
        Q_next = blocks[(s + 1) % len(blocks)]
        scheduled = plan.factor_after[t] >= 0
        if not scheduled and tally.since[0] + 1 < every:
            tangent(cell, transposed, record[0], Q, Q_next, work.tangent)
            tally.since[0] += 1
            continue

        # with a QR it moves to scratch, and its orthonormal factor to where it stays
        tangent(cell, transposed, record[0], Q, work.moved, work.tangent)
        row = tally.row[0]
        F = factors[row % len(factors)]
        rank, path = orthonormalise(work.moved, Q_next, F, work.qr, resolution, tally.longest[0])
        if rank < k:
            return t, rank

        # R counts; a row of log R sums up all QRs of one interval of the schedule
        tally.paths[path] += 1
        longest = 0.0
        shortest = np.inf
        for i in range(k):
            tally.log_growth[row, i] += np.log(work.qr.L[i, i])
            longest = max(longest, work.qr.lengths[i])
            shortest = min(shortest, work.qr.L[i, i])
        tally.longest[0] = max(LENGTH_DECAY * tally.longest[0], longest)
        tally.ratio[0] = min(tally.ratio[0], shortest / longest)
        tally.row[0] += scheduled
        tally.since[0] = 0
    return stop, k


class Sweep:
    """A forward sweep on its way.

    Attributes
    ----------
    resolution : float
        Relative size of what a QR takes for noise.
    t : int
        The next step.
    every : int
        Steps after which a QR follows, at most.
    k : int
        Vectors of the block.
    """

    def __init__(self, given: Problem, tape: Tape, resolution: float = 0.0) -> None:
        self.size = given.size
        self.plan = given.plan
        self.earlier = given.earlier
        self.drive = new_drive(given)
        self.resolution = resolution
        self.every = given.plan.t_ons
        self.t = 0
        self.tally = _new_tally(given.plan.n_qr, tape.blocks.shape[1])
        self.go_on_with(tape)

    def go_on_with(self, tape: Tape) -> None:
        """Go on with another tape, whose block may have other vectors."""
        k, n = tape.blocks.shape[1:]
        dtype, batch = self.drive.x.dtype, self.drive.x.shape[1]
        self.tape = tape
        self.k = k
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
            check_interrupt()
            start_helpers_for(self._terms)
            self.t, rank = advance(
                self.drive,
                self.t,
                min(self.t + self._segment, stop),
                self.every,
                self.resolution,
                self.tape,
                self.tally,
                self._work,
            )
            if rank == NOT_FINITE:
                raise self.state_lost()
            if rank < self.k:
                self.tally.paths[-1] += 1
                return False
        return True

    def state_lost(self) -> Diverged:
        """The error of the step that the sweep has come to, whose states are not all finite."""
        states = self.tape.states[(self.t + 1) % len(self.tape.states)]
        return state_lost(self.earlier + self.t, states)

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
    # after many steps a direction that has lost half of its digits is suspicious, too
    if plan.t_ons > 1:
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
