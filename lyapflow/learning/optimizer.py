"""What training and flossing need of an optimiser."""

from typing import Any, Protocol, runtime_checkable

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
