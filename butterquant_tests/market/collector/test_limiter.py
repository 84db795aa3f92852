"""The limiter uses nearly all that is permitted, and the exchange never sees more, whatever is late."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.collector.limiter import PERMITTED, Limiter, Permitted
from butterquant_assets.market.exchange.app import ENDPOINTS
from butterquant_assets.market.exchange.rate_limits import RateLimiter
from butterquant_tests.market.collector.virtual_time import VirtualTime

PATH = "market/history-candles"


def test_no_limit_is_above_the_exchanges_own() -> None:
    for path, permitted in PERMITTED.items():
        theirs = ENDPOINTS[path].limit
        assert permitted.requests / permitted.seconds <= theirs.requests / theirs.seconds, path
        assert permitted.seconds == theirs.seconds, path
        assert permitted.per == theirs.per or not theirs.per, path


def moments_of(limiter: Limiter, clock: VirtualTime, count: int, there: float, back: float) -> list[float]:
    """When so many requests arrive at the exchange that take up to so long there and back, at random."""
    random, arrived = np.random.default_rng(3), []

    async def request(way: float, home: float) -> None:
        ticket = await limiter.turn(PATH, {})
        limiter.leaving(ticket)
        await clock.sleep(way)
        arrived.append(clock.time)
        await clock.sleep(home)
        limiter.over(ticket)

    ways, homes = random.uniform(0, there, count), random.uniform(0, back, count)
    asyncio.run(clock.run(*(request(float(way), float(home)) for way, home in zip(ways, homes, strict=True))))
    return sorted(arrived)


def test_it_uses_nine_tenths_of_the_rate_where_answers_take_a_tenth_of_a_second() -> None:
    clock = VirtualTime()
    limiter = Limiter(now=clock.now, sleep=clock.sleep)
    arrived = moments_of(limiter, clock, 400, 0.1, 0.1)
    assert limiter.sent[PATH] == 400
    # The first window's worth is free: what follows shows the rate.
    assert (400 - 20) / (arrived[-1] - arrived[0]) >= 0.9 * 10


@pytest.mark.parametrize(("there", "back"), [(0.1, 0.1), (0.9, 0.0), (0.0, 3.0), (0.9, 5.0)])
def test_the_exchange_never_sees_more_than_it_permits_however_late_anything_is(there: float, back: float) -> None:
    clock = VirtualTime()
    limiter, exchange = Limiter(now=clock.now, sleep=clock.sleep), RateLimiter(lambda: moment)
    for moment in moments_of(limiter, clock, 300, there, back):  # noqa: B007
        exchange.admit("us", PATH, "", ENDPOINTS[PATH].limit)
    assert exchange.refused == 0


def test_a_request_that_had_its_turn_but_has_not_left_is_waited_for() -> None:
    clock, left = VirtualTime(), []
    limiter = Limiter({PATH: Permitted(1)}, now=clock.now, sleep=clock.sleep)

    async def slow() -> None:
        ticket = await limiter.turn(PATH, {})
        await clock.sleep(5.0)
        limiter.leaving(ticket)
        limiter.over(ticket)

    async def next_one() -> None:
        await limiter.turn(PATH, {})
        left.append(clock.time)

    asyncio.run(clock.run(slow(), next_one()))
    assert left[0] == pytest.approx(7.0, abs=0.1)


def test_a_request_that_never_leaves_holds_nothing_up() -> None:
    clock = VirtualTime()
    limiter = Limiter({PATH: Permitted(1)}, now=clock.now, sleep=clock.sleep)

    async def given_up() -> None:
        limiter.over(await limiter.turn(PATH, {}))
        await limiter.turn(PATH, {})

    asyncio.run(clock.run(given_up()))
    assert clock.time == pytest.approx(2.0)


def test_instruments_have_lanes_of_their_own_where_the_exchange_counts_them_so() -> None:
    clock = VirtualTime()
    limiter = Limiter(now=clock.now, sleep=clock.sleep)

    async def request(path: str, coin: str) -> None:
        ticket = await limiter.turn(path, {"instId": coin})
        limiter.leaving(ticket)
        limiter.over(ticket)

    asyncio.run(clock.run(*(request("public/funding-rate-history", f"C{n}") for n in range(50))))
    assert clock.time == 0
    asyncio.run(clock.run(*(request("market/candles", f"C{n}") for n in range(50))))
    assert clock.time >= 2.0


def test_a_held_lane_lets_nothing_out_until_then_and_others_go_on() -> None:
    clock, left = VirtualTime(), {}
    limiter = Limiter(now=clock.now, sleep=clock.sleep)

    async def request(path: str) -> None:
        await limiter.turn(path, {})
        left.setdefault(path, []).append(clock.time)

    async def held() -> None:
        limiter.hold(PATH, {}, 7.0)
        await asyncio.gather(*(request(path) for path in (PATH, PATH, "market/candles")))

    asyncio.run(clock.run(held()))
    assert left["market/candles"] == [0.0]
    assert min(left[PATH]) == 7.0


def test_an_endpoint_without_a_known_limit_is_not_asked() -> None:
    with pytest.raises(ConfigError, match="no rate limit is known for market/unheard-of"):
        asyncio.run(Limiter().turn("market/unheard-of", {}))
