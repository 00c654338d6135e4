"""The flossing loss on Lyapunov exponents, and its gradient."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.pool import threads
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import DIFFERENTIABLE
from lyapflow.ensemble import over_members
from lyapflow.errors import Diverged, LyapflowError
from lyapflow.linalg.graded import NOISE
from lyapflow.lyapunov.forward import Recover, Schedule, Tape, doubt_layout, new_tape, sweep
from lyapflow.lyapunov.pullback import Piece, retreat, steps_per_chunk
from lyapflow.lyapunov.resolution import Suspicious, all_resolved, confirm, resolution, suspicious
from lyapflow.lyapunov.spectrum import Problem, each_trajectory, problem, with_intervals

MEMORY = 256e6  # bytes

AVERAGES = ("exponents", "loss")


def _checked_flossing(
    target: Any, memory: Any, average: Any, **arguments: Any
) -> tuple[Problem, np.ndarray, float, str]:
    given = problem(DIFFERENTIABLE, **arguments)
    wanted = targets(target, len(given.block))
    return given, wanted, _checks.number("memory", memory, 0.0), _checks.one_of("average", average, AVERAGES)


def _lost_flossing(checked: tuple[Problem, np.ndarray, float, str]) -> tuple[float, Any, np.ndarray]:
    cell, block = checked[0].cell, checked[0].block
    return np.nan, map_arrays(lambda a: np.full_like(a, np.nan), cell), np.full(len(block), np.nan, block.dtype)


@over_members("x", "h0", "q0", check=_checked_flossing, lost=_lost_flossing)
def flossing_value_and_grad(
    cell: Any,
    x: ArrayLike | None = None,
    k: int | None = None,
    *,
    steps: int | None = None,
    target: ArrayLike = 0.0,
    h0: ArrayLike | None = None,
    q0: ArrayLike | None = None,
    t_ons: int | str = 1,
    transient: int = 0,
    q_transient: int = 0,
    average: str = "exponents",
    memory: float = MEMORY,
) -> tuple[float, Any, np.ndarray]:
    r"""Flossing loss, its gradient in all parameters of the cell, and the exponents.

    .. math:: L = \sum_{i \le k} (\bar\lambda_i - \lambda_i^{target})^2
        \qquad\text{or}\qquad
        L = \frac{1}{B} \sum_{b \le B} \sum_{i \le k} (\lambda_{bi} - \lambda_i^{target})^2

    of the exponents averaged over the B trajectories, or averaged over the losses of each. The second is larger by the
    variance of the exponents over the trajectories, which it lowers as well; for one trajectory they are the same.

    The exponents are a function of (parameters, x, h0, q0); the gradient is the exact derivative of that function,
    through the trajectory and the QR, transients included, with h0 and q0 held constant.

    Parameters
    ----------
    cell : cell
    x : array (T, m) or (T, B, m)
        Input of one trajectory, or of B.
    k : int, optional
        Number of exponents in the loss, all n_state by default.
    steps : int, optional
        Instead of x, for a cell without inputs, as in `lyapunov_spectrum`.
    target : float or array (k,)
        Wanted exponents, nats per step.
    h0 : array (n_state,) or (B, n_state), optional
        Initial state, zeros by default.
    q0 : array (n_state, k), optional
        Initial orthonormal block, shared by the trajectories.
    t_ons, transient, q_transient
        As in `lyapunov_spectrum`.
    average : "exponents" or "loss"
        What is averaged over the trajectories: the exponents, before the loss (the first formula), or the losses of
        each (the second), as the scripts of the paper's author do.
    memory : float
        Bytes that the tapes of the forward sweeps may take, about ``8 T k (n_state + k)`` for each trajectory in
        float64. Where those of all trajectories are more, sweeps keep checkpoints and are done again piece by piece,
        one trajectory a thread at a time, which costs half as much time more and gives the same bits. Where nothing
        fits, as little is taken as is possible.

    Returns
    -------
    loss : float
    gradient : cell
        Of the same class.
    exponents : array (k,)
        In nats per step, averaged over the trajectories.

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state or the gradient stops being finite, or the block loses rank: then fewer than k exponents exist, and
        it names the step and, as ``rank``, how many are left. An ensemble goes on: loss, gradient and exponents of that
        member are NaN, and ``gradient.reasons`` says why.

    Warns
    -----
    LyapflowWarning
        If x has fewer steps than trajectories.

    Notes
    -----
    Paper, Alg. 1, Eq. 4, 5 and 8; derivation in ``docs/derivations.md``.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN(np.diag([0.5, 0.25]), np.empty((2, 0)), np.zeros(2))
    >>> loss, gradient, exponents = lf.flossing_value_and_grad(cell, steps=10, q0=np.eye(2))
    >>> exponents.round(6)  # ln 0.5 and ln 0.25 at the fixed point 0
    array([-0.693147, -1.386294])
    >>> np.diag(gradient.W).round(6)  # 2 λ / W_ii
    array([ -2.772589, -11.090355])
    """
    times = {"steps": steps, "t_ons": t_ons, "transient": transient, "q_transient": q_transient}
    given, wanted, memory, average = _checked_flossing(
        target, memory, average, cell=cell, x=x, k=k, h0=h0, q0=q0, **times
    )
    if steps is None:
        doubt_layout(given.x)
    return _flossing(with_intervals(given), wanted, memory, average)


def one_value_and_grad(
    target: ArrayLike, average: str, memory: float = MEMORY, **arguments: Any
) -> tuple[float, Any, np.ndarray]:
    """`flossing_value_and_grad` of one cell, for callers who vouch for the layout of x."""
    given, wanted, memory, average = _checked_flossing(target, memory, average, **arguments)
    return _flossing(with_intervals(given), wanted, memory, average)


def targets(target: Any, k: int) -> np.ndarray:
    """Wanted exponents (k,) from a number or k of them."""
    _checks.not_masked("target", target)
    try:
        wanted = np.asarray(target)
    except ValueError:  # ragged
        wanted = np.array(None)
    if wanted.dtype.kind not in "iuf" or wanted.shape not in ((), (k,)) or not np.isfinite(wanted).all():
        raise LyapflowError(f"target must be a finite number or {k} of them, one per exponent, got {target!r}")
    return np.broadcast_to(wanted.astype(float), (k,))


def piece_starts(given: Problem, memory: float) -> list[int]:
    """First steps of the pieces whose tapes fit into memory (bytes), one at a time, beside a checkpoint for each.

    None of them if the whole tapes of all trajectories fit at once. Pieces are of whole chunks of the reverse sweep, as
    few of them as fit; or, where nothing does, as many as take the least memory.
    """
    size, plan, (k, n), batch, itemsize = given.size, given.plan, given.block.shape, len(given.start), given.x.itemsize
    tape = itemsize * (n + size.record + k * n + k * k)  # a step, with a QR after each
    checkpoint = itemsize * (n + k * n)
    chunk = steps_per_chunk(size, 1, k)
    if batch * plan.steps * tape <= memory:
        return []

    def taken(length: int) -> int:
        return batch * -(-plan.steps // length) * checkpoint + min(batch, threads()) * length * tape

    lengths = range(chunk, plan.steps + chunk, chunk)
    fitting = [length for length in lengths if taken(length) <= memory]
    length = max(fitting) if fitting else min(lengths, key=taken)
    return sorted({0, *range(plan.steps - length, 0, -length)})


def _confirmed_sweep(
    given: Problem, b: int, block: np.ndarray, tape: Tape, plan: Schedule, recover: Recover, checkpoints: dict[int, Any]
) -> np.ndarray:
    """log R of trajectory b, whose gradient floating-point numbers can carry; else raises Diverged with a rank."""
    cell, size, x = given.cell, given.size, given.driven(b)
    log_R, ratio = sweep(cell, size, x, tape, plan, resolution(size.state, x.dtype), recover, checkpoints)
    if x.dtype == np.float64 and ratio < NOISE:
        confirm(log_R, cell, size, x, given.start[b : b + 1], block, plan)
    return log_R


def _with_way_out(error: Diverged, given: Problem) -> Diverged:
    """The error of lost rank with the largest k that works for all trajectories, found by sweeps without a tape."""
    cell, size, plan, k = given.cell, given.size, given.plan.with_interval(1), error.rank or 0

    def alone(b: int) -> None:
        tape = new_tape(size, given.start[b : b + 1], given.block[:k], plan, full=False)
        recover = all_resolved(cell, size, given.driven(b), plan.transient)
        _confirmed_sweep(given, b, given.block[:k], tape, plan, recover, {})

    works = False
    while k > 0 and not works:
        try:
            each_trajectory(alone, len(given.start))
            works = True
        except Diverged as lower:
            if lower.rank is None:
                raise
            k = lower.rank
    way_out = f"ask for k <= {k}" if k else "use other weights or another q0"
    if given.x.dtype == np.float32:
        way_out += ", or use float64"
    return Diverged(f"{error}; {way_out}", step=error.step, member=error.member, rank=k)


def _flossing(given: Problem, wanted: np.ndarray, memory: float, average: str) -> tuple[float, Any, np.ndarray]:
    cell, size, x, plan, start, block, _ = given
    batch, counted, starts = len(start), plan.ends[-1], piece_starts(given, memory)
    whole = not starts

    def ahead(b: int) -> tuple[np.ndarray, Schedule, Tape | None, dict[int, Any]]:
        driven = given.driven(b)

        def run(plan: Schedule, recover: Recover) -> tuple[np.ndarray, Schedule, Tape | None, dict[int, Any]]:
            tape = new_tape(size, start[b : b + 1], block, plan, full=whole)
            checkpoints: dict[int, Any] = dict.fromkeys(starts)
            log_R = _confirmed_sweep(given, b, block, tape, plan, recover, checkpoints)
            return log_R[plan.uncounted :].sum(axis=0), plan, tape if whole else None, checkpoints

        if plan.t_ons > 1:
            try:
                return run(plan, suspicious)
            except Suspicious:  # an interval is ill-conditioned, or rank is lost
                pass
        every_step = plan.with_interval(1)
        return run(every_step, all_resolved(cell, size, driven, plan.transient))

    def back(b: int) -> Any:
        _, plan, tape, checkpoints = runs[b]
        driven = given.driven(b)

        def growth_bar(first: int, end: int) -> np.ndarray:
            factors = np.arange(plan.factors_before(first), plan.factors_before(end))[:, None]
            return np.where(factors < plan.uncounted, 0.0, 2.0 * off[b % len(off)] / (counted * batch)).astype(x.dtype)

        def again(first: int, end: int) -> Piece:
            part, at = plan.part(first, end), checkpoints[first]
            tape = new_tape(size, at.states, at.block, part, full=True)
            sweep(cell, size, driven[first:end], tape, part)
            return Piece(first, driven[first:end], tape, part, growth_bar(first, end))

        if tape is not None:
            return retreat(cell, size, [Piece(0, driven, tape, plan, growth_bar(0, plan.steps))])
        ends = [*starts[1:], plan.steps]
        return retreat(cell, size, (again(first, end) for first, end in zip(reversed(starts), reversed(ends))))

    try:
        runs = each_trajectory(ahead, batch)
    except Diverged as error:
        if error.rank is None:
            raise
        raise _with_way_out(error, given) from None
    growth = np.array([found[0] for found in runs])
    exponents = growth.sum(axis=0) / (counted * batch)
    off = growth / counted - wanted if average == "loss" else (exponents - wanted)[None]  # a row for each, or for all
    parts = each_trajectory(back, batch)
    gradient = type(cell)(*(sum(arrays[1:], arrays[0]) for arrays in zip(*parts)))
    if not all(np.isfinite(a).all() for a in gradient):
        raise Diverged("the flossing gradient, summed over steps, is not finite: use a shorter input")
    return float(np.vdot(off, off)) / len(off), gradient, exponents.astype(x.dtype)
