"""Training runs, in memory or in a folder from which they can go on."""

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread
from lyapflow.errors import LyapflowError, printable
from lyapflow.learning.flossing import Flossing
from lyapflow.learning.history import Callbacks, History, Recorder
from lyapflow.learning.optimizer import Optimizer
from lyapflow.learning.penalties.penalty import Penalty
from lyapflow.learning.tasks import Task
from lyapflow.learning.training import State, Training, plan
from lyapflow.learning.watching import watched
from lyapflow.runs import checkpoint
from lyapflow.runs.folder import RunFolder
from lyapflow.runs.settings import versions
from lyapflow.runs.weights import layout

CHECKPOINT_SHARE = 0.01  # of a run's time that checkpoints may take


def train(
    model: Any,
    task: Task,
    *,
    epochs: int,
    seed: int | Sequence[int],
    flossing: Flossing | None = None,
    T: int = Training.T,
    batch: int = Training.batch,
    optimizer: Optimizer = Training.optimizer,
    measure_every: int | None = None,
    measure_vectors: int | None = None,
    penalty: Penalty | None = None,
    weight: float | None = None,
    every: int = Training.every,
    callbacks: Callbacks = (),
    folder: str | os.PathLike | None = None,
    force: bool = False,
    about: Mapping[str, Any] | None = None,
    checkpoint_seconds: float = 10.0,
    checkpoint_epochs: int | None = None,
    progress: bool = False,
) -> tuple[Any, History]:
    """Train a Model on a task, with episodes of flossing in between.

    Training on the task changes all arrays of the Model; an episode of flossing changes only those
    of its cell. Every epoch draws fresh inputs from a random stream of its own, which seed and
    epoch determine.

    Parameters
    ----------
    model : Model
        It is not changed; the trained Model is returned.
    task : Task
        One of `lyapflow.tasks`, or any object with their methods; an ensemble calls them from
        several threads.
    epochs : int
        Training epochs, one update each.
    seed : int
        For an ensemble a sequence with one seed for each member, whose run then equals, to the bit,
        that of the member alone.
    flossing : Flossing, optional
        The schedule; none by default.
    T : int
        Length of the sequences of a training epoch, in steps.
    batch : int
        Number of sequences of a training epoch.
    optimizer : Adam, or any `lyapflow.learning.optimizer.Optimizer`
        The default clips gradients.
    measure_every : int, optional
        Epochs between measurements (`Measurement` records), each of which takes about as long as
        ten training epochs; none by default.
    measure_vectors : int, optional
        Number of covariant vectors with which each measurement compares the gradient in the state
        before a sequence (``measurement["overlaps"]``, `lyapflow.learning.overlaps`); doubles the
        time that it takes.
    penalty : one of `lyapflow.penalties`, or any `lyapflow.penalties.Penalty`, optional
        A loss on the cell; ``weight`` times its gradient is added to the task's gradient before the
        update. Its input is one sequence of 55 steps from a random stream of its own; it starts
        from the Model's h0, held constant. The optimiser's ``clip_norm`` bounds the sum, so that a
        penalty with a much longer weighted gradient leaves little of the task's.
    weight : float
        Needed with a penalty; above 0.
    every : int
        The penalty is added in the training epochs 0, ``every``, 2 ``every``, ...
    callbacks : iterable of callables, or one
        Each is called with every record as it comes; one that returns True ends the run after that
        epoch, as the rules of `lyapflow.learning.stopping` do.
    folder : path, optional
        A new or empty folder that keeps the run, for `resume`. Whatever ends the run, its last
        complete epoch is kept.
    force : bool
        Overwrite what the folder holds.
    about : mapping, optional
        Words and numbers of your own to store with the settings.
    checkpoint_seconds : float
        Least time between checkpoints; it is extended if they would take more than 1 % of the run.
    checkpoint_epochs : int, optional
        Write a checkpoint after every so many flossing or training epochs instead.
    progress : bool
        Show progress: live in a terminal or notebook, otherwise a line from time to time. For an
        ensemble the numbers are means over its networks.

    Returns
    -------
    model : Model
    history : History

    Raises
    ------
    LyapflowError
        If arguments do not fit, or the folder cannot be written, holds something, or is in use.
    Diverged
        If a state or gradient stops being finite or a tangent block loses rank; the error has
        epoch, step and history. In an ensemble the member is frozen instead, with the parameters of
        its last good epoch: its records are NaN from there on, and ``reasons`` of the trained
        ensemble says why.

    Warns
    -----
    RuntimeWarning
        If a checkpoint cannot be written; the run goes on and tries again at the next one.
    LyapflowWarning
        If an episode of flossing leaves nearly all units saturated, so that the readout sees
        nothing of its effect.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> cell = lf.TanhRNN.random(8, 1, rng=np.random.default_rng(0))
    >>> model = lf.Model.random(cell, 1, rng=np.random.default_rng(1))
    >>> flossing = lf.Flossing(k=2, epochs=3, steps=10, q_transient=2, at=(0,))
    >>> task = lf.tasks.DelayedCopy(1)
    >>> trained, history = lf.train(model, task, epochs=5, seed=0, T=20, batch=4, flossing=flossing)
    >>> history.training["loss"].shape, history.flossing["exponents"].shape
    ((5,), (3, 2))

    An early stop, in a folder from which `resume` goes on::

        lf.train(model, task, epochs=10_000, seed=0, folder="runs/first",
                 callbacks=lambda record: record.kind == "training" and record.accuracy > 0.99)
    """
    training = Training(
        task,
        epochs,
        seed,
        flossing,
        T,
        batch,
        optimizer,
        measure_every,
        penalty,
        weight,
        every,
        measure_vectors,
    )
    record = Recorder(callbacks, History())
    checkpoints = interval(checkpoint_seconds, checkpoint_epochs)
    start = training.begin(model)
    shown = watched(record, progress, *plan(training.epochs, training.flossing))
    if folder is None:
        state = start
        with one_blas_thread(), shown:  # once, not in every epoch
            for reached in training.go(start, record):
                state = reached
        return state.model, record.history
    checkpoint.check_storable(training, start)
    run = RunFolder(folder)
    run.make(force=force)
    with run.alone(), one_blas_thread(), shown:
        run.create(training, start.model, about or {}, force=force)
        return _go(run, training, start, record, *checkpoints)


