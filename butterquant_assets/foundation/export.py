"""Tables of the warehouse as Parquet files for others, in constant memory.

What belongs here: which query stands for which table, and writing its rows piece by piece into a file that appears
whole or not at all. What does not: SQL (``sql/``), the lake (`lake`), what rows mean (the lines).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from butterquant_assets.foundation.errors import ConfigError, WarehouseError
from butterquant_assets.foundation.files import is_abandoned, temporary_of
from butterquant_assets.foundation.warehouse import Warehouse

# Rows of a row group, and of what is held in memory at a time: about 10 MB of daily_metrics.
ROWS_AT_A_TIME = 20_000
# The source document's export leaves out what scores less.
MINIMUM_SCORE = 50.0


@dataclass(frozen=True)
class Exportable:
    """A table that can be exported.

    Parameters
    ----------
    query
        file in ``sql/queries`` that takes ``first`` and ``last``, both included, and orders its rows
    time
        its column of sessions
    filters
        further parameters of the query with their defaults
    """

    query: str
    time: str
    filters: Mapping[str, Any] = field(default_factory=dict)


TABLES: Mapping[str, Exportable] = {
    "daily_metrics": Exportable("export_daily_metrics", "time", {"minimum_score": MINIMUM_SCORE}),
    "trade_decisions": Exportable("trade_decisions", "session"),
    "decision_revisions": Exportable("decision_revisions", "session"),
}


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Parameters
    ----------
    table, file
        what and where to
    rows, bytes
        of the file
    first, last
        sessions of its first and last row, ``YYYY-MM-DD``; None without rows
    """

    table: str
    file: str
    rows: int
    bytes: int
    first: str | None
    last: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def export_table(
    warehouse: Warehouse,
    table: str,
    target: Path,
    *,
    since: date,
    until: date,
    filters: Mapping[str, Any] | None = None,
    rows_at_a_time: int = ROWS_AT_A_TIME,
) -> Exported:
    """Write the rows of a span of sessions to a Parquet file (zstd), in the order of their keys.

    Parameters
    ----------
    warehouse
        where the table lies
    table
        one of `TABLES`
    target
        file to write or to replace; its folder must exist
    since, until
        first and last session, both included
    filters
        in place of the table's defaults: ``minimum_score`` of daily_metrics (points; rows must exceed it, and rows
        without a score are left out)
    rows_at_a_time
        rows of a row group; memory grows with it and with nothing else

    Returns
    -------
    Exported

    Raises
    ------
    ConfigError
        for an unknown table or filter, a span that ends before it begins, or a folder that does not exist.
    WarehouseError
        if the database or the disk fails. A former file is then unchanged, and nothing is left beside it. After a
        kill, the next export to the same file removes what was left.
    """
    known = _known(table, filters or {})
    if since > until:
        raise ConfigError(f"the export begins on {since}, after its end {until}: swap them")
    if not target.parent.is_dir():
        raise ConfigError(f"{target.parent} is no folder: make it first, or choose another file")
    if target.is_dir():
        raise ConfigError(f"{target} is a folder: name a file in it, for instance {target / table}.parquet")
    params = {**known.filters, **(filters or {}), "first": since, "last": until}
    pieces = warehouse.stream(known.query, params, rows_at_a_time)
    try:
        with _appearing(target) as temporary:
            rows, first, last = _write(pieces, temporary, known.time)
    except OSError as error:
        raise WarehouseError(
            f"{target} could not be written: {error.strerror or error}; what was there before is unchanged. Make room, "
            "or choose another place, and export again"
        ) from error
    return Exported(table, str(target), rows, target.stat().st_size, first, last)


def _known(table: str, filters: Mapping[str, Any]) -> Exportable:
    if table not in TABLES:
        raise ConfigError(f"{table!r} cannot be exported; there are {', '.join(TABLES)}")
    unknown = sorted(set(filters) - set(TABLES[table].filters))
    if unknown:
        having = ", ".join(TABLES[table].filters) or "none"
        raise ConfigError(f"{table} has no filter {unknown[0]}; it has {having}: leave it out")
    return TABLES[table]


def _write(pieces: Iterator[pd.DataFrame], path: Path, time: str) -> tuple[int, str | None, str | None]:
    """Write the pieces one row group each; row count, first and last session."""
    head = next(pieces)
    schema = pa.Schema.from_pandas(head, preserve_index=False)
    rows, first, last = 0, None, None
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        piece: pd.DataFrame | None = head
        while piece is not None:
            writer.write_table(pa.Table.from_pandas(piece, schema=schema, preserve_index=False))
            if len(piece):
                first = first or str(piece[time].iloc[0].date())
                last = str(piece[time].iloc[-1].date())
            rows += len(piece)
            piece = next(pieces, None)
    return rows, first, last


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A temporary name beside `target` that is renamed over it at the end, or removed."""
    _remove_leftovers(target)
    temporary = temporary_of(target)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(target: Path) -> None:
    """Remove what killed exports to the same file left; never the file of one that runs."""
    prefix = f".{target.name}."
    for leftover in target.parent.glob(".*.tmp"):
        own = leftover.name.startswith(prefix) and leftover.name.count(".") == target.name.count(".") + 5
        if own and is_abandoned(leftover):
            leftover.unlink(missing_ok=True)
