"""``numba.njit`` with the package's options."""

import functools
import gc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
from numba.core import event

from lyapflow._engine.cache import PackageCache

# The Python error model puts a branch behind every division, and loops with branches do not
# vectorise. No fastmath: contraction may differ between a vector body and its tail. A user's
# kernels for a cell may allocate. Nobody passes kernels on as C functions.
OPTIONS: Any = {"error_model": "numpy", "_nrt": True, "no_cfunc_wrapper": True}


def jit(function: Callable | None = None, *, allocates: bool = False, **options: Any) -> Any:
    """``numba.njit`` without the GIL, with the package's options and cache.

    Numba counts references to an array at every slice, by an atomic write: dear in a loop of small
    steps, and dearer where threads slice the same array and wait for each other's cache line. A
    kernel that allocates nothing does not count; its caller holds the arrays."""
    if function is None:
        return functools.partial(jit, allocates=allocates, **options)
    dispatcher = numba.njit(nogil=True, **OPTIONS | {"_nrt": allocates} | options)(function)
    with suppress(RuntimeError):  # no writable folder for a cache: every process compiles
        dispatcher._cache = PackageCache(function)
    return dispatcher


class _NoCollection(event.Listener):
    """Holds off Python's collector of cyclic garbage while kernels compile: it took a sixth of the time."""

    def __init__(self) -> None:
        self._depth, self._enabled = 0, False

    def on_start(self, event: event.Event) -> None:
        if self._depth == 0:
            self._enabled = gc.isenabled()
            gc.disable()
        self._depth += 1

    def on_end(self, event: event.Event) -> None:
        self._depth -= 1
        if self._depth == 0 and self._enabled:
            gc.enable()


event.register("numba:compile", _NoCollection())
