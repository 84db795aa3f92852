"""Stops, take profits and trigger orders fire at their price, once, and go with their position."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from butterquant_assets.market.exchange.trading.account import AccountConfig
from butterquant_tests.market.exchange.trading.scripted import (
    HOUR,
    START,
    SWAP,
    ScriptedVenue,
    data,
    order,
    signed,
    trading_app,
)

FIRST = (START - HOUR, 10.0, 1e6)
STOP = {"slTriggerPx": "9", "slOrdPx": "-1"}
PROFIT = {"tpTriggerPx": "12", "tpOrdPx": "-1"}


def app_with(*prices: float, **more: Any) -> Any:
    """An exchange whose price moves once a second."""
    prints = [(START + 1_000 * step, price, 50.0) for step, price in enumerate(prices, start=1)]
    return trading_app(ScriptedVenue([FIRST, *prints], **more))


def place(app: Any, *words: Any, **more: object) -> str:
    return str(data(app, "POST", "trade/order", order(*words, **more))[0]["ordId"])


def stop(app: Any, side: str, size: object, kind: str, **more: object) -> str:
    return str(data(app, "POST", "trade/order-algo", order(side, size, kind, **more))[0]["algoId"])


def look(app: Any, number: str) -> dict[str, Any]:
    return data(app, "GET", "trade/order-algo", {"algoId": number})[0]


def positions(app: Any) -> list[str]:
    return [row["pos"] for row in data(app, "GET", "account/positions")]


@pytest.mark.parametrize(
    ("prices", "fired", "price"), [((9.5, 8.9), "sl", "8.89"), ((11, 12.5), "tp", "11.99"), ((9.5, 11), "", "")]
)
def test_brackets_of_an_order_live_from_its_fill_and_one_of_them_closes(
    prices: tuple[float, ...], fired: str, price: str
) -> None:
    app = app_with(*prices)
    place(app, "buy", 10, attachAlgoOrds=[STOP | PROFIT | {"attachAlgoClOrdId": "mine"}])
    (waiting,) = data(app, "GET", "trade/orders-algo-pending", {"ordType": "oco"})
    assert (waiting["side"], waiting["sz"], waiting["reduceOnly"], waiting["algoClOrdId"]) == (
        "sell",
        "10",
        "true",
        "mine",
    )
    app.clock.advance(2_000)
    found = look(app, waiting["algoId"])
    assert (found["state"], found["actualSide"]) == ("effective" if fired else "live", fired)
    assert positions(app) == ([] if fired else ["10"])
    if fired:
        (done,) = data(app, "GET", "trade/order", {"instId": SWAP, "ordId": found["ordId"]})
        assert (done["avgPx"], done["algoId"]) == (price, waiting["algoId"])


def test_brackets_wait_for_the_fill_of_a_resting_order_and_cover_what_was_filled() -> None:
    app = app_with(9.4, 9.6)
    number = place(app, "buy", 80, "limit", px="9.5", attachAlgoOrds=[STOP])
    assert data(app, "GET", "trade/orders-algo-pending", {"ordType": "conditional"}) == []
    app.clock.advance(2_000)
    data(app, "POST", "trade/cancel-order", {"instId": SWAP, "ordId": number})
    (waiting,) = data(app, "GET", "trade/orders-algo-pending", {"ordType": "conditional"})
    assert waiting["sz"] == "50"


BAR = (START + 1_000, START + 2_000, 10.0, 8.5, 12.5, 11.0, 50.0)


def test_a_bar_that_touches_stop_and_profit_stops() -> None:
    """A bar's range is all that is known of a recorded hour; the worse case is assumed."""
    app = app_with(bars=[BAR])
    place(app, "buy", 10, attachAlgoOrds=[STOP | PROFIT])
    app.clock.advance(2_000)
    assert positions(app) == []
    (done,) = data(app, "GET", "trade/orders-algo-history", {"ordType": "oco", "state": "effective"})
    assert done["actualSide"] == "sl"
    assert data(app, "GET", "trade/fills")[0]["fillPx"] == "8.99"


