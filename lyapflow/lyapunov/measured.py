"""The Spectrum made from growth rates: exponents with standard errors, and reasons to doubt them."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks, _presented
from lyapflow._results import Result
from lyapflow.cells.interface import first_array, sizes
from lyapflow.cells.layers import of_layer
from lyapflow.errors import LyapflowError
from lyapflow.lyapunov import presented
from lyapflow.lyapunov.course import Course, Run
from lyapflow.lyapunov.dimension import entropy_rate, kaplan_yorke
from lyapflow.lyapunov.doubts import Doubt, doubt
from lyapflow.lyapunov.error_bars import error_bars, exchanged
from lyapflow.lyapunov.finite_time import FiniteTime, finite_time
from lyapflow.lyapunov.growth import End, Growth, Pace, side_by_side
from lyapflow.lyapunov.padding import padded
from lyapflow.lyapunov.problem import Problem
from lyapflow.lyapunov.rounding import rounding_errors
from lyapflow.lyapunov.rows import first_rows
from lyapflow.lyapunov.rows import side_by_side as rows_side_by_side


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(_presented.Presented, Result):
    """Lyapunov exponents of one cell; of an ensemble, with a leading member axis on every array.

    Attributes
    ----------
    exponents : array (k,)
        In nats per step and in QR order, which is descending up to noise, averaged over the
        trajectories; -inf for lost directions, which come last.
    stderr : array (k,)
        Standard error of each exponent, such that ± 2 of them are a 95 % interval; NaN below four
        reorthonormalisations and where an exponent is -inf.
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
        How many reorthonormalisations of all trajectories used Cholesky's method; used it with a
        panel taken twice; used Householder's method; and left a direction in doubt, so that they
        were repeated step by step or from the Jacobian itself.
    below_rounding : int array (k,)
        Number of counted steps, over all trajectories, in which a direction fell below the rounding
        of products in float64. Its growth was then computed from the Jacobian itself; what remains
        uncertain is included in stderr.
    reasons : tuple of (str or None)
        For an ensemble: why the results of a member are NaN; None if they are not.
    log_growth : array (B, n_qr, k)
        log R of each counted reorthonormalisation, in nats: the growth of each trajectory's block
        since the one before. In runs with more than `max_rows` of them a row is the sum of 2, 4, 8,
        ... neighbours. NaN beyond the end of a sequence; members of an ensemble with fewer rows
        have NaN at the start.
    intervals : array (n_qr,)
        Number of steps that each row covers; (B, n_qr) if lengths were given. 0 where log_growth is
        NaN.
    state : array (B, n_state)
        The states after the last step, in float64 if float32 was not enough for the sweep.
    block : array (B, n_state, k)
        The tangent blocks after the last step; NaN for lost directions. For a network of layers see
        `by_layer`.
    deviations : array (rows, k), optional
        Independent deviations, whose squares add up to those of stderr: a combination ``Σ w_i λ_i``
        has the standard error ``|deviations @ w|``.
    layer : int array (k,), optional
        In a network of layers: the layer of each exponent, counted from 0 at the bottom.
    by_layer : tuple of Spectrum
        In a network of layers: the Spectrum of each layer, in QR order.
    dt : float, optional
        Duration of a step, if exponents are in nats per unit of time (`per`).

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(30, 1, rng=np.random.default_rng(0), g=3.0)
    >>> x = 0.3 * np.random.default_rng(1).standard_normal((2000, 1))
    >>> spectrum = lf.lyapunov_spectrum(cell, x, transient=50, q_transient=50)
    >>> spectrum.exponents.shape, spectrum.steps_counted
    ((30,), 1900)
    >>> bool(spectrum.exponents[0] > 2 * spectrum.stderr[0])  # chaotic, beyond its bar
    True
    >>> print(f"{spectrum.kaplan_yorke_dimension:.0f} dimensions")
    7 dimensions
    """

    exponents: np.ndarray
    stderr: np.ndarray
    trajectories: np.ndarray
    steps_counted: int
    n_state: int
    t_ons: int
    factorisations: np.ndarray
    below_rounding: np.ndarray
    log_growth: np.ndarray
    intervals: np.ndarray
    state: np.ndarray
    block: np.ndarray | None
    reasons: tuple[str | None, ...] = ()
    deviations: np.ndarray | None = None
    layer: np.ndarray | None = None
    by_layer: tuple["Spectrum", ...] = ()
    dt: float | None = None
    _origin: Any = field(default=None, compare=False)

    def _summary(self) -> _presented.Lines:
        return presented.summary(self)

    def to_pandas(self) -> Any:
        """Exponents, standard errors and so on as a `pandas.DataFrame`, a row for each exponent.

        Its index is the number of the exponent, from 1; of an ensemble, that of the network and of
        the exponent.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        LyapflowError
            If pandas is not installed.
        """
        return presented.to_pandas(self)

    def to_xarray(self) -> Any:
        """All arrays as an `xarray.Dataset`, with names for their axes.

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        LyapflowError
            If xarray is not installed.
        """
        return presented.to_xarray(self)

    @property
    def history(self) -> np.ndarray:
        """Running means (n_qr, k) after each counted reorthonormalisation, the last of them the exponents.

        Members of an ensemble with fewer of them have NaN at the start."""
        if self.exponents.ndim == 1:
            found = _running_means(self.log_growth, self.intervals)
        else:
            found = np.stack([_running_means(*of) for of in zip(self.log_growth, self.intervals)])
        found = found.astype(self.exponents.dtype)
        return found if self.dt is None else found / self.dt

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
        k are needed. Exponents within 2 standard errors of zero, and sums of these, are taken for
        zero. Kaplan and Yorke
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

    def finite_time(self, window: int) -> FiniteTime:
        r"""Local exponents: ``1/w Σ log R_ii`` over windows of w steps that follow one another.

        Parameters
        ----------
        window : int
            Steps of a window: a multiple of the steps of a row of log_growth, which is t_ons unless
            rows were added up. An incomplete window at the end of the run is left out.

        Returns
        -------
        FiniteTime

        Raises
        ------
        LyapflowError
            If the window does not fit, or this is the Spectrum of an ensemble.

        Notes
        -----
        Their mean is the exponent; their scatter tells how uneven growth is in time. For windows
        longer than the correlation time their variance falls as 1/w (Grassberger, Badii and Politi,
        1988).

        Examples
        --------
        >>> import numpy as np, lyapflow as lf
        >>> cell = lf.TanhRNN.random(8, 1, rng=np.random.default_rng(0), g=2.0)
        >>> spectrum = lf.lyapunov_spectrum(cell, np.ones((300, 1)), k=2, transient=100)
        >>> spectrum.finite_time(50).exponents.shape
        (1, 4, 2)
        """
        if self.exponents.ndim > 1:
            raise LyapflowError("finite_time is of one network; measure the members one by one")
        found = finite_time(self.log_growth, self.intervals, window)
        return found if self.dt is None else FiniteTime(found.exponents / self.dt, found.window)

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
            dt=dt * (1.0 if self.dt is None else self.dt),
            trajectories=self.trajectories / dt,
            deviations=None if self.deviations is None else self.deviations / dt,
            by_layer=tuple(spectrum.per(dt) for spectrum in self.by_layer),
            _origin=None,
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
    def _over_members(spectra: Sequence["Spectrum"], reasons: Sequence[str | None]) -> "Spectrum":
        """One Spectrum of an ensemble from those of its members."""
        names = (
            "exponents",
            "stderr",
            "trajectories",
            "factorisations",
            "below_rounding",
            "t_ons",
            "state",
        )
        arrays: dict[str, Any] = {
            name: np.stack([getattr(s, name) for s in spectra]) for name in names
        }
        longest = max(s.intervals.shape[-1] for s in spectra)  # they differ where t_ons does
        for name, axis, fill in (("log_growth", -2, np.nan), ("intervals", -1, 0)):
            of = [getattr(s, name) for s in spectra]
            arrays[name] = np.stack([_from_behind(a, axis, longest, fill) for a in of])
        blocks = [s.block for s in spectra if s.block is not None]
        arrays["block"] = np.stack(blocks) if blocks else None
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
        arrays["by_layer"] = tuple(Spectrum._over_members(layer, reasons) for layer in layers)
        return dataclasses.replace(spectra[0], **arrays, reasons=tuple(reasons), _origin=None)

    def _of_columns(self, columns: np.ndarray, **changes: Any) -> "Spectrum":
        """Some of the exponents, in the order of their numbers."""
        names = (
            "exponents",
            "stderr",
            "log_growth",
            "trajectories",
            "below_rounding",
            "deviations",
        )
        taken = {name: getattr(self, name)[..., columns] for name in names}
        return dataclasses.replace(self, **taken, **changes)


def _running_means(log_growth: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Means (n_qr, k) of growth rates (B, n_qr, k) up to each QR, over time and trajectories."""
    there = intervals > 0
    if there.ndim == 2:  # sequences follow one another, as one series
        found = np.cumsum(log_growth[there], axis=0) / np.cumsum(intervals[there])[:, None]
    else:
        sums = np.cumsum(log_growth[:, there], axis=1)
        found = (sums / np.cumsum(intervals[there])[:, None]).mean(axis=0)
    return _from_behind(found, 0, there.size, np.nan)