def resume(
    folder: str | os.PathLike,
    *,
    task: Task | None = None,
    optimizer: Optimizer | None = None,
    flossing: Flossing | None = None,
    penalty: Penalty | None = None,
    cell: type | None = None,
    callbacks: Callbacks = (),
    checkpoint_seconds: float = 10.0,
    checkpoint_epochs: int | None = None,
    progress: bool = False,
) -> tuple[Any, History]:
    """Go on with the run of a folder from its last checkpoint; it ends with the bits of an uninterrupted run.

    Parameters
    ----------
    folder : path
        Where `train` keeps the run.
    task, optimizer, flossing, penalty : optional
        Those of the run, needed if they are your own: a task, or penalty, that is not lyapflow's,
        an optimiser other than `Adam`, or an `Adam` whose rate is a function. They must be of the
        same class, or the same function, as before.
    cell : class, optional
        The class of the run's cell, needed if it is your own.
    callbacks, checkpoint_seconds, checkpoint_epochs, progress
        As in `train`; callbacks are not called with earlier records again.

    Returns
    -------
    model : Model
    history : History
        Of the whole run.

    Raises
    ------
    LyapflowError
        If the folder holds no run, is damaged, cannot be written, or is in use.
    Diverged
        As in `train`.

    Warns
    -----
    RuntimeWarning
        If the run began with other versions or on another kind of processor, so that its bits may
        differ.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> rng = np.random.default_rng(0)
    >>> model = lf.Model.random(lf.TanhRNN.random(4, 1, rng=rng), 1, rng=rng)
    >>> task = lf.tasks.DelayedCopy(2)
    >>> def two_epochs(record):
    ...     return record.epoch == 1  # what returns True ends the run
    >>> _ = lf.train(model, task, epochs=4, seed=0, T=20, folder="run", callbacks=two_epochs)
    >>> _, history = lf.resume("run")
    >>> len(history.training)
    4
    """
    run = RunFolder(folder, cell=cell)
    training = run.training(task, optimizer, flossing, penalty)
    record = Recorder(callbacks, History())
    checkpoints = interval(checkpoint_seconds, checkpoint_epochs)
    with run.alone(), one_blas_thread():
        state, record.history = run.state(training)
        start = run.start()
        begun = training.begin(start if state is None else state.model)
        if state is None:
            state = begun
        elif layout(state.model) != layout(start):
            raise LyapflowError(
                f"the checkpoint in {run.path} is of another network than its start"
            )
        _checks.integer("epochs that are done", state.epoch, 0, training.epochs)
        _checks.integer(
            "flossing epochs that are done",
            state.flossed,
            0,
            getattr(training.flossing, "epochs", 0),
        )
        began, now = run.settings()["versions"], versions()
        if began != now:
            was = {name: printable(str(began.get(name))[:40]) for name in now}
            changed = (
                f"{name} {was[name]} -> {now[name]}" for name in now if began.get(name) != now[name]
            )
            warnings.warn(
                f"the bits of this run may differ from here on: {', '.join(changed)}",
                RuntimeWarning,
                2,
            )
        with watched(record, progress, *plan(training.epochs, training.flossing)):
            return _go(run, training, state, record, *checkpoints)


def interval(seconds: float, epochs: int | None) -> tuple[float, int | None]:
    """Time and epochs between checkpoints, after checks."""
    _checks.number("checkpoint_seconds", seconds, 0.0)
    return seconds, None if epochs is None else _checks.integer("checkpoint_epochs", epochs, 1)


def _go(
    run: RunFolder,
    training: Training,
    start: State,
    record: Recorder,
    seconds: float,
    epochs: int | None,
) -> tuple[Any, History]:
    """The run from a state on, with checkpoints."""
    history = record.history
    state, last, cost, since = start, time.monotonic(), 0.0, 0
    try:
        for state in training.go(start, record):
            now = time.monotonic()
            since += not state.measured  # an update
            late = now - last >= max(seconds, cost / CHECKPOINT_SHARE)
            if not (late if epochs is None else since >= epochs):
                continue
            try:
                run.write_checkpoint(state, history)
            except OSError as error:
                warnings.warn(
                    f"cannot write a checkpoint: {error.strerror}; the run goes on",
                    RuntimeWarning,
                    3,
                )
            last, since = time.monotonic(), 0
            cost = last - now
    except BaseException:
        try:
            run.write_checkpoint(state, history)
        except OSError as error:
            warnings.warn(
                f"cannot write a checkpoint: {error.strerror}; an earlier one stays",
                RuntimeWarning,
                3,
            )
        raise
    try:
        run.write_checkpoint(state, history)
        run.write_results(state.model, history)
    except OSError as error:
        raise LyapflowError(
            f"cannot write the results of {run.path}: {error.strerror}; go on with it when this is mended (resume)"
        ) from None
    return state.model, history
