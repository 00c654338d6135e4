"""The problem: checked arguments of a spectrum or of a flossing loss.

Public functions check what they are given here, before any work. All others take a `Problem` and
check nothing.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.pool import each
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import Sizes, checked, first_array, sizes
from lyapflow.errors import Diverged, LyapflowError, warn
from lyapflow.lyapunov.padding import end_of_padding
from lyapflow.lyapunov.schedule import Schedule, schedule

Found = TypeVar("Found")


class Problem(NamedTuple):
    """What a sweep is about."""

    cell: Any
    size: Sizes
    x: np.ndarray  # (T, B, m)
    plan: Schedule
    h0: np.ndarray  # (B, n_state), the states before the first step
    block: np.ndarray  # (k, n_state), the tangent block from which each trajectory starts
    automatic: bool = False  # whether intervals between QRs are still to be chosen
    lengths: np.ndarray | None = None  # int (B,), steps of each trajectory, where they differ
    earlier: int = 0  # steps that went before the first, of pieces that this one goes on from

    def alone(self, b: int) -> "Problem":
        """The same for trajectory b alone, as far as it goes."""
        x, plan = self.x[:, b : b + 1], self.plan
        if self.lengths is not None:
            steps = int(self.lengths[b])
            x, plan = x[:steps], plan.of_length(steps)
        return self._replace(x=x, plan=plan, h0=self.h0[b : b + 1], lengths=None)

    @property
    def counted(self) -> np.ndarray:
        """Counted steps (B,) of each trajectory."""
        steps = np.full(len(self.h0), self.plan.steps) if self.lengths is None else self.lengths
        return steps - self.plan.before

    def with_interval(self, t_ons: int) -> "Problem":
        """The same, with a QR after every t_ons steps."""
        return self._replace(plan=self.plan.with_interval(t_ons))

    def in_float64(self) -> "Problem":
        """The same, with all arrays of float64."""
        cell = map_arrays(_float64, self.cell)
        return self._replace(
            cell=cell, x=_float64(self.x), h0=_float64(self.h0), block=_float64(self.block)
        )


def _float64(a: np.ndarray) -> np.ndarray:
    return np.asarray(a, float)


def problem(
    generics: tuple,
    cell: Any,
    x: Any,
    k: Any,
    steps: Any,
    h0: Any,
    q0: Any,
    t_ons: Any,
    transient: Any,
    q_transient: Any,
    lengths: Any = None,
) -> Problem:
    """The arguments of a spectrum or of a flossing loss, for cells that implement the generics.

    With t_ons = "auto" the schedule has a QR after every step, until `lyapflow.lyapunov.interval`
    has chosen another: that takes a sweep."""
    cell = checked(cell, *generics)
    size = sizes(cell)
    k = _number_of_exponents(k, cell, size.state)
    lengths, (x,) = end_of_padding(lengths, x=x)
    x, _ = inputs(x, size, first_array(cell), steps, h0)
    automatic = isinstance(t_ons, str)
    if automatic:
        _checks.one_of("t_ons, if not a number,", t_ons, ("auto",))
    plan = schedule(len(x), 1 if automatic else t_ons, transient, q_transient)
    trajectories = x.shape[1]
    if lengths is not None:
        _nothing_to_count(lengths, plan)
    affordable_growth(plan.n_qr, k, trajectories)
    states = initial_state(h0, size, trajectories, first_array(cell))
    return Problem(
        cell,
        size,
        x,
        plan,
        states,
        initial_block(q0, size.state, k, first_array(cell)),
        automatic,
        lengths,
    )


def affordable_growth(n_qr: int, k: int, trajectories: int) -> None:
    """Refuse growth rates that memory would not hold."""
    growth_rates = n_qr * k * trajectories
    bars = n_qr * (k + 2)  # of the mean over trajectories, and steps
    _checks.affordable(
        f"{growth_rates} growth rates, their means and error bars", 4 * growth_rates + bars
    )


def _nothing_to_count(lengths: np.ndarray, plan: Schedule) -> None:
    """Refuse sequences that are no longer than the transients."""
    before = plan.before
    short = int(np.argmin(lengths))
    if lengths[short] <= before:
        raise LyapflowError(
            f"every sequence must be longer than transient + q_transient = {before} steps, "
            f"got {lengths[short]} for sequence {short}"
        )


def _number_of_exponents(k: Any, cell: Any, n_state: int) -> int:
    if k is None:
        return n_state
    return _checks.integer("k", k, 1, n_state, why=f" = n_state for this {type(cell).__name__}")


def inputs(
    x: Any, size: Sizes, like: np.ndarray, steps: Any = None, h0: Any = None
) -> tuple[np.ndarray, bool]:
    """Inputs as (T, B, m), and whether they came as a batch; x = None for steps without input from h0."""
    if (x is None) == (steps is None):
        raise LyapflowError(
            f"give either x, the inputs, or steps, the number of steps of a cell without inputs; "
            f"got {'neither' if x is None else 'both'}"
        )
    if x is None:
        if size.inputs > 0:
            raise LyapflowError(
                f"steps is for cells without inputs, this one has {size.inputs}; give x instead"
            )
        steps, trajectories = (
            _checks.integer("steps", steps, 1),
            len(h0) if _checks.ndim(h0) == 2 else None,
        )
        x = np.empty((steps, 0) if trajectories is None else (steps, trajectories, 0), like.dtype)
    if isinstance(x, (int, np.integer)):
        way_out = f"give steps={x}" if size.inputs == 0 else "draw them, or take a task's"
        raise LyapflowError(
            f"x must be the inputs themselves, (T, m) or (T, B, m), got {x}; {way_out}"
        )
    batched = _checks.ndim(x) == 3
    x = _checks.data("x", x, ("T", "B", size.inputs) if batched else ("T", size.inputs), like=like)
    if len(x) == 0 or (batched and x.shape[1] == 0):
        raise LyapflowError(
            f"x must have at least one step and one trajectory, got shape {x.shape}"
        )
    return (x if batched else x[:, None, :]), batched


def doubt_layout(x: np.ndarray) -> None:
    """Warn where x (T, B, m) has fewer steps than trajectories: what comes from elsewhere often is (B, T, m)."""
    T, B, _ = x.shape
    if T < B:
        warn(
            f"x is (T, B, m), time first: shape {x.shape} was taken as {T} steps of {B} trajectories; "
            f"if it is {T} trajectories of {B} steps, give x.transpose(1, 0, 2)"
        )


def initial_state(h0: Any, size: Sizes, batch: int, like: np.ndarray) -> np.ndarray:
    """States (B, n_state) from None, one state, or a batch of states."""
    if h0 is None:
        return np.zeros((batch, size.state), like.dtype)
    shape = (size.state,) if _checks.ndim(h0) == 1 else (batch, size.state)
    return np.array(np.broadcast_to(_checks.data("h0", h0, shape, like=like), (batch, size.state)))


def initial_block(q0: Any, n_state: int, k: int, like: np.ndarray) -> np.ndarray:
    """The tangent block (k, n_state) of q0 (n_state, k), after checks; the default one of None."""
    if q0 is None:
        return default_block(n_state, k, like.dtype)
    q0 = _checks.array("q0", q0, (n_state, k), like=like)
    with one_blas_thread():  # BLAS's own threads would stay awake beside ours
        error = float(np.abs(q0.T @ q0 - np.eye(k)).max())
    if error > 100 * n_state * np.finfo(q0.dtype).eps:
        raise LyapflowError(
            f"q0 must have orthonormal columns, got an error of {error:.1e}; use lyapflow.qr(q0)[0]"
        )
    return np.ascontiguousarray(q0.T)


@functools.lru_cache(maxsize=8)
def default_block(n_state: int, k: int, dtype: np.dtype) -> np.ndarray:
    """The first k columns of one fixed orthonormal matrix per n_state, as rows."""
    columns = np.random.default_rng(n_state).standard_normal((k, n_state)).T
    with one_blas_thread():
        Q, R = np.linalg.qr(columns)  # as lyapflow.qr, which would have to be compiled first
    return np.ascontiguousarray((Q * np.sign(np.diagonal(R))).T.astype(dtype))


def each_trajectory(work: Callable[[int], Found], trajectories: int) -> list[Found]:
    """work(b) for each trajectory, side by side; a Diverged names the trajectory where there are many."""

    def named(b: int) -> Found:
        try:
            return work(b)
        except Diverged as error:
            if trajectories == 1:
                raise
            raise Diverged(
                f"trajectory {b}: {error}", step=error.step, member=b, rank=error.rank
            ) from None

    return each(named, trajectories)
