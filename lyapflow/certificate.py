"""A certificate of a spectrum: what was checked, and how well it agrees.

Each check holds the exponents, or what they are made of, against something else that has to be the same:
differences, determinants, another starting block, other intervals, half of the data, more digits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow._engine.blas import one_blas_thread
from lyapflow._results import Result
from lyapflow._trees import arrays, like, map_arrays, named_arrays
from lyapflow._version import __version__
from lyapflow.cells.closed_loop import each_cell
from lyapflow.cells.interface import DIFFERENTIABLE, checked, first_array, sizes, step, tangent
from lyapflow.cells.layers import each_layer, split_states
from lyapflow.cells.linearisation import jacobian_of
from lyapflow.ensemble import Ensemble
from lyapflow.errors import Diverged, LyapflowError, collected_warnings
from lyapflow.learning.model import Model
from lyapflow.linalg.stacks import qr
from lyapflow.lyapunov.doubts import Doubt
from lyapflow.lyapunov.error_bars import error_bars, same_input
from lyapflow.lyapunov.flossing_loss import flossing_value_and_grad
from lyapflow.lyapunov.measured import Spectrum
from lyapflow.lyapunov.problem import inputs
from lyapflow.lyapunov.spectrum import lyapunov_spectrum, spectrum_and_doubts
from lyapflow.lyapunov.trajectory import trajectory
from lyapflow.precision.arithmetic import arithmetic
from lyapflow.precision.cells import exact_cell, known
from lyapflow.precision.cells import step as exact_step

AGREES, DIFFERS, LEFT_OUT = "agrees", "DIFFERS", "not checked"
PLACES, TOGETHER = 12, 3  # states where kernels are checked, and how many at a time
TRIES, ASIDE = 3, 0.02  # checks of a state, and how far aside, for it may be near a kink
SPANS = 3  # places of the trajectory where the gradient is
PIECE = 200  # steps that are taken with all exponents, and at other intervals
DISPLACED = 1e-3  # of all parameters together; differences take a tenth to a millionth of it
ROUGH = 1e-2  # relative doubt beyond which differences, or sums, say nothing
EPS = float(np.finfo(float).eps)
FLOSSED = 20, 5  # steps and exponents of the gradient
REPLAYED, BITS = 20, 256  # steps in arbitrary precision, and its digits
LARGEST = 256  # states of which all exponents, or a replay, are taken
FEWEST, FEWEST_ROWS = 32, 4  # steps, and QRs, that error bars can be told from
APART = 4.5  # standard errors that two results may be apart


class Check(NamedTuple):
    """One line of a certificate.

    Attributes
    ----------
    part : str
        What was checked.
    against : str
        What it was held against.
    error : float
        How far they are apart, in the unit that `against` says; NaN where nothing was compared.
    limit : float
        Up to where that is agreement.
    verdict : {"agrees", "DIFFERS", "not checked"}
    note : str
        Why it differs, or was not checked.
    """

    part: str
    against: str
    error: float
    limit: float
    verdict: str
    note: str = ""


def _check(part: str, against: str, error: float, limit: float, note: str = "") -> Check:
    good = bool(error <= limit)
    return Check(
        part, against, float(error), limit, AGREES if good else DIFFERS, "" if good else note
    )


def _left_out(part: str, against: str, why: str) -> Check:
    return Check(part, against, float("nan"), float("nan"), LEFT_OUT, why)


@dataclass(frozen=True, eq=False, repr=False)
class Audit(Result):
    """A spectrum, and what was checked of it.

    Attributes
    ----------
    spectrum : Spectrum
    checks : tuple of Check
    title : str
        Class, size and dtype of the network, and the length of the run.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(6, 1, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((1000, 1))
    >>> certificate = lf.audit(cell, x, k=2, transient=50, q_transient=200)
    >>> certificate.passed, certificate.failed
    (True, ())
    """

    spectrum: Spectrum
    checks: tuple[Check, ...]
    title: str

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """What differs."""
        return tuple(check for check in self.checks if check.verdict == DIFFERS)

    def to_json(self) -> str:
        """All of it, as text for other programs; numbers that are not finite are null."""

        def number(value: float) -> float | None:
            return float(value) if np.isfinite(value) else None

        lines = [
            {**check._asdict(), "error": number(check.error), "limit": number(check.limit)}
            for check in self.checks
        ]
        found = {
            "lyapflow": __version__,
            "network": self.title,
            "passed": self.passed,
            "exponents": [number(value) for value in self.spectrum.exponents],
            "stderr": [number(value) for value in self.spectrum.stderr],
            "checks": lines,
        }
        return json.dumps(found, indent=1)

    def __repr__(self) -> str:
        width = max(len(check.part) for check in self.checks)
        lines = [f"Audit of {self.title}: {'passed' if self.passed else 'FAILED'}"]
        for check in self.checks:
            numbers = "" if np.isnan(check.error) else f"{check.error:.1e} of {check.limit:.1e}, "
            note = f": {check.note}" if check.note else ""
            lines.append(
                f"  {check.part:{width}}  {check.verdict} ({numbers}{check.against}){note}"
            )
        return "\n".join(lines)


class _Case(NamedTuple):
    """What is audited."""

    cell: Any
    x: np.ndarray  # (T, B, m)
    h0: np.ndarray | None
    k: Any
    times: dict[str, Any]  # transient, q_transient, t_ons
    spectrum: Spectrum

    @property
    def before(self) -> int:
        """Steps before counting starts."""
        return self.times["transient"] + self.times["q_transient"]

    @property
    def numbers(self) -> list[int]:
        """How many exponents of each layer were taken."""
        return [len(of.exponents) for of in self.spectrum.by_layer or (self.spectrum,)]

    @property
    def float32(self) -> bool:
        return first_array(self.cell).dtype == np.float32

    def first(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (steps, m) of the first trajectory from where counting starts, and the state before."""
        before = self.before
        x = np.ascontiguousarray(self.x[: before + steps, 0])
        h = np.zeros(self.spectrum.n_state, self.x.dtype) if self.h0 is None else self.h0
        h = h[0] if h.ndim == 2 else h
        if before:
            h = trajectory(self.cell, x[:before], h)[-1]
        return x[before:], h


def audit(
    network: Any,
    x: ArrayLike | None = None,
    k: int | None = None,
    *,
    steps: int | None = None,
    h0: ArrayLike | None = None,
    transient: int = 0,
    q_transient: int = 0,
    t_ons: int | str = 1,
) -> Audit:
    """Independent checks of the spectrum that `lyapunov_spectrum` gives for the same arguments: a certificate.

    Parameters
    ----------
    network : cell or Model
    x, k, steps, h0, transient, q_transient, t_ons
        As of `lyapunov_spectrum`, x an array; of a Model, h0 is its own unless it is given.

    Returns
    -------
    Audit

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state of the run stops being finite.

    Notes
    -----
    It compares the kernels with differences of `step` (`lyapflow.testing.check_cell`), the flossing
    gradient with a difference of its loss, the sum of all exponents with determinants, the
    exponents with those of another starting block, of other intervals and of more digits, the two
    halves of the run with each other, and the first steps with arbitrary precision, whose digits
    are proved if python-flint is installed. A warning of the spectrum counts as a failed check. A
    check that cannot be made says why.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(8, 1, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((2000, 1))
    >>> lf.audit(cell, x, 3, transient=50, q_transient=50).passed
    True
    """
    if callable(x):
        raise LyapflowError("an audit goes over its inputs again and again; give x as an array")
    if isinstance(network, Ensemble):
        raise LyapflowError("an audit is of one network; audit the members one by one")
    if isinstance(network, Model):
        h0 = network.h0 if h0 is None else h0
        network = network.cell
    times: dict[str, Any] = {
        "transient": transient,
        "q_transient": q_transient,
        "t_ons": t_ons,
    }
    spectrum, doubts = spectrum_and_doubts(network, x, k, steps=steps, h0=h0, **times)
    cell = checked(network, step, tangent)
    found, _ = inputs(x, sizes(cell), first_array(cell), steps, h0)
    start = None if h0 is None else np.asarray(h0)
    case = _Case(cell, found, start, k, times, spectrum)
    checks: list[Check] = []
    with collected_warnings():  # of the runs that it is held against
        for check in (
            _kernels,
            _gradient,
            _sum_rule,
            _starting_block,
            _intervals,
            _halves,
            _digits,
            _replay,
        ):
            checks.append(_without_divergence(check, case))
    checks += _warnings(case, doubts)
    kinds = ", ".join(type(layer).__name__ for layer in each_layer(cell))
    title = f"{kinds}, {spectrum.n_state} states, {first_array(cell).dtype}, {spectrum.steps_counted} steps"
    return Audit(spectrum, tuple(checks), title)


def _without_divergence(check: Callable[[_Case], Check], case: _Case) -> Check:
    try:
        return check(case)
    except Diverged as error:
        return _left_out(check.__name__.strip("_").replace("_", " "), "", str(error))


def _kernels(case: _Case) -> Check:
    """Of each layer, at states of the trajectory: what is wrong for some inputs only is wrong."""
    from lyapflow.testing.findings import TOLERANCE  # here, since the package takes no testing

    against = "differences of step, relative"
    x, h = case.first(PIECE)
    layers, limit = each_layer(case.cell), 1e-4 if case.float32 else TOLERANCE
    places = np.unique(np.linspace(0, len(x) - 1, PLACES).round().astype(int))
    worst, said = 0.0, ""
    for number, (layer, own, driving) in enumerate(_layers_along(case.cell, x, h)):
        for some in (places[i : i + TOGETHER] for i in range(0, len(places), TOGETHER)):
            error, fault = _at_places(layer, own[some], driving[some])
            worst = max(worst, error)
            if fault and not said:
                said = f"layer {number}: {fault}" if len(layers) > 1 else fault
    return _check("kernels", against, worst, limit, said)


def _states(cell: Any, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The states (T + 1, n_state) from h on, before and after each step."""
    return np.vstack([h[None], trajectory(cell, x, h)])


def _layers_along(
    cell: Any, x: np.ndarray, h: np.ndarray
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Each layer, its states (T + 1, n) and its inputs (T, m) along the trajectory from h."""
    driving = x
    for layer, own in zip(each_layer(cell), split_states(cell, _states(cell, x, h))):
        yield layer, own, driving
        driving = own[1:, : sizes(layer).units]


def _at_places(cell: Any, h: np.ndarray, x: np.ndarray) -> tuple[float, str]:
    """The largest error of a cell's kernels at some states, and the worst fault; infinite where there is one.

    Differences fail at a kink, so the states are tried a little aside as well."""
    from lyapflow.testing.checks import check_cell
    from lyapflow.testing.findings import CellError

    rng, fault = np.random.default_rng(0), ""
    for _ in range(TRIES):
        try:
            report = check_cell(cell, np.ascontiguousarray(h), np.ascontiguousarray(x))
            return max(report.checks.values(), default=0.0), ""
        except CellError as error:
            fault = fault or " ".join(str(error).splitlines()[1].split())
        aside = ASIDE * (float(np.abs(h).max()) or 1.0) * rng.standard_normal(h.shape)
        h = h + aside.astype(h.dtype)
    return np.inf, fault


def _in_float64(value: Any) -> Any:
    """An array, or a tree of arrays."""
    return map_arrays(lambda a: np.asarray(a, float), value)


def _gradient(case: _Case) -> Check:
    """Along a random direction of all parameters, at three places of the run."""
    part, against = "flossing gradient", "a central difference of the loss, relative"
    try:
        cell = _in_float64(checked(case.cell, *DIFFERENTIABLE))
    except LyapflowError as error:
        return _left_out(part, against, str(error).partition(";")[0])
    length, several = FLOSSED[0], len(case.numbers) > 1
    ks = [min(FLOSSED[1], number) for number in case.numbers]
    x, h = case.first(SPANS * length)
    states = _states(case.cell, x, h).astype(float)
    worst, why = -np.inf, "the run is too short"
    for first in range(0, len(x) - length + 1, length):
        how = {"k": ks if several else ks[0], "h0": states[first], "target": 0.1}
        try:
            off, doubt = _gradient_error(cell, x[first : first + length].astype(float), how)
        except Diverged as diverged:
            why = str(diverged)
            continue
        if doubt < ROUGH:
            worst = max(worst, off)
        else:
            why = "the loss is too rough for differences"
    if worst == -np.inf:
        return _left_out(part, against, why)
    note = "a second derivative, or what a pullback makes of it, is wrong"
    return _check(part, against, worst, 1e-5, note)


def _gradient_error(cell: Any, x: np.ndarray, how: dict[str, Any]) -> tuple[float, float]:
    """How far the slope of the flossing loss along a direction is off differences, beyond their doubt; and that."""
    from lyapflow.testing.differences import derivative

    direction = _direction(cell)

    def loss(distance: float) -> np.ndarray:
        moved = like(cell, (a + distance * d for a, d in zip(arrays(cell), direction)))
        return np.array([flossing_value_and_grad(moved, x, **how)[0]])

    _, gradient, _ = flossing_value_and_grad(cell, x, **how)
    slope = sum(float((g * d).sum()) for g, d in zip(arrays(gradient), direction))
    difference, doubt = derivative(loss, np.array([DISPLACED]))
    size = max(abs(float(difference[0])), 1e-8)
    return max(0.0, abs(slope - float(difference[0])) - doubt) / size, doubt / size


def _direction(network: Any) -> list[np.ndarray]:
    """A random direction of length 1 for all arrays of a network; parameters that have bounds stay where they are."""
    bounds = {field for cell in each_cell(network) for field in sizes(cell).bounds}
    rng = np.random.default_rng(0)
    found = [
        np.zeros_like(a) if name.split(".")[-1] in bounds else rng.standard_normal(a.shape)
        for name, a in named_arrays(network)
    ]
    length = np.sqrt(sum(float((a**2).sum()) for a in found)) or 1.0
    return [a / length for a in found]


def _sum_rule(case: _Case) -> Check:
    part, against = "sum of all exponents", "mean of log |det D|, nats per step"
    n = case.spectrum.n_state
    if n > LARGEST:
        return _left_out(part, against, f"of up to {LARGEST} states")
    # float32 cannot tell all of them
    cell, (x, h) = _in_float64(case.cell), map(_in_float64, case.first(PIECE))
    whole, right, unsure = lyapunov_spectrum(cell, x, h0=h).exponents.sum(), 0.0, 0.0
    # the Jacobian of all layers is block triangular
    for layer, own, driving in _layers_along(cell, x, h):
        found, doubt = _log_determinant(
            np.array([jacobian_of(layer, *of) for of in zip(own, driving)])
        )
        right, unsure = right + found, unsure + doubt
    if whole != right and not unsure < ROUGH:
        return _left_out(part, against, "float64 cannot tell the Jacobians from singular ones")
    error = 0.0 if whole == right else abs(whole - right)
    return _check(part, against, error, 1e-8 + unsure, "the tangent or the Jacobian is wrong")


def _log_determinant(jacobians: np.ndarray) -> tuple[float, float]:
    """The mean of log |det D| over matrices D (T, n, n), and how far rounding may put it off."""
    lengths = np.linalg.norm(
        jacobians, axis=1, keepdims=True
    )  # of columns, which may be of any size
    with one_blas_thread():  # these are small
        sigma = np.linalg.svd(jacobians / np.where(lengths > 0, lengths, 1), compute_uv=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(np.linalg.slogdet(jacobians)[1].mean())
        doubt = float(np.log1p(sigma.shape[1] * EPS * sigma[:, :1] / sigma).sum(axis=1).mean())
    return found, np.inf if np.isnan(doubt) else doubt


def _again(case: _Case, **changes: Any) -> Spectrum:
    """The same run with something changed."""
    x = case.x if case.x.shape[1] > 1 else case.x[:, 0]
    how = {"h0": case.h0, **case.times} | changes
    return lyapunov_spectrum(how.pop("cell", case.cell), how.pop("x", x), case.k, **how)


def _starting_block(case: _Case) -> Check:
    part, against = "starting block", "another one, in standard errors"
    rng = np.random.default_rng(1)
    blocks = [
        qr(rng.standard_normal((sizes(layer).state, number)))[0].astype(case.x.dtype)
        for layer, number in zip(each_layer(case.cell), case.numbers)
    ]
    other = _again(case, q0=blocks if len(blocks) > 1 else blocks[0])
    least = 1e-4 if case.float32 else 1e-9
    there = np.isfinite(case.spectrum.exponents) & np.isfinite(case.spectrum.stderr)
    if (np.isneginf(case.spectrum.exponents) != np.isneginf(other.exponents)).any():
        return _check(part, against, np.inf, 1.0, "other directions are lost")
    if not there.any():
        return _left_out(part, against, "no exponent has an error bar")
    off = np.abs(case.spectrum.exponents[there] - other.exponents[there])
    errors = off / np.maximum(case.spectrum.stderr[there], least)
    worst = int(np.flatnonzero(there)[np.argmax(errors)]) + 1
    apart = np.abs(case.spectrum.exponents[there] - case.spectrum.exponents[worst - 1])
    nearest = float(apart[apart > 0].min(initial=np.inf))
    steps = f"; the next exponent is {nearest:.1g} away, which takes some {3 / nearest:.0f} steps"
    note = (
        f"exponent {worst} has not forgotten the block: use a longer q_transient, or more steps"
        + (steps if np.isfinite(nearest) else "")
    )
    return _check(part, against, float(errors.max()), APART, note)


def _intervals(case: _Case) -> Check:
    part, against = "intervals", "those of t_ons = 1, nats per step"
    # a float32 run that float64 has to take over leaves its trajectory
    cell, (x, h) = _in_float64(case.cell), map(_in_float64, case.first(PIECE))
    one = lyapunov_spectrum(cell, x, case.k, h0=h).exponents
    errors = []
    for t_ons in (2, 5, 10):
        other = lyapunov_spectrum(cell, x, case.k, h0=h, t_ons=t_ons).exponents
        with np.errstate(invalid="ignore"):
            errors.append(np.where(one == other, 0.0, np.abs(one - other)).max())
    return _check(part, against, max(errors), 1e-8, "products over several steps lose digits")


def _halves(case: _Case) -> Check:
    part, against = "halves of the run", "each other, in standard errors of their difference"
    growth, intervals = case.spectrum.log_growth, case.spectrum.intervals
    middle = len(intervals) // 2
    if middle < FEWEST:
        return _left_out(part, against, f"of {2 * FEWEST} reorthonormalisations or more")
    lost = np.isneginf(growth).any(axis=(0, 1))
    if lost.all():
        return _left_out(part, against, "all exponents are -inf")
    means, bars = [], []
    for half in (slice(0, middle), slice(middle, None)):
        rates, spans = growth[:, half][:, :, ~lost], intervals[half]
        means.append(rates.sum(axis=1).mean(axis=0) / spans.sum())
        bars.append(error_bars(rates, spans, same_input(case.x)).stderr)
    least = 1e-4 if case.float32 else 1e-9
    apart = np.abs(means[0] - means[1]) / np.maximum(np.hypot(*bars), least)
    note = f"exponent {int(np.flatnonzero(~lost)[np.argmax(apart)]) + 1} drifts: use a longer transient, or more steps"
    return _check(part, against, float(apart.max()), APART, note)


def _digits(case: _Case) -> Check:
    part, against = "float32", "float64, in standard errors of their difference"
    if not case.float32:
        return _left_out(part, against, "the network is in float64")
    spectrum = case.spectrum
    if spectrum.exponents[0] > 2 * spectrum.stderr[0]:
        steps = -np.log(np.finfo(np.float32).eps) / spectrum.exponents[0]
        if steps < spectrum.steps_counted:
            note = f"chaos leaves no digit of the trajectory after {steps:.0f} steps; use float64"
            return _check(part, against, np.inf, 2.0, note)
    x = _in_float64(case.x if case.x.shape[1] > 1 else case.x[:, 0])
    h0 = None if case.h0 is None else _in_float64(case.h0)
    double = _again(case, cell=_in_float64(case.cell), x=x, h0=h0)
    there = np.isfinite(spectrum.exponents) & np.isfinite(spectrum.stderr)
    off = np.abs(spectrum.exponents[there] - double.exponents[there])
    errors = off / np.maximum(np.hypot(spectrum.stderr, double.stderr)[there], 1e-4)
    note = "float32 is not enough; use float64"
    return _check(part, against, float(errors.max(initial=0.0)), 2.0, note)


def _replay(case: _Case) -> Check:
    part = "replay"
    if not known(case.cell):
        return _left_out(part, "", "its equations are not known in arbitrary precision")
    if case.spectrum.n_state > LARGEST:
        return _left_out(part, "", f"of up to {LARGEST} states")
    x, h = case.first(REPLAYED)
    states, a = _states(case.cell, x, h), arithmetic(None)
    error, radius = 0.0, 0.0
    with a.precision(BITS):
        cell = exact_cell(a, case.cell)
        # each from the state that the run was in: chaos makes much of one rounding error
        for before, driven, found in zip(states, x, states[1:]):
            numbers = ([a.number(float(value)) for value in of] for of in (before, driven))
            state = exact_step(cell, a, *numbers)
            right = np.array([a.to_float(value) for value in state])
            size = float(np.abs(right).max()) or 1.0
            error = max(error, float(np.abs(found - right).max()) / size)
            if a.proves:
                radius = max(radius, *(float(a.radius(value)) / size for value in state))
    digits = f"{BITS} bits"
    if a.proves:
        digits = f"{int(-np.log10(max(radius, 1e-300)))} proved digits"
    against = f"{len(x)} steps with {digits}, relative"
    limit = 1e-3 if case.float32 else 1e-8
    return _check(part, against, error, limit, "`step` is not the equation")


def _warnings(case: _Case, doubts: list[Doubt]) -> list[Check]:
    """What the spectrum itself says of itself."""
    against = "what a run of this length can tell"
    steps = case.spectrum.steps_counted * len(case.spectrum.trajectories)
    rows = case.spectrum.log_growth.shape[1]
    note = f"{steps} steps with {rows} reorthonormalisations are too few for error bars; use more steps"
    length = _check("length", against, max(FEWEST / steps, FEWEST_ROWS / rows), 1.0, note)
    found = {"length": length}
    for doubt in doubts:
        found[doubt.about] = Check(
            doubt.about, against, float("nan"), float("nan"), DIFFERS, doubt.text
        )
    return list(found.values())
