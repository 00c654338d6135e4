"""Many runs, worked by any executor, in a folder from which they can go on."""

import functools
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lyapflow import _checks
from lyapflow._engine.pool import threads as processors
from lyapflow.errors import LyapflowError, warn
from lyapflow.learning.stopping import StopRule
from lyapflow.learning.training import updates
from lyapflow.runs.grid import Grid, recipes
from lyapflow.runs.recipe import Recipe
from lyapflow.runs.settings import versions
from lyapflow.runs.sweep_folder import Status, SweepFolder
from lyapflow.runs.worker import Job, begin_process, rehearsal, rehearse, work

DEATHS = 3  # of workers in a row, after which a run, or the whole executor, is given up
SECONDS_PER_ROUND = 0.5
SECONDS_BUSY = 5.0  # until a run that another process works is asked for again
GO_ON = "what was done is kept, go on with the sweep (--resume)"


class _Died(Exception):
    """An executor takes nothing any more; its cause says why."""


@dataclass
class Swept:
    """How far a sweep is.

    Attributes
    ----------
    total : int
        Number of runs.
    done : list of str
        Names of the runs that are done, by the order of their ends.
    failed : dict of str to str
        Of those that failed the reasons.
    running : dict of str to Status
        Of those that are being worked.
    share : float
        Of all training and flossing epochs, how many are done.
    seconds_left : float
        By the speed so far; NaN while this cannot be told.
    stopped : str
        Why the sweep ended before its end; empty if it did not.
    """

    total: int
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, Status] = field(default_factory=dict)
    share: float = 0.0
    seconds_left: float = float("nan")
    stopped: str = ""


