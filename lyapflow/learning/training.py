"""Training on a task, with flossing episodes between training epochs."""

import functools
from collections.abc import Sequence

import numpy as np

from lyapflow import _checks
from lyapflow._checks import Diverged, LyapflowError
from lyapflow.cells.ensemble import Members
from lyapflow.cells.interface import Sizes, sizes
from lyapflow.learning.adam import Adam
from lyapflow.learning.bptt import accuracy, bptt, checked_data
from lyapflow.learning.flossing import Flossing, checked_optimizer
from lyapflow.learning.history import Callbacks, History, Measurement, Teller, TrainingRecord
from lyapflow.learning.model import Model, checked_model
from lyapflow.learning.streams import stream
from lyapflow.learning.tasks import Task
from lyapflow.lyapunov.spectrum import lyapunov_spectrum


def train(
    model: Model,
    task: Task,
    *,
    epochs: int,
    seed: int | Sequence[int],
    flossing: Flossing | None = None,
    T: int = 300,
    batch: int = 16,
    optimizer: Adam = Adam(1e-3, clip_norm=0.03),
    measure_every: int | None = None,
    callbacks: Callbacks = (),
) -> tuple[Model, History]:
    """Train a Model on a task, flossing its cell by a schedule.

    All arrays of the Model are trained on the task; an episode of flossing changes the cell's alone. Every epoch
    draws fresh inputs, from a random stream of its own that seed and epoch determine.

    Parameters
    ----------
    model : Model
        It stays as it is; the trained Model is returned.
    task : Task
        One of `lyapflow.tasks`, or any object with their methods; an ensemble calls them from several threads.
    epochs : int
        Training epochs, one update each.
    seed : int
        For an ensemble one per member, whose run is then that of the member alone, to the bit.
    flossing : Flossing, optional
        The schedule; none by default.
    T, batch : int
        Steps and sequences of a training epoch.
    optimizer : Adam
    measure_every : int, optional
        Epochs between `Measurement` records, which cost about as much as ten training epochs; none by default.
    callbacks : iterable of callables, or one
        Each receives every record as it comes; one that returns True ends the run after that epoch.

    Returns
    -------
    model : Model
    history : History

    Raises
    ------
    LyapflowError
        If arguments do not fit.
    Diverged
        If a state or gradient stops being finite or a tangent block loses rank; it has epoch, step and history.
        A member of an ensemble is left behind instead, as the last good epoch made it: its records are NaN from there
        on, and ``reasons`` of the trained ensemble says why.

    Examples
    --------
    An early stop::

        lf.train(model, task, epochs=10_000, seed=0,
                 callbacks=lambda record: record.kind == "training" and record.accuracy > 0.99)
    """
    models = Members(model)
    models.now = [checked_model(member) for member in models.now]
    size = sizes(models.now[0].cell)
    dtype = models.now[0].h0.dtype
    epochs = _checks.integer("epochs", epochs, 0)
    given = [seed] if models.alone else list(seed) if np.iterable(seed) else []
    if len(given) != len(models.now):
        raise LyapflowError(f"seed must be one integer for each of the {len(models.now)} members, got {seed!r}")
    seeds = [_checks.integer("seed", s, 0) for s in given]
    measure_every = None if measure_every is None else _checks.integer("measure_every", measure_every, 1)
    tell = Teller(callbacks)
    checked_optimizer(optimizer)
    if flossing is not None and not isinstance(flossing, Flossing):
        raise LyapflowError(f"flossing must be a lyapflow.Flossing or None, got {flossing!r}")
    if isinstance(task, type) or not all(hasattr(task, name) for name in ("inputs", "sample", "loss")):
        raise LyapflowError(
            f"task must be one of lyapflow.tasks, or have their methods, such as a task(delay), got {task!r}"
        )
    if flossing is not None:
        n_state = f" = n_state of this {type(models.now[0].cell).__name__}"
        _checks.integer("k of flossing", flossing.k, 1, size.state, why=n_state)
        x = _flossing_inputs(task, flossing, seeds[:1], 0, dtype, 0)[0]
        _checks.array("task.inputs", x, (flossing.steps, flossing.batch, size.inputs), like=models.now[0].h0)
    held_back = [_sample(m, size, task, stream(s, "test"), T, batch) for m, s in zip(models.now, seeds)]

    history = History()
    states = [optimizer.init(member) for member in models.now]

    def measure(r: int) -> tuple:
        return _measure(models.now[r], size, held_back[r], task.loss)

    def learn(epoch: int, r: int) -> tuple[float, float, float]:
        member = models.now[r]
        x, y, first = _sample(member, size, task, stream(seeds[r], "data", epoch), T, batch)
        loss, gradient, outputs = bptt(member, size, x, y, first, task.loss)
        models.now[r], states[r] = optimizer.update(states[r], member, gradient)
        return loss, accuracy(outputs, y[first:], task.loss), float(np.linalg.norm(gradient.h0.astype(float)))

    for epoch in range(epochs + 1):
        where = f"epoch {epoch}: "
        try:
            if flossing is not None and epoch in flossing.at and epoch < epochs:
                cells = Members(models.join([member.cell for member in models.now]), models.reasons)
                flossing.episode(
                    cells,
                    functools.partial(_flossing_inputs, task, flossing, seeds, epoch, dtype),
                    [member.h0 for member in models.now],
                    epoch,
                    lambda record: tell(record, history.flossing),
                    history.flossing,
                )
                models.now = [member._replace(cell=cell) for member, cell in zip(models.now, cells.now)]
            measured = measure_every is not None and (epoch % measure_every == 0 or epoch == epochs)
            if measured and not tell.stopped:
                found = models.run(measure, lambda r: _nothing_measured(models.now[r]), where)
                tell(Measurement(epoch, *models.join(found)), history.measurement)
            if tell.stopped or epoch == epochs or None not in models.reasons:
                break
            found = models.run(functools.partial(learn, epoch), lambda r: (np.nan, np.nan, np.nan), where)
        except Diverged as error:
            raise error.at(where, epoch, history) from None
        if tell(TrainingRecord(epoch, *models.join(found)), history.training):
            break
    return models.join(models.now), history


