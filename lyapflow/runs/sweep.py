"""Many runs, worked by any executor, in a folder from which they can go on."""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any

from lyapflow import _checks
from lyapflow._engine.pool import threads as processors
from lyapflow.errors import LyapflowError
from lyapflow.learning.stopping import StopRule
from lyapflow.runs.grid import Grid, recipes
from lyapflow.runs.master import Master, Swept
from lyapflow.runs.pools import Pool, Processes
from lyapflow.runs.sweep_folder import SweepFolder
from lyapflow.runs.train import interval
from lyapflow.runs.worker import Job


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
    interval(checkpoint_seconds, checkpoint_epochs)
    if executor is not None and not hasattr(executor, "submit"):
        raise LyapflowError(f"executor must be a concurrent.futures.Executor, got {executor!r:.80}")
    if not isinstance(stops, Iterable):
        raise LyapflowError(f"stops must be a list of rules, got {type(stops).__name__}")
    if progress is not None and not callable(progress):
        raise LyapflowError(f"progress must be a function, got {progress!r:.80}")
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
        master = Master(place, runs, statuses, permit, tuple(stops), progress)
        left = [name for name in runs if name not in master.swept.done]
        if not left:
            master.look(())
            return master.swept
        own = executor is None
        count = min(workers or processors(), len(left)) if own else 0
        shared = threads or (max(1, processors() // count) if own else 1)
        jobs = [job(name=name, recipe=runs[name], threads=shared) for name in left]
        pool: Pool = Processes(count) if executor is None else Pool(executor)
        with pool.closed_at_the_end():
            master.go(pool, jobs)
    return master.swept
