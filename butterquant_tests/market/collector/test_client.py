"""Connections that fail, hang or are cut are tried again, and what is given up says so."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from butterquant_assets.market.collector.answers import Heard, LeftAloneError, UnansweredError
from butterquant_assets.market.collector.client import _HEARD, ExchangeClient
from butterquant_assets.market.collector.collection import collect_crypto
from butterquant_assets.market.collector.limiter import Limiter
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.exchange.app import ENDPOINTS, ExchangeApp
from butterquant_assets.market.exchange.clock import SteppedClock
from butterquant_assets.market.exchange.faults import FaultKind, FaultRule, Faults
from butterquant_assets.market.exchange.rate_limits import RateLimiter
from butterquant_assets.market.exchange.server import running_exchange
from butterquant_assets.market.exchange.simulated_venue import SimulatedVenue
from butterquant_tests.market.collector.collecting import Waiting, Watched, desk
from butterquant_tests.market.collector.virtual_time import VirtualTime
from butterquant_tests.market.exchange.asking import HOUR_MS, MARKET, NOW

TIERS = {"instType": "SWAP", "tdMode": "isolated", "instFamily": "SIMBTC-USDT"}
CANDLES = {"instId": "SIMBTC-USDT-SWAP", "bar": "1H", "limit": "5"}


def told(rows: list[Any]) -> list[Any]:
    return rows


def ask(url: str, waiting: Waiting, path: str = "market/candles", **changes: Any) -> list[Any]:
    async def once() -> list[Any]:
        client = waiting.client(CryptoConfig(source="okx", exchange_url=url, **changes))
        try:
            return await client.ask(path, CANDLES, told)
        finally:
            await client.close()

    return asyncio.run(once())


def test_a_server_that_hangs_is_asked_again_after_the_time_out() -> None:
    MARKET.hours(NOW // HOUR_MS - 24, NOW // HOUR_MS)  # computed before, so that only the fault takes long
    faults = Faults([FaultRule(FaultKind.TIMEOUT)])
    app = ExchangeApp(SimulatedVenue(MARKET), SteppedClock(NOW), faults=faults, hang_seconds=1.5)
    with running_exchange(app) as url:
        assert len(ask(url, Waiting(), timeout_seconds=0.5)) == 5
    assert faults.hits[FaultKind.TIMEOUT] == 1


def test_a_port_nobody_listens_on_is_given_up_with_the_reason() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    waiting = Waiting()
    with pytest.raises(
        UnansweredError, match=r"3 attempts, the last: the connection failed or broke off; collect again"
    ):
        ask(url, waiting, attempts=3)
    assert len(waiting.waited) >= 2


def test_retry_after_holds_the_whole_lane_for_as_long_as_it_says() -> None:
    faults = Faults([FaultRule(FaultKind.RETRY_AFTER)])
    app = ExchangeApp(SimulatedVenue(MARKET), SteppedClock(NOW), faults=faults)
    waiting = Waiting()
    with running_exchange(app) as url:
        assert len(ask(url, waiting)) == 5
    assert waiting.time >= 1.0


class Silencing:
    """Asks for two seconds of silence on one endpoint until these are over, and answers within a twentieth."""

    def __init__(self, clock: VirtualTime, path: str) -> None:
        self.clock, self.path = clock, path
        self.left: dict[str, list[float]] = {}
        self.counted = RateLimiter(clock.now)

    async def request(self, path: str, *_: Any) -> None:
        self.left.setdefault(path, []).append(self.clock.time)
        self.counted.admit("us", path, "", ENDPOINTS[path].limit)
        await self.clock.sleep(0.05)
        if path == self.path and self.clock.time < 2.0:
            _HEARD.get().append(Heard(429, {"Retry-After": "2"}, {"code": "50011", "msg": "Too Many Requests"}))
        else:
            _HEARD.get().append(Heard(200, {}, {"code": "0", "data": [[1]]}))

    async def close(self) -> None:
        """Nothing is open."""


def test_what_waits_for_a_connection_keeps_the_silence_and_other_lanes_go_on() -> None:
    clock, concurrency = VirtualTime(), 8
    exchange = Silencing(clock, "market/candles")

    async def collection() -> None:
        client = ExchangeClient(
            CryptoConfig(source="okx", concurrency=concurrency),
            Limiter(now=clock.now, sleep=clock.sleep),
            now=clock.now,
            sleep=clock.sleep,
        )
        await client.close()
        client._ccxt = exchange
        paths = ["market/candles"] * 50 + ["market/books"] * 30
        found = await asyncio.gather(*(client.ask(path, CANDLES, told) for path in paths))
        assert found == [[[1]]] * len(paths)

    asyncio.run(clock.run(collection()))
    silenced = np.array(exchange.left["market/candles"])
    # Only what was on its way already when the silence was asked for.
    assert (silenced < 0.05).sum() == concurrency
    assert ((silenced >= 0.05) & (silenced < 2.05)).sum() == 0
    assert len(silenced) == 50 + concurrency
    assert max(exchange.left["market/books"]) < 0.3
    assert exchange.counted.refused == 0
    # A whole allowance that waited goes at once, the rest two seconds after: no time is lost.
    assert silenced.max() < 2.05 + 2.5


def test_a_page_for_people_is_no_empty_answer(tmp_path: Path) -> None:
    faults = Watched([FaultRule(FaultKind.WRONG_CONTENT_TYPE, endpoints=("market/candles",), attempts=None)])
    with desk(tmp_path, faults=faults) as one:
        report = one.collect(datasets=("crypto_bars",))
        assert any("cut off or no JSON" in problem for problem in report.problems)
        assert report.incomplete_days == 1


def test_a_clock_that_keeps_jumping_is_not_believed() -> None:
    class Jumping:
        moment = NOW

        def __call__(self) -> int:
            self.moment += 3_600_000
            return self.moment

    async def ask_time(url: str) -> int:
        client: ExchangeClient = Waiting().client(CryptoConfig(source="okx", exchange_url=url))
        try:
            return await client.time()
        finally:
            await client.close()

    jumping = ExchangeApp(SimulatedVenue(MARKET), Jumping())
    with running_exchange(jumping) as url, pytest.raises(UnansweredError, match="the exchange's clock jumps"):
        asyncio.run(ask_time(url))
    with running_exchange(ExchangeApp(SimulatedVenue(MARKET), SteppedClock(NOW))) as url:
        assert asyncio.run(ask_time(url)) == NOW


class Tired(ExchangeApp):
    """Bans whoever asks for candles for ten minutes."""

    asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if "candles" not in scope.get("path", ""):
            await super().__call__(scope, receive, send)
            return
        self.asked += 1
        headers = [(b"retry-after", b"600"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def test_an_exchange_that_asks_for_a_long_rest_is_left_alone() -> None:
    waiting = Waiting()
    tired = Tired(SimulatedVenue(MARKET), SteppedClock(NOW))
    with (
        running_exchange(tired) as url,
        pytest.raises(LeftAloneError, match=r"left alone for 600 s .*at most 120"),
    ):
        ask(url, waiting)
    assert waiting.time < 1
    assert tired.asked == 1


def test_a_long_rest_ends_the_collection_and_no_other_question_is_sent(tmp_path: Path) -> None:
    waiting, tired = Waiting(), Tired(SimulatedVenue(MARKET), SteppedClock(NOW))
    with running_exchange(tired) as url:
        config = CryptoConfig(source="okx", exchange_url=url, universe=6, start="2023-01-01", concurrency=1)
        with pytest.raises(LeftAloneError, match="nothing more is asked; collect again after that"):
            collect_crypto(config, tmp_path, datasets=("crypto_bars",), make_client=waiting.client, environment={})
    assert tired.asked == 1


def test_what_is_asked_seldom_must_be_told_twice_the_same() -> None:
    async def agreed(url: str) -> list[Any]:
        client: ExchangeClient = Waiting().client(CryptoConfig(source="okx", exchange_url=url))
        try:
            return await client.agreed("public/position-tiers", TIERS)
        finally:
            await client.close()

    def served(*rules: FaultRule) -> ExchangeApp:
        return ExchangeApp(SimulatedVenue(MARKET), SteppedClock(NOW), faults=Faults(rules))

    with running_exchange(served(FaultRule(FaultKind.REVISED))) as url:
        assert asyncio.run(agreed(url))[0]["maxSz"] == "50000"
    always = served(FaultRule(FaultKind.EMPTY, attempts=None))
    with (
        running_exchange(always) as url,
        pytest.raises(UnansweredError, match="answers in a row differ or are empty"),
    ):
        asyncio.run(agreed(url))
