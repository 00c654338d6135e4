"""log R of one trajectory: what all its steps do to a tangent block, however small or lost.

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
from typing import Any, NamedTuple

import numpy as np

from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.pool import breathe
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import Sizes
from lyapflow.cells.linearisation import linearise
from lyapflow.errors import Diverged
from lyapflow.linalg.elementary import all_finite
from lyapflow.linalg.graded import EPS, Graded, graded, orthonormalise_product
from lyapflow.linalg.qr import rounding
from lyapflow.lyapunov.forward import NOT_FINITE, Schedule, Sweep, new_tape, state_lost, steps_per_segment
from lyapflow.lyapunov.rank import ExactBlock

# What a QR leaves shorter is in doubt: about half of the digits, and in float64, where doubt is cheap, what keeps the
# errors of log R below 1e-9.
DOUBT = {np.dtype(np.float64): 2.0**-23, np.dtype(np.float32): 2.0**-11.5}
OVERFLOW, MAYBE_LOST, LOST = -2, -3, -4
LARGEST = float(np.log(np.finfo(float).max))
UNKNOWN = -float(np.log(EPS))  # nats that are not known of what float64 vectors cannot resolve
FIRST = 8  # steps of the first intervals, which are doubled where several leave nothing in doubt
SEVERAL = 4
FEW, RARE = 3, 32  # intervals in doubt, and one of so many, after which intervals are halved


Disturb = Callable[[np.ndarray], None]


class Growth(NamedTuple):
    """What a sweep says of a block's k vectors; those that are lost come last."""

    log_growth: np.ndarray  # (n_qr, k), log R, -inf from the step on in which a vector is lost
    paths: np.ndarray  # int (4,), ways of QR, and what was in doubt
    unknown: np.ndarray  # (k,), nats of the counted log R that are not known
    below_rounding: np.ndarray  # int (k,), counted steps whose log R float64 products would not show

    def with_lost(self, more: int) -> "Growth":
        """With more vectors, which are lost from the start."""
        return self._replace(
            log_growth=np.hstack([self.log_growth, np.full((len(self.log_growth), more), -np.inf)]),
            unknown=np.append(self.unknown, np.zeros(more)),
            below_rounding=np.append(self.below_rounding, np.zeros(more, np.int64)),
        )


class Careful(NamedTuple):
    """Scratch of careful steps."""

    basis: np.ndarray  # (n, n), the identity
    DT: np.ndarray  # (n, n)
    work: np.ndarray  # (n, tangent_work)
    growth: np.ndarray  # (k,)
    graded: Graded


@jit
def _carefully(
    cell,
    turned,
    x,
    start,
    stop,
    transient,
    factor_after,
    uncounted,
    settled,
    at,
    resolution,
    scale,
    paths,
    tape,
    log_R,
    unknown,
    below_rounding,
    careful,
):
    """Take steps from start on, one by one and each from D itself, until one leaves nothing in doubt.

    Of step `settled` it is known that it loses nothing. Returns the next step and k; or the failing step and
    NOT_FINITE, OVERFLOW, MAYBE_LOST, or LOST less the number of leading vectors that are left.
    """
    states, records, blocks, _ = tape
    k = blocks.shape[1]
    for t in range(start, stop):
        h_next, record = states[(t + 1) % len(states)], records[t % len(records)]
        linearise(cell, turned, states[t % len(states)], x[t], h_next, record, careful.basis, careful.DT, careful.work)
        if not all_finite(h_next):
            return t, NOT_FINITE
        if not all_finite(careful.DT):
            return t, OVERFLOW
        s = t - transient
        Q, Q_next = blocks[s % len(blocks)], blocks[(s + 1) % len(blocks)]
        sure, rank, largest = orthonormalise_product(careful.DT, Q, Q_next, careful.growth, careful.graded)
        if sure < k and rank < Q.shape[1] and t != settled:
            return t, LOST - sure if rank == sure else MAYBE_LOST
        shortest = np.inf
        for i in range(k):
            growth, error = careful.growth[i], careful.graded.error[i]
            if growth > LARGEST:
                return t, OVERFLOW
            log_R[at[0], i] += growth
            shortest = min(shortest, growth)
            if at[0] >= uncounted:
                unknown[i] += np.log1p(error) if error < 1 else UNKNOWN
                below_rounding[i] += growth < largest - UNKNOWN
        paths[-1] += t > start  # the first was counted as it was found
        at[0] += factor_after[t] >= 0
        at[1] = 0
        scale[0] = np.exp(largest)
        if shortest > largest + np.log(resolution):
            return t + 1, k
    return stop, k


class _InDoubt(Exception):
    """A float32 sweep left something in doubt."""


class _Dependent(Exception):
    """Vectors of the block were lost that others come after."""

    def __init__(self, lost: list[int]) -> None:
        super().__init__(lost)
        self.lost = lost


