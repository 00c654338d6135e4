"""A pool of threads for the independent pieces of a public call, one thread per piece.

Kernels release the GIL, so plain threads do what a parallel loop inside a kernel would, without the
ways in which Numba's threading layers end a process."""

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar, cast

import numba

from lyapflow import _checks
from lyapflow._engine.blas import one_blas_thread

Result = TypeVar("Result")
# .piece, .round: what this thread works on, and for whom
_here = threading.local()
_wanted: int | None = None
_helpers: list[threading.Thread] = []


class Stopped(BaseException):
    """Ends a piece whose caller has gone."""


def threads() -> int:
    """How many threads `each` and `start_threads` may use, the caller's among them."""
    return _wanted or _allowed()


def _allowed() -> int:
    """What NUMBA_NUM_THREADS says; without it the processors of this process, or of its Slurm task if these are fewer.

    Not every cluster binds the processes of a task to its processors."""
    count: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    task = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if "NUMBA_NUM_THREADS" in os.environ or not task.isdigit():
        return count
    return max(1, min(count, int(task)))


def set_threads(count: int | None) -> None:
    """Use at most so many threads from now on, in the whole process.

    No result depends on it, to the bit.

    Parameters
    ----------
    count : int or None
        At least 1; None for the value of the environment variable NUMBA_NUM_THREADS or, without it,
        all processors that this process may use (of a Slurm task SLURM_CPUS_PER_TASK at most).

    Raises
    ------
    LyapflowError
        If count is not such a number.

    Examples
    --------
    >>> import lyapflow as lf
    >>> lf.set_threads(1)
    >>> lf.set_threads(None)
    """
    global _wanted
    _wanted = None if count is None else _checks.integer("count", count, 1)


@functools.cache
def _pool(process: int, count: int) -> ThreadPoolExecutor:
    """Threads that live as long as the process, since to start them takes as long as a short epoch."""
    return ThreadPoolExecutor(count, "lyapflow")


class _Round:
    """Pieces to be done: which is next, and the first that has failed, by number: those after it need not go on."""

    def __init__(self, count: int) -> None:
        self.lock, self.numbers, self.failed = threading.Lock(), iter(range(count)), count

    def next(self) -> int | None:
        with self.lock:
            return next(self.numbers, None)

    def fail(self, piece: int) -> None:
        """-1 where their caller has gone."""
        with self.lock:
            self.failed = min(self.failed, piece)


def each(piece: Callable[[int], Result], count: int) -> list[Result]:
    """``[piece(0), ..., piece(count - 1)]``, on as many threads as NUMBA_NUM_THREADS says; within a piece, in turn.

    If pieces fail, the error of the first of them is raised, whichever failed sooner; those after
    it end at their next `check_interrupt`."""
    workers = min(threads(), count)
    if workers <= 1 or hasattr(_here, "piece"):
        return [piece(r) for r in range(count)]
    here, found = _Round(count), cast(list[Result], [None] * count)
    errors: dict[int, BaseException] = {}

    def work() -> None:
        while (r := here.next()) is not None:
            _here.piece, _here.round = r, here
            try:
                check_interrupt()
                found[r] = piece(r)
            except (Exception, Stopped) as error:
                here.fail(r)
                errors[r] = error
            except BaseException:  # Ctrl-C
                here.fail(-1)
                raise
            finally:
                del _here.piece, _here.round

    helpers: list[Future] = []
    with one_blas_thread():
        try:
            for _ in range(workers - 1):
                helpers.append(_pool(os.getpid(), threads()).submit(work))
            work()
            for helper in helpers:
                if not helper.cancel():
                    helper.result()
        except BaseException:
            here.fail(-1)
            wait([helper for helper in helpers if not helper.cancel()])
            raise
    if errors:
        raise errors[min(errors)]
    return found


def start_threads(work: Callable[[], None], most: int) -> None:
    """Start up to `most` helper threads that do work(), which ends by itself; those that are still at it count.

    A piece of `each` gets none. They are no threads of the pool, for whose threads a process waits
    when it ends."""
    if hasattr(_here, "piece"):
        return
    _helpers[:] = [helper for helper in _helpers if helper.is_alive()]
    for _ in range(min(threads() - 1, most) - len(_helpers)):
        helper = threading.Thread(target=work, name="lyapflow-helper", daemon=True)
        try:
            helper.start()
        except RuntimeError:  # the interpreter ends, or the system has no more threads
            break
        _helpers.append(helper)


def check_interrupt() -> None:
    """Called ten times a second by whatever takes long, so that a piece ends soon after Ctrl-C."""
    if hasattr(_here, "piece") and _here.piece > _here.round.failed:
        raise Stopped
