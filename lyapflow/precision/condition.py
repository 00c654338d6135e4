"""Condition number of the long-term Jacobian, directly: its product and singular values in arbitrary precision.

The product ``T_t = D_{t-1} ... D_τ`` is rounded to the bits that are asked for, after it has been found with enough
more of them. Singular values that are 2^-bits of the largest one drown in that rounding; the proof notices.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._checks import Diverged, LyapflowError
from lyapflow.cells.interface import checked, sizes, step, tangent
from lyapflow.lyapunov.condition import checked_steps, predicted_condition
from lyapflow.lyapunov.forward import initial_state, inputs, trajectory
from lyapflow.lyapunov.spectrum import default_block, lyapunov_spectrum
from lyapflow.precision.arithmetic import Arithmetic, Matrix, Undecided, arithmetic, exact
from lyapflow.precision.cells import known, move, rank
from lyapflow.precision.singular_values import log_singular_values

GUARD = 64  # bits that are computed beyond those of the result
PROVED = 1e-6  # relative error with which a singular value is reported
MOST = 10**6  # bits


@dataclass(frozen=True)
class ConditionNumber:
    """Condition number of a long-term Jacobian, as `condition_number` finds it; logarithms are natural.

    Attributes
    ----------
    steps : int, or array (S,)
        t − τ. What follows has this axis only where several were asked for.
    log_kappa : float, or array (S,)
        NaN where the bits do not suffice; infinite where the product has lost rank.
    log_singular_values : array (m,) or (S, m)
        Descending.
    error : float, or array (S,)
        Bound on the relative error of each singular value that is not zero.
    predicted : float, or array (S,)
        ``(λ₁ − λ_m)(t − τ)`` (paper, Eq. 10).
    exponents : array (m,)
        What that is from: the exponents of the whole input in the cell's arithmetic, NaN where it diverges.
    rank : int, or array (S,)
        Where it is below m the condition number is infinite.
    bits : int
        Of the products.
    proved : bool
        Whether `error` is proved, by ball arithmetic, or estimated by repetition.
    reason : str or None
        From which step on the bits do not suffice.
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


class _Found(NamedTuple):
    logs: list[float]  # of the singular values that are not zero
    error: float
    rank: int


def _bits_of(log_kappa: float) -> int:
    """Bits that should do for a condition number of about this size."""
    return 2 * GUARD + (int(1.1 * log_kappa / math.log(2.0)) if math.isfinite(log_kappa) else 1024)


def _rounded(a: Arithmetic, T: Matrix, bits: int) -> Matrix:
    with a.precision(bits):
        largest = max(abs(a.middle(v)) for row in T for v in row)
        widest = max(a.radius(v) for row in T for v in row)
        if widest * a.number(2.0) ** (bits + 8) > largest:
            raise Undecided
        return [[+v for v in row] for row in T]


def _log_singular_values(a: Arithmetic, T: Matrix, full: int, bits: int, expected: float) -> _Found:
    """With no more bits than it takes, since most products need far fewer than the last."""
    precision = _bits_of(expected)
    while True:
        precision = min(precision, bits + GUARD)
        with a.precision(precision):
            logs, error = log_singular_values(a, T, full)
        if error <= PROVED or precision == bits + GUARD:
            return _Found(logs, error, full)
        precision *= 2


