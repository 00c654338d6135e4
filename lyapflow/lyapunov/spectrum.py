"""Lyapunov spectra with error bars."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.pool import each
from lyapflow._results import Result
from lyapflow.cells.interface import Sizes, checked, sizes, step, tangent
from lyapflow.ensemble import over_members
from lyapflow.errors import Diverged, LyapflowError, warn
from lyapflow.lyapunov.dimension import entropy_rate, kaplan_yorke
from lyapflow.lyapunov.error_bars import error_bars, excess, returns, same_input
from lyapflow.lyapunov.forward import Schedule, doubt_layout, initial_state, inputs, schedule, trajectory
from lyapflow.lyapunov.growth import Growth, volume_growth
from lyapflow.lyapunov.interval import automatic
from lyapflow.lyapunov.rounding import rounding_errors

SHORT_RUN = 256  # QRs, which cost little to take again
TRANSIENT = 0.4  # of the digits, gained by a starting block: rounding errors may then matter
SHORT_CYCLE = 8  # steps within which a repelling cycle is noticed


@dataclass(frozen=True, eq=False)
class Spectrum(Result):
    """Lyapunov exponents of one cell; of an ensemble, with a leading member axis on every array.

    Attributes
    ----------
    exponents : array (k,)
        In nats per step and in QR order, which is descending up to noise, averaged over the trajectories; -inf for
        directions that are lost exactly, which come last.
    stderr : array (k,)
        Standard error of each exponent, such that ± 2 of them are a 95 % interval; NaN below four
        reorthonormalisations and where an exponent is -inf.
    history : array (n_qr, k)
        Running means after each counted reorthonormalisation; members with fewer of them have NaN at the start.
    trajectories : array (B, k)
        Exponents of each trajectory.
    steps_counted : int
        Steps of a trajectory that entered the mean.
    n_state : int
        Length of the state, the number of exponents that there are.
    t_ons : int
        Steps between reorthonormalisations.
    factorisations : int array (4,)
        How reorthonormalisations were done, over all trajectories: by Cholesky's method; so with a panel taken twice;
        by Householder's method; and how many left a direction in doubt and were done again, step by step or from the
        Jacobian itself.
    below_rounding : int array (k,)
        Counted steps, of all trajectories, that left a direction below the rounding of products in float64. Its growth
        was found from the Jacobian itself; what remains unknown of it is in stderr.
    reasons : tuple of (str or None)
        For an ensemble: why a member came back as NaN, None where it did not.
    deviations : array (rows, k), optional
        Independent deviations, whose squares add up to those of stderr: a combination ``Σ w_i λ_i`` has the standard
        error ``|deviations @ w|``.
    """

    exponents: np.ndarray
    stderr: np.ndarray
    history: np.ndarray = field(repr=False)
    trajectories: np.ndarray = field(repr=False)
    steps_counted: int
    n_state: int
    t_ons: int
    factorisations: np.ndarray
    below_rounding: np.ndarray
    reasons: tuple[str | None, ...] = ()
    deviations: np.ndarray | None = field(default=None, repr=False)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation (k,) of each exponent over the trajectories; NaN for one trajectory."""
        if self.trajectories.shape[-2] == 1:
            return np.full_like(self.exponents, np.nan)
        with np.errstate(invalid="ignore"):  # of -inf
            return self.trajectories.std(axis=-2, ddof=1)

    @property
    def kaplan_yorke_dimension(self) -> Any:
        r"""``j + Σ_{i<=j} λ_i / |λ_{j+1}|`` for the largest j whose sum of exponents is not negative.

        0 if λ_1 < 0; n_state if even the sum of all is not negative; NaN where more exponents than k are needed.
        Sums within 2 standard errors of zero are taken for zero. Kaplan and Yorke (1979).
        """
        return self._of_each_member(kaplan_yorke)[0]

    @property
    def kaplan_yorke_stderr(self) -> Any:
        """Standard error of the dimension, with the correlations between exponents."""
        return self._of_each_member(kaplan_yorke)[1]

    @property
    def entropy_rate(self) -> Any:
        """Sum of the positive exponents, nats per step: an upper bound of the Kolmogorov-Sinai entropy rate (Ruelle),
        equal to it for natural measures (Pesin). NaN where the k exponents do not reach a negative one."""
        return self._of_each_member(entropy_rate)[0]

    @property
    def entropy_rate_stderr(self) -> Any:
        """Standard error of the entropy rate, with the correlations between exponents."""
        return self._of_each_member(entropy_rate)[1]

    def _of_each_member(self, numbers: Callable[..., tuple[float, float]]) -> Any:
        """The number and its standard error; of an ensemble, two arrays."""
        exponents = self.exponents
        deviations = exponents[..., None, :][..., :0, :] if self.deviations is None else self.deviations
        if exponents.ndim == 1:
            return numbers(exponents, deviations, self.n_state)
        return np.array([numbers(*member, self.n_state) for member in zip(exponents, deviations)]).T

    @staticmethod
    def over_members(spectra: Sequence["Spectrum"], reasons: Sequence[str | None]) -> "Spectrum":
        """One Spectrum of an ensemble from those of its members."""
        names = ("exponents", "stderr", "trajectories", "factorisations", "below_rounding", "t_ons")
        arrays: dict[str, Any] = {name: np.stack([getattr(s, name) for s in spectra]) for name in names}
        longest = max(len(s.history) for s in spectra)  # they differ where t_ons does
        missing = [((longest - len(s.history), 0), (0, 0)) for s in spectra]
        arrays["history"] = np.stack([np.pad(s.history, m, constant_values=np.nan) for s, m in zip(spectra, missing)])
        deviations = [s.deviations for s in spectra if s.deviations is not None]
        rows = max(map(len, deviations))
        arrays["deviations"] = np.stack([np.pad(d, ((rows - len(d), 0), (0, 0))) for d in deviations])
        return dataclasses.replace(spectra[0], **arrays, reasons=tuple(reasons))


