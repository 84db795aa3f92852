"""The simulated crypto market in the columns of the contracts, by UTC day.

Trades and books are drawn from the bars, so that they agree with them. A book is taken in the last second of every
hour, when the close is the last price.

What belongs here: frames of the simulated figures. What does not: how the figures come about (`crypto_simulator`,
`crypto_microstructure`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.market.crypto_microstructure import Bar, book_at, trades_of_hour
from butterquant_assets.market.crypto_schemas import BOOK_LEVELS, DELIVERED, no_rows, raw_columns
from butterquant_assets.market.crypto_simulator import CryptoMarket
from butterquant_assets.market.crypto_state import HOURS, CryptoHours
from butterquant_assets.market.exchange.bar_sizes import HOUR_MS, MINUTE_MS, BarSize
from butterquant_assets.market.exchange.simulated_venue import SimulatedVenue
from butterquant_assets.market.exchange.tiers import tiers_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DEPTH = 1e-3
"""10 bp: how far from the middle depth is counted."""

_DEEP_LEVELS = 2 * BOOK_LEVELS
"""Levels a side that reach that far; the best `BOOK_LEVELS` of them are kept."""

_SECOND = 1
_MINUTE_BARS = BarSize("1m", MINUTE_MS)


def simulated_frame(market: CryptoMarket, dataset: str, days: Sequence[str], large_from_usd: float) -> pd.DataFrame:
    """Raw rows of one dataset for some days of a simulated market.

    Parameters
    ----------
    market
        the market
    dataset
        one of `crypto_schemas.DELIVERED`
    days
        UTC days of the market, any order
    large_from_usd
        value from which a trade counts as large

    Returns
    -------
    pd.DataFrame
        columns of `crypto_schemas.raw_columns`, sorted by key
    """
    contract = DELIVERED[dataset]
    parts = [_MAKERS[dataset](_Day(market, day, large_from_usd)) for day in sorted(set(days))]
    frames = [pd.DataFrame(part) for part in parts if part]
    if not frames:
        return no_rows(contract)[raw_columns(dataset)]
    frame = pd.concat(frames, ignore_index=True)[raw_columns(dataset)]
    types = no_rows(contract).dtypes
    frame = frame.astype({name: types[name] for name in frame.columns})
    return frame.sort_values(list(contract.keys), kind="stable").reset_index(drop=True)


@dataclass(frozen=True)
class _Day:
    """One day of a market: its hours and what places them."""

    market: CryptoMarket
    day: str
    large_from_usd: float

    @property
    def first(self) -> int:
        """Hours from 1970-01-01 UTC to the first hour of the day."""
        return int(np.datetime64(self.day, "h").astype(np.int64))

    @property
    def hours(self) -> CryptoHours:
        """The day's figures."""
        return self.market.hours(self.first, self.first + HOURS)

    def keys(self, where: npt.NDArray[np.bool_], name: str = "hour") -> dict[str, object]:
        """Stamps and coins of the cells (24, N) that are True, hour by hour."""
        hour, coin = np.nonzero(where)
        return {name: self._stamps(hour), "coin": np.array(self.market.traits.names, dtype=object)[coin]}

    def _stamps(self, hour: npt.NDArray[np.intp]) -> npt.NDArray[np.datetime64]:
        return (self.first + hour).astype("datetime64[h]").astype("datetime64[us]")


def _bars(day: _Day) -> dict[str, object]:
    hours, value = day.hours, day.market.traits.contract_value
    alive = ~np.isnan(hours.close)
    volume = hours.volume * value
    mean = (hours.open + hours.high + hours.low + hours.close) / 4
    columns = {name: getattr(hours, name) for name in ("open", "high", "low", "close")}
    columns |= {"volume": volume, "quote_volume_usd": volume * mean}
    return day.keys(alive) | {name: values[alive] for name, values in columns.items()}


def _priced(kind: str, day: _Day) -> dict[str, object]:
    hours = day.hours
    alive = ~np.isnan(hours.close)
    prices = {name: getattr(hours, f"{kind}_{name}")[alive] for name in ("open", "high", "low", "close")}
    return day.keys(alive) | prices


def _funding(day: _Day) -> dict[str, object]:
    hours = day.hours
    settled = ~np.isnan(hours.funding)
    return day.keys(settled, "settled_at") | {
        "funding_rate": hours.funding[settled],
        "interval_hours": np.full(int(settled.sum()), np.nan),
        "mark_price": hours.mark_open[settled],
    }


def _open_interest(day: _Day) -> dict[str, object]:
    hours = day.hours
    alive = ~np.isnan(hours.close)
    coins = hours.open_interest * day.market.traits.contract_value
    values = {"open_interest": coins, "open_interest_usd": coins * hours.mark_close}
    return day.keys(alive) | {name: value[alive] for name, value in values.items()}


