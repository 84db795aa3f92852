"""Asks the exchange in process, without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from butterquant_assets.market.crypto_simulator import CryptoMarket
from butterquant_assets.market.crypto_state import CryptoMarketConfig
from butterquant_assets.market.exchange.app import ExchangeApp
from butterquant_assets.market.exchange.clock import SteppedClock
from butterquant_assets.market.exchange.simulated_venue import SimulatedVenue

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
SWAP = "SIMBTC-USDT-SWAP"
MARKET = CryptoMarket(CryptoMarketConfig(seed=5, coins=8))
START = MARKET.first_hour * HOUR_MS
NOW = START + (100 * 24 + 5) * HOUR_MS + 25 * MINUTE_MS


def exchange(now: int = NOW, **options: Any) -> ExchangeApp:
    """An exchange over the simulated market that stands still, without limits unless given."""
    return ExchangeApp(SimulatedVenue(MARKET), SteppedClock(now), **options)


def ask(app: ExchangeApp, path: str, **query: object) -> httpx.Response:
    """One request."""

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exchange") as client:
            return await client.get(f"/api/v5/{path}", params={name: str(value) for name, value in query.items()})

    return asyncio.run(get())


def rows(app: ExchangeApp, path: str, **query: object) -> list[Any]:
    """The data of a request that must succeed."""
    answer = ask(app, path, **query)
    document = answer.json()
    assert (answer.status_code, document["code"]) == (200, "0"), answer.text
    found: list[Any] = document["data"]
    return found
