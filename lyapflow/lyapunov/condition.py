"""Condition number of the long-term Jacobian, as the Lyapunov exponents predict it (paper, Eq. 10)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow.errors import LyapflowError


def predicted_condition(exponents: ArrayLike, steps: Any, m: int | None = None) -> Any:
    r"""Natural logarithm of the condition number that exponents predict for a long-term Jacobian.

    .. math:: \log \kappa_2(T_t(h_\tau) Q) \approx (\lambda_1 - \lambda_m)(t - \tau)

    for an orthonormal Q with m columns (paper, Eq. 10). This is asymptotic: at finite times the
    fluctuations of the exponents add to it.

    Parameters
    ----------
    exponents : array (k,)
        In nats per step, as `lyapunov_spectrum` gives them.
    steps : int or sequence of int
        t − τ.
    m : int, optional
        Columns of Q; all k by default.

    Returns
    -------
    float, or array (S,)
        Infinite where an exponent is −∞.

    Raises
    ------
    LyapflowError
        If arguments do not fit.

    Examples
    --------
    >>> import lyapflow as lf
    >>> lf.predicted_condition([0.0, -0.5], steps=[10, 20])
    array([ 5., 10.])
    """
    _checks.not_masked("exponents", exponents)
    found = np.asarray(exponents, dtype=float) if _checks.ndim(exponents) == 1 else np.empty(0)
    if found.size == 0 or np.isnan(found).any() or (found == np.inf).any():
        got = type(exponents).__name__ if hasattr(exponents, "exponents") else f"{exponents!r:.60}"
        way_out = "; give its exponents" if hasattr(exponents, "exponents") else ""
        raise LyapflowError(
            f"exponents must be numbers (k,), at least one of them, got {got}{way_out}"
        )
    m = (
        found.size
        if m is None
        else _checks.integer("m", m, 1, found.size, why=" = number of exponents")
    )
    several = checked_steps(steps)
    gap = float(found[:m].max() - found[:m].min()) if np.isfinite(found[:m].max()) else np.inf
    log_kappa = np.array([gap * t if t else 0.0 for t in several])
    return log_kappa if np.iterable(steps) else float(log_kappa[0])


def checked_steps(steps: Any, most: int | None = None, why: str = "") -> list[int]:
    """One or several numbers of steps, as a list."""
    several = list(steps) if np.iterable(steps) else [steps]
    if not several:
        raise LyapflowError("steps must be an integer or several, got none")
    return [_checks.integer("steps", t, 0, most, why) for t in several]
