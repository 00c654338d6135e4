"""Lyapunov spectra with error bars, and the flossing loss with its gradient."""

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtrit

from lyapflow import _checks
from lyapflow._checks import Diverged, LyapflowError
from lyapflow.cells.interface import DIFFERENTIABLE, Sizes, checked, sizes, step, tangent
from lyapflow.linalg.qr import qr
from lyapflow.lyapunov.forward import Schedule, Tape, initial_state, inputs, new_tape, schedule, sweep
from lyapflow.lyapunov.pullback import retreat

BATCHES = 32


@dataclass(frozen=True)
class Spectrum:
    """Lyapunov exponents of one trajectory.

    Attributes
    ----------
    exponents : array (k,)
        In nats per step and in QR order, which is descending up to noise.
    stderr : array (k,)
        Standard error of each exponent, from the scatter of the means of long batches, such that ± 2 of them are a
        95 % interval; NaN below four reorthonormalisations.
    history : array (n_qr, k)
        Running means after each counted reorthonormalisation.
    steps_counted : int
        Steps that entered the mean.
    n_state : int
        Length of the state, the number of exponents that there are.
    """

    exponents: np.ndarray
    stderr: np.ndarray
    history: np.ndarray = field(repr=False)
    steps_counted: int
    n_state: int

    @property
    def kaplan_yorke_dimension(self) -> float:
        r"""``j + Σ_{i<=j} λ_i / |λ_{j+1}|`` for the largest j whose sum of exponents is not negative.

        0 if λ_1 < 0; n_state if even the sum of all is not negative; NaN where more exponents than k are needed.
        Kaplan and Yorke (1979).
        """
        ordered = np.sort(self.exponents.astype(float))[::-1]
        sums = np.cumsum(ordered)
        if sums[0] < 0:
            return 0.0
        j = int(np.flatnonzero(sums >= 0)[-1]) + 1
        if j == len(ordered):
            return float(j) if j == self.n_state else np.nan
        return j + sums[j - 1] / abs(ordered[j])

    @property
    def entropy_rate(self) -> float:
        """Sum of the positive exponents, nats per step: an upper bound of the Kolmogorov-Sinai entropy rate (Ruelle),
        equal to it for natural measures (Pesin). NaN where the k exponents do not reach a negative one."""
        if len(self.exponents) < self.n_state and self.exponents.min() > 0:
            return np.nan
        return float(np.sum(self.exponents[self.exponents > 0], dtype=float))


@functools.lru_cache(maxsize=8)
def _default_block(n_state: int, k: int, dtype: np.dtype) -> np.ndarray:
    """The first k columns of one fixed orthonormal matrix per n_state, as rows."""
    rows = np.random.default_rng(n_state).standard_normal((k, n_state))
    return np.ascontiguousarray(qr(rows.T)[0].T.astype(dtype))


def _initial_block(q0: Any, n_state: int, k: int, like: np.ndarray) -> np.ndarray:
    if q0 is None:
        return _default_block(n_state, k, like.dtype)
    q0 = _checks.array("q0", q0, (n_state, k), like=like)
    error = float(np.abs(q0.T @ q0 - np.eye(k)).max())
    if error > 100 * n_state * np.finfo(q0.dtype).eps:
        raise LyapflowError(f"q0 must have orthonormal columns, got an error of {error:.1e}; use lyapflow.qr(q0)[0]")
    return np.ascontiguousarray(q0.T)


def _number_of_exponents(k: Any, cell: Any, n_state: int) -> int:
    if k is None:
        return n_state
    return _checks.integer("k", k, 1, n_state, why=f" = n_state for this {type(cell).__name__}")


