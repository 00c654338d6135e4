"""The flossing loss as a penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow.cells.interface import DIFFERENTIABLE, Cell
from lyapflow.lyapunov.flossing_loss import (
    Wanted,
    number_of_exponents,
    one_value_and_grad,
    wanted,
)
from lyapflow.lyapunov.layers import layer_problems


@dataclass(frozen=True)
class Exponents:
    r"""Distance of the first k Lyapunov exponents from their targets: what flossing descends.

    .. math:: L = \sum_{i \le k} w_i (\lambda_i - \lambda_i^{target})^2

    Parameters
    ----------
    k : int or tuple of int
        Number of exponents, at most n_state; of a network of layers that of each, or of all alike.
    target, weights, average, one_sided, t_ons, transient, q_transient
        As in `flossing_value_and_grad`. With ``one_sided=True`` only exponents below their targets count.

    Raises
    ------
    LyapflowError
        If a setting is out of its range.

    Notes
    -----
    The values are the exponents, in nats per step.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.LinearRNN(np.diag([2.0, 0.5]), np.empty((2, 0)), np.zeros(2))
    >>> penalty = lf.penalties.Exponents(2, one_sided=True)
    >>> loss, gradient, exponents = penalty.value_and_grad(cell, np.empty((400, 0)))
    >>> exponents.round(2)
    array([ 0.69, -0.69])
    >>> round(loss, 2)  # of the second alone
    0.48
    """

    k: int | tuple[int, ...]
    target: ArrayLike = 0.0
    weights: ArrayLike | None = None
    average: str = "exponents"
    one_sided: bool = False
    t_ons: int | str = 1
    transient: int = 0
    q_transient: int = 16

    def __post_init__(self) -> None:
        k = number_of_exponents(self.k)
        _checks.affordable("a target for each exponent", k)
        if isinstance(self.k, list):
            object.__setattr__(self, "k", tuple(self.k))
        self._wanted(k)
        for name, low in (("t_ons", 1), ("transient", 0), ("q_transient", 0)):
            value = getattr(self, name)
            if name == "t_ons" and isinstance(value, str):
                _checks.one_of("t_ons, if not a number,", value, ("auto",))
            else:
                _checks.integer(name, value, low)

    def _wanted(self, k: int) -> Wanted:
        return wanted(k, self.target, self.average, self.weights, self.one_sided)

    def _times(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("t_ons", "transient", "q_transient")}

    def off(self, exponents: np.ndarray) -> np.ndarray:
        """How far exponents are from their targets; 0 for those above them where only others count."""
        return self._wanted(exponents.shape[-1]).off(exponents)

    def n_values(self, cell: Cell, x: ArrayLike) -> int:
        """k, of layers the sum, after checks of cell and input."""
        given = {"cell": cell, "x": x, "k": self.k, "steps": None, "h0": None, "q0": None}
        problems = layer_problems(DIFFERENTIABLE, **given, **self._times())
        k = sum(len(layer.block) for layer in problems)
        self._wanted(k)
        return k

    def value_and_grad(
        self, cell: Cell, x: ArrayLike, h0: ArrayLike | None = None
    ) -> tuple[float, Any, np.ndarray]:
        """Loss, gradient and exponents, as `flossing_value_and_grad`."""
        return one_value_and_grad(
            cell=cell,
            x=x,
            k=self.k,
            steps=None,
            h0=h0,
            q0=None,
            target=self.target,
            average=self.average,
            weights=self.weights,
            one_sided=self.one_sided,
            **self._times(),
        )
