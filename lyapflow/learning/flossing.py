"""Gradient flossing: descent on the flossing loss, alone or as a schedule within training."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import DIFFERENTIABLE, Cell, checked, sizes
from lyapflow.ensemble import Ensemble, Members
from lyapflow.errors import Diverged, LyapflowError
from lyapflow.learning.adam import Adam
from lyapflow.learning.history import Callbacks, FlossingRecord, History, Log, Recorder
from lyapflow.learning.optimizer import Optimizer, check_form, checked_optimizer
from lyapflow.learning.stillness import keeps_still, warn_of_still_units
from lyapflow.lyapunov.flossing_loss import AVERAGES, one_value_and_grad, targets
from lyapflow.lyapunov.problem import doubt_layout
from lyapflow.lyapunov.schedule import schedule


def floss(
    cell: Cell | Ensemble,
    inputs: Callable[[int], ArrayLike] | None = None,
    *,
    steps: int | None = None,
    k: int | None,
    epochs: int,
    optimizer: Optimizer = Adam(1e-3),
    target: ArrayLike = 0.0,
    h0: ArrayLike | None = None,
    q0: ArrayLike | None = None,
    t_ons: int | str = 1,
    transient: int = 0,
    q_transient: int = 0,
    average: str = "exponents",
    callbacks: Callbacks = (),
) -> tuple[Any, Log]:
    """Push the first k Lyapunov exponents of a cell towards their targets.

    Each epoch is one update down the gradient of the flossing loss, Σ (λ_i - target_i)², of that
    epoch's input. Of several trajectories it is the loss of their averaged exponents or, with
    ``average="loss"``, their averaged loss.

    Parameters
    ----------
    cell : cell
        It stays as it is; the flossed cell is returned.
    inputs : callable
        Epoch (from 0) -> x (T, m) or (T, B, m), the input of that epoch; of an ensemble, one for
        each member.
    steps : int, optional
        Instead of inputs, for a cell without any, as in `lyapunov_spectrum`.
    k : int or None
        Number of exponents; None for all of them.
    epochs : int
        Number of updates.
    optimizer : Adam, or any `lyapflow.learning.optimizer.Optimizer`
        Its moments start afresh.
    target : float or array (k,)
        Wanted exponents, nats per step.
    h0, q0, t_ons, transient, q_transient, average
        As in `flossing_value_and_grad`.
    callbacks : iterable of callables, or one
        Each receives every `FlossingRecord`; one that returns True ends the flossing after that
        epoch's update.

    Returns
    -------
    cell
    history : Log of FlossingRecord

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state or the gradient stops being finite or the tangent block loses rank; it has epoch,
        step and history. A member of an ensemble is left behind instead, as the last good epoch
        made it: its records are NaN from there on, and ``reasons`` of the flossed ensemble says
        why.

    Warns
    -----
    LyapflowWarning
        If the input of the first epoch has fewer steps than trajectories, or if the exponents are
        at their targets but nearly all units keep still, saturated: flossing has gone too far.

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
    k = sizes(cells.now[0]).state if k is None else k
    with one_blas_thread():  # once, not in every epoch
        for _ in _descend(
            cells,
            functools.partial(_drive, cells, driven),
            cells.split("h0", h0),
            cells.split("q0", q0),
            range(epochs),
            optimizer,
            [optimizer.init(member) for member in cells.now],
            record,
            set(),
            k=k,
            steps=steps,
            target=target,
            t_ons=t_ons,
            transient=transient,
            q_transient=q_transient,
            average=average,
        ):
            pass
    return cells.join(cells.now), record.history.flossing


def _drive(cells: Members, inputs: Callable[[int], Any], epoch: int) -> list[Any]:
    """The input of each cell in an epoch, the layout of the first put in doubt where it may be another."""
    given = cells.split("inputs(epoch)", inputs(epoch))
    if epoch == 0 and _checks.ndim(given[0]) == 3:
        doubt_layout(np.asarray(given[0]))
    return given


