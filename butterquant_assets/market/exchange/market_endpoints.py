"""The public endpoints under /api/v5/market: candles, books, trades, tickers."""

from __future__ import annotations

from functools import partial

from butterquant_assets.market.crypto_microstructure import HOUR_MS, Trades
from butterquant_assets.market.exchange.answers import Row, parameter_error, text, unknown_instrument
from butterquant_assets.market.exchange.bar_sizes import Bars, bar_size
from butterquant_assets.market.exchange.endpoints import Endpoint, base_of_family, instrument_of
from butterquant_assets.market.exchange.paging import Query, page, required, whole
from butterquant_assets.market.exchange.rate_limits import RateLimit
from butterquant_assets.market.exchange.venue import Instrument, Kind, Venue

RECENT_BARS = 1_440
"""How far back the endpoints without "history" in their name reach, in bars."""

_TRADE_HOURS = 24
_MOST_LEVELS = 400


def candles(venue: Venue, query: Query, now: int, *, kind: Kind, most: int, recent: bool) -> list[Row]:
    """Bars, newest first: [ts, o, h, l, c, vol, volCcy, volCcyQuote, confirm]; mark and index without the volumes."""
    asked = required(query, "instId")
    base = base_of_family(venue, asked, now) if kind == "index" else instrument_of(venue, asked, now).base
    value = instrument_of(venue, f"{base}-USDT-SWAP", now).contract_value
    size = bar_size(query.get("bar") or "1m")
    wanted = page(query, default=100, most=most)
    oldest = size.floor(now) - (RECENT_BARS - 1) * size.length if recent else 0
    bars = venue.bars(kind, base, size, max(wanted.first, oldest), wanted.end, wanted.limit, now)
    return _candle_rows(bars, kind, value)


def _candle_rows(bars: Bars, kind: Kind, contract_value: float) -> list[Row]:
    rows: list[Row] = []
    for position in range(len(bars) - 1, -1, -1):
        prices = (bars.open[position], bars.high[position], bars.low[position], bars.close[position])
        row = [str(int(bars.stamp[position])), *(text(float(price)) for price in prices)]
        if kind == "trade":
            contracts = float(bars.volume[position])
            coins = round(contracts * contract_value, 10)
            row += [text(contracts), text(coins), text(round(float(bars.quote_volume[position]), 6))]
        rows.append([*row, "1" if bars.closed[position] else "0"])
    return rows


def books(venue: Venue, query: Query, now: int) -> list[Row]:
    """The book, `sz` levels a side (1 unless said, at most 400): [price, contracts, "0", orders]."""
    instrument = instrument_of(venue, required(query, "instId"), now)
    levels = whole(query, "sz", 1)
    if not 1 <= levels <= _MOST_LEVELS:
        raise parameter_error("sz")
    book = venue.book(instrument.base, now, levels)
    if book is None:
        return []
    sides = {
        name: [[text(float(p)), text(float(s)), "0", str(1 + int(s) % 7)] for p, s in zip(prices, sizes, strict=True)]
        for name, prices, sizes in (
            ("asks", book.ask_price, book.ask_size),
            ("bids", book.bid_price, book.bid_size),
        )
    }
    return [{**sides, "ts": str(now)}]


def trades(venue: Venue, query: Query, now: int) -> list[Row]:
    """The newest trades, newest first: 100 unless said, at most 500."""
    instrument = instrument_of(venue, required(query, "instId"), now)
    limit = page(query, default=100, most=500).limit
    return _trade_rows(instrument, _newest(venue, instrument, 0, now + 1, limit, now), limit)