def test_a_bar_that_opens_beyond_the_stop_is_sold_at_its_open() -> None:
    app = app_with(bars=[(START + 1_000, START + 2_000, 8.7, 8.5, 9.5, 9.0, 50.0)])
    place(app, "buy", 10, attachAlgoOrds=[STOP])
    app.clock.advance(2_000)
    assert data(app, "GET", "trade/fills")[0]["fillPx"] == "8.69"


def test_a_bar_that_fills_an_order_and_reaches_its_stop_stops_but_takes_no_profit() -> None:
    for bar, left in (((10.0, 8.5, 12.5, 9.2), []), ((10.0, 9.1, 12.5, 9.2), ["10"])):
        app = app_with(bars=[(START + 1_000, START + 2_000, *bar, 50.0)])
        place(app, "buy", 10, "limit", px="9.5", attachAlgoOrds=[STOP | PROFIT])
        app.clock.advance(2_000)
        assert positions(app) == left
        prices = [row["fillPx"] for row in data(app, "GET", "trade/fills")]
        assert prices == (["9.5"] if left else ["8.99", "9.5"])


def test_the_range_of_a_bar_does_not_reach_who_came_after_its_open() -> None:
    app = app_with(bars=[BAR])
    app.clock.advance(1_500)
    place(app, "buy", 10, attachAlgoOrds=[STOP | PROFIT])
    resting = place(app, "buy", 5, "limit", px="9.5")
    app.clock.advance(500)
    assert positions(app) == ["10"]
    (found,) = data(app, "GET", "trade/order", {"instId": SWAP, "ordId": resting})
    assert found["state"] == "live"


def test_stops_may_watch_the_mark_price() -> None:
    marks = [(START - HOUR, 10.0), (START + 1_500, 8.9)]
    app = app_with(8.5, 10.0, 10.0, marks=marks)
    place(app, "buy", 10)
    number = stop(app, "sell", 10, "conditional", reduceOnly=True, slTriggerPxType="mark", **STOP)
    app.clock.advance(1_000)
    assert look(app, number)["state"] == "live"
    app.clock.advance(1_000)
    assert (look(app, number)["state"], look(app, number)["triggerTime"]) == ("effective", str(START + 1_500))


@pytest.mark.parametrize(("trigger", "prices"), [("11", (10.5, 11.0)), ("9", (9.5, 9.0))])
def test_a_trigger_order_fires_from_either_side_and_opens(trigger: str, prices: tuple[float, ...]) -> None:
    app = app_with(*prices)
    number = stop(app, "buy", 5, "trigger", triggerPx=trigger, orderPx="-1")
    app.clock.advance(1_000)
    assert (look(app, number)["state"], positions(app)) == ("live", [])
    app.clock.advance(1_000)
    assert (look(app, number)["state"], positions(app)) == ("effective", ["5"])


def test_a_stop_with_a_price_places_a_limit_order() -> None:
    app = app_with(8.9, 9.2)
    place(app, "buy", 5)
    number = stop(app, "sell", 5, "conditional", reduceOnly=True, slTriggerPx="9", slOrdPx="9.1")
    app.clock.advance(1_000)
    found = look(app, number)
    assert (found["state"], positions(app)) == ("effective", ["5"])
    app.clock.advance(1_000)
    (done,) = data(app, "GET", "trade/order", {"instId": SWAP, "ordId": found["ordId"]})
    assert (done["state"], done["avgPx"], positions(app)) == ("filled", "9.1", [])


def test_a_stop_for_the_whole_closes_what_there_is_then() -> None:
    app = app_with(9.5, 8.9)
    place(app, "buy", 5)
    number = stop(app, "sell", "", "conditional", reduceOnly=True, closeFraction="1", **STOP)
    app.clock.advance(1_000)
    place(app, "buy", 7)
    app.clock.advance(1_000)
    assert (positions(app), look(app, number)["actualSz"]) == ([], "12")


def test_stops_go_with_their_position() -> None:
    app = app_with(10.0)
    place(app, "buy", 5, attachAlgoOrds=[STOP])
    place(app, "sell", 5)
    assert data(app, "GET", "trade/orders-algo-pending", {"ordType": "conditional"}) == []
    done = data(app, "GET", "trade/orders-algo-history", {"ordType": "conditional", "state": "canceled"})
    assert len(done) == 1


