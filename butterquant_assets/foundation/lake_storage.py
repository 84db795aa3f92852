"""Where a lake's files lie: a folder of this machine or an object store, reached through fsspec.

What belongs here: bring bytes there whole and fetch them again, list what is there, and say clearly when a store cannot
be reached. What does not: what the files hold (`lake`) and what their names mean (`lake_listing`).
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec

from butterquant_assets.foundation.errors import ConfigError, LakeError
from butterquant_assets.foundation.files import sweep_temporaries, write_atomically
from butterquant_assets.foundation.lake_listing import LakeFile, listed


class Storage:
    """Files under one folder of a file system.

    Parameters
    ----------
    location
        local path or fsspec URL of the folder

    Raises
    ------
    ConfigError
        if the URL needs a driver that is not installed.
    """

    def __init__(self, location: str | Path) -> None:
        self.location = str(location)
        # What may be shown: an URL can carry a password.
        self.shown = re.sub(r"//[^/@]*@", "//", self.location)
        # Other processes write too: a listing that was remembered would hide what they did.
        try:
            self.fs, root = fsspec.core.url_to_fs(self.location, use_listings_cache=False)
        except ImportError as error:
            raise ConfigError(f"the lake at {self.shown} needs a package that is not installed: {error}") from error
        self.root = str(root).rstrip("/")
        self.local = "file" in _protocols(self.fs)
        self._faults: tuple[type[Exception], ...] = (OSError, *_driver_faults(self.fs))

    @contextmanager
    def reaching(self, path: str) -> Iterator[None]:
        """Errors of the file system as ours, but for a file that is not there."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise
        except self._faults as error:
            raise LakeError(f"{path} cannot be reached: {error}. Nothing was lost: mend that and run again") from error

    # -- what is there

    def files(self) -> list[LakeFile]:
        """Every file, by path. An object store is asked once for each thousand."""
        with self.reaching(self.root):
            try:
                listing = self.fs.find(self.root, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return [self._listed(str(path), detail) for path, detail in sorted(listing.items())]

    def file(self, path: str) -> LakeFile | None:
        """One file, unread; None where there is none."""
        with self.reaching(path):
            try:
                detail = self.fs.info(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return self._listed(path, detail) if detail.get("type") == "file" else None

    def _listed(self, path: str, detail: dict[str, Any]) -> LakeFile:
        return listed(path, path[len(self.root) + 1 :], detail)

    def names(self, folder: str) -> list[str]:
        """Names of what lies in a folder; nothing where there is none."""
        with self.reaching(folder):
            try:
                listing = self.fs.ls(folder, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return [str(entry).rsplit("/", 1)[-1] for entry in listing]

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        with self.reaching(path):
            return bool(self.fs.isfile(path))

    # -- reading

    @contextmanager
    def opened(self, path: str) -> Iterator[IO[bytes]]:
        """A file to parse. What goes wrong on the way to an object store is told apart from what is wrong in it."""
        if self.local:
            with open(path, "rb") as file:
                yield file
        else:
            with self.reaching(path):
                content = self.fs.cat_file(path)
            yield io.BytesIO(content)

    def ends(self, files: Sequence[LakeFile], most: int) -> list[bytes | Exception]:
        """The last bytes of files, at most `most` of each, or why they could not be had; fetched side by side."""
        full = [file for file in files if file.bytes]  # a store refuses any range of an empty file
        starts, stops = [max(0, file.bytes - most) for file in full], [file.bytes for file in full]
        found = self.fs.cat_ranges([file.path for file in full], starts, stops, on_error="return")
        ends: dict[str, bytes | Exception] = dict(zip((file.path for file in full), found, strict=True))
        return [ends.get(file.path, b"") for file in files]

    # -- writing

    def put(self, path: str, data: bytes) -> None:
        """Write a file: it appears whole or not at all.

        Raises
        ------
        LakeError
            if it could not be written (disk full, store not reachable); the former file is then unchanged.
        """
        try:
            if self.local:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(Path(path), data)
            else:
                # One PUT of an object store is atomic; a rename there is a copy and a delete, which is not.
                self.fs.pipe_file(path, data)
        except self._faults as error:
            raise LakeError(
                f"{path} could not be written: {getattr(error, 'strerror', None) or error}; the former file, if there "
                "was one, is unchanged. Make room or mend the storage, and run again"
            ) from error

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens where there is none."""
        with self.reaching(path):
            try:
                self.fs.rm_file(path)
            except FileNotFoundError:
                return

    def move(self, path: str, to: str) -> None:
        """Move a file, if it is there still."""
        with self.reaching(path):
            self.fs.makedirs(to.rsplit("/", 1)[0], exist_ok=True)
            try:
                self.fs.mv(path, to)
            except FileNotFoundError:
                return  # another was faster

    def sweep(self) -> int:
        """Remove what a killed writer left behind; returns how many files."""
        return sweep_temporaries(Path(self.root)) if self.local and Path(self.root).is_dir() else 0


def _driver_faults(fs: Any) -> tuple[type[Exception], ...]:
    """Errors of a file system's driver that are no OSError."""
    if "s3" not in _protocols(fs):
        return ()
    driver = importlib.import_module("botocore.exceptions")
    return (driver.BotoCoreError, driver.ClientError)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
