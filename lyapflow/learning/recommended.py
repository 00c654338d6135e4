"""Recommended settings for each kind of network."""

import dataclasses
from typing import Any

from lyapflow.cells.closed_loop import each_cell
from lyapflow.cells.elman import ElmanRNN
from lyapflow.cells.gru import GRU
from lyapflow.cells.gru_reset_before import GRUResetBefore
from lyapflow.cells.interface import Cell, sizes
from lyapflow.cells.layers import each_layer
from lyapflow.cells.linear import LinearRNN
from lyapflow.cells.lstm import LSTM
from lyapflow.cells.rate import RateRNN
from lyapflow.cells.tanh import TanhRNN
from lyapflow.learning.adam import Adam
from lyapflow.learning.flossing import Flossing

GATED = (LSTM, GRU, GRUResetBefore)


def recommended(cell: Cell, *, floss: bool | None = None) -> dict[str, Any]:
    """Settings of `train` to begin with, for a network of a cell's class and size.

    For tanh and linear networks, with a leak or without, they are the paper's: 75 exponents, or as
    many as units; Adam at 1e-3, clipped at 0.03. So many exponents ruin other networks: an LSTM
    holds all of them at 0 by gates that keep everything, and its state grows until the units are
    saturated; a ReLU network has few finite exponents.

    - ReLU: a twentieth of the units.
    - Layers: the exponents of each as of its kind, the rest as of a gated one, where there is any.
    - LSTM, GRU: Adam at 3e-3, clipped at 1. What they learn without flossing they learn more slowly
      with it, so it is left out unless asked for. Then an LSTM is flossed in five episodes of 200
      epochs, an eighth of its units, and a GRU, whose update gates shut sooner, once before
      training, a twentieth.

    Parameters
    ----------
    cell : cell
    floss : bool, optional
        Whether to floss; by default what is best for most tasks.

    Returns
    -------
    dict
        ``flossing``, None for none, and ``optimizer``, keywords of `train`.

    Raises
    ------
    LyapflowError
        If it is no cell.

    Notes
    -----
    Measured by ``python -m validation.paper gated --size night``.

    Examples
    --------
    A schedule of one's own, with the recommended rates::

        settings = lf.recommended(model.cell, floss=True)
        settings["flossing"] = dataclasses.replace(settings["flossing"], at=(0, 100, 200))
        lf.train(model, task, epochs=1000, seed=0, **settings)

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> settings = lf.recommended(lf.LSTM.random(40, 1, rng=np.random.default_rng(0)), floss=True)
    >>> settings["flossing"].k, settings["optimizer"].lr
    (5, 0.003)
    """
    layers = each_cell(cell)
    gated = [layer for layer in layers if isinstance(layer, GATED)]
    # gated layers decide: they are harmed sooner
    flossing = _flossing((gated or layers)[0])
    if len(each_layer(cell)) > 1:
        ks: Any = tuple(_flossing(layer).k for layer in layers)
        flossing = dataclasses.replace(flossing, k=ks)
    wanted = not gated if floss is None else floss
    optimizer = Adam(3e-3, clip_norm=1.0) if gated else Adam(1e-3, clip_norm=0.03)
    return {"flossing": flossing if wanted else None, "optimizer": optimizer}


def _flossing(cell: Cell) -> Flossing:
    units = sizes(cell).units
    if isinstance(cell, LSTM):
        return Flossing(k=max(1, units // 8), epochs=200)
    if isinstance(cell, GATED):
        return Flossing(k=max(1, units // 20), epochs=200, at=(0,))
    if isinstance(cell, (TanhRNN, RateRNN, ElmanRNN, LinearRNN)):
        return Flossing(k=min(75, units))
    return Flossing(k=max(1, units // 20))
