"""The collector's store: what an exchange said, by dataset and UTC day, before any cleaning.

`<folder>/<dataset>/<YYYY-MM-DD>.parquet`, columns of the dataset's contract without the flags that cleaning adds
(`crypto_schemas.raw_columns`), sorted by key. The footer of a file holds a content hash and the day's `Coverage`, so
that rows and what is known about their completeness appear together, whole or not at all. ``crypto_rejects`` is a
dataset of its own: what the collector itself refused or saw revised.

A file that is replaced stays for some hours under `.replaced`, by its content, so that a run that has looked at the
store goes on with what it saw while a collection writes.

What belongs here: reading and writing those files. What does not: asking an exchange (`collector/`) and cleaning.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.errors import ConfigError, SchemaError, SourceError
from butterquant_assets.foundation.files import sweep_temporaries, write_atomically
from butterquant_assets.foundation.lake import combine, content_hash
from butterquant_assets.market.crypto_coverage import Coverage, day_of
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS, DELIVERED, no_rows, raw_columns

FOOTER_KEY = b"butterquant-crypto"
REJECTS = "crypto_rejects"
STORED = (*DELIVERED, REJECTS)
REPLACED = ".replaced"
KEPT_SECONDS = 6 * 3600.0
"""How long replaced files stay: longer than any asset reads the store in one go."""


@dataclass(frozen=True)
class StoredDay:
    """What the footer of one file says.

    Parameters
    ----------
    content
        hash of rows and coverage; the same for the same, however often it is written
    rows
        row count
    coverage
        how complete the day is
    """

    content: str
    rows: int
    coverage: Coverage


class CryptoStore:
    """A folder of raw crypto market data.

    Parameters
    ----------
    folder
        need not exist until something is written
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, tuple[tuple[int, int, int], StoredDay]] = {}

    def path(self, dataset: str, day: str) -> Path:
        """File of one day."""
        return self.folder / _known(dataset) / f"{day}.parquet"

    def days(self, dataset: str) -> tuple[str, ...]:
        """Days that have a file, ascending."""
        folder = self.folder / _known(dataset)
        return tuple(sorted(file.stem for file in folder.glob("*.parquet") if not file.name.startswith(".")))

    def day(self, dataset: str, day: str) -> StoredDay | None:
        """What is known about one day, or None where nothing was stored.

        Raises
        ------
        SourceError
            if the file cannot be read or was not written by this store.
        """
        path = self.path(dataset, day)
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if path not in self._known or self._known[path][0] != seen:
            self._known[path] = (seen, _read_footer(path))
        return self._known[path][1]

    def read(
        self,
        dataset: str,
        days: Sequence[str],
        columns: Sequence[str] | None = None,
        contents: Mapping[str, str] | None = None,
    ) -> pd.DataFrame:
        """Rows of `days` in order of time; days without a file contribute nothing.

        Parameters
        ----------
        dataset
            one of `STORED`
        days
            UTC days
        columns
            only these; by default all
        contents
            day -> content hash of the version to read, "" for none; of other days, and by default, what is there now

        Raises
        ------
        SourceError
            if a file cannot be read, or a version has been replaced too long ago.
        """
        wanted = list(columns) if columns is not None else columns_of(dataset)
        tables = []
        for day in sorted(set(days)):
            content = contents.get(day) if contents is not None else None
            table = None if content == "" else self._table(dataset, day, wanted, content)
            if table is not None:
                tables.append(table)
        if not tables:
            return no_rows(contract_of(dataset))[wanted]
        metadata = tables[0].schema.metadata
        frame: pd.DataFrame = pa.concat_tables([t.replace_schema_metadata(metadata) for t in tables]).to_pandas()
        return frame

    def _table(self, dataset: str, day: str, columns: list[str], content: str | None) -> pa.Table | None:
        """Rows of one day, of that content where one is given; None where nothing is stored."""
        path = self.path(dataset, day)
        for place in [path] if content is None else [path, self._replaced(dataset, day, content)]:
            try:
                with pa.OSFile(str(place)) as file:  # held open, so that footer and rows are those of one file
                    opened = pq.ParquetFile(file, page_checksum_verification=True)
                    if content is None or _footer_of(path, opened.metadata.metadata).content == content:
                        return opened.read(columns=columns)
            except FileNotFoundError:
                if content is None:
                    return None
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(path, error) from error
        raise SourceError(
            f"{path} has been replaced, and what it held when it was looked at is gone: nothing of it was read, and "
            "the next run takes up what is there now"
        )

    def write(self, dataset: str, day: str, rows: pd.DataFrame, coverage: Coverage) -> bool:
        """Publish one day; returns whether it differs from what was there.

        Parameters
        ----------
        rows
            exactly the columns of `columns_of(dataset)` in the types of the contract, all of that day; any order
        coverage
            how complete the day is

        Raises
        ------
        SchemaError
            if columns or types are not those of the dataset, a row lies in another day, or a key appears twice.
        OSError
            if it cannot be written; the former file is then unchanged.
        """
        contract = contract_of(dataset)
        frame = _arranged(contract, dataset, day, rows)
        content = combine([content_hash(frame), json.dumps(coverage.to_json(), sort_keys=True)])
        held = self.day(dataset, day)
        if held is not None and held.content == content:
            return False
        footer = {"content": content, "rows": len(frame), "coverage": coverage.to_json()}
        table = pa.Table.from_pandas(frame, preserve_index=False).combine_chunks()
        text = json.dumps(footer, sort_keys=True).encode()
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), FOOTER_KEY: text})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        path = self.path(dataset, day)
        path.parent.mkdir(parents=True, exist_ok=True)
        if held is not None:
            self._keep(path, self._replaced(dataset, day, held.content))
        write_atomically(path, buffer.getvalue())
        return True

    def fingerprint(self, dataset: str, day: str) -> str:
        """Content hash of one day; "" where there is none."""
        held = self.day(dataset, day)
        return held.content if held else ""

    def sweep(self, now: float | None = None) -> int:
        """Remove what a killed writer left behind, and files replaced long ago; returns how many.

        Parameters
        ----------
        now
            seconds since 1970; by default the time
        """
        if not self.folder.is_dir():
            return 0
        removed = sweep_temporaries(self.folder)
        for file in (self.folder / REPLACED).rglob("*.parquet"):
            # Renaming over a file changes the status of the one that was there: that is when it was replaced.
            if file.stat().st_ctime < (time.time() if now is None else now) - KEPT_SECONDS:
                file.unlink(missing_ok=True)
                removed += 1
        return removed

    def _replaced(self, dataset: str, day: str, content: str) -> Path:
        return self.folder / REPLACED / _known(dataset) / f"{day}.{content}.parquet"

    @staticmethod
    def _keep(path: Path, replaced: Path) -> None:
        """Give a file that is about to be replaced a second name."""
        replaced.parent.mkdir(parents=True, exist_ok=True)
        try:
            replaced.unlink(missing_ok=True)
            os.link(path, replaced)
        except OSError:
            # A disk without links: a run that reads meanwhile finds the source changed, and is tried again.
            return


