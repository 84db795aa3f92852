"""The collector's store: what an exchange said, by dataset and UTC day, before any cleaning.

`<folder>/<dataset>/<YYYY-MM-DD>.parquet`, columns of the dataset's contract without the flags that cleaning adds
(`crypto_schemas.raw_columns`), sorted by key. The footer of a file holds a content hash and the day's `Coverage`, so
that rows and what is known about their completeness appear together, whole or not at all. ``crypto_rejects`` is a
dataset of its own: what the collector itself refused or saw revised.

What belongs here: reading and writing those files. What does not: asking an exchange (`collector/`) and cleaning.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
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

    def read(self, dataset: str, days: Sequence[str], columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Rows of `days` in order of time; days without a file contribute nothing.

        Parameters
        ----------
        dataset
            one of `STORED`
        days
            UTC days
        columns
            only these; by default all

        Raises
        ------
        SourceError
            if a file cannot be read.
        """
        present = [day for day in sorted(set(days)) if self.path(dataset, day).is_file()]
        wanted = list(columns) if columns is not None else columns_of(dataset)
        if not present:
            return no_rows(contract_of(dataset))[wanted]
        tables = []
        for day in present:
            path = self.path(dataset, day)
            try:
                tables.append(pq.ParquetFile(path, page_checksum_verification=True).read(columns=wanted))
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(path, error) from error
        metadata = tables[0].schema.metadata
        frame: pd.DataFrame = pa.concat_tables([t.replace_schema_metadata(metadata) for t in tables]).to_pandas()
        return frame

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
        write_atomically(path, buffer.getvalue())
        return True

    def fingerprint(self, dataset: str, day: str) -> str:
        """Content hash of one day; "" where there is none."""
        held = self.day(dataset, day)
        return held.content if held else ""

    def sweep(self) -> int:
        """Remove what a killed writer left behind; returns how many files."""
        return sweep_temporaries(self.folder) if self.folder.is_dir() else 0


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
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    if FOOTER_KEY not in metadata:
        raise SourceError(f"{path} was not written by the collector: move it away")
    try:
        found: dict[str, Any] = json.loads(metadata[FOOTER_KEY])
        return StoredDay(str(found["content"]), int(found["rows"]), Coverage.from_json(found["coverage"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path} was written by another version of this package ({error}): move it away") from error


def _unreadable(path: Path, error: Exception) -> SourceError:
    return SourceError(f"{path} cannot be read ({error}): delete it, and the collector fetches the day again")
