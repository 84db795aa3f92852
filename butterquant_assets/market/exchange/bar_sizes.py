"""The bar sizes OKX offers, and how small bars make large ones.

From six hours on a bar opens on Hong Kong time (16:00 UTC for a day) unless its name ends in "utc".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from butterquant_assets.market.crypto_traits import Floats, Ints
from butterquant_assets.market.exchange.answers import parameter_error

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
_HONG_KONG_MS = -8 * HOUR_MS
_MINUTES = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1H": 60, "2H": 120, "4H": 240}
_LARGE = {"6H": 360, "12H": 720, "1D": 1440}


@dataclass(frozen=True)
class BarSize:
    """Length of a bar and the moment its grid is counted from, in ms."""

    name: str
    length: int
    offset: int = 0

    def floor(self, moment: int) -> int:
        """Open of the bar that holds the moment."""
        return (moment - self.offset) // self.length * self.length + self.offset


@dataclass(frozen=True)
class Bars:
    """Bars, oldest first; arrays of shape (K,). Prices in USDT, volume in contracts.

    Parameters
    ----------
    stamp
        open of the bar, ms
    volume
        contracts; zeros where the price is not traded (mark, index)
    quote_volume
        USDT
    closed
        False for the bar that is still open
    """

    stamp: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    closed: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.stamp)

    def take(self, rows: slice | npt.NDArray[np.bool_]) -> Bars:
        """Some of the bars."""
        return Bars(
            self.stamp[rows],
            self.open[rows],
            self.high[rows],
            self.low[rows],
            self.close[rows],
            self.volume[rows],
            self.quote_volume[rows],
            self.closed[rows],
        )


def bar_size(name: str, parameter: str = "bar") -> BarSize:
    """The size called `name`.

    Raises
    ------
    OkxError
        51000 if there is none of that name; OKX's week, month and longer are not offered here.
    """
    if name in _MINUTES:
        return BarSize(name, _MINUTES[name] * MINUTE_MS)
    utc = name.endswith("utc")
    large = _LARGE.get(name.removesuffix("utc"))
    if large is None:
        raise parameter_error(parameter)
    return BarSize(name, large * MINUTE_MS, 0 if utc else _HONG_KONG_MS)


def aggregate(bars: Bars, size: BarSize, now: int) -> Bars:
    """Larger bars from smaller ones whose length divides theirs.

    Parameters
    ----------
    bars
        oldest first, on the smaller grid
    size
        wanted
    now
        ms; a bar that ends later is open

    Returns
    -------
    Bars
        the first one is incomplete if the smaller ones begin inside it
    """
    if not len(bars):
        return bars
    stamp = (bars.stamp - size.offset) // size.length * size.length + size.offset
    first = np.flatnonzero(np.append(True, np.diff(stamp) > 0))
    last = np.append(first[1:], len(stamp)) - 1
    return Bars(
        stamp=stamp[first],
        open=bars.open[first],
        high=np.maximum.reduceat(bars.high, first),
        low=np.minimum.reduceat(bars.low, first),
        close=bars.close[last],
        volume=_summed(bars.volume, first),
        quote_volume=_summed(bars.quote_volume, first),
        closed=stamp[first] + size.length <= now,
    )


def _summed(values: Floats, first: npt.NDArray[np.intp]) -> Floats:
    total: Floats = np.add.reduceat(values, first)
    return np.round(total, 8)


def no_bars() -> Bars:
    """An empty set of bars."""
    empty = np.empty(0)
    return Bars(np.empty(0, np.int64), empty, empty, empty, empty, empty, empty, np.empty(0, bool))
