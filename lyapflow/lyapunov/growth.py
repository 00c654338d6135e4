"""log R of one trajectory: the growth of its tangent block, with directions however small, or lost.

The sweep takes QRs of products that are formed in float64. A vector that such a QR leaves shorter
than half of the digits, beside those that it is made from, is *in doubt*. Then

1. an interval of several steps is done again step by step, and after a few of these the sweep goes
   on with shorter ones;
2. a step is done again from D itself, whatever its scale (`lyapflow.linalg.graded`), and so are
   those that follow, until one leaves nothing in doubt;
3. where D is singular, and a vector is not well above what errors of the block make of it, exact
   arithmetic says whether it is lost (`lyapflow.lyapunov.rank`): its growth is then -inf for good.
   What is not lost is small, and what remains unknown of its growth is kept.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.pool import check_interrupt
from lyapflow.cells.step_jacobian import JacobianWorkspace, jacobian_workspace, linearise
from lyapflow.errors import Diverged
from lyapflow.linalg.elementary import all_finite
from lyapflow.linalg.graded import EPS, Graded, graded, orthonormalise_product
from lyapflow.linalg.qr import rounding
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.rank import ExactBlock
from lyapflow.lyapunov.segments import jacobians_per_segment
from lyapflow.lyapunov.sweep import NOT_FINITE, Sweep, new_tape

# What a QR leaves shorter is in doubt: about half of the digits, and in float64, where doubt is
# cheap, what keeps the errors of log R below 1e-9.
DOUBT = {np.dtype(np.float64): 2.0**-23, np.dtype(np.float32): 2.0**-11.5}
OVERFLOW, MAYBE_LOST, LOST = -2, -3, -4
LOG_MAX = float(np.log(np.finfo(float).max))
RECENT = 2000  # last steps that may have to be taken again
UNKNOWN = -float(np.log(EPS))  # nats that are not known of what float64 vectors cannot resolve
# steps of the first intervals, which are doubled where several leave nothing in doubt
FIRST_INTERVAL = 8
TRIED_INTERVALS = 4
# intervals in doubt, and one of so many, after which intervals are halved
MIN_DOUBTS, DOUBT_RARITY = 3, 32


Disturb = Callable[[np.ndarray], None]


class Pace(NamedTuple):
    """What a sweep has learnt on its way that steers it further."""

    every: int = 1  # steps of an interval between QRs
    longest: int = 1  # what they may grow to
    since: int = 0  # steps since intervals became what they are
    doubts: int = 0  # how many were in doubt since
    left: int = (
        0  # steps that are still to be taken from the Jacobian, if they leave anything in doubt
    )
    vector: float = 0.0  # length of the longest vector of late blocks


class End(NamedTuple):
    """Where a sweep ended, after a QR, as another one may begin."""

    state: np.ndarray  # (n_state,)
    block: np.ndarray  # (k, n_state), of the vectors that are not lost
    pace: Pace


class Growth(NamedTuple):
    """What a sweep says of a block's k vectors; those that are lost come last."""

    # (n_qr, k), log R of this sweep alone, -inf from the step on in which a vector is lost
    log_growth: np.ndarray
    paths: np.ndarray  # int (4,), ways of QR, and what was in doubt
    unknown: np.ndarray  # (k,), nats of the counted log R that are not known
    # int (k,), counted steps whose log R float64 products would not show
    below_rounding: np.ndarray
    dtype: np.dtype  # in which the sweep was done: float32 may not have been enough
    recent: np.ndarray  # (n_state,), the state before the last RECENT steps
    end: End

    def with_lost(self, more: int) -> "Growth":
        """With more vectors, which are lost from the start."""
        if more == 0:
            return self
        return self._replace(
            log_growth=np.hstack([self.log_growth, np.full((len(self.log_growth), more), -np.inf)]),
            unknown=np.append(self.unknown, np.zeros(more)),
            below_rounding=np.append(self.below_rounding, np.zeros(more, np.int64)),
        )

    def after(self, before: "Growth") -> "Growth":
        """As what goes on from an earlier sweep, whose counts it has counted on."""
        lost = len(before.unknown) - self.log_growth.shape[1]
        log_growth = np.pad(self.log_growth, ((0, 0), (0, lost)), constant_values=-np.inf)
        return self._replace(log_growth=log_growth, paths=before.paths + self.paths)


def side_by_side(of: Sequence[Growth]) -> Growth:
    """The growth of several blocks as that of one."""
    if len(of) == 1:
        return of[0]
    return Growth(
        np.hstack([growth.log_growth for growth in of]),
        np.sum([growth.paths for growth in of], axis=0),
        np.concatenate([growth.unknown for growth in of]),
        np.concatenate([growth.below_rounding for growth in of]),
        min((growth.dtype for growth in of), key=lambda dtype: dtype.itemsize),
        np.concatenate([growth.recent for growth in of]),
        of[0].end,
    )


class _Unclear(NamedTuple):
    """What is not clear of a block's k vectors, as in `Growth`."""

    unknown: np.ndarray
    below_rounding: np.ndarray


