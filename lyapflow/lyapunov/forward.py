"""The forward sweep: state, tangent block, log R, and the tape that the reverse sweep needs.

Time: `transient` steps move the state alone, `q_transient` steps move state and block without counting, the rest is
counted. The block is reorthonormalised every `t_ons` steps, on the last uncounted step and on the last step.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.pool import breathe
from lyapflow.cells.interface import Sizes, checked, sizes, step, tangent, transposed
from lyapflow.ensemble import over_members
from lyapflow.errors import Diverged, LyapflowError, warn
from lyapflow.linalg.elementary import all_finite
from lyapflow.linalg.products import call_help
from lyapflow.linalg.qr import orthonormalise, workspace

NOT_FINITE = -1
FORGOTTEN = 0.9  # what a QR leaves of the longest vector of those before


class Schedule(NamedTuple):
    """Which steps do what.

    Attributes
    ----------
    steps, transient : int
        All steps, and those that move the state alone.
    factor_after : int64 array (steps,)
        Number of the QR that follows a step, or -1.
    ends : int64 array (n_qr_counted,)
        Counted steps up to and including each counted QR.
    uncounted : int
        Number of QRs before counting starts.
    t_ons : int
        Steps of the longest interval between QRs.
    """

    steps: int
    transient: int
    factor_after: np.ndarray
    ends: np.ndarray
    uncounted: int
    t_ons: int

    @property
    def n_qr(self) -> int:
        return int((self.factor_after >= 0).sum())

    def with_interval(self, t_ons: int) -> "Schedule":
        """The same, with a QR after every t_ons steps."""
        counting = self.steps - int(self.ends[-1])
        return schedule(self.steps, t_ons, self.transient, counting - self.transient)

    def part(self, start: int, stop: int) -> "Schedule":
        """What happens in the steps from start to stop, as a sweep of its own whose counting is of no concern."""
        at = self.factor_after[start:stop]
        number = np.where(at >= 0, at - self.factors_before(start), -1)
        transient = min(max(self.transient - start, 0), stop - start)
        return self._replace(steps=stop - start, transient=transient, factor_after=number)

    def factors_before(self, t: int) -> int:
        """Number of QRs before step t."""
        return int((self.factor_after[:t] >= 0).sum())


def schedule(steps: int, t_ons: int, transient: int, q_transient: int) -> Schedule:
    """Lay out the reorthonormalisations of a sweep; raises LyapflowError where nothing is left to count."""
    t_ons = min(_checks.integer("t_ons", t_ons, 1), steps)
    transient = _checks.integer("transient", transient, 0)
    q_transient = _checks.integer("q_transient", q_transient, 0)
    counting = transient + q_transient
    if steps <= counting:
        raise LyapflowError(
            f"the input must be longer than its transients: got {steps} steps with transient={transient} "
            f"and q_transient={q_transient}"
        )

    _checks.affordable(f"the schedule of {steps} steps", 5 * steps)

    def ends(length: int) -> np.ndarray:
        return np.minimum(np.arange(t_ons, length + t_ons, t_ons), length)

    before, counted = ends(q_transient), ends(steps - counting)
    factor_after = np.full(steps, -1)
    at = np.concatenate([transient + before, counting + counted]) - 1
    factor_after[at] = np.arange(at.size)
    return Schedule(steps, transient, factor_after, counted, before.size, t_ons)


class Tape(NamedTuple):
    """Arrays that the sweep writes, each a ring over time: of all steps for a tape, or of one interval between QRs."""

    states: np.ndarray  # (steps + 1, B, n_state), the state entering each step, and the last
    records: np.ndarray  # (steps, B, n_record)
    blocks: np.ndarray  # (steps - transient + 1, k, n_state), the block entering each step, and the last
    factors: np.ndarray  # (n_qr, k, k), L = R^T, solved (lyapflow.linalg.qr)


def new_tape(size: Sizes, h0: np.ndarray, q0: np.ndarray, plan: Schedule, *, full: bool) -> Tape:
    """A tape that starts from states h0 (B, n_state) and block q0 (k, n_state)."""
    interval = plan.t_ons, 1, plan.t_ons, 1
    steps, records, tangent_steps, n_qr = (
        (plan.steps, plan.steps, plan.steps - plan.transient, plan.n_qr) if full else interval
    )
    k = len(q0)
    tape = Tape(
        np.empty((steps + 1, len(h0), size.state), h0.dtype),
        np.empty((records, len(h0), size.record), h0.dtype),
        np.empty((tangent_steps + 1, k, size.state), h0.dtype),
        np.empty((max(n_qr, 1), k, k), h0.dtype),
    )
    tape.states[0] = h0
    tape.blocks[0] = q0
    return tape


Recover = Callable[[int, Tape], None]


class Checkpoint(NamedTuple):
    """Where a sweep was before a step."""

    states: np.ndarray  # (B, n_state)
    block: np.ndarray  # (k, n_state)


@jit
def advance(
    cell,
    turned,
    x,
    start,
    stop,
    transient,
    factor_after,
    every,
    at,
    resolution,
    scale,
    paths,
    tape,
    log_R,
    moved,
    work,
    qr_work,
):
    """Take the steps from start to stop; the tangent block belongs to the first state of the batch.

    A QR follows a step that the schedule names, or that ends `every` steps without one; log R is added to the row of
    the schedule's interval. at (2,) is the number of that row, and of steps since the last QR. scale (2,) is the
    longest vector of late blocks, since a block that is much smaller may be all noise, and the smallest ratio of
    any R_ii to the longest vector of its block. paths counts the ways of QR.

    Returns the step at which it ended, and k; or the failing step, which is not counted, and NOT_FINITE or the number
    of vectors before the first suspicious one.
    """
    states, records, blocks, factors = tape
    k = blocks.shape[1]
    for t in range(start, stop):
        h_next = states[(t + 1) % len(states)]
        record = records[t % len(records)]
        step(cell, turned, states[t % len(states)], x[t], h_next, record)
        if not all_finite(h_next):
            return t, NOT_FINITE
        if k > 0 and t >= transient:
            s = t - transient
            Q_next = blocks[(s + 1) % len(blocks)]
            scheduled = factor_after[t] >= 0
            if not scheduled and at[1] + 1 < every:
                tangent(cell, turned, record[0], blocks[s % len(blocks)], Q_next, work)
                at[1] += 1
            else:
                tangent(cell, turned, record[0], blocks[s % len(blocks)], moved, work)
                F = factors[at[0] % len(factors)]
                rank, path = orthonormalise(moved, Q_next, F, qr_work, resolution, scale[0])
                if rank < k:
                    return t, rank
                paths[path] += 1
                longest, shortest = 0.0, np.inf
                for i in range(k):
                    log_R[at[0], i] += np.log(qr_work.L[i, i])
                    longest = max(longest, qr_work.lengths[i])
                    shortest = min(shortest, qr_work.L[i, i])
                scale[0] = max(FORGOTTEN * scale[0], longest)
                scale[1] = min(scale[1], shortest / longest)
                at[0] += scheduled
                at[1] = 0
    return stop, k


class Sweep:
    """A forward sweep over x (T, B, m) on its way.

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
    log_R : array (n_qr, k)
        A row for each interval of the schedule.
    paths : int array (4,)
        Number of QRs done by each path of `lyapflow.linalg.qr`, and of those that were suspicious.
    """

    def __init__(
        self, cell: Any, size: Sizes, x: np.ndarray, tape: Tape, plan: Schedule, resolution: float = 0.0
    ) -> None:
        self.cell, self.size, self.x, self.plan, self.resolution = cell, size, x, plan, resolution
        self.turned, self.t, self.every = transposed(cell), 0, plan.t_ons
        self.log_R = np.zeros((plan.n_qr, tape.blocks.shape[1]))
        self.paths, self.at, self.scale = np.zeros(4, np.int64), np.zeros(2, np.int64), np.array([0.0, np.inf])
        self.go_on_with(tape)

    def go_on_with(self, tape: Tape) -> None:
        """Go on with another tape, whose block may have other vectors."""
        k, n = tape.blocks.shape[1:]
        self.tape, self.k = tape, k
        self._scratch = (
            np.empty((k, n), self.x.dtype),
            np.empty((k, self.size.tangent_work), self.x.dtype),
            workspace(k, n, self.x.dtype == float),
        )
        self._segment = steps_per_segment(self.size, k + self.x.shape[1])

    def to(self, stop: int) -> bool:
        """Advance to a step, returning to Python ten times a second; False at a step that is suspicious.

        That step is done, and its QR, but not counted. Raises Diverged, which names the step, if a state stops being
        finite.
        """
        while self.t < stop:
            breathe()
            call_help(self.size.state**2 * max(self.k, self.x.shape[1]))
            self.t, rank = advance(
                self.cell,
                self.turned,
                self.x,
                self.t,
                min(self.t + self._segment, stop),
                self.plan.transient,
                self.plan.factor_after,
                self.every,
                self.at,
                self.resolution,
                self.scale,
                self.paths,
                self.tape,
                self.log_R,
                *self._scratch,
            )
            if rank == NOT_FINITE:
                raise state_lost(self.t, self.tape.states[(self.t + 1) % len(self.tape.states)])
            if rank < self.k:
                self.paths[-1] += 1
                return False
        return True

    def accept(self) -> None:
        """Count the suspicious step after all."""
        self.log_R[self.at[0]] += np.log(np.diagonal(self._scratch[-1].L))
        self.scale[1] = 0.0
        self.at[:] = self.at[0] + (self.plan.factor_after[self.t] >= 0), 0
        self.t += 1

    def rewind(self) -> None:
        """Go back from a suspicious step to the last QR."""
        since = int(self.at[1])
        self.scale[0] **= 1 / (since + 1)  # of an interval, then of a step
        self.t, self.at[1] = self.t - since, 0


def sweep(
    cell: Any,
    size: Sizes,
    x: np.ndarray,
    tape: Tape,
    plan: Schedule,
    resolution: float = 0.0,
    recover: Recover | None = None,
    checkpoints: dict[int, Checkpoint | None] | None = None,
) -> tuple[np.ndarray, float]:
    """log R (n_qr, k) of all steps of x (T, B, m), and the smallest ratio of an R_ii to the longest of its vectors.

    Where the QR after step t cannot tell a direction from noise of relative size `resolution`, recover(t, tape) may
    raise. The values of `checkpoints` are set to where the sweep is before the steps that are its keys.

    Raises
    ------
    Diverged
        If a state stops being finite; it names the step.
    """
    if plan.t_ons > 1:  # after many steps a direction that has lost half of its digits is suspicious, too
        resolution = max(resolution, float(np.sqrt(np.finfo(x.dtype).eps)))
    run = Sweep(cell, size, x, tape, plan, resolution)
    checkpoints = {} if checkpoints is None else checkpoints
    with one_blas_thread():
        for mark in [*sorted(checkpoints), plan.steps]:
            while not run.to(mark):
                if recover is not None:
                    recover(run.t, tape)
                run.accept()
            if mark in checkpoints:
                block = tape.blocks[max(mark - plan.transient, 0) % len(tape.blocks)]
                checkpoints[mark] = Checkpoint(tape.states[mark % len(tape.states)].copy(), block.copy())
    return run.log_R, float(run.scale[1])


def state_lost(step: int, states: np.ndarray) -> Diverged:
    """The error of states (B, n_state), after a step, that are not all finite."""
    return Diverged.not_finite("the state", step, states, "use smaller weights or inputs")


def steps_per_segment(size: Sizes, vectors: int) -> int:
    """Steps that take about 0.1 s, so that Ctrl-C is heard."""
    flops = 8.0 * size.state * (size.state + vectors) * vectors + 5e3  # a step has a cost of its own
    return max(1, int(5e8 / flops))


def initial_state(h0: Any, size: Sizes, batch: int, like: np.ndarray) -> np.ndarray:
    """States (B, n_state) from None, one state, or a batch of states."""
    if h0 is None:
        return np.zeros((batch, size.state), like.dtype)
    shape = (size.state,) if _checks.ndim(h0) == 1 else (batch, size.state)
    return np.array(np.broadcast_to(_checks.array("h0", h0, shape, like=like), (batch, size.state)))


def _checked_drive(cell: Any, x: Any, h0: Any, steps: Any) -> tuple[Any, Sizes, np.ndarray, bool, np.ndarray]:
    cell = checked(cell, step, tangent)
    size = sizes(cell)
    x, batched = inputs(x, size, cell[0], steps, h0)
    _checks.affordable(f"a trajectory of {len(x)} steps", len(x) * x.shape[1] * (2 * size.state + size.record))
    return cell, size, x, batched, initial_state(h0, size, x.shape[1], cell[0])


def _lost_trajectory(checked_drive: tuple[Any, Sizes, np.ndarray, bool, np.ndarray]) -> np.ndarray:
    _, size, x, batched, _ = checked_drive
    shape = x.shape[:2] if batched else x.shape[:1]
    return np.full((*shape, size.state), np.nan, x.dtype)


@over_members("x", "h0", check=_checked_drive, lost=_lost_trajectory)
def trajectory(
    cell: Any, x: ArrayLike | None = None, h0: ArrayLike | None = None, *, steps: int | None = None
) -> np.ndarray:
    """States that follow each input: ``h_{s+1} = f(h_s, x_{s+1})``.

    Parameters
    ----------
    cell : cell
    x : array (T, m) or (T, B, m)
        Inputs of one trajectory or of B; for a cell without inputs give `steps` instead.
    h0 : array (n_state,) or (B, n_state), optional
        State before the first input; zeros by default.
    steps : int, optional
        Number of steps of a cell without inputs; h0 (B, n_state) makes B trajectories.

    Returns
    -------
    array (T, n_state) or (T, B, n_state)
        ``states[t]`` follows ``x[t]``; h0 is not among them.

    Raises
    ------
    LyapflowError
        If arguments do not fit the cell.
    Diverged
        If a state stops being finite.

    Warns
    -----
    LyapflowWarning
        If x has fewer steps than trajectories.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LinearRNN(np.array([[0.5]]), np.ones((1, 1)), np.zeros(1))
    >>> lf.trajectory(cell, np.ones((3, 1)))
    array([[1.  ],
           [1.5 ],
           [1.75]])
    """
    cell, size, x, batched, h0 = _checked_drive(cell, x, h0, steps)
    if steps is None:
        doubt_layout(x)
    plan = state_schedule(len(x))
    tape = new_tape(size, h0, np.empty((0, size.state), x.dtype), plan, full=True)
    sweep(cell, size, x, tape, plan)
    states = tape.states[1:]
    return states.copy() if batched else states[:, 0].copy()


@functools.lru_cache(maxsize=8)
def state_schedule(steps: int) -> Schedule:
    """A sweep of states alone."""
    return Schedule(steps, steps, np.full(steps, -1), np.empty(0, np.int64), 0, 1)


def doubt_layout(x: np.ndarray) -> None:
    """Warn where x (T, B, m) has fewer steps than trajectories: what comes from elsewhere often is (B, T, m)."""
    T, B, _ = x.shape
    if T < B:
        warn(
            f"x is (T, B, m), time first: shape {x.shape} was taken as {T} steps of {B} trajectories; "
            f"if it is {T} trajectories of {B} steps, give x.transpose(1, 0, 2)"
        )


def inputs(x: Any, size: Sizes, like: np.ndarray, steps: Any = None, h0: Any = None) -> tuple[np.ndarray, bool]:
    """Inputs as (T, B, m), and whether they came as a batch; x = None for steps without input from h0."""
    if (x is None) == (steps is None):
        raise LyapflowError(
            f"give either x, the inputs, or steps, the number of steps of a cell without inputs; "
            f"got {'neither' if x is None else 'both'}"
        )
    if x is None:
        if size.inputs > 0:
            raise LyapflowError(f"steps is for cells without inputs, this one has {size.inputs}; give x instead")
        steps, trajectories = _checks.integer("steps", steps, 1), len(h0) if _checks.ndim(h0) == 2 else None
        x = np.empty((steps, 0) if trajectories is None else (steps, trajectories, 0), like.dtype)
    batched = _checks.ndim(x) == 3
    x = _checks.array("x", x, ("T", "B", size.inputs) if batched else ("T", size.inputs), like=like)
    if len(x) == 0 or (batched and x.shape[1] == 0):
        raise LyapflowError(f"x must have at least one step and one trajectory, got shape {x.shape}")
    return (x if batched else x[:, None, :]), batched