def _from_behind(a: np.ndarray, axis: int, length: int, fill: float) -> np.ndarray:
    """The array with so many entries along an axis, the missing ones at the start."""
    missing = [(0, 0)] * a.ndim
    missing[axis] = (length - a.shape[axis], 0)
    return np.pad(a, missing, constant_values=fill)


def _spectrum(
    course: Course,
    groups: np.ndarray,
    errors: np.ndarray,
    state: np.ndarray,
    block: np.ndarray | None,
    origin: Any = None,
    widths: Sequence[int] = (),
) -> tuple[Spectrum, bool]:
    """What the growth of all trajectories says, and whether the run is too short for the error bars.

    Errors (B, k) are of exponents, beyond what their growth rates show. Trajectories of one number
    in `groups` share their input. `widths` are numbers of exponents of layers side by side, which
    exchange nothing."""
    given, found, counted = course.begun, course.found, course.counted
    aligning, ends = given.plan.before - given.plan.transient, np.cumsum(widths, dtype=int)[:-1]
    dtype = first_array(given.cell).dtype
    log_R = [rows.together()[len(rows.uncounted) :] for rows in course.rows]
    unknown = np.array([growth.unknown for growth in found]) + errors * counted[:, None]
    rounding = float(np.sqrt(np.finfo(dtype).eps))
    if given.lengths is None:
        log_growth, (_, intervals) = np.array(log_R), course.intervals
        own = np.cumsum(log_growth, axis=1)[:, -1] / counted[:, None]
        exponents, steps_counted = own.mean(axis=0), int(counted[0])
        exchange = np.delete(exchanged(log_growth, intervals, aligning), ends - 1, axis=0)
        bars = error_bars(log_growth, intervals, groups, unknown, rounding, exchange)
    else:
        # sequences of different lengths follow one another, as one series
        each = [course.alone(b).intervals[1] for b in range(len(found))]
        rates, steps = np.concatenate(log_R)[None], np.concatenate(each)
        own = np.array([of.sum(axis=0) for of in log_R]) / counted[:, None]
        longest = max(map(len, each))
        log_growth = padded([of[:, None] for of in log_R], longest, np.nan).swapaxes(0, 1)
        intervals = padded([of[:, None] for of in each], longest, 0).T
        exponents, steps_counted = _running_means(log_growth, intervals)[-1], int(steps.sum())
        exchange = exchanged(rates, steps, aligning, sequences=len(found))
        exchange = np.delete(exchange, ends - 1, axis=0)
        nothing, nats = np.zeros(1, int), unknown.sum(axis=0)[None]
        bars = error_bars(rates, steps, nothing, nats, rounding, exchange)
        # those that share their input say the same again
        bars = bars.times(np.sqrt(len(groups) / len(np.unique(groups))))
    spectrum = Spectrum(
        exponents=exponents.astype(dtype),
        stderr=bars.stderr.astype(dtype),
        trajectories=own.astype(dtype),
        steps_counted=steps_counted,
        n_state=given.size.state,
        t_ons=given.plan.t_ons,
        factorisations=np.sum([growth.paths for growth in found], axis=0),
        below_rounding=np.sum([growth.below_rounding for growth in found], axis=0),
        log_growth=log_growth,
        intervals=intervals,
        state=state,
        block=block,
        deviations=bars.deviations.astype(dtype),
        _origin=origin,
    )
    return spectrum, bars.doubtful


