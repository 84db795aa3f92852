"""The private endpoints of stops, take profits and trigger orders under /api/v5/trade."""

from __future__ import annotations

from typing import Any

from butterquant_assets.market.exchange.answers import OkxError, Row, missing_parameter, parameter_error
from butterquant_assets.market.exchange.trading.account_endpoints import newest
from butterquant_assets.market.exchange.trading.desk import TradingDesk
from butterquant_assets.market.exchange.trading.order_endpoints import Outcome, one_by_one, several
from butterquant_assets.market.exchange.trading.records import Algo
from butterquant_assets.market.exchange.trading.requests import ALGO_KINDS, Parameters, text_of, wanted_algo
from butterquant_assets.market.exchange.trading.wording import algo_words

_BULK = 10


def place(desk: TradingDesk, body: Any, now: int) -> Outcome:
    """One stop."""
    return one_by_one(desk, [body], now, _place, ("algoId", "algoClOrdId", "clOrdId", "tag"))


def cancel(desk: TradingDesk, body: Any, now: int) -> Outcome:
    """Take back up to ten stops."""
    return one_by_one(desk, several(body, _BULK), now, _cancel, ("algoId", "algoClOrdId"))


def algo(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """One stop, by number or client id; 51603 if there is none."""
    found = _asked(desk, query)
    if found is None:
        raise OkxError("51603", "Order does not exist")
    return [algo_words(found)]


def pending(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Stops that wait, of the types asked for, newest first."""
    return [algo_words(one) for one in newest(_matching(desk.waiting(), query), query)]


def history(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Stops that are done, by state or number, newest first."""
    if not query.get("state") and not query.get("algoId"):
        raise OkxError("50015", "Either parameter state or algoId is required", 400)
    done = [one for one in desk.algos.values() if one.state != "live"]
    return [
        algo_words(one)
        for one in newest(_matching(done, query), query)
        if query.get("state") in (None, "", one.state) and query.get("algoId") in (None, "", one.id)
    ]


def _place(desk: TradingDesk, item: Parameters, now: int) -> dict[str, str]:
    asked = wanted_algo(desk, item, now)
    client_id = asked.wanted.client_id
    if client_id and any(one.wanted.client_id == client_id for one in desk.algos.values()):
        raise OkxError("51065", "algoClOrdId already exists.")
    placed = desk.place_algo(asked.wanted, asked.legs, now, whole=asked.whole)
    return {"algoId": placed.id, "algoClOrdId": client_id, "tag": asked.wanted.tag}


def _cancel(desk: TradingDesk, item: Parameters, now: int) -> dict[str, str]:
    inst_id, found = text_of(item, "instId"), _asked(desk, item)
    if found is None or found.wanted.instrument.inst_id != inst_id:
        raise OkxError("51400", "Order cancellation failed as the order does not exist.")
    if found.state != "live":
        raise OkxError("51401" if found.state == "canceled" else "51402", "The order is already done.")
    desk.cancel_algo(found, now)
    return {"algoId": found.id, "algoClOrdId": found.wanted.client_id}


def _asked(desk: TradingDesk, item: Parameters) -> Algo | None:
    number, client_id = str(item.get("algoId") or ""), str(item.get("algoClOrdId") or "")
    if number:
        return desk.algos.get(number)
    if not client_id:
        raise missing_parameter("algoId")
    return next((one for one in desk.algos.values() if one.wanted.client_id == client_id), None)


def _matching(algos: list[Algo], query: Parameters) -> list[Algo]:
    kinds = text_of(query, "ordType").split(",")
    unknown = set(kinds) - {*ALGO_KINDS, "move_order_stop", "iceberg", "twap"}
    if unknown:
        raise parameter_error("ordType")
    return [
        one
        for one in algos
        if one.kind in kinds
        and query.get("instId") in (None, "", one.wanted.instrument.inst_id)
        and query.get("instType") in (None, "", "SWAP")
    ]
