"""The code and values that the compiled kernels of a cell class from outside the package depend on."""

import hashlib
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba.core import types as numba_types
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher
from numba.core.typing.templates import builtin_registry

PACKAGE = "lyapflow"
# Numba's cache knows its own version, and takes NumPy's functions from itself
LIBRARIES = (PACKAGE, "numba", "llvmlite", "numpy")
PLAIN = (bool, int, float, complex, str, bytes, slice, type(None), type(...))
FUNCTIONS = (Dispatcher, types.FunctionType, type)

_kernels: dict[type, list[Callable]] = {}
_first_found: dict[Any, tuple[bytes, list[Any]]] = {}


class _Unknown(Exception):
    """Something that compiled code may depend on in ways that are not looked at here."""


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
    """A hash of a class's module, and of all its kernels call and read; None where that may not be all.

    Functions are hashed as this process has them, since their files may have been edited after they
    were read, and with them the globals, closures and defaults that they read, which are constants
    of compiled code. A class that is made within a function may be made again with others, and one
    that its name does not lead to has been."""
    file, _ = place(cls)
    if not file or not by_reference(cls):  # notebooks and interactive sessions have no file
        return None
    digest, seen = hashlib.sha256(), dict[Any, bool]()
    try:
        digest.update(Path(file).read_bytes())
        for part in _of_value(cls, seen):
            digest.update(part)
        for function in _overloads():
            for part in _of_function(function, seen):
                digest.update(part)
    except (OSError, TypeError, ValueError, _Unknown):
        return None
    return digest.hexdigest()


def _overloads() -> Iterator[Any]:
    """What says how to compile calls of other functions or methods, outside of libraries."""
    calls = (t for _, kind in builtin_registry.globals for t in getattr(kind, "templates", ()))
    for template in (*calls, *builtin_registry.attributes):
        function = getattr(template, "_overload_func", None)
        if function is not None and not _library(function):
            yield function


def _of_function(function: Any, seen: dict[Any, bool]) -> Iterator[bytes]:
    """What a function, and all that it reads, is made of."""
    if function in seen:
        if not seen[function]:  # it calls itself; Numba crashes where it loads such code
            raise _Unknown
        return
    seen[function] = False
    python = function.py_func if isinstance(function, Dispatcher) else function
    read = list(_read(python))
    own = [*_of_code(python.__code__)]
    if isinstance(function, Dispatcher):
        own.append(repr(sorted(function.targetoptions.items())).encode())
        # it was compiled with the values of then; Numba's own cache does not look at them
        compiled = function.overloads or not isinstance(function._cache, NullCache)  # type: ignore[attr-defined]
        reads = not all(_library(value) for _, value in read)
        if compiled and reads and function not in _first_found:
            raise _Unknown
    functions = [v for _, v in read if isinstance(v, FUNCTIONS)]
    others: list[bytes] = []
    for name, value in read:
        own.append(f" {name} {_library(value)} ".encode())
        if _library(value):
            continue
        (others if isinstance(value, FUNCTIONS) else own).extend(_of_value(value, seen))
    # compiled code keeps the values that it was first compiled with
    found = b"".join(own)
    if _first_found.setdefault(function, (found, functions)) != (found, functions):
        raise _Unknown
    seen[function] = True
    yield from (found, *others)


def _read(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Names and values that a function reads of its defaults, closure, globals, and modules among these."""
    read = {f"default {i}": value for i, value in enumerate(function.__defaults__ or ())}
    read |= function.__kwdefaults__ or {}
    for cell, name in zip(function.__closure__ or (), function.__code__.co_freevars):
        read[name] = cell.cell_contents
    names = _names(function.__code__)
    read |= {n: function.__globals__[n] for n in names if n in function.__globals__}
    modules = set[Any]()
    while read:
        name, value = read.popitem()
        if not isinstance(value, types.ModuleType) or _library(value):
            yield name, value
        elif value not in modules:
            modules.add(value)
            if "__getattr__" in vars(value):
                raise _Unknown
            read |= {f"{name}.{n}": vars(value)[n] for n in names if n in vars(value)}


def _names(code: types.CodeType) -> list[str]:
    """Names that code may read, of globals and of attributes, that of functions within included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(_names(constant))
        elif isinstance(constant, str):  # for getattr
            found.add(constant)
    return sorted(found)


def _of_code(code: types.CodeType) -> Iterator[bytes]:
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    yield repr((code.co_code, code.co_exceptiontable, names, counts)).encode()
    for constant in code.co_consts:
        yield from _of_value(constant, {})


def _of_value(value: Any, seen: dict[Any, bool]) -> Iterator[bytes]:
    """What something that a function reads is made of."""
    if isinstance(value, types.CodeType):
        yield from _of_code(value)
    elif isinstance(value, (Dispatcher, types.FunctionType)):
        yield from _of_function(value, seen)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"{value.dtype!r} {value.shape} ".encode() + value.tobytes()
    elif type(value) in PLAIN or isinstance(value, (np.generic, np.dtype, numba_types.Number)):
        yield f"{type(value).__name__} {value!r} ".encode()
    elif isinstance(value, (tuple, frozenset)):
        yield f"{type(value).__qualname__} {getattr(value, '_fields', '')} {len(value)} ".encode()
        for part in value if isinstance(value, tuple) else sorted(value, key=repr):
            yield from _of_value(part, seen)
    elif isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields"):
        if value not in seen:
            seen[value] = True
            yield f"{value.__qualname__} {value._fields} ".encode()
            for function in _kernels.get(value, ()):
                yield from _of_function(function, seen)
    else:
        raise _Unknown


def _library(value: Any) -> str:
    """What a function, class or module of a library is called, if it changes with versions alone; else nothing."""
    if isinstance(value, np.ufunc):
        name = value.__name__
        return f"numpy.{name}" if getattr(np, name, None) is value else ""
    if isinstance(value, types.ModuleType):
        module, name = value.__name__, ""
    elif isinstance(value, (Dispatcher, types.FunctionType)):
        function: Any = value.py_func if isinstance(value, Dispatcher) else value
        module, name = function.__globals__.get("__name__", ""), function.__qualname__
    elif isinstance(value, (type, types.BuiltinFunctionType)):
        module, name = value.__module__ or "", value.__qualname__
    else:
        return ""
    file = Path(getattr(sys.modules.get(module), "__file__", None) or "")
    installed = {"site-packages", "dist-packages"} & {*file.parts}
    standard = Path(sysconfig.get_path("stdlib")) in file.parents and not installed
    known = module.partition(".")[0] in (*LIBRARIES, *sys.builtin_module_names)
    return f"{module}.{name}" if known or standard else ""
