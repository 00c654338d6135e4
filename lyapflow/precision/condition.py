"""Condition number of the long-term Jacobian, directly: its product and singular values in arbitrary precision.

The product ``T_t = D_{t-1} ... D_τ`` is rounded to the bits that are asked for, after it has been found with enough
more of them. Singular values that are 2^-bits of the largest one drown in that rounding; the proof notices.
"""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._results import Result
from lyapflow.cells.interface import checked, sizes, step, tangent
from lyapflow.cells.linearisation import jacobian
from lyapflow.ensemble import Ensemble
from lyapflow.errors import Diverged, LyapflowError, collected_warnings, warn
from lyapflow.lyapunov.condition import checked_steps, predicted_condition
from lyapflow.lyapunov.forward import initial_state, inputs, trajectory
from lyapflow.lyapunov.spectrum import default_block, lyapunov_spectrum
from lyapflow.precision.arithmetic import Arithmetic, Matrix, Undecided, arithmetic, exact
from lyapflow.precision.cells import GivenJacobians, known, move
from lyapflow.precision.residues import Residues, rank
from lyapflow.precision.singular_values import Tell, log_singular_values

GUARD = 64  # bits that are computed beyond those of the result
PROVED = 1e-6  # relative error with which a singular value is reported
MOST = 10**6  # bits
UNKNOWN = 1024  # bits that are allowed for an exponent that is unknown
LONG = 60.0  # seconds of work that a warning announces


@dataclass(frozen=True, eq=False)
class ConditionNumber(Result):
    """Condition number of a long-term Jacobian, as `condition_number` finds it; logarithms are natural.

    Attributes
    ----------
    steps : int, or array (S,)
        t − τ. What follows has this axis only where several were asked for.
    log_kappa : float, or array (S,)
        Infinite where the product has lost rank; NaN where the bits do not suffice.
    log_singular_values : array (m,) or (S, m)
        Descending.
    error : float, or array (S,)
        Bound on the relative error of each singular value that is not zero.
    predicted : float, or array (S,)
        ``(λ₁ − λ_m)(t − τ)`` (paper, Eq. 10).
    exponents : array (m,)
        What that is from: the exponents of the whole input in the cell's arithmetic, NaN where it diverges.
    rank : int, or array (S,)
        Where it is below m the condition number is infinite. A bound from above where the bits do not suffice.
    bits : int
        Of the products.
    proved : bool
        Whether `error` is proved, by ball arithmetic, or estimated by repetition. That no more than `rank` singular
        values are not zero holds but for a chance below 10^-9.
    reason : str or None
        From which step on the bits do not suffice.
    exact_jacobians : bool
        Whether states and Jacobians follow from the cell's equations in arbitrary precision. False for a cell of one's
        own without them: then the Jacobians that float64 arithmetic finds are multiplied exactly.
    """

    steps: Any
    log_kappa: Any
    log_singular_values: np.ndarray
    error: Any
    predicted: Any
    exponents: np.ndarray
    rank: Any
    bits: int
    proved: bool
    reason: str | None
    exact_jacobians: bool = True


def _announce(a: Arithmetic, problem: "_Problem") -> None:
    """Say roughly what more than a minute of work will take: n^3 bits per step and per set of singular values."""
    n, m = problem.Q.shape
    bits = [_bits_of(log_kappa) for log_kappa in problem.expected.values()]
    products = n * max(problem.expected) * (60 + 0.1 * max(bits))
    seconds = 1e-9 * n * m * (products + m * sum(1000 + 4 * b for b in bits)) * (1 if a.proves else 5)
    if seconds > LONG:
        faster = "" if a.proves else "; python-flint takes a fifth of it"
        warn(
            f"condition numbers of a state of {n} over {max(problem.expected)} steps take about "
            f"{math.ceil(seconds / 60)} minutes here, as n^3 times steps and bits: ask for fewer steps, "
            f"or for fewer columns by m={faster}"
        )


class _Found(NamedTuple):
    logs: list[float]  # of the singular values that are not zero
    error: float
    rank: int


Known = dict[int, _Found]


def _tell_part(tell: Callable[[float, int], None], t: int, bits: int, share: float) -> None:
    tell(max(0.0, t - 1 + share), bits)


def _bits_of(log_kappa: float) -> int:
    """Bits that should do for a condition number of about this size."""
    return min(MOST, 2 * GUARD + int(1.1 * log_kappa / math.log(2.0)))


def _rounded(a: Arithmetic, T: Matrix, bits: int) -> Matrix:
    with a.precision(bits):
        largest = max(abs(a.middle(v)) for row in T for v in row)
        widest = max(a.radius(v) for row in T for v in row)
        if widest * a.number(2.0) ** (bits + 8) > largest:
            raise Undecided
        return [[+v for v in row] for row in T]


def _log_singular_values(a: Arithmetic, T: Matrix, full: int, bits: int, expected: float, tell: Tell) -> _Found:
    """Of a product, rounded to so many bits, with no more of them than it takes, since most need far fewer."""
    if full == 0:
        return _Found([], 0.0, 0)
    T, precision = _rounded(a, T, bits), _bits_of(expected)
    while True:
        precision = min(precision, bits + GUARD)
        with a.precision(precision):
            logs, error = log_singular_values(a, T, full, tell)
        if error <= PROVED or precision == bits + GUARD:
            return _Found(logs, error, full)
        precision *= 2


