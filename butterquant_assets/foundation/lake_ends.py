"""What stands at the end of a store's files, where Parquet keeps its metadata: fetched once, side by side, and kept.

An answer of an object store takes as long by itself as with sixty others, and a file that is still of the version that
was read needs none. What does not belong here: what the bytes mean (`lake` says how they are read).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import IO, Generic, TypeVar

from butterquant_assets.foundation.errors import DamagedFileError, LakeError
from butterquant_assets.foundation.lake_listing import LakeFile, Version
from butterquant_assets.foundation.lake_storage import Storage

USUAL_BYTES = 65_536
"""Bytes at the end of a file that are fetched first; most files' metadata is shorter."""
SIDE_BY_SIDE = 64

T = TypeVar("T")


class Ends(Generic[T]):
    """The ends of a store's files, as they were read last.

    Parameters
    ----------
    storage
        the files
    parse
        reads the end of the file of that path, or raises `DamagedFileError`
    """

    def __init__(self, storage: Storage, parse: Callable[[IO[bytes], str], T]) -> None:
        self._storage, self._parse = storage, parse
        self._kept: dict[str, tuple[Version, T]] = {}
        self._reading = Lock()

    def of(self, file: LakeFile | None) -> T | None:
        """The end of one file; None for none, or for one that has gone since it was listed.

        Raises
        ------
        LakeError
            if it cannot be read.
        """
        return self._of(file, None)

    def of_all(self, files: Sequence[LakeFile]) -> list[tuple[LakeFile, T | DamagedFileError]]:
        """Files that are still there with their ends, or what is wrong with them.

        Raises
        ------
        LakeError
            if the store cannot be reached.
        """
        found: list[tuple[LakeFile, T | DamagedFileError]] = []
        with self._reading:  # who looks at the same time finds what another has read
            for file, fetched in self._fetched(files):
                try:
                    end = self._of(file, fetched)
                except DamagedFileError as error:
                    found.append((file, error))
                else:
                    found += [(file, end)] if end is not None else []
        return found

    def _fetched(self, files: Sequence[LakeFile]) -> Iterator[tuple[LakeFile, bytes | Exception | None]]:
        unknown: list[LakeFile] = []
        for file in files:  # each is judged once: `of` may meanwhile learn of another version
            if self._known(file) is None:
                unknown.append(file)
            else:
                yield file, None
        for first in range(0, len(unknown), SIDE_BY_SIDE):
            few = unknown[first : first + SIDE_BY_SIDE]
            yield from zip(few, self._storage.ends(few, USUAL_BYTES), strict=True)

    def _known(self, file: LakeFile) -> T | None:
        kept = self._kept.get(file.path)
        return kept[1] if kept is not None and kept[0] == file.version else None

    def _of(self, file: LakeFile | None, fetched: bytes | Exception | None) -> T | None:
        while file is not None:
            if (known := self._known(file)) is not None:
                return known
            try:
                end = self._read(file, fetched)
            except FileNotFoundError:
                return None
            except LakeError:
                # A file replaced after it was listed is cut at the wrong place: believed only of one that is the same.
                now = self._storage.file(file.path)
                if now is not None and (now.bytes, now.version) == (file.bytes, file.version):
                    raise
                file, fetched = now, None
            else:
                # Of a file replaced by one of its size this is the successor's end, under the predecessor's version:
                # the next listing shows another version, and it is read again.
                if file.version is not None:
                    self._kept[file.path] = file.version, end
                return end
        return None

    def _read(self, file: LakeFile, fetched: bytes | Exception | None) -> T:
        most = USUAL_BYTES
        while True:
            if fetched is None:
                (fetched,) = self._storage.ends([file], most)
            with self._storage.reaching(file.path):
                if isinstance(fetched, Exception):
                    raise fetched
            wanted = int.from_bytes(fetched[-8:-4], "little") + 8  # the format's last bytes: length, magic
            if len(fetched) >= wanted or most >= file.bytes:
                return self._parse(io.BytesIO(fetched), file.path)
            most, fetched = min(wanted, file.bytes), None
