"""What an episode, and the term beside the task's loss, need of a penalty."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from lyapflow import _checks
from lyapflow._trees import is_tree, like, named_arrays
from lyapflow.cells.interface import Cell
from lyapflow.errors import Diverged, LyapflowError


@runtime_checkable
class Penalty(Protocol):
    """A loss on a cell: any object with these methods, preferably a frozen dataclass.

    Its values must depend only on its settings and arguments: random numbers, or anything kept from
    call to call, would make a resumed run differ from an uninterrupted one. Members of an ensemble
    come one by one, from several threads.

    Examples
    --------
    Weights that are small, whatever the input:

    >>> from dataclasses import dataclass
    >>> import numpy as np, lyapflow as lf
    >>> @dataclass(frozen=True)
    ... class SmallWeights:
    ...     def n_values(self, cell, x):
    ...         return 1
    ...
    ...     def value_and_grad(self, cell, x, h0=None):
    ...         gradient = type(cell)(*map(np.zeros_like, cell))._replace(W=2 * cell.W)
    ...         loss = float((cell.W**2).sum())
    ...         return loss, gradient, np.array([loss])
    >>> isinstance(SmallWeights(), lf.penalties.Penalty)
    True
    >>> lf.Flossing(penalty=SmallWeights(), epochs=10).penalty
    SmallWeights()
    """

    def n_values(self, cell: Cell, x: np.ndarray) -> int:
        """How many values there are of such a cell under such an input.

        It is called before any work. Raises LyapflowError where the penalty does not fit the cell or
        the input.
        """

    def value_and_grad(
        self, cell: Cell, x: np.ndarray, h0: np.ndarray | None = None
    ) -> tuple[float, Cell, np.ndarray]:
        """The loss, its gradient in the parameters, a cell of the same class, and the values that it is made of.

        The input x is (T, m) or (T, B, m), the initial state h0 (n_state,) or (B, n_state). Raises
        Diverged where it has no value or no gradient.
        """


def checked_penalty(penalty: Any) -> None:
    if isinstance(penalty, type) or not isinstance(penalty, Penalty):
        raise LyapflowError(
            f"penalty must be one of lyapflow.penalties, such as penalties.SpectralRadius(), or have n_values and "
            f"value_and_grad as they do, got {penalty!r:.80}"
        )


def evaluated(
    penalty: Penalty, cell: Cell, x: np.ndarray, h0: np.ndarray
) -> tuple[float, Any, np.ndarray]:
    """`value_and_grad` of a penalty, whoever wrote it, after checks of what comes back."""
    name = type(penalty).__name__
    n_values = _checks.integer(f"n_values of {name}", penalty.n_values(cell, x), 0)
    found = penalty.value_and_grad(cell, x, h0)
    try:
        loss, gradient, values = found
        loss, values = float(loss), np.asarray(values)
        tree = gradient if is_tree(gradient) else list(gradient)
        slopes = [(name, np.asarray(g)) for name, g in named_arrays(tree)]
    except (TypeError, ValueError) as error:
        raise LyapflowError(
            f"value_and_grad of {name} must return a number, a cell and an array: {error}"
        ) from error
    for (field, p), (_, g) in zip(named_arrays(cell), slopes):
        if (g.dtype, g.shape) != (p.dtype, p.shape):
            raise LyapflowError(
                f"the gradient of {name} must be a cell like its argument, with {field} {p.dtype} {p.shape}, "
                f"got {g.dtype} {g.shape}"
            )
    fields = [field for field, _ in named_arrays(cell)]
    if len(slopes) != len(fields) or values.shape != (n_values,):
        raise LyapflowError(
            f"value_and_grad of {name} must return a gradient in {', '.join(fields)} and n_values = {n_values} "
            f"values, got {len(slopes)} arrays and values of shape {values.shape}"
        )
    if values.dtype.kind not in "iuf":
        raise LyapflowError(f"the values of {name} must be real numbers, got {values.dtype}")
    if not np.isfinite(loss) or not all(np.isfinite(g).all() for _, g in slopes):
        raise Diverged(f"the loss or the gradient of {name} is not finite")
    return loss, like(cell, (g for _, g in slopes)), values