def _standard_error(log_R: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Standard error of the mean rate by batch means, which respect any correlation shorter than a batch.

    Widened by Student's factor, so that ± 2 of them cover 95.45 % however few batches there are.
    """
    n_qr = len(steps)
    if n_qr < 4:
        return np.full(log_R.shape[1], np.nan)
    batches = min(BATCHES, int(np.sqrt(n_qr)))
    starts = np.arange(batches) * n_qr // batches
    length = np.add.reduceat(steps, starts)
    growth = np.add.reduceat(log_R, starts)
    total = steps.sum()
    deviation = growth / length[:, None] - growth.sum(axis=0) / total
    widening = stdtrit(batches - 1, ndtr(2.0)) / 2
    return widening * np.sqrt((length[:, None] * deviation**2).sum(axis=0) / (total * (batches - 1)))


def lyapunov_spectrum(
    cell: Any,
    x: ArrayLike,
    k: int | None = None,
    *,
    h0: ArrayLike | None = None,
    q0: ArrayLike | None = None,
    t_ons: int = 1,
    transient: int = 0,
    q_transient: int = 0,
) -> Spectrum:
    r"""The first k Lyapunov exponents along the trajectory driven by x.

    .. math:: \lambda_i = \frac1T \sum_s \log R_{ii}^s, \qquad D_{s+t_{ONS}-1} \cdots D_s Q_s = Q_{s+1} R^{s+1}

    Parameters
    ----------
    cell : cell
    x : array (T, m)
        Input; m = 0 for an autonomous system.
    k : int, optional
        Number of exponents, all n_state by default.
    h0 : array (n_state,), optional
        Initial state, zeros by default.
    q0 : array (n_state, k), optional
        Initial orthonormal block; the first k columns of a fixed matrix by default.
    t_ons : int
        Steps between reorthonormalisations.
    transient : int
        First steps, which move the state alone.
    q_transient : int
        Next steps, which move state and block without being counted.

    Returns
    -------
    Spectrum
        Exponents in nats per step, with standard errors.

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state stops being finite or the block loses rank; it names the step.

    Notes
    -----
    Benettin et al. (1980); paper, Alg. 2 and App. I. The standard error is that of the means of up to 32 batches of
    consecutive reorthonormalisations, so it is right where correlations are shorter than a batch, and too large
    where growth rates cancel over time.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN(W=np.array([[0.5]]), V=np.empty((1, 0)), b=np.zeros(1))
    >>> float(lf.lyapunov_spectrum(cell, np.empty((100, 0))).exponents[0])  # ln 0.5 at the fixed point 0
    -0.6931471805599453
    """
    cell = checked(cell, step, tangent)
    size = sizes(cell)
    k = _number_of_exponents(k, cell, size.state)
    x = _checks.array("x", x, ("T", size.inputs), like=cell[0])[:, None, :]
    plan = schedule(len(x), t_ons, transient, q_transient)
    start = initial_state(h0, size, 1, cell[0])
    tape = new_tape(size, start, _initial_block(q0, size.state, k, cell[0]), plan, full=False)
    log_R = sweep(cell, size, x, tape, plan)[plan.uncounted :]
    history = np.cumsum(log_R, axis=0) / plan.ends[:, None]
    dtype = cell[0].dtype
    return Spectrum(
        exponents=history[-1].astype(dtype),
        stderr=_standard_error(log_R, np.diff(plan.ends, prepend=0)).astype(dtype),
        history=history.astype(dtype),
        steps_counted=int(plan.ends[-1]),
        n_state=size.state,
    )


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
        If a state or the gradient stops being finite or the block loses rank.

    Notes
    -----
    Paper, Alg. 1, Eq. 4, 5 and 8; derivation in ``docs/derivations.md``.
    """
    cell = checked(cell, *DIFFERENTIABLE)
    size = sizes(cell)
    k = _number_of_exponents(k, cell, size.state)
    x, _ = inputs(x, size, cell[0])
    plan = schedule(len(x), t_ons, transient, q_transient)
    start = initial_state(h0, size, x.shape[1], cell[0])
    block = _initial_block(q0, size.state, k, cell[0])
    wanted = targets(target, k)
    return _flossing(cell, size, x, plan, start, block, wanted)


def targets(target: Any, k: int) -> np.ndarray:
    """Wanted exponents (k,) from a number or k of them."""
    try:
        wanted = np.asarray(target)
    except ValueError:  # ragged
        wanted = np.array(None)
    if wanted.dtype.kind not in "iuf" or wanted.shape not in ((), (k,)) or not np.isfinite(wanted).all():
        raise LyapflowError(f"target must be a finite number or {k} of them, one per exponent, got {target!r}")
    return np.broadcast_to(wanted.astype(float), (k,))


def _flossing(
    cell: Any, size: Sizes, x: np.ndarray, plan: Schedule, start: np.ndarray, block: np.ndarray, wanted: np.ndarray
) -> tuple[float, Any, np.ndarray]:
    runs: list[tuple[np.ndarray, Tape]] = []
    counted = plan.ends[-1]
    exponents = np.zeros(len(block))
    batch = x.shape[1]
    for b in range(batch):
        driven = np.ascontiguousarray(x[:, b : b + 1])
        tape = new_tape(size, start[b : b + 1], block, plan, full=True)
        try:
            log_R = sweep(cell, size, driven, tape, plan)
        except Diverged as error:
            error.member = b if batch > 1 else None
            raise
        exponents += log_R[plan.uncounted :].sum(axis=0) / (counted * batch)
        runs.append((driven, tape))
    off = exponents - wanted
    log_R_bar = np.zeros((plan.n_qr, len(block)), x.dtype)
    log_R_bar[plan.uncounted :] = 2.0 * off / (counted * batch)
    nothing = np.empty((0, 1, size.state), x.dtype)
    parts = [retreat(cell, size, driven, tape, plan, log_R_bar, nothing)[0] for driven, tape in runs]
    gradient = type(cell)(*(sum(arrays[1:], arrays[0]) for arrays in zip(*parts)))
    if not all(np.isfinite(a).all() for a in gradient):
        raise Diverged("the flossing gradient, summed over steps, is not finite: use a shorter input")
    return float(off @ off), gradient, exponents.astype(x.dtype)
