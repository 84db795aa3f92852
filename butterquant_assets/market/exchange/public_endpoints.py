"""The public endpoints under /api/v5/public, rubik/stat and system: instruments, funding, interest, tiers, time."""

from __future__ import annotations

import numpy as np

from butterquant_assets.market.crypto_microstructure import HOUR_MS
from butterquant_assets.market.crypto_prices import FUNDING_CAP
from butterquant_assets.market.crypto_state import NEUTRAL_FUNDING
from butterquant_assets.market.exchange.answers import Row, parameter_error, text
from butterquant_assets.market.exchange.bar_sizes import BarSize, bar_size
from butterquant_assets.market.exchange.endpoints import Endpoint, base_of_family, instrument_of
from butterquant_assets.market.exchange.paging import Page, Query, page, required
from butterquant_assets.market.exchange.rate_limits import RateLimit
from butterquant_assets.market.exchange.tiers import tiers_of
from butterquant_assets.market.exchange.venue import Instrument, Venue

INSTRUMENT_TYPES = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION")
FUNDING_DAYS = 92
"""OKX keeps three months of settlements."""

STATISTIC_POINTS = 1_440
_PERIODS = ("5m", "15m", "30m", "1H", "2H", "4H", "6Hutc", "12Hutc", "1Dutc", "6H", "12H", "1D")
_OLD_PERIODS = {"5m": 576, "1H": 720, "1D": 180}
_BLANK_TEXTS = (
    *("alias", "auctionEndTime", "baseCcy", "contTdSwTime", "maxMktAmt", "maxPlatOILmt", "openType"),
    *("optType", "posLmtAmt", "posLmtPct", "preMktSwTime", "quoteCcy", "stk"),
)


def instruments(venue: Venue, query: Query, now: int) -> list[Row]:
    """What trades now; of other types than swaps there is nothing."""
    kind = required(query, "instType")
    if kind not in INSTRUMENT_TYPES:
        raise parameter_error("instType")
    if query.get("instId"):
        return [_instrument(0, instrument_of(venue, query["instId"], now))]
    if kind != "SWAP":
        return []
    listed = enumerate(venue.instruments(now))
    family = query.get("instFamily") or query.get("uly")
    return [_instrument(position, one) for position, one in listed if family in (None, "", one.family)]


def _instrument(position: int, one: Instrument) -> Row:
    return {
        **dict.fromkeys(_BLANK_TEXTS, ""),
        "category": "1",
        "ctMult": "1",
        "ctType": "linear",
        "ctVal": text(one.contract_value),
        "ctValCcy": one.base,
        "expTime": "" if one.ends is None else str(one.ends),
        "futureSettlement": False,
        "instFamily": one.family,
        "instId": one.inst_id,
        "instIdCode": 900_000 + position,
        "instType": "SWAP",
        "lever": str(one.leverage),
        "listTime": str(one.listed),
        "lotSz": text(one.lot),
        "maxIcebergSz": "100000000.0000000000000000",
        "maxLmtAmt": "20000000",
        "maxLmtSz": "100000000",
        "maxMktSz": "30000",
        "maxStopSz": "30000",
        "maxTriggerSz": "100000000.0000000000000000",
        "maxTwapSz": "100000000.0000000000000000",
        "minSz": text(one.lot),
        "ruleType": "normal",
        "settleCcy": "USDT",
        "state": one.state,
        "tickSz": text(one.tick),
        "tradeQuoteCcyList": [],
        "uly": one.family,
    }


def mark_price(venue: Venue, query: Query, now: int) -> list[Row]:
    """Mark price now, of one instrument or of all."""
    chosen = _chosen(venue, query, now)
    prices = [(one, venue.price("mark", one.base, now)) for one in chosen]
    return [
        {"instType": "SWAP", "instId": one.inst_id, "markPx": text(price), "ts": str(now)}
        for one, price in prices
        if not np.isnan(price)
    ]


