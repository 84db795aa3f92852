"""The landing folder: what a collector wrote, in the form that the ``files`` source reads.

============================ ======================================================================================
stocks_daily/YYYY-MM.parquet bars of a month, prices as quoted on the day (``quoted`` = 1)
vix_daily/YYYY.parquet       the VIX of a year
stock_splits.parquet         every split known; written before the bars, so that no bar is without its split
revisions/*.jsonl            one line for each landed row that was changed later: when it was seen, old and new values
collected.json               how far each ticker is; written last, so that nothing is called complete before it is
============================ ======================================================================================

A file is written to a temporary name and renamed, only when its content changes, and the same rows give the same bytes.
A killed collector leaves old or new files; the next poll asks for what its manifest does not claim.

What belongs here: reading and writing these files. What does not: what a poll changes (`market/collect.py`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.foundation.files import locked, sweep_temporaries, write_atomically
from butterquant_assets.market.collect import BAR_VALUES, SPLIT_VALUES, VIX_VALUES, Revision, empty_rows
from butterquant_assets.market.collect_progress import Progress

MANIFEST = "collected.json"
FORMAT = 1
SPLITS_FILE = "stock_splits.parquet"


@dataclass(frozen=True)
class Table:
    """One landed dataset: its name, values, and whether a file holds a month (``M``) or a year (``Y``)."""

    name: str
    values: tuple[str, ...]
    unit: str
    quoted: bool = False

    def files_of(self, session: pd.Series) -> pd.Series:
        """Relative file name of each session."""
        periods = session.to_numpy().astype(f"datetime64[{self.unit}]").astype(str)
        return pd.Series([f"{self.name}/{period}.parquet" for period in periods], index=session.index, dtype="str")


BARS = Table("stocks_daily", BAR_VALUES, "M", quoted=True)
VIX = Table("vix_daily", VIX_VALUES, "Y")


@dataclass(frozen=True)
class Manifest:
    """What `collected.json` says.

    Parameters
    ----------
    symbols
        ticker -> progress
    vix
        progress of the VIX
    files
        files that were there when it was written
    """

    symbols: Mapping[str, Progress]
    vix: Progress
    files: tuple[str, ...] = ()

    def polled_at(self) -> str:
        """The latest poll it knows of, ISO format; empty when none."""
        return max([self.vix.polled_at, *(each.polled_at for each in self.symbols.values())])


class Landing:
    """A landing folder.

    Parameters
    ----------
    folder
        where it lies; made when absent

    Raises
    ------
    SourceError
        if the folder holds such datasets from somewhere else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder alone, after another collector has finished; remove what a killed one left."""
        with locked(self.folder / ".collect.lock"):
            sweep_temporaries(self.folder)
            if not (self.folder / MANIFEST).exists():
                self._require_empty()
                self.write_manifest(Manifest({}, Progress()))
            yield

    def manifest(self) -> Manifest:
        """How far everything is; empty for a new folder. Where landed files have vanished, nothing counts as complete.

        Raises
        ------
        SourceError
            if the file cannot be read.
        """
        path = self.folder / MANIFEST
        if not path.exists():
            return Manifest({}, Progress())
        try:
            document = json.loads(path.read_text())
            if document["format"] != FORMAT:
                raise SourceError(
                    f"{path} has format {document['format']}, expected {FORMAT}: use the version that wrote it"
                )
            symbols = {name: Progress(**entry) for name, entry in document["symbols"].items()}
            found = Manifest(symbols, Progress(**document["vix"]), tuple(document["files"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                f"{path} cannot be read ({type(error).__name__}: {error}): restore it, or begin "
                "a new folder: everything is asked for again there"
            ) from error
        if all((self.folder / name).exists() for name in found.files):
            return found
        return Manifest({name: _forgotten(each) for name, each in symbols.items()}, _forgotten(found.vix))

    def write_manifest(self, manifest: Manifest) -> None:
        """Write it; the last act of a collection."""
        self.folder.mkdir(parents=True, exist_ok=True)
        document = {
            "format": FORMAT,
            "symbols": {name: asdict(manifest.symbols[name]) for name in sorted(manifest.symbols)},
            "vix": asdict(manifest.vix),
            "files": self._files(),
        }
        write_atomically(self.folder / MANIFEST, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())

    def held(self, table: Table, first: np.datetime64) -> pd.DataFrame:
        """Landed rows from a date on: session, ticker and the table's values; sorted by session and ticker."""
        start = str(first.astype(f"datetime64[{table.unit}]"))
        paths = [path for path in sorted((self.folder / table.name).glob("*.parquet")) if path.stem >= start]
        rows = [part for path in paths if len(part := _read(path, table.values))]
        if not rows:
            return empty_rows(table.values)
        joined = pd.concat(rows, ignore_index=True)
        return joined[joined["session"] >= pd.Timestamp(first)].reset_index(drop=True)

    def splits(self) -> pd.DataFrame:
        """Landed splits: session, ticker, split_ratio."""
        path = self.folder / SPLITS_FILE
        return _read(path, SPLIT_VALUES) if path.exists() else empty_rows(SPLIT_VALUES)

    def land(self, table: Table, fresh: pd.DataFrame) -> list[str]:
        """Lay rows over the landed ones; returns the names of the files that changed, ascending.

        Parameters
        ----------
        fresh
            session, ticker and the table's values; one row a session and ticker
        """
        changed = []
        for name, part in fresh.groupby(table.files_of(fresh["session"]), sort=True):
            path = self.folder / str(name)
            old = _read(path, table.values) if path.exists() else empty_rows(table.values)
            both = pd.concat([each for each in (old, part) if len(each)], ignore_index=True)
            new = both.drop_duplicates(["session", "ticker"], keep="last")
            if _write(path, new, table.values, old, quoted=table.quoted):
                changed.append(str(name))
        return changed

    def land_splits(self, rows: pd.DataFrame) -> list[str]:
        """Replace the table of splits; returns its name if it changed. It is there even when there are none."""
        path = self.folder / SPLITS_FILE
        old = _read(path, SPLIT_VALUES) if path.exists() else None
        return [SPLITS_FILE] if _write(path, rows, SPLIT_VALUES, old, quoted=False) else []

    def record(self, dataset: str, revisions: Sequence[Revision], seen: datetime) -> None:
        """Append revisions to their log, before the rows change; what a killed poll has recorded is not repeated."""
        by_file: dict[str, list[Revision]] = {}
        for revision in revisions:
            by_file.setdefault(f"{dataset}-{revision.session[:4]}.jsonl", []).append(revision)
        for name, group in sorted(by_file.items()):
            path = self.folder / "revisions" / name
            path.parent.mkdir(exist_ok=True)
            text = path.read_text() if path.exists() else ""
            last = {(line["symbol"], line["session"]): line for line in map(json.loads, text.splitlines())}
            for revision in group:
                line = _line(revision, seen)
                before = last.get((revision.ticker, revision.session))
                if before is None or (before["old"], before["new"]) != (line["old"], line["new"]):
                    text += json.dumps(line) + "\n"
            write_atomically(path, text.encode())

    def _files(self) -> list[str]:
        found = [path for table in (BARS, VIX) for path in (self.folder / table.name).glob("*.parquet")]
        return sorted(str(path.relative_to(self.folder)) for path in [*found, *self.folder.glob(SPLITS_FILE)])

    def _require_empty(self) -> None:
        for name in (BARS.name, VIX.name, "stock_splits"):
            for path in (self.folder / name, self.folder / f"{name}.parquet", self.folder / f"{name}.csv"):
                if path.exists():
                    raise SourceError(
                        f"{path} was not written by the collector (the folder has no {MANIFEST}) and would be "
                        "mixed with what it lands: choose an empty folder"
                    )


