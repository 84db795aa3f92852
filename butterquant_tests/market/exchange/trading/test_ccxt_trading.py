"""The real ccxt client trades on the simulated market over a loopback socket, with isolated margin throughout."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from butterquant_assets.market.exchange.faults import FaultKind, FaultRule, Faults
from butterquant_assets.market.exchange.server import running_exchange
from butterquant_assets.market.exchange.simulated_venue import SimulatedVenue
from butterquant_assets.market.exchange.trading.account import AccountConfig
from butterquant_tests.market.exchange.asking import HOUR_MS, MARKET, NOW
from butterquant_tests.market.exchange.trading.scripted import KEY, trading_app

ccxt = pytest.importorskip("ccxt")
SYMBOL = "SIMBTC/USDT:USDT"
ISOLATED = {"marginMode": "isolated"}


def client_of(url: str, app: Any, **options: Any) -> Any:
    client = ccxt.okx(
        {
            "urls": {"api": {"rest": url}},
            "apiKey": KEY.key,
            "secret": KEY.secret,
            "password": KEY.passphrase,
            "headers": {"x-simulated-trading": "1"},
            "enableRateLimit": False,
            "timeout": 5_000,
            "options": {"fetchMarkets": {"types": ["swap"]}, "defaultType": "swap"},
        }
        | options
    )
    client.milliseconds = app.clock
    return client


def simulated(**options: Any) -> Any:
    return trading_app(SimulatedVenue(MARKET), NOW, **options)


@pytest.fixture
def okx() -> Iterator[Any]:
    app = simulated()
    with running_exchange(app) as url:
        client = client_of(url, app)
        client.exchange_app = app
        yield client


def test_it_buys_holds_and_sells_and_the_balance_adds_up(okx: Any) -> None:
    okx.set_leverage(5, SYMBOL, params=ISOLATED | {"posSide": "net"})
    assert okx.fetch_leverage(SYMBOL, ISOLATED)["longLeverage"] == 5
    bought = okx.create_order(SYMBOL, "market", "buy", 20, params=ISOLATED | {"clientOrderId": "entry1"})
    entry = okx.fetch_order(bought["id"], SYMBOL)
    assert (entry["status"], entry["filled"], entry["clientOrderId"]) == ("closed", 20, "entry1")
    (held,) = okx.fetch_positions([SYMBOL])
    assert (held["side"], held["contracts"], held["marginMode"], held["leverage"]) == ("long", 20, "isolated", 5)
    assert held["liquidationPrice"] < held["entryPrice"] * 0.82
    assert held["initialMargin"] == pytest.approx(held["entryPrice"] * 20 * held["contractSize"] / 5)
    okx.exchange_app.clock.advance(9 * HOUR_MS)
    funding = okx.fetch_funding_history(SYMBOL)
    assert [one["timestamp"] % (8 * HOUR_MS) for one in funding] == [0]
    rate = next(
        one["fundingRate"]
        for one in okx.fetch_funding_rate_history(SYMBOL)
        if one["timestamp"] == funding[0]["timestamp"]
    )
    mark = MARKET.hours(funding[0]["timestamp"] // HOUR_MS, funding[0]["timestamp"] // HOUR_MS + 1).mark_open[0, 0]
    assert funding[0]["amount"] == pytest.approx(-20 * held["contractSize"] * mark * rate, abs=1e-9)
    sold = okx.create_order(SYMBOL, "market", "sell", 20, params=ISOLATED | {"reduceOnly": True})
    assert okx.fetch_positions([SYMBOL]) == []
    trades = okx.fetch_my_trades(SYMBOL)
    assert {trade["order"] for trade in trades} == {bought["id"], sold["id"]}
    assert {trade["takerOrMaker"] for trade in trades} == {"taker"}
    gained = sum(Decimal(trade["info"]["fillPnl"]) + Decimal(trade["info"]["fee"]) for trade in trades)
    gained += sum(Decimal(one["info"]["posBalChg"]) for one in funding)
    assert Decimal(okx.fetch_balance()["info"]["data"][0]["details"][0]["eq"]) == 10_000 + gained
    assert [one["type"] for one in okx.fetch_ledger("USDT")][-1] == "trade"
    assert okx.fetch_trading_fee(SYMBOL)["taker"] == 0.0005


def test_it_places_amends_lists_and_cancels_limit_orders(okx: Any) -> None:
    last = okx.fetch_ticker(SYMBOL)["last"]
    price = float(okx.price_to_precision(SYMBOL, last * 0.9))
    order = okx.create_order(SYMBOL, "limit", "buy", 3, price, ISOLATED | {"postOnly": True})
    (resting,) = okx.fetch_open_orders(SYMBOL)
    assert (resting["id"], resting["price"], resting["postOnly"], resting["status"]) == (
        order["id"],
        price,
        True,
        "open",
    )
    okx.edit_order(order["id"], SYMBOL, "limit", "buy", 4, price)
    assert okx.fetch_order(order["id"], SYMBOL)["amount"] == 4
    okx.cancel_order(order["id"], SYMBOL)
    assert okx.fetch_open_orders(SYMBOL) == []
    assert [one["id"] for one in okx.fetch_canceled_orders(SYMBOL)] == [order["id"]]
    pair = okx.create_orders(
        [{"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 1, "price": price, "params": ISOLATED}] * 2
    )
    assert len(okx.cancel_orders([one["id"] for one in pair], SYMBOL)) == 2


def test_a_resting_order_is_filled_as_the_market_comes_to_it(okx: Any) -> None:
    rows = MARKET.hours(NOW // HOUR_MS + 1, NOW // HOUR_MS + 13)
    low = float(rows.low[:, 0].min())
    okx.load_markets()
    price = float(okx.price_to_precision(SYMBOL, low + (float(rows.open[0, 0]) - low) / 2))
    order = okx.create_order(SYMBOL, "limit", "buy", 2, price, ISOLATED)
    assert okx.fetch_order(order["id"], SYMBOL)["status"] == "open"
    okx.exchange_app.clock.advance(13 * HOUR_MS)
    found = okx.fetch_order(order["id"], SYMBOL)
    assert (found["status"], found["average"]) == ("closed", price)
    (trade,) = okx.fetch_my_trades(SYMBOL)
    assert (trade["takerOrMaker"], trade["fee"]["cost"]) == (
        "maker",
        pytest.approx(2 * price * 0.0002 * okx.market(SYMBOL)["contractSize"]),
    )
    assert okx.fetch_closed_orders(SYMBOL)[0]["id"] == order["id"]


def test_it_attaches_and_places_stops_and_triggers(okx: Any) -> None:
    last = okx.fetch_ticker(SYMBOL)["last"]
    stop, profit = (float(okx.price_to_precision(SYMBOL, last * share)) for share in (0.9, 1.1))
    okx.create_order(
        SYMBOL,
        "market",
        "buy",
        2,
        params=ISOLATED | {"stopLoss": {"triggerPrice": stop}, "takeProfit": {"triggerPrice": profit}},
    )
    (both,) = okx.fetch_open_orders(SYMBOL, params={"trigger": True, "ordType": "oco"})
    assert (both["stopLossPrice"], both["takeProfitPrice"], both["reduceOnly"]) == (stop, profit, True)
    more = okx.create_order(SYMBOL, "market", "sell", 2, params=ISOLATED | {"stopLossPrice": stop, "reduceOnly": True})
    trigger = okx.create_order(SYMBOL, "market", "buy", 1, params=ISOLATED | {"triggerPrice": profit})
    assert okx.fetch_order(trigger["id"], SYMBOL, {"trigger": True})["triggerPrice"] == profit
    for one in (both, more, trigger):
        okx.cancel_order(one["id"], SYMBOL, {"trigger": True})
    assert okx.fetch_open_orders(SYMBOL, params={"trigger": True, "ordType": "conditional,oco,trigger"}) == []


def test_it_trades_both_sides_of_a_hedged_account(okx: Any) -> None:
    okx.set_position_mode(True)
    assert okx.fetch_position_mode()["hedged"]
    for side, position in (("buy", "long"), ("sell", "short")):
        okx.set_leverage(10, SYMBOL, params=ISOLATED | {"posSide": position})
        okx.create_order(SYMBOL, "market", side, 2, params=ISOLATED | {"hedged": True})
    assert {one["side"] for one in okx.fetch_positions()} == {"long", "short"}
    okx.create_order(SYMBOL, "market", "sell", 2, params=ISOLATED | {"hedged": True, "reduceOnly": True})
    assert [one["side"] for one in okx.fetch_positions()] == ["short"]
    okx.close_position(SYMBOL, "short", ISOLATED)
    assert okx.fetch_positions() == []


def test_what_ccxt_takes_for_granted_is_refused(okx: Any) -> None:
    """A trap: leverage and orders ask for cross margin unless told otherwise."""
    with pytest.raises(ccxt.BadRequest, match="isolated"):
        okx.create_order(SYMBOL, "market", "buy", 2)
    with pytest.raises(ccxt.BadRequest, match="isolated"):
        okx.set_leverage(5, SYMBOL)
    assert okx.fetch_positions() == []


@pytest.mark.parametrize(
    ("amount", "changes", "error"),
    [
        (1_000_000, {}, "InsufficientFunds"),
        (3_000_000, {}, "InvalidOrder"),
        (2, {"clientOrderId": "once"}, "InvalidOrder"),
        (2, {"posSide": "long"}, "BadRequest"),
    ],
)
def test_refusals_arrive_as_the_clients_own_errors(
    okx: Any, amount: float, changes: dict[str, Any], error: str
) -> None:
    okx.create_order(SYMBOL, "market", "buy", 2, params=ISOLATED | {"clientOrderId": "once"})
    with pytest.raises(getattr(ccxt, error)):
        okx.create_order(SYMBOL, "market", "buy", amount, params=ISOLATED | changes)
    with pytest.raises(ccxt.OrderNotFound):
        okx.fetch_order("1", SYMBOL)
    with pytest.raises(ccxt.OrderNotFound):
        okx.cancel_order("1", SYMBOL)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"apiKey": "another-key"}, "AuthenticationError"),
        ({"secret": "another-secret"}, "AuthenticationError"),
        ({"password": "another-passphrase"}, "AuthenticationError"),
        ({"headers": {}}, "AuthenticationError"),
    ],
)
def test_wrong_credentials_are_refused_and_not_repeated(changes: dict[str, Any], error: str) -> None:
    app = simulated()
    with running_exchange(app) as url:
        client = client_of(url, app, **changes)
        with pytest.raises(getattr(ccxt, error)) as caught:
            client.fetch_balance()
    for secret in (KEY.secret, KEY.passphrase, "another-secret", "another-passphrase"):
        assert secret not in str(caught.value)


def test_a_client_in_sandbox_mode_needs_no_header_of_its_own() -> None:
    app = simulated()
    with running_exchange(app) as url:
        client = client_of(url, app, headers={}, urls={"api": {"rest": "http://127.0.0.1:9"}, "test": {"rest": url}})
        client.set_sandbox_mode(True)
        assert client.fetch_balance()["USDT"]["free"] == 10_000


def test_a_clock_that_is_off_is_refused() -> None:
    app = simulated()
    with running_exchange(app) as url:
        client = client_of(url, app)
        client.milliseconds = lambda: NOW - 60_000
        with pytest.raises(ccxt.InvalidNonce):
            client.fetch_balance()
        client.load_time_difference()
        assert client.fetch_balance()["USDT"]["total"] == 10_000


def test_an_order_answered_by_a_timeout_may_or_may_not_be_there_and_its_client_id_tells() -> None:
    faults = Faults([FaultRule(FaultKind.TIMEOUT, endpoints=("trade/order",))], seed=1)
    app = simulated(faults=faults, hang_seconds=0.02, account=AccountConfig(balance=1e6))
    with running_exchange(app) as url:
        client = client_of(url, app)
        client.options["createOrder"] = "privatePostTradeOrder"
        there = {}
        for number in range(8):
            name = f"lost{number}"
            words = (SYMBOL, "market", "buy", 1)
            with pytest.raises(ccxt.RequestTimeout):
                client.create_order(*words, params=ISOLATED | {"clientOrderId": name})
            for _ in range(2):
                try:
                    there[name] = client.fetch_order("", SYMBOL, {"clientOrderId": name})["status"]
                except ccxt.RequestTimeout:
                    continue
                except ccxt.OrderNotFound:
                    there[name] = "absent"
                    client.create_order(*words, params=ISOLATED | {"clientOrderId": name})
                else:
                    with pytest.raises(ccxt.InvalidOrder):
                        client.create_order(*words, params=ISOLATED | {"clientOrderId": name})
        (held,) = client.fetch_positions()
    assert set(there.values()) == {"closed", "absent"}
    assert held["contracts"] == 8
