"""A folder of recorded market data as something an exchange can be backed by.

Only what was recorded is served: closed bars, mark bars, settlements and open interest as far as there are files. There
are no books, no trades and no index, and the bar that is still open is left out, since what it looked like halfway was
not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.market.crypto_microstructure import Book, Trades
from butterquant_assets.market.crypto_traits import Floats, Ints
from butterquant_assets.market.exchange.answers import parameter_error, unknown_instrument
from butterquant_assets.market.exchange.bar_sizes import HOUR_MS, MINUTE_MS, Bars, BarSize, aggregate, no_bars
from butterquant_assets.market.exchange.venue import (
    FundingOutlook,
    Instrument,
    Kind,
    Steps,
    no_steps,
    steps_in_order,
)


@dataclass(frozen=True)
class Recording:
    """Which files make up a recording, and the length of its bars (minutes); "" where there is no such file."""

    bars: str
    minutes: int
    mark: str
    funding: str
    open_interest: str


RECORDINGS = {
    "okx": Recording("okx_swap_30m", 30, "okx_mark_1h", "okx_funding", ""),
    "perp": Recording("crypto_perp_1h", 60, "", "crypto_funding", "crypto_open_interest_1h"),
}
_PRICES = ("open", "high", "low", "close")
_INTEREST_AGE_MS = 2 * HOUR_MS

Series = dict[str, dict[str, Floats]]


class FolderVenue:
    """A `Venue` over Parquet files: columns timestamp (UTC), symbol and values; one contract is one coin.

    Parameters
    ----------
    folder
        where the files lie
    recording
        which of `RECORDINGS`; the first whose bars are there if not given

    Raises
    ------
    ConfigError
        if the folder has none of them, or not the one asked for.
    SourceError
        if a file cannot be read or lacks a column.
    """

    def __init__(self, folder: Path, recording: str | None = None) -> None:
        self.recording = _chosen(folder, recording)
        self._bars = _read(folder, self.recording.bars, (*_PRICES, "volume"))
        self._mark = _read(folder, self.recording.mark, _PRICES)
        self._funding = _read(folder, self.recording.funding, ("funding_rate",))
        self._interest = _read(folder, self.recording.open_interest, ("open_interest",))
        self._length = self.recording.minutes * MINUTE_MS
        self._decimals = {base: _decimals(one["close"]) for base, one in self._bars.items()}
        self.last_moment = int(max(one["stamp"][-1] for one in self._bars.values())) + self._length
        """Ms at which the last recorded bar closes."""

    def instruments(self, now: int) -> tuple[Instrument, ...]:
        """What has bars on both sides of now."""
        return tuple(
            Instrument(base, 1.0, 10.0 ** -self._decimals[base], 1e-6, int(one["stamp"][0]))
            for base, one in sorted(self._bars.items())
            if one["stamp"][0] <= now <= one["stamp"][-1] + self._length
        )

    def bars(self, kind: Kind, base: str, size: BarSize, first: int, end: int, limit: int, now: int) -> Bars:
        """The newest `limit` closed bars with first <= stamp < end, oldest first."""
        series = {"trade": self._bars, "mark": self._mark}.get(kind, {})
        length = self._length if kind == "trade" else HOUR_MS
        if size.length % length:
            raise parameter_error("bar")
        if base not in series:
            return no_bars()
        one = series[base]
        rows = (one["stamp"] >= size.floor(first)) & (one["stamp"] + length <= now)
        stamp = one["stamp"][rows].astype(np.int64)
        opened, high, low, close = (one[name][rows] for name in _PRICES)
        volume = one["volume"][rows] if kind == "trade" else np.zeros(len(stamp))
        small = Bars(stamp, opened, high, low, close, volume, volume * (opened + high + low + close) / 4, stamp <= now)
        large = aggregate(small, size, now)
        return large.take((large.stamp >= first) & (large.stamp < end) & large.closed).take(slice(-limit, None))

    def settlements(self, base: str, first: int, end: int) -> tuple[Ints, Floats]:
        """Recorded settlements."""
        one = self._funding.get(base)
        if one is None:
            return np.empty(0, np.int64), np.empty(0)
        rows = (one["stamp"] >= first) & (one["stamp"] < end)
        return one["stamp"][rows].astype(np.int64), one["funding_rate"][rows]

    def outlook(self, base: str, now: int) -> FundingOutlook | None:
        """What was to be settled next was not recorded."""
        return None

    def open_interest(self, base: str, moments: Ints) -> Floats:
        """The last recorded value, if it is at most two hours old."""
        one = self._interest.get(base)
        found = np.full(len(moments), np.nan)
        if one is None:
            return found
        last = np.searchsorted(one["stamp"], moments, side="right") - 1
        known = (last >= 0) & (moments - one["stamp"][np.maximum(last, 0)] <= _INTEREST_AGE_MS)
        found[known] = one["open_interest"][last[known]]
        return found

    def taker_volume(
        self, base: str, size: BarSize, first: int, end: int, limit: int, now: int
    ) -> tuple[Ints, Floats, Floats, Floats]:
        """Not recorded."""
        return np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0)

    def trades(self, base: str, first: int, end: int) -> Trades:
        """Not recorded."""
        empty = np.empty(0, np.int64)
        return Trades(empty, np.empty(0), np.empty(0), np.empty(0, bool), empty)

    def steps(self, base: str, first: int, end: int) -> Steps:
        """Bars and mark bars at the moment they close."""
        parts = [no_steps()]
        for series, length, traded in ((self._bars, self._length, True), (self._mark, HOUR_MS, False)):
            if base in series:
                one = series[base]
                rows = (one["stamp"] + length > first) & (one["stamp"] + length <= end)
                parts.append(_bar_steps({name: values[rows] for name, values in one.items()}, length, traded=traded))
        return steps_in_order(parts)

    def book(self, base: str, now: int, levels: int) -> Book | None:
        """Not recorded."""
        return None

    def price(self, kind: Kind, base: str, now: int) -> float:
        """Close of the last closed bar, NaN where there is none."""
        if base not in self._bars:
            raise unknown_instrument()
        one = {"trade": self._bars, "mark": self._mark}.get(kind, {}).get(base)
        length = self._length if kind == "trade" else HOUR_MS
        last = -1 if one is None else int(np.searchsorted(one["stamp"], now - length, side="right")) - 1
        return float("nan") if one is None or last < 0 else float(one["close"][last])


def _bar_steps(bars: dict[str, Floats], length: int, *, traded: bool) -> Steps:
    since = bars["stamp"].astype(np.int64)
    none = np.full(len(since), np.nan)
    opened, high, low, close = (bars[name] for name in _PRICES)
    if traded:
        return Steps(since + length, since, opened, low, high, close, bars["volume"], none, none, none)
    return Steps(since + length, since, none, none, none, none, np.zeros(len(since)), low, high, close)


def _chosen(folder: Path, name: str | None) -> Recording:
    if name is not None and name not in RECORDINGS:
        raise ConfigError(f"no recording is called {name!r}; expected one of {', '.join(RECORDINGS)}")
    for key, recording in RECORDINGS.items():
        if name in (None, key) and (folder / f"{recording.bars}.parquet").is_file():
            return recording
    wanted = [f"{one.bars}.parquet" for key, one in RECORDINGS.items() if name in (None, key)]
    raise ConfigError(f"{folder} has no {' or '.join(wanted)}; name a folder that holds recorded swap bars")


def _read(folder: Path, name: str, columns: tuple[str, ...]) -> Series:
    path = folder / f"{name}.parquet"
    if not name or not path.is_file():
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["timestamp", "symbol", *columns])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise SourceError(
            f"{path} cannot be read ({error}); expected timestamp, symbol, {', '.join(columns)}"
        ) from error
    stamp = table["timestamp"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()
    symbol = table["symbol"].to_numpy(zero_copy_only=False).astype(str)
    values = {column: table[column].to_numpy().astype(float) for column in columns}
    series: Series = {}
    for one in np.unique(symbol):
        rows = np.flatnonzero(symbol == one)
        rows = rows[np.argsort(stamp[rows], kind="stable")]
        series[_base(str(one))] = {"stamp": stamp[rows]} | {column: found[rows] for column, found in values.items()}
    return series


def _base(symbol: str) -> str:
    return symbol.removesuffix("-SWAP").removesuffix("USDT").removesuffix("-")


def _decimals(prices: Floats) -> int:
    for decimals in range(10):
        if np.allclose(np.round(prices, decimals), prices, rtol=0, atol=1e-9 * 10.0**-decimals):
            return decimals
    return 10
