"""The real ccxt client, over a loopback socket, reads the simulated market whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from butterquant_assets.market.exchange.faults import FaultKind, FaultRule, Faults
from butterquant_assets.market.exchange.rate_limits import RateLimiter
from butterquant_assets.market.exchange.server import running_exchange
from butterquant_tests.market.exchange.asking import HOUR_MS, MARKET, NOW, START, exchange

ccxt = pytest.importorskip("ccxt")
SYMBOL = "SIMBTC/USDT:USDT"
OPEN_HOUR = NOW // HOUR_MS * HOUR_MS


def client_of(url: str, kind: Any = None, **options: Any) -> Any:
    client = (kind or ccxt.okx)(
        {
            "urls": {"api": {"rest": url}},
            "enableRateLimit": False,
            "timeout": 5_000,
            "options": {"fetchMarkets": {"types": ["swap"]}},
        }
        | options
    )
    client.milliseconds = lambda: NOW
    return client


@pytest.fixture(scope="module")
def okx() -> Iterator[Any]:
    with running_exchange(exchange()) as url:
        yield client_of(url)


def test_it_loads_the_markets_as_linear_swaps(okx: Any) -> None:
    markets = okx.load_markets()
    assert set(markets) == {f"{one.base}/USDT:USDT" for one in exchange().venue.instruments(NOW)}
    market = markets[SYMBOL]
    assert (market["swap"], market["linear"], market["active"]) == (True, True, True)
    assert market["contractSize"] == MARKET.traits.contract_value[0]
    assert market["precision"]["price"] == 10.0 ** -int(MARKET.traits.decimals[0])
    assert market["limits"]["leverage"]["max"] == 100


def test_it_pages_hourly_candles_from_the_first_to_the_open_one(okx: Any) -> None:
    found, since = [], START
    while page := okx.fetch_ohlcv(SYMBOL, "1h", since=since, limit=300):
        found += page
        since = page[-1][0] + HOUR_MS
    assert [row[0] for row in found] == list(range(START, OPEN_HOUR + 1, HOUR_MS))
    hours = MARKET.hours(MARKET.first_hour, OPEN_HOUR // HOUR_MS)
    told = np.array([row[1:6] for row in found[:-1]], dtype=float)
    expected = np.column_stack([hours.open, hours.high, hours.low, hours.close])[:, :: len(MARKET.traits.names)]
    assert np.array_equal(told[:, :4], expected)
    assert np.allclose(told[:, 4], hours.volume[:, 0] * MARKET.traits.contract_value[0], rtol=1e-12)


@pytest.mark.parametrize("kind", ["mark", "index"])
def test_it_reads_mark_and_index_candles(okx: Any, kind: str) -> None:
    found = okx.fetch_ohlcv(SYMBOL, "1h", since=START, limit=100, params={"price": kind})
    closes = getattr(MARKET.hours(MARKET.first_hour, MARKET.first_hour + 100), f"{kind}_close")[:, 0]
    assert [row[4] for row in found] == list(closes)


def test_it_reads_funding_with_true_times(okx: Any) -> None:
    history = okx.fetch_funding_rate_history(SYMBOL, since=NOW - 10 * 24 * HOUR_MS, limit=100)
    hours = MARKET.hours(history[0]["timestamp"] // HOUR_MS, OPEN_HOUR // HOUR_MS + 1).funding[:, 0]
    assert [one["fundingRate"] for one in history] == list(hours[~np.isnan(hours)])
    ahead = okx.fetch_funding_rate(SYMBOL)
    assert ahead["interval"] == "8h"
    assert ahead["fundingTimestamp"] - history[-1]["timestamp"] == 8 * HOUR_MS


def test_it_reads_interest_taker_volume_book_trades_tiers_and_time(okx: Any) -> None:
    hour = MARKET.hours(OPEN_HOUR // HOUR_MS - 1, OPEN_HOUR // HOUR_MS)
    interest = okx.fetch_open_interest_history(SYMBOL, "1h", limit=2)
    assert interest[-1]["openInterestAmount"] == hour.open_interest[0, 0]
    assert okx.fetch_open_interest(SYMBOL)["openInterestAmount"] == hour.open_interest[0, 0]
    taker = okx.publicGetRubikStatTakerVolumeContract({"instId": "SIMBTC-USDT-SWAP", "period": "1H"})
    assert float(taker["data"][0][2]) == hour.taker_buy[0, 0]
    book = okx.fetch_order_book(SYMBOL, 20)
    assert book["bids"][0][0] < book["asks"][0][0]
    trades = okx.fetch_trades(SYMBOL, limit=50)
    assert [trade["timestamp"] for trade in trades] == sorted(trade["timestamp"] for trade in trades)
    tiers = okx.fetch_market_leverage_tiers(SYMBOL, {"marginMode": "isolated"})
    assert tiers[0]["maxLeverage"] == 100
    assert okx.fetch_time() == NOW
    assert okx.fetch_status()["status"] == "ok"
    assert okx.fetch_ticker(SYMBOL)["last"] == trades[-1]["price"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.RATE_LIMITED, "RateLimitExceeded"),
        (FaultKind.SERVER_ERROR, "ExchangeNotAvailable"),
        (FaultKind.TIMEOUT, "RequestTimeout"),
        (FaultKind.UNKNOWN_INSTRUMENT, "BadSymbol"),
        (FaultKind.WRONG_ENVIRONMENT, "AuthenticationError"),
        (FaultKind.KEY_EXPIRED, "AuthenticationError"),
        (FaultKind.REGION_BLOCK, "BaseError"),
    ],
)
def test_its_errors_are_those_of_the_real_exchange(kind: FaultKind, error: str) -> None:
    app = exchange(faults=Faults([FaultRule(kind, endpoints=("market/candles",))]), hang_seconds=3.0)
    with running_exchange(app) as url:
        client = client_of(url, timeout=300)
        client.load_markets()
        with pytest.raises(getattr(ccxt, error)) as caught:
            client.fetch_ohlcv(SYMBOL, "1h", limit=5)
        assert not isinstance(caught.value, ccxt.NotSupported)
        assert len(client.fetch_ohlcv(SYMBOL, "1h", limit=5)) == 5


@pytest.mark.parametrize("kind", [FaultKind.TRUNCATED, FaultKind.WRONG_CONTENT_TYPE])
def test_it_takes_an_answer_that_is_no_json_for_an_empty_one(kind: FaultKind) -> None:
    """A trap: ccxt 4.5 raises nothing, so whoever collects must see to it that the answer was a document."""
    with running_exchange(exchange(faults=Faults([FaultRule(kind, endpoints=("market/candles",))]))) as url:
        client = client_of(url, enableLastJsonResponse=True)
        client.load_markets()
        assert client.fetch_ohlcv(SYMBOL, "1h", limit=5) == []
        assert client.last_json_response is None
        assert len(client.fetch_ohlcv(SYMBOL, "1h", limit=5)) == 5
        assert client.last_json_response["code"] == "0"


def test_the_async_client_gathers_coins_at_once() -> None:
    import ccxt.async_support as ccxt_async

    async def gathered(url: str) -> list[Any]:
        client = client_of(url, ccxt_async.okx)
        try:
            await client.load_markets()
            return list(await asyncio.gather(*(client.fetch_ohlcv(name, "1h", limit=300) for name in client.symbols)))
        finally:
            await client.close()

    with running_exchange(exchange()) as url:
        found = asyncio.run(gathered(url))
    assert len(found) == len(exchange().venue.instruments(NOW))
    assert all(len(one) == 300 for one in found)


def test_a_client_that_ignores_the_limits_is_stopped() -> None:
    app = exchange(limiter=RateLimiter(time.monotonic))
    with running_exchange(app) as url:
        client = client_of(url)
        told = [client.fetch_time() for _ in range(10)]
        with pytest.raises(ccxt.RateLimitExceeded):
            client.fetch_time()
    assert told == [NOW] * 10
