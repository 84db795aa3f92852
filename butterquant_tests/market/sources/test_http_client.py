from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.sources.http_client import (
    Answer,
    IncompleteAnswerError,
    Patience,
    ServiceError,
    UnavailableError,
    retry_after,
)
from butterquant_tests.market.fake_services import QUIET, Clock, Services, reply, silent, status, truncated, truth

VIX = "/VIX_History.csv"


@pytest.fixture
def clock() -> Clock:
    return Clock("2024-05-14T22:00:00")


@pytest.fixture
def services(clock: Clock) -> Iterator[Services]:
    served = Services(clock)
    served.vix = truth("VIX", 5, "2024-05-01")
    yield served
    served.close()


def body_of(answer: Answer) -> bytes:
    return answer.body


def test_what_passes_is_tried_again_with_growing_jittered_waits(services: Services, clock: Clock) -> None:
    services.faults = [status(503), silent, truncated]
    patience = Patience(silence_seconds=0.3, attempts=4)
    with clock.client(patience) as client:
        assert client.get(services.url + VIX, {}, body_of).startswith(b"DATE,OPEN")
    assert len(services.requests) == 4
    assert [0.5 * 2**n <= wait <= 1.5 * 2**n for n, wait in enumerate(clock.slept)] == [True] * 3
    other = Clock("2024-05-14T22:00:00")
    services.faults = [status(503), silent, truncated]
    with other.client(patience) as client:
        client.get(services.url + VIX, {}, body_of)
    assert other.slept == clock.slept, "the jitter is seeded"


def test_retry_after_is_honoured_in_seconds_and_as_a_date(services: Services, clock: Clock) -> None:
    # The date is told on the server's clock, 90 s ahead of ours: it still asks for 30 s.
    services.clock_off = timedelta(seconds=90)
    services.faults = [
        status(429, Retry_After="17"),
        status(429, Retry_After="Tue, 14 May 2024 22:02:17 GMT", Date="Tue, 14 May 2024 22:01:47 GMT"),
    ]
    with clock.client() as client:
        client.get(services.url + VIX, {}, body_of)
    assert clock.slept == [17.0, 30.0]


def test_a_wait_that_is_too_long_leaves_the_service_alone(services: Services, clock: Clock) -> None:
    services.faults = [status(429, Retry_After="3600")]
    with clock.client() as client, pytest.raises(ServiceError, match="429 and asks to wait 3600 s"):
        client.get(services.url + VIX, {}, body_of)
    assert clock.slept == []


def test_too_many_requests_to_the_end_is_the_service_not_the_symbol(services: Services, clock: Clock) -> None:
    services.faults = [status(429)] * 3
    with clock.client() as client, pytest.raises(ServiceError, match=r"429 \(too many requests\) at 3 attempts"):
        client.get(services.url + VIX, {}, body_of)


def test_attempts_are_bounded(services: Services, clock: Clock) -> None:
    services.faults = [status(500), truncated, status(502), status(200)]
    with clock.client() as client, pytest.raises(UnavailableError, match="3 attempts, the last: answered 502"):
        client.get(services.url + VIX, {}, body_of)
    assert len(services.requests) == 3


def test_nobody_listening_is_said(clock: Clock) -> None:
    with clock.client() as client, pytest.raises(UnavailableError, match="ConnectError"):
        client.get("http://127.0.0.1:9/x", {}, body_of)


@pytest.mark.parametrize(
    ("code", "text"),
    [(401, "asks for a login"), (403, "address or region"), (451, "region"), (302, "redirects to consent.example")],
)
def test_a_block_is_said_at_once(services: Services, clock: Clock, code: int, text: str) -> None:
    services.faults = [status(code, Location="https://consent.example/v2")]
    with clock.client() as client, pytest.raises(ServiceError, match=text):
        client.get(services.url + VIX, {}, body_of)
    assert len(services.requests) == 1


@pytest.mark.parametrize("off", [timedelta(minutes=6), timedelta(minutes=-6), timedelta(days=400)])
def test_clocks_that_disagree_end_it(services: Services, clock: Clock, off: timedelta) -> None:
    services.clock_off = off
    with clock.client() as client, pytest.raises(ServiceError, match="minutes apart, expected at most 5"):
        client.get(services.url + VIX, {}, body_of)


def test_the_age_of_a_cached_answer_counts(services: Services, clock: Clock) -> None:
    old = "Tue, 14 May 2024 18:00:00 GMT"
    services.faults = [lambda handler, body: reply(handler, 200, body, Date=old, Age="14400")]
    with clock.client() as client:
        assert client.get(services.url + VIX, {}, body_of)


def test_an_endless_answer_is_cut_off(services: Services, clock: Clock) -> None:
    with clock.client(Patience(most_bytes=50)) as client, pytest.raises(SourceError, match="more than 50 bytes"):
        client.get(services.url + VIX, {}, body_of)


def test_an_answer_that_trickles_is_not_waited_for(services: Services, clock: Clock) -> None:
    client = clock.client(Patience(total_seconds=0.5, attempts=2))
    ticks = iter(range(100))
    client._monotonic = lambda: float(next(ticks))
    with client, pytest.raises(UnavailableError, match=r"took more than 0\.5 s"):
        client.get(services.url + VIX, {}, body_of)


def test_a_parser_can_ask_again_or_end_it(services: Services, clock: Clock) -> None:
    def incomplete(answer: Answer) -> bytes:
        raise IncompleteAnswerError("half a line")

    def unknown(answer: Answer) -> bytes:
        raise SourceError("no such symbol")

    with clock.client() as client:
        with pytest.raises(UnavailableError, match="half a line"):
            client.get(services.url + VIX, {}, incomplete)
        assert len(services.requests) == QUIET.attempts
        with pytest.raises(SourceError, match="no such symbol"):
            client.get(services.url + VIX, {}, unknown)
        assert len(services.requests) == QUIET.attempts + 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0.0),
        ("12", 12.0),
        ("Tue, 14 May 2024 22:01:00 GMT", 60.0),
        ("Tue, 14 May 2024 21:00:00 GMT", 0.0),
        ("soon", 0.0),
    ],
)
def test_retry_after_has_two_forms(text: str, seconds: float) -> None:
    assert retry_after(text, datetime(2024, 5, 14, 22, tzinfo=UTC)) == seconds
