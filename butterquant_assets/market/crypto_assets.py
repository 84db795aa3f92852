"""Crypto market assets: what the source delivered, by UTC day, cleaned, with what was refused or missing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from butterquant_assets.foundation import crypto_plots
from butterquant_assets.foundation.contracts import Outcome
from butterquant_assets.foundation.freshness import Key
from butterquant_assets.market import crypto_schemas as schemas
from butterquant_assets.market.crypto_cleaning import REJECTED
from butterquant_assets.market.crypto_coverage import Coverage, day_of
from butterquant_assets.market.crypto_sources import files, okx, sample
from butterquant_assets.market.source_assets import MAX_REJECT_SHARE, datasets_of, refused_facts, source_asset
from butterquant_assets.orchestration.declaration import LakeAsset, Limit, Result, Work

MAX_SUSPECT_SHARE = 0.02
NOT_THE_VALUES = ("duplicate", "revised", "future", "part_of_hour_missing")
"""Reasons that say nothing against the rest of the day."""

BATCH = 120
WARNS = {"complete": "the day is over and every row expected of it came"}
FAULTS = {"reject_share": f"at most {MAX_REJECT_SHARE:.0%} of the day's rows were refused for what they say"}
LIMITS = {
    "suspect_share": Limit(
        f"at most {MAX_SUSPECT_SHARE:.0%} of all bars are contradicted by something else",
        part="suspect bars",
        whole="bars",
        most=MAX_SUSPECT_SHARE,
    )
}


def _delivered(work: Work) -> Result:
    """Rows of the asset's tables, with facts of each day; its warnings and faults are those of the first table."""
    datasets = datasets_of(work.declaration.contracts)
    deliveries = {dataset: work.house.source.fetch(dataset, work.keys) for dataset in datasets}
    described = dict(work.house.source.describe())
    facts: dict[Key, dict[str, Any]] = {day: {"source": described} for day in work.keys}
    warnings: dict[Key, Mapping[str, str]] = {}
    faults: dict[Key, Mapping[str, Outcome]] = {}
    for place, (dataset, delivery) in enumerate(deliveries.items()):
        refused = _by_day(delivery.rejects[delivery.rejects["action"] == REJECTED], "at")
        rows = _by_day(delivery.rows, str(schemas.DELIVERED[dataset].time))
        prefix = "" if place == 0 else f"{dataset}: "
        for day in work.keys:
            own, lost = rows.get(day, delivery.rows.iloc[:0]), refused.get(day, delivery.rejects.iloc[:0])
            coverage = delivery.coverage[day]
            found = {**_coverage_facts(coverage), **_row_facts(own), **refused_facts(lost)}
            facts[day] |= {f"{prefix}{name}": value for name, value in found.items()}
            if not coverage.complete and place == 0:
                warnings[day] = {"complete": coverage.sentence()}
            if place == 0 and "reject_share" in work.declaration.faults:
                faults[day] = {"reject_share": _share_refused(own, lost)}
    return Result({dataset: delivery.rows for dataset, delivery in deliveries.items()}, facts, faults, warnings)


def _by_day(frame: pd.DataFrame, stamp: str) -> dict[str, pd.DataFrame]:
    return {str(day): rows for day, rows in frame.groupby(day_of(frame[stamp]))}


def _coverage_facts(coverage: Coverage) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "expected rows": coverage.expected,
        "received rows": coverage.received,
        "complete": coverage.complete,
    }
    if coverage.missing:
        facts["missing"] = {coin: list(stamps) for coin, stamps in coverage.missing.items()}
    return facts | ({"note": coverage.note} if coverage.note else {})


def _row_facts(rows: pd.DataFrame) -> dict[str, Any]:
    facts: dict[str, Any] = {"coins": int(rows["coin"].nunique())}
    if "outage" in rows:
        facts["outage hours"] = {str(c): int(n) for c, n in rows[rows["outage"]]["coin"].value_counts().items()}
    if "suspect" in rows:
        facts |= {"bars": len(rows), "suspect bars": int((rows["suspect"] | rows["suspect_later"]).sum())}
    return facts


def _share_refused(kept: pd.DataFrame, refused: pd.DataFrame) -> Outcome:
    judged = refused[~refused["reason"].isin(NOT_THE_VALUES)]
    total = len(kept) + len(judged)
    detail = f"{len(judged)} of {total} rows refused ({dict(judged['reason'].value_counts())})"
    passed = len(judged) <= MAX_REJECT_SHARE * max(1, total)
    return Outcome(passed, len(judged), (detail,) if len(judged) else ())


CODE = (
    files,
    okx,
    sample,
    _delivered,
    _by_day,
    _coverage_facts,
    _row_facts,
    refused_facts,
    _share_refused,
)

_daily = partial(source_asset, code=CODE, axis="days", batch=BATCH)


@_daily(schemas.CRYPTO_BARS, warns=WARNS, faults=FAULTS, limits=LIMITS)
def crypto_bars(work: Work) -> Result:
    """Hourly bars of the perpetuals on one clock; outages and contradicted bars are flagged, gaps listed."""
    made = _delivered(work)
    shares = {day: _believable(facts, rows) for day, facts, rows in _days(work, made, "crypto_bars")}
    if not any(shares.values()):
        return made
    return _with_plot(made, "coverage", crypto_plots.coverage_map(pd.DataFrame(shares)))


