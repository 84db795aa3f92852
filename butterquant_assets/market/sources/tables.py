"""Read one dataset of a folder: ``<name>.parquet``, ``<name>.csv``, or a folder ``<name>/`` of either.

A structural fault (unreadable file, missing column, text where a number belongs, a timestamp that is no date) refuses
the whole file with a `SourceError`. Whether a row makes sense is not judged here (`market/cleaning.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import SourceError

MISSING = frozenset({"", "nan", "na", "null", "none", "nat"})
"""Texts (in any case) a CSV may hold where a number is missing."""


@dataclass(frozen=True)
class TableSpec:
    """What a file dataset must and may hold, beside ``timestamp`` and the ticker: columns by name.

    Parameters
    ----------
    required, optional
        numeric columns
    symbol
        column that holds the ticker
    dates, texts
        columns with a date (midnight), or with text; required
    intraday
        timestamps carry a time of day (UTC): it is kept as ``quoted_at``, and the session is its date in New York,
        where midnight UTC stands for the date itself, as in daily data
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    symbol: str = "symbol"
    dates: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    intraday: bool = False

    @property
    def needed(self) -> tuple[str, ...]:
        """Every column a file must hold."""
        return ("timestamp", self.symbol, *self.required, *self.dates, *self.texts)


def find_table(folder: Path, name: str) -> list[Path]:
    """Files of one dataset, sorted by name; empty when the folder has none.

    Raises
    ------
    SourceError
        if the dataset exists in more than one form.
    """
    single = [path for path in (folder / f"{name}.parquet", folder / f"{name}.csv") if path.is_file()]
    inside = folder / name
    several = (
        sorted(path for path in inside.glob("*") if path.suffix in {".parquet", ".csv"}) if inside.is_dir() else []
    )
    forms = [str(path) for path in single] + ([f"{inside}/"] if several else [])
    if len(forms) > 1:
        raise SourceError(f"dataset {name!r} exists more than once ({', '.join(forms)}); keep one of them")
    return single or several


def stamp(paths: Sequence[Path]) -> tuple[tuple[str | int, ...], ...]:
    """Name, size, inode and times (ns) of each file: changes when a file does, even where a copy keeps its date."""
    return tuple(
        (str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        for path in paths
        for status in [path.stat()]
    )


def read_table(paths: Sequence[Path], spec: TableSpec) -> pd.DataFrame:
    """Read and join the files of one dataset.

    Parameters
    ----------
    paths
        as `find_table` gives them, at least one
    spec
        columns to expect

    Returns
    -------
    frame with session (datetime64[us], midnight), ticker (str), every numeric column of `spec` (float64; NaN where
    missing or where an optional column is absent), its dates (datetime64[us], NaT where missing) and texts, quoted_at
    (datetime64[us]) where it is intraday, file (name), place (``row`` or ``line``) and line (from 1)

    Raises
    ------
    SourceError
        naming file, column or row, what was expected and what to do.
    """
    return pd.concat([_read_file(path, spec) for path in paths], ignore_index=True)


def _read_file(path: Path, spec: TableSpec) -> pd.DataFrame:
    is_csv = path.suffix == ".csv"
    place = "line" if is_csv else "row"
    raw = _read_csv(path, spec) if is_csv else _read_parquet(path, spec)
    line = raw.index.to_numpy() + (2 if is_csv else 1)
    numeric = (*spec.required, *spec.optional)
    columns: dict[str, Any] = {name: _numbers(raw, name, path, place, line) for name in numeric}
    stamps = raw["timestamp"]
    times = _instants(stamps, path, place, line) if spec.intraday else _dates(stamps, path, place, line)
    kept = {"quoted_at": times} if spec.intraday else {}
    columns |= {name: _optional_dates(raw[name], path) for name in spec.dates}
    columns |= {name: raw[name].astype("str").reset_index(drop=True) for name in spec.texts}
    return pd.DataFrame(
        {"session": _session_of(times) if spec.intraday else times}
        | kept
        | {"ticker": _symbols(raw[spec.symbol], spec.symbol, path, place, line)}
        | columns
        | {"file": pd.Categorical([path.name] * len(raw)).astype("str"), "place": place, "line": line}
    )


def _read_parquet(path: Path, spec: TableSpec) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        present = pq.read_schema(path).names
        _require(path, present, spec)
        wanted = [name for name in (*spec.needed, *spec.optional) if name in present]
        table: pd.DataFrame = pq.read_table(path, columns=wanted, partitioning=None).to_pandas()
        return table.reset_index(drop=True)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{path} is not a readable Parquet file ({error}); it may be truncated: copy or export it again"
        ) from error


