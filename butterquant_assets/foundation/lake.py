"""The lake: Parquet files by asset and partition, each carrying in its footer where it came from.

`lake/<group>/<asset>/<partition>.parquet`, or `lake/<group>/<asset>.parquet` for an unpartitioned asset, on a local
path or any fsspec URL (``s3://bucket/prefix``). A file appears whole or not at all. A frame that failed its contract
goes to `_quarantine/...` beside the lake files and leaves the last good file where it is. A published file that turns
out to be damaged when it is read goes to `_damaged/...`, so that it counts as missing and is made again. Nothing is
pickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from butterquant_assets.foundation.contracts import Verdict
from butterquant_assets.foundation.errors import DamagedFileError, LakeError
from butterquant_assets.foundation.lake_ends import Ends
from butterquant_assets.foundation.lake_listing import DAMAGED, QUARANTINE, LakeFile
from butterquant_assets.foundation.lake_storage import Storage

FOOTER_KEY = b"butterquant"
DIGEST_BYTES = 12


@dataclass(frozen=True)
class Footer:
    """Provenance of one lake file.

    Parameters
    ----------
    content
        hash of schema and values
    digests
        content hashes of groups of rows (per ticker, or per month), for readers that depend on part of the file
    inputs
        content hashes of everything that was read, by name
    code, config
        hashes of the code and configuration that made it
    verdict
        outcomes of its checks
    rows
        row count
    artifacts
        other files that belong to it, path relative to the home -> sha256
    facts
        plain values worth showing (counts, scores)
    """

    content: str
    inputs: Mapping[str, str]
    code: str
    config: str
    verdict: Verdict
    rows: int
    digests: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Canonical JSON: same footer, same bytes."""
        data = {**asdict(self), "verdict": self.verdict.to_json()}
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Footer:
        """Inverse of `to_bytes`."""
        data = json.loads(raw)
        return cls(**{**data, "verdict": Verdict.from_json(data["verdict"])})


def content_hash(frame: pd.DataFrame) -> str:
    """Hash of a frame's schema and values, independent of how it is stored.

    Missing values hash alike whatever their bit pattern, and -0.0 as 0.0.
    """
    return next(_hashes(frame, [slice(0, len(frame))]))


def group_digests(frame: pd.DataFrame, by: pd.Series | str) -> dict[str, str]:
    """Content hash of each group of rows, by group name, in the frame's row order."""
    names = frame[by] if isinstance(by, str) else by
    codes, uniques = pd.factorize(names)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(uniques) + 1))
    groups = [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]
    digests = zip(map(str, uniques), _hashes(frame.iloc[order], groups), strict=True)
    return dict(sorted(digests))


def _hashes(frame: pd.DataFrame, groups: Sequence[slice]) -> Iterator[str]:
    """Content hash of each slice of rows; a column is made ready once, however many slices are hashed."""
    columns = [(name, frame[name].dtype, _bytes_of_rows(frame[name])) for name in frame.columns]
    for rows in groups:
        state = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for name, dtype, bytes_of in columns:
            state.update(f"{name}\0{dtype}\0{rows.stop - rows.start}\0".encode())
            for part in bytes_of(rows):
                state.update(part)
        yield state.hexdigest()


def _bytes_of_rows(column: pd.Series) -> Callable[[slice], tuple[bytes, ...]]:
    """Function from rows to the bytes that stand for their values in `column`."""
    if column.dtype.kind == "M":
        stamps = column.to_numpy(dtype="datetime64[us]").astype(np.int64)
        return lambda rows: (stamps[rows].tobytes(),)
    if column.dtype.kind == "f":
        values = column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0
        values = np.where(np.isnan(values), np.nan, values)
        return lambda rows: (values[rows].tobytes(),)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub":
        whole = column.to_numpy(dtype=np.int64)
        return lambda rows: (whole[rows].tobytes(),)
    array = pa.array(column, from_pandas=True)
    # Chunks are an accident of how a frame was put together; its values are not.
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    texts = array.cast(pa.large_string())
    lengths = pa.compute.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    missing, words = column.isna().to_numpy(), texts.fill_null("").to_pylist()
    return lambda rows: (
        np.packbits(missing[rows]).tobytes(),
        lengths[rows].tobytes(),
        "".join(words[rows]).encode(),
    )


