"""One run of a sweep, worked to its end wherever the executor has put it."""

import functools
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lyapflow._engine.compiling import say_word
from lyapflow._engine.pool import set_threads
from lyapflow.errors import LyapflowError, collected_warnings
from lyapflow.learning.stopping import StopRule
from lyapflow.runs.folder import SETTINGS, RunFolder
from lyapflow.runs.lock import InUse
from lyapflow.runs.recipe import Recipe
from lyapflow.runs.settings import versions
from lyapflow.runs.sweep_folder import Status, SweepFolder
from lyapflow.runs.train import resume, train

SECONDS_PER_STATUS = 2.0
SECONDS_PER_LOOK = 0.5  # at the permit


@dataclass(frozen=True)
class Job:
    """A run that is to be worked: plain values, for any executor to carry.

    Attributes
    ----------
    folder : str
        Of the sweep.
    name : str
        Of the run's folder.
    recipe : Recipe
    permit : str
        A file; when it is gone the run ends after its epoch.
    threads : int or None
        Of the worker, where it is a process of its own.
    master : int
        Process that asks for it.
    checkpoints : dict
        Of `lyapflow.train`: checkpoint_seconds or checkpoint_epochs.
    """

    folder: str
    name: str
    recipe: Recipe
    permit: str
    threads: int | None
    master: int
    checkpoints: dict[str, Any]


class _Watch:
    """A callback of the run: tells how far it is, and ends it when the permit is gone."""

    def __init__(self, job: Job, before: Status | None) -> None:
        self.job, self.folder = job, SweepFolder(job.folder)
        self.before = 0.0 if before is None else before.seconds
        self.updates = 0 if before is None else before.updates
        self.begun = self.told = self.looked = time.monotonic()
        self.records, self.shown, self.stopped = 0, "", False

    def status(self, kind: str, **more: Any) -> Status:
        seconds = self.before + time.monotonic() - self.begun
        epochs = self.job.recipe.epochs
        return Status(kind, epochs, self.updates, seconds, shown=self.shown, **more)

    def __call__(self, record: Any) -> bool:
        self.records += 1
        if record.kind in ("training", "flossing"):
            self.updates += 1
            accuracy = getattr(record, "accuracy", float("nan"))
            self.shown = f"{record.kind} epoch {record.epoch + 1}, loss {record.loss:.4g}"
            self.shown += f", accuracy {100 * accuracy:.1f} %" if accuracy == accuracy else ""
        now = time.monotonic()
        if now - self.told >= SECONDS_PER_STATUS:
            self.told = now
            self.tell("running")
        if now - self.looked >= SECONDS_PER_LOOK:
            self.looked = now
            self.stopped = not os.path.exists(self.job.permit)
        return self.stopped

    def tell(self, kind: str, **more: Any) -> None:
        with suppress(OSError):  # a full disk, on which the run itself will say so
            self.folder.write_status(self.job.name, self.status(kind, **more))


def work(job: Job) -> Status:
    """Begin a run, or go on with it, to its end or until the permit is gone; what became of it.

    Nothing that a user can get wrong is raised, but said by the status, which is kept."""
    if job.threads is not None and os.getpid() != job.master:
        set_threads(job.threads)
    if not os.path.exists(job.permit):
        return Status("stopped")
    before = SweepFolder(job.folder).status(job.name)
    if before is not None and before.ends(job.recipe):
        return before
    watch, fresh = _Watch(job, before), not _has_begun(job)
    with _caught(job.master) as others, collected_warnings() as said:
        kind, reason = _outcome(job, watch, fresh)
    if kind == "busy":
        return watch.status(kind)
    # where a disk is full, that runs went on without checkpoints is no news
    told = [] if kind == "unwritten" else [*said, *(str(other.message) for other in others)]
    status = watch.status(kind, reason=reason, warnings=told, versions=_versions())
    if kind != "unwritten":
        try:
            watch.folder.write_status(job.name, status)
        except OSError as error:
            reason = f"cannot write the folder {job.folder} of the sweep: {error.strerror}"
            return replace(status, kind="unwritten", reason=reason)
    return status


