"""Gradient flossing: descent on the flossing loss, alone or as a schedule within training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._checks import Diverged, LyapflowError
from lyapflow.cells.interface import DIFFERENTIABLE, checked
from lyapflow.learning.adam import Adam
from lyapflow.learning.history import Callbacks, FlossingRecord, Log, Teller
from lyapflow.lyapunov.forward import schedule
from lyapflow.lyapunov.spectrum import flossing_value_and_grad, targets


def floss(
    cell: Any,
    inputs: Callable[[int], ArrayLike],
    *,
    k: int,
    epochs: int,
    optimizer: Adam = Adam(1e-3),
    target: ArrayLike = 0.0,
    h0: ArrayLike | None = None,
    q0: ArrayLike | None = None,
    t_ons: int = 1,
    transient: int = 0,
    q_transient: int = 0,
    callbacks: Callbacks = (),
    training_epoch: int = 0,
) -> tuple[Any, Log]:
    """Push the first k Lyapunov exponents of a cell towards their targets.

    Parameters
    ----------
    cell : cell
        It stays as it is; the flossed cell is returned.
    inputs : callable
        Epoch (from 0) -> x (T, m) or (T, B, m), the input of that epoch.
    k : int
        Number of exponents.
    epochs : int
        Number of updates.
    optimizer : Adam
        Its moments start afresh.
    target : float or array (k,)
        Wanted exponents, nats per step.
    h0, q0, t_ons, transient, q_transient
        As in `flossing_value_and_grad`.
    callbacks : iterable of callables, or one
        Each receives every `FlossingRecord`; one that returns True ends the flossing after that epoch's update.
    training_epoch : int
        Number that the records carry, where training is going on.

    Returns
    -------
    cell
    history : Log of FlossingRecord

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state or the gradient stops being finite or the tangent block loses rank; it has epoch, step and history.

    Notes
    -----
    Paper, Alg. 1.
    """
    epochs = _checks.integer("epochs", epochs, 0)
    tell = Teller(callbacks)
    if not callable(inputs):
        raise LyapflowError(
            f"inputs must be a function of the epoch that returns x, got {type(inputs).__name__}; "
            f"for one fixed input x use lambda epoch: x"
        )
    checked_optimizer(optimizer)
    cell = checked(cell, *DIFFERENTIABLE)
    history = Log()
    state = optimizer.init(cell)
    for epoch in range(epochs):
        try:
            loss, gradient, exponents = flossing_value_and_grad(
                cell,
                inputs(epoch),
                k,
                target=target,
                h0=h0,
                q0=q0,
                t_ons=t_ons,
                transient=transient,
                q_transient=q_transient,
            )
            flossed, state = optimizer.update(state, cell, gradient)
        except Diverged as error:
            raise Diverged(
                f"flossing epoch {epoch}: {error}", epoch=epoch, step=error.step, member=error.member, history=history
            ) from None
        cell = flossed
        if tell(FlossingRecord(training_epoch, epoch, loss, exponents), history):
            break
    return cell, history


def checked_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Adam):
        raise LyapflowError(f"optimizer must be a lyapflow.Adam, got {optimizer!r}")


@dataclass(frozen=True)
class Flossing:
    """A schedule of flossing episodes within training.

    An episode starts from the Model's h0 and from fresh moments: stale ones can throw a later episode off.

    Parameters
    ----------
    k : int
        Number of exponents.
    epochs : int
        Flossing epochs of an episode.
    steps : int
        Length of the input of a flossing epoch, transients included.
    transient, q_transient, t_ons : int
        As in `lyapunov_spectrum`.
    at : sequence of int
        Training epochs before which an episode runs: ``(0,)`` is preflossing, ``range(0, epochs, 100)`` flosses
        throughout. Those beyond the end of a run do not come up.
    optimizer : Adam
    target : float or array (k,)
        Wanted exponents, nats per step.
    batch : int
        Trajectories whose exponents are averaged.

    Raises
    ------
    LyapflowError
        If a setting is out of its range.
    """

    k: int = 75
    epochs: int = 500
    steps: int = 55
    transient: int = 0
    q_transient: int = 16
    at: Sequence[int] = (0, 100, 200, 300, 400)
    optimizer: Adam = Adam(1e-3)
    target: ArrayLike = 0.0
    t_ons: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        _checks.integer("k", self.k, 1)
        _checks.integer("epochs", self.epochs, 1)
        schedule(_checks.integer("steps", self.steps, 1), self.t_ons, self.transient, self.q_transient)
        _checks.integer("batch", self.batch, 1)
        checked_optimizer(self.optimizer)
        targets(self.target, self.k)
        if not np.iterable(self.at):
            raise LyapflowError(f"at must be the training epochs to floss before, such as (0, 100), got {self.at!r}")
        at = tuple(sorted({_checks.integer("each epoch in at", epoch, 0) for epoch in self.at}))
        object.__setattr__(self, "at", at)  # an iterator is read once

    def episode(
        self,
        cell: Any,
        inputs: Callable[[int], ArrayLike],
        h0: np.ndarray,
        training_epoch: int,
        callbacks: Callbacks,
    ) -> tuple[Any, Log]:
        """One episode: `floss` with these settings."""
        return floss(
            cell,
            inputs,
            k=self.k,
            epochs=self.epochs,
            optimizer=self.optimizer,
            target=self.target,
            h0=h0,
            t_ons=self.t_ons,
            transient=self.transient,
            q_transient=self.q_transient,
            callbacks=callbacks,
            training_epoch=training_epoch,
        )
