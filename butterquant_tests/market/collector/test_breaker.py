"""An endpoint is left alone once it has failed often and for long, and not for a stumble."""

from __future__ import annotations

import pytest

from butterquant_assets.market.collector.answers import RestedEndpointError, UnansweredError
from butterquant_assets.market.collector.breaker import Breaker

BOOKS, CANDLES = "market/books", "market/candles"


class Stopwatch:
    time = 100.0

    def __call__(self) -> float:
        return self.time


def failing(breaker: Breaker, watch: Stopwatch, times: int, seconds: float) -> None:
    for _ in range(times):
        breaker.failed(BOOKS, "unavailable")
        watch.time += seconds / max(times - 1, 1)


def test_an_endpoint_that_fails_often_and_for_long_is_left_alone_and_no_other() -> None:
    watch = Stopwatch()
    breaker = Breaker(4, watch, seconds=30.0)
    failing(breaker, watch, 3, 20.0)
    breaker.check(BOOKS)
    breaker.failed(BOOKS, "too many requests")
    breaker.check(CANDLES)
    with pytest.raises(
        RestedEndpointError, match=r"market/books: 4 requests in a row .*too many requests.*next one asks"
    ):
        breaker.check(BOOKS)
    breaker.failed(BOOKS, "another reason")
    with pytest.raises(UnansweredError, match="4 requests in a row"):
        breaker.check(BOOKS)


@pytest.mark.parametrize(("times", "seconds"), [(200, 20.0), (3, 500.0)])
def test_a_short_outage_of_many_and_a_few_slow_ones_are_no_reason(times: int, seconds: float) -> None:
    watch = Stopwatch()
    breaker = Breaker(4, watch, seconds=30.0)
    failing(breaker, watch, times, seconds)
    breaker.check(BOOKS)


def test_one_answer_and_the_count_begins_again() -> None:
    watch = Stopwatch()
    breaker = Breaker(4, watch, seconds=30.0)
    failing(breaker, watch, 3, 60.0)
    breaker.answered(BOOKS)
    failing(breaker, watch, 3, 60.0)
    breaker.failed(BOOKS, "unavailable")
    with pytest.raises(RestedEndpointError, match="4 requests in a row"):
        breaker.check(BOOKS)
