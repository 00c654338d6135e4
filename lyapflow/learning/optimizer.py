"""What training and flossing need of an optimiser."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from lyapflow._trees import named_arrays
from lyapflow.errors import LyapflowError


@runtime_checkable
class Optimizer(Protocol):
    """Any object with these will do, such as `lyapflow.Adam`; those with settings are best frozen dataclasses.

    A state is a tree of arrays and numbers: NamedTuples, tuples, lists and dicts, or None. A run
    folder keeps it as arrays by name, and takes its form, shapes and dtypes from `init`. Members of
    an ensemble are updated one by one."""

    def init(self, params: Any) -> Any:
        """The state before the first update of params, a cell or a Model."""

    def update(self, state: Any, params: Any, grads: Any) -> tuple[Any, Any]:
        """New parameters and the new state, from a gradient of the same class; the old ones stay as they were.

        Raises Diverged where the gradient is not finite.
        """


def checked_optimizer(optimizer: Any) -> None:
    if isinstance(optimizer, type) or not isinstance(optimizer, Optimizer):
        raise LyapflowError(
            f"optimizer must be a lyapflow.Adam, or have init and update as it does, got {optimizer!r:.80}"
        )


def check_form(optimizer: Optimizer, before: Any, after: Any) -> None:
    """Raise LyapflowError where an update has changed the form of a state, which could not be resumed."""
    forms = [[(n, np.shape(a)) for n, a in named_arrays(tree)] for tree in (before, after)]
    if forms[0] != forms[1]:
        odd = next(iter(set(forms[0]) ^ set(forms[1])))[0] or "all of it"
        raise LyapflowError(
            f"the state of an optimizer must keep the names and shapes that init gives it, "
            f"but {odd} of {type(optimizer).__name__} changed in an update; let init make all of it"
        )
