"""The private endpoints of orders and fills under /api/v5/trade."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from butterquant_assets.market.exchange.answers import OkxError, Row, missing_parameter, parameter_error
from butterquant_assets.market.exchange.endpoints import instrument_of
from butterquant_assets.market.exchange.trading.account_endpoints import newest
from butterquant_assets.market.exchange.trading.desk import TradingDesk
from butterquant_assets.market.exchange.trading.records import Order, Side, Wanted
from butterquant_assets.market.exchange.trading.requests import (
    Parameters,
    client_id_of,
    in_lots,
    isolated,
    on_tick,
    position_side,
    text_of,
    wanted_order,
)
from butterquant_assets.market.exchange.trading.wording import fill_words, order_words

_BULK = 20


@dataclass(frozen=True)
class Outcome:
    """Rows and the code above them: 0 all done, 1 none, 2 some."""

    rows: list[Row]
    code: str = "0"
    message: str = ""


Action = Callable[[TradingDesk, Parameters, int], dict[str, str]]


def one_by_one(desk: TradingDesk, items: list[Any], now: int, action: Action, blank: tuple[str, ...]) -> Outcome:
    """Do something to each item; a refusal of one is told in its row and does not stop the others."""
    rows: list[Row] = []
    failed = 0
    for item in items:
        if not isinstance(item, dict):
            raise OkxError("50002", "JSON syntax error", 400)
        told = {name: str(item.get(name) or "") for name in blank}
        try:
            told |= {**action(desk, item, now), "sCode": "0", "sMsg": ""}
        except OkxError as error:
            failed += 1
            told |= {"sCode": error.code, "sMsg": error.message}
        rows.append({**told, "ts": str(now)})
    if not failed:
        return Outcome(rows)
    if failed == len(rows):
        return Outcome(rows, "1", "All operations failed")
    return Outcome(rows, "2", "Bulk operation partially succeeded.")


def several(body: list[Any], most: int = _BULK) -> list[Any]:
    """The items of a bulk request; 51111 for none or too many."""
    if not 1 <= len(body) <= most:
        raise OkxError("51111", f"Maximum {most} orders can be placed in bulk.", 400)
    return body


_ORDER_BLANKS = ("ordId", "clOrdId", "tag")
_CHANGE_BLANKS = ("ordId", "clOrdId")


def place(desk: TradingDesk, body: Any, now: int) -> Outcome:
    """One order."""
    return one_by_one(desk, [body], now, _place, _ORDER_BLANKS)


def place_several(desk: TradingDesk, body: Any, now: int) -> Outcome:
    """Up to 20 orders."""
    return one_by_one(desk, several(body), now, _place, _ORDER_BLANKS)


def cancel(desk: TradingDesk, body: Any, now: int) -> Outcome:
    """Take back one order."""
    return one_by_one(desk, [body], now, _cancel, _CHANGE_BLANKS)


def cancel_several(desk: TradingDesk, body: Any, now: int) -> Outcome:
    """Take back up to 20 orders."""
    return one_by_one(desk, several(body), now, _cancel, _CHANGE_BLANKS)


def amend(desk: TradingDesk, body: Any, now: int) -> Outcome:
    """Change one order."""
    return one_by_one(desk, [body], now, _amend, (*_CHANGE_BLANKS, "reqId"))


def amend_several(desk: TradingDesk, body: Any, now: int) -> Outcome:
    """Change up to 20 orders."""
    return one_by_one(desk, several(body), now, _amend, (*_CHANGE_BLANKS, "reqId"))


def order(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """One order, by number or client id; 51603 if there is none."""
    instrument = instrument_of(desk.venue, text_of(query, "instId"), now)
    found = _asked(desk, query)
    if found is None or found.wanted.instrument.inst_id != instrument.inst_id:
        raise OkxError("51603", "Order does not exist")
    return [order_words(found)]


def pending(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Open orders, newest first."""
    return [order_words(one) for one in newest(_matching(desk.resting(), query), query)]