class Network(NamedTuple):
    """A checked cell, and how many exponents of all layers are wanted; None: those of all that are found."""

    cell: Any
    wanted: int | None


def _lost_growth(given: Problem) -> Growth:
    k, no_steps = len(given.block), np.zeros(4, np.int64)
    lost = np.full(given.size.state, np.nan)
    end = End(lost, np.full_like(given.block, np.nan), Pace())
    return Growth(
        np.empty((0, k)), no_steps, np.zeros(k), np.zeros(k, np.int64), given.x.dtype, lost, end
    )


def lost_spectrum(network: Network, given: list[Problem], most: int) -> Spectrum:
    """A spectrum of NaN, of a member of an ensemble that diverged."""
    courses = []
    for of in given:
        alone = [of.alone(b) for b in range(len(of.h0))]
        found = [_lost_growth(one) for one in alone]
        nothing = [np.full((one.plan.n_qr, len(one.block)), np.nan) for one in alone]
        rows = [first_rows(log_R, of.plan.uncounted, most) for log_R in nothing]
        courses.append(Course(of, of.plan.steps, found, rows, [], of.h0))
    errors = [np.zeros((1, len(of.block))) for of in given]
    return of_layers(network, Run(courses, np.arange(len(given[0].h0))), errors)[0]


def of_layers(network: Network, run: Run, errors: list[np.ndarray]) -> tuple[Spectrum, list[bool]]:
    """The exponents of all layers in descending order, those of a single one as they come.

    And whether the run is too short for the error bars of each layer. Bars of all layers are found
    together, too: what moves exponents of several layers moves their sum. Trajectories whose input
    to the network is the same are of one group in every layer."""
    courses, groups = run.courses, run.groups
    origin = None if courses[0].begun.lengths is not None else (network, run.without_inputs())
    if len(courses) == 1:
        (course,) = courses
        states, blocks = course.states, course.blocks
        spectrum, short = _spectrum(course, groups, errors[0], states, blocks, origin)
        return spectrum, [short]
    alone = [_spectrum(c, groups, e, c.states, c.blocks) for c, e in zip(courses, errors)]
    by_layer, shorts = zip(*alone)
    begun = courses[0].begun._replace(size=sizes(network.cell))
    found = [side_by_side(of) for of in zip(*(course.found for course in courses))]
    rows = [rows_side_by_side(of) for of in zip(*(course.rows for course in courses))]
    together = courses[0]._replace(begun=begun, found=found, rows=rows)
    state = np.hstack([course.states for course in courses])
    widths = [len(course.begun.block) for course in courses]
    spectrum, _ = _spectrum(together, groups, np.hstack(errors), state, None, widths=widths)
    layer = np.repeat(np.arange(len(courses)), widths)
    order = np.argsort(-spectrum.exponents, kind="stable")[: network.wanted]
    spectrum = spectrum._of_columns(order, layer=layer[order], by_layer=by_layer, _origin=origin)
    return spectrum, list(shorts)


def assess(network: Network, run: Run) -> tuple[Spectrum, list[Doubt]]:
    """The spectrum of a run so far, and why it cannot be trusted, where that is so."""
    errors = []
    for number, course in enumerate(run.courses):
        with of_layer(number, len(run.courses)):
            errors.append(rounding_errors(course))
    known = [np.where(np.isinf(of), 0.0, of) for of in errors]
    spectrum, short = of_layers(network, run, known)
    doubts = []
    for number, (course, of) in enumerate(zip(run.courses, errors)):
        largest = (spectrum.by_layer or (spectrum,))[number].exponents[0]
        if why := doubt(course.begun, largest, of, short[number]):
            where = "" if len(run.courses) == 1 else f"layer {number}: "
            doubts.append(why._replace(text=where + why.text))
    return spectrum, doubts