def funding_rate(venue: Venue, query: Query, now: int) -> list[Row]:
    """The rate that will be settled next, as it stands now."""
    one = instrument_of(venue, required(query, "instId"), now)
    ahead = venue.outlook(one.base, now)
    if ahead is None:
        return []
    times, rates = venue.settlements(one.base, now - 9 * HOUR_MS, now + 1)
    return [
        {
            "formulaType": "withRate",
            "fundingRate": text(ahead.rate),
            "fundingTime": str(ahead.time),
            "impactValue": "20000",
            "instId": one.inst_id,
            "instType": "SWAP",
            "interestRate": text(NEUTRAL_FUNDING),
            "maxFundingRate": text(FUNDING_CAP),
            "method": "current_period",
            "minFundingRate": text(-FUNDING_CAP),
            "nextFundingRate": "",
            "nextFundingTime": str(ahead.next_time),
            "premium": text(round(ahead.premium, 10)),
            "settFundingRate": text(float(rates[-1])) if len(times) else "",
            "settState": "settled",
            "ts": str(now),
        }
    ]


def funding_rate_history(venue: Venue, query: Query, now: int) -> list[Row]:
    """Settlements of the last three months, newest first; at most 400, which is also the default."""
    one = instrument_of(venue, required(query, "instId"), now)
    wanted = page(query, default=400, most=400)
    first = max(wanted.first, now - FUNDING_DAYS * 24 * HOUR_MS)
    times, rates = venue.settlements(one.base, first, max(min(wanted.end, now + 1), first))
    return [
        {
            "formulaType": "withRate",
            "fundingRate": text(float(rate)),
            "fundingTime": str(int(time)),
            "instId": one.inst_id,
            "instType": "SWAP",
            "method": "current_period",
            "realizedRate": text(float(rate)),
        }
        for time, rate in list(zip(times, rates, strict=True))[: -wanted.limit - 1 : -1]
    ]


def open_interest(venue: Venue, query: Query, now: int) -> list[Row]:
    """Open interest now, of one instrument or of all."""
    rows: list[Row] = []
    for one in _chosen(venue, query, now):
        contracts = float(venue.open_interest(one.base, np.array([now]))[0])
        if not np.isnan(contracts):
            coins, dollars = _worth(venue, one, contracts, now)
            rows.append(
                {
                    "instId": one.inst_id,
                    "instType": "SWAP",
                    "oi": text(contracts),
                    "oiCcy": text(coins),
                    "oiUsd": text(dollars),
                    "ts": str(now),
                }
            )
    return rows


def open_interest_history(venue: Venue, query: Query, now: int) -> list[Row]:
    """Open interest by period, newest first: [ts, contracts, coins, USD]; 1,440 periods back.

    The stamp is when the period opens, as everywhere on OKX; the value is that of its end, and of now while it lasts.
    """
    one = instrument_of(venue, required(query, "instId"), now)
    size, wanted = _statistics(query, now)
    top = min(size.floor(wanted.end - 1), size.floor(now))
    bottom = max(size.floor(wanted.first - 1) + size.length, top - (wanted.limit - 1) * size.length)
    stamps = np.arange(bottom, top + 1, size.length, dtype=np.int64)
    moments = np.minimum(stamps + size.length, now)
    found = venue.open_interest(one.base, moments)
    return [
        [str(int(stamp)), text(float(contracts)), *map(text, _worth(venue, one, float(contracts), int(moment)))]
        for stamp, moment, contracts in zip(stamps[::-1], moments[::-1], found[::-1], strict=True)
        if not np.isnan(contracts)
    ]


def taker_volume_contract(venue: Venue, query: Query, now: int) -> list[Row]:
    """Taker volume of closed periods, newest first: [ts, sold, bought] in coins, contracts (the default) or USDT."""
    one = instrument_of(venue, required(query, "instId"), now)
    unit = query.get("unit") or "1"
    if unit not in ("0", "1", "2"):
        raise parameter_error("unit")
    size, wanted = _statistics(query, now)
    return _taker_rows(venue, one, size, wanted, unit, now)


def taker_volume(venue: Venue, query: Query, now: int) -> list[Row]:
    """The older statistic by coin: [ts, sold, bought] in coins; two days of 5m, thirty of 1H, 180 of 1D."""
    if required(query, "instType") not in ("SPOT", "CONTRACTS"):
        raise parameter_error("instType")
    one = instrument_of(venue, f"{required(query, 'ccy')}-USDT-SWAP", now)
    period = query.get("period") or "5m"
    if period not in _OLD_PERIODS:
        raise parameter_error("period")
    asked = {name: query.get(name, "") for name in ("begin", "end")}
    most = _OLD_PERIODS[period]
    wanted = page(asked, default=most, most=most, later="begin", earlier="end")
    return _taker_rows(venue, one, bar_size(period), wanted, "0", now)