def history(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Orders that are done, newest first; OKX forgets those that were cancelled unfilled after two hours, we do not."""
    text_of(query, "instType")
    done = [one for one in desk.orders.values() if not one.open]
    return [order_words(one) for one in newest(_matching(done, query), query)]


def fills(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Executions, newest first; `before` and `after` are bill numbers."""
    found = [
        one
        for one in desk.account.fills
        if query.get("ordId") in (None, "", one.order_id)
        and query.get("instId") in (None, "", one.instrument.inst_id)
        and query.get("instType") in (None, "", "SWAP")
    ]
    return [fill_words(one) for one in newest(found, query)]


def close_position(desk: TradingDesk, body: Parameters, now: int) -> list[Row]:
    """Close a position at market; 51023 if there is none, 51115 while orders that close it are open."""
    isolated(body, "mgnMode")
    instrument = instrument_of(desk.venue, text_of(body, "instId"), now)
    side = position_side(desk, body)
    held = desk.account.positions.get((instrument.base, side))
    if held is None:
        raise OkxError("51023", "Position doesn't exist.")
    closing = [one for one in desk.resting(instrument.base) if desk.account.closable(one.wanted)]
    if closing and str(body.get("autoCxl")).lower() != "true":
        raise OkxError("51115", "Cancel all pending close-orders before liquidation.")
    for one in closing:
        desk.cancel(one, now)
    against: Side = "sell" if held.direction > 0 else "buy"
    client_id = client_id_of(body, "clOrdId")
    wanted = Wanted(instrument, against, side, "market", held.contracts, None, side == "net", client_id)
    desk.place(wanted, now)
    return [{"clOrdId": client_id, "instId": instrument.inst_id, "posSide": side, "tag": str(body.get("tag") or "")}]


def _place(desk: TradingDesk, item: Parameters, now: int) -> dict[str, str]:
    placed = desk.place(wanted_order(desk, item, now), now)
    return {"ordId": placed.id, "clOrdId": placed.wanted.client_id, "tag": placed.wanted.tag}


def _cancel(desk: TradingDesk, item: Parameters, now: int) -> dict[str, str]:
    found = _mine(desk, item, "51400", "Order cancellation failed as the order does not exist.")
    if not found.open:
        done = found.state == "filled"
        raise OkxError("51402" if done else "51401", f"Cancellation failed as the order is already {found.state}.")
    desk.cancel(found, now)
    return {"ordId": found.id, "clOrdId": found.wanted.client_id}


def _amend(desk: TradingDesk, item: Parameters, now: int) -> dict[str, str]:
    found = _mine(desk, item, "51503", "Order modification failed as the order does not exist.")
    if not found.open:
        done = found.state == "filled"
        raise OkxError("51510" if done else "51509", f"Modification failed as the order is already {found.state}.")
    if not item.get("newSz") and not item.get("newPx"):
        raise OkxError("51500", "Either order price or amount is required.")
    instrument = found.wanted.instrument
    size = in_lots(instrument, item["newSz"], "newSz") if item.get("newSz") else found.size
    price = on_tick(instrument, item["newPx"], "newPx") if item.get("newPx") else found.price
    if size <= found.filled:
        raise parameter_error("newSz")
    desk.amend(found, size, price, now)
    return {"ordId": found.id, "clOrdId": found.wanted.client_id}


def _mine(desk: TradingDesk, item: Parameters, code: str, message: str) -> Order:
    inst_id = text_of(item, "instId")
    found = _asked(desk, item)
    if found is None or found.wanted.instrument.inst_id != inst_id:
        raise OkxError(code, message)
    return found


def _asked(desk: TradingDesk, item: Parameters) -> Order | None:
    number, client_id = str(item.get("ordId") or ""), str(item.get("clOrdId") or "")
    if not number and not client_id:
        raise missing_parameter("ordId")
    return desk.orders.get(number) if number else desk.order_called(client_id)


def _matching(orders: list[Order], query: Parameters) -> list[Order]:
    kinds = [name for name in str(query.get("ordType") or "").split(",") if name]
    return [
        one
        for one in orders
        if query.get("instId") in (None, "", one.wanted.instrument.inst_id)
        and query.get("instType") in (None, "", "SWAP")
        and query.get("state") in (None, "", one.state)
        and query.get("category") in (None, "", one.category)
        and (not kinds or one.wanted.kind in kinds)
    ]