class _Workspace(NamedTuple):
    """Scratch of `_advance_by_jacobians` for a block (k, n_state)."""

    jacobian: JacobianWorkspace
    growth: np.ndarray  # (k,), log R of a step
    graded: Graded


@jit
def _advance_by_jacobians(
    drive, start, stop, noted, settled, resolution, tape, tally, unclear, work
):
    """Take steps, each from D itself, from start on until one leaves nothing in doubt.

    Step `noted` has been counted as one in doubt; of step `settled` it is known that it loses nothing.
    Returns the next step, and k where the one before left nothing in doubt, else k + 1; or the failing
    step and NOT_FINITE, OVERFLOW, MAYBE_LOST, or LOST less the number of leading vectors that are
    left.
    """
    cell, transposed, plan = drive.cell, drive.transposed, drive.plan
    states, records, blocks = tape.states, tape.records, tape.blocks
    k = blocks.shape[1]
    for t in range(start, stop):
        h = states[t % len(states)]
        h_next = states[(t + 1) % len(states)]
        record = records[t % len(records)]
        DT = work.jacobian.DT
        linearise(cell, transposed, h, drive.x[t], h_next, record, work.jacobian)
        if not all_finite(h_next):
            return t, NOT_FINITE
        if not all_finite(DT):
            return t, OVERFLOW
        s = t - plan.transient
        Q = blocks[s % len(blocks)]
        Q_next = blocks[(s + 1) % len(blocks)]
        sure, rank, largest = orthonormalise_product(DT, Q, Q_next, work.growth, work.graded)

        # a step counts if all vectors are surely there: a D of full rank loses none
        if sure < k and rank < Q.shape[1] and t != settled:
            return t, LOST - sure if rank == sure else MAYBE_LOST
        row = tally.row[0]
        shortest = np.inf
        for i in range(k):
            growth = work.growth[i]
            error = work.graded.error[i]
            if growth > LOG_MAX:
                return t, OVERFLOW
            tally.log_growth[row, i] += growth
            shortest = min(shortest, growth)
            if row >= plan.uncounted:
                unclear.unknown[i] += np.log1p(error) if error < 1 else UNKNOWN
                unclear.below_rounding[i] += growth < largest - UNKNOWN
        tally.paths[-1] += t != noted
        tally.row[0] += plan.factor_after[t] >= 0
        tally.since[0] = 0
        tally.longest[0] = np.exp(largest)

        # a QR of the product would have told all vectors apart, so that the sweep may go on
        if shortest > largest + np.log(resolution):
            return t + 1, k
    return stop, k + 1


class _InDoubt(Exception):
    """A float32 sweep left something in doubt."""


class _Dependent(Exception):
    """Vectors of the block were lost that others come after."""

    def __init__(self, lost: list[int]) -> None:
        super().__init__(lost)
        self.lost = lost


class FromTheStart(Exception):
    """A piece of a sweep needs what only a sweep from the start can say."""


