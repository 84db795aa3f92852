"""What a request asks for: parameters of orders and stops, checked against the instrument and the account's mode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from butterquant_assets.market.exchange.answers import OkxError, missing_parameter, parameter_error
from butterquant_assets.market.exchange.endpoints import instrument_of
from butterquant_assets.market.exchange.trading.amounts import exact, number
from butterquant_assets.market.exchange.trading.desk import TradingDesk
from butterquant_assets.market.exchange.trading.records import OPENING, Bracket, Leg, PositionSide, Side, Wanted
from butterquant_assets.market.exchange.venue import Instrument

Parameters = Mapping[str, Any]
PRICED = ("limit", "post_only", "fok", "ioc")
KINDS = (*PRICED, "market", "optimal_limit_ioc")
ALGO_KINDS = ("conditional", "oco", "trigger")
_AT_MARKET = "-1"
_CLIENT_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_ATTACHED_WRONG = {("tp", 1): "51046", ("sl", 1): "51047", ("tp", -1): "51048", ("sl", -1): "51049"}
_STOP_WRONG = {("tp", 1): "51279", ("sl", 1): "51280", ("tp", -1): "51277", ("sl", -1): "51278"}
"""By leg and direction of the position it closes."""


@dataclass(frozen=True)
class WantedAlgo:
    """A stop as asked for; `whole` closes whatever the position is then."""

    wanted: Wanted
    legs: tuple[Leg, ...]
    whole: bool


def text_of(item: Parameters, name: str) -> str:
    """A parameter that must be there, as text."""
    value = item.get(name)
    if value is None or value == "":
        raise missing_parameter(name)
    return str(value)


def client_id_of(item: Parameters, *names: str) -> str:
    """The first of these client ids that is given, or ""; up to 32 letters and digits."""
    for name in names:
        value = str(item.get(name) or "")
        if value:
            if not _CLIENT_ID.fullmatch(value):
                raise parameter_error(name)
            return value
    return ""


def isolated(item: Parameters, name: str) -> None:
    """Refuse any margin mode but isolated, which clients do not ask for by themselves."""
    if text_of(item, name) != "isolated":
        raise OkxError("51000", f"Parameter {name} error: only isolated margin is simulated; ask for it.", 400)


def position_side(desk: TradingDesk, item: Parameters) -> PositionSide:
    """The position side: net in net mode, long or short (which must be said) in long/short mode."""
    value = item.get("posSide") or ("net" if not desk.account.hedged else "")
    if desk.account.hedged and value in ("long", "short"):
        return "long" if value == "long" else "short"
    if not desk.account.hedged and value == "net":
        return "net"
    raise parameter_error("posSide")


def wanted_order(desk: TradingDesk, item: Parameters, now: int) -> Wanted:
    """An order from its parameters.

    Raises
    ------
    OkxError
        50014 and 51000 for missing and impossible values, 51001 unknown instrument, 51121 a size off the lot, 51046 to
        51049 a bracket on the wrong side of the price.
    """
    kind = text_of(item, "ordType")
    if kind not in KINDS:
        raise parameter_error("ordType")
    instrument, side, held = _target(desk, item, now)
    price = on_tick(instrument, item.get("px"), "px") if kind in PRICED else None
    opening = held == "net" or OPENING[held] == side
    reduce_only = _flag(item, "reduceOnly") and held == "net"
    brackets = _brackets(desk, instrument, item, side, price, now)
    if brackets and (reduce_only or not opening):
        raise parameter_error("attachAlgoOrds")
    return Wanted(
        instrument,
        side,
        held,
        kind,
        in_lots(instrument, item.get("sz"), "sz"),
        price,
        reduce_only,
        client_id_of(item, "clOrdId"),
        str(item.get("tag") or "")[:16],
        brackets,
    )


def wanted_algo(desk: TradingDesk, item: Parameters, now: int) -> WantedAlgo:
    """A stop from its parameters.

    Raises
    ------
    OkxError
        as `wanted_order`; 51277 to 51280 for a trigger on the wrong side of the last price, 51328 for a stop that
        closes a whole position but is not reduce-only.
    """
    kind = text_of(item, "ordType")
    if kind not in ALGO_KINDS:
        raise parameter_error("ordType")
    instrument, side, held = _target(desk, item, now)
    last = exact(desk.venue.price("trade", instrument.base, now))
    if kind == "trigger":
        legs: tuple[Leg, ...] = (_trigger(instrument, item, last),)
    else:
        legs = _protection(instrument, item, -1 if side == "buy" else 1, last, _STOP_WRONG)
        if len(legs) != (2 if kind == "oco" else 1):
            raise parameter_error("ordType")
    reduce_only = _flag(item, "reduceOnly") and held == "net"
    whole = str(item.get("closeFraction") or "") == "1"
    if item.get("closeFraction") and not whole:
        raise parameter_error("closeFraction")
    if whole and not reduce_only and (held == "net" or OPENING[held] == side):
        raise OkxError("51328", "closeFraction is only available for reduceOnly orders.")
    size = exact(instrument.lot) if whole else in_lots(instrument, item.get("sz"), "sz")
    client_id = client_id_of(item, "algoClOrdId", "clOrdId")
    tag = str(item.get("tag") or "")[:16]
    brackets = _brackets(desk, instrument, item, side, None, now) if kind == "trigger" else ()
    wanted = Wanted(instrument, side, held, kind, size, None, reduce_only, client_id, tag, brackets)
    return WantedAlgo(wanted, legs, whole)


def in_lots(instrument: Instrument, value: object, name: str) -> Decimal:
    """A size in contracts, on the lot; 51121 if it is not."""
    if value is None or value == "":
        raise missing_parameter(name)
    size = number(value, name)
    if size <= 0:
        raise parameter_error(name)
    if size % exact(instrument.lot):
        raise OkxError("51121", f"Order quantity must be a multiple of the lot size, {instrument.lot:g}.")
    return size


def on_tick(instrument: Instrument, value: object, name: str) -> Decimal:
    """A price in USDT, on the tick; 51000 if it is not."""
    if value is None or value == "":
        raise missing_parameter(name)
    price = number(value, name)
    if price <= 0 or price % exact(instrument.tick):
        raise parameter_error(name)
    return price


def _target(desk: TradingDesk, item: Parameters, now: int) -> tuple[Instrument, Side, PositionSide]:
    instrument = instrument_of(desk.venue, text_of(item, "instId"), now)
    isolated(item, "tdMode")
    side = text_of(item, "side")
    if side not in ("buy", "sell"):
        raise parameter_error("side")
    return instrument, "buy" if side == "buy" else "sell", position_side(desk, item)


def _flag(item: Parameters, name: str) -> bool:
    value = item.get(name, False)
    if value in (True, "true"):
        return True
    if value in (False, "false", "", None):
        return False
    raise parameter_error(name)


def _brackets(
    desk: TradingDesk, instrument: Instrument, item: Parameters, side: Side, price: Decimal | None, now: int
) -> tuple[Bracket, ...]:
    attached = item.get("attachAlgoOrds") or []
    if not isinstance(attached, list) or not all(isinstance(one, dict) for one in attached):
        raise parameter_error("attachAlgoOrds")
    if not attached:
        return ()
    reference = exact(desk.venue.price("trade", instrument.base, now)) if price is None else price
    direction = 1 if side == "buy" else -1
    found = []
    for one in attached:
        legs = _protection(instrument, one, direction, reference, _ATTACHED_WRONG)
        if not legs:
            raise parameter_error("attachAlgoOrds")
        found.append(Bracket(legs, client_id_of(one, "attachAlgoClOrdId")))
    return tuple(found)


def _protection(
    instrument: Instrument,
    item: Parameters,
    direction: int,
    reference: Decimal,
    codes: Mapping[tuple[str, int], str],
) -> tuple[Leg, ...]:
    """Stop loss and take profit of a position in this direction, as far as they are asked for."""
    if str(item.get("tpOrdKind") or "condition") != "condition":
        raise parameter_error("tpOrdKind")
    legs = []
    for name in ("sl", "tp"):
        if not item.get(f"{name}TriggerPx"):
            continue
        trigger = on_tick(instrument, item[f"{name}TriggerPx"], f"{name}TriggerPx")
        above = (direction > 0) == (name == "tp")
        if (trigger > reference) != above:
            where = "higher" if above else "lower"
            raise OkxError(
                codes[name, direction], f"The {name.upper()} trigger price must be {where} than {reference}."
            )
        legs.append(Leg(name, trigger, above, _follows(instrument, item, f"{name}OrdPx"), _watched(item, name)))
    return tuple(legs)


def _trigger(instrument: Instrument, item: Parameters, last: Decimal) -> Leg:
    trigger = on_tick(instrument, item.get("triggerPx"), "triggerPx")
    return Leg("trigger", trigger, trigger > last, _follows(instrument, item, "orderPx"), _watched(item, ""))


def _follows(instrument: Instrument, item: Parameters, name: str) -> Decimal | None:
    return None if text_of(item, name) == _AT_MARKET else on_tick(instrument, item[name], name)


def _watched(item: Parameters, prefix: str) -> Literal["last", "mark"]:
    name = f"{prefix}TriggerPxType" if prefix else "triggerPxType"
    value = str(item.get(name) or "last")
    if value not in ("last", "mark"):
        raise parameter_error(name)
    return "last" if value == "last" else "mark"
