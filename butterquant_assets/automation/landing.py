"""What lies in a landing folder, told cheaply: whether it is still being written is seen by looking twice.

What belongs here: names, sizes and times of files. What does not: their content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from butterquant_assets.foundation.lake import combine

TABLES = (".parquet", ".csv")


@dataclass(frozen=True)
class Look:
    """A folder at one moment.

    Parameters
    ----------
    digest
        over name, size, inode and times of each table file; equal digests: no file was written in between
    newest
        name of the file that changed last; empty for an empty folder
    """

    digest: str
    newest: str


def look(folder: Path) -> Look:
    """Take a look at the tables of a folder and of its immediate subfolders; hidden files are none.

    Raises
    ------
    OSError
        if the folder cannot be listed.
    """
    found = sorted(_tables(folder))
    digest = combine(f"{name}|{'|'.join(map(str, stamp))}" for name, stamp in found)
    return Look(digest, max(found, key=lambda item: item[1][2])[0] if found else "")


def _tables(folder: Path) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    for entry in _entries(folder):
        inside = [f"{entry.name}/{table.name}" for table in _entries(entry)] if entry.is_dir() else [entry.name]
        for name in inside:
            if not name.endswith(TABLES):
                continue
            try:
                status = os.stat(folder / name)
            except FileNotFoundError:
                continue  # renamed or removed between listing and looking: the next look sees what became of it
            # The change time cannot be set by hand, so that a copy that keeps its date is seen as well.
            yield name, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _entries(folder: os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except NotADirectoryError:
        return []
