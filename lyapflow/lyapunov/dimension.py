"""Numbers that follow from a spectrum, Kaplan-Yorke dimension and entropy rate, with their standard errors.

Errors of exponents are correlated (those of a volume-preserving map cancel in the sum), so they go
on as the deviations (rows, k) of `lyapflow.lyapunov.error_bars`: a combination Σ w_i λ_i has the
standard error |deviations @ w|."""

import numpy as np


def kaplan_yorke(
    exponents: np.ndarray, deviations: np.ndarray, n_state: int
) -> tuple[float, float]:
    """Dimension and standard error.

    Exponents within 2 standard errors, and rounding, of zero are zero, and so are sums of these: the
    dimension would jump there. Elsewhere it goes through a sum of zero without a step."""
    order = np.argsort(-exponents)
    ordered, errors = exponents[order].astype(float), deviations[:, order].astype(float)
    if np.isnan(ordered).any():
        return np.nan, np.nan
    sums = np.cumsum(ordered)
    rounding = (
        n_state
        * np.finfo(exponents.dtype).eps
        * max(1.0, np.abs(ordered[np.isfinite(ordered)]).max(initial=0.0))
    )
    of_sums = 2 * np.linalg.norm(np.cumsum(errors, axis=1), axis=0) + rounding
    of_each = 2 * np.linalg.norm(errors, axis=0) + rounding
    sums[(np.abs(sums) <= of_sums) & (np.abs(ordered) <= of_each)] = 0.0
    if sums[0] < 0:
        return 0.0, 0.0
    # a wide bar later on makes no sum zero again
    j = int(np.argmax(sums < 0)) if (sums < 0).any() else len(ordered)
    weight = np.zeros(len(ordered))
    if j == len(ordered):
        if j < n_state:
            return np.nan, np.nan
        # it may be just below
        if sums[-1] == 0.0 and ordered[-1] < -2 * np.linalg.norm(errors[:, -1]) - rounding:
            weight[:] = -1 / ordered[-1]
        return float(j), float(np.linalg.norm(errors @ weight))
    fall = -ordered[j]
    weight[:j], weight[j] = 1 / fall, sums[j - 1] / fall**2
    return float(j + sums[j - 1] / fall), float(np.linalg.norm(errors @ weight))


def entropy_rate(
    exponents: np.ndarray, deviations: np.ndarray, n_state: int
) -> tuple[float, float]:
    """Sum of the positive exponents, and its standard error."""
    if np.isnan(exponents).any() or (len(exponents) < n_state and exponents.min() > 0):
        return np.nan, np.nan
    positive = exponents > 0
    return float(exponents[positive].sum()), float(
        np.linalg.norm(deviations[:, positive].sum(axis=1))
    )