def combine(parts: Iterable[str]) -> str:
    """One hash of several, order-sensitive."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        state.update(f"{len(part)}:{part}".encode())
    return state.hexdigest()


Stamp = tuple[int, int, int, int]


def _stamp(path: str) -> Stamp | None:
    """What tells a local file from its successor; None where there is none."""
    try:
        facts = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino


class Lake:
    """Parquet files by asset and partition.

    Parameters
    ----------
    location
        local path or fsspec URL of the folder that holds the files

    Notes
    -----
    Credentials and endpoint of an object store come from its own environment variables (``AWS_ACCESS_KEY_ID``,
    ``AWS_ENDPOINT_URL`` ...), which fsspec and its drivers read; they never stand in the URL.
    """

    def __init__(self, location: str | Path) -> None:
        self._storage = Storage(location)
        self.location, self.shown = self._storage.location, self._storage.shown
        # Stock is taken of thousands of files before every step; those that did not change are not parsed again.
        self._footers: dict[str, tuple[Stamp, Footer]] = {}
        self._ends = Ends(self._storage, _footer_in)

    def path(self, asset: str, partition: str | None = None, *, quarantine: bool = False) -> str:
        """Where the file of `asset` (``group/name``) and `partition` lies, inside the file system."""
        return self._path(QUARANTINE if quarantine else "", asset, partition)

    def _path(self, area: str, asset: str, partition: str | None) -> str:
        area = self._storage.root + (f"/{area}" if area else "")
        return f"{area}/{asset}.parquet" if partition is None else f"{area}/{asset}/{partition}.parquet"

    # -- writing

    def write(self, asset: str, partition: str | None, frame: pd.DataFrame, footer: Footer) -> None:
        """Publish a frame: the file appears whole or not at all, and its quarantined predecessor goes.

        Raises
        ------
        LakeError
            if it could not be written (disk full, store not reachable); the former file is then unchanged.
        """
        self._storage.put(self.path(asset, partition), _to_parquet(frame, footer))
        self.release(asset, partition)

    def quarantine(self, asset: str, partition: str | None, frame: pd.DataFrame, footer: Footer) -> None:
        """Keep a frame that failed its checks, with its verdict, outside the published files."""
        self._storage.put(self.path(asset, partition, quarantine=True), _to_parquet(frame, footer))

    def release(self, asset: str, partition: str | None = None) -> None:
        """Remove a quarantined frame, if there is one: a good file has taken its place, or its cause was taken back."""
        self._storage.remove(self.path(asset, partition, quarantine=True))

    def sweep(self) -> int:
        """Remove what a killed writer left behind; returns how many files."""
        return self._storage.sweep()

    def remove(self, file: LakeFile) -> None:
        """Remove one file of a listing; nothing happens where it is gone already."""
        with self._storage.reaching(file.path):
            self._storage.remove(file.path)

    # -- reading

    def files(self) -> list[LakeFile]:
        """Every file under the lake's folder, by path."""
        return self._storage.files()

    def partitions(self, asset: str, *, quarantine: bool = False) -> list[str]:
        """Partition keys of `asset` that have a file, ascending."""
        names = self._storage.names(self.path(asset, "_", quarantine=quarantine).rsplit("/", 1)[0])
        return sorted(n.removesuffix(".parquet") for n in names if n.endswith(".parquet") and not n.startswith("."))

    def exists(self, asset: str, partition: str | None = None) -> bool:
        """Whether a published file is there."""
        return self._storage.exists(self.path(asset, partition))

    def footer(self, asset: str, partition: str | None = None, *, quarantine: bool = False) -> Footer | None:
        """Provenance of one file, or None where there is none.

        Raises
        ------
        LakeError
            if the file is there but cannot be read or was not written by us.
        """
        path = self.path(asset, partition, quarantine=quarantine)
        if not self._storage.local:
            return self._ends.of(self._storage.file(path))
        # Looked at before the file is read: one that is replaced meanwhile is read again the next time.
        stamp = _stamp(path)
        known = self._footers.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        footer = self._read_footer(path)
        if footer is None or stamp is None:
            self._footers.pop(path, None)
        else:
            self._footers[path] = stamp, footer
        return footer

    def look(self, assets: Iterable[str]) -> Lake | Look:
        """The lake to ask many questions about `assets` as they are at this moment.

        An object store is listed once, and of its files only those are read that changed since the last look. A local
        folder answers each question when it is put.

        Raises
        ------
        LakeError
            if the store cannot be reached.
        """
        if self._storage.local:
            return self
        wanted = {*assets}
        files = [file for file in self.files() if file.asset in wanted and file.area in ("", QUARANTINE)]
        return Look({(f.area == QUARANTINE, f.asset, f.partition): found for f, found in self._ends.of_all(files)})

    def _read_footer(self, path: str) -> Footer | None:
        try:
            with self._storage.opened(path) as file:
                return _footer_in(file, path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(path, error) from error

    def read(
        self,
        asset: str,
        partitions: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        quarantine: bool = False,
        contents: Mapping[str | None, str] | None = None,
    ) -> pd.DataFrame:
        """Rows of the given partitions (or of the one file), in partition order, only the columns asked for.

        Partitions without a file contribute nothing; the caller decides beforehand whether that is right, or says by
        `contents` what each file held when it was looked at.

        Raises
        ------
        LakeError
            if a file cannot be read, or an unpartitioned file is missing. A published file that is damaged is set
            aside first: it is missing from then on, and the next run makes it again. Also if a file is not there any
            more, or another one, than `contents` says.
        """
        area = QUARANTINE if quarantine else ""
        if partitions is None:
            table = self._table(area, asset, None, columns)
            _check_content(asset, None, table, contents)
            single: pd.DataFrame = table.to_pandas()
            return single
        present = set(self.partitions(asset, quarantine=quarantine))
        if gone := sorted(key for key in (contents or {}) if key is not None and key not in present):
            raise _changed(asset, gone[0])
        tables = []
        for key in partitions:
            if key in present:
                tables.append(self._table(area, asset, key, columns))
                _check_content(asset, key, tables[-1], contents)
        if not tables:
            raise LakeError(
                f"{asset} has no file for {_span(partitions)} under {self.shown}: materialise it first "
                "(butterquant run)"
            )
        metadata = tables[0].schema.metadata
        frame: pd.DataFrame = pa.concat_tables([t.replace_schema_metadata(metadata) for t in tables]).to_pandas()
        return frame

    def _table(self, area: str, asset: str, partition: str | None, columns: Sequence[str] | None) -> pa.Table:
        path = self._path(area, asset, partition)
        try:
            return self._parsed(path, columns)
        except FileNotFoundError:
            raise LakeError(f"{path} does not exist: materialise it first (butterquant run)") from None
        except MemoryError as error:  # Arrow's is one too, and says nothing of the file
            raise LakeError(f"{path} could not be read for want of memory: make room and run again") from error
        except (pa.ArrowException, OSError) as error:
            found = _unreadable(path, error)
            if isinstance(found, DamagedFileError) and not area:
                self._storage.move(path, self._path(DAMAGED, asset, partition))
            raise found from error

    def _parsed(self, path: str, columns: Sequence[str] | None) -> pa.Table:
        with self._storage.opened(path) as file:
            whole = pq.ParquetFile(file, page_checksum_verification=True)
            return whole.read(columns=list(columns) if columns is not None else None)


Place = tuple[bool, str, str | None]  # whether in quarantine, asset, partition


class Look:
    """What a lake held at one moment; the questions are those of the lake, and cost nothing more."""

    def __init__(self, found: Mapping[Place, Footer | DamagedFileError]) -> None:
        self._found = found

    def partitions(self, asset: str, *, quarantine: bool = False) -> list[str]:
        """Partition keys of `asset` that have a file, ascending."""
        keys = (key for apart, name, key in self._found if name == asset and apart is quarantine)
        return sorted(key for key in keys if key is not None)

    def footer(self, asset: str, partition: str | None = None, *, quarantine: bool = False) -> Footer | None:
        """Provenance of one file, or None where there is none.

        Raises
        ------
        DamagedFileError
            if the file cannot be read or was not written by us.
        """
        found = self._found.get((quarantine, asset, partition))
        if isinstance(found, DamagedFileError):
            raise found
        return found


def _footer_in(file: IO[bytes], path: str) -> Footer:
    """Provenance in a Parquet file, or in its end."""
    try:
        metadata = pq.read_metadata(file).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    if FOOTER_KEY not in metadata:
        raise DamagedFileError(f"{path} carries no provenance, so it was not written by this lake: move it away")
    try:
        return Footer.from_bytes(metadata[FOOTER_KEY])
    except (TypeError, KeyError, ValueError) as error:
        raise DamagedFileError(f"{path} was written by another version of this package ({error})") from error


def _check_content(
    asset: str, partition: str | None, table: pa.Table, contents: Mapping[str | None, str] | None
) -> None:
    """Refuse a file that is not the one that was looked at: what is made of it would be recorded as made of that one.

    A file that came only after the look may be read: its reader is stale at the next.
    """
    if contents is None or partition not in contents:
        return
    if Footer.from_bytes((table.schema.metadata or {})[FOOTER_KEY]).content != contents[partition]:
        raise _changed(asset, partition)


def _changed(asset: str, partition: str | None) -> LakeError:
    return LakeError(f"{' '.join(filter(None, [asset, partition]))} was changed while it was being read: run again")


def _unreadable(path: str, error: Exception) -> LakeError:
    """A file that is no Parquet is damaged; one that cannot be reached (an error of the system) is not."""
    if isinstance(error, OSError) and error.errno is not None:
        return LakeError(f"{path} cannot be reached: {error}")
    return DamagedFileError(f"{path} is not a readable Parquet file ({error}): delete it and run again")


def _to_parquet(frame: pd.DataFrame, footer: Footer) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False).combine_chunks()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), FOOTER_KEY: footer.to_bytes()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True, store_schema=True)
    return buffer.getvalue()


def _span(keys: Sequence[str]) -> str:
    return f"{keys[0]} .. {keys[-1]}" if len(keys) > 1 else (keys[0] if keys else "no partition at all")