def contract_of(dataset: str) -> Contract:
    """Contract of a stored dataset."""
    return CRYPTO_REJECTS if _known(dataset) == REJECTS else DELIVERED[dataset]


def columns_of(dataset: str) -> list[str]:
    """Columns a stored dataset has, in order."""
    return CRYPTO_REJECTS.columns if _known(dataset) == REJECTS else raw_columns(dataset)


def _known(dataset: str) -> str:
    if dataset not in STORED:
        raise ConfigError(f"unknown crypto dataset {dataset!r}; expected one of {', '.join(STORED)}")
    return dataset


def _arranged(contract: Contract, dataset: str, day: str, rows: pd.DataFrame) -> pd.DataFrame:
    columns = columns_of(dataset)
    where = f"{dataset} {day}"
    if set(rows.columns) != set(columns):
        raise SchemaError(f"{where} has columns {', '.join(rows.columns)}; expected {', '.join(columns)}")
    types = no_rows(contract).dtypes
    if wrong := [name for name in columns if rows[name].dtype != types[name]]:
        raise SchemaError(
            f"{where}: {wrong[0]} is {rows[wrong[0]].dtype}, expected {types[wrong[0]]}: convert it first"
        )
    stray = day_of(rows[contract.time or ""]) != day
    if stray.any():
        at = rows[contract.time or ""].to_numpy()[stray.to_numpy()][0]
        raise SchemaError(f"{where} has a row at {at}: store it under its own day")
    keys = list(contract.keys)
    if (twice := rows.duplicated(keys)).any():
        named = ", ".join(f"{key} {value}" for key, value in rows.loc[twice, keys].iloc[0].items())
        raise SchemaError(f"{where} has two rows for {named}: keep one")
    return rows[columns].sort_values(keys, kind="stable").reset_index(drop=True)


def _read_footer(path: Path) -> StoredDay:
    try:
        metadata = pq.read_metadata(path).metadata
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    return _footer_of(path, metadata)


def _footer_of(path: Path, metadata: Mapping[bytes, bytes] | None) -> StoredDay:
    text = (metadata or {}).get(FOOTER_KEY)
    if text is None:
        raise SourceError(f"{path} was not written by the collector: move it away")
    try:
        found: dict[str, Any] = json.loads(text)
        return StoredDay(str(found["content"]), int(found["rows"]), Coverage.from_json(found["coverage"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path} was written by another version of this package ({error}): move it away") from error


def _unreadable(path: Path, error: Exception) -> SourceError:
    return SourceError(f"{path} cannot be read ({error}): delete it, and the collector fetches the day again")
