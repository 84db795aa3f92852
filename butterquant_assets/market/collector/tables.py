"""Reading the exchange's rows: words into numbers, open bars left out, repetitions dropped, contradictions refused.

What belongs here: pure reading of one answer. What does not: whether the answer is one (`answers.py`), and whether
what it says can be true (`crypto_cleaning.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.questions import (
    CRYPTO_BARS,
    FUNDING_RATES,
    INDEX_PRICES,
    MARK_PRICES,
    MINUTE_BARS,
    OPEN_INTEREST,
    TAKER_VOLUME,
    Grid,
)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_OHLC = ("open", "high", "low", "close")
_TRADED = ((*_OHLC, "volume", "quote_volume_usd"), (1, 2, 3, 4, 6, 7))
_FIELDS: dict[str, tuple[tuple[str, ...], tuple[int | str, ...]]] = {
    CRYPTO_BARS.dataset: _TRADED,
    MINUTE_BARS.dataset: _TRADED,
    MARK_PRICES.dataset: (_OHLC, (1, 2, 3, 4)),
    INDEX_PRICES.dataset: (_OHLC, (1, 2, 3, 4)),
    OPEN_INTEREST.dataset: (("open_interest", "open_interest_usd"), (2, 3)),
    TAKER_VOLUME.dataset: (("buy_volume", "sell_volume"), (2, 1)),
    FUNDING_RATES.dataset: (("funding_rate",), ("realizedRate",)),
}
"""Columns in the store, and where each stands in a row of the exchange."""

_CANDLES = (CRYPTO_BARS.dataset, MINUTE_BARS.dataset, MARK_PRICES.dataset, INDEX_PRICES.dataset)


class DamagedAnswerError(SourceError):
    """An answer whose rows cannot be read, or contradict each other. The request is worth sending again."""


@dataclass(frozen=True)
class Points:
    """Values of one coin at stamps: ms ascending and unique, shape (n,), and floats, shape (n, k)."""

    stamp: Ints
    figures: Floats

    def __len__(self) -> int:
        return len(self.stamp)

    def over(self, older: Points) -> Points:
        """These laid over older ones: where both have a stamp, these count."""
        stay = ~np.isin(older.stamp, self.stamp)
        stamp = np.append(older.stamp[stay], self.stamp)
        order = np.argsort(stamp, kind="stable")
        return Points(stamp[order], np.concatenate([older.figures[stay], self.figures])[order])

    def within(self, first: int, end: int) -> Points:
        """Those with first <= stamp < end."""
        kept = (self.stamp >= first) & (self.stamp < end)
        return Points(self.stamp[kept], self.figures[kept])


def columns_of(grid: Grid) -> tuple[str, ...]:
    """Names of the values of a dataset, in the order of `Points.figures`."""
    return _FIELDS[grid.dataset][0]


def no_points(grid: Grid) -> Points:
    """None of a dataset."""
    return Points(np.empty(0, np.int64), np.empty((0, len(columns_of(grid)))))


def reader(grid: Grid, window: tuple[int, int], now: int) -> Callable[[list[Any]], Points]:
    """What reads the answer to one question of a dataset.

    Parameters
    ----------
    window
        ms in the store's time; rows outside it are dropped
    now
        the exchange's time, ms: a bar that ends later is open and dropped, as is one the exchange marks as open

    Returns
    -------
    callable
        raises `DamagedAnswerError`
    """
    places = _FIELDS[grid.dataset][1]
    candles = grid.dataset in _CANDLES

    def read(rows: list[Any]) -> Points:
        if not rows:
            return no_points(grid)
        try:
            if candles:
                rows = [row for row in rows if row[-1] != "0"]
            stamps = [int(row["fundingTime" if places == ("realizedRate",) else 0]) for row in rows]
            values = np.array([[_number(row[place]) for place in places] for row in rows]).reshape(len(rows), -1)
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise DamagedAnswerError(
                f"{grid.dataset}: a row cannot be read ({type(error).__name__}: {error}), expected numbers as text"
            ) from error
        if not rows:
            return no_points(grid)
        stamp = np.array(stamps, np.int64)
        ended = stamp + (grid.bar if grid.stamped else 0) <= now
        return _single(grid.dataset, stamp[ended], values[ended]).within(*window)

    return read


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def _single(what: str, stamp: Ints, values: Floats) -> Points:
    """Sorted, each stamp once; the same row twice is one."""
    order = np.argsort(stamp, kind="stable")
    stamp, values = stamp[order], values[order]
    repeated = np.append(False, stamp[1:] == stamp[:-1]) if len(stamp) else np.empty(0, bool)
    before = np.flatnonzero(repeated)
    if len(before) and not np.array_equal(values[before], values[before - 1], equal_nan=True):
        moment = np.datetime64(int(stamp[before[0]]), "ms")
        raise DamagedAnswerError(f"{what}: {moment} came twice with different values, expected one row")
    return Points(stamp[~repeated], values[~repeated])


def as_times(stamp: Ints) -> npt.NDArray[np.datetime64]:
    """Ms since 1970-01-01 as datetime64[us]."""
    return stamp.astype("datetime64[ms]").astype("datetime64[us]")


def as_stamps(times: pd.Series) -> Ints:
    """Times as ms since 1970-01-01."""
    return times.to_numpy(dtype="datetime64[ms]").astype(np.int64)


def frame_of(grid: Grid, stamp_name: str, parts: Sequence[tuple[str, Points]]) -> pd.DataFrame:
    """Rows of the store: stamp, coin and values, without what is derived from them.

    Parameters
    ----------
    stamp_name
        column of the stamp
    parts
        coin and its points
    """
    kept = [(coin, points) for coin, points in parts if len(points)] or [("", no_points(grid))]
    stamp = np.concatenate([points.stamp for _, points in kept])
    values = np.concatenate([points.figures for _, points in kept])
    coins = np.repeat(np.array([coin for coin, _ in kept], dtype=object), [len(points) for _, points in kept])
    columns: dict[str, Any] = {stamp_name: as_times(stamp), "coin": pd.Series(coins, dtype="str")}
    return pd.DataFrame(columns | {name: values[:, place] for place, name in enumerate(columns_of(grid))})
