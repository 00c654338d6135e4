"""Training on a task, with flossing episodes between training epochs: a run that can stop and go on anywhere."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lyapflow import _checks
from lyapflow._trees import map_arrays
from lyapflow.cells.interface import Sizes, first_array, sizes, within_bounds
from lyapflow.cells.layers import Layers
from lyapflow.ensemble import Ensemble, Members
from lyapflow.errors import Diverged, LyapflowError, collected_warnings
from lyapflow.learning.adam import Adam
from lyapflow.learning.bptt import accuracy, bptt, checked_data
from lyapflow.learning.flossing import Flossing, flossing_episode
from lyapflow.learning.history import Measurement, PenaltyRecord, Recorder, TrainingRecord
from lyapflow.learning.model import Model, checked_model
from lyapflow.learning.optimizer import Optimizer, check_form, checked_optimizer
from lyapflow.learning.overlaps import overlaps
from lyapflow.learning.penalties.penalty import Penalty
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import Task
from lyapflow.learning.term import Term, check_term
from lyapflow.lyapunov.spectrum import lyapunov_spectrum

STEPS_DRAWN_AT_ONCE = 2**16  # time steps of the sequences that are drawn at once


class State(NamedTuple):
    """Where a run stands between two updates: all that it takes to go on.

    Attributes
    ----------
    model : Model or Ensemble
    moments : tree or Ensemble
        State of the training epochs' optimiser.
    epoch : int
        Training epochs that are done.
    flossed : int
        Flossing epochs that are done of the episode before the next training epoch.
    flossing_moments : tree or Ensemble, or None
        State of that episode's optimiser, once it has begun.
    measured : bool
        Whether the measurement before the next training epoch is done.
    """

    model: Any
    moments: Any
    epoch: int = 0
    flossed: int = 0
    flossing_moments: Any = None
    measured: bool = False


@dataclass(frozen=True)
class Training:
    """Settings of a run; see `lyapflow.train`."""

    task: Task
    epochs: int
    seed: int | Sequence[int]
    flossing: Flossing | None = None
    T: int = 300
    batch: int = 16
    optimizer: Optimizer = Adam(1e-3, clip_norm=0.03)
    measure_every: int | None = None
    penalty: Penalty | None = None
    weight: float | None = None
    every: int = 1
    measure_vectors: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.task, type) or not all(
            hasattr(self.task, name) for name in ("inputs", "sample", "loss")
        ):
            raise LyapflowError(
                f"task must be one of lyapflow.tasks, or have their methods, such as a task(delay), got {self.task!r}"
            )
        _checks.integer("epochs", self.epochs, 0)
        if np.iterable(self.seed):
            object.__setattr__(
                self, "seed", tuple(_checks.integer("seed", seed, 0) for seed in self.seed)
            )
        else:
            object.__setattr__(self, "seed", _checks.integer("seed", self.seed, 0))
        if self.measure_every is not None:
            _checks.integer("measure_every", self.measure_every, 1)
        if self.measure_vectors is not None:
            _checks.integer("measure_vectors", self.measure_vectors, 1)
            if self.measure_every is None:
                raise LyapflowError("measure_vectors needs measure_every, got none")
        checked_optimizer(self.optimizer)
        if self.flossing is not None and not isinstance(self.flossing, Flossing):
            raise LyapflowError(
                f"flossing must be a lyapflow.Flossing or None, got {self.flossing!r}"
            )
        check_term(self.penalty, self.weight, self.every)

    @property
    def term(self) -> Term | None:
        """The penalty beside the task's loss."""
        if self.penalty is None or self.weight is None:
            return None
        # a weight of NumPy's in float64 would make float64 of float32 gradients
        return Term(self.penalty, float(self.weight), self.every, self.task)

    def begin(self, model: Any) -> State:
        """The state of a Model, or of an ensemble of them, before the run; checks that they fit each other."""
        models = Members(model)
        # what is given stays
        models.now = [map_arrays(np.copy, checked_model(member)) for member in models.now]
        first, size = models.now[0], sizes(models.now[0].cell)
        seeds = self._seeds(models)
        if self.flossing is not None:
            n_state = f" = n_state of this {type(first.cell).__name__}"
            if self.flossing.penalty is None and not isinstance(first.cell, Layers):
                _checks.integer("k of flossing", self.flossing.k, 1, size.state, why=n_state)
            x = self._flossing_inputs(self.flossing, seeds[:1], 0, first.h0.dtype, 0)[0]
            _checks.array(
                "task.inputs",
                x,
                (self.flossing.steps, self.flossing.batch, size.inputs),
                like=first.h0,
            )
            self.flossing.descended.n_values(first.cell, x)
        inputs = getattr(self.task, "n_inputs", size.inputs)
        if isinstance(inputs, int) and inputs != size.inputs:
            raise LyapflowError(
                f"the model takes {size.inputs} inputs, the task {self.task!r:.60} has {inputs}; "
                f"make a cell for {inputs}"
            )
        if self.term is not None:
            self.term.check(first, size, seeds[0])
        T, batch = (_checks.integer(name, getattr(self, name), 1) for name in ("T", "batch"))
        _checks.affordable(
            f"a training epoch of {T} steps and {batch} sequences", T * batch * size.state
        )
        for member, seed in zip(models.now, seeds):
            self._sample(member, size, stream(seed, "test"))
        if self.measure_vectors is not None:
            n_state = f" = n_state of this {type(first.cell).__name__}"
            _checks.integer("measure_vectors", self.measure_vectors, 1, size.state, why=n_state)
            x = self._before(first, seeds[0])
            _checks.array("task.inputs", x, (T, 1, size.inputs), like=first.h0)
        return State(
            models.join(models.now),
            models.together([self.optimizer.init(member) for member in models.now]),
        )

    def go(self, state: State, record: Recorder) -> Iterator[State]:
        """The run from a state on: where it stands after each flossing epoch, measurement and training epoch.

        Records go to the history first, so that a run which ends in between has some of an epoch
        that is not done."""
        models, moments = _members(state.model), _members(state.moments).now
        size, seeds = sizes(models.now[0].cell), self._seeds(models)
        data = [
            self._data(member, size, seed, state.epoch) for member, seed in zip(models.now, seeds)
        ]
        held_back, before, blind, term = [], [], set[int](), self.term
        if self.measure_every is not None:
            held_back = [
                self._sample(member, size, stream(seed, "test"))
                for member, seed in zip(models.now, seeds)
            ]
        if self.measure_vectors is not None:
            before = [self._before(member, seed) for member, seed in zip(models.now, seeds)]

        def measure(r: int) -> tuple:
            member, data, loss = models.now[r], held_back[r], self.task.loss
            found = _measure(member, size, data, loss)
            if self.measure_vectors is None:
                return found
            return *found, overlaps(member, size, self.measure_vectors, before[r], *data, loss)

        def unmeasured(r: int) -> tuple:
            return _nothing_measured(models.now[r], self.measure_vectors)

        def learn(r: int) -> tuple[tuple[float, float, float], tuple]:
            member = models.now[r]
            x, y, first = next(data[r])
            loss, gradient, outputs, _ = bptt(member, size, x, y, first, self.task.loss)
            penalty: tuple = ()
            if term is not None and term.due(epoch):
                gradient, penalty = term.add(gradient, member, seeds[r], epoch)
            before = moments[r]
            updated, moments[r] = self.optimizer.update(before, member, gradient)
            models.now[r] = updated._replace(cell=within_bounds(updated.cell))
            if epoch == begun:
                check_form(self.optimizer, before, moments[r])
            norm = float(np.linalg.norm(gradient.h0.astype(float)))
            return (loss, accuracy(outputs, y[first:], self.task.loss), norm), penalty

        def left_behind(r: int) -> tuple[tuple[float, float, float], tuple]:
            penalty: tuple = ()
            if term is not None and term.due(epoch):
                penalty = term.nothing(models.now[r], seeds[r], epoch)
            return (np.nan, np.nan, np.nan), penalty

        begun = state.epoch
        for epoch in range(begun, self.epochs + 1):
            where = f"epoch {epoch}: "
            try:
                if self.flossing is not None and epoch in self.flossing.at and epoch < self.epochs:
                    episode = self._floss(self.flossing, state, models, seeds, record, blind)
                    for state in episode:
                        yield state
                    if record.stopped:
                        return
                due = self.measure_every is not None and (
                    epoch % self.measure_every == 0 or epoch == self.epochs
                )
                if due and not state.measured:
                    found = models.run(measure, unmeasured, where)
                    record(Measurement(epoch, *models.join(found)))
                    state = state._replace(measured=True)
                    yield state
                if record.stopped or epoch == self.epochs or None not in models.reasons:
                    return
                learnt, penalty = models.join(models.run(learn, left_behind, where))
            except Diverged as error:
                raise error.at(where, epoch, record.history) from None
            if penalty:
                record(PenaltyRecord(epoch, *penalty))
            record(TrainingRecord(epoch, *learnt))
            state = State(models.join(models.now), models.together(moments), epoch + 1)
            yield state
            if record.stopped:
                return

    def _seeds(self, models: Members) -> list[int]:
        seeds = [self.seed] if isinstance(self.seed, int) else list(self.seed)
        if len(seeds) != len(models.now) or isinstance(self.seed, int) != models.alone:
            raise LyapflowError(
                f"seed must be one integer for each of the {len(models.now)} members, got {self.seed!r}"
            )
        return seeds

    def _floss(
        self,
        flossing: Flossing,
        state: State,
        models: Members,
        seeds: Sequence[int],
        record: Recorder,
        blind: set[int],
    ) -> Iterator[State]:
        """The episode before a training epoch, or what is left of it; it changes the models."""
        if None not in models.reasons:
            return
        members = list(models.now)
        cells = Members(models.join([member.cell for member in members]), models.reasons)
        if state.flossing_moments is None:
            moments = [flossing.optimizer.init(cell) for cell in cells.now]
        else:
            moments = _members(state.flossing_moments).now
        for done in flossing_episode(
            flossing,
            cells,
            functools.partial(
                self._flossing_inputs, flossing, seeds, state.epoch, members[0].h0.dtype
            ),
            [member.h0 for member in members],
            state.epoch,
            state.flossed,
            moments,
            record,
            blind,
        ):
            models.now = [member._replace(cell=cell) for member, cell in zip(members, cells.now)]
            yield state._replace(
                model=models.join(models.now),
                flossed=done,
                flossing_moments=models.together(list(moments)),
            )

    def _flossing_inputs(
        self,
        flossing: Flossing,
        seeds: Sequence[int],
        training_epoch: int,
        dtype: np.dtype,
        epoch: int,
    ) -> list[np.ndarray]:
        """The input of a flossing epoch, for the member of each seed."""
        rngs = (stream(seed, f"flossing before {training_epoch}", epoch) for seed in seeds)
        return [self.task.inputs(rng, flossing.steps, flossing.batch, dtype) for rng in rngs]

    def _data(
        self, model: Model, size: Sizes, seed: int, epoch: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """The samples of the training epochs from one on.

        Small ones are drawn several epochs at once, while the code and data of the sampling are in
        the processor's caches: an epoch of training leaves nothing of them there."""
        together = max(1, STEPS_DRAWN_AT_ONCE // (self.T * self.batch))
        for first in range(epoch, self.epochs, together):
            epochs = range(first, min(first + together, self.epochs))
            yield from [self._sample(model, size, stream(seed, "data", epoch)) for epoch in epochs]

    def _before(self, model: Model, seed: int) -> np.ndarray:
        """Inputs (T, 1, m) that lead to the state before a held-back sequence."""
        return self.task.inputs(stream(seed, "vectors"), self.T, 1, model.h0.dtype)

    def _sample(
        self, model: Model, size: Sizes, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """A sample of the task, checked against the Model."""
        x, y, first = self.task.sample(rng, self.T, self.batch, model.h0.dtype)
        return checked_data(model, size, x, y, first, self.task.loss)


def updates(epochs: int, flossing: Flossing | None) -> int:
    """Training and flossing epochs of a whole run."""
    _, at, episode = plan(epochs, flossing)
    return epochs + episode * len(at)


def plan(epochs: int, flossing: Flossing | None) -> tuple[int, list[int], int]:
    """Training epochs, those of them that an episode precedes, and its epochs."""
    if flossing is None:
        return epochs, [], 0
    return epochs, [at for at in flossing.at if at < epochs], flossing.epochs


def _members(tree: Any) -> Members:
    """The members of what a state holds; frozen ones with their reasons."""
    return Members(tree, list(tree.reasons) if isinstance(tree, Ensemble) else None)


def _measure(
    model: Model, size: Sizes, data: tuple[np.ndarray, np.ndarray, int], loss: str
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """What a Measurement holds, from the loss on."""
    x, y, first = data
    value, gradient, outputs, _ = bptt(model, size, x, y, first, loss)
    W_bar = first_array(gradient.cell)
    with collected_warnings():  # of error bars, which nobody will see
        spectrum = lyapunov_spectrum(model.cell, x[:, 0], h0=model.h0, q_transient=len(x) // 4)
    return (
        value,
        accuracy(outputs, y[first:], loss),
        np.linalg.svd(W_bar.reshape(-1, W_bar.shape[-1]), compute_uv=False),
        spectrum.exponents,
    )


def _nothing_measured(model: Model, vectors: int | None) -> tuple:
    """What `_measure` finds, all of it NaN, and the overlaps of so many vectors."""
    W = first_array(model.cell)
    lengths = [min(W.reshape(-1, W.shape[-1]).shape), model.h0.size]
    lengths += [] if vectors is None else [vectors]
    return np.nan, np.nan, *(np.full(length, np.nan, W.dtype) for length in lengths)
