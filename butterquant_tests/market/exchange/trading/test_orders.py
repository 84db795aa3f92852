"""Orders walk the book, rest, are filled by trades through their price, and are refused for the reason OKX gives."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from butterquant_tests.market.exchange.trading.scripted import (
    HOUR,
    SECOND,
    START,
    SWAP,
    ScriptedVenue,
    data,
    order,
    signed,
    trading_app,
)

BOOK = ([(9.99, 5), (9.98, 10), (9.9, 100)], [(10.01, 5), (10.02, 10), (10.1, 100)])
FIRST = (START - HOUR, 10.0, 1e6)


def app_with(*prints: tuple[int, float, float], **more: Any) -> Any:
    return trading_app(ScriptedVenue([FIRST, *prints], levels=BOOK), **more)


def place(app: Any, *words: Any, **more: object) -> dict[str, Any]:
    """Place an order and look at it."""
    made = data(app, "POST", "trade/order", order(*words, **more))[0]
    return look(app, made["ordId"])


def look(app: Any, number: str) -> dict[str, Any]:
    return data(app, "GET", "trade/order", {"instId": SWAP, "ordId": number})[0]


def refused(app: Any, *words: Any, **more: object) -> str:
    document = signed(app, "POST", "trade/order", order(*words, **more)).json()
    assert document["code"] == "1"
    return str(document["data"][0]["sCode"])


def test_a_market_order_walks_the_book_and_pays_the_taker_fee() -> None:
    app = app_with()
    found = place(app, "buy", 8)
    assert (found["state"], found["accFillSz"]) == ("filled", "8")
    assert float(found["avgPx"]) == pytest.approx((5 * 10.01 + 3 * 10.02) / 8, rel=1e-14)
    fills = data(app, "GET", "trade/fills", {"ordId": found["ordId"]})
    assert [(row["fillPx"], row["fillSz"], row["execType"]) for row in fills] == [
        ("10.02", "3", "T"),
        ("10.01", "5", "T"),
    ]
    assert float(found["fee"]) == pytest.approx(-(5 * 10.01 + 3 * 10.02) * 0.1 * 0.0005, rel=1e-12)


def test_what_was_taken_is_gone_until_the_book_is_new() -> None:
    app = app_with()
    place(app, "buy", 8)
    assert place(app, "buy", 2)["avgPx"] == "10.02"
    assert place(app, "sell", 2)["avgPx"] == "9.99"
    app.clock.advance(SECOND)
    assert place(app, "buy", 2)["avgPx"] == "10.01"


def test_a_market_order_larger_than_the_book_is_cut() -> None:
    found = place(app_with(), "sell", 500)
    assert (found["state"], found["accFillSz"], found["cancelSource"]) == ("canceled", "115", "14")


def test_a_limit_order_takes_what_is_within_its_price_and_rests_with_the_remainder() -> None:
    app = app_with((START + 5 * SECOND, 10.0, 40.0), (START + 6 * SECOND, 10.02, 50.0))
    found = place(app, "buy", 8, "limit", px="10.01")
    assert (found["state"], found["accFillSz"]) == ("partially_filled", "5")
    app.clock.advance(5 * SECOND)
    found = look(app, found["ordId"])
    assert (found["state"], found["accFillSz"], found["fillPx"]) == ("filled", "8", "10.01")
    maker, taker = data(app, "GET", "trade/fills", {"ordId": found["ordId"]})
    assert (maker["execType"], taker["execType"]) == ("M", "T")
    assert float(maker["fee"]) == pytest.approx(-3 * 0.1 * 10.01 * 0.0002, rel=1e-12)
    assert maker["ts"] == str(START + 5 * SECOND)


def test_trades_at_the_price_do_not_fill_and_trades_through_it_fill_up_to_their_size() -> None:
    app = app_with((START + 1, 9.5, 50.0), (START + 2, 9.49, 4.0), (START + 3, 9.4, 50.0))
    found = place(app, "buy", 10, "limit", px="9.5")
    for ahead, filled in ((1, "0"), (1, "4"), (1, "10")):
        app.clock.advance(ahead)
        assert look(app, found["ordId"])["accFillSz"] == filled
    assert look(app, found["ordId"])["avgPx"] == "9.5"


def test_one_trade_fills_the_better_then_the_older_order() -> None:
    app = app_with((START + 1, 9.3, 5.0))
    worse, older, younger = (place(app, "buy", 2, "limit", px=px)["ordId"] for px in ("9.4", "9.5", "9.5"))
    app.clock.advance(1)
    assert [look(app, number)["accFillSz"] for number in (older, younger, worse)] == ["2", "2", "1"]


def test_a_trade_that_fills_one_order_leaves_the_one_at_its_price_alone() -> None:
    app = app_with((START + 1, 9.4, 50.0))
    at, above = (place(app, "buy", 2, "limit", px=px)["ordId"] for px in ("9.4", "9.5"))
    app.clock.advance(1)
    assert [look(app, number)["accFillSz"] for number in (at, above)] == ["0", "2"]


@pytest.mark.parametrize(
    ("kind", "price", "state", "filled", "source"),
    [
        ("post_only", "10.01", "canceled", "0", "31"),
        ("post_only", "10", "live", "0", ""),
        ("ioc", "10.01", "canceled", "5", "14"),
        ("ioc", "10.02", "filled", "8", ""),
        ("fok", "10.01", "canceled", "0", "13"),
        ("fok", "10.02", "filled", "8", ""),
        ("optimal_limit_ioc", None, "filled", "8", ""),
    ],
)
def test_each_order_type_does_what_its_name_says(
    kind: str, price: str | None, state: str, filled: str, source: str
) -> None:
    more = {} if price is None else {"px": price}
    found = place(app_with(), "buy", 8, kind, **more)
    assert (found["state"], found["accFillSz"], found["cancelSource"]) == (state, filled, source)


def test_orders_are_cancelled_once() -> None:
    app = app_with()
    number = place(app, "buy", 1, "limit", px="9")["ordId"]
    item = {"instId": SWAP, "ordId": number}
    assert data(app, "POST", "trade/cancel-order", item)[0]["ordId"] == number
    found = look(app, number)
    assert (found["state"], found["cancelSource"]) == ("canceled", "1")
    again = signed(app, "POST", "trade/cancel-order", item).json()["data"][0]
    assert again["sCode"] == "51401"
    done = {"instId": SWAP, "ordId": place(app, "buy", 1)["ordId"]}
    assert signed(app, "POST", "trade/cancel-order", done).json()["data"][0]["sCode"] == "51402"
    unknown = {"instId": SWAP, "clOrdId": "nobody"}
    assert signed(app, "POST", "trade/cancel-order", unknown).json()["data"][0]["sCode"] == "51400"
    assert signed(app, "GET", "trade/order", unknown).json()["code"] == "51603"


def test_an_order_is_amended_and_may_take_then() -> None:
    app = app_with()
    number = place(app, "buy", 2, "limit", px="9")["ordId"]
    data(app, "POST", "trade/amend-order", {"instId": SWAP, "ordId": number, "newSz": "4", "newPx": "9.5"})
    found = look(app, number)
    assert (found["state"], found["sz"], found["px"]) == ("live", "4", "9.5")
    data(app, "POST", "trade/amend-order", {"instId": SWAP, "ordId": number, "newPx": "10.01"})
    found = look(app, number)
    assert (found["state"], found["avgPx"]) == ("filled", "10.01")
    late = signed(app, "POST", "trade/amend-order", {"instId": SWAP, "ordId": number, "newSz": "9"}).json()
    assert late["data"][0]["sCode"] == "51510"


def test_an_amendment_beyond_the_balance_changes_nothing() -> None:
    app = app_with()
    number = place(app, "buy", 2, "limit", px="9")["ordId"]
    item = {"instId": SWAP, "ordId": number, "newSz": "40000"}
    assert signed(app, "POST", "trade/amend-order", item).json()["data"][0]["sCode"] == "51502"
    assert look(app, number)["sz"] == "2"


def test_the_same_client_id_is_taken_once() -> None:
    app = app_with()
    place(app, "buy", 1, clOrdId="twice")
    assert refused(app, "buy", 1, clOrdId="twice") == "51016"
    assert len(data(app, "GET", "trade/fills")) == 1
    assert look(app, data(app, "GET", "trade/order", {"instId": SWAP, "clOrdId": "twice"})[0]["ordId"])["sz"] == "1"


def test_a_bulk_request_tells_each_item_its_own_fate() -> None:
    app = app_with()
    good, bad = order("buy", 1), order("buy", 1.5)
    assert signed(app, "POST", "trade/batch-orders", [good, good]).json()["code"] == "0"
    mixed = signed(app, "POST", "trade/batch-orders", [good, bad]).json()
    assert (mixed["code"], [row["sCode"] for row in mixed["data"]]) == ("2", ["0", "51121"])
    assert signed(app, "POST", "trade/batch-orders", [bad]).json()["code"] == "1"
    assert signed(app, "POST", "trade/batch-orders", [good] * 21).json()["code"] == "51111"
    numbers = [place(app, "buy", 1, "limit", px="9")["ordId"] for _ in range(2)]
    items = [{"instId": SWAP, "ordId": number} for number in (*numbers, "1")]
    cancelled = signed(app, "POST", "trade/cancel-batch-orders", items).json()
    assert (cancelled["code"], [row["sCode"] for row in cancelled["data"]]) == ("2", ["0", "0", "51400"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"instId": "NONE-USDT-SWAP"}, "51001"),
        ({"tdMode": "cross"}, "51000"),
        ({"tdMode": ""}, "50014"),
        ({"side": "hold"}, "51000"),
        ({"ordType": "magic"}, "51000"),
        ({"ordType": "limit"}, "50014"),
        ({"ordType": "limit", "px": "9.005"}, "51000"),
        ({"ordType": "limit", "px": "-1"}, "51000"),
        ({"sz": "1.5"}, "51121"),
        ({"sz": "0"}, "51000"),
        ({"sz": "many"}, "51000"),
        ({"sz": "NaN"}, "51000"),
        ({"sz": ""}, "50014"),
        ({"posSide": "long"}, "51000"),
        ({"clOrdId": "not allowed!"}, "51000"),
        ({"clOrdId": "x" * 33}, "51000"),
        ({"reduceOnly": "perhaps"}, "51000"),
        ({"reduceOnly": True}, "51169"),
        ({"sz": "40000"}, "51008"),
        ({"sz": "3000000"}, "51004"),
    ],
)
def test_impossible_orders_are_refused_with_the_exchanges_codes(changes: dict[str, Any], expected: str) -> None:
    app = app_with()
    document = signed(app, "POST", "trade/order", order("buy", 1) | changes).json()
    assert (document["code"], document["data"][0]["sCode"]) == ("1", expected)
    assert not app.trading.desk.orders


@pytest.mark.parametrize(("body", "expected"), [("", "50000"), ("{", "50002"), ("7", "50002"), ("[]", "50002")])
def test_bodies_that_are_no_order_are_refused(body: str, expected: str) -> None:
    answer = signed(app_with(), "POST", "trade/order", body)
    assert (answer.status_code, answer.json()["code"]) == (400, expected)


def test_only_json_is_taken() -> None:
    answer = signed(app_with(), "POST", "trade/order", order("buy", 1), Content_Type="text/plain")
    assert (answer.status_code, answer.json()["code"]) == (400, "50006")


def test_what_open_orders_may_need_is_not_available() -> None:
    app = app_with()
    number = place(app, "buy", 10_000, "limit", px="9")["ordId"]
    detail = data(app, "GET", "account/balance")[0]["details"][0]
    needed = Decimal("9000") / 3 + Decimal("9000") * Decimal("0.0005")
    assert (Decimal(detail["ordFrozen"]), Decimal(detail["availEq"])) == (needed, 10_000 - needed)
    assert (Decimal(detail["cashBal"]), Decimal(detail["eq"])) == (10_000, 10_000)
    assert refused(app, "buy", 25_000, "limit", px="9") == "51008"
    data(app, "POST", "trade/cancel-order", {"instId": SWAP, "ordId": number})
    assert place(app, "buy", 25_000, "limit", px="9")["state"] == "live"


def test_lists_are_paged_newest_first_and_filtered() -> None:
    app = app_with()
    numbers = [place(app, "buy", 1, "limit", px="9")["ordId"] for _ in range(5)]
    pending = "trade/orders-pending"
    assert [row["ordId"] for row in data(app, "GET", pending)] == numbers[::-1]
    assert [row["ordId"] for row in data(app, "GET", pending, {"limit": 2})] == numbers[:2:-1]
    assert [row["ordId"] for row in data(app, "GET", pending, {"after": numbers[2]})] == numbers[1::-1]
    assert [row["ordId"] for row in data(app, "GET", pending, {"before": numbers[2]})] == numbers[:2:-1]
    data(app, "POST", "trade/cancel-order", {"instId": SWAP, "ordId": numbers[0]})
    done = place(app, "buy", 1)["ordId"]
    history = {"instType": "SWAP"}
    assert [row["ordId"] for row in data(app, "GET", "trade/orders-history", history)] == [done, numbers[0]]
    found = data(app, "GET", "trade/orders-history-archive", history | {"state": "filled"})
    assert [row["ordId"] for row in found] == [done]
    assert data(app, "GET", pending, {"ordType": "post_only"}) == []


def test_the_state_does_not_depend_on_how_often_it_is_looked_at() -> None:
    prints = [(START + step * SECOND, 10 + (step * 37 % 101 - 50) / 100, 3.0) for step in range(1, 400)]
    asked = [("buy", 20, "9.8"), ("sell", 15, "10.2"), ("buy", 30, "9.6"), ("sell", 40, "10.4")]
    ends = []
    for pause in (1, 7, 400):
        app = trading_app(ScriptedVenue([FIRST, *prints], rates=[(START + 100 * SECOND, 0.001)]))
        for side, size, price in asked:
            data(app, "POST", "trade/order", order(side, size, "limit", px=price))
        for step in range(0, 400, pause):
            app.clock.advance(min(pause, 400 - step) * SECOND)
            data(app, "GET", "account/positions")
        ends.append([data(app, "GET", path) for path in ("account/balance", "account/bills", "trade/fills")])
    assert ends[0] == ends[1] == ends[2]
    assert len(ends[0][2]) > 10
