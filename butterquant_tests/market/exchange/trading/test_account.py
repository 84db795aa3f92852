"""Every cent is accounted for: fills, funding, leverage, margin, liquidation and delisting."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.exchange.trading.account import AccountConfig
from butterquant_assets.market.exchange.trading.margin import liquidation_price
from butterquant_assets.market.exchange.venue import Instrument
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
from butterquant_tests.shared_data import reference_dir

FIRST = (START - HOUR, 10.0, 1e6)


def place(app: Any, *words: Any, **more: object) -> str:
    return str(data(app, "POST", "trade/order", order(*words, **more))[0]["ordId"])


def detail(app: Any) -> dict[str, Decimal]:
    found = data(app, "GET", "account/balance")[0]["details"][0]
    return {name: Decimal(found[name]) for name in ("cashBal", "availBal", "eq", "isoEq", "isoUpl", "frozenBal")}


def positions(app: Any) -> list[dict[str, Any]]:
    return data(app, "GET", "account/positions")


def total(app: Any, name: str, **query: object) -> Decimal:
    return sum((Decimal(row[name]) for row in data(app, "GET", "account/bills", query)), Decimal(0))


def in_bars(prints: list[tuple[int, float, float]]) -> ScriptedVenue:
    """The minutes between the prints as a recording tells them: bars of the trades, and of a mark price like them."""
    bars = [
        (one[0], two[0], one[1], min(one[1], two[1]), max(one[1], two[1]), two[1], two[2])
        for one, two in pairwise(prints)
    ]
    marks = [(opened, closed, low, high, close) for opened, closed, _, low, high, close, _ in bars]
    return ScriptedVenue([FIRST, (START, prints[0][1], 1.0)], bars=bars, mark_bars=marks)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("recorded", [False, True], ids=["trades", "bars"])
def test_balances_add_up_to_the_last_digit_whatever_is_traded(seed: int, hedged: bool, recorded: bool) -> None:
    draw = np.random.default_rng(seed)
    price = np.round(10 * np.exp(np.cumsum(draw.normal(0, 0.01, 300))), 2)
    prints = [(START + step * 60 * SECOND, float(price[step]), 40.0) for step in range(300)]
    rates = [(START + hour * HOUR, float(round(draw.normal(0, 1e-3), 6))) for hour in range(6)]
    venue = in_bars(prints) if recorded else ScriptedVenue([FIRST, *prints])
    venue.rates = rates
    app = trading_app(venue, account=AccountConfig(hedged=hedged, balance=500))
    for _ in range(60):
        kind = str(draw.choice(["market", "limit", "ioc", "post_only"]))
        last = Decimal(str(price[(app.clock() - START) // (60 * SECOND)]))
        more: dict[str, object] = {"px": str(last + int(draw.integers(-20, 21)) * Decimal("0.01"))}
        if hedged:
            more["posSide"] = str(draw.choice(["long", "short"]))
        side = str(draw.choice(["buy", "sell"]))
        signed(app, "POST", "trade/order", order(side, int(draw.integers(1, 200)), kind, **more))
        app.clock.advance(int(draw.integers(0, 5)) * 60 * SECOND)
    balance, held = detail(app), positions(app)
    margins = sum((Decimal(row["margin"]) for row in held), Decimal(0))
    gained = total(app, "pnl") + total(app, "fee")
    assert balance["cashBal"] + margins == 500 + gained
    assert balance["cashBal"] + margins == 500 + total(app, "balChg") + total(app, "posBalChg")
    assert balance["eq"] == balance["cashBal"] + balance["isoEq"]
    assert balance["isoEq"] == margins + balance["isoUpl"]
    assert balance["availBal"] + balance["frozenBal"] == balance["eq"]
    assert balance["cashBal"] >= 0
    bills = data(app, "GET", "account/bills")
    assert len(bills) == 100 or Decimal(bills[-1]["bal"]) - Decimal(bills[-1]["balChg"]) == 500
    assert all(Decimal(new["bal"]) == Decimal(old["bal"]) + Decimal(new["balChg"]) for new, old in pairwise(bills))
    kinds = {row["type"] for row in bills}
    assert {"2", "8"} <= kinds
    fills = data(app, "GET", "trade/fills")
    assert {row["execType"] for row in fills} == {"M", "T"}


def test_a_net_position_is_opened_reduced_and_turned_over() -> None:
    app = trading_app(ScriptedVenue([FIRST, (START + 1, 11.0, 1.0)]))
    place(app, "buy", 10)
    app.clock.advance(1)
    (before,) = positions(app)
    place(app, "sell", 4)
    (held,) = positions(app)
    assert (held["pos"], held["avgPx"], held["posSide"]) == ("6", "10.01", "net")
    assert float(held["margin"]) == pytest.approx(0.6 * float(before["margin"]), rel=1e-9)
    assert Decimal(held["pnl"]) == (Decimal("10.99") - Decimal("10.01")) * 4 * Decimal("0.1")
    place(app, "sell", 10)
    (held,) = positions(app)
    assert (held["pos"], held["avgPx"], held["pnl"]) == ("-4", "10.99", "0")
    assert total(app, "pnl") == (Decimal("10.99") - Decimal("10.01")) * 10 * Decimal("0.1")


def test_a_hedged_account_holds_both_sides() -> None:
    app = trading_app(ScriptedVenue())
    assert data(app, "POST", "account/set-position-mode", {"posMode": "long_short_mode"}) == [
        {"posMode": "long_short_mode"}
    ]
    place(app, "buy", 10, posSide="long")
    place(app, "sell", 4, posSide="short")
    assert {(row["posSide"], row["pos"]) for row in positions(app)} == {("long", "10"), ("short", "4")}
    place(app, "sell", 10, posSide="long")
    assert [(row["posSide"], row["pos"]) for row in positions(app)] == [("short", "4")]
    for words, expected in ((("sell", 1, "long"), "51169"), (("buy", 5, "short"), "51112"), (("buy", 1, ""), "51000")):
        document = signed(app, "POST", "trade/order", order(*words[:2], posSide=words[2])).json()
        assert document["data"][0]["sCode"] == expected
    mode = signed(app, "POST", "account/set-position-mode", {"posMode": "net_mode"}).json()
    assert mode["code"] == "59000"


def test_position_sides_are_the_published_ones() -> None:
    """What a client must send for (mode, side, reduce) opens or reduces; any other side does not."""
    known = json.loads((reference_dir() / "okx_margin_and_funding_vectors.json").read_text())["posSide"]
    assert len(known) == 8
    for mode, side, reduces, expected in known:
        hedged = mode == "longshort"
        for sent in ("net", "long", "short"):
            app = trading_app(ScriptedVenue(), account=AccountConfig(hedged=hedged))
            before = "sell" if side == "buy" else "buy"
            if reduces:
                place(app, before, 5, posSide="net" if not hedged else "long" if before == "buy" else "short")
            signed(app, "POST", "trade/order", order(side, 2, posSide=sent, reduceOnly=reduces and not hedged))
            held = [abs(int(row["pos"])) for row in positions(app)]
            assert (held == ([3] if reduces else [2])) == (sent == expected), (mode, side, reduces, sent)


def test_reduce_only_orders_never_open() -> None:
    app = trading_app(ScriptedVenue([FIRST, (START + 1, 11.0, 100.0)]))
    place(app, "buy", 5)
    resting = place(app, "sell", 9, "limit", px="10.5", reduceOnly="true")
    app.clock.advance(1)
    assert positions(app) == []
    (found,) = data(app, "GET", "trade/order", {"instId": SWAP, "ordId": resting})
    assert (found["state"], found["accFillSz"]) == ("canceled", "5")


def test_published_funding_is_paid_by_the_account() -> None:
    known = json.loads((reference_dir() / "okx_margin_and_funding_vectors.json").read_text())["funding"]
    coin = Instrument("SIMX", 1.0, 0.01, 1.0, START - 100 * HOUR)
    assert len(known["cases"]) == 9
    for case in known["cases"]:
        rates = [(START + int(words[:2]) * HOUR, float(words.split()[1])) for words in case["funding_at"]]
        opens, closes = (_ms(case[name]) for name in ("open", "close"))
        first = (START - 24 * HOUR, known["mark_open_00"], 1e6)
        venue = ScriptedVenue([first], rates=rates, instrument=coin)
        for side, sign in (("sell", 1), ("buy", -1)):
            app = trading_app(venue, min(opens, START - SECOND))
            app.clock.advance(opens - app.clock())
            place(app, side, case["amount"])
            app.clock.advance(closes - app.clock())
            place(app, "buy" if side == "sell" else "sell", case["amount"])
            received = sign * float(total(app, "posBalChg", type="8"))
            assert received == pytest.approx(case["fee_short_received"], abs=2e-10)
            assert total(app, "balChg", type="8") == 0


def test_who_sells_at_the_moment_of_a_settlement_pays_it_still() -> None:
    app = trading_app(ScriptedVenue([FIRST, (START + HOUR, 11.0, 50.0)], rates=[(START + HOUR, 0.001)]))
    place(app, "buy", 10)
    place(app, "sell", 10, "limit", px="10.5", reduceOnly=True)
    app.clock.advance(HOUR)
    assert positions(app) == []
    assert total(app, "posBalChg", type="8") == Decimal("-0.011")


def test_funding_changes_the_margin_and_so_the_liquidation_price() -> None:
    app = trading_app(ScriptedVenue(rates=[(START + HOUR, 0.01)]))
    place(app, "buy", 100)
    before = positions(app)[0]
    app.clock.advance(HOUR)
    after = positions(app)[0]
    assert Decimal(after["margin"]) - Decimal(before["margin"]) == Decimal("-1") == Decimal(after["fundingFee"])
    assert Decimal(after["liqPx"]) > Decimal(before["liqPx"])


def test_funding_of_changing_intervals_is_paid_at_every_settlement() -> None:
    hours = (2, 4, 8, 16, 20, 24, 26)
    app = trading_app(ScriptedVenue(rates=[(START + hour * HOUR, 0.0001) for hour in hours]))
    place(app, "sell", 100)
    app.clock.advance(30 * HOUR)
    bills = data(app, "GET", "account/bills", {"type": "8"})
    assert [(int(row["ts"]) - START) // HOUR for row in bills] == list(hours[::-1])
    assert {row["posBalChg"] for row in bills} == {"0.01"}
    assert {row["subType"] for row in bills} == {"174"}


@pytest.mark.parametrize(("side", "direction"), [("buy", 1), ("sell", -1)])
def test_a_position_is_liquidated_on_the_mark_price_not_on_the_last(side: str, direction: int) -> None:
    def run(last: float, mark: float) -> Any:
        venue = ScriptedVenue([FIRST, (START + 60, last, 10.0)], marks=[(START - HOUR, 10.0), (START + 60, mark)])
        app = trading_app(venue)
        data(app, "POST", "account/set-leverage", {"instId": SWAP, "lever": 5, "mgnMode": "isolated"})
        place(app, side, 100)
        app.clock.advance(60)
        return app

    (held,) = positions(run(10.0, 10.0))
    entry, margin = Decimal(held["avgPx"]), Decimal(held["margin"])
    expected = liquidation_price(direction, entry, margin, Decimal(10), Decimal("0.004"), Decimal("0.0005"))
    assert float(held["liqPx"]) == pytest.approx(float(expected), rel=1e-12)
    through = float(expected) - direction * 0.005
    short_of = float(expected) + direction * 0.005
    assert len(positions(run(through, 10.0))) == 1
    assert len(positions(run(through, short_of))) == 1
    app = run(10.0, through)
    assert positions(app) == []
    assert detail(app)["eq"] == detail(app)["cashBal"] == 10_000 - margin - entry * 10 * Decimal("0.0005")
    (bill,) = data(app, "GET", "account/bills", {"type": "5"})
    assert (bill["subType"], bill["balChg"]) == ("104" if direction > 0 else "105", "0")
    assert Decimal(bill["posBalChg"]) == -margin == Decimal(bill["pnl"]) + Decimal(bill["fee"])
    done = data(app, "GET", "trade/orders-history", {"instType": "SWAP", "category": "full_liquidation"})
    assert [row["state"] for row in done] == ["filled"]


def test_liquidation_takes_the_orders_that_only_close_with_it_and_leaves_others() -> None:
    venue = ScriptedVenue([FIRST], marks=[(START - HOUR, 10.0), (START + 60, 1.0)])
    app = trading_app(venue)
    place(app, "buy", 100)
    closing, opening = (
        place(app, "sell", 5, "limit", px="20", reduceOnly=True),
        place(app, "buy", 5, "limit", px="0.5"),
    )
    app.clock.advance(60)
    states = {row["ordId"]: row["state"] for row in data(app, "GET", "trade/orders-pending")}
    assert states == {opening: "live"}
    assert data(app, "GET", "trade/order", {"instId": SWAP, "ordId": closing})[0]["cancelSource"] == "17"


def test_leverage_is_isolated_by_side_and_moves_margin() -> None:
    app = trading_app(ScriptedVenue(), account=AccountConfig(hedged=True))
    asked = {"instId": SWAP, "mgnMode": "isolated"}
    data(app, "POST", "account/set-leverage", asked | {"lever": "10", "posSide": "long"})
    told = data(app, "GET", "account/leverage-info", asked)
    assert {(row["posSide"], row["lever"]) for row in told} == {("long", "10"), ("short", "3")}
    place(app, "buy", 100, posSide="long")
    before, cash = positions(app)[0], detail(app)["cashBal"]
    assert Decimal(before["margin"]) == Decimal("10.01")
    data(app, "POST", "account/set-leverage", asked | {"lever": "5", "posSide": "long"})
    after = positions(app)[0]
    assert (after["lever"], Decimal(after["margin"])) == ("5", Decimal("20.02"))
    assert detail(app)["cashBal"] == cash - Decimal("10.01")
    assert Decimal(after["liqPx"]) < Decimal(before["liqPx"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lever": "51"}, "59102"),
        ({"lever": "0"}, "51000"),
        ({"lever": "much"}, "51000"),
        ({"mgnMode": "cross"}, "51000"),
        ({"mgnMode": ""}, "50014"),
        ({"posSide": "long"}, "51000"),
        ({"instId": "NONE-USDT-SWAP"}, "51001"),
    ],
)
def test_impossible_leverage_is_refused(changes: dict[str, str], expected: str) -> None:
    app = trading_app(ScriptedVenue())
    body = {"instId": SWAP, "lever": "5", "mgnMode": "isolated"} | changes
    assert signed(app, "POST", "account/set-leverage", body).json()["code"] == expected
    assert data(app, "GET", "account/leverage-info", {"instId": SWAP, "mgnMode": "isolated"})[0]["lever"] == "3"


def test_leverage_stands_while_orders_are_open_and_falls_only_as_far_as_cash_reaches() -> None:
    app = trading_app(ScriptedVenue(), account=AccountConfig(balance=100))
    asked = {"instId": SWAP, "mgnMode": "isolated"}
    number = place(app, "buy", 10, "limit", px="9")
    assert signed(app, "POST", "account/set-leverage", asked | {"lever": "5"}).json()["code"] == "59101"
    data(app, "POST", "trade/cancel-order", {"instId": SWAP, "ordId": number})
    place(app, "buy", 200)
    assert signed(app, "POST", "account/set-leverage", asked | {"lever": "1"}).json()["code"] == "59103"
    assert positions(app)[0]["lever"] == "3"


def test_leverage_is_bounded_by_the_tier_of_the_position() -> None:
    app = trading_app(ScriptedVenue(), account=AccountConfig(balance=1e9))
    body = {"instId": SWAP, "lever": "50", "mgnMode": "isolated"}
    data(app, "POST", "account/set-leverage", body)
    assert signed(app, "POST", "trade/order", order("buy", 50_001)).json()["data"][0]["sCode"] == "51004"
    place(app, "buy", 50_000)
    assert signed(app, "POST", "trade/order", order("buy", 1)).json()["data"][0]["sCode"] == "51004"
    data(app, "POST", "account/set-leverage", body | {"lever": "40"})
    place(app, "buy", 1)
    assert signed(app, "POST", "account/set-leverage", body).json()["code"] == "59102"


def test_margin_is_added_and_taken_back_within_reason() -> None:
    app = trading_app(ScriptedVenue())
    item = {"instId": SWAP, "posSide": "net"}
    path = "account/position/margin-balance"
    assert signed(app, "POST", path, item | {"type": "add", "amt": "5"}).json()["code"] == "59300"
    place(app, "buy", 100)
    before, cash = positions(app)[0], detail(app)["cashBal"]
    data(app, "POST", path, item | {"type": "add", "amt": "5"})
    assert Decimal(positions(app)[0]["margin"]) == Decimal(before["margin"]) + 5
    assert Decimal(positions(app)[0]["liqPx"]) < Decimal(before["liqPx"])
    assert detail(app)["cashBal"] == cash - 5
    data(app, "POST", path, item | {"type": "reduce", "amt": "5"})
    assert Decimal(positions(app)[0]["margin"]) == Decimal(before["margin"])
    for changes in ({"type": "reduce", "amt": "33"}, {"type": "add", "amt": "100000"}):
        assert signed(app, "POST", path, item | changes).json()["code"] == "59301"
    assert signed(app, "POST", path, item | {"type": "add", "amt": "-5"}).json()["code"] == "51000"


def test_a_position_is_closed_by_one_request() -> None:
    app = trading_app(ScriptedVenue())
    body = {"instId": SWAP, "mgnMode": "isolated"}
    assert signed(app, "POST", "trade/close-position", body).json()["code"] == "51023"
    place(app, "sell", 7)
    place(app, "buy", 3, "limit", px="9", reduceOnly=True)
    assert signed(app, "POST", "trade/close-position", body).json()["code"] == "51115"
    told = data(app, "POST", "trade/close-position", body | {"autoCxl": True})
    assert told == [{"clOrdId": "", "instId": SWAP, "posSide": "net", "tag": ""}]
    assert positions(app) == []
    assert data(app, "GET", "trade/orders-pending") == []


def test_a_delisted_position_is_settled_at_the_last_mark_price_and_its_orders_are_gone() -> None:
    venue = ScriptedVenue([FIRST], marks=[(START - HOUR, 10.0), (START + 10, 12.0)], delisted=START + 2 * HOUR)
    app = trading_app(venue)
    place(app, "buy", 100)
    place(app, "buy", 5, "limit", px="5")
    app.clock.advance(3 * HOUR)
    assert positions(app) == []
    assert data(app, "GET", "trade/orders-pending") == []
    (bill,) = data(app, "GET", "account/bills", {"type": "3"})
    assert (Decimal(bill["pnl"]), bill["fee"], bill["ts"]) == (
        (12 - Decimal("10.01")) * 10,
        "0",
        str(START + 2 * HOUR),
    )
    assert detail(app)["eq"] == 10_000 + Decimal(bill["pnl"]) - Decimal("0.05005")
    assert signed(app, "POST", "trade/order", order("buy", 1)).json()["data"][0]["sCode"] == "51001"


def test_fees_are_told_as_they_are_charged() -> None:
    app = trading_app(ScriptedVenue(), account=AccountConfig(maker=0.0001, taker=0.0004))
    (told,) = data(app, "GET", "account/trade-fee", {"instType": "SWAP", "uly": "SIMX-USDT"})
    assert (told["makerU"], told["takerU"]) == ("-0.0001", "-0.0004")
    place(app, "buy", 100)
    assert total(app, "fee") == -Decimal("100.1") * Decimal("0.0004")


@pytest.mark.parametrize("changes", [{"balance": 0}, {"balance": -5.0}, {"maker": -0.1}, {"taker": 0.5}])
def test_accounts_nobody_can_have_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        AccountConfig(**changes)  # type: ignore[arg-type]


def _ms(words: str) -> int:
    return round(datetime.fromisoformat(words).replace(tzinfo=UTC).timestamp() * 1000)