@contextmanager
def _caught(master: int) -> Iterator[list[Any]]:
    """Warnings of Python and NumPy; none in the master's process, where they are shown as ever.

    How a process shows its warnings all its threads share: two of them, each of which changes that
    and changes it back, may leave it changed."""
    if os.getpid() == master:
        yield []
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def _run_folder(job: Job) -> Path:
    return Path(job.folder) / job.name


def _has_begun(job: Job) -> bool:
    return (_run_folder(job) / SETTINGS).exists()


def _outcome(job: Job, watch: _Watch, fresh: bool) -> tuple[str, str]:
    """The kind of a run's end, and why it failed."""
    try:
        watch.tell("running")
        return (_begin if fresh else _go_on)(job, watch), ""
    except InUse:
        return "busy", ""
    except LyapflowError as error:
        # somebody else began it since we looked
        if fresh and not watch.records and _has_begun(job):
            return "busy", ""
        return "unwritten" if _of_the_disk(error) else "failed", str(error)
    except OSError as error:
        return "unwritten", f"cannot write the run folder {job.name}: {error.strerror}"
    except MemoryError as error:
        return "failed", f"out of memory: {error}"


def _of_the_disk(error: BaseException | None) -> bool:
    """Whether it is the system that refused something to a run, and not the run that went wrong."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error is not None


def _begin(job: Job, watch: _Watch) -> str:
    recipe = job.recipe
    start = recipe.start()
    training = recipe.training(start)
    rules = recipe.stop_rules(training.task)
    watch.updates = 0
    kept: dict[str, Any] = {"folder": _run_folder(job), "about": asdict(recipe.network)}
    train(start, **vars(training), **kept, **job.checkpoints, callbacks=[*rules, watch])
    return _kind(watch, rules)


def _go_on(job: Job, watch: _Watch) -> str:
    run, recipe = RunFolder(_run_folder(job)), job.recipe
    training = recipe.training(recipe.start())
    with run.alone():
        run.extend(training)
        state, history = run.state()
        watch.updates = len(history.training) + len(history.flossing)
        rules = recipe.stop_rules(training.task, history.training)
        if state is not None and any(rule.reached() for rule in rules):
            run.write_results(state.model, history)
            return "done"
    resume(run.path, **job.checkpoints, callbacks=[*rules, watch])
    return _kind(watch, rules)


def _kind(watch: _Watch, rules: Iterable[StopRule]) -> str:
    return "stopped" if watch.stopped and not any(rule.reason for rule in rules) else "done"


@functools.cache
def _versions() -> dict[str, str]:
    return versions()


def rehearsal(recipe: Recipe) -> Recipe:
    """A run of a moment that compiles what a run needs."""
    return replace(
        recipe,
        seed=0,
        gain=1.0,
        lr=None,
        clip=None,
        floss_lr=Recipe.floss_lr,
        target=0.0,
        delay=2,
        steps=4,
        epochs=1,
        floss_at=None if recipe.floss_at is None else (0,),
        floss_epochs=1,
        measure_every=recipe.measure_every and 1,
        stop_at=None,
        stop_window=1,
        stop_after=0,
    )


def rehearse(recipes: Iterable[Recipe], threads: int | None, master: int) -> None:
    """Compile the kernels of recipes, so that the workers find them in the cache and do not all compile."""
    if threads is not None and os.getpid() != master:
        set_threads(threads)
    for recipe in recipes:
        with suppress(LyapflowError), collected_warnings(), _caught(master):
            start = recipe.start()
            train(start, **vars(recipe.training(start)))


def begin_process() -> None:
    """In a process of our own: the master takes Ctrl-C and speaks for all, and no worker outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    say_word(None)
    threading.Thread(target=_end_with_the_master, daemon=True).start()


def _end_with_the_master() -> None:
    master = multiprocessing.parent_process()
    if master is not None:
        master.join()
        os._exit(1)
