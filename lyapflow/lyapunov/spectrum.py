"""Lyapunov spectra with error bars."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._results import Result
from lyapflow.cells.interface import checked, first_array, sizes, step, tangent
from lyapflow.cells.layers import each_layer, of_layer
from lyapflow.ensemble import over_members
from lyapflow.errors import LyapflowError, warn
from lyapflow.lyapunov.dimension import entropy_rate, kaplan_yorke
from lyapflow.lyapunov.doubts import doubt
from lyapflow.lyapunov.error_bars import error_bars, same_input
from lyapflow.lyapunov.growth import Growth, side_by_side, volume_growth
from lyapflow.lyapunov.layers import driven, layer_problems
from lyapflow.lyapunov.problem import Problem, doubt_layout, each_trajectory
from lyapflow.lyapunov.rounding import rounding_errors


@dataclass(frozen=True, eq=False)
class Spectrum(Result):
    """Lyapunov exponents of one cell; of an ensemble, with a leading member axis on every array.

    Attributes
    ----------
    exponents : array (k,)
        In nats per step and in QR order, which is descending up to noise, averaged over the
        trajectories; -inf for directions that are lost exactly, which come last.
    stderr : array (k,)
        Standard error of each exponent, such that ± 2 of them are a 95 % interval; NaN below four
        reorthonormalisations and where an exponent is -inf.
    history : array (n_qr, k)
        Running means after each counted reorthonormalisation; members with fewer of them have NaN
        at the start.
    trajectories : array (B, k)
        Exponents of each trajectory.
    steps_counted : int
        Steps of a trajectory that entered the mean; of all trajectories, where lengths were given.
        Of an ensemble whose members differ in it, an array.
    n_state : int
        Length of the state, the number of exponents that there are.
    t_ons : int
        Steps between reorthonormalisations.
    factorisations : int array (4,)
        How reorthonormalisations were done, over all trajectories: by Cholesky's method; so with a
        panel taken twice; by Householder's method; and how many left a direction in doubt and were
        done again, step by step or from the Jacobian itself.
    below_rounding : int array (k,)
        Counted steps, of all trajectories, that left a direction below the rounding of products in
        float64. Its growth was found from the Jacobian itself; what remains unknown of it is in
        stderr.
    reasons : tuple of (str or None)
        For an ensemble: why a member came back as NaN, None where it did not.
    deviations : array (rows, k), optional
        Independent deviations, whose squares add up to those of stderr: a combination ``Σ w_i λ_i``
        has the standard error ``|deviations @ w|``.
    layer : int array (k,), optional
        Of a network of layers: which layer an exponent belongs to, the bottom one being 0.
    by_layer : tuple of Spectrum
        Of a network of layers: the exponents of each, in QR order.
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
    layer: np.ndarray | None = None
    by_layer: tuple["Spectrum", ...] = field(default=(), repr=False)

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

        0 if λ_1 < 0; n_state if even the sum of all is not negative; NaN where more exponents than
        k are needed. Sums within 2 standard errors of zero are taken for zero. Kaplan and Yorke
        (1979)."""
        return self._of_each_member(kaplan_yorke)[0]

    @property
    def kaplan_yorke_stderr(self) -> Any:
        """Standard error of the dimension, with the correlations between exponents."""
        return self._of_each_member(kaplan_yorke)[1]

    @property
    def entropy_rate(self) -> Any:
        """Sum of the positive exponents, nats per step: an upper bound of the Kolmogorov-Sinai entropy rate (Ruelle),
        equal to it for natural measures (Pesin). NaN where the k exponents do not reach a negative
        one."""
        return self._of_each_member(entropy_rate)[0]

    @property
    def entropy_rate_stderr(self) -> Any:
        """Standard error of the entropy rate, with the correlations between exponents."""
        return self._of_each_member(entropy_rate)[1]

    def per(self, dt: float) -> "Spectrum":
        """The same in nats per unit of time, where a step takes dt; dimensions stay as they are.

        Examples
        --------
        >>> import numpy as np, lyapflow as lf
        >>> W, leak = np.array([[0.5]]), np.array([0.01])  # τ dh/dt = -h + W tanh(h), τ = 1
        >>> cell = lf.RateRNN(W, np.empty((1, 0)), np.zeros(1), leak)
        >>> lf.lyapunov_spectrum(cell, steps=100).per(dt=0.01).exponents.round(3)
        array([-0.501])
        """
        dt = _checks.number("dt", dt, 0.0)
        if dt == 0.0:
            raise LyapflowError("dt, the time that a step takes, must be above 0, got 0")
        return dataclasses.replace(
            self,
            exponents=self.exponents / dt,
            stderr=self.stderr / dt,
            history=self.history / dt,
            trajectories=self.trajectories / dt,
            deviations=None if self.deviations is None else self.deviations / dt,
            by_layer=tuple(spectrum.per(dt) for spectrum in self.by_layer),
        )

    def _of_each_member(self, numbers: Callable[..., tuple[float, float]]) -> Any:
        """The number and its standard error; of an ensemble, two arrays."""
        exponents = self.exponents
        deviations = (
            exponents[..., None, :][..., :0, :] if self.deviations is None else self.deviations
        )
        if exponents.ndim == 1:
            return numbers(exponents, deviations, self.n_state)
        return np.array([numbers(*member, self.n_state) for member in zip(exponents, deviations)]).T

    @staticmethod
    def over_members(spectra: Sequence["Spectrum"], reasons: Sequence[str | None]) -> "Spectrum":
        """One Spectrum of an ensemble from those of its members."""
        names = ("exponents", "stderr", "trajectories", "factorisations", "below_rounding", "t_ons")
        arrays: dict[str, Any] = {
            name: np.stack([getattr(s, name) for s in spectra]) for name in names
        }
        longest = max(len(s.history) for s in spectra)  # they differ where t_ons does
        missing = [((longest - len(s.history), 0), (0, 0)) for s in spectra]
        arrays["history"] = np.stack(
            [np.pad(s.history, m, constant_values=np.nan) for s, m in zip(spectra, missing)]
        )
        deviations = [s.deviations for s in spectra if s.deviations is not None]
        rows = max(map(len, deviations))
        arrays["deviations"] = np.stack(
            [np.pad(d, ((rows - len(d), 0), (0, 0))) for d in deviations]
        )
        if spectra[0].layer is not None:
            arrays["layer"] = np.stack([s.layer for s in spectra if s.layer is not None])
        counted = [s.steps_counted for s in spectra]
        if len(set(counted)) > 1:
            arrays["steps_counted"] = np.array(counted)
        layers = zip(*(s.by_layer for s in spectra))
        arrays["by_layer"] = tuple(Spectrum.over_members(layer, reasons) for layer in layers)
        return dataclasses.replace(spectra[0], **arrays, reasons=tuple(reasons))

    def _of_columns(self, columns: np.ndarray, **changes: Any) -> "Spectrum":
        """Some of the exponents, in the order of their numbers."""
        names = ("exponents", "stderr", "history", "trajectories", "below_rounding", "deviations")
        taken = {name: getattr(self, name)[..., columns] for name in names}
        return dataclasses.replace(self, **taken, **changes)


def _spectrum(found: Sequence[Growth], given: Problem, errors: np.ndarray) -> tuple[Spectrum, bool]:
    """What the growth of all trajectories says, and whether the run is too short for the error bars.

    Errors (B, k) are of exponents, beyond what their growth rates show.
    """
    dtype, counted, groups = first_array(given.cell).dtype, given.counted, same_input(given.x)
    log_R = [growth.log_growth[given.plan.uncounted :] for growth in found]
    unknown = np.array([growth.unknown for growth in found]) + errors * counted[:, None]
    rounding = float(np.sqrt(np.finfo(dtype).eps))
    if given.lengths is None:
        rates, ends = np.array(log_R), given.plan.ends
        bars = error_bars(rates, given.plan.intervals, groups, unknown, rounding)
    else:
        # sequences of different lengths follow one another, as one series
        rates = np.concatenate(log_R)[None]
        steps = np.concatenate([given.alone(b).plan.intervals for b in range(len(found))])
        ends = np.cumsum(steps)
        bars = error_bars(rates, steps, np.zeros(1, int), unknown.sum(axis=0)[None], rounding)
        # those that share their input say the same again
        bars = bars.times(np.sqrt(len(groups) / len(np.unique(groups))))
    history = np.cumsum(rates, axis=1) / ends[:, None]
    own = history[:, -1]
    if given.lengths is not None:
        own = np.array([of.sum(axis=0) for of in log_R]) / counted[:, None]
    spectrum = Spectrum(
        exponents=history[:, -1].mean(axis=0).astype(dtype),
        stderr=bars.stderr.astype(dtype),
        history=history.mean(axis=0).astype(dtype),
        trajectories=own.astype(dtype),
        steps_counted=int(ends[-1]),
        n_state=given.size.state,
        t_ons=given.plan.t_ons,
        factorisations=np.sum([growth.paths for growth in found], axis=0),
        below_rounding=np.sum([growth.below_rounding for growth in found], axis=0),
        deviations=bars.deviations.astype(dtype),
    )
    return spectrum, bars.doubtful


# how many exponents of all layers are wanted, and the problem of each
Checked = tuple[Any, int | None, list[Problem]]


def _checked(cell: Any, k: Any, **arguments: Any) -> Checked:
    """With k a number, the first k of all layers are among the first k of each."""
    layers = each_layer(cell)
    if len(layers) == 1 or not isinstance(k, (int, np.integer)):
        return cell, None, layer_problems((step, tangent), cell, k=k, **arguments)
    cell = checked(cell, step, tangent)
    states = [sizes(layer).state for layer in layers]
    k = _checks.integer("k", k, 1, sum(states), why=" = n_state of these layers")
    ks = [min(k, n) for n in states]
    return cell, k, layer_problems((step, tangent), cell, k=ks, **arguments)


def _lost_growth(given: Problem) -> Growth:
    k, no_steps = len(given.block), np.zeros(4, np.int64)
    log_growth = np.full((given.plan.n_qr, k), np.nan)
    return Growth(log_growth, no_steps, np.zeros(k), np.zeros(k, np.int64), given.x.dtype)


def _lost_spectrum(checked: Checked) -> Spectrum:
    cell, wanted, given = checked
    found = []
    for layer in given:
        found.append([_lost_growth(layer.alone(b)) for b in range(len(layer.h0))])
    return _of_layers(cell, wanted, given, found, [np.zeros((1, len(g.block))) for g in given])[0]


def _growth(given: Problem) -> list[Growth]:
    return each_trajectory(lambda b: volume_growth(given.alone(b)), len(given.h0))


def _of_layers(
    cell: Any,
    wanted: int | None,
    given: list[Problem],
    found: list[list[Growth]],
    errors: list[np.ndarray],
) -> tuple[Spectrum, list[bool]]:
    """The exponents of all layers in descending order, those of a single one as they come.

    And whether the run is too short for the error bars of each layer. Bars of all layers are found
    together, too: what moves exponents of several layers moves their sum. Trajectories whose input
    to the network is the same are of one group in every layer."""
    x = given[0].x
    alone = [_spectrum(of, g._replace(x=x), e) for of, g, e in zip(found, given, errors)]
    by_layer, short = zip(*alone)
    if len(given) == 1:
        return by_layer[0], list(short)
    growth = [side_by_side(of) for of in zip(*found)]
    together = given[0]._replace(size=sizes(cell))
    spectrum, _ = _spectrum(growth, together, np.hstack(errors))
    layer = np.repeat(np.arange(len(given)), [len(g.block) for g in given])
    order = np.argsort(-spectrum.exponents, kind="stable")[:wanted]
    return spectrum._of_columns(order, layer=layer[order], by_layer=by_layer), list(short)


@over_members("x", "h0", "q0", "lengths", check=_checked, lost=_lost_spectrum)
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
    lengths: ArrayLike | None = None,
) -> Spectrum:
    r"""The first k Lyapunov exponents along the trajectory driven by x.

    .. math:: \lambda_i = \frac1T \sum_s \log R_{ii}^s, \qquad D_{s+t_{ONS}-1} \cdots D_s Q_s = Q_{s+1} R^{s+1}

    Parameters
    ----------
    cell : cell
    x : array (T, m) or (T, B, m)
        Input of one trajectory, or of B whose exponents are averaged; for a cell without inputs
        give `steps` instead.
    k : int, optional
        Number of exponents, all n_state by default. Of a network of layers the first k of all; or a
        tuple, how many of each.
    steps : int, optional
        Number of steps of a cell without inputs, transients included; h0 (B, n_state) makes B
        trajectories.
    h0 : array (n_state,) or (B, n_state), optional
        Initial state, zeros by default.
    q0 : array (n_state, k), optional
        Initial orthonormal block, shared by the trajectories; the first k columns of a fixed matrix
        by default. Of a network of layers one for each.
    t_ons : int or "auto"
        Steps between reorthonormalisations. "auto" takes as many as a short sweep finds harmless;
        an interval that proves ill-conditioned after all is done again step by step. Exponents
        agree with those of t_ons = 1 to 1e-8 (float32: 1e-3).
    transient : int
        First steps, which move the state alone.
    q_transient : int
        Next steps, which move state and block without being counted.
    lengths : int array (B,), optional
        How long each trajectory is, where x (T, B, m) is padded at the ends: then exponents are
        means over all counted steps, and the bars those of all trajectories one after the other.

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
        If x has fewer steps than trajectories, or the exponents or their bars cannot be trusted
        (Notes).

    Notes
    -----
    Benettin et al. (1980); paper, Alg. 2 and App. I. Standard errors come from slow variations of
    the growth rates, so correlations are accounted for; they are too large where growth rates
    cancel over time. Trajectories that share their input count as one; where trajectories differ by
    more than their own errors, the scatter between them holds. A `LyapflowWarning` says where a run
    is too short for its bars, and where exponents are those of a repelling fixed point or of
    rounding errors.

    An exponent is -inf where the product of the Jacobians, as float64 numbers, has lost rank
    exactly. A direction that a step leaves below rounding is found from the Jacobian itself; what
    remains unknown of it is in stderr (``docs/conventions.md``).

    The exponents of a network of layers are those of each layer under the states of the one below,
    in descending order (``docs/conventions.md``).

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN(W=np.array([[0.5]]), V=np.empty((1, 0)), b=np.zeros(1))
    >>> lf.lyapunov_spectrum(cell, steps=100).exponents.round(9)  # ln 0.5 at the fixed point 0
    array([-0.69314718])
    """
    cell, wanted, given = _checked(
        cell,
        k,
        x=x,
        steps=steps,
        h0=h0,
        q0=q0,
        t_ons=t_ons,
        transient=transient,
        q_transient=q_transient,
        lengths=lengths,
    )
    if steps is None:
        doubt_layout(given[0].x)
    given = driven(given)
    found, errors = [], []
    for number, layer in enumerate(given):
        with of_layer(number, len(given)):
            found.append(_growth(layer))
            errors.append(rounding_errors(layer, found[-1]))
    known = [np.where(np.isinf(of), 0.0, of) for of in errors]
    spectrum, short = _of_layers(cell, wanted, given, found, known)
    for number, (layer, of) in enumerate(zip(given, errors)):
        largest = (spectrum.by_layer or (spectrum,))[number].exponents[0]
        if why := doubt(layer, largest, of, short[number]):
            warn(why if len(given) == 1 else f"layer {number}: {why}")
    return spectrum
