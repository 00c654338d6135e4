"""One thread per piece: independent pieces of a public call, side by side.

Kernels release the GIL and one network is serial, so plain threads do what a parallel loop inside a kernel would,
without the ways in which Numba's threading layers end a process.
"""

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import numba

from lyapflow._jit import one_blas_thread

Result = TypeVar("Result")
_here = threading.local()  # .stop: the event that ends the piece which this thread works on


class Stopped(BaseException):
    """Ends a piece whose caller has gone."""


def threads() -> int:
    """How many threads `each` may use."""
    return numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


@functools.cache
def _pool(process: int, count: int) -> ThreadPoolExecutor:
    """Threads that live as long as the process, since to start them takes as long as a short epoch."""
    return ThreadPoolExecutor(count, "lyapflow")


def each(piece: Callable[[int], Result], count: int) -> list[Result]:
    """``[piece(0), ..., piece(count - 1)]``, on as many threads as NUMBA_NUM_THREADS says; within a piece, in turn.

    If a piece fails its error is raised, and those at work end at their next `breathe`.
    """
    if min(threads(), count) <= 1 or hasattr(_here, "stop"):
        return [piece(r) for r in range(count)]
    stop = threading.Event()

    def alone(r: int) -> Result:
        _here.stop = stop
        try:
            breathe()
            return piece(r)
        finally:
            del _here.stop

    with one_blas_thread():
        futures = [_pool(os.getpid(), threads()).submit(alone, r) for r in range(count)]
        try:
            failed = [future for future in wait(futures, return_when=FIRST_EXCEPTION).done if future.exception()]
            for future in sorted(failed, key=futures.index):
                future.result()
            return [future.result() for future in futures]
        finally:
            stop.set()
            wait(futures)


def breathe() -> None:
    """Called ten times a second by whatever takes long, so that a piece ends soon after Ctrl-C."""
    if hasattr(_here, "stop") and _here.stop.is_set():
        raise Stopped