class _Trajectory:
    """The sweep of one trajectory, and what doubts take."""

    def __init__(self, given: Problem, before: Growth | None) -> None:
        dtype, k = given.x.dtype, len(given.block)
        resolution = max(DOUBT[dtype], rounding(given.size.state, dtype))
        self.given = given
        self.run = Sweep(given, new_tape(given, full=False), resolution)
        self.exact: ExactBlock | None = None
        self.work: _Workspace | None = None

        self.from_start = before is None
        if before is None:
            self.unclear = _Unclear(np.zeros(k), np.zeros(k, np.int64))
            pace = Pace(min(FIRST_INTERVAL, given.plan.t_ons), given.plan.t_ons)
        else:
            self.unclear = _Unclear(before.unknown.copy(), before.below_rounding.copy())
            pace = before.end.pace
        self.every, self.longest, self.doubts = pace.every, pace.longest, pace.doubts
        self.left, self.again = pace.left, 0  # before which steps are taken one by one
        self.changed = -pace.since  # when intervals became what they are
        self.run.tally.longest[0] = pace.vector

    def growth(self, disturb: Disturb, marks: Sequence[int]) -> Growth:
        """Take all steps. Raises Diverged where numbers overflow, _InDoubt in float32, and _Dependent."""
        for t in marks:
            self._to(t)
            blocks = self.run.tape.blocks
            disturb(blocks[(self.run.t - self.run.plan.transient) % len(blocks)])
        steps, tally = self.run.plan.steps, self.run.tally
        self._to(max(self.run.t, steps - RECENT))
        recent = self._state()
        self._to(steps)
        return Growth(
            tally.log_growth, tally.paths, *self.unclear, self.given.x.dtype, recent, self._end()
        )

    def _state(self) -> np.ndarray:
        states = self.run.tape.states
        return states[self.run.t % len(states), 0].copy()

    def _end(self) -> End:
        run, tape = self.run, self.run.tape
        since, vector = run.t - self.changed, float(run.tally.longest[0])
        return End(
            self._state(),
            tape.blocks[(run.t - run.plan.transient) % len(tape.blocks)].copy(),
            Pace(self.every, self.longest, since, self.doubts, self.left, vector),
        )

    def _to(self, step: int) -> None:
        run = self.run
        while run.t < step:
            if self.left > 0:
                self._by_jacobians(step, noted=-1)
                continue
            run.every = 1 if run.t < self.again else self.every
            stop = self.again if run.t < self.again else self._stop()
            if run.to(min(stop, step)):
                if run.t == stop:
                    self._lengthen()
            elif self.given.x.dtype == np.float32:
                raise _InDoubt if self.from_start else FromTheStart
            elif run.tally.since[0] > 0:
                self.again = run.t + 1
                run.rewind()
                self._shorten()
            else:
                self.left = jacobians_per_segment(self.given.size)
                self._by_jacobians(step, noted=run.t)

    def _stop(self) -> int:
        """Where to look whether intervals may be longer."""
        steps = self.run.plan.steps
        if self.every == self.longest:
            return steps
        return min(steps, max(self.run.t, self.changed + TRIED_INTERVALS * self.every))

    def _lengthen(self) -> None:
        if self.every == self.longest or self.run.t < self.changed + TRIED_INTERVALS * self.every:
            return
        if self.doubts:
            self.longest = self.every
        else:
            self.every, self.changed = min(2 * self.every, self.longest), self.run.t

    def _shorten(self) -> None:
        self.doubts += 1
        often = DOUBT_RARITY * self.doubts * self.every > self.run.t - self.changed
        if self.doubts >= MIN_DOUBTS and often and self.every > 1:
            self.every = self.longest = self.every // 2
            self.changed, self.doubts = self.run.t, 0

    def _by_jacobians(self, until: int, noted: int) -> None:
        """Take steps while they leave something in doubt, so many as are left and not beyond `until`.

        Step `noted` has been counted as one in doubt."""
        run, size = self.run, self.given.size
        settled = -1
        while run.k > 0:
            check_interrupt()
            if self.work is None:
                self.work = _Workspace(
                    jacobian_workspace(size), np.empty(run.k), graded(run.k, size.state)
                )
            start = run.t
            run.t, outcome = _advance_by_jacobians(
                run.drive,
                start,
                min(start + self.left, until),
                noted,
                settled,
                run.resolution,
                run.tape,
                run.tally,
                self.unclear,
                self.work,
            )
            self.left -= run.t - start
            if outcome == NOT_FINITE:
                raise run.state_lost()
            if outcome == OVERFLOW:
                step = run.earlier + run.t
                raise Diverged(
                    f"the tangent block overflowed at step {step}: use smaller weights", step=step
                )
            if outcome > MAYBE_LOST:
                self.left = 0 if outcome == run.k else self.left
                return
            if outcome <= LOST:  # D has no higher rank
                self._keep(LOST - outcome)
            else:
                self._lose(run.t)
            settled = noted = run.t
            self.left = jacobians_per_segment(size)
        self.left = 0
        run.t += 1  # nothing is left of the block, and the state has moved already

    def _lose(self, t: int) -> None:
        """Take from the block what step t has lost exactly."""
        rows = self.run.k
        if not self.from_start:  # exact arithmetic takes all steps
            raise FromTheStart
        if self.exact is None:
            self.exact = ExactBlock(self.given._replace(block=self.given.block[:rows]))
        lost = self.exact.lost(t)
        if lost and lost[0] < rows - len(lost):
            raise _Dependent(lost)
        if lost:
            self._keep(rows - len(lost))

    def _keep(self, rows: int) -> None:
        """Go on with the leading vectors alone."""
        run = self.run
        run.tally.log_growth[run.tally.row[0] :, rows : run.k] = -np.inf
        blocks = run.tape.blocks[:, :rows].copy()
        run.go_on_with(run.tape._replace(blocks=blocks, factors=np.empty((1, rows, rows))))
        if self.exact is not None:
            self.exact.keep(rows)
        self.work = None


def volume_growth(
    given: Problem,
    disturb: Disturb = lambda block: None,
    marks: Sequence[int] = (),
    before: Growth | None = None,
) -> Growth:
    """Growth of the block along the trajectory of a problem that has one.

    A vector is lost where it comes to depend on those before it. The growth of the others is that
    of the block without it. A float32 sweep that leaves something in doubt is done in float64, from
    the start. The block is handed to `disturb`, to be changed in place, before each of the steps
    `marks`. With what an earlier sweep found, this one goes on from its end, to the bits of one sweep, or
    raises FromTheStart."""
    if before is not None:
        if before.dtype != given.x.dtype:  # float32 was not enough
            given = given.in_float64()
        given = given._replace(h0=before.end.state[None], block=before.end.block)
    kept = np.arange(len(given.block))
    while True:
        try:
            with one_blas_thread():
                one = _Trajectory(given._replace(block=given.block[kept]), before)
                found = one.growth(disturb, marks)
        except _Dependent as found_lost:
            kept = np.delete(kept, found_lost.lost)
        except _InDoubt:
            given = given.in_float64()
        else:
            found = found.with_lost(len(given.block) - len(kept))
            return found if before is None else found.after(before)
