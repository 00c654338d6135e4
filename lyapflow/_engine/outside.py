"""What a cell class from outside the package is made of: the source that its compiled kernels depend on."""

import hashlib
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher

PACKAGE = "lyapflow"
VALUES = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype)

_kernels: dict[type, list[Callable]] = {}


def add_kernel(cls: type, function: Callable) -> None:
    """Say that a class has this kernel."""
    _kernels.setdefault(cls, []).append(function)


def by_reference(cls: type) -> bool:
    """Whether the name of a class leads to it, in its module."""
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


def place(cls: type) -> tuple[str, str]:
    """The file that a class is written in, and its name there."""
    return str(getattr(sys.modules.get(cls.__module__), "__file__", "")), cls.__qualname__


def source_stamp(cls: type) -> str | None:
    """A hash of a class's module, and of all its kernels call and read; None where there is no source to hash.

    Kernels are followed through the functions that they call, as far as these are no library's, and
    with the values of the globals and closures that they read, which are constants of compiled
    code. A class that is made within a function may be made again with others, and one that its
    name does not lead to has been."""
    if not by_reference(cls):
        return None
    digest, seen = hashlib.sha256(), set[Any]()
    try:
        digest.update(_source(cls.__module__))
        for function in _kernels.get(cls, ()):
            for part in _parts(function, seen):
                digest.update(part)
    except (OSError, TypeError):
        return None
    return digest.hexdigest()


def _source(module: str) -> bytes:
    """The source of a module; raises OSError or TypeError where it has none."""
    return Path(sys.modules[module].__file__).read_bytes()  # type: ignore[arg-type]


def _parts(function: Any, seen: set[Any]) -> Iterator[bytes]:
    """Sources and values that a function depends on."""
    function = function.py_func if isinstance(function, Dispatcher) else function
    if (
        not isinstance(function, types.FunctionType)
        or function in seen
        or _is_library(function.__module__)
    ):
        return
    seen.add(function)
    yield f"{function.__qualname__} ".encode()
    if function.__module__ not in seen:
        seen.add(function.__module__)
        yield _source(function.__module__)
    read = {
        name: function.__globals__[name]
        for name in _names(function.__code__)
        if name in function.__globals__
    }
    for cell, name in zip(function.__closure__ or (), function.__code__.co_freevars):
        read[name] = cell.cell_contents
    for name, value in sorted(read.items()):
        if isinstance(value, np.ndarray):
            yield (
                name.encode()
                + value.dtype.str.encode()
                + repr(value.shape).encode()
                + value.tobytes()
            )
        elif isinstance(value, VALUES) or (
            isinstance(value, tuple) and all(isinstance(v, VALUES) for v in value)
        ):
            yield f"{name} {value!r} ".encode()
        else:
            yield from _parts(value, seen)


def _names(code: types.CodeType) -> set[str]:
    """Names of globals that code reads, that of functions within included."""
    inner = (
        _names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)
    )
    return set(code.co_names).union(*inner)


def _is_library(module: str) -> bool:
    """Whether a module is this package, or one that is installed and changes with its version only."""
    if module.partition(".")[0] == PACKAGE:
        return True
    standard = Path(sysconfig.get_path("stdlib"))
    file = Path(getattr(sys.modules.get(module), "__file__", None) or standard / module)
    return "site-packages" in file.parts or standard in file.parents
