"""Faults hit the private endpoints too, and none of them makes the account inconsistent."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from butterquant_assets.market.exchange.faults import FaultKind, FaultRule, Faults
from butterquant_assets.market.exchange.rate_limits import RateLimiter
from butterquant_assets.market.exchange.trading.routes import PRIVATE
from butterquant_tests.market.exchange.trading.scripted import SWAP, ScriptedVenue, data, order, signed, trading_app

ASKED = {
    "account/leverage-info": {"instId": SWAP, "mgnMode": "isolated"},
    "account/trade-fee": {"instType": "SWAP"},
    "trade/order": {"instId": SWAP, "clOrdId": "first"},
    "trade/orders-history": {"instType": "SWAP"},
    "trade/orders-history-archive": {"instType": "SWAP"},
    "trade/order-algo": {"algoClOrdId": "stop"},
    "trade/orders-algo-pending": {"ordType": "trigger"},
    "trade/orders-algo-history": {"ordType": "trigger", "state": "canceled"},
}
UNDONE = {
    FaultKind.RATE_LIMITED,
    FaultKind.RETRY_AFTER,
    FaultKind.SERVER_ERROR,
    FaultKind.WRONG_CONTENT_TYPE,
    FaultKind.CLOCK_SKEW,
    FaultKind.UNKNOWN_INSTRUMENT,
    FaultKind.WRONG_ENVIRONMENT,
    FaultKind.KEY_EXPIRED,
    FaultKind.REGION_BLOCK,
}
"""Faults under which nothing is carried out."""


async def _no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


def troubled(kind: FaultKind, *endpoints: str, seed: int = 0) -> Any:
    rules = [FaultRule(kind, endpoints=endpoints)]
    return trading_app(ScriptedVenue(), faults=Faults(rules, seed), sleep=_no_wait)


def prepare(app: Any) -> None:
    """Something for every endpoint to show, placed while nothing goes wrong."""
    faults, app.faults = app.faults, Faults()
    data(app, "POST", "trade/order", order("buy", 5, clOrdId="first"))
    data(app, "POST", "trade/order", order("buy", 5, "limit", px="9"))
    data(app, "POST", "trade/order-algo", order("buy", 1, "trigger", triggerPx="9", orderPx="-1", algoClOrdId="stop"))
    gone = data(app, "POST", "trade/order-algo", order("buy", 1, "trigger", triggerPx="9", orderPx="-1"))[0]["algoId"]
    data(app, "POST", "trade/cancel-algos", [{"instId": SWAP, "algoId": gone}])
    app.faults = faults


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_private_question_recovers_from_every_fault(kind: FaultKind) -> None:
    healthy, app = trading_app(ScriptedVenue()), troubled(kind)
    for one in (healthy, app):
        prepare(one)
    paths = [path for method, path in PRIVATE if method == "GET"]
    for path in paths:
        expected = data(healthy, "GET", path, ASKED.get(path))
        assert expected
        hit = signed(app, "GET", path, ASKED.get(path))
        assert kind is not FaultKind.CLOCK_SKEW or hit.json()["code"] == "50102"
        assert data(app, "GET", path, ASKED.get(path)) == expected
    assert app.faults.hits[kind] == len(paths)


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind is not FaultKind.TIMEOUT])
def test_an_order_hit_by_a_fault_is_placed_once_or_not_at_all(kind: FaultKind) -> None:
    app = troubled(kind, "trade/order")
    body = order("buy", 5, clOrdId="once")
    signed(app, "POST", "trade/order", body)
    assert len(app.trading.desk.orders) == (0 if kind in UNDONE else 1)
    again = signed(app, "POST", "trade/order", body).json()["data"][0]
    assert again["sCode"] == ("0" if kind in UNDONE else "51016")
    assert data(app, "GET", "account/positions")[0]["pos"] == "5"


def test_after_a_timeout_the_client_id_tells_whether_an_order_was_placed() -> None:
    outcomes = []
    for seed in range(12):
        app = troubled(FaultKind.TIMEOUT, "trade/order", seed=seed)
        answer = signed(app, "POST", "trade/order", order("buy", 5, clOrdId="lost"))
        assert (answer.status_code, answer.json()["code"]) == (504, "50004")
        app.faults = Faults()
        found = signed(app, "GET", "trade/order", {"instId": SWAP, "clOrdId": "lost"}).json()
        held = data(app, "GET", "account/positions")
        outcomes.append(found["code"])
        assert (found["code"], len(held)) in (("0", 1), ("51603", 0))
        again = signed(app, "POST", "trade/order", order("buy", 5, clOrdId="lost")).json()["data"][0]
        assert again["sCode"] == ("51016" if held else "0")
        assert [row["pos"] for row in data(app, "GET", "account/positions")] == ["5"]
    assert set(outcomes) == {"0", "51603"}


def test_a_stranger_gets_no_further_by_a_timeout() -> None:
    for seed in range(6):
        app = troubled(FaultKind.TIMEOUT, seed=seed)
        answer = signed(app, "POST", "trade/order", order("buy", 5), OK_ACCESS_SIGN="forged")
        assert answer.status_code == 504
        assert not app.trading.desk.orders


def test_orders_have_rate_limits_of_their_own() -> None:
    app = trading_app(ScriptedVenue(), limiter=RateLimiter(lambda: 0.0))
    codes = [signed(app, "POST", "trade/order", order("buy", 1)).json()["code"] for _ in range(61)]
    assert codes == ["0"] * 60 + ["50011"]
    assert signed(app, "GET", "trade/order", {"instId": SWAP, "ordId": "1"}).json()["code"] == "51603"


def test_balances_add_up_through_a_storm_of_faults() -> None:
    rules = [FaultRule(kind, 0.08, attempts=None) for kind in FaultKind]
    app = trading_app(ScriptedVenue(), faults=Faults(rules, seed=3), sleep=_no_wait)
    for number in range(150):
        side = "buy" if number % 3 else "sell"
        signed(app, "POST", "trade/order", order(side, 1 + number % 7, clOrdId=f"n{number}"))
    assert len(app.faults.hits) > 10
    app.faults = Faults()
    balance = data(app, "GET", "account/balance")[0]["details"][0]
    margins = sum((Decimal(row["margin"]) for row in data(app, "GET", "account/positions")), Decimal(0))
    bills = app.trading.desk.account.bills
    gained = sum((bill.execution.pnl - bill.execution.fee for bill in bills), Decimal(0))
    assert Decimal(balance["cashBal"]) + margins == 10_000 + gained
    assert len(app.trading.desk.orders) < 150
