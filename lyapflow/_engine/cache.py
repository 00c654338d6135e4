"""The on-disk cache of compiled kernels.

Numba keys it by the source file of the compiled function alone, and pickles the types of the
arguments into it. Both are wrong for a package whose kernels are generic over cells:

- a change in another file of the package would go unnoticed, so the stamp is a hash of *all* its
  sources;
- a cell class from outside the package would be pickled by reference, and a process that cannot
  import it would fail on every kernel. Kernels for such cells have files of their own, stamped with
  the source that the cell is made of (`lyapflow._engine.outside`), in which its class is a name:
  whoever asks for them has the class.

It names compiled functions by class, arguments and a number, counted from one in each process.
Functions of one name and number from two processes, such as those of two classes of one name, would
be taken for the same where both are loaded. So the count starts anywhere.
"""

import functools
import hashlib
import io
import itertools
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core import types
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.serialize import NumbaPickler

from lyapflow._engine.blas import register_routines
from lyapflow._engine.forks import in_a_child
from lyapflow._engine.outside import PACKAGE, place, source_stamp


def _count_from_anywhere() -> None:
    FunctionIdentity._unique_ids = itertools.count(int.from_bytes(os.urandom(7)))


_count_from_anywhere()
in_a_child(_count_from_anywhere)


@functools.cache
def _package_stamp() -> str:
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(source.relative_to(package).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _outside_classes(argument: Any) -> set[type]:
    """Classes from outside the package that a Numba type, or a tuple of types, is made of."""
    found: set[type] = set()
    if isinstance(argument, (types.NamedTuple, types.NamedUniTuple)):
        if argument.instance_class.__module__.partition(".")[0] != PACKAGE:
            found.add(argument.instance_class)
    parts = argument.types if isinstance(argument, types.BaseTuple) else argument  # type: ignore[attr-defined]
    if isinstance(parts, tuple):
        found.update(*map(_outside_classes, parts))
    return found


class IndexFile(IndexDataCacheFile):
    """Numba's index and data files, made safe against crashes, damage and concurrent writers.

    Numba numbers data files and writes the index first, so an index could name another version's or
    another signature's code. Here a data file is named by what is in it, and written before the
    index mentions it."""

    def __init__(
        self, path: str, base: str, stamp: str, classes: frozenset[type] = frozenset()
    ) -> None:
        super().__init__(path, base, stamp)
        self._classes = {cls.__qualname__: cls for cls in classes}

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
            if not self._classes:
                return super()._load_data(name)
            return _Unpickler(Path(self._data_path(name)).read_bytes(), self._classes).load()
        except Exception as error:
            raise OSError(f"damaged cache file {name}") from error  # a miss, to Numba

    def _dump(self, obj: Any) -> bytes:
        if not self._classes:
            return super()._dump(obj)
        buffer = io.BytesIO()
        _Pickler(buffer, self._classes).dump(obj)
        return buffer.getvalue()


class _Pickler(NumbaPickler):
    """Writes some classes as names."""

    def __init__(self, file: Any, classes: dict[str, type]) -> None:
        super().__init__(file, protocol=4)
        self._names = {cls: name for name, cls in classes.items()}

    def persistent_id(self, obj: Any) -> str | None:
        return self._names.get(obj) if isinstance(obj, type) else None


class _Unpickler(pickle.Unpickler):
    """Reads them as the classes of this process."""

    def __init__(self, data: bytes, classes: dict[str, type]) -> None:
        super().__init__(io.BytesIO(data))
        self._classes = classes

    def persistent_load(self, name: str) -> type:
        return self._classes[name]


class _Files:
    """The index file of the package's own signatures, and one for each set of classes from outside.

    Numba asks by keys whose first part is the signature.
    """

    def __init__(self, path: str, base: str) -> None:
        self._path, self._base = path, base
        self._own = IndexFile(path, base, _package_stamp())

    def _find(self, key: Any) -> tuple[IndexFile | None, Any]:
        classes = frozenset(_outside_classes(key[0]))
        if not classes:
            return self._own, key
        stamps = [source_stamp(cls) for cls in classes]
        if None in stamps or len({cls.__qualname__ for cls in classes}) < len(classes):
            return None, key
        where = hashlib.sha256(repr(sorted(map(place, classes))).encode()).hexdigest()[:16]
        stamp = f"{_package_stamp()} {sorted(filter(None, stamps))}"
        return IndexFile(self._path, f"{self._base}-{where}", stamp, classes), (
            str(key[0]),
            *key[1:],
        )

    def load(self, key: Any) -> Any:
        file, key = self._find(key)
        return None if file is None else file.load(key)

    def save(self, key: Any, data: Any) -> None:
        file, key = self._find(key)
        if file is not None:
            file.save(key, data)

    def flush(self) -> None:
        self._own.flush()


class PackageCache(FunctionCache):
    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        register_routines()
        return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # a full disk: the next process compiles, too
            super().save_overload(sig, data)
