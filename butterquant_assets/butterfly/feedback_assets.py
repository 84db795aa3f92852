"""Feedback: what past decisions teach, from the ledger to training rows; and the act that fills the ledger.

`take_feedback` is that act. It is no asset: what it reads depends on the model, so the graph would have a cycle. To
the graph the ledger is a source, and its trades are analysed and labelled from the bars like any others: a corrected
bar, or another definition of a feature, reaches them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from butterquant_assets.butterfly import analysis, feedback, labels, scan, schemas
from butterquant_assets.butterfly import features as feature_module
from butterquant_assets.butterfly.assets import (
    BAR_COLUMNS,
    BARS,
    FEEDBACK,
    TRAINING,
    VIX,
    implied_of,
    level_reads,
    vix_of,
)
from butterquant_assets.butterfly.decision_assets import DECISIONS, OUTCOMES
from butterquant_assets.butterfly.feedback_schemas import FEEDBACK_ROWS, FEEDBACK_UNUSED
from butterquant_assets.foundation.errors import LakeError
from butterquant_assets.foundation.feedback_ledger import Clock, FeedbackLedger
from butterquant_assets.foundation.files import locked
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.market.schemas import empty_rows
from butterquant_assets.orchestration.declaration import LakeAsset, Result, Work, lake_asset
from butterquant_assets.orchestration.house import House

LEDGER = "feedback_ledger"
UNUSED = FEEDBACK_UNUSED.table
KEYS = list(schemas.KEYS)


def ledger_contents(settings: HomeSettings) -> dict[str, str]:
    """Content hash of each take of the ledger."""
    with FeedbackLedger(settings.warehouse_location) as ledger:
        return ledger.contents()


def _reads(settings: Any) -> list[Window]:
    windows = [Window(f"source:{LEDGER}"), Window(TRAINING), Window(BARS, by="group"), *level_reads(settings, 0)]
    return windows if any(window.asset == VIX for window in windows) else [*windows, Window(VIX)]


def _analysed(work: Work, ledger: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Outcomes, features and rejects of trades."""
    config, costs, gap, _ = work.config
    bars, vix = work.read(BARS, BAR_COLUMNS), work.read(VIX, ["session", "close"])
    bars = bars[bars["ticker"].isin(ledger["ticker"])]
    months = sorted(set(ledger["session"].dt.strftime("%Y-%m")))
    samples = scan.scan_samples(vix, bars, months, gap).merge(ledger[KEYS], on=KEYS)
    made = analysis.analyse(samples, bars, implied_of(work), config, costs, vix=vix_of(work))
    last = vix["session"].max()
    outcomes = labels.label_trades(made.analyses, bars, implied_of(work), last, config, costs, vix=vix)
    features = made.analyses[[*KEYS, "stratum", "episode"]].merge(
        feature_module.build_features(made.analyses), on=KEYS, validate="one_to_one"
    )
    return outcomes, features, made.rejects


def _nothing() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    features = empty_rows(schemas.FEATURES)
    named = {name: pd.Series(dtype="str") for name in ("stratum", "episode")}
    return empty_rows(schemas.ROI_LABELS), features.assign(**named), empty_rows(schemas.ANALYSIS_REJECTS)