@functools.lru_cache(maxsize=8)
def default_block(n_state: int, k: int, dtype: np.dtype) -> np.ndarray:
    """The first k columns of one fixed orthonormal matrix per n_state, as rows."""
    columns = np.random.default_rng(n_state).standard_normal((k, n_state)).T
    with one_blas_thread():
        Q, R = np.linalg.qr(columns)  # as lyapflow.qr, which would have to be compiled first
    return np.ascontiguousarray((Q * np.sign(np.diagonal(R))).T.astype(dtype))


def _initial_block(q0: Any, n_state: int, k: int, like: np.ndarray) -> np.ndarray:
    if q0 is None:
        return default_block(n_state, k, like.dtype)
    q0 = _checks.array("q0", q0, (n_state, k), like=like)
    with one_blas_thread():  # BLAS's own threads would stay awake beside ours
        error = float(np.abs(q0.T @ q0 - np.eye(k)).max())
    if error > 100 * n_state * np.finfo(q0.dtype).eps:
        raise LyapflowError(f"q0 must have orthonormal columns, got an error of {error:.1e}; use lyapflow.qr(q0)[0]")
    return np.ascontiguousarray(q0.T)


def _number_of_exponents(k: Any, cell: Any, n_state: int) -> int:
    if k is None:
        return n_state
    return _checks.integer("k", k, 1, n_state, why=f" = n_state for this {type(cell).__name__}")


class Problem(NamedTuple):
    """Checked arguments of a spectrum or of a flossing loss."""

    cell: Any
    size: Sizes
    x: np.ndarray  # (T, B, m)
    plan: Schedule
    start: np.ndarray  # (B, n_state)
    block: np.ndarray  # (k, n_state)
    automatic: bool  # whether intervals are still to be chosen

    def driven(self, b: int) -> np.ndarray:
        """The input of trajectory b."""
        return np.ascontiguousarray(self.x[:, b : b + 1])


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
) -> Problem:
    cell = checked(cell, *generics)
    size = sizes(cell)
    k = _number_of_exponents(k, cell, size.state)
    x, _ = inputs(x, size, cell[0], steps, h0)
    chosen = isinstance(t_ons, str)
    if chosen:
        _checks.one_of("t_ons, if not a number,", t_ons, ("auto",))
    plan = schedule(len(x), 1 if chosen else t_ons, transient, q_transient)
    trajectories = x.shape[1]
    growth_rates = plan.n_qr * k * trajectories
    bars = 8 * plan.n_qr * (k + 1)  # of the mean over trajectories, and of the sum of all
    _checks.affordable(f"{growth_rates} growth rates, their means and error bars", 3 * growth_rates + bars)
    start = initial_state(h0, size, trajectories, cell[0])
    return Problem(cell, size, x, plan, start, _initial_block(q0, size.state, k, cell[0]), chosen)