def position_tiers(venue: Venue, query: Query, now: int) -> list[Row]:
    """Leverage tiers in contracts, the same for isolated and cross here; the margin mode must still be named."""
    if required(query, "instType") != "SWAP":
        raise parameter_error("instType")
    if required(query, "tdMode") not in ("isolated", "cross"):
        raise parameter_error("tdMode")
    families = (query.get("instFamily") or query.get("uly") or required(query, "instFamily")).split(",")
    return [
        row
        for family in families
        for row in _tiers(instrument_of(venue, f"{base_of_family(venue, family, now)}-USDT-SWAP", now))
    ]


def server_time(venue: Venue, query: Query, now: int) -> list[Row]:
    """The exchange's clock."""
    return [{"ts": str(now)}]


def system_status(venue: Venue, query: Query, now: int) -> list[Row]:
    """Planned maintenance: none."""
    return []


def _tiers(one: Instrument) -> list[Row]:
    return [
        {
            "baseMaxLoan": "",
            "imr": text(round(1 / tier.leverage, 6)),
            "instFamily": one.family,
            "instId": one.inst_id,
            "maxLever": text(tier.leverage),
            "maxSz": str(tier.most),
            "minSz": str(tier.least),
            "mmr": text(tier.maintenance),
            "optMgnFactor": "0",
            "quoteMaxLoan": "",
            "tier": str(tier.number),
            "uly": one.family,
        }
        for tier in tiers_of(one)
    ]


def _chosen(venue: Venue, query: Query, now: int) -> tuple[Instrument, ...]:
    if required(query, "instType") not in INSTRUMENT_TYPES:
        raise parameter_error("instType")
    if query.get("instId"):
        return (instrument_of(venue, query["instId"], now),)
    return venue.instruments(now) if query["instType"] == "SWAP" else ()


def _statistics(query: Query, now: int) -> tuple[BarSize, Page]:
    period = query.get("period") or "5m"
    if period not in _PERIODS:
        raise parameter_error("period")
    size = bar_size(period, "period")
    wanted = page(query, default=100, most=100, later="begin", earlier="end")
    oldest = size.floor(now) - (STATISTIC_POINTS - 1) * size.length
    return size, Page(max(wanted.first, oldest), wanted.end, wanted.limit)


def _taker_rows(venue: Venue, one: Instrument, size: BarSize, wanted: Page, unit: str, now: int) -> list[Row]:
    stamps, sold, bought, mean = venue.taker_volume(one.base, size, wanted.first, wanted.end, wanted.limit, now)
    rows: list[Row] = []
    for position in range(len(stamps) - 1, -1, -1):
        factor = 1.0 if unit == "1" else one.contract_value
        if unit == "2":
            factor *= 0.0 if np.isnan(mean[position]) else float(mean[position])
        amounts = (text(round(float(side[position]) * factor, 8)) for side in (sold, bought))
        rows.append([str(int(stamps[position])), *amounts])
    return rows


def _worth(venue: Venue, one: Instrument, contracts: float, moment: int) -> tuple[float, float]:
    """Coins and USD; priced at the mark of the moment."""
    coins = round(contracts * one.contract_value, 8)
    return coins, round(coins * venue.price("mark", one.base, moment), 4)


_BY_INSTRUMENT = "instId"
PUBLIC = {
    "public/instruments": Endpoint(instruments, RateLimit(20, per="instType")),
    "public/mark-price": Endpoint(mark_price, RateLimit(10, per=_BY_INSTRUMENT)),
    "public/funding-rate": Endpoint(funding_rate, RateLimit(10, per=_BY_INSTRUMENT)),
    "public/funding-rate-history": Endpoint(funding_rate_history, RateLimit(10, per=_BY_INSTRUMENT)),
    "public/open-interest": Endpoint(open_interest, RateLimit(20, per=_BY_INSTRUMENT)),
    "public/position-tiers": Endpoint(position_tiers, RateLimit(10)),
    "public/time": Endpoint(server_time, RateLimit(10)),
    "rubik/stat/contracts/open-interest-history": Endpoint(open_interest_history, RateLimit(10, per=_BY_INSTRUMENT)),
    "rubik/stat/taker-volume-contract": Endpoint(taker_volume_contract, RateLimit(5, per=_BY_INSTRUMENT)),
    "rubik/stat/taker-volume": Endpoint(taker_volume, RateLimit(5)),
    "system/status": Endpoint(system_status, RateLimit(1, seconds=5)),
}
