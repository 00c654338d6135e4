"""Settings to begin with, by the kind of network."""

from typing import Any

from lyapflow.cells.gru import GRU
from lyapflow.cells.interface import sizes
from lyapflow.cells.linear import LinearRNN
from lyapflow.cells.lstm import LSTM
from lyapflow.cells.tanh import TanhRNN
from lyapflow.learning.adam import Adam
from lyapflow.learning.flossing import Flossing


def recommended(cell: Any) -> dict[str, Any]:
    """Settings of `train` to begin with, for a network of a cell's class and size.

    For tanh and linear networks they are the paper's: 75 exponents, or as many as units; Adam at 1e-3, clipped at 0.03.
    So many ruin other networks: gates that let nothing go hold every exponent of an LSTM at 0, but its state grows
    until the units are saturated, and of a ReLU network few exponents exist. There a twentieth of the units is flossed.
    LSTM and GRU learn with Adam at 3e-3, clipped at 1, and are flossed once, for 200 epochs, before training.

    Parameters
    ----------
    cell : cell

    Returns
    -------
    dict
        ``flossing`` and ``optimizer``, keywords of `train`.

    Raises
    ------
    LyapflowError
        If it is no cell.

    Notes
    -----
    Measured by ``python -m validation.gated_cells``.

    Examples
    --------
    A schedule of one's own, with the recommended rates::

        settings = lf.recommended(model.cell)
        settings["flossing"] = dataclasses.replace(settings["flossing"], at=(0, 100, 200))
        lf.train(model, task, epochs=1000, seed=0, **settings)
    """
    units = sizes(cell).units
    if isinstance(cell, (TanhRNN, LinearRNN)):
        return {"flossing": Flossing(k=min(75, units)), "optimizer": Adam(1e-3, clip_norm=0.03)}
    few = max(1, units // 20)
    if isinstance(cell, (LSTM, GRU)):
        return {"flossing": Flossing(k=few, epochs=200, at=(0,)), "optimizer": Adam(3e-3, clip_norm=1.0)}
    return {"flossing": Flossing(k=few), "optimizer": Adam(1e-3, clip_norm=0.03)}