class _Trajectory:
    """The sweep of one trajectory, and what doubts take."""

    def __init__(
        self, cell: Any, size: Sizes, x: np.ndarray, h0: np.ndarray, block: np.ndarray, plan: Schedule
    ) -> None:
        tape = new_tape(size, h0, block, plan, full=False)
        self.run = Sweep(cell, size, x, tape, plan, max(DOUBT[x.dtype], rounding(size.state, x.dtype)))
        self.exact: ExactBlock | None = None
        self.careful: Careful | None = None
        self.unknown, self.below_rounding = np.zeros(len(block)), np.zeros(len(block), np.int64)
        self.every, self.longest = min(FIRST, plan.t_ons), plan.t_ons
        self.changed, self.doubts = 0, 0  # when intervals became what they are, and how many were in doubt since
        self.start = h0, block

    def growth(self, disturb: Disturb, at: Sequence[int]) -> Growth:
        """Take all steps. Raises Diverged where numbers overflow, _InDoubt in float32, and _Dependent."""
        for t in at:
            self._to(t)
            blocks = self.run.tape.blocks
            disturb(blocks[(self.run.t - self.run.plan.transient) % len(blocks)])
        self._to(self.run.plan.steps)
        return Growth(self.run.log_R, self.run.paths, self.unknown, self.below_rounding)

    def _to(self, step: int) -> None:
        run, again = self.run, 0
        while run.t < step:
            run.every = 1 if run.t < again else self.every
            stop = min(again if run.t < again else self._stop(), step)
            if run.to(stop):
                self._lengthen()
            elif run.x.dtype == np.float32:
                raise _InDoubt
            elif run.at[1]:
                again = run.t + 1
                run.rewind()
                self._shorten()
            else:
                self._take_carefully()

    def _stop(self) -> int:
        """Where to look whether intervals may be longer."""
        steps = self.run.plan.steps
        if self.every == self.longest:
            return steps
        return min(steps, max(self.run.t, self.changed + SEVERAL * self.every))

    def _lengthen(self) -> None:
        if self.every == self.longest or self.run.t < self.changed + SEVERAL * self.every:
            return
        if self.doubts:
            self.longest = self.every
        else:
            self.every, self.changed = min(2 * self.every, self.longest), self.run.t

    def _shorten(self) -> None:
        self.doubts += 1
        often = RARE * self.doubts * self.every > self.run.t - self.changed
        if self.doubts >= FEW and often and self.every > 1:
            self.every = self.longest = self.every // 2
            self.changed, self.doubts = self.run.t, 0

    def _take_carefully(self) -> None:
        """Take the suspicious step, and those that follow while they leave something in doubt."""
        run, n, settled = self.run, self.run.size.state, -1
        segment = -(-steps_per_segment(run.size, n) // 16)
        while run.k > 0:
            breathe()
            if self.careful is None:
                self.careful = Careful(
                    np.eye(n),
                    np.empty((n, n)),
                    np.empty((n, run.size.tangent_work)),
                    np.empty(run.k),
                    graded(run.k, n),
                )
            run.t, outcome = _carefully(
                run.cell,
                run.turned,
                run.x,
                run.t,
                min(run.t + segment, run.plan.steps),
                run.plan.transient,
                run.plan.factor_after,
                run.plan.uncounted,
                settled,
                run.at,
                run.resolution,
                run.scale,
                run.paths,
                run.tape,
                run.log_R,
                self.unknown,
                self.below_rounding,
                self.careful,
            )
            if outcome == NOT_FINITE:
                raise state_lost(run.t, run.tape.states[(run.t + 1) % len(run.tape.states)])
            if outcome == OVERFLOW:
                raise Diverged(f"the tangent block overflowed at step {run.t}: use smaller weights", step=run.t)
            if outcome > MAYBE_LOST:
                return
            if outcome <= LOST:  # D has no higher rank
                self._keep(LOST - outcome)
            else:
                self._lose(run.t)
            settled = run.t
        run.t += 1  # nothing is left of the block, and the state has moved already

    def _lose(self, t: int) -> None:
        """Take from the block what step t has lost exactly."""
        run = self.run
        if self.exact is None:
            h0, block = self.start
            self.exact = ExactBlock(run.cell, run.size, run.x, h0, block[: run.k], run.plan.transient)
        lost = self.exact.lost(t)
        rows = run.k - len(lost)
        if lost and lost[0] < rows:
            raise _Dependent(lost)
        if lost:
            self._keep(rows)

    def _keep(self, rows: int) -> None:
        """Go on with the leading vectors alone."""
        run = self.run
        run.log_R[run.at[0] :, rows : run.k] = -np.inf
        run.go_on_with(run.tape._replace(blocks=run.tape.blocks[:, :rows].copy(), factors=np.empty((1, rows, rows))))
        if self.exact is not None:
            self.exact.keep(rows)
        self.careful = None


def volume_growth(
    cell: Any,
    size: Sizes,
    x: np.ndarray,
    h0: np.ndarray,
    block: np.ndarray,
    plan: Schedule,
    disturb: Disturb = lambda block: None,
    at: Sequence[int] = (),
) -> Growth:
    """Growth of a block (k, n_state) along the trajectory from state h0 (1, n_state) under inputs x (T, 1, m).

    A vector is lost where it comes to depend on those before it. The growth of the others is that of the block without
    it. A float32 sweep that leaves something in doubt is done in float64, from the start. The block is handed to
    `disturb`, to be changed in place, before each of the steps `at`.
    """
    kept = np.arange(len(block))
    while True:
        try:
            with one_blas_thread():
                found = _Trajectory(cell, size, x, h0, block[kept], plan).growth(disturb, at)
        except _Dependent as found_lost:
            kept = np.delete(kept, found_lost.lost)
        except _InDoubt:
            cell, x, h0, block = map_arrays(_double, cell), _double(x), _double(h0), _double(block)
        else:
            return found.with_lost(len(block) - len(kept))


def _double(a: np.ndarray) -> np.ndarray:
    return a.astype(float)
