"""The master of a sweep: hands out runs, collects their results, reports progress."""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lyapflow.errors import LyapflowError, warn
from lyapflow.learning.stopping import StopRule
from lyapflow.learning.training import updates
from lyapflow.runs.pools import GO_ON, Died, Pool
from lyapflow.runs.recipe import Recipe
from lyapflow.runs.settings import versions
from lyapflow.runs.sweep_folder import Status, SweepFolder
from lyapflow.runs.worker import Job, rehearsal, rehearse, work

DEATHS = 3  # of workers in a row, after which a run, or the whole executor, is given up
SECONDS_PER_ROUND = 0.5
SECONDS_BUSY = 5.0  # until a run that another process works is asked for again


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

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import lyapflow as lf
    >>> grid = {"task": "copy", "delay": 2, "units": 4, "epochs": 2, "steps": 10, "floss": "none"}
    >>> swept = lf.sweep("runs/one", grid, executor=ThreadPoolExecutor(1))
    >>> len(swept.done), swept.failed, swept.stopped
    (1, {}, '')
    """

    total: int
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, Status] = field(default_factory=dict)
    share: float = 0.0
    seconds_left: float = float("nan")
    stopped: str = ""


class Master:
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
            if status is not None and status.ends(runs[name]):
                self.swept.done.append(name)
            self.updates[name] = 0 if status is None else status.updates
        self.before, self.looked = self._all_updates(), 0.0

    def go(self, pool: Pool, jobs: list[Job]) -> None:
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
                            f"workers died {DEATHS} times in a row before they had begun a run ({error}); in a script, "
                            f'call sweep below if __name__ == "__main__"; {GO_ON}'
                        )
                    pool.renew(error)
        finally:
            self.permit.unlink(missing_ok=True)
            self.place.write_failures(self.swept.failed)
            self.look(())

    def _rehearse(self, pool: Pool, jobs: list[Job]) -> None:
        """Compile in one worker, before the others would do the same."""
        kinds = list(dict.fromkeys(rehearsal(job.recipe) for job in jobs))
        with suppress(Died):  # of which more is heard at once
            waiting = {pool.submitted(rehearse, kinds, jobs[0].threads, jobs[0].master)}
            while waiting and not self.swept.stopped:
                waiting = wait(waiting, SECONDS_PER_ROUND).not_done
                self._tell(())
            if waiting:
                pool.abandon()

    def _round(self, pool: Pool, left: dict[str, Job]) -> BaseException | None:
        """Hand all jobs out, and wait for them; the error of an executor that died."""
        waiting: dict[Future, Job] = {}
        later: dict[str, float] = {}
        error: BaseException | None = None
        try:
            for job in list(left.values()):
                waiting[pool.submitted(work, job)] = job
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
                        waiting[pool.submitted(work, left[name])] = left[name]
                self._tell(left)
                if self.swept.stopped or error is not None:
                    later.clear()
                    for future in [future for future in waiting if future.cancel()]:
                        del waiting[future]
        except Died as died:
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
                f"when that is mended (grid=None)"
            )
        elif status.kind in ("done", "failed"):
            self._end(job.name, status, left)
        else:
            self.updates[job.name] = max(self.updates[job.name], status.updates)
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
        # a look reads a file a run, which may be on a network
        seconds = max(1.0, len(self.runs) / 500)
        if self.progress is not None and time.monotonic() - self.looked >= seconds:
            self.looked = time.monotonic()
            self.look(left)
            self.progress(self.swept)

    def look(self, left: Iterable[str]) -> None:
        """Find out how far the runs are that are left."""
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
            rate = (done - self.before) / (time.monotonic() - self.begun)
            self.swept.seconds_left = (whole - done) / rate

    def _all_updates(self) -> int:
        return sum(
            self.work[name] if name in self.swept.done else min(updates, self.work[name])
            for name, updates in self.updates.items()
        )


def _updates(recipe: Recipe) -> int:
    """Training and flossing epochs of a run; none if it cannot begin."""
    return _updates_whatever_the_seed(replace(recipe, seed=0, gain=1.0, weights="gaussian"))


@functools.cache
def _updates_whatever_the_seed(recipe: Recipe) -> int:
    try:
        return updates(recipe.epochs, recipe.training(recipe.start()).flossing)
    except LyapflowError:
        return 0
