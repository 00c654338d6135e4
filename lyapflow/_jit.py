"""The one place that configures Numba: options, on-disk cache, BLAS threads.

Numba keys its on-disk cache by the source file of the compiled function alone, and pickles the types of the
arguments into it. Both are wrong for a package whose kernels are generic over cells:

- a change in another file of the package would go unnoticed, so the stamp is a hash of *all* its sources;
- a cell class from outside the package would be pickled by reference, and a process that cannot import it would
  fail on every kernel. Kernels for such cells are compiled afresh in each process and never stored.
"""

import functools
import gc
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numba
from numba.core import event, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from threadpoolctl import ThreadpoolController

# The Python error model puts a branch behind every division, and loops with branches do not vectorise.
# No fastmath: contraction may differ between a vector body and its tail.
# A user's kernels for a cell may allocate. Nobody passes kernels on as C functions.
OPTIONS: Any = {"error_model": "numpy", "_nrt": True, "no_cfunc_wrapper": True}


@functools.cache
def _package_stamp() -> str:
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(source.relative_to(package).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _from_outside(argument: Any) -> bool:
    """Whether a Numba type names a class that is defined outside the package."""
    if isinstance(argument, (types.NamedTuple, types.NamedUniTuple)):
        if argument.instance_class.__module__.partition(".")[0] != __package__:
            return True
    return isinstance(argument, types.BaseTuple) and any(map(_from_outside, argument.types))  # type: ignore[attr-defined]


class _IndexFile(IndexDataCacheFile):
    """Numba's index and data files, made safe against crashes, damage and concurrent writers.

    Numba numbers data files and writes the index first, so an index could name another version's or another
    signature's code. Here a data file is named by what is in it, and written before the index mentions it.
    """

    def save(self, key: Any, data: Any) -> None:
        digest = hashlib.sha256(repr((self._source_stamp, key)).encode()).hexdigest()[:16]
        name = self._data_name_pattern.format(number=0).replace(".0.nbc", f".{digest}.nbc")
        overloads = self._load_index()
        self._save_data(name, data)
        overloads[key] = name
        self._save_index(overloads)
        for path in Path(self._cache_path).glob(f"{self._index_name.removesuffix('.nbi')}.*.nbc"):
            if path.name not in overloads.values():  # of an older version
                path.unlink(missing_ok=True)

    def _load_index(self) -> dict:
        try:
            return super()._load_index()
        except Exception:  # damaged, or written by a version with other classes: compile anew
            return {}

    def _load_data(self, name: str) -> Any:
        try:
            return super()._load_data(name)
        except Exception as error:
            raise OSError(f"damaged cache file {name}") from error  # a miss, to Numba


class _PackageCache(FunctionCache):
    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        self._cache_file = _IndexFile(self._cache_path, self._impl.filename_base, _package_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if any(map(_from_outside, sig)):
            return None
        return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        if not any(map(_from_outside, sig)):
            with suppress(OSError):  # a full disk: the next process compiles, too
                super().save_overload(sig, data)


def jit(function: Callable | None = None, *, allocates: bool = False, **options: Any) -> Any:
    """``numba.njit`` without the GIL, with the package's options and cache.

    Numba counts references to an array at every slice, by an atomic write: dear in a loop of small steps, and dearer
    where threads slice the same array and wait for each other's cache line. A kernel that allocates nothing does not
    count; its caller holds the arrays.
    """
    if function is None:
        return functools.partial(jit, allocates=allocates, **options)
    dispatcher = numba.njit(nogil=True, **OPTIONS | {"_nrt": allocates} | options)(function)
    with suppress(RuntimeError):  # no writable folder for a cache: every process compiles
        dispatcher._cache = _PackageCache(function)
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


class _ParallelKernel:
    """Whoever runs a parallel kernel holds this.

    Numba's threading layers abort the process where one starts while another runs, and in a fork of a process that
    has run one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: int | None = None

    def allowed(self) -> bool:
        """Whether this process is not a fork of one that has run a parallel kernel."""
        return self._process in (None, os.getpid())

    def __enter__(self) -> None:
        self._lock.acquire()
        self._process = os.getpid()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


parallel_kernel = _ParallelKernel()
_lock = threading.Lock()
_callers = 0
_before: list[int | None] = []


@functools.cache
def _blas() -> list[Any]:
    return ThreadpoolController().select(user_api="blas").lib_controllers


def _limit_blas(threads: Iterable[int | None]) -> None:
    """Library by library: threadpoolctl's own context asks each for all it knows, which takes ten times as long."""
    for library, count in zip(_blas(), threads):
        if hasattr(library, "clear_controlling_thread"):
            # threadpoolctl >= 3.7 lets the first thread alone set OpenBLAS's limit and silently ignores all others.
            library.clear_controlling_thread(force=True)
        if count is not None:
            library.set_num_threads(count)


def _forked() -> None:
    """A fork may be made inside, by a callback or another thread: its BLAS is as before, and nobody is inside."""
    global _lock, _callers
    if _callers:
        _limit_blas(_before)
    _lock, _callers = threading.Lock(), 0


os.register_at_fork(after_in_child=_forked)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS at one thread while any caller, in any thread, is inside; nested calls cost nothing.

    BLAS threads gain nothing at the sizes of recurrent networks, and their number must not change a result.
    """
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
