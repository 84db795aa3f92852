"""A folder of Parquet or CSV files as a source.

Datasets and columns are those of common daily exports: ``stocks_daily`` (timestamp, symbol, open, high, low, close,
volume; optional dividend, split_ratio, quoted), ``vix_daily``, and where present ``index_daily``, ``stock_splits``
(timestamp, symbol, split_ratio) and ``implied_vols`` (timestamp, symbol, days, iv). A daily bar is stamped with its
date (midnight UTC). Yardsticks for the volatility proxy, where present: ``implied_vol_3m`` (timestamp, symbol,
iv_3m_atm; optional close_adj) and ``option_chains`` (timestamp, underlying, underlying_price, expiration, strike,
right, bid, ask; the timestamp may carry a time of day).

``stock_splits`` lists every split behind the prices of ``stocks_daily``, later ones too; with it prices are brought
back to what was quoted. The table of any other bars dataset is named ``<dataset>_splits``, since another vendor's
prices were adjusted at another date. Without a table prices stay as delivered and carry ``quoted = False``; with only
a split_ratio column in the bars they are un-adjusted by those, and still carry it, since splits after the last bar
cannot be known. A row dated after today in New York is refused until that day; a split that is only announced is not
behind any price yet. Whether prices were split-adjusted at all is seen from the closes on split days, unless a column
``quoted`` of the bars says so: 1 as quoted on the day, 0 adjusted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.cleaning import (
    Cleaned,
    clean_equity_bars,
    clean_implied_vols,
    clean_index_bars,
    clean_option_chains,
    clean_published_vols,
    clean_vix,
    refuse_future,
)
from butterquant_assets.market.schemas import BAR_REJECTS, CONTRACTS, empty_rows
from butterquant_assets.market.sources.base import (
    REJECTING,
    REJECTS,
    Delivery,
    in_months,
    known_dataset,
    month_hashes,
    months_present,
)
from butterquant_assets.market.sources.tables import TableSpec, find_table, read_table, stamp

PRICES = ("open", "high", "low", "close")
BARS = TableSpec((*PRICES, "volume"), ("dividend", "split_ratio", "quoted"))
INDEX = TableSpec(PRICES, ("volume",))
VIX_VALUES = TableSpec(("close",), ("open", "high", "low"))
SPLITS = TableSpec(("split_ratio",))
VOLS = TableSpec(("days", "iv"))
PUBLISHED = TableSpec(("iv_3m_atm",), ("close_adj",))
CHAINS = TableSpec(
    ("underlying_price", "strike", "bid", "ask"),
    symbol="underlying",
    dates=("expiration",),
    texts=("right",),
    intraday=True,
)
NEW_YORK = ZoneInfo("America/New_York")
LONG_AGO = np.datetime64("1900-01-01")


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


class _Reading:
    """The tables of one dataset without what is dated in the future, and what was refused for that."""

    def __init__(self, dataset: str, today: np.datetime64) -> None:
        self.today = today
        self.newest = LONG_AGO
        self._dataset = dataset
        self._refused: list[pd.DataFrame] = []

    def table(self, paths: list[Path], spec: TableSpec) -> pd.DataFrame:
        """One table."""
        raw = read_table(paths, spec)
        kept, refused = refuse_future(self._dataset, raw, self.today, spec.required)
        if len(raw):
            self.newest = max(self.newest, raw["session"].max().to_datetime64())
        self._refused.append(refused)
        return kept

    def joined(self, cleaned: Cleaned) -> Cleaned:
        """The cleaned rows, with what was refused before."""
        early = [refused for refused in self._refused if len(refused)]
        if not early:
            return cleaned
        return Cleaned(cleaned.rows, BAR_REJECTS.arrange(pd.concat([*early, cleaned.rejects], ignore_index=True)))


@dataclass(frozen=True)
class _Held:
    """A dataset as it was last cleaned: from which files, on which day, and the last day in them."""

    stamp: tuple[tuple[str | int, ...], ...]
    today: np.datetime64
    newest: np.datetime64
    cleaned: Cleaned

    def holds(self, stamp: tuple[tuple[str | int, ...], ...], today: np.datetime64) -> bool:
        """Whether it would come out the same."""
        return self.stamp == stamp and bool(self.today == today or self.newest <= min(self.today, today))


class FilesSource:
    """A folder of files. Parsed and cleaned datasets are kept until a file changes.

    Parameters
    ----------
    folder
        where the files lie
    bars_dataset
        name of the dataset with the equity bars
    clock
        tells the time, with its zone: rows dated in the future are refused until it has come; by default the time it
        is

    Raises
    ------
    SourceError
        if the folder, the equity bars or the VIX are missing.
    """

    name = "files"
    simulated = False

    def __init__(
        self, folder: Path, *, bars_dataset: str = "stocks_daily", clock: Callable[[], datetime] | None = None
    ) -> None:
        if not folder.is_dir():
            raise SourceError(f"data folder {folder} does not exist; name an existing one")
        self.folder, self.bars_dataset = folder, bars_dataset
        self.splits_dataset = "stock_splits" if bars_dataset == "stocks_daily" else f"{bars_dataset}_splits"
        self._clock = clock or utc_now
        self._cleaned: dict[str, _Held] = {}
        self._tables = {
            "equity_bars": (bars_dataset, self.splits_dataset),
            "index_bars": ("index_daily",),
            "vix": ("vix_daily",),
            "implied_vols": ("implied_vols",),
            "published_vols": ("implied_vol_3m",),
            "option_chains": ("option_chains",),
        }
        # Sensors look at the same moment: one of them parses a file that changed, the others wait for what it finds.
        self._cleaning = {dataset: Lock() for dataset in self._tables}
        self._required(bars_dataset)
        self._required("vix_daily")

    def describe(self) -> dict[str, str | int | float]:
        """Folder, dataset, and how prices came to be as quoted.

        No counts: this is stored with every month, and a month must not look different because another one grew.
        """
        table = find_table(self.folder, self.splits_dataset)
        known = f"as quoted: un-adjusted by {self.splits_dataset}"
        unknown = f"as delivered: no complete split table ({self.splits_dataset}) in the folder, quoted = False"
        return {
            "source": self.name,
            "simulated": "no",
            "folder": self.folder.name,
            "bars_dataset": self.bars_dataset,
            "prices": known if table else unknown,
        }

    def span(self) -> tuple[str, str]:
        """First and last month with equity bars and VIX.

        Raises
        ------
        SourceError
            if no month has both.
        """
        both = months_present(self._clean("equity_bars").rows) & months_present(self._clean("vix").rows)
        if not both:
            raise SourceError(
                f"{self.folder}: no month has both {self.bars_dataset} and vix_daily; deliver a common span"
            )
        return min(both), max(both)

    def keys_held(self, dataset: str) -> tuple[str, ...]:
        """Months with rows or rejects of a dataset, ascending; those of a yardstick may lie outside `span`."""
        cleaned = self._clean(known_dataset(dataset))
        return tuple(sorted(months_present(cleaned.rows) | months_present(cleaned.rejects)))

    def fingerprints(self, dataset: str, months: Sequence[str]) -> dict[str, str]:
        """SHA-256 of each month's cleaned rows and rejects.

        Row numbers are left out (they shift when a file grows), so a vendor's re-adjustment that leads to the same
        quoted prices changes nothing; for ``bar_rejects``, whose rows name them, they count.
        """
        if dataset == REJECTS:
            return month_hashes([self._clean(name).rejects for name in REJECTING], months)
        cleaned = self._clean(known_dataset(dataset))
        return month_hashes([cleaned.rows, cleaned.rejects.drop(columns="row")], months)

    def fetch(self, dataset: str, months: Sequence[str]) -> Delivery:
        """Cleaned rows and rejects of `months`."""
        cleaned = self._clean(known_dataset(dataset))
        return Delivery(in_months(cleaned.rows, months), in_months(cleaned.rejects, months))

    def _clean(self, dataset: str) -> Cleaned:
        with self._cleaning[dataset]:
            paths = [find_table(self.folder, name) for name in self._tables[dataset]]
            now = stamp([path for found in paths for path in found])
            today = np.datetime64(self._clock().astimezone(NEW_YORK).date())
            held = self._cleaned.get(dataset)
            if held is None or not held.holds(now, today):
                reading = _Reading(dataset, today)
                cleaned = reading.joined(self._read(dataset, paths, reading))
                held = self._cleaned[dataset] = _Held(now, today, reading.newest, cleaned)
            return held.cleaned

    def _read(self, dataset: str, paths: list[list[Path]], reading: _Reading) -> Cleaned:
        if dataset == "equity_bars":
            bars = reading.table(self._required(self.bars_dataset), BARS)
            splits, complete = _known_splits(bars, reading.table(paths[1], SPLITS) if paths[1] else None)
            return clean_equity_bars(bars, splits, quoted=complete, as_quoted=_declared(bars))
        if dataset == "vix":
            return clean_vix(_only_vix(reading.table(self._required("vix_daily"), VIX_VALUES), paths[0]))
        if not paths[0]:
            return Cleaned(empty_rows(CONTRACTS[dataset]), empty_rows(BAR_REJECTS))
        readers: dict[str, tuple[TableSpec, Callable[[pd.DataFrame], Cleaned]]] = {
            "index_bars": (INDEX, clean_index_bars),
            "implied_vols": (VOLS, clean_implied_vols),
            "published_vols": (PUBLISHED, clean_published_vols),
            "option_chains": (CHAINS, clean_option_chains),
        }
        spec, clean = readers[dataset]
        return clean(reading.table(paths[0], spec))

    def _required(self, name: str) -> list[Path]:
        paths = find_table(self.folder, name)
        if not paths:
            raise SourceError(
                f"{self.folder} has no {name}.parquet, {name}.csv or folder {name}/; the source needs it: put it there"
            )
        return paths


def _known_splits(bars: pd.DataFrame, table: pd.DataFrame | None) -> tuple[pd.DataFrame | None, bool]:
    """Every split known, from the table and from the bars, and whether a table was there."""
    ratio = bars["split_ratio"]
    own = bars[ratio.notna() & (ratio != 0.0) & (ratio != 1.0)]
    given = own.iloc[:0] if table is None else table
    for found in (own, given):
        _positive_ratios(found)
    columns = ["session", "ticker", "split_ratio"]
    both = pd.concat([given, own]).drop_duplicates(columns)
    twice = both[both.duplicated(["session", "ticker"], keep=False)]
    if len(twice):
        raise SourceError(
            f"{_where(twice.iloc[0])} and {_where(twice.iloc[1])} give different splits of {twice['ticker'].iloc[0]} "
            f"on {twice['session'].iloc[0]:%Y-%m-%d} ({twice['split_ratio'].iloc[0]:g} and "
            f"{twice['split_ratio'].iloc[1]:g}); correct one of them"
        )
    known = both[columns].sort_values(["ticker", "session"]).reset_index(drop=True)
    complete = table is not None
    return (known if complete or len(known) else None), complete


def _declared(bars: pd.DataFrame) -> bool | None:
    """Whether the bars say that they are as quoted; None where they say nothing."""
    said = bars["quoted"].to_numpy()
    if np.isnan(said).all():
        return None
    if not (said == said[0]).all() or said[0] not in (0.0, 1.0):
        other = bars[said != said[0]].iloc[0] if (said != said[0]).any() else bars.iloc[0]
        raise SourceError(
            f"{_where(other)}: quoted is {other['quoted']:g} and {said[0]:g} in the first row, expected 1 (as quoted "
            "on the day) or 0 (split-adjusted) in every row; deliver one kind"
        )
    return bool(said[0] == 1.0)


def _positive_ratios(splits: pd.DataFrame) -> None:
    ratio = splits["split_ratio"].to_numpy()
    bad = splits[~(np.isfinite(ratio) & (ratio > 0))]
    if len(bad):
        raise SourceError(
            f"{_where(bad.iloc[0])}: split_ratio is {bad['split_ratio'].iloc[0]}, expected new shares per old share, "
            "above 0 (0 or nothing in the bars means none); correct the file"
        )


def _only_vix(values: pd.DataFrame, paths: list[Path]) -> pd.DataFrame:
    others = sorted(set(values["ticker"]) - {"VIX"})
    if others:
        raise SourceError(f"{paths[0]} holds symbols {', '.join(others[:5])}, expected only VIX; remove the others")
    return values


def _where(row: Any) -> str:
    return f"{row['file']} {row['place']} {row['line']}"
