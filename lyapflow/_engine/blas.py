"""SciPy's BLAS and LAPACK: their addresses for kernels, and one thread while the package computes."""

import functools
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding
from numba.extending import get_cython_function_address
from threadpoolctl import ThreadpoolController

from lyapflow._engine.forks import in_a_child

_ROUTINES = {
    "scipy.linalg.cython_blas": ("gemm",),
    "scipy.linalg.cython_lapack": ("geqrf", "orgqr", "potrf"),
}
_lock = threading.Lock()
_callers = 0
_before: list[int | None] = []


@functools.cache
def register_routines() -> None:
    """Make SciPy's routines known to LLVM as lyapflow_dgemm and so on, before a kernel is compiled or loaded.

    Not earlier: importing scipy.linalg takes a fifth of a second, which every command would wait for."""
    for module, names in _ROUTINES.items():
        for name in names:
            for prefix in "sd":
                address = get_cython_function_address(module, prefix + name)
                llvmlite.binding.add_symbol(f"lyapflow_{prefix}{name}", address)


@functools.cache
def _blas() -> list[Any]:
    register_routines()  # so that SciPy's BLAS is among those found
    return ThreadpoolController().select(user_api="blas").lib_controllers


def _limit_blas(threads: Iterable[int | None]) -> None:
    """Library by library: threadpoolctl's own context asks each for all it knows, which takes ten times as long."""
    for library, count in zip(_blas(), threads):
        if hasattr(library, "clear_controlling_thread"):
            # threadpoolctl >= 3.7 lets the first thread alone set OpenBLAS's limit and silently
            # ignores all others.
            library.clear_controlling_thread(force=True)
        if count is not None:
            library.set_num_threads(count)


def _forked() -> None:
    """A fork may be made inside, by a callback or another thread: its BLAS is as before, and nobody is inside."""
    global _lock, _callers
    if _callers:
        _limit_blas(_before)
    _lock, _callers = threading.Lock(), 0


in_a_child(_forked)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS at one thread while any caller, in any thread, is inside; nested calls cost nothing.

    BLAS threads gain nothing at the sizes of recurrent networks, and their number must not change a
    result."""
    global _callers, _before
    process = os.getpid()
    with _lock:
        if _callers == 0:
            _before = [library.get_num_threads() for library in _blas()]
            _limit_blas([1] * len(_before))
        _callers += 1
    try:
        yield
    finally:
        if process == os.getpid():
            with _lock:
                _callers -= 1
                if _callers == 0:
                    _limit_blas(_before)
