"""Local exponents: growth rates over windows of a run, and how they are distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._presented import Lines, Presented
from lyapflow._results import Result
from lyapflow.errors import LyapflowError


@dataclass(frozen=True, eq=False, repr=False)
class FiniteTime(Presented, Result):
    """Exponents over successive windows of a run, for each trajectory.

    Attributes
    ----------
    exponents : array (B, windows, k)
        In the units of the Spectrum, nats per step. NaN beyond the end of a sequence.
    window : int
        Steps of a window.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(10, 1, rng=np.random.default_rng(0), g=2.0)
    >>> x = np.random.default_rng(1).standard_normal((2000, 1))
    >>> local = lf.lyapunov_spectrum(cell, x, k=2).finite_time(50)
    >>> local.exponents.shape, local.mean.shape
    ((1, 40, 2), (2,))
    >>> bool((local.quantiles([0.05])[0] < local.mean).all())
    True
    """

    exponents: np.ndarray
    window: int

    def _summary(self) -> Lines:
        """What one wants to know first: the scatter of the first and the last exponent."""
        windows, k = self._all().shape
        size = f"{windows} windows of {self.window} steps, {k} exponent{'s' if k > 1 else ''}"
        found = [("FiniteTime", size)]
        for name, i in {"first": 0, "last": k - 1}.items():
            if windows > 1 and np.isfinite(self.mean[i]) and (i > 0 or name == "first"):
                low, high = self.quantiles([0.05, 0.95])[:, i]
                said = f"{self.mean[i]:.4g}, standard deviation {self.std[i]:.2g}"
                found.append((name, f"{said}, from {low:.4g} to {high:.4g} in 90 % of the windows"))
        return found

    @property
    def mean(self) -> np.ndarray:
        """Mean (k,) over windows and trajectories: the exponents, but for what is left over at the end."""
        return self._all().mean(axis=0)

    @property
    def std(self) -> np.ndarray:
        """Standard deviation (k,) over windows and trajectories; it falls as ``window^(-1/2)`` where growth forgets."""
        with np.errstate(invalid="ignore"):  # of -inf
            return self._all().std(axis=0, ddof=1)

    def quantiles(self, levels: ArrayLike = (0.05, 0.25, 0.5, 0.75, 0.95)) -> np.ndarray:
        """Quantiles (levels, k) over windows and trajectories."""
        wanted = _checks.finite("levels", levels)
        if wanted is None or not ((wanted >= 0) & (wanted <= 1)).all():
            raise LyapflowError(f"levels must be numbers between 0 and 1, got {levels!r:.80}")
        return np.quantile(self._all(), wanted, axis=0, method="inverted_cdf")

    def _all(self) -> np.ndarray:
        """All windows (windows, k) that are there."""
        windows = self.exponents.reshape(-1, self.exponents.shape[-1])
        return windows[~np.isnan(windows).any(axis=1)]


def finite_time(log_growth: np.ndarray, intervals: np.ndarray, window: Any) -> FiniteTime:
    """Local exponents from growth rates (B, n_qr, k) over intervals (n_qr,), or (B, n_qr)."""
    per_row = np.broadcast_to(intervals, log_growth.shape[:2])
    # a last interval may be shorter
    row = int(per_row.max())
    counted = (per_row == row).sum(axis=1)
    longest = int(counted.max()) * row
    window = _checks.integer("window", window, 1, longest, why=" = the steps that were counted")
    rows, left = divmod(window, row)
    if left:
        raise LyapflowError(
            f"window must be a multiple of {row}, the steps of a row of log_growth, got {window}"
        )
    number = longest // window
    found = np.full((len(log_growth), number, log_growth.shape[2]), np.nan)
    for b, whole in enumerate(counted // rows):
        growth = log_growth[b, : whole * rows].reshape(whole, rows, found.shape[2]).sum(axis=1)
        steps = per_row[b, : whole * rows].reshape(whole, rows).sum(axis=1)
        found[b, :whole] = growth / steps[:, None]
    return FiniteTime(found, window)
