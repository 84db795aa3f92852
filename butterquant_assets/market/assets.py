"""Market assets: what the source delivered, by month, cleaned, with every refused row kept beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from butterquant_assets.foundation.calendar import sessions_in_months
from butterquant_assets.foundation.contracts import Outcome
from butterquant_assets.foundation.freshness import Key, Window
from butterquant_assets.market import schemas
from butterquant_assets.market.sources import files, sample
from butterquant_assets.market.sources.base import REJECTING
from butterquant_assets.orchestration.declaration import LakeAsset, Result, Work, lake_asset

MAX_REJECT_SHARE = 0.2
REJECTED = "rejected"
WARNS = {"complete": "every session of the exchange calendar has rows"}
FAULTS = {"reject_share": f"at most {MAX_REJECT_SHARE:.0%} of the month's rows were refused"}


def _delivered(work: Work, dataset: str) -> Result:
    delivery = work.house.source.fetch(dataset, work.keys)
    rows = delivery.rows
    rejects = delivery.rejects[delivery.rejects["action"] == REJECTED]
    row_months, reject_months = rows["session"].dt.strftime("%Y-%m"), rejects["session"].dt.strftime("%Y-%m")
    kept, refused = row_months.value_counts(), reject_months.value_counts()
    reasons = rejects.groupby([reject_months, "reason"]).size()
    facts: dict[Key, Mapping[str, Any]] = {}
    faults: dict[Key, Mapping[str, Outcome]] = {}
    warnings: dict[Key, Mapping[str, str]] = {}
    described = dict(work.house.source.describe())
    for month in work.keys:
        n_kept, n_refused = int(kept.get(month, 0)), int(refused.get(month, 0))
        by_reason = {str(r): int(n) for r, n in reasons.get(month, pd.Series(dtype=int)).items()} if n_refused else {}
        facts[month] = {"source": described, "refused rows": n_refused, "refused by reason": by_reason}
        share = n_refused / max(1, n_kept + n_refused)
        detail = f"{n_refused} of {n_kept + n_refused} rows refused ({by_reason})"
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


def _whole(work: Work, dataset: str) -> Result:
    delivery = work.house.source.fetch(dataset, work.house.source.keys_held(dataset))
    lost = delivery.rejects[delivery.rejects["action"] == REJECTED]
    by_reason = {str(reason): int(count) for reason, count in lost["reason"].value_counts().sort_index().items()}
    facts = {"source": dict(work.house.source.describe()), "refused rows": len(lost), "refused by reason": by_reason}
    return Result({dataset: delivery.rows}, {None: facts})


CODE = (files, sample, _delivered, _missing_sessions, _whole)


@lake_asset(
    schemas.EQUITY_BARS,
    reads=[Window("source:equity_bars")],
    code=CODE,
    axis="market",
    batch=240,
    digest="ticker",
    warns=WARNS,
    faults=FAULTS,
)
def equity_bars(work: Work) -> Result:
    """Daily bars as quoted on the day, with the split ratio effective on each session."""
    return _delivered(work, "equity_bars")


@lake_asset(
    schemas.INDEX_BARS,
    reads=[Window("source:index_bars")],
    code=CODE,
    axis="market",
    batch=240,
    faults=FAULTS,
)
def index_bars(work: Work) -> Result:
    """Daily bars of stock indices."""
    return _delivered(work, "index_bars")


@lake_asset(
    schemas.VIX,
    reads=[Window("source:vix")],
    code=CODE,
    axis="market",
    batch=240,
    warns=WARNS,
    faults=FAULTS,
)
def vix(work: Work) -> Result:
    """The CBOE volatility index, end of day."""
    return _delivered(work, "vix")


@lake_asset(
    schemas.IMPLIED_VOLS,
    reads=[Window("source:implied_vols")],
    code=CODE,
    axis="market",
    batch=240,
    digest="ticker",
)
def implied_vols(work: Work) -> Result:
    """Published at-the-money implied volatilities by ticker and tenor; empty where the source has none."""
    return _delivered(work, "implied_vols")


@lake_asset(
    schemas.BAR_REJECTS,
    reads=[Window("source:bar_rejects")],
    code=CODE,
    axis="market",
    batch=240,
)
def bar_rejects(work: Work) -> pd.DataFrame:
    """Rows of the source that were refused, with file, row, reason and value; nothing is dropped in silence."""
    rejects: list[pd.DataFrame] = [work.house.source.fetch(dataset, work.keys).rejects for dataset in REJECTING]
    return pd.concat(rejects, ignore_index=True)


@lake_asset(schemas.PUBLISHED_VOLS, reads=[Window("source:published_vols")], code=CODE, axis=None)
def published_vols(work: Work) -> Result:
    """Published three-month implied volatilities, the yardstick for proxies; over all months the source holds."""
    return _whole(work, "published_vols")


@lake_asset(schemas.OPTION_CHAINS, reads=[Window("source:option_chains")], code=CODE, axis=None)
def option_chains(work: Work) -> Result:
    """Two-sided option quotes, the yardstick for smiles; over all months the source holds."""
    return _whole(work, "option_chains")


ASSETS: tuple[LakeAsset, ...] = (
    equity_bars,
    index_bars,
    vix,
    implied_vols,
    bar_rejects,
    published_vols,
    option_chains,
)
