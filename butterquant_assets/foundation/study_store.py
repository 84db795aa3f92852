"""The journal file of a hyper-parameter study: opened for one process, mended after a kill.

What belongs here: the file. What does not: what a study searches and how (`learning.tuning`). The journal is JSON
lines, one an operation, each flushed to disk before the study goes on; reading it runs no code.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from butterquant_assets.foundation.errors import ModelStoreError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


@contextmanager
def open_journal(path: Path) -> Iterator[BaseStorage]:
    """The storage of the studies in one journal file, made if it is not there, held until the block ends.

    Parameters
    ----------
    path
        of the journal, by custom ``<name>.jsonl``; beside it lies ``<name>.jsonl.lock``

    Yields
    ------
    Optuna's journal storage, for `learning.tuning.run_study`

    Raises
    ------
    ModelStoreError
        if another process has the journal open, or a line of it is no JSON.

    Notes
    -----
    A last line without its end was being written when a process died; it is cut off, and with it an operation that
    never took effect. The lock belongs to the process, so a dead holder's lock is free.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with _exclusive(path):
        mend_journal(path)
        # The backend's own locks outlive a killed process and are waited for, half a minute each.
        yield JournalStorage(JournalFileBackend(str(path), lock_obj=cast("Any", _AlreadyHeld())))


def mend_journal(path: Path) -> int:
    """Cut off a half-written last line; returns how many bytes were cut (0: nothing to mend).

    Raises
    ------
    ModelStoreError
        if a whole line is no JSON object: that is damage, and which operations it hid cannot be known.
    """
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        if not _is_record(line):
            raise ModelStoreError(
                f"line {number} of {path} is no journal record: {line[:60]!r}; the file is damaged. Restore it from a "
                "backup, or remove it and let the study begin anew"
            )
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
            file.flush()
            os.fsync(file.fileno())
    return len(content) - len(whole)


class _AlreadyHeld:
    """The lock the journal backend asks for at each write; `open_journal` holds the file for all of them."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelStoreError(
                f"{path} is open in another process; a study is searched by one process at a time. Wait until it ends"
            ) from None
        yield


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:  # neither JSON nor text
        return False
