"""One thread per piece: independent pieces of a public call, side by side.

Kernels release the GIL and one network is serial, so plain threads do what a parallel loop inside a kernel would,
without the ways in which Numba's threading layers end a process.
"""

import functools
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import numba
import numpy as np

from lyapflow._jit import one_blas_thread

Result = TypeVar("Result")
_here = threading.local()  # .piece, .failure: what this thread works on, and what may end it; .kept: see scratch
KEPT = 2**25  # bytes that a thread keeps, at most


class Stopped(BaseException):
    """Ends a piece whose caller has gone."""


def threads() -> int:
    """How many threads `each` may use."""
    return numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


@functools.cache
def _pool(process: int, count: int) -> ThreadPoolExecutor:
    """Threads that live as long as the process, since to start them takes as long as a short epoch."""
    return ThreadPoolExecutor(count, "lyapflow")


class _Failure:
    """The first piece that has failed, by number: those after it need not go on. -1 where their caller has gone."""

    def __init__(self, count: int) -> None:
        self.lock, self.piece = threading.Lock(), count

    def at(self, piece: int) -> None:
        with self.lock:
            self.piece = min(self.piece, piece)


def each(piece: Callable[[int], Result], count: int) -> list[Result]:
    """``[piece(0), ..., piece(count - 1)]``, on as many threads as NUMBA_NUM_THREADS says; within a piece, in turn.

    If pieces fail, the error of the first of them is raised, whichever failed sooner; those after it end at their next
    `breathe`.
    """
    if min(threads(), count) <= 1 or hasattr(_here, "piece"):
        return [piece(r) for r in range(count)]
    failure = _Failure(count)

    def alone(r: int) -> Result:
        _here.piece, _here.failure = r, failure
        try:
            breathe()
            return piece(r)
        except BaseException:
            failure.at(r)
            raise
        finally:
            del _here.piece, _here.failure

    with one_blas_thread():
        futures = [_pool(os.getpid(), threads()).submit(alone, r) for r in range(count)]
        try:
            return [future.result() for future in futures]
        finally:
            failure.at(-1)
            wait(futures)


def breathe() -> None:
    """Called ten times a second by whatever takes long, so that a piece ends soon after Ctrl-C."""
    if hasattr(_here, "piece") and _here.piece > _here.failure.piece:
        raise Stopped


def scratch(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array to be written, in the memory of the last one that this thread had under this name.

    To get fresh memory from the system takes as long as a short epoch needs to fill it. What is large is not kept.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    kept = _here.__dict__.setdefault("kept", {})
    if name not in kept or kept[name].size < size:
        fresh = np.empty(size, np.uint8)
        if size + sum(a.size for other, a in kept.items() if other != name) > KEPT:
            return fresh.view(dtype).reshape(shape)
        kept[name] = fresh
    return kept[name][:size].view(dtype).reshape(shape)
