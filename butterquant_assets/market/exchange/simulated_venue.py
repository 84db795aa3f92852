"""The simulated crypto market as something an exchange can be backed by.

Bars of an hour and more come from the market's hours; smaller ones, and the open one, from the trades of the hour up
to now, so that nothing an exchange says reveals what is yet to happen. Mark and index are kept by the hour; within one
they move with the trades.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from butterquant_assets.market.crypto_microstructure import Bar, Book, Trades, book_at, trades_of_hour
from butterquant_assets.market.crypto_prices import funding_rate
from butterquant_assets.market.crypto_simulator import CryptoMarket
from butterquant_assets.market.crypto_state import NEUTRAL_FUNDING, CryptoHours
from butterquant_assets.market.crypto_traits import LOTS_PER_CONTRACT, Floats, Ints
from butterquant_assets.market.exchange.answers import parameter_error, unknown_instrument
from butterquant_assets.market.exchange.bar_sizes import HOUR_MS, MINUTE_MS, Bars, BarSize, aggregate, no_bars
from butterquant_assets.market.exchange.venue import FundingOutlook, Instrument, Kind, Steps, no_steps, steps_in_order

_NO_TRADES = Trades(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, bool), np.empty(0, np.int64))


class SimulatedVenue:
    """A `Venue` backed by a `CryptoMarket`."""

    def __init__(self, market: CryptoMarket) -> None:
        self.market = market
        self._coins = {name: coin for coin, name in enumerate(market.traits.names)}
        self._trades_of = lru_cache(maxsize=4096)(self._trades_of_hour)

    def instruments(self, now: int) -> tuple[Instrument, ...]:
        """What is listed and not delisted in the present hour."""
        traits = self.market.traits
        start = self.market.first_hour
        return tuple(
            Instrument(
                base=name,
                contract_value=float(traits.contract_value[coin]),
                tick=float(10.0 ** -int(traits.decimals[coin])),
                lot=1 / LOTS_PER_CONTRACT,
                listed=(start + 24 * int(traits.listed_day[coin])) * HOUR_MS,
                leverage=100 if coin < 2 else 50,
            )
            for name, coin in self._coins.items()
            if self.market.alive(coin, now // HOUR_MS)
        )

    def bars(self, kind: Kind, base: str, size: BarSize, first: int, end: int, limit: int, now: int) -> Bars:
        """The newest `limit` bars with first <= stamp < end, oldest first; the open one as far as it has come."""
        coin = self._coin(base)
        top = size.floor(min(end - 1, now))
        bottom = max(size.floor(first - 1) + size.length, top - (limit - 1) * size.length, self._listed(coin))
        if top < bottom:
            return no_bars()
        stop = min(top + size.length, now + 1)
        if size.length % HOUR_MS == 0:
            small = self._hourly(kind, coin, bottom // HOUR_MS, -(-stop // HOUR_MS), now)
        elif kind != "trade":
            raise parameter_error("bar")
        else:
            small = self._minutes(coin, bottom, stop, now)
        return aggregate(small, size, now)

    def settlements(self, base: str, first: int, end: int) -> tuple[Ints, Floats]:
        """Settlements with their true times."""
        coin = self._coin(base)
        low, high = max(-(-first // HOUR_MS), self._listed(coin) // HOUR_MS), -(-end // HOUR_MS)
        if low >= high:
            return np.empty(0, np.int64), np.empty(0)
        rates = self.market.hours(low, high).funding[:, coin]
        settled = np.flatnonzero(~np.isnan(rates))
        return (low + settled) * HOUR_MS, rates[settled]

    def outlook(self, base: str, now: int) -> FundingOutlook | None:
        """The settlement ahead, its rate from the closed hours of its interval."""
        coin, hour = self._coin(base), now // HOUR_MS
        interval = int(self._row(hour).interval[0, coin])
        begin = hour // interval * interval
        ahead = begin + interval
        premiums = np.array([NEUTRAL_FUNDING])
        if hour > self.market.first_hour:
            premiums = self.market.hours(min(begin, hour - 1), hour).premium[:, coin]
        mean = float(np.nanmean(premiums)) if not np.isnan(premiums).all() else NEUTRAL_FUNDING
        following = self._row(ahead).interval[0, coin]
        later = interval if np.isnan(following) else int(following)
        return FundingOutlook(
            time=ahead * HOUR_MS,
            rate=float(funding_rate(np.array(mean), interval)),
            next_time=(ahead + later) * HOUR_MS,
            premium=mean if np.isnan(premiums[-1]) else float(premiums[-1]),
        )

    def open_interest(self, base: str, moments: Ints) -> Floats:
        """Contracts at the end of the last full hour before each moment."""
        coin = self._coin(base)
        hours = moments // HOUR_MS - 1
        found = np.full(len(moments), np.nan)
        known = hours >= self._listed(coin) // HOUR_MS
        if known.any():
            low = int(hours[known].min())
            rows = self.market.hours(low, int(hours[known].max()) + 1)
            found[known] = rows.open_interest[hours[known] - low, coin]
        return found

    def taker_volume(
        self, base: str, size: BarSize, first: int, end: int, limit: int, now: int
    ) -> tuple[Ints, Floats, Floats, Floats]:
        """Sold, bought and mean price of closed periods, oldest first."""
        coin = self._coin(base)
        top = min(size.floor(end - 1), size.floor(now) - size.length)
        bottom = max(size.floor(first - 1) + size.length, top - (limit - 1) * size.length, self._listed(coin))
        stamps = np.arange(bottom, top + 1, size.length, dtype=np.int64)
        if not len(stamps):
            return stamps, np.empty(0), np.empty(0), np.empty(0)
        if size.length % HOUR_MS == 0:
            rows = self.market.hours(bottom // HOUR_MS, (top + size.length) // HOUR_MS)
            bought, traded = rows.taker_buy[:, coin], rows.volume[:, coin]
            value = traded * (rows.high + rows.low + rows.close)[:, coin] / 3
            parts = [bought, traded, value]
            first_of = np.arange(0, len(traded), size.length // HOUR_MS)
        else:
            trades = self.trades(base, bottom, top + size.length)
            period = (trades.time - bottom) // size.length
            parts = [
                np.bincount(period, weights=weights, minlength=len(stamps)).astype(np.float64)
                for weights in (trades.size * trades.buy, trades.size, trades.size * trades.price)
            ]
            first_of = np.arange(len(stamps))
        bought, traded, value = (np.add.reduceat(values, first_of) for values in parts)
        mean = np.divide(value, traded, out=np.full(len(traded), np.nan), where=traded > 0)
        return stamps, np.round(traded - bought, 8), np.round(bought, 8), mean

    def trades(self, base: str, first: int, end: int) -> Trades:
        """Trades in first <= t < end, in order of time."""
        coin = self._coin(base)
        first = max(first, self._listed(coin))
        hours = range(first // HOUR_MS, -(-end // HOUR_MS))
        parts = [self._trades_of(coin, hour) for hour in hours if self.market.alive(coin, hour)]
        if not parts:
            return _NO_TRADES
        names = ("time", "price", "size", "buy", "identity")
        every = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        within = (every["time"] >= first) & (every["time"] < end)
        return Trades(**{name: values[within] for name, values in every.items()})

    def steps(self, base: str, first: int, end: int) -> Steps:
        """Trades with the mark price of their moment, and the mark bar of each hour that closes."""
        coin, decimals = self._coin(base), int(self.market.traits.decimals[self._coin(base)])
        low, high = max(first, self._listed(coin)) // HOUR_MS, -(-(end + 1) // HOUR_MS)
        if low >= high:
            return no_steps()
        rows = self.market.hours(low, high)
        trades = self.trades(base, first + 1, end + 1)
        ratio = (rows.mark_open[:, coin] / rows.open[:, coin])[trades.time // HOUR_MS - low]
        mark = np.round(trades.price * ratio, decimals + 1)
        price, none = trades.price, np.full(high - low, np.nan)
        closed = Steps(
            (np.arange(low, high, dtype=np.int64) + 1) * HOUR_MS,
            np.arange(low, high, dtype=np.int64) * HOUR_MS,
            *(none, none, none, none, np.zeros(high - low)),
            *(getattr(rows, f"mark_{name}")[:, coin] for name in ("low", "high", "close")),
        )
        kept = (closed.time > first) & (closed.time <= end) & ~np.isnan(closed.mark_close)
        traded = Steps(trades.time, trades.time, price, price, price, price, trades.size, mark, mark, mark)
        return steps_in_order([traded, closed.take(kept)])

    def book(self, base: str, now: int, levels: int) -> Book | None:
        """The book of this second around the last trade."""
        coin, traits = self._coin(base), self.market.traits
        price = self.price("trade", base, now)
        volume = float(traits.dollars[coin] / price / traits.contract_value[coin])
        decimals = int(traits.decimals[coin])
        return book_at(self.market.config.seed, coin, now // 1000, price, volume, decimals, levels)

    def price(self, kind: Kind, base: str, now: int) -> float:
        """Last, mark or index price."""
        coin, hour = self._coin(base), now // HOUR_MS
        close = self._hourly(kind, coin, hour, hour + 1, now).close
        return float(close[-1]) if len(close) else float("nan")

    def _coin(self, base: str) -> int:
        if base not in self._coins:
            raise unknown_instrument()
        return self._coins[base]

    def _listed(self, coin: int) -> int:
        return (self.market.first_hour + 24 * int(self.market.traits.listed_day[coin])) * HOUR_MS

    def _row(self, hour: int) -> CryptoHours:
        return self.market.hours(hour, hour + 1)

    def _hourly(self, kind: Kind, coin: int, first: int, end: int, now: int) -> Bars:
        """Hours first <= t < end as bars; the hour of `now` only as far as it has come."""
        rows = self.market.hours(first, end)
        prefix = "" if kind == "trade" else f"{kind}_"
        opened, high, low, close = (
            getattr(rows, prefix + name)[:, coin].copy() for name in ("open", "high", "low", "close")
        )
        volume = rows.volume[:, coin].copy()
        quote = volume * (opened + high + low + close) / 4
        stamp = np.arange(first, end, dtype=np.int64) * HOUR_MS
        if end * HOUR_MS > now:
            so_far = self._so_far(coin, end - 1, now)
            ratio = opened[-1] / rows.open[-1, coin]
            decimals = int(self.market.traits.decimals[coin]) + (kind != "trade")
            high[-1], low[-1], close[-1] = (round(value * ratio, decimals) for value in so_far[:3])
            high[-1], low[-1] = max(high[-1], opened[-1], close[-1]), min(low[-1], opened[-1], close[-1])
            volume[-1], quote[-1] = so_far[3:]
        if kind != "trade":
            volume, quote = np.zeros(len(stamp)), np.zeros(len(stamp))
        quote = quote * self.market.traits.contract_value[coin]
        known = ~np.isnan(opened)
        return Bars(stamp, opened, high, low, close, volume, quote, stamp + HOUR_MS <= now).take(known)

    def _so_far(self, coin: int, hour: int, now: int) -> tuple[float, float, float, float, float]:
        """High, low, last, contracts and contracts x price of the trades of the hour up to now."""
        trades = self._trades_of(coin, hour)
        done = int(np.searchsorted(trades.time, now, side="right"))
        if done == 0:
            opened = float(self._row(hour).open[0, coin])
            return opened, opened, opened, 0.0, 0.0
        price, size = trades.price[:done], trades.size[:done]
        traded = float(np.round(size.sum(), 1))
        return float(price.max()), float(price.min()), float(price[-1]), traded, float(price @ size)

    def _minutes(self, coin: int, first: int, end: int, now: int) -> Bars:
        """Minute bars from trades; a minute without one is flat at the last price."""
        low, high = first // HOUR_MS, -(-end // HOUR_MS)
        rows = self.market.hours(low, high)
        minutes = 60 * (high - low)
        stamp = low * HOUR_MS + np.arange(minutes, dtype=np.int64) * MINUTE_MS
        trades = self.trades(self.market.traits.names[coin], low * HOUR_MS, min(high * HOUR_MS, now + 1))
        which = (trades.time - low * HOUR_MS) // MINUTE_MS
        begins = np.flatnonzero(np.append(True, np.diff(which) > 0)) if len(which) else np.empty(0, np.int64)
        busy = which[begins]
        close = np.full(minutes, np.nan)
        close[busy] = trades.price[np.append(begins[1:], len(which)) - 1] if len(begins) else np.nan
        opened, top, bottom = (np.full(minutes, np.nan) for _ in range(3))
        volume, quote = np.zeros(minutes), np.zeros(minutes)
        if len(begins):
            opened[busy] = trades.price[begins]
            top[busy] = np.maximum.reduceat(trades.price, begins)
            bottom[busy] = np.minimum.reduceat(trades.price, begins)
            volume[busy] = np.round(np.add.reduceat(trades.size, begins), 1)
            quote[busy] = np.add.reduceat(trades.size * trades.price, begins)
        flat = _last_known(close, rows.open[:, coin])
        opened, top, bottom, close = (np.where(np.isnan(v), flat, v) for v in (opened, top, bottom, close))
        quote = quote * self.market.traits.contract_value[coin]
        made = Bars(stamp, opened, top, bottom, close, volume, quote, stamp + MINUTE_MS <= now)
        return made.take((stamp >= first) & (stamp < end) & ~np.isnan(close))

    def _trades_of_hour(self, coin: int, hour: int) -> Trades:
        rows = self._row(hour)
        names = ("open", "high", "low", "close", "volume", "taker_buy")
        bar = Bar(**{name: float(getattr(rows, name)[0, coin]) for name in names})
        decimals = int(self.market.traits.decimals[coin])
        return trades_of_hour(self.market.config.seed, coin, hour, bar, decimals)


def _last_known(close: Floats, hour_open: Floats) -> Floats:
    """For each minute the close before it; the hour's open before its first trade."""
    filled = close.copy()
    for minute in range(len(filled)):
        if np.isnan(filled[minute]):
            filled[minute] = hour_open[minute // 60] if minute % 60 == 0 else filled[minute - 1]
    return filled