def _taker_volume(day: _Day) -> dict[str, object]:
    hours, value = day.hours, day.market.traits.contract_value
    alive = ~np.isnan(hours.close)
    bought, sold = hours.taker_buy * value, (hours.volume - hours.taker_buy) * value
    return day.keys(alive) | {"buy_volume": bought[alive], "sell_volume": sold[alive]}


def _trade_flow(day: _Day) -> dict[str, object]:
    hours, traits = day.hours, day.market.traits
    alive = ~np.isnan(hours.close)
    rows = []
    for hour, coin in np.argwhere(alive):
        names = ("open", "high", "low", "close", "volume", "taker_buy")
        bar = Bar(**{name: float(getattr(hours, name)[hour, coin]) for name in names})
        seed, decimals = day.market.config.seed, int(traits.decimals[coin])
        trades = trades_of_hour(seed, int(coin), day.first + int(hour), bar, decimals)
        size = trades.size * traits.contract_value[coin]
        large = size * trades.price >= day.large_from_usd
        sums = [size[which].sum() for which in (trades.buy, ~trades.buy, large & trades.buy, large & ~trades.buy)]
        rows.append((*np.round(sums, 10), len(size), large.sum()))
    figures = np.array(rows, dtype=np.float64).reshape(-1, 6).T
    names = ("buy_volume", "sell_volume", "large_buy_volume", "large_sell_volume", "trades", "large_trades")
    columns = dict(zip(names, figures, strict=True))
    return day.keys(alive) | columns | {"large_from_usd": float(day.large_from_usd)}


@dataclass(frozen=True)
class _Books:
    """The books of a day, K of them, hour by hour.

    Parameters
    ----------
    where
        hours and coins that have one, shape (24, N)
    price, size
        by side; USDT and contracts, shape (K, `_DEEP_LEVELS`), NaN where a book is shorter
    """

    where: npt.NDArray[np.bool_]
    price: dict[str, Floats]
    size: dict[str, Floats]


@lru_cache(maxsize=128)
def _snapshots(market: CryptoMarket, first: int) -> _Books:
    hours, traits = market.hours(first, first + HOURS), market.traits
    alive = ~np.isnan(hours.close)
    books = []
    for hour, coin in np.argwhere(alive):
        price = float(hours.close[hour, coin])
        moment = (first + int(hour) + 1) * 3600 - _SECOND
        usual = float(traits.dollars[coin] / price / traits.contract_value[coin])
        decimals = int(traits.decimals[coin])
        books.append(book_at(market.config.seed, int(coin), moment, price, usual, decimals, _DEEP_LEVELS))
    return _Books(
        alive,
        {side: _stacked([getattr(book, f"{side}_price") for book in books]) for side in ("bid", "ask")},
        {side: _stacked([getattr(book, f"{side}_size") for book in books]) for side in ("bid", "ask")},
    )


def _taken(day: _Day, where: npt.NDArray[np.bool_]) -> dict[str, object]:
    keys = day.keys(where, "taken_at")
    last_second = np.timedelta64(3600 - _SECOND, "s")
    return keys | {"taken_at": np.asarray(keys["taken_at"]) + last_second}


def _order_books(day: _Day) -> dict[str, object]:
    books = _snapshots(day.market, day.first)
    value = np.broadcast_to(day.market.traits.contract_value, books.where.shape)[books.where]
    best_bid, best_ask = books.price["bid"][:, 0], books.price["ask"][:, 0]
    middle = (best_bid + best_ask) / 2
    depth, resting = {}, {}
    for side, sign in (("bid", -1), ("ask", 1)):
        price, size = books.price[side], books.size[side]
        near = sign * (price - middle[:, None]) <= DEPTH * middle[:, None]
        reached = np.where(near, price * size, 0.0).sum(axis=1) * value
        depth[side] = np.where(near[:, -1], np.nan, reached)
        resting[side] = np.nansum(size[:, :BOOK_LEVELS], axis=1)
    levels = [(~np.isnan(books.price[side][:, :BOOK_LEVELS])).sum(axis=1) for side in ("bid", "ask")]
    return _taken(day, books.where) | {
        "best_bid": best_bid,
        "best_ask": best_ask,
        "spread_bps": (best_ask - best_bid) / middle * 1e4,
        "bid_depth_10bp_usd": depth["bid"],
        "ask_depth_10bp_usd": depth["ask"],
        "imbalance": (resting["bid"] - resting["ask"]) / (resting["bid"] + resting["ask"]),
        "levels": np.minimum(*levels),
    }