class _Problem(NamedTuple):
    """What to multiply: a cell and its input as exact float64 numbers."""

    cell: Any
    x: np.ndarray
    Q: np.ndarray
    states: np.ndarray  # (1, n_state): h0 alone, or (T, n_state)
    expected: dict[int, float]  # logarithm of the condition number after each number of steps that is wanted

    def exactly(self, a: Any) -> tuple[Any, Matrix, Matrix, Matrix]:
        """Cell, input, states (the first, or all that are known) and Q in an arithmetic."""
        cell = type(self.cell)(*(exact(a, array) for array in self.cell))
        return cell, exact(a, self.x), exact(a, self.states), exact(a, self.Q)

    def products(self, a: Arithmetic, bits: int, growth: int) -> Iterator[tuple[int, Matrix, int]]:
        """(t, T_t Q, a bound on its rank) for each t, where a step widens balls by so many bits at most.

        So fewer and fewer bits are carried: what the first steps round is what grows. The bound is that of
        `expected` steps; of others it is the number of columns.
        """
        residues = Residues(a)
        (cell, x, states, T), (same_cell, same_x, same_states, same_T) = map(self.exactly, (a, residues))
        zero, last = a.number(0.0), max(self.expected)
        h, same_h = states[0], same_states[0]
        for t in range(last + 1):
            # outside of any precision, which whoever stops here would not restore
            yield t, T, rank(same_T) if t in self.expected else len(T[0])
            if t == last:
                break
            if t < len(states):
                h, same_h = states[t], same_states[t]
            a.decisions.clear()
            with a.precision(bits + GUARD + growth * (last - t)):
                h, T = move(cell, a, h, x[t], T)
            same_h, same_T = move(same_cell, residues, same_h, same_x[t], same_T)
            h = [v if same else zero for v, same in zip(h, same_h)]
            T = [[v if same else zero for v, same in zip(*rows)] for rows in zip(T, same_T)]

    def solve(self, a: Arithmetic, bits: int, tell: Callable[[float, int], None], known: Known, last: bool) -> Known:
        """Singular values of the products, rounded to so many bits, that are not known.

        Unless this is the last try, it ends where bits do not suffice.
        """
        growth, found = 4, dict(known)
        while True:
            try:
                for t, T, full in self.products(a, bits, growth):
                    if t in self.expected and t not in found:
                        part = functools.partial(_tell_part, tell, t, bits)
                        found[t] = _log_singular_values(a, T, full, bits, self.expected[t], part)
                        if found[t].error > PROVED and not last:
                            return found
                    tell(t, bits)
                return found
            except Undecided:
                growth *= 2
                if growth * max(self.expected) > 16 * bits + 2**14:
                    columns = self.Q.shape[1]
                    return {t: _Found([], math.inf, columns) for t in self.expected} | found


