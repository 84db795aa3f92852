"""At a settlement things keep their order: the bar that ends there, the settlement, the trades of its moment."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from butterquant_tests.market.exchange.trading.scripted import (
    HOUR,
    START,
    SWAP,
    ScriptedVenue,
    data,
    order,
    trading_app,
)

FIRST = (START - HOUR, 10.0, 1e6)
SETTLED = START + HOUR
BAR = (START, SETTLED, 10.0, 8.5, 11.5, 10.0, 500.0)
SIDES = pytest.mark.parametrize(("side", "direction"), [("buy", 1), ("sell", -1)])
RATES = pytest.mark.parametrize("rate", [0.01, -0.01])


def holding(side: str, venue: ScriptedVenue, **more: object) -> tuple[Any, float]:
    """An account with 10 coins at five times, and its liquidation price."""
    app = trading_app(venue)
    data(app, "POST", "account/set-leverage", {"instId": SWAP, "lever": 5, "mgnMode": "isolated"})
    data(app, "POST", "trade/order", order(side, 100, **more))
    return app, float(data(app, "GET", "account/positions")[0]["liqPx"])


def bills(app: Any, kind: int) -> list[dict[str, Any]]:
    return data(app, "GET", "account/bills", {"type": kind})


def adds_up(app: Any) -> bool:
    """Whether the bills explain the account to the last digit."""
    (detail,) = data(app, "GET", "account/balance")[0]["details"]
    margins = sum((Decimal(row["margin"]) for row in data(app, "GET", "account/positions")), Decimal(0))
    changes = [Decimal(row[name]) for row in data(app, "GET", "account/bills") for name in ("balChg", "posBalChg")]
    return Decimal(detail["cashBal"]) + margins == 10_000 + sum(changes)


@SIDES
@RATES
def test_what_a_bar_stopped_before_the_settlement_at_its_close_pays_no_funding(
    side: str, direction: int, rate: float
) -> None:
    stop = {"slTriggerPx": str(10 - direction), "slOrdPx": "-1"}
    app, _ = holding(side, ScriptedVenue([FIRST], bars=[BAR], rates=[(SETTLED, rate)]), attachAlgoOrds=[stop])
    app.clock.advance(HOUR)
    assert data(app, "GET", "account/positions") == bills(app, 8) == []
    assert adds_up(app)


@SIDES
@RATES
def test_what_a_mark_bar_liquidated_before_the_settlement_at_its_close_pays_no_funding(
    side: str, direction: int, rate: float
) -> None:
    venue = ScriptedVenue([FIRST], rates=[(SETTLED, rate)])
    app, price = holding(side, venue)
    reached = price - direction * 0.2
    venue.mark_bars.append((START, SETTLED, min(reached, 10.0), max(reached, 10.0), 10.0))
    app.clock.advance(HOUR)
    assert data(app, "GET", "account/positions") == bills(app, 8) == []
    assert len(bills(app, 5)) == 1
    assert adds_up(app)


@SIDES
@RATES
@pytest.mark.parametrize("recorded", [True, False], ids=["mark bar", "mark price"])
def test_marks_before_a_settlement_are_judged_at_the_liquidation_price_before_it(
    side: str, direction: int, rate: float, recorded: bool
) -> None:
    """Funding of .01 x 10 moves the price by .1; what is seen lies in between, and is seen once more afterwards."""
    venue = ScriptedVenue([FIRST], marks=[(START - HOUR, 10.0)], rates=[(SETTLED, rate)])
    app, price = holding(side, venue)
    pays = direction * rate > 0
    seen = price + direction * (0.05 if pays else -0.05)
    if recorded:
        bounds = min(seen, 10.0), max(seen, 10.0)
        venue.mark_bars += [(START + at * HOUR, SETTLED + at * HOUR, *bounds, 10.0) for at in (0, 1)]
    else:
        for at in (START + HOUR // 2, SETTLED + HOUR // 2):
            venue.marks += [(at, seen), (at + 1, 10.0)]
    app.clock.advance(HOUR)
    assert len(bills(app, 5)) == (0 if pays else 1)
    assert len(bills(app, 8)) == (1 if pays else 0)
    app.clock.advance(HOUR)
    assert [int(row["ts"]) > SETTLED for row in bills(app, 5)] == [pays]
    assert adds_up(app)


@SIDES
@RATES
def test_what_a_bar_opens_pays_once_at_the_settlement_at_its_close(side: str, direction: int, rate: float) -> None:
    app, _ = holding(side, ScriptedVenue([FIRST], bars=[BAR], rates=[(SETTLED, rate)]))
    data(app, "POST", "trade/order", order(side, 60, "limit", px=str(10 - direction)))
    app.clock.advance(HOUR)
    (bill,) = bills(app, 8)
    assert (bill["sz"], int(bill["ts"])) == ("160", SETTLED)
    assert Decimal(bill["posBalChg"]) == -direction * Decimal(str(rate)) * 160
    assert adds_up(app)


@RATES
def test_who_opens_right_after_the_settlement_of_a_bar_still_pays_his_part(rate: float) -> None:
    app, _ = holding("buy", ScriptedVenue([FIRST], bars=[BAR], rates=[(SETTLED, rate)]))
    app.clock.advance(HOUR)
    data(app, "POST", "trade/order", order("buy", 5))
    assert [row["sz"] for row in bills(app, 8)] == ["5", "100"]


@SIDES
def test_a_mark_bar_comes_before_the_settlement_and_the_trades_at_its_close(side: str, direction: int) -> None:
    leaving = 10 + direction
    venue = ScriptedVenue([FIRST, (SETTLED, leaving + direction * 0.5, 500.0)], rates=[(SETTLED, 0.01)])
    app, price = holding(side, venue)
    away = "sell" if side == "buy" else "buy"
    data(app, "POST", "trade/order", order(away, 100, "limit", px=str(leaving), reduceOnly=True))
    reached = price - direction * 0.2
    venue.mark_bars.append((START, SETTLED, min(reached, 10.0), max(reached, 10.0), 10.0))
    app.clock.advance(HOUR)
    assert (len(bills(app, 5)), bills(app, 8)) == (1, [])
    assert adds_up(app)


def test_told_in_bars_too_the_state_does_not_depend_on_how_often_it_is_looked_at() -> None:
    minute = HOUR // 60
    closes = [round(10 + (step * 37 % 101 - 50) / 100, 2) for step in range(181)]
    bars = [
        (START + at * minute, START + (at + 1) * minute, one, min(one, two), max(one, two), two, 3.0)
        for at, (one, two) in enumerate(pairwise(closes))
    ]
    asked = [("buy", 20, "9.8"), ("sell", 15, "10.2"), ("buy", 30, "9.6"), ("sell", 40, "10.4")]
    ends = []
    for pause in (1, 7, 180):
        rates = [(START + at * HOUR, rate) for at, rate in ((1, 0.001), (2, -0.002), (3, 0.003))]
        app = trading_app(ScriptedVenue([FIRST], bars=bars, rates=rates))
        for side, size, price in asked:
            data(app, "POST", "trade/order", order(side, size, "limit", px=price))
        for step in range(0, 180, pause):
            app.clock.advance(min(pause, 180 - step) * minute)
        ends.append([data(app, "GET", path) for path in ("account/balance", "account/bills", "trade/fills")])
        assert adds_up(app)
    assert ends[0] == ends[1] == ends[2]
    assert sum(row["type"] == "8" for row in ends[0][1]) >= 2