def _order_book_levels(day: _Day) -> dict[str, object]:
    books = _snapshots(day.market, day.first)
    taken = _taken(day, books.where)
    value = np.broadcast_to(day.market.traits.contract_value, books.where.shape)[books.where]
    parts = []
    for side in ("bid", "ask"):
        price, size = books.price[side][:, :BOOK_LEVELS], books.size[side][:, :BOOK_LEVELS]
        row, level = np.nonzero(~np.isnan(price))
        keys = {name: np.asarray(values)[row] for name, values in taken.items()}
        figures = {"level": level + 1, "price": price[row, level], "size": size[row, level] * value[row]}
        parts.append(pd.DataFrame(keys | figures).assign(side=side))
    return _columns(parts)


def _columns(parts: Sequence[pd.DataFrame]) -> dict[str, object]:
    if not parts:
        return {}
    frame = pd.concat(parts, ignore_index=True)
    return {str(name): frame[name] for name in frame.columns}


def _stacked(levels: Sequence[Floats]) -> Floats:
    """Levels of many books as one array (books, `_DEEP_LEVELS`), NaN where a book is shorter."""
    stacked = np.full((len(levels), _DEEP_LEVELS), np.nan)
    for row, values in enumerate(levels):
        stacked[row, : len(values)] = values
    return stacked


def _minute_bars(day: _Day) -> dict[str, object]:
    venue, traits = SimulatedVenue(day.market), day.market.traits
    first, end = day.first * HOUR_MS, (day.first + HOURS) * HOUR_MS
    parts = []
    for coin in np.flatnonzero((~np.isnan(day.hours.close)).any(axis=0)):
        bars = venue.bars("trade", traits.names[coin], _MINUTE_BARS, first, end, HOURS * 60, end)
        prices = {name: getattr(bars, name) for name in ("open", "high", "low", "close")}
        minute = bars.stamp.astype("datetime64[ms]").astype("datetime64[us]")
        traded = {"volume": bars.volume * traits.contract_value[coin], "quote_volume_usd": bars.quote_volume}
        parts.append(pd.DataFrame({"minute": minute, "coin": traits.names[coin]} | prices | traded))
    return _columns(parts)


def _instruments(day: _Day) -> dict[str, object]:
    listed = SimulatedVenue(day.market).instruments(day.first * HOUR_MS)
    stamps = np.array([one.listed for one in listed], dtype="datetime64[ms]").astype("datetime64[us]")
    return {
        "day": np.full(len(listed), np.datetime64(day.day, "us")),
        "coin": [one.base for one in listed],
        "inst_id": [one.inst_id for one in listed],
        "contract_value": [one.contract_value for one in listed],
        "tick_size": [one.tick for one in listed],
        "lot_size": [one.lot for one in listed],
        "max_leverage": [float(one.leverage) for one in listed],
        "listed_at": stamps,
        "state": "live",
    }


def _leverage_tiers(day: _Day) -> dict[str, object]:
    rows = [
        (one.base, tier.number, tier.least, tier.most, tier.maintenance, 1 / tier.leverage, tier.leverage)
        for one in SimulatedVenue(day.market).instruments(day.first * HOUR_MS)
        for tier in tiers_of(one)
    ]
    names = ("coin", "tier", "min_contracts", "max_contracts", "maintenance_margin_rate", "initial_margin_rate")
    columns = zip((*names, "max_leverage"), zip(*rows, strict=True), strict=True)
    return {"day": np.full(len(rows), np.datetime64(day.day, "us"))} | {name: list(v) for name, v in columns}


def _universe(day: _Day) -> dict[str, object]:
    """Coins with a market, ranked by capitalisation at the last close before the day."""
    market, traits = day.market, day.market.traits
    alive = np.flatnonzero(~np.isnan(day.hours.close[0]))
    price = traits.start_price.copy()
    if day.first > market.first_hour:
        before = market.hours(day.first - 1, day.first).close[0]
        price = np.where(np.isnan(before), day.hours.open[0], before)
    cap = (traits.supply * price)[alive]
    order = np.argsort(-cap, kind="stable")
    return {
        "day": np.full(len(alive), np.datetime64(day.day, "us")),
        "coin": np.array(traits.names, dtype=object)[alive][order],
        "rank": np.arange(1, len(alive) + 1),
        "market_cap_usd": cap[order],
        "chosen_by": "simulation",
        "as_of_known": True,
    }


_MAKERS = {
    "crypto_bars": _bars,
    "crypto_minute_bars": _minute_bars,
    "mark_prices": lambda day: _priced("mark", day),
    "index_prices": lambda day: _priced("index", day),
    "funding_rates": _funding,
    "open_interest": _open_interest,
    "taker_volume": _taker_volume,
    "order_books": _order_books,
    "order_book_levels": _order_book_levels,
    "trade_flow": _trade_flow,
    "instruments": _instruments,
    "leverage_tiers": _leverage_tiers,
    "crypto_universe": _universe,
}
