"""The singular values of single one-step Jacobians as a penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow.cells.interface import Cell
from lyapflow.cells.joint import like_given
from lyapflow.learning.penalties.exponents import Exponents
from lyapflow.lyapunov.one_step import one_step_problem, one_step_value_and_grad

LARGEST_LOG = 700.0  # of a float64


@dataclass(frozen=True)
class OneStepJacobian:
    r"""Distance of the singular values of each one-step Jacobian from a target: the paper's control (§7).

    .. math:: L = \frac{1}{S} \sum_{t} \sum_{i \le k} (\log \sigma_i(D_t) - target)^2

    averaged over the S counted steps (of all trajectories). The gradient is exact, through the trajectory too, h0
    held constant.

    Parameters
    ----------
    k : int, optional
        Number of singular values, the largest of each Jacobian; all n_state by default. Of layers,
        the Jacobian is that of all.
    target : float
        Wanted logarithm of each, in nats.
    transient : int
        First steps, which are not counted.

    Raises
    ------
    LyapflowError
        If a setting is out of its range.

    Notes
    -----
    The values are the mean logarithms (k,). A step with fewer than k singular values above rounding is `Diverged`,
    which names the k that all steps have. There is no gradient where the k-th singular value equals the next, as in an
    orthogonal linear network: then a one-sided one is taken, with a LyapflowWarning. Equal ones among the
    first k do no harm.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LinearRNN(np.diag([2.0, 0.5]), np.empty((2, 0)), np.zeros(2))
    >>> penalty = lf.penalties.OneStepJacobian(transient=0)
    >>> loss, gradient, values = penalty.value_and_grad(cell, np.empty((10, 0)))
    >>> values.round(2)  # D is W
    array([ 0.69, -0.69])
    >>> np.diag(gradient.W).round(2)  # 2 log σ_i / σ_i
    array([ 0.69, -2.77])
    """

    k: int | None = None
    target: float = 0.0
    transient: int = Exponents.q_transient

    def __post_init__(self) -> None:
        if self.k is not None:
            _checks.integer("k", self.k, 1)
        _checks.number("target", self.target, -LARGEST_LOG, LARGEST_LOG)
        _checks.integer("transient", self.transient, 0)

    def n_values(self, cell: Cell, x: ArrayLike) -> int:
        """k, after checks of cell and input."""
        return len(one_step_problem(cell, x, self.k, None, self.transient).block)

    def value_and_grad(
        self, cell: Cell, x: ArrayLike, h0: ArrayLike | None = None
    ) -> tuple[float, Any, np.ndarray]:
        """Loss, gradient, and the mean logarithms of the singular values (k,), in nats."""
        given = one_step_problem(cell, x, self.k, h0, self.transient)
        loss, gradient, values = one_step_value_and_grad(given, self.target)
        return loss, like_given(cell, gradient), values
