"""The private endpoints under /api/v5/account, and the one under asset that clients ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from butterquant_assets.market.exchange.answers import OkxError, Row, parameter_error
from butterquant_assets.market.exchange.endpoints import base_of_family, instrument_of
from butterquant_assets.market.exchange.paging import page, whole
from butterquant_assets.market.exchange.trading.adjustments import change_margin, set_hedged
from butterquant_assets.market.exchange.trading.adjustments import set_leverage as adjust_leverage
from butterquant_assets.market.exchange.trading.amounts import number, words
from butterquant_assets.market.exchange.trading.desk import TradingDesk
from butterquant_assets.market.exchange.trading.records import Algo, Bill, Fill, Order, PositionSide
from butterquant_assets.market.exchange.trading.requests import Parameters, isolated, position_side, text_of
from butterquant_assets.market.exchange.trading.wording import (
    balance_words,
    bill_words,
    config_words,
    fee_words,
    position_words,
)

POSITION_MODES = {"long_short_mode": True, "net_mode": False}
Record = TypeVar("Record", Order, Algo, Fill, Bill)


def config(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Position mode, margin mode and identity of the account."""
    return [config_words(desk.account)]


def balance(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Cash, margins and equity."""
    return [balance_words(desk, now)]


def currencies(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """The one currency there is, on no chain: nothing can be deposited or withdrawn. Clients ask when they start."""
    return [{"canDep": False, "canInternal": False, "canWd": False, "ccy": "USDT", "chain": "", "name": "simulated"}]


def positions(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Open positions, of all instruments unless said."""
    asked = [name for name in str(query.get("instId") or "").split(",") if name]
    return [
        position_words(desk, held, now)
        for held in desk.account.positions.values()
        if not asked or held.instrument.inst_id in asked
    ]


def leverage_info(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Leverage of what is opened next, by instrument and position side."""
    isolated(query, "mgnMode")
    sides: tuple[PositionSide, ...] = ("long", "short") if desk.account.hedged else ("net",)
    asked = [instrument_of(desk.venue, name, now) for name in text_of(query, "instId").split(",")]
    return [
        _leverage_words(one.inst_id, words(desk.account.leverage_of((one.base, side))), side)
        for one in asked
        for side in sides
    ]


def set_leverage(desk: TradingDesk, body: Parameters, now: int) -> list[Row]:
    """Choose the leverage of one position."""
    isolated(body, "mgnMode")
    instrument = instrument_of(desk.venue, text_of(body, "instId"), now)
    leverage = number(text_of(body, "lever"), "lever")
    if leverage < 1:
        raise parameter_error("lever")
    side = position_side(desk, body)
    adjust_leverage(desk, instrument, (instrument.base, side), leverage, now)
    return [_leverage_words(instrument.inst_id, words(leverage), side)]


def set_position_mode(desk: TradingDesk, body: Parameters, now: int) -> list[Row]:
    """Choose between one net position and long and short side by side."""
    mode = text_of(body, "posMode")
    if mode not in POSITION_MODES:
        raise parameter_error("posMode")
    set_hedged(desk, POSITION_MODES[mode])
    return [{"posMode": mode}]


def margin_balance(desk: TradingDesk, body: Parameters, now: int) -> list[Row]:
    """Add to the margin of a position, or take from it."""
    instrument = instrument_of(desk.venue, text_of(body, "instId"), now)
    side, kind = position_side(desk, body), text_of(body, "type")
    amount = number(text_of(body, "amt"), "amt")
    if kind not in ("add", "reduce"):
        raise parameter_error("type")
    if amount <= 0:
        raise parameter_error("amt")
    change_margin(desk, (instrument.base, side), amount if kind == "add" else -amount, now)
    held = desk.account.positions[instrument.base, side]
    row = {"amt": words(amount), "ccy": "USDT", "instId": instrument.inst_id, "posSide": side, "type": kind}
    return [row | {"leverage": words(held.leverage)}]


def bills(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Changes of the account, newest first, of one type and subtype if said."""
    found = [
        bill
        for bill in desk.account.bills
        if query.get("type") in (None, "", bill.kind)
        and query.get("subType") in (None, "", bill.subtype)
        and query.get("instId") in (None, "", bill.instrument.inst_id)
        and query.get("instType") in (None, "", "SWAP")
        and query.get("ccy") in (None, "", "USDT")
        and query.get("mgnMode") in (None, "", "isolated")
    ]
    return [bill_words(bill) for bill in newest(found, query)]


def trade_fee(desk: TradingDesk, query: Parameters, now: int) -> list[Row]:
    """Fee rates of swaps, the only instruments there are."""
    if text_of(query, "instType") != "SWAP":
        raise OkxError("51000", "Parameter instType error: there are only swaps here.", 400)
    family = str(query.get("instFamily") or query.get("uly") or "")
    if family:
        base_of_family(desk.venue, family, now)
    return [fee_words(desk.account, family, now)]


def newest(records: Sequence[Record], query: Parameters) -> list[Record]:
    """A page of records, newest first: `before` and `after` are record numbers, `begin` and `end` times (ms)."""
    wanted = page(query, default=100, most=100)
    begin, end = whole(query, "begin", 0), whole(query, "end", 2**62)
    kept = [one for one in records if wanted.first <= int(_number(one)) < wanted.end and begin <= _moment(one) <= end]
    return kept[: -wanted.limit - 1 : -1]


def _number(record: Any) -> str:
    return record.bill_id if isinstance(record, Fill) else str(record.id)


def _moment(record: Any) -> int:
    return int(record.created if isinstance(record, Order | Algo) else record.time)


def _leverage_words(inst_id: str, leverage: str, side: str) -> Row:
    return {"instId": inst_id, "lever": leverage, "mgnMode": "isolated", "posSide": side}
