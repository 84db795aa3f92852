"""Every answer is rows, worth another attempt, or a refusal that says what to do."""

from __future__ import annotations

import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.answers import AccessError, Heard, Passing, UnknownSymbolError, judge

PAGE = "<html>Please verify you are human</html>"


def heard(status: int, code: str | None = None, data: object = (), message: str = "why", **headers: str) -> Heard:
    document = None if code is None else {"code": code, "msg": message, "data": list(data) if data != "no" else "no"}  # type: ignore[call-overload]
    return Heard(status, headers, document)


def test_rows_are_rows() -> None:
    assert judge(heard(200, "0", [["1"]]), "market/candles", "BTC-USDT-SWAP") == [["1"]]
    assert judge(heard(200, "0"), "market/candles", "BTC-USDT-SWAP") == []


@pytest.mark.parametrize(
    ("answer", "limited"),
    [
        (heard(429), True),
        (heard(429, "50011"), True),
        (heard(200, "50011"), True),
        (heard(503, "50001"), False),
        (heard(500), False),
        (heard(504, "50004"), False),
        (heard(522), False),
        (heard(200, "50013"), False),
        (heard(200), False),
        (heard(200, "0", "no"), False),
    ],
)
def test_what_passes_is_worth_another_attempt(answer: Heard, limited: bool) -> None:
    found = judge(answer, "market/candles", "BTC-USDT-SWAP")
    assert isinstance(found, Passing)
    assert found.limited == limited


def test_the_exchange_says_how_long_to_wait() -> None:
    found = judge(Heard(429, {"Retry-After": "7"}, None), "market/candles", "BTC-USDT-SWAP")
    assert isinstance(found, Passing)
    assert found.wait_seconds == 7
    vague = judge(Heard(429, {"Retry-After": "soon"}, None), "market/candles", "BTC-USDT-SWAP")
    assert isinstance(vague, Passing)
    assert vague.wait_seconds == 0


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (heard(403), AccessError, "address or region .HTTP 403"),
        (heard(403, "50125"), AccessError, "50125 .why.*EXCHANGE_URL"),
        (heard(451), AccessError, "region"),
        (heard(200, "50124"), AccessError, "region"),
        (heard(401, "50113", message="Invalid Sign"), AccessError, "Invalid Sign.*renew it"),
        (heard(401), AccessError, "key"),
        (heard(403, "50110"), AccessError, "refuses the key"),
        (heard(200, "51001"), UnknownSymbolError, "BTC-USDT-SWAP: the exchange has no such instrument.*SYMBOLS"),
        (heard(400, "51000"), SourceError, "turned down .HTTP 400, code 51000"),
    ],
)
def test_what_does_not_pass_is_refused_in_words(answer: Heard, kind: type[SourceError], words: str) -> None:
    with pytest.raises(kind, match=words):
        judge(answer, "market/candles", "BTC-USDT-SWAP")