def sweep(
    folder: str | os.PathLike,
    grid: Grid | str | os.PathLike | None = None,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    threads: int | None = None,
    epochs: int | None = None,
    many: bool = False,
    stops: Iterable[StopRule] = (),
    progress: Callable[[Swept], Any] | None = None,
    checkpoint_seconds: float = 10.0,
    checkpoint_epochs: int | None = None,
) -> Swept:
    """Work the runs of a grid of settings, or what is left of them, each in a folder of its own.

    Each run is that of `lyapflow train` with these settings, to the bit, whatever works it. Whatever
    ends a sweep, the same call goes on with it: runs that are done stay, those that had begun go on
    from their checkpoints, those that failed are tried again.

    Parameters
    ----------
    folder : path
        New, empty, or of this sweep.
    grid : mapping, list of mappings, or path of a TOML file, optional
        From the options of `lyapflow train` to values. A list, or a range ``{"from": 0, "to": 9}``,
        holds values that are combined with all others; those in a mapping ``"zip"`` go hand in
        hand. Of a list of grids, and of one under ``"grid"``, every run is worked once. None for
        the grid that the folder has.
    executor : concurrent.futures.Executor, optional
        Whose workers share the folder; by default processes of this machine.
    workers : int, optional
        Number of these processes; by default as many as `set_threads` or NUMBA_NUM_THREADS say, or
        processors.
    threads : int, optional
        Of each worker that is another process; by default processors are divided among those of
        this machine, and a worker of an executor has one.
    epochs : int, optional
        Training epochs to extend all runs to: each is then the run of so many epochs.
    many : bool
        Whether more than 1000 runs are meant.
    stops : iterable of rules, such as `lyapflow.learning.stopping.TimeLimit`
        The first with a reason ends all runs after their epochs.
    progress : callable, optional
        Is told twice a second how far the sweep is.
    checkpoint_seconds, checkpoint_epochs
        As in `train`.

    Returns
    -------
    Swept

    Raises
    ------
    LyapflowError
        If the grid makes no sense, the folder is of another sweep or cannot be written, or the
        executor dies. What is done is kept.

    Warns
    -----
    LyapflowWarning
        If a worker has other versions or another processor than this process, so that bits may
        differ; and what runs have warned of.

    Examples
    --------
    >>> import lyapflow as lf
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> small = {"units": 4, "delay": 2, "steps": 8, "batch": 2, "epochs": 3, "floss": "none"}
    >>> grid = {**small, "seed": [0, 1], "lr": [0.001, 0.01]}
    >>> with ThreadPoolExecutor(2) as executor:
    ...     swept = lf.sweep("runs", grid, executor=executor)
    >>> len(swept.done), swept.failed
    (4, {})

    From a script, with processes of its own::

        if __name__ == "__main__":
            lf.sweep("runs", {"delay": [20, 40, 70], "seed": range(5)})
    """
    place = SweepFolder(folder)
    if epochs is not None:
        _checks.integer("epochs", epochs, 1)
    if threads is not None:
        _checks.integer("threads", threads, 1)
    if workers is not None:
        _checks.integer("workers", workers, 1)
    runs = place.begin(None if grid is None else recipes(grid, many=many), epochs)
    checkpoints = {
        "checkpoint_seconds": checkpoint_seconds,
        "checkpoint_epochs": checkpoint_epochs,
    }
    with place.permit() as permit:
        job = functools.partial(
            Job, str(place.path), permit=str(permit), master=os.getpid(), checkpoints=checkpoints
        )
        statuses = {name: place.status(name) for name in runs}
        master = _Master(place, runs, statuses, permit, tuple(stops), progress)
        left = [name for name in runs if name not in master.swept.done]
        if not left:
            return master.swept
        own = executor is None
        count = min(workers or processors(), len(left)) if own else 0
        shared = threads or (max(1, processors() // count) if own else 1)
        jobs = [job(name=name, recipe=runs[name], threads=shared) for name in left]
        pool: _Pool = _Processes(count) if executor is None else _Pool(executor)
        with pool.closed_at_the_end():
            master.go(pool, jobs)
    return master.swept


class _Pool:
    """An executor of the user's."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    @contextmanager
    def closed_at_the_end(self) -> Iterator[None]:
        yield

    def renew(self, error: BaseException) -> None:
        """Go on after a worker has died."""
        raise LyapflowError(f"the executor died ({type(error).__name__}: {error}); {GO_ON}")


class _Processes(_Pool):
    """Processes of this machine, spawned, in whose place others come when one dies."""

    def __init__(self, count: int) -> None:
        self.count, self.others = count, set(multiprocessing.active_children())
        super().__init__(self._new())

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.count, context, begin_process)

    def renew(self, error: BaseException) -> None:
        self.executor.shutdown()
        self.executor = self._new()

    @contextmanager
    def closed_at_the_end(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for process in set(multiprocessing.active_children()) - self.others:
                process.kill()
            raise
        finally:
            self.executor.shutdown(cancel_futures=True)


class _Master:
    """Hands runs to an executor, and takes what becomes of them."""

    def __init__(
        self,
        place: SweepFolder,
        runs: Mapping[str, Recipe],
        statuses: Mapping[str, Status | None],
        permit: Path,
        stops: tuple[StopRule, ...],
        progress: Callable[[Swept], Any] | None,
    ) -> None:
        self.place, self.runs, self.permit = place, runs, permit
        self.stops, self.progress = stops, progress
        self.begun, self.versions = time.monotonic(), versions()
        self.warned = set[str]()
        self.deaths, self.updates = Counter[str](), dict[str, int]()
        self.work = {name: _updates(recipe) for name, recipe in runs.items()}
        self.swept = Swept(len(runs))
        for name, status in statuses.items():
            if status is not None and status.epochs == runs[name].epochs:
                if status.kind == "done":
                    self.swept.done.append(name)
            self.updates[name] = 0 if status is None else status.updates
        self.before, self.looked = self._all_updates(), 0.0

    def go(self, pool: _Pool, jobs: list[Job]) -> None:
        """Work jobs to their ends, or until a rule stops them."""
        left = {job.name: job for job in jobs}
        self._rehearse(pool, jobs)
        fruitless = 0
        try:
            while left and not self.swept.stopped:
                before = {name: self.place.status(name) for name in left}
                error = self._round(pool, left)
                if error is not None and not self.swept.stopped:
                    fruitless = 0 if self._count_deaths(left, before) else fruitless + 1
                    if fruitless >= DEATHS:
                        raise LyapflowError(
                            f"workers died {DEATHS} times in a row before they had begun a run ({error}); {GO_ON}"
                        )
                    pool.renew(error)
        finally:
            self.permit.unlink(missing_ok=True)
            self.place.write_failures(self.swept.failed)

    def _rehearse(self, pool: _Pool, jobs: list[Job]) -> None:
        """Compile in one worker, before the others would do the same."""
        kinds = list(dict.fromkeys(rehearsal(job.recipe) for job in jobs))
        with suppress(RuntimeError):  # of a dead executor, of which more is heard at once
            waiting = {pool.executor.submit(rehearse, kinds, jobs[0].threads, jobs[0].master)}
            while waiting:
                waiting = wait(waiting, SECONDS_PER_ROUND).not_done
                self._tell(())

    def _round(self, pool: _Pool, left: dict[str, Job]) -> BaseException | None:
        """Hand all jobs out, and wait for them; the error of an executor that died."""
        waiting: dict[Future, Job] = {}
        later: dict[str, float] = {}
        error: BaseException | None = None
        try:
            for job in list(left.values()):
                waiting[_submitted(pool, job)] = job
            while waiting or later:
                done = wait(waiting, SECONDS_PER_ROUND, FIRST_COMPLETED).done
                if not waiting:
                    time.sleep(SECONDS_PER_ROUND)
                for future in done:
                    job = waiting.pop(future)
                    error = self._take(future, job, left, later) or error
                if error is None:
                    for name in [name for name, at in later.items() if time.monotonic() >= at]:
                        del later[name]
                        waiting[_submitted(pool, left[name])] = left[name]
                self._tell(left)
                if self.swept.stopped or error is not None:
                    later.clear()
                    for future in [future for future in waiting if future.cancel()]:
                        del waiting[future]
        except _Died as died:
            return died.__cause__
        except BaseException:
            self.permit.unlink(missing_ok=True)  # all end after their epochs
            if not self.swept.stopped:  # else it is the second Ctrl-C
                wait([future for future in waiting if not future.cancel()])
            raise
        return error

    def _take(
        self, future: Future, job: Job, left: dict[str, Job], later: dict[str, float]
    ) -> BaseException | None:
        """What became of a job; the error if its executor died."""
        try:
            status = future.result()
        except (BrokenExecutor, CancelledError) as error:
            return error
        except Exception as error:
            status = Status("failed", reason=f"{type(error).__name__}: {error}")
        self._warn(job.name, status)
        if status.kind == "busy":
            later[job.name] = time.monotonic() + SECONDS_BUSY
        elif status.kind == "unwritten":
            self.permit.unlink(missing_ok=True)
            raise LyapflowError(
                f"{status.reason.partition('; ')[0]}; what was done is kept, go on with the sweep "
                f"when that is mended (--resume)"
            )
        elif status.kind in ("done", "failed"):
            self._end(job.name, status, left)
        return None

    def _end(self, name: str, status: Status, left: dict[str, Job]) -> None:
        del left[name]
        self.updates[name] = self.work[name]
        if status.kind == "done":
            self.swept.done.append(name)
        else:
            self.swept.failed[name] = status.reason

    def _count_deaths(self, left: dict[str, Job], before: Mapping[str, Status | None]) -> bool:
        """Whether workers had begun runs before they died; runs that do not get on are given up."""
        begun = len(left) < len(before)
        for name in list(left):
            was, status = before[name], self.place.status(name)
            if status is None or status == was or status.kind != "running":
                continue
            got_on = status.updates > (0 if was is None else was.updates)
            begun, self.deaths[name] = True, 0 if got_on else self.deaths[name] + 1
            if self.deaths[name] >= DEATHS:
                reason = f"its worker died {DEATHS} times before it had gone on"
                status = replace(status, kind="failed", reason=reason)
                with suppress(OSError):
                    self.place.write_status(name, status)
                self._end(name, status, left)
        return begun

    def _warn(self, name: str, status: Status) -> None:
        """Pass on what a run warned of, and say where its worker is another kind of machine."""
        for message in status.warnings:
            warn(f"{name}: {message}")
        if not status.versions or status.versions == self.versions:
            return
        changed = ", ".join(
            f"{key} {self.versions.get(key)} -> {value}"
            for key, value in status.versions.items()
            if self.versions.get(key) != value
        )
        if changed not in self.warned:
            self.warned.add(changed)
            warn(
                f"bits of runs that {status.host} worked may differ from this machine's: {changed}"
            )

    def _tell(self, left: Iterable[str]) -> None:
        """Look at the rules that stop a sweep, and say how far it is."""
        for rule in self.stops:
            if not self.swept.stopped and rule(None):
                self.swept.stopped = rule.reason
                self.permit.unlink(missing_ok=True)
        now = time.monotonic()
        # a look reads a file a run, which may be on a network
        if self.progress is None or now - self.looked < max(1.0, len(self.runs) / 500):
            return
        self.looked = now
        found = {name: self.place.status(name) for name in left}
        self.swept.running = {
            name: status
            for name, status in found.items()
            if status is not None and status.kind == "running"
        }
        for name, status in self.swept.running.items():
            self.updates[name] = status.updates
        done, whole = self._all_updates(), sum(self.work.values())
        self.swept.share = done / max(1, whole)
        if done > self.before:
            rate = (done - self.before) / (now - self.begun)
            self.swept.seconds_left = (whole - done) / rate
        self.progress(self.swept)

    def _all_updates(self) -> int:
        return sum(
            self.work[name] if name in self.swept.done else min(updates, self.work[name])
            for name, updates in self.updates.items()
        )


def _submitted(pool: _Pool, job: Job) -> Future:
    try:
        return pool.executor.submit(work, job)
    except RuntimeError as error:  # a BrokenExecutor, or one that was shut down
        raise _Died from error


def _updates(recipe: Recipe) -> int:
    """Training and flossing epochs of a run; none if it cannot begin."""
    return _updates_whatever_the_seed(replace(recipe, seed=0, gain=1.0, weights="gaussian"))


@functools.cache
def _updates_whatever_the_seed(recipe: Recipe) -> int:
    try:
        return updates(recipe.epochs, recipe.training(recipe.start()).flossing)
    except LyapflowError:
        return 0
