"""The lock of a folder: a file that is locked while a process works there, and that names process and host."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from lyapflow._engine.forks import in_a_child
from lyapflow.errors import LyapflowError, warn
from lyapflow.runs import files

LOCK = "lock"
LONGEST = 300  # bytes of a signature
SIGNATURE = re.compile(r"\n([0-9]+) ([\w.-]+)\n")
_taken: set[IO[Any]] = set()
# a child would keep the lock when its parent is gone
in_a_child(lambda: [file.close() for file in _taken])


class InUse(LyapflowError):
    """Somebody else works in a run folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes and threads from a folder; the lock goes with the process, however it ends.

    The file is opened here and locked by filelock, by whatever the system has for that. filelock's
    own locks would do all of it, but they are silent about a file with a second name, and where a
    file system has no locks they make a file that stays behind when a process is killed.

    Raises
    ------
    OSError
        If the file cannot be opened.
    LyapflowError
        If somebody has the lock, or the file has a second name.

    Warns
    -----
    LyapflowWarning
        If files cannot be locked there, as on some network file systems.
    """
    with files.opened(folder / LOCK, "rb+", create=True, follow=False) as file:
        if os.fstat(file.fileno()).st_nlink > 1:
            raise LyapflowError(
                f"cannot use {folder} as a run folder: its {LOCK} is a link to another file"
            )
        _taken.add(file)
        try:
            if not _take(file.fileno(), folder):
                raise InUse(
                    f"the run folder {folder} is in use by process {_holder(file.fileno())}; "
                    f"wait for it, or choose another folder"
                )
            _sign(file.fileno())
            yield
        finally:
            _taken.discard(file)


def left_behind(folder: Path) -> bool:
    """Whether there is a lock file that is signed, or still empty, so that it is none of the user's own."""
    try:
        content = files.read_whole(folder / LOCK, LONGEST, follow=False)
    except OSError:
        return False
    # by a version that did not name the host, or by a full disk
    if content.strip().isdigit() or not content.strip():
        return True
    return SIGNATURE.fullmatch(content.decode(errors="replace")) is not None


def _take(descriptor: int, folder: Path) -> bool:
    """Lock a file, and say whether it was free."""
    # here, since it takes longer than what most users import lyapflow for
    from filelock import lock_descriptor

    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError as error:
        warn(
            f"the run folder {folder} cannot be locked ({error.strerror}), so that nothing keeps others from it: "
            f"see to it that no other process runs there"
        )
        return True


def _sign(descriptor: int) -> None:
    """Write who has the lock, for others to read; the first byte stays blank, for Windows locks it against reading."""
    host = re.sub(r"[^\w.-]", "-", socket.gethostname()) or "unknown"
    with suppress(OSError):  # a full disk; the lock holds without
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"\n{os.getpid()} {host}\n".encode())
        os.fsync(descriptor)  # to the server, where the file system is a network's


def _holder(descriptor: int) -> str:
    """Who has signed."""
    os.lseek(descriptor, 1, os.SEEK_SET)
    found = SIGNATURE.fullmatch("\n" + os.read(descriptor, LONGEST).decode(errors="replace"))
    return f"{found[1]} on host {found[2]}" if found else "unknown"
