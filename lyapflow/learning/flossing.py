"""Gradient flossing: descent on the flossing loss, alone or as a schedule within training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import DIFFERENTIABLE, Cell, checked
from lyapflow.ensemble import Ensemble, Members
from lyapflow.errors import LyapflowError
from lyapflow.learning.adam import Adam
from lyapflow.learning.descent import Descended, descend
from lyapflow.learning.history import Callbacks, History, Log, Recorder
from lyapflow.learning.optimizer import Optimizer, checked_optimizer
from lyapflow.learning.penalties.exponents import Exponents
from lyapflow.learning.penalties.penalty import Penalty, checked_penalty, evaluated
from lyapflow.learning.watching import watched
from lyapflow.lyapunov.flossing_loss import one_value_and_grad, wanted
from lyapflow.lyapunov.layers import number_wanted
from lyapflow.lyapunov.problem import doubt_layout
from lyapflow.lyapunov.schedule import schedule


def floss(
    cell: Cell | Ensemble,
    inputs: Callable[[int], ArrayLike] | None = None,
    *,
    steps: int | None = None,
    k: int | tuple[int, ...] | None,
    epochs: int,
    optimizer: Optimizer = Adam(1e-3),
    target: ArrayLike = 0.0,
    h0: ArrayLike | None = None,
    q0: ArrayLike | None = None,
    t_ons: int | str = 1,
    transient: int = 0,
    q_transient: int = 0,
    average: str = "exponents",
    weights: ArrayLike | None = None,
    one_sided: bool = False,
    callbacks: Callbacks = (),
    progress: bool = False,
) -> tuple[Any, Log]:
    """Push the first k Lyapunov exponents of a cell towards their targets.

    Each epoch is one update down the gradient of the flossing loss, Σ w_i (λ_i - target_i)², under
    that epoch's input. With several trajectories it is the loss of their averaged exponents or,
    with ``average="loss"``, the average of their losses.

    Parameters
    ----------
    cell : cell
        It is not changed; the flossed cell is returned.
    inputs : callable
        A function of the epoch, counted from 0, that returns its input x (T, m) or (T, B, m); for
        an ensemble with a leading member axis.
    steps : int, optional
        Instead of inputs, for a cell without any, as in `lyapunov_spectrum`.
    k : int, tuple of int, or None
        Number of exponents, None for all; in a network of layers a tuple with the number for each,
        or one number for all.
    epochs : int
        Number of updates.
    optimizer : Adam, or any `lyapflow.learning.optimizer.Optimizer`
        Its moments start afresh.
    target : float or array (k,)
        Wanted exponents, nats per step.
    h0, q0, t_ons, transient, q_transient, average, weights, one_sided
        As in `flossing_value_and_grad`.
    callbacks : iterable of callables, or one
        Each is called with every `FlossingRecord`; one that returns True ends flossing after that
        epoch's update.
    progress : bool
        Show progress: live in a terminal or notebook, otherwise a line from time to time.

    Returns
    -------
    cell
    history : Log of FlossingRecord

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state or the gradient stops being finite or the tangent block loses rank; the error has
        epoch, step and history. In an ensemble the member is frozen instead, with the parameters of
        its last good epoch: its records are NaN from there on, and ``reasons`` of the flossed
        ensemble says why.

    Warns
    -----
    LyapflowWarning
        If the input of the first epoch has fewer steps than trajectories, or if the exponents reach
        their targets because nearly all units are saturated: then flossing has gone too far.

    Notes
    -----
    Paper, Alg. 1.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN(np.array([[0.5]]), np.empty((1, 0)), np.zeros(1))
    >>> flossed, history = lf.floss(cell, steps=20, k=1, epochs=300, optimizer=lf.Adam(1e-2))
    >>> flossed.W.round(3)  # λ = ln W is 0
    array([[1.]])
    >>> history["exponents"].shape
    (300, 1)
    """
    epochs = _checks.integer("epochs", epochs, 0)
    record = Recorder(callbacks, History())
    driven = (lambda epoch: None) if inputs is None and steps is not None else inputs
    if not callable(driven):
        raise LyapflowError(
            f"inputs must be a function of the epoch that returns x, got {type(inputs).__name__}; "
            f"for one fixed input x use lambda epoch: x"
        )
    checked_optimizer(optimizer)
    cells = Members(cell)
    # what is given stays
    cells.now = [map_arrays(np.copy, checked(member, *DIFFERENTIABLE)) for member in cells.now]
    states, blocks = cells.split("h0", h0), cells.split("q0", q0)
    aims: dict[str, Any] = {
        "target": target,
        "average": average,
        "weights": weights,
        "one_sided": one_sided,
    }
    times: dict[str, Any] = {
        "steps": steps,
        "t_ons": t_ons,
        "transient": transient,
        "q_transient": q_transient,
    }
    loss = Descended(
        lambda r, cell, x: one_value_and_grad(
            cell=cell, x=x, k=k, h0=states[r], q0=blocks[r], **aims, **times
        ),
        lambda cell, x: number_wanted(cell, k),
        lambda exponents: wanted(exponents.shape[-1], **aims).off(exponents),
    )
    # once, not in every epoch
    with one_blas_thread(), watched(record, progress, 0, (0,), epochs):
        for _ in descend(
            cells,
            loss,
            functools.partial(_drive, cells, driven),
            states,
            range(epochs),
            optimizer,
            [optimizer.init(member) for member in cells.now],
            record,
            set(),
        ):
            pass
    return cells.join(cells.now), record.history.flossing


def _drive(cells: Members, inputs: Callable[[int], Any], epoch: int) -> list[Any]:
    """The input of each cell in an epoch, the layout of the first put in doubt where it may be another."""
    given = cells.split("inputs(epoch)", inputs(epoch))
    if epoch == 0 and _checks.ndim(given[0]) == 3:
        doubt_layout(np.asarray(given[0]))
    return given


# settings of `Flossing` that make the penalty that it descends by default
OF_EXPONENTS = ("k", "target", "average", "t_ons", "transient", "q_transient")


@dataclass(frozen=True)
class Flossing:
    """A schedule of flossing episodes within training.

    Each episode starts from the Model's h0 and with fresh moments, since old ones can derail a
    later episode. It descends the flossing loss, ``penalties.Exponents(k, target, ...)`` with the
    settings given here, or another penalty, which has such settings itself.

    Parameters
    ----------
    k : int
        Number of exponents.
    epochs : int
        Flossing epochs of an episode.
    steps : int
        Length of the input of a flossing epoch, transients included.
    transient : int
        First steps of these, which only move the state.
    q_transient : int
        Next steps, which also align the tangent block and are not counted.
    t_ons : int
        Steps between reorthonormalisations.
    at : sequence of int
        Training epochs before which an episode runs: ``(0,)`` flosses before training only
        (preflossing), ``range(0, epochs, 100)`` throughout. Epochs beyond the end of a run are
        ignored.
    optimizer : Adam, or any `lyapflow.learning.optimizer.Optimizer`
    target : float or array (k,)
        Wanted exponents, nats per step.
    batch : int
        Trajectories of a flossing epoch.
    average : "exponents" or "loss"
        What is averaged over them, as in `flossing_value_and_grad`.
    penalty : one of `lyapflow.penalties`, or any `lyapflow.penalties.Penalty`, optional
        A penalty to descend instead of the flossing loss. Leave out k, target, average, transient,
        q_transient and t_ons then; they are None.

    Raises
    ------
    LyapflowError
        If a setting is out of its range, or one of the penalty's is given here.

    Examples
    --------
    >>> import lyapflow as lf
    >>> lf.Flossing(k=10, epochs=200, at=range(0, 1000, 250)).at
    (0, 250, 500, 750)
    >>> lf.Flossing(penalty=lf.penalties.Exponents(10, one_sided=True)).k is None
    True
    """

    k: int | tuple[int, ...] = 75
    epochs: int = 500
    steps: int = 55
    transient: int = Exponents.transient
    q_transient: int = Exponents.q_transient
    at: Sequence[int] = (0, 100, 200, 300, 400)
    optimizer: Optimizer = Adam()
    target: ArrayLike = 0.0
    t_ons: int = 1
    batch: int = 1
    average: str = "exponents"
    penalty: Penalty | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch"):
            _checks.integer(name, getattr(self, name), 1)
        checked_optimizer(self.optimizer)
        if self.penalty is not None:
            self._leave_to(self.penalty)
        else:
            schedule(self.steps, self.t_ons, self.transient, self.q_transient)
            exponents: Any = self.descended  # which checks the rest
            object.__setattr__(self, "k", exponents.k)
        if not np.iterable(self.at):
            raise LyapflowError(
                f"at must be the training epochs to floss before, such as (0, 100), got {self.at!r}"
            )
        at = tuple(sorted({_checks.integer("each epoch in at", epoch, 0) for epoch in self.at}))
        object.__setattr__(self, "at", at)  # an iterator is read once

    def _leave_to(self, penalty: Penalty) -> None:
        """Take none of the settings that a penalty has itself."""
        checked_penalty(penalty)
        for name in OF_EXPONENTS:
            value = getattr(self, name)
            if value is not None and not np.array_equal(value, getattr(type(self), name)):
                raise LyapflowError(
                    f"{name} is a setting of the penalty where one is given, got {name}={value!r:.40} beside "
                    f"{type(penalty).__name__}; give it to the penalty alone"
                )
            object.__setattr__(self, name, None)

    @property
    def descended(self) -> Penalty:
        """The penalty that an episode descends: `penalty`, or that on the first k exponents."""
        if self.penalty is not None:
            return self.penalty
        return Exponents(**{name: getattr(self, name) for name in OF_EXPONENTS})


def flossing_episode(
    flossing: Flossing,
    cells: Members,
    inputs: Callable[[int], Sequence[ArrayLike]],
    h0: Sequence[np.ndarray],
    training_epoch: int,
    done: int,
    moments: list[Any],
    record: Recorder,
    blind: set[int],
) -> Iterator[int]:
    """Floss the cells of an ensemble, or one, by settings, from where `done` flossing epochs have left them.

    Cells and moments change in place; the number of epochs that are done comes after each.
    `blind` are the members that need no warning that their units keep still: those that had
    one."""
    penalty = flossing.descended
    value_and_grad: Callable = functools.partial(evaluated, penalty)
    off = None
    if isinstance(penalty, Exponents):
        # whose results need no check, which would take a part of a small network's epoch
        value_and_grad, off = penalty.value_and_grad, penalty.off
    loss = Descended(lambda r, cell, x: value_and_grad(cell, x, h0[r]), penalty.n_values, off)
    return descend(
        cells,
        loss,
        inputs,
        h0,
        range(done, flossing.epochs),
        flossing.optimizer,
        moments,
        record,
        blind,
        training_epoch,
    )
