"""Flossing epochs: descent of cells on a loss."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lyapflow.cells.interface import first_array, within_bounds
from lyapflow.ensemble import Members
from lyapflow.errors import Diverged
from lyapflow.learning.history import FlossingRecord, Recorder
from lyapflow.learning.optimizer import Optimizer, check_form
from lyapflow.learning.stillness import keeps_still, warn_of_still_units


class Descended(NamedTuple):
    """A loss on the cells of an ensemble, or on one."""

    value_and_grad: Callable[[int, Any, Any], tuple[float, Any, np.ndarray]]  # r, cell, x
    n_values: Callable[[Any, Any], int]  # cell, x
    # how far the values are from where they are wanted, if they are exponents
    off: Callable[[np.ndarray], np.ndarray] | None


def descend(
    cells: Members,
    loss: Descended,
    inputs: Callable[[int], Sequence[ArrayLike]],
    h0: Sequence[Any],
    epochs: range,
    optimizer: Optimizer,
    moments: list[Any],
    record: Recorder,
    blind: set[int],
    training_epoch: int | None = None,
) -> Iterator[int]:
    """Flossing epochs of all cells, each with its own input and state, until a callback ends them.

    Cells and moments change in place; the number of epochs that are done comes after each. Members
    whose units keep still at the end are warned of, and go into `blind`, which has those that were
    warned of before."""

    def kept(value: float, values: np.ndarray) -> tuple[Any, ...]:
        """What a record holds: exponents, or none and the values of another penalty."""
        return (value, values[:0], values) if loss.off is None else (value, values)

    def update(x: Sequence[Any], r: int) -> tuple[Any, ...]:
        cell = cells.now[r]
        value, gradient, values = loss.value_and_grad(r, cell, x[r])
        before = moments[r]
        updated, moments[r] = optimizer.update(before, cell, gradient)
        cells.now[r] = within_bounds(updated)
        if epoch == epochs.start:
            check_form(optimizer, before, moments[r])
        return kept(value, values)

    def lost(x: Sequence[Any], r: int) -> tuple[Any, ...]:
        cell = cells.now[r]
        return kept(np.nan, np.full(loss.n_values(cell, x[r]), np.nan, first_array(cell).dtype))

    def look(r: int) -> None:
        if loss.off is None or r in blind:
            return
        if keeps_still(cells.now[r], x[r], h0[r], loss.off(found[r][1])):
            blind.add(r)
            warn_of_still_units(where, cells.now[r])

    where = "" if training_epoch is None else f"epoch {training_epoch}: "
    found: list = []
    for epoch in epochs:
        x = inputs(epoch)
        piece, nothing = functools.partial(update, x), functools.partial(lost, x)
        try:
            found = cells.run(piece, nothing, f"{where}flossing epoch {epoch}: ")
        except Diverged as error:
            raise error.at(f"flossing epoch {epoch}: ", epoch, record.history.flossing) from None
        stopped = record(FlossingRecord(training_epoch or 0, epoch, *cells.join(found)))
        yield epoch + 1
        if stopped or None not in cells.reasons:
            break
    if found:
        cells.run(look, lambda r: None)
