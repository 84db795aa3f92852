"""The lake: Parquet files by asset and partition, each carrying in its footer where it came from.

`lake/<group>/<asset>/<partition>.parquet`, or `lake/<group>/<asset>.parquet` for an unpartitioned asset, on a local
path or any fsspec URL (``s3://bucket/prefix``). A file appears whole or not at all. A frame that failed its contract
goes to `_quarantine/...` beside the lake files and leaves the last good file where it is. A published file that turns
out to be damaged when it is read goes to `_damaged/...`, so that it counts as missing and is made again. Nothing is
pickled.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from butterquant_assets.foundation.contracts import Verdict
from butterquant_assets.foundation.errors import ConfigError, DamagedFileError, LakeError
from butterquant_assets.foundation.files import sweep_temporaries, write_atomically

FOOTER_KEY = b"butterquant"
DIGEST_BYTES = 12
QUARANTINE, DAMAGED = "_quarantine", "_damaged"
# Bytes at the end of a file in which its metadata is looked for first.
USUAL_METADATA = 65_536


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


@dataclass(frozen=True)
class LakeFile:
    """One file of a lake as a listing shows it, unread.

    Parameters
    ----------
    path
        inside the file system
    area
        empty for a published file, else ``_quarantine`` or ``_damaged``
    asset, partition
        what it holds; the asset is empty for a file that is none of the lake's
    temporary
        whether it is a writer's unfinished file
    bytes, modified
        size, and time of its last change (UTC)
    """

    path: str
    area: str
    asset: str
    partition: str | None
    temporary: bool
    bytes: int
    modified: datetime


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
        self.location = str(location)
        # What may be shown: an URL can carry a password.
        self.shown = re.sub(r"//[^/@]*@", "//", self.location)
        # Other processes write too: a listing that was remembered would hide what they did.
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.location, use_listings_cache=False)
        except ImportError as error:
            raise ConfigError(f"the lake at {self.shown} needs a package that is not installed: {error}") from error
        self._local = "file" in _protocols(self._fs)
        self._faults: tuple[type[Exception], ...] = (OSError, *_driver_faults(self._fs))
        # Stock is taken of thousands of files before every step; those that did not change are not parsed again.
        self._footers: dict[str, tuple[Stamp, Footer]] = {}

    def path(self, asset: str, partition: str | None = None, *, quarantine: bool = False) -> str:
        """Where the file of `asset` (``group/name``) and `partition` lies, inside the file system."""
        return self._path(QUARANTINE if quarantine else "", asset, partition)

    def _path(self, area: str, asset: str, partition: str | None) -> str:
        area = f"{self._root.rstrip('/')}" + (f"/{area}" if area else "")
        return f"{area}/{asset}.parquet" if partition is None else f"{area}/{asset}/{partition}.parquet"

    # -- writing

    def write(self, asset: str, partition: str | None, frame: pd.DataFrame, footer: Footer) -> None:
        """Publish a frame: the file appears whole or not at all, and its quarantined predecessor goes.

        Raises
        ------
        LakeError
            if it could not be written (disk full, store not reachable); the former file is then unchanged.
        """
        self._put(self.path(asset, partition), _to_parquet(frame, footer))
        self.release(asset, partition)

    def quarantine(self, asset: str, partition: str | None, frame: pd.DataFrame, footer: Footer) -> None:
        """Keep a frame that failed its checks, with its verdict, outside the published files."""
        self._put(self.path(asset, partition, quarantine=True), _to_parquet(frame, footer))

    def release(self, asset: str, partition: str | None = None) -> None:
        """Remove a quarantined frame, if there is one: a good file has taken its place, or its cause was taken back."""
        self._remove(self.path(asset, partition, quarantine=True))

    def sweep(self) -> int:
        """Remove what a killed writer left behind; returns how many files."""
        return sweep_temporaries(Path(self._root)) if self._local and Path(self._root).is_dir() else 0

    def remove(self, file: LakeFile) -> None:
        """Remove one file of a listing; nothing happens where it is gone already."""
        with self._reaching(file.path):
            self._remove(file.path)

    # -- reading

    def files(self) -> list[LakeFile]:
        """Every file under the lake's folder, by path."""
        with self._reaching(self._root):
            listing = self._fs.find(self._root, detail=True) if self._fs.isdir(self._root) else {}
        start = len(self._root.rstrip("/")) + 1
        return [_listed(str(path), str(path)[start:], detail) for path, detail in sorted(listing.items())]

    def partitions(self, asset: str, *, quarantine: bool = False) -> list[str]:
        """Partition keys of `asset` that have a file, ascending."""
        folder = self.path(asset, "_", quarantine=quarantine).rsplit("/", 1)[0]
        with self._reaching(folder):
            try:
                listing = self._fs.ls(folder, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = (str(entry).rsplit("/", 1)[-1] for entry in listing)
        return sorted(n.removesuffix(".parquet") for n in names if n.endswith(".parquet") and not n.startswith("."))

    def exists(self, asset: str, partition: str | None = None) -> bool:
        """Whether a published file is there."""
        path = self.path(asset, partition)
        with self._reaching(path):
            return bool(self._fs.isfile(path))

    def footer(self, asset: str, partition: str | None = None, *, quarantine: bool = False) -> Footer | None:
        """Provenance of one file, or None where there is none.

        Raises
        ------
        LakeError
            if the file is there but cannot be read or was not written by us.
        """
        path = self.path(asset, partition, quarantine=quarantine)
        # Looked at before the file is read: one that is replaced meanwhile is read again the next time.
        stamp = _stamp(path) if self._local else None
        known = self._footers.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        footer = self._read_footer(path)
        if footer is None or stamp is None:
            self._footers.pop(path, None)
        else:
            self._footers[path] = stamp, footer
        return footer

    def _read_footer(self, path: str) -> Footer | None:
        try:
            with self._opened(path, end_only=True) as file:
                metadata = pq.read_metadata(file).metadata or {}
        except FileNotFoundError:
            return None
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error
        if FOOTER_KEY not in metadata:
            raise DamagedFileError(f"{path} carries no provenance, so it was not written by this lake: move it away")
        try:
            return Footer.from_bytes(metadata[FOOTER_KEY])
        except (TypeError, KeyError, ValueError) as error:
            raise DamagedFileError(f"{path} was written by another version of this package ({error})") from error

    def read(
        self,
        asset: str,
        partitions: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        quarantine: bool = False,
    ) -> pd.DataFrame:
        """Rows of the given partitions (or of the one file), in partition order, only the columns asked for.

        Partitions without a file contribute nothing; the caller decides beforehand whether that is right.

        Raises
        ------
        LakeError
            if a file cannot be read, or an unpartitioned file is missing. A published file that is damaged is set
            aside first: it is missing from then on, and the next run makes it again.
        """
        area = QUARANTINE if quarantine else ""
        if partitions is None:
            single: pd.DataFrame = self._table(area, asset, None, columns).to_pandas()
            return single
        present = set(self.partitions(asset, quarantine=quarantine))
        tables = [self._table(area, asset, key, columns) for key in partitions if key in present]
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
        except (pa.ArrowException, OSError) as error:
            found = _unreadable(path, error)
            if isinstance(found, DamagedFileError) and not area:
                self._set_aside(path, self._path(DAMAGED, asset, partition))
            raise found from error

    def _parsed(self, path: str, columns: Sequence[str] | None) -> pa.Table:
        with self._opened(path) as file:
            whole = pq.ParquetFile(file, page_checksum_verification=True)
            return whole.read(columns=list(columns) if columns is not None else None)

    def _set_aside(self, path: str, to: str) -> None:
        """Move a damaged file out of the published ones."""
        with self._reaching(path):
            self._fs.makedirs(to.rsplit("/", 1)[0], exist_ok=True)
            try:
                self._fs.mv(path, to)
            except FileNotFoundError:
                return  # another reader met it first

    # -- storage

    @contextmanager
    def _opened(self, path: str, *, end_only: bool = False) -> Iterator[IO[bytes]]:
        """A file to parse. What goes wrong on the way to an object store is told apart from what is wrong in it."""
        if self._local:
            with open(path, "rb") as file:
                yield file
        else:
            with self._reaching(path):
                content = self._end_of(path) if end_only else self._fs.cat_file(path)
            yield io.BytesIO(content)

    def _end_of(self, path: str) -> bytes:
        """As much of the end of a Parquet file as holds its metadata: stock is taken of thousands of files."""
        size = int(self._fs.size(path))
        content: bytes = self._fs.cat_file(path, start=max(0, size - USUAL_METADATA), end=size)
        wanted = int.from_bytes(content[-8:-4], "little") + 8  # the format's last bytes: length, magic
        return content if len(content) >= min(wanted, size) else bytes(self._fs.cat_file(path))

    @contextmanager
    def _reaching(self, path: str) -> Iterator[None]:
        """Errors of the file system as ours, but for a file that is not there."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise
        except self._faults as error:
            raise LakeError(f"{path} cannot be reached: {error}. Nothing was lost: mend that and run again") from error

    def _put(self, path: str, data: bytes) -> None:
        try:
            if self._local:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(Path(path), data)
            else:
                # One PUT of an object store is atomic; a rename there is a copy and a delete, which is not.
                self._fs.pipe_file(path, data)
        except self._faults as error:
            raise LakeError(
                f"{path} could not be written: {getattr(error, 'strerror', None) or error}; the former file, if there "
                "was one, is unchanged. Make room or mend the storage, and run again"
            ) from error

    def _remove(self, path: str) -> None:
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            return


def _listed(path: str, inside: str, detail: Mapping[str, Any]) -> LakeFile:
    """One entry of a listing; `inside` is its path within the lake."""
    parts = inside.split("/")
    area = parts.pop(0) if parts[0] in (QUARANTINE, DAMAGED) else ""
    temporary = parts[-1].startswith(".") and parts[-1].endswith(".tmp")
    names = [*parts[:-1], parts[-1].removesuffix(".parquet")]
    ours = not temporary and parts[-1].endswith(".parquet") and len(names) in (2, 3)
    return LakeFile(
        path=path,
        area=area,
        asset="/".join(names[:2]) if ours else "",
        partition=names[2] if ours and len(names) == 3 else None,
        temporary=temporary,
        bytes=int(detail.get("size") or 0),
        modified=_modified(detail),
    )


def _modified(detail: Mapping[str, Any]) -> datetime:
    """Time of the last change; each file system has its own name for it."""
    for name in ("mtime", "LastModified", "last_modified", "modified", "created"):
        value = detail.get(name)
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    return datetime.now(UTC)  # unknown: as young as can be, so that nothing is removed for its age


def _unreadable(path: str, error: Exception) -> LakeError:
    """A file that is no Parquet is damaged; one that cannot be reached (an error of the system) is not."""
    if isinstance(error, OSError) and error.errno is not None:
        return LakeError(f"{path} cannot be reached: {error}")
    return DamagedFileError(f"{path} is not a readable Parquet file ({error}): delete it and run again")


def _driver_faults(fs: Any) -> tuple[type[Exception], ...]:
    """Errors of a file system's driver that are no OSError."""
    if "s3" not in _protocols(fs):
        return ()
    driver = importlib.import_module("botocore.exceptions")
    return (driver.BotoCoreError, driver.ClientError)


def _to_parquet(frame: pd.DataFrame, footer: Footer) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False).combine_chunks()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), FOOTER_KEY: footer.to_bytes()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True, store_schema=True)
    return buffer.getvalue()


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _span(keys: Sequence[str]) -> str:
    return f"{keys[0]} .. {keys[-1]}" if len(keys) > 1 else (keys[0] if keys else "no partition at all")
