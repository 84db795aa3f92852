"""Inside an hour of the simulated crypto market: the trades that make up its bar, and the book at a moment.

What belongs here: pure functions of one bar and a stream. What does not: the bars themselves (`crypto_simulator`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.market.crypto_traits import LOTS_PER_CONTRACT, Floats, Ints

HOUR_MS = 3_600_000
TRADES_PER_HOUR = 240
_TRADES, _BOOK = 5, 6

USUAL_LEVELS = 20
"""Levels a side drawn first."""


@dataclass(frozen=True)
class Bar:
    """One hour of one coin: prices in USDT, volumes in contracts (multiples of a lot)."""

    open: float
    high: float
    low: float
    close: float
    volume: float
    taker_buy: float


@dataclass(frozen=True)
class Trades:
    """Trades in order of time; arrays have shape (K,).

    Parameters
    ----------
    time
        ms since 1970-01-01 UTC
    price
        USDT
    size
        contracts
    buy
        whether the taker bought
    identity
        ascending trade numbers, unique for a coin
    """

    time: Ints
    price: Floats
    size: Floats
    buy: npt.NDArray[np.bool_]
    identity: Ints


@dataclass(frozen=True)
class Book:
    """Both sides of a book, best first; sizes in contracts, shapes (L,)."""

    bid_price: Floats
    bid_size: Floats
    ask_price: Floats
    ask_size: Floats


def trades_of_hour(seed: int, coin: int, hour: int, bar: Bar, decimals: int) -> Trades:
    """The trades behind one hourly bar.

    They begin at the open, end at the close, touch high and low, and their sizes (those of buying takers too) sum to
    the bar's, exactly in lots.

    Parameters
    ----------
    seed, coin, hour
        of the stream; the hour counts from 1970-01-01 UTC
    bar
        the hour; no trades when its volume is 0 or missing
    decimals
        decimals of a price

    Returns
    -------
    Trades
    """
    lots, bought = (_lots(value) for value in (bar.volume, bar.taker_buy))
    count = min(TRADES_PER_HOUR, lots // 10)
    if count < 4:
        if lots:
            raise DataError(f"hour {hour} of coin {coin} trades {lots} lots; expected none or at least 40")
        return Trades(*(np.empty(0, dtype) for dtype in (np.int64, float, float, bool, np.int64)))
    draw = np.random.default_rng([seed, _TRADES, coin, hour])
    buys = min(max(round(count * bought / lots), int(bought > 0)), count - int(bought < lots))
    buy = np.zeros(count, dtype=bool)
    buy[draw.permutation(count)[:buys]] = True
    size = np.empty(count, dtype=np.int64)
    size[buy] = _partition(draw, bought, buys)
    size[~buy] = _partition(draw, lots - bought, count - buys)
    time = np.sort(draw.integers(0, HOUR_MS - 1, count))
    return Trades(
        time=hour * HOUR_MS + time,
        price=_path(draw, bar, count, decimals),
        size=size / LOTS_PER_CONTRACT,
        buy=buy,
        identity=hour * 1_000 + np.arange(count),
    )


def book_at(
    seed: int, coin: int, moment: int, last: float, hourly_volume: float, decimals: int, levels: int = USUAL_LEVELS
) -> Book:
    """A book around the last price. Its imbalance is noise: it foretells nothing.

    Parameters
    ----------
    seed, coin, moment
        of the stream; the moment is any integer that names the snapshot
    last
        last traded price, USDT: the middle of the book up to a tick
    hourly_volume
        usual contracts an hour, which depth is in proportion to
    decimals
        decimals of a price
    levels
        levels a side, at least 1; the best `USUAL_LEVELS` are the same in every deeper book

    Returns
    -------
    Book
        prices strictly ordered and on ticks, sizes at least one lot; a bid below one tick is left out
    """
    draw = np.random.default_rng([seed, _BOOK, coin, moment])
    steps = 10.0**decimals
    middle = round(last * steps)
    half = max(round(middle * draw.uniform(0.2e-4, 1.2e-4)), 1)
    gap = max(round(middle * 0.5e-4), 1)
    shallow, deeper = min(levels, USUAL_LEVELS), max(levels - USUAL_LEVELS, 0)
    gaps, sizes = [], []
    for _ in range(2):
        gaps.append(draw.integers(1, 2 * gap + 1, shallow - 1))
        sizes.append(draw.gamma(2.0, 0.5, shallow))
    for side in range(2 if deeper else 0):
        gaps[side] = np.append(gaps[side], draw.integers(1, 2 * gap + 1, deeper))
        sizes[side] = np.append(sizes[side], draw.gamma(2.0, 0.5, deeper))
    sides = []
    for side, sign in enumerate((-1, 1)):
        offsets = half + np.append(0, np.cumsum(gaps[side]))
        depth = hourly_volume * 2e-3 * (1 + np.sqrt(np.arange(levels))) * sizes[side]
        price = (middle + sign * offsets) / steps
        size = np.maximum(np.round(depth * LOTS_PER_CONTRACT), 1.0) / LOTS_PER_CONTRACT
        sides += [price[price > 0], size[price > 0]]
    return Book(*sides)


def _lots(contracts: float) -> int:
    return 0 if np.isnan(contracts) else round(contracts * LOTS_PER_CONTRACT)


def _partition(draw: np.random.Generator, total: int, parts: int) -> Ints:
    """`total` lots in `parts` random portions of at least one."""
    if parts == 0:
        return np.empty(0, dtype=np.int64)
    weights = np.cumsum(draw.gamma(0.7, 1.0, parts) + 1e-9)
    edges = np.floor((total - parts) * weights / weights[-1]).astype(np.int64)
    edges[-1] = total - parts
    edges[1:] -= edges[:-1].copy()
    portions: Ints = edges + 1
    return portions


def _path(draw: np.random.Generator, bar: Bar, count: int, decimals: int) -> Floats:
    """A bridge from open to close kept within the bar, one step of it at the high and one at the low."""
    walk = np.cumsum(draw.standard_normal(count)) / np.sqrt(count)
    along = np.arange(count) / (count - 1)
    bridge = walk - walk[0] - along * (walk[-1] - walk[0])
    price: Floats = bar.open + along * (bar.close - bar.open) + 0.5 * (bar.high - bar.low) * bridge
    price = np.clip(price, bar.low, bar.high)
    top = 1 + int(np.argmax(price[1:-1]))
    bottom = 1 + int(np.argmin(np.where(np.arange(1, count - 1) == top, np.inf, price[1:-1])))
    steps = 10.0**decimals
    price = np.round(price * steps) / steps
    price[[top, bottom, 0, -1]] = bar.high, bar.low, bar.open, bar.close
    return price