def history_trades(venue: Venue, query: Query, now: int) -> list[Row]:
    """Trades before or after a trade number (type 1, the usual) or a time (type 2), newest first; at most 100."""
    instrument = instrument_of(venue, required(query, "instId"), now)
    kind = query.get("type") or "1"
    if kind not in ("1", "2"):
        raise parameter_error("type")
    wanted = page(query, default=100, most=100)
    by_time = kind == "2"
    end = min(wanted.end if by_time else (wanted.end // 1_000 + 1) * HOUR_MS, now + 1)
    found = _newest(venue, instrument, wanted.first if by_time else 0, end, wanted.limit, now, 0 if by_time else 1_000)
    mark = found.time if by_time else found.identity
    kept = (mark >= wanted.first) & (mark < wanted.end)
    chosen = Trades(found.time[kept], found.price[kept], found.size[kept], found.buy[kept], found.identity[kept])
    return _trade_rows(instrument, chosen, wanted.limit)


def _newest(venue: Venue, instrument: Instrument, first: int, end: int, limit: int, now: int, spare: int = 0) -> Trades:
    """At least the newest `limit` + `spare` trades before `end`, as far as a day back reaches."""
    hours = 1
    while True:
        begin = max(first, (end - 1) // HOUR_MS * HOUR_MS - (hours - 1) * HOUR_MS)
        found = venue.trades(instrument.base, begin, min(end, now + 1))
        if len(found.time) >= limit + spare or begin <= first or hours >= _TRADE_HOURS:
            return found
        hours *= 2


def _trade_rows(instrument: Instrument, found: Trades, limit: int) -> list[Row]:
    newest = range(len(found.time) - 1, max(len(found.time) - 1 - limit, -1), -1)
    return [
        {
            "instId": instrument.inst_id,
            "side": "buy" if found.buy[position] else "sell",
            "sz": text(float(found.size[position])),
            "px": text(float(found.price[position])),
            "tradeId": str(int(found.identity[position])),
            "ts": str(int(found.time[position])),
        }
        for position in newest
    ]


def ticker(venue: Venue, query: Query, now: int) -> list[Row]:
    """Last price and the last 24 hours of one instrument."""
    return [_ticker(venue, instrument_of(venue, required(query, "instId"), now), now)]


def tickers(venue: Venue, query: Query, now: int) -> list[Row]:
    """The same of all instruments of a type; there are swaps only."""
    if required(query, "instType") != "SWAP":
        return []
    return [_ticker(venue, instrument, now) for instrument in venue.instruments(now)]


def _ticker(venue: Venue, instrument: Instrument, now: int) -> Row:
    size = bar_size("1H")
    day = venue.bars("trade", instrument.base, size, now - 24 * HOUR_MS, now + 1, 24, now)
    if not len(day):
        raise unknown_instrument()
    book = venue.book(instrument.base, now, 1)
    last_trade = venue.trades(instrument.base, size.floor(now), now + 1)
    best = {
        "askPx": text(float(book.ask_price[0])) if book else "",
        "askSz": text(float(book.ask_size[0])) if book else "",
        "bidPx": text(float(book.bid_price[0])) if book else "",
        "bidSz": text(float(book.bid_size[0])) if book else "",
    }
    return {
        "instType": "SWAP",
        "instId": instrument.inst_id,
        "last": text(float(day.close[-1])),
        "lastSz": text(float(last_trade.size[-1])) if len(last_trade.size) else "",
        **best,
        "open24h": text(float(day.open[0])),
        "high24h": text(float(day.high.max())),
        "low24h": text(float(day.low.min())),
        "volCcy24h": text(round(float(day.volume.sum()) * instrument.contract_value, 10)),
        "vol24h": text(round(float(day.volume.sum()), 8)),
        "ts": str(now),
        "sodUtc0": text(float(day.open[0])),
        "sodUtc8": text(float(day.open[0])),
    }


def _candle_endpoint(kind: Kind, *, most: int, recent: bool, requests: int) -> Endpoint:
    return Endpoint(partial(candles, kind=kind, most=most, recent=recent), RateLimit(requests))


MARKET = {
    "market/candles": _candle_endpoint("trade", most=300, recent=True, requests=40),
    "market/history-candles": _candle_endpoint("trade", most=300, recent=False, requests=20),
    "market/mark-price-candles": _candle_endpoint("mark", most=100, recent=True, requests=20),
    "market/history-mark-price-candles": _candle_endpoint("mark", most=100, recent=False, requests=20),
    "market/index-candles": _candle_endpoint("index", most=100, recent=True, requests=20),
    "market/history-index-candles": _candle_endpoint("index", most=100, recent=False, requests=10),
    "market/books": Endpoint(books, RateLimit(40)),
    "market/trades": Endpoint(trades, RateLimit(100)),
    "market/history-trades": Endpoint(history_trades, RateLimit(20)),
    "market/ticker": Endpoint(ticker, RateLimit(20)),
    "market/tickers": Endpoint(tickers, RateLimit(20)),
}
