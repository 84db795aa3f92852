"""A market that does what a test says, and requests signed as a client signs them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np

from butterquant_assets.market.crypto_microstructure import Book
from butterquant_assets.market.crypto_traits import Floats, Ints
from butterquant_assets.market.exchange.app import ExchangeApp
from butterquant_assets.market.exchange.clock import SteppedClock
from butterquant_assets.market.exchange.trading.account import AccountConfig
from butterquant_assets.market.exchange.trading.credentials import Credentials, demo_credentials
from butterquant_assets.market.exchange.trading.desk import TradingDesk
from butterquant_assets.market.exchange.trading.routes import Trading
from butterquant_assets.market.exchange.venue import Instrument, Kind, Steps, Venue, steps_in_order

START = 1_630_454_400_000
"""2021-09-01 00:00 UTC in ms."""

HOUR = 3_600_000
SECOND = 1_000
COIN = Instrument("SIMX", 0.1, 0.01, 1.0, START - 100 * HOUR)
SWAP = COIN.inst_id
KEY = demo_credentials(0)


@dataclass
class ScriptedVenue:
    """One swap: prints (time, price, contracts), mark prices from a moment on, settlements; a book if one is given.

    Recorded bars (open and close time, open, low, high, close, contracts) may stand between the prints, and bars of the
    mark price (open and close time, low, high, close).

    Only what the trading side asks for is here; the public endpoints do not work on it.
    """

    prints: list[tuple[int, float, float]] = field(default_factory=lambda: [(START - HOUR, 10.0, 1e6)])
    marks: list[tuple[int, float]] = field(default_factory=list)
    rates: list[tuple[int, float]] = field(default_factory=list)
    levels: tuple[Sequence[tuple[float, float]], Sequence[tuple[float, float]]] | None = None
    bars: list[tuple[int, int, float, float, float, float, float]] = field(default_factory=list)
    mark_bars: list[tuple[int, int, float, float, float]] = field(default_factory=list)
    instrument: Instrument = COIN
    delisted: int = 2**62

    def instruments(self, now: int) -> tuple[Instrument, ...]:
        return (self.instrument,) if now < self.delisted else ()

    def settlements(self, base: str, first: int, end: int) -> tuple[Ints, Floats]:
        found = [one for one in self.rates if first <= one[0] < end]
        return np.array([time for time, _ in found], dtype=np.int64), np.array([rate for _, rate in found], dtype=float)

    def steps(self, base: str, first: int, end: int) -> Steps:
        marks = [(time, np.nan, 0.0) for time, _ in self.marks]
        rows = sorted(row for row in self.prints + marks if first < row[0] <= end)
        time = np.array([row[0] for row in rows], dtype=np.int64)
        price, volume = (np.array([row[column] for row in rows], dtype=float) for column in (1, 2))
        mark = np.array([self.price("mark", base, row[0]) for row in rows], dtype=float)
        moments = Steps(time, time, price, price, price, price, volume, mark, mark, mark)
        bars = np.array([row for row in self.bars if first < row[1] <= end], dtype=float).reshape(-1, 7)
        none = np.full(len(bars), np.nan)
        opened, closed = bars[:, 0].astype(np.int64), bars[:, 1].astype(np.int64)
        traded = Steps(closed, opened, *bars[:, 2:].T, none, none, none)
        bars = np.array([row for row in self.mark_bars if first < row[1] <= end], dtype=float).reshape(-1, 5)
        none = np.full(len(bars), np.nan)
        opened, closed = bars[:, 0].astype(np.int64), bars[:, 1].astype(np.int64)
        marked = Steps(closed, opened, none, none, none, none, np.zeros(len(bars)), *bars[:, 2:].T)
        return steps_in_order([moments, traded, marked])

    def book(self, base: str, now: int, levels: int) -> Book | None:
        if self.levels is None:
            return None
        bids, asks = (np.array(side, dtype=float).reshape(-1, 2) for side in self.levels)
        return Book(bids[:, 0], bids[:, 1], asks[:, 0], asks[:, 1])

    def price(self, kind: Kind, base: str, now: int) -> float:
        known = [price for time, price in self.marks if time <= now] if kind == "mark" else []
        return known[-1] if known else [price for time, price, _ in self.prints if time <= now][-1]


def desk(venue: ScriptedVenue | None = None, **config: Any) -> TradingDesk:
    """A desk at the start, by default on a market that stands at 10."""
    market: Any = venue or ScriptedVenue()
    return TradingDesk(market, AccountConfig(**config), START)


def trading_app(
    venue: Any, now: int = START, *, credentials: Credentials = KEY, account: AccountConfig | None = None, **more: Any
) -> ExchangeApp:
    """An exchange with an account, whose clock stands still until it is moved."""
    market: Venue = venue
    trading = Trading(TradingDesk(market, account or AccountConfig(), now), credentials)
    return ExchangeApp(market, SteppedClock(now), trading=trading, **more)


def signed(
    app: ExchangeApp,
    method: str,
    path: str,
    parameters: Any = None,
    *,
    credentials: Credentials = KEY,
    moment: int | None = None,
    without: Sequence[str] = (),
    **headers: str,
) -> httpx.Response:
    """One request signed with the credentials.

    Text is sent as it is. Headers by name replace what would be sent, those in `without` are left out.
    """
    query = str(httpx.QueryParams(parameters)) if method == "GET" and parameters else ""
    target = f"/api/v5/{path}" + (f"?{query}" if query else "")
    body = parameters if isinstance(parameters, str) else "" if method == "GET" else json.dumps(parameters)
    now = datetime.fromtimestamp((app.clock() if moment is None else moment) / 1000, UTC)
    stamp = headers.pop("timestamp", now.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    digest = hmac.new(credentials.secret.encode(), (stamp + method + target + body).encode(), hashlib.sha256).digest()
    sent = {
        "OK-ACCESS-KEY": credentials.key,
        "OK-ACCESS-SIGN": base64.b64encode(digest).decode(),
        "OK-ACCESS-TIMESTAMP": stamp,
        "OK-ACCESS-PASSPHRASE": credentials.passphrase,
        "x-simulated-trading": "1",
        "Content-Type": "application/json",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {name: value for name, value in sent.items() if name not in without}

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exchange") as client:
            return await client.request(method, target, content=body or None, headers=sent)

    return asyncio.run(ask())


def data(app: ExchangeApp, method: str, path: str, parameters: Any = None) -> list[dict[str, Any]]:
    """The data of a request that must succeed."""
    answer = signed(app, method, path, parameters)
    document = answer.json()
    assert (answer.status_code, document["code"]) == (200, "0"), answer.text
    found: list[dict[str, Any]] = document["data"]
    return found


def order(side: str, size: object, kind: str = "market", **more: object) -> dict[str, object]:
    """Parameters of an isolated order of the scripted swap."""
    return {"instId": SWAP, "tdMode": "isolated", "side": side, "ordType": kind, "sz": str(size)} | more
