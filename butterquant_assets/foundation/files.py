"""Writing a local file so that a reader sees the old one or the new one, never a half."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOREIGN_SECONDS = 86_400


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to a temporary name beside `path`, flush it to disk, and rename it over `path`."""
    temporary = temporary_of(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on a file of that name; a dead holder's lock is free.

    Parameters
    ----------
    path
        made when absent
    wait
        for another holder

    Raises
    ------
    BlockingIOError
        if there is another holder and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def temporary_of(path: Path) -> Path:
    """A name beside `path` that nobody else takes and that says who writes: machine and process."""
    return path.with_name(f".{path.name}.{_machine()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def sweep_temporaries(folder: Path) -> int:
    """Remove temporary files a killed process left under `folder`; returns how many.

    Only files whose writer no longer lives are removed, so that a running writer is never disturbed. Of a writer on
    another machine, or in another container, nothing can be known: its files are removed when they are a day old.
    """
    removed = 0
    for leftover in folder.rglob(".*.tmp"):
        if is_abandoned(leftover):
            leftover.unlink(missing_ok=True)
            removed += 1
    return removed


def is_abandoned(temporary: Path) -> bool:
    """Whether the writer of a temporary file is gone, see `sweep_temporaries`."""
    machine, pid = ["", "", *temporary.name.split(".")][-4:-2]
    if machine == _machine() and pid.isdigit():
        return not _alive(int(pid))
    try:
        return time.time() - temporary.stat().st_mtime > FOREIGN_SECONDS
    except FileNotFoundError:
        return False  # its writer has just finished


def _machine() -> str:
    """A word for this machine, or this container: processes of another one have ids of their own."""
    return hashlib.blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