def _read_csv(path: Path, spec: TableSpec) -> pd.DataFrame:
    try:
        raw = pd.read_csv(path, dtype="str", keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} is not a readable CSV file ({error}); expected UTF-8, a header and one bar per line"
        ) from error
    _require(path, list(raw.columns), spec)
    blank = (raw.fillna("") == "").all(axis=1)
    return raw[~blank]


def _require(path: Path, present: Sequence[str], spec: TableSpec) -> None:
    missing = [name for name in spec.needed if name not in present]
    if missing:
        raise SourceError(
            f"{path} lacks column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has {', '.join(present)}; "
            f"expected {', '.join(spec.needed)}: add or rename the column"
        )


def _numbers(
    raw: pd.DataFrame, name: str, path: Path, place: str, line: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if name not in raw:
        return np.full(len(raw), np.nan)
    column = raw[name]
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype=float, na_value=np.nan)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    doubtful = np.flatnonzero(np.isnan(numbers))
    for position in doubtful:
        text = column.iloc[position]
        if not pd.isna(text) and str(text).strip().lower() not in MISSING:
            raise SourceError(
                f"{path} {place} {line[position]}: {name} is {text!r}, expected a number (or nothing where it is "
                "missing); correct the file"
            )
    return numbers


def _dates(column: pd.Series, path: Path, place: str, line: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pd.Series:
    dates = _parsed(column, path)
    bad = np.flatnonzero((dates.isna() | (dates != dates.dt.normalize())).to_numpy())
    if bad.size:
        raise SourceError(
            f"{path} {place} {line[bad[0]]}: timestamp is {str(column.iloc[bad[0]])!r}, expected the date of a daily "
            f"bar (midnight UTC), such as 2018-01-31; {bad.size} of {len(column)} rows are none"
        )
    return dates.astype("datetime64[us]").reset_index(drop=True)


def _instants(column: pd.Series, path: Path, place: str, line: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pd.Series:
    times = _parsed(column, path)
    bad = np.flatnonzero(times.isna().to_numpy())
    if bad.size:
        raise SourceError(
            f"{path} {place} {line[bad[0]]}: timestamp is {str(column.iloc[bad[0]])!r}, expected a date or a UTC time "
            f"such as 2026-02-11T17:27:06; {bad.size} of {len(column)} rows are none"
        )
    return times.astype("datetime64[us]").reset_index(drop=True)


def _session_of(times: pd.Series) -> pd.Series:
    """Date in New York of each time in UTC; midnight is a date already."""
    dated = times == times.dt.normalize()
    local = times.dt.tz_localize("UTC").dt.tz_convert("America/New_York").dt.tz_localize(None)
    sessions: pd.Series = times.where(dated, local).dt.normalize().astype("datetime64[us]")
    return sessions


def _optional_dates(column: pd.Series, path: Path) -> pd.Series:
    """Dates of a column, NaT where missing or no date: whether a row can do without is not judged here."""
    dates: pd.Series = _parsed(column, path).dt.normalize().astype("datetime64[us]").reset_index(drop=True)
    return dates


def _parsed(column: pd.Series, path: Path) -> pd.Series:
    """Times in UTC without a zone, NaT where a value is none."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        raise SourceError(
            f"{path}: {column.name} holds numbers ({column.dtype}), expected dates such as 2018-01-31; convert the "
            "column"
        )
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
    return pd.to_datetime(column.astype("str"), errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)


def _symbols(
    column: pd.Series, name: str, path: Path, place: str, line: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> pd.Series:
    symbols = column.astype("str").str.strip().reset_index(drop=True)
    bad = np.flatnonzero((symbols.isna() | (symbols == "")).to_numpy())
    if bad.size:
        raise SourceError(f"{path} {place} {line[bad[0]]}: {name} is missing, expected a ticker; correct the file")
    return symbols
