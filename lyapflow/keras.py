"""Flossing of a recurrent layer of Keras before its training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from lyapflow.interop.extras import imported
from lyapflow.interop.keras import from_keras, to_keras
from lyapflow.learning.flossing import floss
from lyapflow.learning.history import Log

if TYPE_CHECKING:
    import keras
else:
    keras = imported("keras")


class Preflossing(keras.callbacks.Callback):
    """Flosses a recurrent layer when training begins; the optimiser of the training sees nothing of it.

    Parameters
    ----------
    layer : keras layer or model
        As in `lyapflow.from_keras`.
    inputs : callable
        Flossing epoch (from 0) -> input (T, m) or (T, B, m) of the layer, in its dtype.
    k : int
    epochs : int
    name : str, optional
        Name of the layer, if there are several.
    **settings
        As in `lyapflow.floss`.

    Attributes
    ----------
    log : Log or None
        What was recorded.

    Raises
    ------
    LyapflowError
        When training begins: what `lyapflow.from_keras` and `lyapflow.floss` raise.

    Examples
    --------
    >>> import lyapflow.keras  # doctest: +SKIP
    >>> preflossing = lyapflow.keras.Preflossing(model, inputs, k=8, epochs=200)  # doctest: +SKIP
    >>> model.fit(x, y, callbacks=[preflossing])  # doctest: +SKIP
    """

    def __init__(
        self,
        layer: Any,
        inputs: Callable[[int], ArrayLike],
        *,
        k: int,
        epochs: int = 200,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.layer, self.inputs, self.name = layer, inputs, name
        self.settings = {"k": k, "epochs": epochs, **settings}
        self.log: Log | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Floss, and write the weights back."""
        cell = from_keras(self.layer, name=self.name)
        flossed, self.log = floss(cell, self.inputs, **self.settings)
        to_keras(flossed, self.layer, name=self.name)
