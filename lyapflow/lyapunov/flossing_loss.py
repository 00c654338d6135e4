"""The flossing loss on Lyapunov exponents, and its gradient."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow._checks import Diverged, LyapflowError
from lyapflow.cells.ensemble import over_members
from lyapflow.cells.interface import DIFFERENTIABLE
from lyapflow.cells.parameters import map_arrays
from lyapflow.lyapunov.deficiency import Suspicious, careful, no_loss, resolution
from lyapflow.lyapunov.forward import Recover, Schedule, Tape, new_tape, sweep
from lyapflow.lyapunov.pullback import retreat
from lyapflow.lyapunov.spectrum import Problem, each_trajectory, problem


def _checked_flossing(target: Any, **arguments: Any) -> tuple[Problem, np.ndarray]:
    given = problem(DIFFERENTIABLE, **arguments)
    return given, targets(target, len(given.block))


def _lost_flossing(checked: tuple[Problem, np.ndarray]) -> tuple[float, Any, np.ndarray]:
    cell, block = checked[0].cell, checked[0].block
    return np.nan, map_arrays(lambda a: np.full_like(a, np.nan), cell), np.full(len(block), np.nan, block.dtype)


@over_members("x", "h0", "q0", check=_checked_flossing, lost=_lost_flossing)
def flossing_value_and_grad(
    cell: Any,
    x: ArrayLike,
    k: int,
    *,
    target: ArrayLike = 0.0,
    h0: ArrayLike | None = None,
    q0: ArrayLike | None = None,
    t_ons: int = 1,
    transient: int = 0,
    q_transient: int = 0,
) -> tuple[float, Any, np.ndarray]:
    r"""Flossing loss, its gradient in all parameters of the cell, and the exponents.

    .. math:: L = \sum_{i \le k} (\lambda_i - \lambda_i^{target})^2

    The exponents are a function of (parameters, x, h0, q0); the gradient is the exact derivative of that function,
    through the trajectory and the QR, transients included, with h0 and q0 held constant.

    Parameters
    ----------
    cell : cell
    x : array (T, m) or (T, B, m)
        Input of one trajectory, or of B whose exponents are averaged before the loss.
    k : int
        Number of exponents in the loss.
    target : float or array (k,)
        Wanted exponents, nats per step.
    h0 : array (n_state,) or (B, n_state), optional
        Initial state, zeros by default.
    q0 : array (n_state, k), optional
        Initial orthonormal block, shared by the trajectories.
    t_ons, transient, q_transient : int
        As in `lyapunov_spectrum`.

    Returns
    -------
    loss : float
    gradient : cell
        Of the same class.
    exponents : array (k,)
        In nats per step.

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state or the gradient stops being finite, or the block loses rank: then fewer than k exponents exist, and
        it names the step and, as ``rank``, how many are left. An ensemble goes on: loss, gradient and exponents of that
        member are NaN, and ``gradient.reasons`` says why.

    Notes
    -----
    Paper, Alg. 1, Eq. 4, 5 and 8; derivation in ``docs/derivations.md``.
    """
    given = problem(DIFFERENTIABLE, cell, x, k, h0, q0, t_ons, transient, q_transient)
    return _flossing(given, targets(target, len(given.block)))


def targets(target: Any, k: int) -> np.ndarray:
    """Wanted exponents (k,) from a number or k of them."""
    try:
        wanted = np.asarray(target)
    except ValueError:  # ragged
        wanted = np.array(None)
    if wanted.dtype.kind not in "iuf" or wanted.shape not in ((), (k,)) or not np.isfinite(wanted).all():
        raise LyapflowError(f"target must be a finite number or {k} of them, one per exponent, got {target!r}")
    return np.broadcast_to(wanted.astype(float), (k,))


def _flossing(given: Problem, wanted: np.ndarray) -> tuple[float, Any, np.ndarray]:
    cell, size, x, plan, start, block = given
    batch, counted = len(start), plan.ends[-1]

    def ahead(b: int) -> tuple[np.ndarray, np.ndarray, Tape, Schedule]:
        driven = given.driven(b)

        def run(plan: Schedule, recover: Recover) -> tuple[np.ndarray, np.ndarray, Tape, Schedule]:
            tape = new_tape(size, start[b : b + 1], block, plan, full=True)
            log_R = sweep(cell, size, driven, tape, plan, resolution(size.state, x.dtype), recover)
            return log_R[plan.uncounted :].sum(axis=0), driven, tape, plan

        if plan.t_ons > 1:
            try:
                return run(plan, careful)
            except Suspicious:  # an interval is ill-conditioned, or rank is lost
                pass
        every_step = plan.every_step()
        return run(every_step, no_loss(cell, size, driven, every_step))

    def back(b: int) -> Any:
        _, driven, tape, plan = runs[b]
        log_R_bar = np.zeros((plan.n_qr, len(block)), x.dtype)
        log_R_bar[plan.uncounted :] = 2.0 * off / (counted * batch)
        return retreat(cell, size, driven, tape, plan, log_R_bar, np.empty((0, 1, size.state), x.dtype))[0]

    runs = each_trajectory(ahead, batch)
    exponents = np.sum([growth for growth, *_ in runs], axis=0) / (counted * batch)
    off = exponents - wanted
    parts = each_trajectory(back, batch)
    gradient = type(cell)(*(sum(arrays[1:], arrays[0]) for arrays in zip(*parts)))
    if not all(np.isfinite(a).all() for a in gradient):
        raise Diverged("the flossing gradient, summed over steps, is not finite: use a shorter input")
    return float(off @ off), gradient, exponents.astype(x.dtype)