def _counts(frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    rows, unused = frames[FEEDBACK], frames[UNUSED]
    by_reason = {str(reason): int(count) for reason, count in unused["reason"].value_counts().sort_index().items()}
    return {"trades": len(rows) + len(unused), "rows": len(rows), "weight": float(rows["weight"].sum()),
            "unused": by_reason}  # fmt: skip


@lake_asset(
    FEEDBACK_ROWS,
    FEEDBACK_UNUSED,
    reads=_reads,
    code=[analysis, feature_module, feedback, labels, scan, _analysed, _counts],
    config=lambda settings: (
        settings.analysis_in_use,
        settings.costs,
        settings.sampling.episode_gap,
        settings.feedback,
    ),
    axis=None,
    group="ticker",
    summarise=_counts,
    ledgers={LEDGER: ledger_contents},
)
def feedback_rows(work: Work) -> Result:
    """Trades of the feedback ledger as training rows of their own kind, each (session, ticker) once, with a weight."""
    *_, config = work.config
    with FeedbackLedger(work.house.settings.warehouse_location) as ledger:
        trades = ledger.trades()
    if work.groups is not None:
        trades = trades[trades["ticker"].isin(work.groups)]
    parts = _analysed(work, trades) if config.enabled and len(trades) else _nothing()
    made = feedback.feedback_rows(trades, *parts, work.read(TRAINING, KEYS), config)
    return Result({"feedback_rows": made.rows, "feedback_unused": made.unused})


ASSETS: tuple[LakeAsset, ...] = (feedback_rows,)


@dataclass(frozen=True)
class Taken:
    """What one act of taking did.

    Parameters
    ----------
    enabled
        whether feedback is switched on; if not, nothing was looked at
    take
        its number, or None where it added nothing
    known_until
        last session whose outcomes were looked at; None if nothing was
    facts
        `feedback.Taking.facts`
    """

    enabled: bool
    take: int | None = None
    known_until: pd.Timestamp | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def added(self) -> int:
        """Trades that entered the ledger."""
        return int(self.facts.get("added", 0))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        until = None if self.known_until is None else f"{self.known_until:%Y-%m-%d}"
        return {"enabled": self.enabled, "take": self.take, "known_until": until, **self.facts}


def take_feedback(house: House, until: datetime | None = None, *, clock: Clock = lambda: datetime.now(UTC)) -> Taken:
    """Put trades whose outcome came to be known into the ledger, each once; doing it again adds nothing.

    Parameters
    ----------
    house
        a home whose decisions and outcomes are materialised
    until
        outcomes evaluated on a later day are not looked at; naive UTC, by default all that the data reaches
    clock
        when it happens, with a time zone

    Raises
    ------
    LakeError
        if decisions, outcomes, training set, VIX or bars are not materialised.
    DataError
        if decisions and outcomes contradict each other.
    """
    *_, config = house.config(house.declaration(FEEDBACK))
    if not config.enabled:
        return Taken(enabled=False)
    house.freshness()  # a home that grows learns by looking which months it covers
    with (
        locked(house.settings.home / "locks" / LEDGER),
        FeedbackLedger(house.settings.warehouse_location, clock=clock) as ledger,
    ):
        takes = ledger.takes()
        # A day with a VIX and no bars yet would settle its trades as having no exit, for ever.
        reach = min(_read(house, name, ["session"])["session"].max() for name in (VIX, BARS))
        decided = _read(house, DECISIONS, ["session", "ticker", "track", "route", "model_version", "selected"])
        outcomes = _read(house, OUTCOMES)
        as_of = reach if until is None else min(pd.Timestamp(until).normalize(), reach)
        as_of = feedback.complete_until(decided, outcomes, as_of)
        found = feedback.take(
            decided,
            outcomes,
            _read(house, TRAINING, KEYS),
            ledger.trades(),
            after=takes["known_until"].max() if len(takes) else None,
            as_of=as_of,
        )
        number = ledger.append(found.rows, as_of)
    return Taken(enabled=True, take=number, known_until=as_of, facts=found.facts)


def feedback_in_use(house: House) -> dict[str, Any]:
    """What the training makes of the ledger: facts of `feedback_rows`; empty before it is materialised."""
    footer = house.lake.footer(FEEDBACK)
    return {} if footer is None else {name: footer.facts[name] for name in ("trades", "rows", "weight", "unused")}


def _read(house: House, asset: str, columns: list[str] | None = None) -> pd.DataFrame:
    months = house.declaration(asset).axis
    if months is None:
        return house.lake.read(asset, None, columns)
    if not (keys := house.keys(months)):
        raise LakeError(f"{asset} covers no month in this home: widen the span, or scan more months")
    return house.lake.read(asset, keys, columns)
