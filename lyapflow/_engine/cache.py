"""The on-disk cache of compiled kernels.

Numba keys it by the source file of the compiled function alone, and pickles the types of the arguments into it. Both
are wrong for a package whose kernels are generic over cells:

- a change in another file of the package would go unnoticed, so the stamp is a hash of *all* its sources;
- a cell class from outside the package would be pickled by reference, and a process that cannot import it would
  fail on every kernel. Kernels for such cells are compiled afresh in each process and never stored.
"""

import functools
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core import types
from numba.core.caching import FunctionCache, IndexDataCacheFile

PACKAGE = "lyapflow"


@functools.cache
def _package_stamp() -> str:
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(source.relative_to(package).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _from_outside(argument: Any) -> bool:
    """Whether a Numba type names a class that is defined outside the package."""
    if isinstance(argument, (types.NamedTuple, types.NamedUniTuple)):
        if argument.instance_class.__module__.partition(".")[0] != PACKAGE:
            return True
    return isinstance(argument, types.BaseTuple) and any(map(_from_outside, argument.types))  # type: ignore[attr-defined]


class IndexFile(IndexDataCacheFile):
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


class PackageCache(FunctionCache):
    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        self._cache_file = IndexFile(self._cache_path, self._impl.filename_base, _package_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if any(map(_from_outside, sig)):
            return None
        return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        if not any(map(_from_outside, sig)):
            with suppress(OSError):  # a full disk: the next process compiles, too
                super().save_overload(sig, data)