def _forgotten(progress: Progress) -> Progress:
    return (
        Progress(problem="landed files have vanished; the whole history is asked for again")
        if progress.since
        else progress
    )


def _line(revision: Revision, seen: datetime) -> dict[str, Any]:
    return {
        "seen": seen.isoformat(timespec="seconds"),
        "symbol": revision.ticker,
        "session": revision.session,
        "old": revision.old,
        "new": revision.new,
    }


def _read(path: Path, values: Sequence[str]) -> pd.DataFrame:
    try:
        table = pq.read_table(path, columns=["timestamp", "symbol", *values], partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{path} is not a readable Parquet file ({error}): remove it, and the next poll asks for everything again"
        ) from error
    frame = table.to_pandas().rename(columns={"timestamp": "session", "symbol": "ticker"})
    frame["session"] = frame["session"].dt.tz_convert("UTC").dt.tz_localize(None)
    typed: pd.DataFrame = frame.astype(
        {"session": "datetime64[us]", "ticker": "str"} | dict.fromkeys(values, "float64")
    )
    return typed


def _write(path: Path, rows: pd.DataFrame, values: Sequence[str], old: pd.DataFrame | None, *, quoted: bool) -> bool:
    """Write rows in order of session and ticker, unless `old` is the same; returns whether it wrote."""
    columns = ["session", "ticker", *values]
    new = rows[columns].sort_values(["session", "ticker"], ignore_index=True)
    if old is not None and path.exists() and new.equals(old[columns]):
        return False
    arrays = {
        "timestamp": pa.array(new["session"].to_numpy().astype("datetime64[ms]"), pa.timestamp("ms")).cast(
            pa.timestamp("ms", "UTC")
        ),
        "symbol": pa.array(new["ticker"].tolist(), pa.string()),
        **{name: pa.array(new[name].to_numpy(dtype=float), pa.float64()) for name in values},
    }
    if quoted:
        arrays["quoted"] = pa.array(np.ones(len(new)), pa.float64())
    target = io.BytesIO()
    pq.write_table(pa.table(arrays), target, compression="zstd")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, target.getvalue())
    return True
