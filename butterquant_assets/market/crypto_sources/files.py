"""A folder of recorded swap data as a source.

A recording is a set of files (`exchange.folder_venue.RECORDINGS`), each with timestamp (UTC, a bar's open), symbol
(BTCUSDT, BTC-USDT-SWAP) and values: bars of an hour or a part of one, and where present mark prices, settlements and
open interest. Bars shorter than an hour are put together; an hour of which a part is missing is left out. Volumes and
open interest are in coins. What a recording has no file for is empty.

Open interest is stamped at the moment it was read, so it stood at the end of the hour before. The coins are those the
recording's maker chose, with hindsight, so `as_of_known` is False; they are ranked by the turnover of the day before.
Where other bars are named (`bars_dataset`), the recording's own are another venue to check them against.

What belongs here: files in the columns of the contracts. What does not: cleaning (`cleaned.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.foundation.lake import combine, group_digests
from butterquant_assets.market.crypto_cleaning import LONGEST_INTERVAL, REJECTED, reject_rows
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_coverage import DAY, HOUR, NOT_HELD, Coverage, Stamps, cover_days, day_of, in_days
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS, DELIVERED, no_rows, raw_columns
from butterquant_assets.market.crypto_sources.cleaned import CleanedSource, utc_now
from butterquant_assets.market.exchange.folder_venue import RECORDINGS
from butterquant_assets.market.sources.tables import TableSpec, find_table, read_table, stamp

PRICES = ("open", "high", "low", "close")
BARS = TableSpec((*PRICES, "volume"), ("quote_volume_usd",), intraday=True)
PRICED = TableSpec(PRICES, intraday=True)
RATES = TableSpec(("funding_rate",), intraday=True)
INTEREST = TableSpec(("open_interest",), ("open_interest_usd",), intraday=True)


Lives = dict[str, tuple[np.datetime64, np.datetime64]]
"""First and last full hour of each coin."""


class FilesCryptoSource(CleanedSource):
    """A folder of recordings.

    Parameters
    ----------
    config
        data_dir, recording and bars_dataset are read
    clock
        see `CleanedSource`

    Raises
    ------
    ConfigError
        if no folder is named.
    SourceError
        if the folder or its bars are missing, or a file cannot be read.
    """

    def __init__(self, config: CryptoConfig, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(FileTables(config), clock)


@dataclass(frozen=True)
class _Loaded:
    """One dataset as read: rows in order of time, and by day where they lie, their hash and how complete they are.

    `openings`: hash of each day's first hour.
    """

    rows: pd.DataFrame
    places: Mapping[str, slice] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    coverage: Mapping[str, Coverage] = field(default_factory=dict)
    openings: Mapping[str, str] = field(default_factory=dict)
    rejects: pd.DataFrame = field(default_factory=lambda: no_rows(CRYPTO_REJECTS))


class FileTables:
    """Raw tables of a folder, kept until a file changes."""

    name = "files"
    simulated = False

    def __init__(self, config: CryptoConfig) -> None:
        if config.data_dir is None:
            raise ConfigError("crypto source 'files' needs the folder to read: set BUTTERQUANT_CRYPTO__DATA_DIR")
        self.folder = config.data_dir.expanduser().absolute()
        self.recording = config.recording
        files = RECORDINGS[config.recording]
        bars = config.bars_dataset or files.bars
        self.files = {
            "crypto_bars": bars,
            "mark_prices": files.mark,
            "funding_rates": files.funding,
            "open_interest": files.open_interest,
            "other_venue": files.bars if bars != files.bars else "",
        }
        self._cache: dict[str, _Loaded] = {}
        self._seen: dict[str, Any] = {}
        if not self.folder.is_dir():
            raise SourceError(f"crypto data folder {self.folder} does not exist; name an existing one")
        if not find_table(self.folder, bars):
            raise SourceError(
                f"{self.folder} has no {bars}.parquet or {bars}.csv; name a folder that holds recording "
                f"{config.recording!r}, or another recording or bars_dataset"
            )

    def describe(self) -> dict[str, str | int | float]:
        """Folder and files."""
        present = {name: file for name, file in self.files.items() if file and find_table(self.folder, file)}
        absent = sorted(set(DELIVERED) - set(present) - {"crypto_universe"})
        return {
            "source": self.name,
            "simulated": "no",
            "folder": self.folder.name,
            "recording": self.recording,
            **present,
            "absent": ", ".join(absent),
            "universe": "chosen by the recording's maker, with hindsight (survivors' bias)",
        }

    def refresh(self) -> None:
        """Forget what was read from files that have changed since."""
        seen = {name: stamp(find_table(self.folder, file)) for name, file in self.files.items() if file}
        if seen != self._seen:
            # What is expected of any dataset depends on the bars too.
            self._seen, self._cache = seen, {}

    def days(self, dataset: str) -> tuple[str, ...]:
        """Days with rows of a dataset, ascending."""
        if dataset == "crypto_universe":
            dataset = "crypto_bars"
        return tuple(self._load(dataset).places)

    def read(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        """Rows of `days`."""
        if dataset == "crypto_universe":
            return self._universe(days)
        return _rows_of(self._load(dataset), days)

    def digest(self, dataset: str, day: str) -> str:
        """Hash of a day's rows and coverage."""
        if dataset == "crypto_universe":
            bars = self._load("crypto_bars")
            return combine([bars.digests.get(day, ""), bars.digests.get(_before(day), "")])
        return self._load(dataset).digests.get(day, "")

    def opening(self, day: str) -> str:
        """Hash of the first hour's bars of a day."""
        return self._load("crypto_bars").openings.get(day, "")

    def coverage(self, dataset: str, day: str) -> Coverage:
        """How complete a day is."""
        if dataset == "crypto_universe":
            return Coverage(0, 0, complete=True, note="chosen by the recording's maker, with hindsight")
        loaded = self._load(dataset)
        return loaded.coverage.get(day, NOT_HELD if loaded.rows.empty else Coverage(0, 0, complete=True))

    def other_venue(self, days: Sequence[str]) -> pd.DataFrame | None:
        """The recording's own bars, where others are judged by them."""
        if not self.files["other_venue"]:
            return None
        rows = _rows_of(self._load("other_venue"), days)[["hour", "coin", *PRICES]]
        usable = (rows[list(PRICES)] > 0).all(axis=1) & ~rows.duplicated(["hour", "coin"], keep="last")
        return rows[usable].reset_index(drop=True)

    def other_digest(self, day: str) -> str:
        """Hash of those of one day."""
        return self._load("other_venue").digests.get(day, "") if self.files["other_venue"] else ""

    def rejects(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        """Hours that could not be put together."""
        found = self._load(dataset).rejects if dataset != "crypto_universe" else no_rows(CRYPTO_REJECTS)
        return found[day_of(found["at"]).isin(list(days))].reset_index(drop=True)

    # -- reading

    def _load(self, dataset: str) -> _Loaded:
        if dataset not in self._cache:
            paths = find_table(self.folder, self.files[dataset]) if self.files.get(dataset) else []
            self._cache[dataset] = self._parsed(dataset, paths)
        return self._cache[dataset]

    def _parsed(self, dataset: str, paths: Sequence[Path]) -> _Loaded:
        contract = "crypto_bars" if dataset == "other_venue" else dataset
        if not paths:
            return _Loaded(no_rows(DELIVERED[contract])[raw_columns(contract)])
        rows, rejects = _PARSERS[contract](paths)
        time = str(DELIVERED[contract].time)
        rows = rows[raw_columns(contract)].sort_values([time, "coin"], kind="stable").reset_index(drop=True)
        day = day_of(rows[time])
        edges = [0, *(np.flatnonzero(day.to_numpy()[1:] != day.to_numpy()[:-1]) + 1), len(rows)]
        places = {str(day.iloc[first]): slice(int(first), int(end)) for first, end in pairwise(edges) if end > first}
        known = pd.concat([rows[[time, "coin"]], rejects.rename(columns={"at": time})[[time, "coin"]]])
        coverage = {} if dataset == "other_venue" else self._covered(dataset, rows, _lives(known, time), places)
        digests = group_digests(rows, day)
        digests |= {
            key: combine([digests.get(key, ""), repr(sorted(found.to_json().items()))])
            for key, found in coverage.items()
        }
        first = rows[time] == rows[time].dt.normalize()
        openings = group_digests(rows[first], day[first]) if dataset == "crypto_bars" else {}
        return _Loaded(rows, places, digests, coverage, openings, rejects)

    def _covered(
        self, dataset: str, rows: pd.DataFrame, lives: Lives, places: Mapping[str, slice]
    ) -> dict[str, Coverage]:
        """Coverage of every day from the first row to the last; `lives`: what came at all, torn hours included."""
        time = str(DELIVERED[dataset].time)
        bars = rows if dataset == "crypto_bars" else self._load("crypto_bars").rows
        end = bars["hour"].max().to_datetime64() + HOUR
        if dataset == "funding_rates":
            expected = _settlements_due(rows)
        else:
            if dataset != "crypto_bars":
                traded = _lives(bars, "hour")
                lives = {
                    coin: (max(first, traded[coin][0]), min(last, traded[coin][1]))
                    for coin, (first, last) in lives.items()
                    if coin in traded
                }
            expected = {coin: np.arange(first, last + HOUR, HOUR) for coin, (first, last) in lives.items()}
        days = np.arange(np.datetime64(min(places), "D"), np.datetime64(max(places), "D") + DAY).astype(str).tolist()
        return cover_days(rows, time, expected, days, end)

    def _universe(self, days: Sequence[str]) -> pd.DataFrame:
        """Coins with bars on each day, ranked by the turnover of the day before; the unknown ones last, by name."""
        contract = DELIVERED["crypto_universe"]
        bars = self.read("crypto_bars", sorted({other for day in days for other in (day, _before(day))}))
        bars = bars.assign(day=bars["hour"].dt.normalize(), turnover=bars["close"] * bars["volume"])
        turnover = bars.groupby(["day", "coin"])[["turnover"]].sum().reset_index()
        before = turnover.assign(day=(turnover["day"] + DAY).astype("datetime64[us]"))
        frame = in_days(turnover[["day", "coin"]], "day", days).merge(before, on=["day", "coin"], how="left")
        frame = frame.sort_values(["day", "turnover", "coin"], ascending=[True, False, True], na_position="last")
        frame = frame.assign(rank=frame.groupby("day").cumcount() + 1, market_cap_usd=np.nan, as_of_known=False)
        frame = frame.assign(chosen_by=pd.Series("recording", index=frame.index, dtype="str"))
        return frame.astype(no_rows(contract).dtypes.to_dict())[contract.columns]


def coin_of(symbol: str) -> str:
    """Base currency of a symbol: BTC for BTCUSDT, BTC-USDT, BTC-USDT-SWAP and BTC/USDT:USDT."""
    base = symbol.split("/")[0].removesuffix("-SWAP").removesuffix("USDT").removesuffix("-")
    return base or symbol


def _read(paths: Sequence[Path], spec: TableSpec) -> pd.DataFrame:
    raw = read_table(paths, spec)
    names = {symbol: coin_of(str(symbol)) for symbol in raw["ticker"].unique()}
    return raw.assign(coin=raw["ticker"].map(names).astype("str")).rename(columns={"quoted_at": "hour"})


def _bars(paths: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hourly bars, put together from shorter ones where the file holds those."""
    raw = _read(paths, BARS)[["hour", "coin", *PRICES, "volume", "quote_volume_usd"]]
    raw = raw.sort_values(["coin", "hour"], kind="stable")
    steps = raw.groupby("coin")["hour"].diff().dropna()
    length = steps[steps > pd.Timedelta(0)].mode()
    parts = 1 if length.empty else round(pd.Timedelta("1h") / length.iloc[0])
    if parts <= 1:
        return raw, no_rows(CRYPTO_REJECTS)
    if (pd.Timedelta("1h") / length.iloc[0]) != parts:
        raise SourceError(f"{paths[0]} has bars of {length.iloc[0]}, expected a whole part of an hour: resample it")
    raw = raw.drop_duplicates(["coin", "hour"], keep="last")
    raw = raw.assign(full=raw["hour"].dt.floor("h"))
    grouped = raw.groupby(["coin", "full"], sort=True)
    hours = grouped.agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
        quote_volume_usd=("quote_volume_usd", lambda values: values.sum(min_count=parts)),
        parts=("open", "size"),
    ).reset_index(names=["coin", "hour"])
    torn = hours[hours["parts"] != parts]
    texts = [f"{came} of {parts} bars came" for came in torn["parts"]]
    at, coins = torn["hour"].to_numpy(dtype="datetime64[us]"), torn["coin"].tolist()
    return hours[hours["parts"] == parts], reject_rows(
        "crypto_bars", at, coins, "part_of_hour_missing", texts, REJECTED
    )


def _marks(paths: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _read(paths, PRICED)[["hour", "coin", *PRICES]], no_rows(CRYPTO_REJECTS)


def _rates(paths: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    raw = _read(paths, RATES).rename(columns={"hour": "settled_at"})
    return raw.assign(interval_hours=np.nan, mark_price=np.nan), no_rows(CRYPTO_REJECTS)


def _interest(paths: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    raw = _read(paths, INTEREST)
    return raw.assign(hour=(raw["hour"] - HOUR).astype("datetime64[us]")), no_rows(CRYPTO_REJECTS)


_PARSERS: dict[str, Callable[[Sequence[Path]], tuple[pd.DataFrame, pd.DataFrame]]] = {
    "crypto_bars": _bars,
    "mark_prices": _marks,
    "funding_rates": _rates,
    "open_interest": _interest,
}


def _rows_of(loaded: _Loaded, days: Sequence[str]) -> pd.DataFrame:
    parts = [loaded.rows.iloc[loaded.places[day]] for day in sorted(set(days)) if day in loaded.places]
    return pd.concat(parts, ignore_index=True) if parts else loaded.rows.iloc[:0].reset_index(drop=True)


def _lives(rows: pd.DataFrame, time: str) -> Lives:
    """First and last full hour of each coin."""
    ends = rows.groupby("coin")[time].agg(["min", "max"])
    return {
        str(coin): (first.floor("h").to_datetime64(), last.floor("h").to_datetime64())
        for coin, first, last in ends.itertuples()
    }


def _settlements_due(rows: pd.DataFrame) -> dict[str, Stamps]:
    """Stamps of each coin's settlements, and those that must lie in any pause longer than the longest interval."""
    due = {}
    longest = np.timedelta64(int(LONGEST_INTERVAL), "h")
    for coin, own in rows.groupby("coin")["settled_at"]:
        stamps = np.unique(own.to_numpy(dtype="datetime64[us]"))
        lost = [
            np.arange(before + longest, after - HOUR, longest)
            for before, after in pairwise(stamps)
            if after - before > longest + HOUR
        ]
        due[str(coin)] = np.sort(np.concatenate([stamps, *lost]))
    return due


def _before(day: str) -> str:
    return str(np.datetime64(day, "D") - DAY)
