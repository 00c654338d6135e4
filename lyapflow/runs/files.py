"""Files: written so that a crash leaves the old or the new one; read as data, never executed."""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors.numpy

from lyapflow._checks import half_of_memory
from lyapflow.errors import LyapflowError

PART = ".lyapflow-part"  # ends the name of a file that is not yet whole
# for a file that becomes something else after it was looked at; Windows has neither
WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)  # a named pipe does not block
NO_LINK = getattr(os, "O_NOFOLLOW", 0)


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
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    # Windows opens no folders: if the machine crashes now, the old file may be back
    except PermissionError:
        return
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def opened(
    path: str | os.PathLike, mode: str, *, create: bool = False, follow: bool = True
) -> Iterator[IO[Any]]:
    """A regular file, open; whatever else is there is refused before that, for to open it may block or do something.

    Parameters
    ----------
    mode : str
        As for `open`.
    create : bool
        Whether to make an empty file where there is none.
    follow : bool
        Whether the last part of the path may be a symbolic link.

    Raises
    ------
    OSError
        If it cannot be opened, or is no regular file.
    """
    more = WITHOUT_WAITING | (0 if follow else NO_LINK) | (os.O_CREAT if create else 0)
    if not create or os.path.lexists(path):
        _regular(os.stat(path, follow_symlinks=follow))
    with open(path, mode, opener=lambda name, flags: os.open(name, flags | more, 0o644)) as file:
        _regular(os.fstat(file.fileno()))
        yield file


def _regular(status: os.stat_result) -> None:
    """Raise OSError for what is no regular file."""
    if stat.S_ISDIR(status.st_mode):
        raise OSError("it is a folder")
    if stat.S_ISLNK(status.st_mode):
        raise OSError("it is a symbolic link")
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no regular file")


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
    with opened(path, "rb", follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(f"it has {size} bytes, more than the {limit} that are read here")
        return file.read(size)  # Python allocates as much as it is asked for


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


def read_arrays(
    path: str | os.PathLike, *, follow: bool = True, sealed: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a safetensors file; if it has a digest, this is right; `sealed` files must have one.

    Raises LyapflowError if not, or if the file is missing, too large, damaged, or something else.
    """
    try:
        data = read_whole(path, follow=follow)
        arrays = {name: np.array(array) for name, array in safetensors.numpy.load(data).items()}
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get(
            "__metadata__", {}
        )
    except KeyError as error:  # safetensors', for what NumPy does not have
        raise LyapflowError(
            f"cannot read {path} as weights: NumPy has no numbers of type {error}; write them as float32"
        ) from None
    except safetensors.SafetensorError as error:
        raise LyapflowError(
            f"cannot read {path} as weights: it is no whole safetensors file ({in_a_line(error)})"
        ) from None
    except Exception as error:  # whatever a parser makes of a file that somebody else wrote
        raise LyapflowError(f"cannot read {path} as weights: {in_a_line(error)}") from None
    expected = metadata.pop("digest", None)
    if (sealed or expected is not None) and expected != digest(arrays, _text(metadata)):
        raise LyapflowError(
            f"cannot read {path}: it is damaged, its digest does not fit what it holds"
        )
    return arrays, metadata


def _text(metadata: Mapping[str, str]) -> str:
    return json.dumps(dict(metadata), sort_keys=True)


def in_a_line(error: Exception) -> str:
    """What an error of another library says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:200]
