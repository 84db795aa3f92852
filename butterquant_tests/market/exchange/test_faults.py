"""Each fault does what it says, to the same requests whatever the order, and gives way when asked again."""

from __future__ import annotations

import asyncio
import json

import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.exchange.app import ENDPOINTS
from butterquant_assets.market.exchange.faults import FaultKind, FaultRule, Faults, parse_rule
from butterquant_tests.market.exchange.asking import NOW, SWAP, ask, exchange, rows

CANDLES = {"instId": SWAP, "bar": "1H", "limit": "20"}
QUERIES = {
    "public/instruments": {"instType": "SWAP"},
    "public/mark-price": {"instType": "SWAP"},
    "public/open-interest": {"instType": "SWAP"},
    "public/position-tiers": {"instType": "SWAP", "tdMode": "isolated", "instFamily": "SIMBTC-USDT"},
    "rubik/stat/taker-volume": {"ccy": "SIMBTC", "instType": "CONTRACTS", "period": "1H"},
    "market/tickers": {"instType": "SWAP"},
    "market/index-candles": {"instId": "SIMBTC-USDT", "bar": "1H"},
    "market/history-index-candles": {"instId": "SIMBTC-USDT", "bar": "1H"},
    "public/time": {},
    "system/status": {},
}


def query_of(path: str) -> dict[str, str]:
    return QUERIES.get(path, {"instId": SWAP} | ({"bar": "1H"} if path.endswith("candles") else {}))


async def _no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_endpoint_recovers_from_every_fault(kind: FaultKind) -> None:
    healthy, troubled = exchange(), exchange(faults=Faults([FaultRule(kind)]), sleep=_no_wait)
    for path in ENDPOINTS:
        expected = rows(healthy, path, **query_of(path))
        ask(troubled, path, **query_of(path))
        assert rows(troubled, path, **query_of(path)) == expected
    assert troubled.faults.hits[kind] == len(ENDPOINTS)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FaultKind.RATE_LIMITED, 429, "50011"),
        (FaultKind.RETRY_AFTER, 429, "50011"),
        (FaultKind.SERVER_ERROR, 503, "50001"),
        (FaultKind.TIMEOUT, 504, "50004"),
        (FaultKind.UNKNOWN_INSTRUMENT, 200, "51001"),
        (FaultKind.WRONG_ENVIRONMENT, 401, "50101"),
        (FaultKind.KEY_EXPIRED, 401, "50113"),
        (FaultKind.REGION_BLOCK, 403, "50125"),
    ],
)
def test_refusals_have_their_status_and_code(kind: FaultKind, status: int, code: str) -> None:
    answer = ask(exchange(faults=Faults([FaultRule(kind)]), sleep=_no_wait), "market/candles", **CANDLES)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (answer.headers.get("retry-after") == "1") == (kind is FaultKind.RETRY_AFTER)


def test_data_faults_do_what_they_say() -> None:
    expected = rows(exchange(), "market/candles", **CANDLES)
    stamps = [row[0] for row in expected]
    found = {
        kind: rows(exchange(faults=Faults([FaultRule(kind)])), "market/candles", **CANDLES)
        for kind in (
            FaultKind.DUPLICATED,
            FaultKind.MISSING,
            FaultKind.REVISED,
            FaultKind.REORDERED,
            FaultKind.EMPTY,
        )
    }
    assert sorted({row[0] for row in found[FaultKind.DUPLICATED]}, reverse=True) == stamps
    assert len(found[FaultKind.DUPLICATED]) == 21
    (gap,) = set(stamps) - {row[0] for row in found[FaultKind.MISSING]}
    assert gap not in (stamps[0], stamps[-1])
    changed = [new for new, old in zip(found[FaultKind.REVISED], expected, strict=True) if new != old]
    assert len(changed) == 1
    assert sorted(found[FaultKind.REORDERED], reverse=True) == expected
    assert found[FaultKind.REORDERED] != expected
    assert found[FaultKind.EMPTY] == []


def test_a_truncated_answer_is_no_json() -> None:
    answer = ask(exchange(faults=Faults([FaultRule(FaultKind.TRUNCATED)])), "market/candles", **CANDLES)
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_a_wrong_content_type_is_a_page_for_people() -> None:
    answer = ask(exchange(faults=Faults([FaultRule(FaultKind.WRONG_CONTENT_TYPE)])), "market/candles", **CANDLES)
    assert answer.headers["content-type"].startswith("text/html")


def test_a_skewed_clock_shows_in_the_time_and_in_the_date_header() -> None:
    app = exchange(faults=Faults([FaultRule(FaultKind.CLOCK_SKEW, attempts=None)]))
    answer = ask(app, "public/time")
    assert answer.json()["data"] == [{"ts": str(NOW + 600_000)}]
    assert answer.headers["date"] != ask(exchange(), "public/time").headers["date"]


def test_the_same_requests_are_hit_in_whatever_order_they_come() -> None:
    requests = [f"instId={number}" for number in range(200)]
    chosen = []
    for order in (requests, requests[::-1]):
        faults = Faults([FaultRule(FaultKind.MISSING, 0.3)], seed=4)
        hit = {query for query in order if faults.choose("market/candles", query)}
        chosen.append(hit)
    assert chosen[0] == chosen[1]
    assert 35 < len(chosen[0]) < 85
    other = Faults([FaultRule(FaultKind.MISSING, 0.3)], seed=5)
    assert {query for query in requests if other.choose("market/candles", query)} != chosen[0]


def test_a_rule_can_be_kept_to_endpoints_and_last() -> None:
    rule = FaultRule(FaultKind.SERVER_ERROR, endpoints=("public/time",), attempts=None)
    app = exchange(faults=Faults([rule]))
    assert [ask(app, "public/time").status_code for _ in range(3)] == [503] * 3
    assert ask(app, "market/candles", **CANDLES).status_code == 200


def test_rules_can_be_written() -> None:
    assert parse_rule("missing") == FaultRule(FaultKind.MISSING)
    assert parse_rule("timeout:0.25:market/candles,public/time") == FaultRule(
        FaultKind.TIMEOUT, 0.25, ("market/candles", "public/time")
    )


@pytest.mark.parametrize("words", ["gremlins", "missing:often", "missing:2", "missing:0"])
def test_rules_nobody_can_follow_are_refused(words: str) -> None:
    with pytest.raises(ConfigError):
        parse_rule(words) if words != "missing:0" else FaultRule(FaultKind.MISSING, 0.0)
