"""Condition number of the long-term Jacobian, directly: its product and singular values in arbitrary precision.

The product ``T_t = D_{t-1} ... D_τ`` is rounded to the bits that are asked for, after it has been
found with enough more of them. Singular values that are 2^-bits of the largest one drown in that
rounding; the proof notices."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._results import Result
from lyapflow.cells.interface import Cell, checked, first_array, sizes, step, tangent
from lyapflow.cells.linearisation import jacobian
from lyapflow.ensemble import Ensemble
from lyapflow.errors import Diverged, LyapflowError, collected_warnings, warn
from lyapflow.lyapunov.condition import checked_steps, predicted_condition
from lyapflow.lyapunov.problem import default_block, initial_state, inputs
from lyapflow.lyapunov.spectrum import lyapunov_spectrum
from lyapflow.lyapunov.trajectory import trajectory
from lyapflow.precision.arithmetic import Arithmetic, arithmetic
from lyapflow.precision.cells import GivenJacobians, known
from lyapflow.precision.products import MAX_BITS, PROVED, Found, Problem, bits_of, trusted

UNKNOWN = 1024  # bits that are allowed for an exponent that is unknown
ANNOUNCED_SECONDS = 60.0  # seconds of work that a warning announces


@dataclass(frozen=True, eq=False)
class ConditionNumber(Result):
    """Condition number of a long-term Jacobian, as `condition_number` finds it; logarithms are natural.

    Attributes
    ----------
    steps : int, or array (S,)
        t − τ. The other attributes have the axis S only if several were asked for.
    log_kappa : float, or array (S,)
        Infinite if the product has lost rank; NaN if the bits do not suffice.
    log_singular_values : array (m,) or (S, m)
        Descending.
    error : float, or array (S,)
        Bound on the relative error of each singular value that is not zero.
    predicted : float, or array (S,)
        ``(λ₁ − λ_m)(t − τ)`` (paper, Eq. 10).
    exponents : array (m,)
        The exponents behind the prediction, of the whole input in the cell's arithmetic; NaN if it
        diverges.
    rank : int, or array (S,)
        If it is below m the condition number is infinite. An upper bound if the bits do not
        suffice.
    bits : int
        Precision of the products.
    proved : bool
        Whether `error` is proved, by ball arithmetic, or estimated by repetition. That at most
        `rank` singular values are not zero is certain except for a probability below 10^-9.
    reason : str or None
        From which step on the bits do not suffice.
    exact_jacobians : bool
        Whether states and Jacobians follow from the cell's equations in arbitrary precision. False
        for a cell of one's own without them: then the Jacobians that float64 arithmetic finds are
        multiplied exactly.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(4, 1, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((30, 1))
    >>> found = lf.condition_number(cell, x, steps=[1, 20])
    >>> found.log_kappa.shape, found.rank.tolist()
    ((2,), [4, 4])
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


def _announce(a: Arithmetic, problem: Problem) -> None:
    """Say roughly what more than a minute of work will take: n^3 bits per step and per set of singular values."""
    n, m = problem.Q.shape
    bits = [bits_of(log_kappa) for log_kappa in problem.expected.values()]
    products = n * max(problem.expected) * (60 + 0.1 * max(bits))
    seconds = (
        1e-9 * n * m * (products + m * sum(1000 + 4 * b for b in bits)) * (1 if a.proves else 5)
    )
    if seconds > ANNOUNCED_SECONDS:
        faster = "" if a.proves else "; python-flint takes a fifth of it"
        warn(
            f"condition numbers of a state of {n} over {max(problem.expected)} steps take about "
            f"{math.ceil(seconds / 60)} minutes here, as n^3 times steps and bits: ask for fewer steps, "
            f"or for fewer columns by m={faster}"
        )


def condition_number(
    cell: Cell,
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

    The numbers of network, input and Q are taken as exact; states and Jacobians follow from the
    equations, in ball arithmetic where python-flint is installed, else in mpmath (paper, Fig. 2 and
    Eq. 10). Of a cell whose equations are not registered with `lyapflow.precision.cells.move`, the
    Jacobians are those of float64 arithmetic (`lyapflow.jacobian`), taken as exact numbers:
    `exact_jacobians` says so.

    Parameters
    ----------
    cell : cell
    x : array (T, m)
        Input from step τ on; the part beyond max(steps) is used only for the prediction.
    steps : int or sequence of int
        t − τ.
    h0 : array (n_state,), optional
        State h_τ before the first input; zeros by default.
    bits : int, optional
        Precision of the products. None raises it until every singular value is proved, up to five
        times the bits that the prediction suggests, plus 5120 if that is not finite. 256 bits, as
        in the paper, cannot resolve condition numbers beyond 10^77: these are NaN, and `reason`
        says from which step on.
    m : int, optional
        Columns of Q, the block that `lyapunov_spectrum` starts from; by default Q is the identity.
    float64_states : bool
        Take the Jacobians at the states that float64 arithmetic finds, which separates errors of
        the states from errors of the product.
    backend : {"flint", "mpmath"}, optional
        By default flint where it is installed.
    progress : callable
        Called with t − τ and the bits after each step, and with fractions of a step while singular
        values are computed; starts again if the bits did not suffice.

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
    x, batched = inputs(x, size, first_array(cell))
    if batched:
        raise LyapflowError(f"x must be the input of one trajectory (T, m), got shape {x.shape}")
    start = initial_state(h0, size, 1, first_array(cell))
    several = checked_steps(steps, len(x), " = steps of the input")
    columns = size.state if m is None else _checks.integer("m", m, 1, size.state, why=" = n_state")
    bits = None if bits is None else _checks.integer("bits", bits, 16, MAX_BITS)
    a = arithmetic(backend)
    Q = np.eye(size.state) if m is None else default_block(size.state, columns, x.dtype).T
    exponents, predicted = _predicted(cell, x[:, 0], start[0], columns, several)
    finite = exponents[np.isfinite(exponents)]
    gap = float(np.ptp(finite)) if finite.size else 0.0
    longest = max(several)
    x = x[:longest, 0]
    problem = _problem(cell, x, start, Q, {t: gap * t for t in several}, float64_states)
    most = 5 * bits_of(max(problem.expected.values())) + (
        0 if np.isfinite(predicted).all() else 5 * UNKNOWN
    )
    _announce(a, problem)
    found, used = trusted(a, problem, bits, most, progress)
    lost = [t for t in several if found[t].error > PROVED]
    values = _numbers([found[t] for t in several], columns)
    values |= {"steps": np.array(several), "predicted": predicted}
    if not np.iterable(steps):
        values = {
            name: value[0] if value.ndim > 1 else value.item() for name, value in values.items()
        }
    return ConditionNumber(
        **values,
        exponents=exponents,
        bits=used,
        proved=a.proves,
        exact_jacobians=known(cell),
        reason=f"{used} bits do not show all singular values from step {min(lost)} on"
        if lost
        else None,
    )


def _numbers(found: list[Found], columns: int) -> dict[str, np.ndarray]:
    """What was found for each number of steps, as arrays that lead with them."""
    logs = np.array([_padded(one, columns) for one in found])
    rank = np.array([one.rank for one in found])
    with np.errstate(invalid="ignore"):  # where all are zero
        log_kappa = np.where(rank < columns, np.inf, logs[:, 0] - logs[:, -1])
    error = np.array([one.error for one in found])
    return {"log_singular_values": logs, "log_kappa": log_kappa, "rank": rank, "error": error}


def _problem(
    cell: Cell,
    x: np.ndarray,
    start: np.ndarray,
    Q: np.ndarray,
    expected: dict[int, float],
    float64_states: bool,
) -> Problem:
    """What to multiply: by the cell's equations or, where it has none, the Jacobians of float64 arithmetic."""
    if known(cell) and not float64_states:
        return Problem(cell, x, Q, start, expected)
    states = np.concatenate([start, trajectory(cell, x, start[0])[:-1]]) if len(x) else start
    if known(cell):
        return Problem(cell, x, Q, states, expected)
    jacobians = [jacobian(cell, h, driven).ravel() for h, driven in zip(states, x)]
    return Problem(
        GivenJacobians(), np.array(jacobians).reshape(len(x), start.size**2), Q, states, expected
    )


def _predicted(
    cell: Cell, x: np.ndarray, start: np.ndarray, columns: int, steps: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Exponents (columns,), and the condition number that they predict after each number of steps."""
    try:
        # of no concern here, as error bars are not
        with collected_warnings(), np.errstate(invalid="ignore"):
            exponents = lyapunov_spectrum(cell, x, columns, h0=start).exponents
    except Diverged:  # in float64
        exponents = np.full(columns, np.nan)
    if np.isnan(exponents).any():
        return exponents, np.full(len(steps), np.nan)
    return exponents, np.array(predicted_condition(exponents, steps))


def _padded(found: Found, m: int) -> list[float]:
    """All m logarithms: NaN where they are not trusted, minus infinity for the singular values that are zero."""
    return found.logs + [-math.inf] * (m - found.rank) if found.error <= PROVED else [math.nan] * m