def _believable(facts: Mapping[str, Any], rows: pd.DataFrame) -> dict[str, float]:
    """Share of the day's hours of each coin that came and are neither outage nor suspect."""
    missing = {coin: len(stamps) for coin, stamps in facts.get("missing", {}).items()}
    doubted = rows[rows["outage"] | rows["suspect"] | rows["suspect_later"]]["coin"].value_counts()
    coins = sorted({*map(str, rows["coin"].unique()), *missing})
    return {coin: 1 - (missing.get(coin, 0) + int(doubted.get(coin, 0))) / 24 for coin in coins}


def _days(work: Work, made: Result, table: str) -> list[tuple[str, Mapping[str, Any], pd.DataFrame]]:
    rows = _by_day(made.frames[table], str(schemas.DELIVERED[table].time))
    nothing = made.frames[table].iloc[:0]
    return [(day, made.facts[day], rows.get(day, nothing)) for day in work.keys]


def _with_plot(made: Result, name: str, png: bytes) -> Result:
    return Result(made.frames, made.facts, made.faults, made.warnings, {name: png})


@_daily(schemas.CRYPTO_MINUTE_BARS, warns=WARNS, faults=FAULTS, batch=10)
def crypto_minute_bars(work: Work) -> Result:
    """Minute bars of the perpetuals, where they are kept."""
    return _delivered(work)


@_daily(schemas.MARK_PRICES, warns=WARNS, faults=FAULTS)
def mark_prices(work: Work) -> Result:
    """Hourly bars of the mark price, which liquidations are judged on."""
    return _delivered(work)


@_daily(schemas.INDEX_PRICES, warns=WARNS, faults=FAULTS)
def index_prices(work: Work) -> Result:
    """Hourly bars of the spot index a perpetual follows."""
    return _delivered(work)


@_daily(schemas.FUNDING_RATES, warns=WARNS, faults=FAULTS)
def funding_rates(work: Work) -> Result:
    """Funding settlements at their true times, with the interval each was for."""
    made = _delivered(work)
    rows = made.frames["funding_rates"]
    known = rows[rows["interval_hours"].notna()]
    return made if known.empty else _with_plot(made, "funding", crypto_plots.funding(known))


@_daily(schemas.OPEN_INTEREST, warns=WARNS, faults=FAULTS)
def open_interest(work: Work) -> Result:
    """Open contracts at the end of each hour, in coins."""
    return _delivered(work)


@_daily(schemas.TAKER_VOLUME, warns=WARNS, faults=FAULTS)
def taker_volume(work: Work) -> Result:
    """What takers bought and sold in each hour."""
    return _delivered(work)


@_daily(schemas.ORDER_BOOKS, schemas.ORDER_BOOK_LEVELS, warns=WARNS, faults=FAULTS, batch=30)
def order_books(work: Work) -> Result:
    """Snapshots of the books: spread, depth within 10 bp and imbalance, and the 20 levels they come from."""
    return _delivered(work)


@_daily(schemas.TRADE_FLOW, warns=WARNS, faults=FAULTS)
def trade_flow(work: Work) -> Result:
    """Trades of each hour by side, and the large ones among them; only hours whose every trade was seen."""
    return _delivered(work)


@_daily(schemas.INSTRUMENTS, schemas.LEVERAGE_TIERS, warns=WARNS)
def instruments(work: Work) -> Result:
    """Contract value, tick, lot and isolated leverage tiers, as the exchange stated them on the day."""
    return _delivered(work)


@_daily(schemas.CRYPTO_UNIVERSE, warns=WARNS)
def crypto_universe(work: Work) -> Result:
    """Coins of the universe of each day, and whether the ranking was that of the day."""
    return _delivered(work)


@_daily(schemas.CRYPTO_REJECTS)
def crypto_rejects(work: Work) -> Result:
    """Rows that were refused, doubted or never came, with reason and value; nothing is dropped in silence."""
    rows = work.house.source.fetch("crypto_rejects", work.keys).rows
    days = _by_day(rows, "at")
    facts: dict[Key, Mapping[str, Any]] = {day: _listed(days.get(day, rows.iloc[:0])) for day in work.keys}
    return Result({"crypto_rejects": rows}, facts)


def _listed(rows: pd.DataFrame) -> dict[str, Any]:
    kinds = rows["dataset"] + ": " + rows["reason"] + " (" + rows["action"] + ")"
    return {"by reason": {str(kind): int(count) for kind, count in kinds.value_counts().sort_index().items()}}


ASSETS: tuple[LakeAsset, ...] = (
    crypto_universe,
    instruments,
    crypto_bars,
    mark_prices,
    index_prices,
    funding_rates,
    open_interest,
    taker_volume,
    order_books,
    trade_flow,
    crypto_rejects,
)

MINUTE_ASSETS: tuple[LakeAsset, ...] = (crypto_minute_bars,)
"""Declared beside `ASSETS` where the settings keep minute bars (``crypto.bar = "1m"``)."""
