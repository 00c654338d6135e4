"""``numba.njit`` with the package's options."""

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba

from lyapflow._engine.cache import PackageCache
from lyapflow._engine.compiling import listen

# The Python error model puts a branch behind every division, and loops with branches do not
# vectorise. No fastmath: contraction may differ between a vector body and its tail. A user's
# kernels for a cell may allocate. Nobody passes kernels on as C functions.
OPTIONS: Any = {"error_model": "numpy", "_nrt": True, "no_cfunc_wrapper": True}
listen()


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
