"""Rows of the private endpoints: what the account keeps, in OKX's words."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from butterquant_assets.market.exchange.tiers import tier_for, tiers_of
from butterquant_assets.market.exchange.trading.account import Account
from butterquant_assets.market.exchange.trading.amounts import ZERO, brief, exact, words
from butterquant_assets.market.exchange.trading.desk import TradingDesk
from butterquant_assets.market.exchange.trading.records import Algo, Bill, Fill, Leg, Order, Position

UID = "90000001"
Words = dict[str, Any]
_ORDER_BLANKS = (
    *("algoClOrdId", "attachAlgoClOrdId", "cancelSourceReason", "pxType", "pxUsd", "pxVol", "quickMgnType", "slOrdPx"),
    *("slTriggerPx", "slTriggerPxType", "source", "stpId", "tgtCcy", "tpOrdPx", "tpTriggerPx", "tpTriggerPxType"),
)
_ALGO_BLANKS = (
    *("amendPxOnTriggerType", "ordPx", "pxLimit", "pxSpread", "pxVar", "slOrdPx", "slTriggerPx", "slTriggerPxType"),
    *("szLimit", "tpOrdPx", "tpTriggerPx", "tpTriggerPxType", "triggerPx", "triggerPxType"),
)
_BALANCE_BLANKS = (
    *("accAvgPx", "borrowFroz", "clSpotInUseAmt", "crossLiab", "interest", "isoLiab", "liab", "maxLoan"),
    *("maxSpotInUseAmt", "mgnRatio", "openAvgPx", "spotBal", "spotInUseAmt", "spotUpl", "spotUplRatio", "totalPnl"),
    *("totalPnlRatio", "uplLiab"),
)
_BALANCE_ZEROS = (
    *("fixedBal", "imr", "mmr", "rewardBal", "smtSyncEq", "spotCopyTradingEq", "spotIsoBal", "stgyEq", "twap"),
)
_TOTAL_BLANKS = (
    *("adjEq", "borrowFroz", "imr", "mgnRatio", "mmr", "notionalUsd", "notionalUsdForBorrow", "notionalUsdForFutures"),
    *("notionalUsdForOption", "notionalUsdForSwap", "upl"),
)


def config_words(account: Account) -> Words:
    """Settings of the account."""
    return {
        "acctLv": "2",
        "acctStpMode": "cancel_maker",
        "autoLoan": False,
        "ctIsoMode": "automatic",
        "greeksType": "PA",
        "ip": "",
        "kycLv": "0",
        "label": "simulated",
        "level": "Lv1",
        "levelTmp": "",
        "mainUid": UID,
        "mgnIsoMode": "automatic",
        "opAuth": "0",
        "perm": "read_only,trade",
        "posMode": "long_short_mode" if account.hedged else "net_mode",
        "roleType": "0",
        "spotOffsetType": "",
        "type": "0",
        "uid": UID,
    }


def balance_words(desk: TradingDesk, now: int) -> Words:
    """The balance; its one currency is USDT, and a dollar is taken for a USDT.

    cashBal is what is not posted as margin, eq = cashBal + isoEq, and isoEq = margins + unrealised results.
    """
    account = desk.account
    unrealised = sum((_unrealised(held, _mark(desk, held, now)) for held in account.positions.values()), ZERO)
    isolated = sum((held.margin for held in account.positions.values()), ZERO) + unrealised
    available = desk.available()
    reserved = account.cash - available
    equity = words(account.cash + isolated)
    detail = {
        **dict.fromkeys(_BALANCE_BLANKS, ""),
        **dict.fromkeys(_BALANCE_ZEROS, "0"),
        "availBal": words(available),
        "availEq": words(available),
        "cashBal": words(account.cash),
        "ccy": "USDT",
        "collateralEnabled": False,
        "disEq": equity,
        "eq": equity,
        "eqUsd": equity,
        "frozenBal": words(isolated + reserved),
        "isoEq": words(isolated),
        "isoUpl": words(unrealised),
        "notionalLever": "0",
        "ordFrozen": words(reserved),
        "uTime": str(account.updated),
        "upl": words(unrealised),
    }
    return {
        **dict.fromkeys(_TOTAL_BLANKS, ""),
        "details": [detail],
        "isoEq": words(isolated),
        "ordFroz": words(reserved),
        "totalEq": equity,
        "uTime": str(now),
    }


def position_words(desk: TradingDesk, held: Position, now: int) -> Words:
    """An open position at the mark price."""
    account, base = desk.account, held.instrument.base
    mark, last = _mark(desk, held, now), exact(desk.venue.price("trade", base, now))
    rate = exact(tier_for(tiers_of(held.instrument), float(held.contracts)).maintenance)
    value, initial = held.coins * mark, held.coins * held.entry / held.leverage
    unrealised, at_last = _unrealised(held, mark), _unrealised(held, last)
    needed = value * (rate + account.taker)
    fees = account.taker if held.direction > 0 else -account.taker
    index, liquidation = desk.venue.price("index", base, now), account.liquidation(held)
    return {
        "adl": "0",
        "availPos": "" if held.side == "net" else words(held.contracts),
        "avgPx": words(brief(held.entry)),
        "baseBal": "",
        "bePx": words(brief(held.entry * (1 + fees) / (1 - fees))),
        "cTime": str(held.created),
        "ccy": "USDT",
        "fee": words(-held.fee),
        "fundingFee": words(held.funding),
        "idxPx": "" if math.isnan(index) else words(exact(index)),
        "instId": held.instrument.inst_id,
        "instType": "SWAP",
        "interest": "",
        "last": words(last),
        "lever": words(held.leverage),
        "liqPenalty": "0",
        "liqPx": words(brief(liquidation)) if liquidation > 0 else "",
        "margin": words(held.margin),
        "markPx": words(mark),
        "mgnMode": "isolated",
        "mgnRatio": words(brief((held.margin + unrealised) / needed)),
        "mmr": words(brief(value * rate)),
        "notionalUsd": words(value),
        "optVal": "",
        "pendingCloseOrdLiabVal": "",
        "pnl": words(held.pnl),
        "pos": words(held.contracts * (held.direction if held.side == "net" else 1)),
        "posCcy": "",
        "posId": held.id,
        "posSide": held.side,
        "quoteBal": "",
        "quoteBorrowed": "",
        "quoteInterest": "",
        "realizedPnl": words(held.pnl - held.fee + held.funding),
        "spotInUseAmt": "",
        "spotInUseCcy": "",
        "tradeId": held.trade_id,
        "uTime": str(held.updated),
        "upl": words(brief(unrealised)),
        "uplLastPx": words(brief(at_last)),
        "uplRatio": words(brief(unrealised / initial)),
        "uplRatioLastPx": words(brief(at_last / initial)),
        "usdPx": "1",
    }


def order_words(order: Order) -> Words:
    """An order, open or done."""
    wanted, last = order.wanted, order.last
    return {
        **dict.fromkeys(_ORDER_BLANKS, ""),
        "accFillSz": words(order.filled),
        "algoId": order.algo_id,
        "attachAlgoOrds": [
            {"attachAlgoClOrdId": one.client_id, "attachAlgoId": "", **_protection_words(one.legs)}
            for one in wanted.brackets
        ],
        "avgPx": words(brief(order.traded / order.filled)) if order.filled else "",
        "cTime": str(order.created),
        "cancelSource": order.cancel_source,
        "category": order.category,
        "ccy": "",
        "clOrdId": wanted.client_id,
        "fee": words(-order.fee),
        "feeCcy": "USDT",
        "fillPx": words(brief(last.price)) if last else "",
        "fillSz": words(last.size) if last else "0",
        "fillTime": str(last.time) if last else "",
        "instId": wanted.instrument.inst_id,
        "instType": "SWAP",
        "isTpLimit": "false",
        "lever": words(order.leverage),
        "linkedAlgoOrd": {"algoId": ""},
        "ordId": order.id,
        "ordType": wanted.kind,
        "pnl": words(order.pnl),
        "posSide": wanted.position_side,
        "px": words(order.price),
        "rebate": "0",
        "rebateCcy": "USDT",
        "reduceOnly": "true" if wanted.reduce_only else "false",
        "side": wanted.side,
        "state": order.state,
        "stpMode": "cancel_maker",
        "sz": words(order.size),
        "tag": wanted.tag,
        "tdMode": "isolated",
        "tradeId": last.trade_id if last else "",
        "uTime": str(order.updated),
    }


def algo_words(algo: Algo) -> Words:
    """A stop, waiting or done."""
    wanted, first = algo.wanted, algo.legs[0]
    row: Words = {
        **dict.fromkeys(_ALGO_BLANKS, ""),
        "actualPx": "" if algo.fired is None else words(algo.fired.price or Decimal(-1)),
        "actualSide": algo.fired.name if algo.fired is not None and algo.fired.name != "trigger" else "",
        "actualSz": words(algo.actual_size),
        "algoClOrdId": wanted.client_id,
        "algoId": algo.id,
        "cTime": str(algo.created),
        "clOrdId": "",
        "closeFraction": "1" if algo.whole else "",
        "failCode": algo.failure,
        "instId": wanted.instrument.inst_id,
        "instType": "SWAP",
        "lever": words(algo.leverage),
        "ordId": algo.order_id,
        "ordType": algo.kind,
        "posSide": wanted.position_side,
        "reduceOnly": "true" if wanted.reduce_only else "false",
        "side": wanted.side,
        "state": algo.state,
        "sz": "" if algo.whole else words(wanted.size),
        "tag": wanted.tag,
        "tdMode": "isolated",
        "triggerTime": str(algo.fired_at) if algo.fired_at else "",
        "uTime": str(algo.updated),
    }
    if first.name == "trigger":
        row |= {"triggerPx": words(first.trigger), "ordPx": _followed(first), "triggerPxType": first.by}
        return row
    return row | _protection_words(algo.legs)


def fill_words(fill: Fill) -> Words:
    """One execution."""
    return {
        "billId": fill.bill_id,
        "clOrdId": fill.client_id,
        "execType": "M" if fill.maker else "T",
        "fee": words(-fill.fee),
        "feeCcy": "USDT",
        "fillPnl": words(fill.pnl),
        "fillPx": words(brief(fill.price)),
        "fillSz": words(fill.size),
        "fillTime": str(fill.time),
        "instId": fill.instrument.inst_id,
        "instType": "SWAP",
        "ordId": fill.order_id,
        "posSide": fill.position_side,
        "side": fill.side,
        "tag": "",
        "tradeId": fill.trade_id,
        "ts": str(fill.time),
    }


def bill_words(bill: Bill) -> Words:
    """One change of the account."""
    done = bill.execution
    return {
        "bal": words(bill.cash),
        "balChg": words(bill.cash_change),
        "billId": bill.id,
        "ccy": "USDT",
        "execType": done.liquidity,
        "fee": words(-done.fee),
        "from": "",
        "instId": bill.instrument.inst_id,
        "instType": "SWAP",
        "interest": "0",
        "mgnMode": "isolated",
        "notes": "",
        "ordId": done.order_id,
        "pnl": words(done.pnl),
        "posBalChg": words(bill.margin_change),
        "px": "" if done.price is None else words(brief(done.price)),
        "subType": bill.subtype,
        "sz": words(done.size),
        "to": "",
        "tradeId": done.trade_id,
        "ts": str(bill.time),
        "type": bill.kind,
    }


def fee_words(account: Account, family: str, now: int) -> Words:
    """Fee rates, negative when paid."""
    maker, taker = words(-account.maker), words(-account.taker)
    return {
        "category": "1",
        "delivery": "",
        "exercise": "",
        "instType": "SWAP",
        "level": "Lv1",
        "maker": maker,
        "makerU": maker,
        "makerUSDC": "",
        "taker": taker,
        "takerU": taker,
        "takerUSDC": "",
        "ts": str(now),
        "uly": family,
    }


def _protection_words(legs: tuple[Leg, ...]) -> Words:
    row = dict.fromkeys([f"{name}{field}" for name in ("sl", "tp") for field in ("TriggerPx", "OrdPx")], "")
    row |= {"slTriggerPxType": "", "tpTriggerPxType": ""}
    for leg in legs:
        row[f"{leg.name}TriggerPx"] = words(leg.trigger)
        row[f"{leg.name}OrdPx"] = _followed(leg)
        row[f"{leg.name}TriggerPxType"] = leg.by
    return dict(row)


def _followed(leg: Leg) -> str:
    return "-1" if leg.price is None else words(leg.price)


def _mark(desk: TradingDesk, held: Position, now: int) -> Decimal:
    return exact(desk.venue.price("mark", held.instrument.base, now))


def _unrealised(held: Position, price: Decimal) -> Decimal:
    return held.direction * (price - held.entry) * held.coins