def with_intervals(given: Problem) -> Problem:
    """The same with intervals chosen, where that was asked for: from a short sweep of the first trajectory."""
    if not given.automatic:
        return given
    t_ons = automatic(given.cell, given.size, given.driven(0), given.start[:1], given.block, given.plan)
    return given._replace(plan=given.plan.with_interval(t_ons))


def _spectrum(found: Sequence[Growth], given: Problem, errors: np.ndarray) -> tuple[Spectrum, bool]:
    """What the growth of all trajectories says, and whether the run is too short for the error bars.

    Errors (B, k) are of exponents, beyond what their growth rates show.
    """
    plan, dtype = given.plan, given.cell[0].dtype
    log_R = np.array([growth.log_growth[plan.uncounted :] for growth in found])
    unknown = np.array([growth.unknown for growth in found]) + errors * plan.ends[-1]
    history = np.cumsum(log_R, axis=1) / plan.ends[:, None]
    rounding = float(np.sqrt(np.finfo(dtype).eps))
    bars = error_bars(log_R, np.diff(plan.ends, prepend=0), same_input(given.x), unknown, rounding)
    spectrum = Spectrum(
        exponents=history[:, -1].mean(axis=0).astype(dtype),
        stderr=bars.stderr.astype(dtype),
        history=history.mean(axis=0).astype(dtype),
        trajectories=history[:, -1].astype(dtype),
        steps_counted=int(plan.ends[-1]),
        n_state=given.size.state,
        t_ons=plan.t_ons,
        factorisations=np.sum([growth.paths for growth in found], axis=0),
        below_rounding=np.sum([growth.below_rounding for growth in found], axis=0),
        deviations=bars.deviations.astype(dtype),
    )
    return spectrum, bars.doubtful


def _lost_spectrum(given: Problem) -> Spectrum:
    k, no_steps = len(given.block), np.zeros(4, np.int64)
    log_growth = np.full((given.plan.n_qr, k), np.nan)
    lost = Growth(log_growth, no_steps, np.zeros(k), np.zeros(k, np.int64))
    return _spectrum([lost] * len(given.start), given, np.zeros((1, k)))[0]


def _never_leaves(given: Problem) -> bool:
    """Whether an autonomous trajectory starts on a fixed point or short cycle, exactly."""
    if given.size.inputs > 0:
        return False
    x = np.ascontiguousarray(given.x[:SHORT_CYCLE])
    return bool(returns(np.concatenate([given.start[None], trajectory(given.cell, x, given.start)])).any())


def _rounding(given: Problem, found: Sequence[Growth]) -> np.ndarray:
    """What rounding errors do to the exponents (B, k) of each trajectory.

    That is measured where a starting block shows that it may matter, of the vectors ahead of those that some step
    leaves below rounding: what is unknown of these was found in that step.
    """
    log_R = np.array([growth.log_growth for growth in found])
    below = np.any([growth.below_rounding for growth in found], axis=0)
    ahead = int(np.argmax(below)) if below.any() else len(below)
    steps = np.diff(np.flatnonzero(given.plan.factor_after >= 0) + 1, prepend=given.plan.transient)
    digits = -float(np.log(np.finfo(given.x.dtype).eps))
    gained = excess(log_R[:, :, :ahead], steps, 0.0 if len(steps) < SHORT_RUN else 5.0)
    if not (gained > TRANSIENT * digits).any():
        return np.zeros_like(log_R[:, 0])

    def errors(b: int) -> np.ndarray:
        return rounding_errors(given.cell, given.size, given.driven(b), given.start[b : b + 1], given.block, given.plan)

    measured = np.array(each_trajectory(errors, len(log_R)))
    measured[:, ahead:] = 0.0
    return measured


def _doubt(given: Problem, spectrum: Spectrum, errors: np.ndarray, short: bool) -> str | None:
    """Why the exponents cannot be trusted, from errors (B, k) that rounding makes and whether the run is too short."""
    if spectrum.exponents[0] > np.sqrt(np.finfo(given.x.dtype).eps) and _never_leaves(given):
        return (
            "the trajectory starts on a fixed point or cycle that repels (λ_1 > 0), and never leaves it: the exponents "
            "are those of that point; start from a random h0"
        )
    if (outgrown := np.isinf(errors).any(axis=0)).any():
        left = int(np.argmax(outgrown))
        return (
            f"from exponent {left + 1} on rounding errors outgrow the directions that are measured (a long chain or "
            "delay line that contracts strongly): "
            + (f"ask for k <= {left}" if left > 0 else "use more precise numbers")
            + (", or use float64" if given.x.dtype == np.float32 else "")
        )
    if short:
        return (
            "growth rates stay above or below their mean for a large part of the run (slow input, switching between "
            "states, laminar phases, or a block that still aligns): error bars may be too small; use more steps, or a "
            "longer q_transient"
        )
    return None