def _flossing_inputs(
    task: Task, flossing: Flossing, seeds: Sequence[int], training_epoch: int, dtype: np.dtype, epoch: int
) -> list[np.ndarray]:
    """The input of a flossing epoch, for the member of each seed."""
    rngs = (stream(seed, f"flossing before {training_epoch}", epoch) for seed in seeds)
    return [task.inputs(rng, flossing.steps, flossing.batch, dtype) for rng in rngs]


def _sample(
    model: Model, size: Sizes, task: Task, rng: np.random.Generator, T: int, batch: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """A sample of the task, checked against the Model."""
    x, y, first = task.sample(rng, T, batch, model.h0.dtype)
    return checked_data(model, size, x, y, first, task.loss)


def _measure(
    model: Model, size: Sizes, data: tuple[np.ndarray, np.ndarray, int], loss: str
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """What a Measurement holds, from the loss on."""
    x, y, first = data
    value, gradient, outputs = bptt(model, size, x, y, first, loss)
    W_bar = gradient.cell[0]
    return (
        value,
        accuracy(outputs, y[first:], loss),
        np.linalg.svd(W_bar.reshape(-1, W_bar.shape[-1]), compute_uv=False),
        lyapunov_spectrum(model.cell, x[:, 0], h0=model.h0, q_transient=len(x) // 4).exponents,
    )


def _nothing_measured(model: Model) -> tuple[float, float, np.ndarray, np.ndarray]:
    W, n_state = model.cell[0], model.h0.size
    singular_values = min(W.reshape(-1, W.shape[-1]).shape)
    return np.nan, np.nan, np.full(singular_values, np.nan, W.dtype), np.full(n_state, np.nan, W.dtype)
