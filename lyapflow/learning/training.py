"""Training on a task, with flossing episodes between training epochs."""

import functools

import numpy as np

from lyapflow import _checks
from lyapflow._checks import Diverged, LyapflowError
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
    seed: int,
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
        One of `lyapflow.tasks`, or any object with their methods.
    epochs : int
        Training epochs, one update each.
    seed : int
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

    Examples
    --------
    An early stop::

        lf.train(model, task, epochs=10_000, seed=0,
                 callbacks=lambda record: record.kind == "training" and record.accuracy > 0.99)
    """
    model = checked_model(model)
    size = sizes(model.cell)
    epochs = _checks.integer("epochs", epochs, 0)
    seed = _checks.integer("seed", seed, 0)
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
        n_state = f" = n_state of this {type(model.cell).__name__}"
        _checks.integer("k of flossing", flossing.k, 1, size.state, why=n_state)
        x = _flossing_input(task, flossing, seed, 0, model.h0.dtype, 0)
        _checks.array("task.inputs", x, (flossing.steps, flossing.batch, size.inputs), like=model.h0)
    held_back = _sample(model, size, task, stream(seed, "test"), T, batch)

    history = History()
    dtype = model.h0.dtype
    state = optimizer.init(model)
    for epoch in range(epochs + 1):
        try:
            if flossing is not None and epoch in flossing.at and epoch < epochs:
                cell, _ = flossing.episode(
                    model.cell,
                    functools.partial(_flossing_input, task, flossing, seed, epoch, dtype),
                    model.h0,
                    epoch,
                    lambda record: tell(record, history.flossing),
                )
                model = model._replace(cell=cell)
            measured = measure_every is not None and (epoch % measure_every == 0 or epoch == epochs)
            if measured and not tell.stopped:
                tell(_measure(model, size, held_back, task.loss, epoch), history.measurement)
            if tell.stopped or epoch == epochs:
                break
            x, y, first = _sample(model, size, task, stream(seed, "data", epoch), T, batch)
            loss, gradient, outputs = bptt(model, size, x, y, first, task.loss)
            model, state = optimizer.update(state, model, gradient)
        except Diverged as error:
            raise Diverged(
                f"epoch {epoch}: {error}", epoch=epoch, step=error.step, member=error.member, history=history
            ) from None
        record = TrainingRecord(
            epoch, loss, accuracy(outputs, y[first:], task.loss), float(np.linalg.norm(gradient.h0.astype(float)))
        )
        if tell(record, history.training):
            break
    return model, history


def _flossing_input(
    task: Task, flossing: Flossing, seed: int, training_epoch: int, dtype: np.dtype, epoch: int
) -> np.ndarray:
    rng = stream(seed, f"flossing before {training_epoch}", epoch)
    return task.inputs(rng, flossing.steps, flossing.batch, dtype)


def _sample(
    model: Model, size: Sizes, task: Task, rng: np.random.Generator, T: int, batch: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """A sample of the task, checked against the Model."""
    x, y, first = task.sample(rng, T, batch, model.h0.dtype)
    return checked_data(model, size, x, y, first, task.loss)


def _measure(model: Model, size: Sizes, data: tuple[np.ndarray, np.ndarray, int], loss: str, epoch: int) -> Measurement:
    x, y, first = data
    value, gradient, outputs = bptt(model, size, x, y, first, loss)
    W_bar = gradient.cell[0]
    return Measurement(
        epoch,
        value,
        accuracy(outputs, y[first:], loss),
        np.linalg.svd(W_bar.reshape(-1, W_bar.shape[-1]), compute_uv=False),
        exponents_or_nan(model, x[:, 0], q_transient=len(x) // 4),
    )


def exponents_or_nan(model: Model, x: np.ndarray, *, q_transient: int) -> np.ndarray:
    """The whole spectrum along an input x (T, m); NaN where the tangent block loses rank."""
    try:
        return lyapunov_spectrum(model.cell, x, h0=model.h0, q_transient=q_transient).exponents
    except Diverged:
        return np.full(model.h0.shape, np.nan, model.h0.dtype)
