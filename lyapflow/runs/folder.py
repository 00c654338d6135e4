"""A run folder: settings.json, start.safetensors, checkpoint.safetensors, and what is made of them at the end."""

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lyapflow import _presented
from lyapflow.errors import LyapflowError
from lyapflow.learning.flossing import Flossing
from lyapflow.learning.history import History
from lyapflow.learning.optimizer import Optimizer
from lyapflow.learning.penalties.penalty import Penalty
from lyapflow.learning.tasks import Task
from lyapflow.learning.training import State, Training
from lyapflow.runs import checkpoint, files
from lyapflow.runs.lock import LOCK, left_behind, locked
from lyapflow.runs.settings import read, versions, written
from lyapflow.runs.weights import FORMAT, restored, save

SETTINGS, START, CHECKPOINT = "settings.json", "start.safetensors", "checkpoint.safetensors"
MADE = ("model.safetensors", "history.npz", "picture.png", "spectrum.png", "condition.png")
MAX_SETTINGS_BYTES = 2**24  # bytes of settings


class RunFolder(_presented.Presented):
    """The files of one run.

    `settings`, `model` and `history` may be read at any time, while the run goes on too.

    Parameters
    ----------
    path : path
        A folder that holds a run, or is to hold one.
    cell : class, optional
        The class of the run's cell, needed if it is your own.

    Examples
    --------
    >>> import numpy as np, lyapflow as lf
    >>> rng = np.random.default_rng(0)
    >>> model = lf.Model.random(lf.TanhRNN.random(4, 1, rng=rng), 1, rng=rng)
    >>> task = lf.tasks.DelayedCopy(2)
    >>> trained, _ = lf.train(model, task, epochs=3, seed=0, T=20, folder="runs/copy")
    >>> run = lf.RunFolder("runs/copy")
    >>> lf.digest(run.model()) == lf.digest(trained)
    True
    >>> len(run.history().training), run.settings()["training"]["epochs"]
    (3, 3)
    """

    def __init__(self, path: str | os.PathLike, *, cell: type | None = None) -> None:
        self.cell = cell
        try:
            self.path = Path(path)
            os.stat(self.path)
        except FileNotFoundError:
            pass
        except (OSError, TypeError, ValueError) as error:
            raise LyapflowError(f"cannot use {path!r:.200} as a run folder: {error}") from None

    def _summary(self) -> _presented.Lines:
        """What one wants to know first, or why there is nothing to be known."""
        name = ("RunFolder", str(self.path))
        try:
            said, history = self.settings()["training"], self.history()
            task = said["task"]
            about = " ".join(f"{key}={value}" for key, value in task.items() if key != "name")
            done = f"{len(history.training)} of {said['epochs']} epochs"
            (_, counts), *others = history._summary()
            return [
                name,
                ("task", f"{task['name']} {about}"),
                ("done", f"{done}; {counts}"),
                *others,
            ]
        except (LyapflowError, KeyError, TypeError) as error:
            return [name, ("nothing", str(error))]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes and threads from running here; the lock goes with the process, however it ends.

        Raises LyapflowError if somebody is, and warns with a LyapflowWarning where files cannot be
        locked."""
        self.path = self.path.absolute()  # a callback may change the working directory
        with ExitStack() as inside:
            try:
                inside.enter_context(locked(self.path))
            except OSError as error:
                raise self._unwritten(error) from None
            for part in self.path.glob(f".*{files.PART}"):  # of a process that was killed
                part.unlink(missing_ok=True)
            yield

    def create(
        self, training: Training, model: Any, about: Mapping[str, Any], *, force: bool = False
    ) -> None:
        """Write settings and the Model that a run starts from; whatever an earlier run left goes first.

        Raises
        ------
        LyapflowError
            If they cannot be written, or the folder holds something already and force is not given.
        """
        settings = {
            "format": FORMAT,
            "training": written(training),
            "about": dict(about),
            "versions": versions(),
        }
        try:
            text = json.dumps(settings, indent=2, allow_nan=False)
            if not force:
                self._refuse_if_used()
            for name in (SETTINGS, CHECKPOINT, *MADE):
                (self.path / name).unlink(missing_ok=True)
            save(self.path / START, model)
            # last: it makes this a run
            files.write_atomically(self.path / SETTINGS, text.encode() + b"\n")
        except (OSError, TypeError, ValueError) as error:
            raise self._unwritten(error) from None

    def extend(self, training: Training) -> None:
        """Let the run go on to the epochs of that training, as if it had had them from the start.

        The measurement after the last epoch goes: an episode of flossing may now come before it.

        Raises
        ------
        LyapflowError
            If the run differs in more than its epochs, has more of them, or cannot be written.
        """
        settings, before, wanted = self.settings(), self.training(), written(training)
        if settings["training"] == wanted:
            return
        first = (written(_until(before.epochs, whole)) for whole in (before, training))
        if next(first) != next(first) or training.epochs < before.epochs:
            raise LyapflowError(f"the run folder {self.path} is of a run with other settings")
        state, history = self.state(before)
        try:
            if state is not None and state.epoch == before.epochs:
                self.write_checkpoint(state._replace(measured=False), history)
            text = json.dumps(settings | {"training": wanted}, indent=2, allow_nan=False)
            files.write_atomically(self.path / SETTINGS, text.encode() + b"\n")
        except OSError as error:
            raise self._unwritten(error) from None

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run."""
        return (self.path / SETTINGS).exists()

    def has(self, training: Training) -> bool:
        """Whether these are the settings of the run."""
        return bool(self.settings()["training"] == written(training))

    def make(self, *, force: bool) -> None:
        """Make the folder, if it is not there; raises LyapflowError if it cannot be made or used."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not force:
                self._refuse_if_used()
        except OSError as error:
            raise self._unwritten(error) from None

    def _refuse_if_used(self) -> None:
        names = {name for name in os.listdir(self.path) if not name.endswith(files.PART)}
        if names - self._left_by_a_run():
            raise LyapflowError(
                f"the run folder must be new or empty, {self.path} is neither; "
                f"choose another, go on with its run (lyapflow.resume), or overwrite it (force=True)"
            )

    def _left_by_a_run(self) -> set[str]:
        """What is left where a run was killed before it began; nothing if there is no lock of ours."""
        return {LOCK, START} if left_behind(self.path) else set()

    def _unwritten(self, error: Exception) -> LyapflowError:
        if isinstance(error, LyapflowError):
            return error
        return LyapflowError(
            f"cannot write the run folder {self.path}: {getattr(error, 'strerror', None) or error}"
        )

    def settings(self) -> dict[str, Any]:
        """What settings.json says."""
        path = self.path / SETTINGS
        try:
            settings = json.loads(files.read_whole(path, MAX_SETTINGS_BYTES, follow=False))
        except (OSError, ValueError, RecursionError) as error:
            raise LyapflowError(
                f"{self.path} is no run folder: cannot read {SETTINGS} ({error})"
            ) from None
        if (
            not isinstance(settings, dict)
            or not {"format", "training", "about", "versions"} <= settings.keys()
        ):
            raise LyapflowError(
                f"{self.path} is no run folder: {SETTINGS} holds no settings of a run"
            )
        if settings["format"] != FORMAT:
            raise LyapflowError(
                f"{path} has format {settings['format']!r:.20}, this lyapflow reads {FORMAT}"
            )
        if not isinstance(settings["versions"], dict):
            raise LyapflowError(
                f"the versions in {path} must be named, got {settings['versions']!r:.80}"
            )
        return settings

    def training(
        self,
        task: Task | None = None,
        optimizer: Optimizer | None = None,
        flossing: Flossing | None = None,
        penalty: Penalty | None = None,
    ) -> Training:
        """The settings as they were given to `lyapflow.train`; what was the user's own has to be given again."""
        try:
            return read(self.settings()["training"], task, optimizer, flossing, penalty)
        except LyapflowError as error:
            raise LyapflowError(f"cannot repeat the run of {self.path}: {error}") from None

    def state(self, training: Training | None = None) -> tuple[State | None, History]:
        """Where the last checkpoint found the run, and its history; None and an empty one before the first.

        Without the run's settings the states of its optimisers stay arrays by name.
        """
        path = self.path / CHECKPOINT
        if not os.path.lexists(path):
            return None, History()
        return checkpoint.read(path, self.cell, training)

    def start(self) -> Any:
        """The Model that the run started from."""
        return restored(
            *files.read_arrays(self.path / START, follow=False), self.path / START, self.cell
        )

    def model(self) -> Any:
        """The Model of the last checkpoint; that at the start before the first."""
        state, _ = self.state()
        return self.start() if state is None else state.model

    def history(self) -> History:
        """What was recorded up to the last checkpoint."""
        self.settings()
        return self.state()[1]

    def write_checkpoint(self, state: State, history: History) -> None:
        """Write where the run stands, in place of the last checkpoint; raises OSError if it cannot be written."""
        checkpoint.write(self.path / CHECKPOINT, state, history)

    def write_results(self, model: Any, history: History) -> None:
        """Write weights and history for others to read, made of the last checkpoint."""
        save(self.path / "model.safetensors", model)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **checkpoint.columns(history))
        files.write_atomically(self.path / "history.npz", buffer.getvalue())


def _until(epochs: int, training: Training) -> Training:
    """The first epochs of a run: an episode of flossing comes up if it precedes one of them."""
    flossing = training.flossing
    if flossing is not None:
        at = [at for at in flossing.at if at < epochs]
        flossing = replace(flossing, at=at) if at else None
    return replace(training, epochs=epochs, flossing=flossing)