@over_members("x", "h0", "q0", check=functools.partial(problem, (step, tangent)), lost=_lost_spectrum)
def lyapunov_spectrum(
    cell: Any,
    x: ArrayLike | None = None,
    k: int | None = None,
    *,
    steps: int | None = None,
    h0: ArrayLike | None = None,
    q0: ArrayLike | None = None,
    t_ons: int | str = 1,
    transient: int = 0,
    q_transient: int = 0,
) -> Spectrum:
    r"""The first k Lyapunov exponents along the trajectory driven by x.

    .. math:: \lambda_i = \frac1T \sum_s \log R_{ii}^s, \qquad D_{s+t_{ONS}-1} \cdots D_s Q_s = Q_{s+1} R^{s+1}

    Parameters
    ----------
    cell : cell
    x : array (T, m) or (T, B, m)
        Input of one trajectory, or of B whose exponents are averaged; for a cell without inputs give `steps` instead.
    k : int, optional
        Number of exponents, all n_state by default.
    steps : int, optional
        Number of steps of a cell without inputs, transients included; h0 (B, n_state) makes B trajectories.
    h0 : array (n_state,) or (B, n_state), optional
        Initial state, zeros by default.
    q0 : array (n_state, k), optional
        Initial orthonormal block, shared by the trajectories; the first k columns of a fixed matrix by default.
    t_ons : int or "auto"
        Steps between reorthonormalisations. "auto" takes as many as a short sweep finds harmless; an interval that
        proves ill-conditioned after all is done again step by step. Exponents agree with those of t_ons = 1 to 1e-8
        (float32: 1e-3).
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
        If a state stops being finite; it names the step, and the trajectory of a batch.

    Warns
    -----
    LyapflowWarning
        If x has fewer steps than trajectories, or the exponents or their bars cannot be trusted (Notes).

    Notes
    -----
    Benettin et al. (1980); paper, Alg. 2 and App. I. Standard errors come from slow variations of the growth rates, so
    correlations are accounted for; they are too large where growth rates cancel over time. Trajectories that share
    their input count as one; where trajectories differ by more than their own errors, the scatter between them holds.
    A `LyapflowWarning` says where a run is too short for its bars, and where exponents are those of a repelling
    fixed point or of rounding errors.

    An exponent is -inf where the product of the Jacobians, as float64 numbers, has lost rank exactly. A direction that
    a step leaves below rounding is found from the Jacobian itself; what remains unknown of it is in stderr
    (``docs/conventions.md``).

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN(W=np.array([[0.5]]), V=np.empty((1, 0)), b=np.zeros(1))
    >>> lf.lyapunov_spectrum(cell, steps=100).exponents.round(9)  # ln 0.5 at the fixed point 0
    array([-0.69314718])
    """
    given = problem((step, tangent), cell, x, k, steps, h0, q0, t_ons, transient, q_transient)
    if steps is None:
        doubt_layout(given.x)
    given = with_intervals(given)
    cell, size, _, plan, start, block, _ = given

    def growth(b: int) -> Growth:
        return volume_growth(cell, size, given.driven(b), start[b : b + 1], block, plan)

    found = each_trajectory(growth, len(start))
    errors = _rounding(given, found)
    spectrum, short = _spectrum(found, given, np.where(np.isinf(errors), 0.0, errors))
    if doubt := _doubt(given, spectrum, errors, short):
        warn(doubt)
    return spectrum


Found = TypeVar("Found")


def each_trajectory(piece: Callable[[int], Found], trajectories: int) -> list[Found]:
    """`each`, whose Diverged names the trajectory where there are many."""

    def named(b: int) -> Found:
        try:
            return piece(b)
        except Diverged as error:
            if trajectories == 1:
                raise
            raise Diverged(f"trajectory {b}: {error}", step=error.step, member=b, rank=error.rank) from None

    return each(named, trajectories)