def condition_number(
    cell: Any,
    x: ArrayLike,
    *,
    steps: Any,
    h0: ArrayLike | None = None,
    bits: int | None = None,
    m: int | None = None,
    float64_states: bool = False,
    backend: str | None = None,
    progress: Callable[[float, int], None] = lambda t, bits: None,
) -> ConditionNumber:
    r"""Condition number of the long-term Jacobian, in arbitrary precision.

    .. math:: \kappa_2(T_t Q) = \sigma_1 / \sigma_m, \qquad T_t = D_{t-1} \cdots D_\tau

    The network, its input and Q are taken as the exact numbers that they are; states and Jacobians follow from the
    equations, in ball arithmetic where python-flint is installed, else in mpmath (paper, Fig. 2 and Eq. 10). Of a cell
    whose equations are not registered with `lyapflow.precision.cells.move`, the Jacobians are those of float64
    arithmetic (`lyapflow.jacobian`), taken as exact numbers: `exact_jacobians` says so.

    Parameters
    ----------
    cell : cell
    x : array (T, m)
        Input from step τ on; what lies beyond max(steps) counts for the prediction alone.
    steps : int or sequence of int
        t − τ.
    h0 : array (n_state,), optional
        State h_τ before the first input; zeros by default.
    bits : int, optional
        Precision of the products. None raises it until every singular value is proved, up to five times what the
        prediction takes, and 5120 bits more where that is not finite. With 256, as in the paper, condition numbers
        beyond 10^77 are out of sight: they are NaN, and `reason` says from which step on.
    m : int, optional
        Columns of Q, the block that `lyapunov_spectrum` starts from; by default Q is the identity.
    float64_states : bool
        Take the Jacobians at the states that float64 arithmetic finds, to tell the two errors apart.
    backend : {"flint", "mpmath"}, optional
        By default flint where it is installed.
    progress : callable
        Called with t − τ and the bits after each step, and with fractions of a step while singular values are sought;
        it starts again where the bits did not suffice.

    Returns
    -------
    ConditionNumber

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a float64 state stops being finite.

    Warns
    -----
    LyapflowWarning
        If it will take more than a minute or so.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LinearRNN(np.diag([0.9, 0.3]), np.empty((2, 0)), np.zeros(2))
    >>> found = lf.condition_number(cell, np.empty((10, 0)), steps=[5, 10])
    >>> found.log_kappa.round(6)  # 5 ln 3 and 10 ln 3
    array([ 5.493061, 10.986123])
    """
    if isinstance(cell, Ensemble):
        raise LyapflowError(
            f"condition_number takes one cell, got an ensemble of {len(cell)}; call it for each of its members"
        )
    cell = checked(cell, step, tangent)
    size = sizes(cell)
    x, batched = inputs(x, size, cell[0])
    if batched:
        raise LyapflowError(f"x must be the input of one trajectory (T, m), got shape {x.shape}")
    start = initial_state(h0, size, 1, cell[0])
    several = checked_steps(steps, len(x), " = steps of the input")
    columns = size.state if m is None else _checks.integer("m", m, 1, size.state, why=" = n_state")
    bits = None if bits is None else _checks.integer("bits", bits, 16, MOST)
    a = arithmetic(backend)
    Q = np.eye(size.state) if m is None else default_block(size.state, columns, x.dtype).T
    exponents, predicted = _predicted(cell, x[:, 0], start[0], columns, several)
    finite = exponents[np.isfinite(exponents)]
    gap = float(np.ptp(finite)) if finite.size else 0.0
    longest = max(several)
    equations = known(cell)
    states = start
    if float64_states or not equations:
        states = np.concatenate([start, trajectory(cell, x[:, 0], start[0])[:-1]])[: max(1, longest)]
    x = x[:longest, 0]
    if not equations:
        jacobians = [jacobian(cell, h, driven).ravel() for h, driven in zip(states, x)]
        cell, x = GivenJacobians(), np.array(jacobians).reshape(longest, size.state**2)
    problem = _Problem(cell, x, Q, states, {t: gap * t for t in several})
    most = 5 * _bits_of(max(problem.expected.values())) + (0 if np.isfinite(predicted).all() else 5 * UNKNOWN)
    _announce(a, problem)
    found, used = _trusted(a, problem, bits, most, progress)
    lost = [t for t in several if found[t].error > PROVED]
    values: dict[str, Any] = {
        "steps": np.array(several),
        "log_singular_values": np.array([_padded(found[t], columns) for t in several]),
        "error": np.array([found[t].error for t in several]),
        "predicted": predicted,
        "rank": np.array([found[t].rank for t in several]),
    }
    logs = values["log_singular_values"]
    with np.errstate(invalid="ignore"):  # where all are zero
        values["log_kappa"] = np.where(values["rank"] < columns, np.inf, logs[:, 0] - logs[:, -1])
    if not np.iterable(steps):
        values = {name: value[0] if value.ndim > 1 else value.item() for name, value in values.items()}
    return ConditionNumber(
        **values,
        exponents=exponents,
        bits=used,
        proved=a.proves,
        exact_jacobians=equations,
        reason=f"{used} bits do not show all singular values from step {min(lost)} on" if lost else None,
    )


def _predicted(
    cell: Any, x: np.ndarray, start: np.ndarray, columns: int, steps: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Exponents (columns,), and the condition number that they predict after each number of steps."""
    try:
        with collected_warnings(), np.errstate(invalid="ignore"):  # of no concern here, as error bars are not
            exponents = lyapunov_spectrum(cell, x, columns, h0=start).exponents
    except Diverged:  # in float64
        exponents = np.full(columns, np.nan)
    if np.isnan(exponents).any():
        return exponents, np.full(len(steps), np.nan)
    return exponents, np.array(predicted_condition(exponents, steps))


def _padded(found: _Found, m: int) -> list[float]:
    """All m logarithms: NaN where they are not trusted, minus infinity for the singular values that are zero."""
    return found.logs + [-math.inf] * (m - found.rank) if found.error <= PROVED else [math.nan] * m


def _trusted(
    a: Arithmetic, problem: _Problem, bits: int | None, most: int, tell: Callable[[float, int], None]
) -> tuple[Known, int]:
    """Singular values with errors, proved or from repetition, and the bits that they took, `most` at most."""
    now = bits or _bits_of(max(problem.expected.values()))
    known: Known = {}
    while True:
        last = bits is not None or now + now // 2 > min(most, MOST)
        found = problem.solve(a, now, tell, known, last)
        if not a.proves:
            again = problem.solve(a, now + GUARD, tell, known, last)
            found = {t: _compared(f, again[t]) for t, f in found.items() if t in again}
        known = {t: f for t, f in found.items() if f.error <= PROVED}
        if last or len(known) == len(problem.expected):
            return found, now
        now += now // 2


def _compared(found: _Found, other: _Found) -> _Found:
    """With the difference from what a higher precision gives as an estimate of the error."""
    if len(other.logs) != len(found.logs):
        return found._replace(error=math.inf)
    differences = (abs(p - q) for p, q in zip(found.logs, other.logs))
    return found._replace(error=max(found.error, 2.0 * max(differences, default=0.0)))