def _descend(
    cells: Members,
    inputs: Callable[[int], Sequence[ArrayLike]],
    h0: Sequence[Any],
    q0: Sequence[Any],
    epochs: range,
    optimizer: Optimizer,
    moments: list[Any],
    record: Recorder,
    blind: set[int],
    training_epoch: int | None = None,
    **options: Any,
) -> Iterator[int]:
    """Flossing epochs of all cells, each with its own input, state and block, until a callback ends them.

    Cells and moments change in place; the number of epochs that are done comes after each. Members
    whose units keep still at the end are warned of, and go into `blind`, which has those that were
    warned of before."""

    def descend(x: Sequence[ArrayLike], r: int) -> tuple[float, np.ndarray]:
        cell = cells.now[r]
        loss, gradient, exponents = one_value_and_grad(
            cell=cell, x=x[r], h0=h0[r], q0=q0[r], **options
        )
        before = moments[r]
        cells.now[r], moments[r] = optimizer.update(before, cell, gradient)
        if epoch == epochs.start:
            check_form(optimizer, before, moments[r])
        return loss, exponents

    def lost(r: int) -> tuple[float, np.ndarray]:
        return np.nan, np.full(options["k"], np.nan, cells.now[r][0].dtype)

    def look(r: int) -> None:
        exponents = found[r][1]
        off = exponents - targets(options["target"], len(exponents))
        if r not in blind and keeps_still(cells.now[r], x[r], h0[r], off):
            blind.add(r)
            warn_of_still_units(where, cells.now[r])

    where = "" if training_epoch is None else f"epoch {training_epoch}: "
    found: list = []
    for epoch in epochs:
        x = inputs(epoch)
        piece = functools.partial(descend, x)
        try:
            found = cells.run(piece, lost, f"{where}flossing epoch {epoch}: ")
        except Diverged as error:
            raise error.at(f"flossing epoch {epoch}: ", epoch, record.history.flossing) from None
        stopped = record(FlossingRecord(training_epoch or 0, epoch, *cells.join(found)))
        yield epoch + 1
        if stopped or None not in cells.reasons:
            break
    if found:
        cells.run(look, lambda r: None)


@dataclass(frozen=True)
class Flossing:
    """A schedule of flossing episodes within training.

    An episode starts from the Model's h0 and from fresh moments: stale ones can throw a later
    episode off.

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
        Training epochs before which an episode runs: ``(0,)`` is preflossing, ``range(0, epochs,
        100)`` flosses throughout. Those beyond the end of a run do not come up.
    optimizer : Adam, or any `lyapflow.learning.optimizer.Optimizer`
    target : float or array (k,)
        Wanted exponents, nats per step.
    batch : int
        Trajectories of a flossing epoch.
    average : "exponents" or "loss"
        What is averaged over them, as in `flossing_value_and_grad`.

    Raises
    ------
    LyapflowError
        If a setting is out of its range.

    Examples
    --------
    >>> import lyapflow as lf
    >>> lf.Flossing(k=10, epochs=200, at=range(0, 1000, 250)).at
    (0, 250, 500, 750)
    """

    k: int = 75
    epochs: int = 500
    steps: int = 55
    transient: int = 0
    q_transient: int = 16
    at: Sequence[int] = (0, 100, 200, 300, 400)
    optimizer: Optimizer = Adam()
    target: ArrayLike = 0.0
    t_ons: int = 1
    batch: int = 1
    average: str = "exponents"

    def __post_init__(self) -> None:
        _checks.affordable("a target for each exponent", _checks.integer("k", self.k, 1))
        _checks.integer("epochs", self.epochs, 1)
        schedule(
            _checks.integer("steps", self.steps, 1), self.t_ons, self.transient, self.q_transient
        )
        _checks.integer("batch", self.batch, 1)
        _checks.one_of("average", self.average, AVERAGES)
        checked_optimizer(self.optimizer)
        targets(self.target, self.k)
        if not np.iterable(self.at):
            raise LyapflowError(
                f"at must be the training epochs to floss before, such as (0, 100), got {self.at!r}"
            )
        at = tuple(sorted({_checks.integer("each epoch in at", epoch, 0) for epoch in self.at}))
        object.__setattr__(self, "at", at)  # an iterator is read once

    def episode(
        self,
        cells: Members,
        inputs: Callable[[int], Sequence[ArrayLike]],
        h0: Sequence[np.ndarray],
        training_epoch: int,
        done: int,
        moments: list[Any],
        record: Recorder,
        blind: set[int],
    ) -> Iterator[int]:
        """Floss the cells of an ensemble, or one, by these settings, from where `done` flossing epochs have left them.

        Cells and moments change in place; the number of epochs that are done comes after each.
        `blind` are the members that need no warning that their units keep still: those that had
        one."""
        return _descend(
            cells,
            inputs,
            h0,
            [None] * len(h0),
            range(done, self.epochs),
            self.optimizer,
            moments,
            record,
            blind,
            training_epoch,
            k=self.k,
            steps=None,
            target=self.target,
            t_ons=self.t_ons,
            transient=self.transient,
            q_transient=self.q_transient,
            average=self.average,
        )