class _Problem(NamedTuple):
    """What to multiply: a cell and its input as exact float64 numbers."""

    cell: Any
    x: np.ndarray
    h0: np.ndarray
    Q: np.ndarray
    states: np.ndarray | None
    expected: dict[int, float]  # logarithm of the condition number after each number of steps that is wanted

    def products(self, a: Arithmetic, bits: int, growth: int) -> Iterator[tuple[int, Matrix, int]]:
        """(t, T_t Q, a bound on its rank) for each t, where a step widens balls by so many bits at most.

        So fewer and fewer bits are carried: what the first steps round is what grows.
        """
        cell = type(self.cell)(*(exact(a, array) for array in self.cell))
        states = None if self.states is None else exact(a, self.states)
        x, h, T = exact(a, self.x), exact(a, self.h0), exact(a, self.Q)
        full, last = len(T[0]), max(self.expected)
        for t in range(last + 1):
            yield t, T, full  # outside of any precision, which whoever stops here would not restore
            if t < last:
                with a.precision(bits + GUARD + growth * (last - t)):
                    at = h if states is None else states[t]
                    h, T = move(cell, a, at, x[t], T)
                    full = min(full, rank(cell, a, at, h))

    def solve(self, a: Arithmetic, bits: int, tell: Callable[[int, int], None]) -> dict[int, _Found]:
        """Singular values of the products, rounded to so many bits."""
        growth = 4
        while True:
            found = {}
            try:
                for t, T, full in self.products(a, bits, growth):
                    if t in self.expected:
                        found[t] = _log_singular_values(a, _rounded(a, T, bits), full, bits, self.expected[t])
                    tell(t, bits)
                return found
            except Undecided:
                growth *= 2
                if growth * max(self.expected) > MOST:
                    raise LyapflowError(
                        "the product stays undecided: a unit of a ReLU network is at 0; change its state or input"
                    ) from None


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
    progress: Callable[[int, int], None] = lambda t, bits: None,
) -> ConditionNumber:
    r"""Condition number of the long-term Jacobian, in arbitrary precision.

    .. math:: \kappa_2(T_t Q) = \sigma_1 / \sigma_m, \qquad T_t = D_{t-1} \cdots D_\tau

    The network, its input and Q are taken as the exact numbers that they are; states and Jacobians follow from the
    equations, in ball arithmetic where python-flint is installed, else in mpmath (paper, Fig. 2 and Eq. 10).

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
        prediction takes. With 256, as in the paper, condition numbers beyond 10^77 are out of sight: they are NaN, and
        `reason` says from which step on.
    m : int, optional
        Columns of Q, the block that `lyapunov_spectrum` starts from; by default Q is the identity.
    float64_states : bool
        Take the Jacobians at the states that float64 arithmetic finds, to tell the two errors apart.
    backend : {"flint", "mpmath"}, optional
        By default flint where it is installed.
    progress : callable
        Called with t − τ and the bits after each step; it starts again where these did not suffice.

    Returns
    -------
    ConditionNumber

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a float64 state stops being finite.
    """
    cell = checked(cell, step, tangent)
    known(cell)
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
    states = np.concatenate([start, trajectory(cell, x[:, 0], start[0])[:-1]]) if float64_states else None
    try:
        exponents = lyapunov_spectrum(cell, x[:, 0], columns, h0=start[0]).exponents
        predicted = np.array(predicted_condition(exponents, several))
    except Diverged:  # in float64
        exponents, predicted = np.full(columns, np.nan), np.full(len(several), np.nan)
    problem = _Problem(cell, x[:, 0], start[0], Q, states, dict(zip(several, map(float, predicted))))
    found, used = _trusted(a, problem, bits, progress)
    lost = [t for t in several if found[t].error > PROVED]
    values: dict[str, Any] = {
        "steps": np.array(several),
        "log_singular_values": np.array([_padded(found[t], columns) for t in several]),
        "error": np.array([found[t].error for t in several]),
        "predicted": predicted,
        "rank": np.array([found[t].rank for t in several]),
    }
    logs = values["log_singular_values"]
    values["log_kappa"] = np.where(values["rank"] < columns, np.inf, logs[:, 0] - logs[:, -1])
    if not np.iterable(steps):
        values = {name: value[0] if value.ndim > 1 else value.item() for name, value in values.items()}
    return ConditionNumber(
        **values,
        exponents=exponents,
        bits=used,
        proved=a.proves,
        reason=f"{used} bits do not show all singular values from step {min(lost)} on" if lost else None,
    )


def _padded(found: _Found, m: int) -> list[float]:
    """All m logarithms: NaN where they are not trusted, minus infinity for the singular values that are zero."""
    return found.logs + [-math.inf] * (m - found.rank) if found.error <= PROVED else [math.nan] * m


def _trusted(
    a: Arithmetic, problem: _Problem, bits: int | None, tell: Callable[[int, int], None]
) -> tuple[dict[int, _Found], int]:
    """Singular values with errors, proved or from repetition, and the bits that they took."""
    now = first = bits or min(MOST, max(map(_bits_of, problem.expected.values())))
    while True:
        found = problem.solve(a, now, tell)
        if not a.proves:
            again = problem.solve(a, now + GUARD, tell)
            found = {t: _compared(f, again[t]) for t, f in found.items()}
        if bits or now > 4 * first or all(f.error <= PROVED for f in found.values()):
            return found, now
        now += now // 2


def _compared(found: _Found, other: _Found) -> _Found:
    """With the difference from what a higher precision gives as an estimate of the error."""
    if len(other.logs) != len(found.logs) or not found.logs:
        return found._replace(error=math.inf)
    differences = (abs(p - q) for p, q in zip(found.logs, other.logs))
    return found._replace(error=max(found.error, 2.0 * max(differences)))
