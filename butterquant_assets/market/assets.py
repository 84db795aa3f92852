"""Market assets: what the source delivered, by month, cleaned, with every refused row kept beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from butterquant_assets.foundation.calendar import sessions_in_months
from butterquant_assets.foundation.contracts import Outcome
from butterquant_assets.foundation.freshness import Key
from butterquant_assets.market import schemas
from butterquant_assets.market.source_assets import MAX_REJECT_SHARE, datasets_of, refused_facts, source_asset
from butterquant_assets.market.sources import files, sample
from butterquant_assets.market.sources.base import REJECTING
from butterquant_assets.orchestration.declaration import LakeAsset, Result, Work

REJECTED = "rejected"
NOT_THE_VALUES = ("future",)
"""Reasons that say nothing against the rest of the month."""

WARNS = {"complete": "every session of the exchange calendar has rows"}
FAULTS = {"reject_share": f"at most {MAX_REJECT_SHARE:.0%} of the month's rows were refused"}


def _delivered(work: Work) -> Result:
    """Rows of the asset's table, with facts, warnings and faults of each month."""
    (dataset,) = datasets_of(work.declaration.contracts)
    delivery = work.house.source.fetch(dataset, work.keys)
    rows = delivery.rows
    rejects = delivery.rejects[delivery.rejects["action"] == REJECTED]
    row_months, reject_months = rows["session"].dt.strftime("%Y-%m"), rejects["session"].dt.strftime("%Y-%m")
    kept, refused = row_months.value_counts(), dict(iter(rejects.groupby(reject_months)))
    facts: dict[Key, Mapping[str, Any]] = {}
    faults: dict[Key, Mapping[str, Outcome]] = {}
    warnings: dict[Key, Mapping[str, str]] = {}
    described = dict(work.house.source.describe())
    for month in work.keys:
        n_kept, lost = int(kept.get(month, 0)), refused_facts(refused.get(month, rejects.iloc[:0]))
        n_refused = sum(n for reason, n in lost["refused by reason"].items() if reason not in NOT_THE_VALUES)
        facts[month] = {"source": described, **lost}
        share = n_refused / max(1, n_kept + n_refused)
        detail = f"{n_refused} of {n_kept + n_refused} rows refused ({lost['refused by reason']})"
        faults[month] = {"reject_share": Outcome(share <= MAX_REJECT_SHARE, n_refused, (detail,) if n_refused else ())}
        if "complete" not in work.declaration.warns:
            continue  # an optional dataset may be absent altogether
        if text := _missing_sessions(rows["session"][row_months == month], [month]):
            warnings[month] = {"complete": text}
    return Result({dataset: rows}, facts, faults, warnings)


def _missing_sessions(present: pd.Series, months: Sequence[str]) -> str:
    expected = sessions_in_months(months)
    missing = expected.difference(pd.DatetimeIndex(present.unique()))
    if missing.empty:
        return ""
    first = ", ".join(str(day.date()) for day in missing[:3])
    return f"{len(missing)} of {len(expected)} sessions have no row, from {first}"


def _whole(work: Work) -> Result:
    """Rows of the asset's table over all months that the source holds."""
    (dataset,) = datasets_of(work.declaration.contracts)
    delivery = work.house.source.fetch(dataset, work.house.source.keys_held(dataset))
    lost = refused_facts(delivery.rejects[delivery.rejects["action"] == REJECTED])
    return Result({dataset: delivery.rows}, {None: {"source": dict(work.house.source.describe()), **lost}})


CODE = (files, sample, refused_facts, _delivered, _missing_sessions, _whole)

_monthly = partial(source_asset, code=CODE, axis="market", batch=240)
_whole_span = partial(source_asset, code=CODE, axis=None)


@_monthly(schemas.EQUITY_BARS, digest="ticker", warns=WARNS, faults=FAULTS)
def equity_bars(work: Work) -> Result:
    """Daily bars as quoted on the day, with the split ratio effective on each session."""
    return _delivered(work)


@_monthly(schemas.INDEX_BARS, faults=FAULTS)
def index_bars(work: Work) -> Result:
    """Daily bars of stock indices."""
    return _delivered(work)


@_monthly(schemas.VIX, warns=WARNS, faults=FAULTS)
def vix(work: Work) -> Result:
    """The CBOE volatility index, end of day."""
    return _delivered(work)


@_monthly(schemas.IMPLIED_VOLS, digest="ticker")
def implied_vols(work: Work) -> Result:
    """Published at-the-money implied volatilities by ticker and tenor; empty where the source has none."""
    return _delivered(work)


@_monthly(schemas.BAR_REJECTS)
def bar_rejects(work: Work) -> pd.DataFrame:
    """Rows of the source that were refused, with file, row, reason and value; nothing is dropped in silence."""
    rejects: list[pd.DataFrame] = [work.house.source.fetch(dataset, work.keys).rejects for dataset in REJECTING]
    return pd.concat(rejects, ignore_index=True)


@_whole_span(schemas.PUBLISHED_VOLS)
def published_vols(work: Work) -> Result:
    """Published three-month implied volatilities, the yardstick for proxies; over all months the source holds."""
    return _whole(work)


@_whole_span(schemas.OPTION_CHAINS)
def option_chains(work: Work) -> Result:
    """Two-sided option quotes, the yardstick for smiles; over all months the source holds."""
    return _whole(work)


ASSETS: tuple[LakeAsset, ...] = (
    equity_bars,
    index_bars,
    vix,
    implied_vols,
    bar_rejects,
    published_vols,
    option_chains,
)
