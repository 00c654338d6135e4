"""Files: written so that a crash leaves the old or the new one, read so that no content of theirs does harm."""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from lyapflow._checks import half_of_memory
from lyapflow.errors import LyapflowError

PART = ".lyapflow-part"  # ends the name of a file that is not yet whole


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a crash at any instant, of the machine too, leaves the old one or the new one, whole."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=PART)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_whole(path: str | os.PathLike, most: int | None = None, *, follow: bool = True) -> bytes:
    """The bytes of a regular file.

    Parameters
    ----------
    most : int
        Bytes that it may have; half of the machine's memory by default.
    follow : bool
        Whether the last part of the path may be a symbolic link.

    Raises
    ------
    OSError
        If it cannot be read, is no regular file, or too large.
    """
    limit = half_of_memory() if most is None else most
    link = 0 if follow else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | link)  # a named pipe does not block
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise OSError("it is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no regular file")
        if status.st_size > limit:
            raise OSError(f"it has {status.st_size} bytes, more than the {limit} that are read here")
        return file.read(status.st_size)  # Python allocates as much as it is asked for


def digest(arrays: Mapping[str, np.ndarray], more: str = "") -> str:
    """Sixteen hexadecimal digits of what arrays hold, in the order of their names, for comparison."""
    state = hashlib.sha256(more.encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        state.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        state.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    return state.hexdigest()[:16]


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays, and what they are, as a safetensors file, with a digest of both."""
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    found = digest(whole, _text(metadata))
    write_atomically(path, safetensors.numpy.save(whole, {**metadata, "digest": found}))


def read_arrays(path: str | os.PathLike, *, follow: bool = True) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a safetensors file; if it has a digest, this is right.

    Raises LyapflowError if not, or if the file is missing, too large, damaged, or something else.
    """
    try:
        data = read_whole(path, follow=follow)
        arrays = {name: np.array(array) for name, array in safetensors.numpy.load(data).items()}
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except Exception as error:  # whatever a parser makes of a file that somebody else wrote
        raise LyapflowError(f"cannot read {path} as weights: {_line(error)}") from None
    expected = metadata.pop("digest", None)
    if expected is not None and expected != digest(arrays, _text(metadata)):
        raise LyapflowError(f"cannot read {path}: it is damaged, its digest does not fit what it holds")
    return arrays, metadata


def _text(metadata: Mapping[str, str]) -> str:
    return json.dumps(dict(metadata), sort_keys=True)


def _line(error: Exception) -> Any:
    """An error in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200]