def test_a_trigger_that_cannot_be_afforded_fails_and_says_so() -> None:
    app = trading_app(ScriptedVenue([FIRST, (START + 1_000, 11.0, 1.0)]), account=AccountConfig(balance=10))
    number = stop(app, "buy", 100, "trigger", triggerPx="11", orderPx="-1")
    app.clock.advance(1_000)
    found = look(app, number)
    assert (found["state"], found["failCode"]) == ("order_failed", "51008")


def test_stops_are_cancelled_once() -> None:
    app = app_with(10.0)
    number = stop(app, "buy", 5, "trigger", triggerPx="11", orderPx="-1")
    item = {"instId": SWAP, "algoId": number}
    assert data(app, "POST", "trade/cancel-algos", [item])[0]["algoId"] == number
    assert look(app, number)["state"] == "canceled"
    assert signed(app, "POST", "trade/cancel-algos", [item]).json()["data"][0]["sCode"] == "51401"
    assert signed(app, "GET", "trade/order-algo", {"algoId": "1"}).json()["code"] == "51603"


@pytest.mark.parametrize(
    ("side", "changes", "expected"),
    [
        ("buy", {"attachAlgoOrds": [STOP | {"slTriggerPx": "11"}]}, "51047"),
        ("buy", {"attachAlgoOrds": [PROFIT | {"tpTriggerPx": "9"}]}, "51046"),
        ("sell", {"attachAlgoOrds": [STOP]}, "51049"),
        ("sell", {"attachAlgoOrds": [PROFIT]}, "51048"),
        ("buy", {"attachAlgoOrds": [{}]}, "51000"),
        ("buy", {"attachAlgoOrds": [{"slTriggerPx": "9"}]}, "50014"),
        ("buy", {"attachAlgoOrds": "stop"}, "51000"),
        ("buy", {"attachAlgoOrds": [PROFIT | {"tpOrdKind": "limit"}]}, "51000"),
    ],
)
def test_brackets_on_the_wrong_side_are_refused(side: str, changes: dict[str, object], expected: str) -> None:
    document = signed(app_with(), "POST", "trade/order", order(side, 1) | changes).json()
    assert document["data"][0]["sCode"] == expected


@pytest.mark.parametrize(
    ("side", "kind", "changes", "expected"),
    [
        ("sell", "conditional", {"slTriggerPx": "11", "slOrdPx": "-1"}, "51280"),
        ("sell", "conditional", {"tpTriggerPx": "9", "tpOrdPx": "-1"}, "51279"),
        ("buy", "conditional", {"slTriggerPx": "9", "slOrdPx": "-1"}, "51278"),
        ("buy", "conditional", {"tpTriggerPx": "11", "tpOrdPx": "-1"}, "51277"),
        ("sell", "conditional", STOP | PROFIT, "51000"),
        ("sell", "oco", STOP, "51000"),
        ("sell", "conditional", STOP | {"closeFraction": "1"}, "51328"),
        ("sell", "conditional", STOP | {"slTriggerPxType": "index"}, "51000"),
        ("sell", "move_order_stop", {"callbackRatio": "0.01"}, "51000"),
        ("sell", "trigger", {"orderPx": "-1"}, "50014"),
    ],
)
def test_impossible_stops_are_refused(side: str, kind: str, changes: dict[str, object], expected: str) -> None:
    app = app_with()
    document = signed(app, "POST", "trade/order-algo", order(side, 1, kind) | changes).json()
    assert (document["code"], document["data"][0]["sCode"]) == ("1", expected)
    assert not app.trading.desk.algos


def test_a_stop_is_a_taker_and_pays_for_it() -> None:
    app = app_with(8.9)
    place(app, "buy", 10, attachAlgoOrds=[STOP])
    app.clock.advance(1_000)
    fill = data(app, "GET", "trade/fills")[0]
    assert fill["execType"] == "T"
    assert Decimal(fill["fee"]) == -Decimal(fill["fillPx"]) * Decimal("0.0005")
