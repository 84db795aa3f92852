"""What past decisions teach: realised outcomes of trades taken, as training rows of a kind of their own. Pure.

What belongs here: which trades the ledger takes up, and turning trades of the ledger into training rows, each (session,
ticker) at most once. What does not: training on them (`lessons`, `vintages`), and storing the ledger. These rows are no
random sample: a track chose them, so their class frequencies are those of its choices. They therefore carry their kind
and a weight, and can be switched off.

A take looks at outcomes that came to be known after those the take before it looked at, and at no others. So decisions
that a later model would have made on days gone by never enter: what was decided then is settled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.butterfly.decisions import CHALLENGER, CHAMPION, TRACKS
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.labels import ROI_KINDS
from butterquant_assets.butterfly.lessons import FEEDBACK, KEYS
from butterquant_assets.butterfly.performance import KNOWN, STILL_OPEN, with_outcomes
from butterquant_assets.foundation.errors import ConfigError, DataError

OUTCOMES = (*(f"roi_{kind}" for kind in ROI_KINDS), *(f"label_{kind}" for kind in ROI_KINDS))
LEDGER_TYPES: dict[str, str] = {
    "session": "datetime64[us]",
    "ticker": "str",
    "evaluation_session": "datetime64[us]",
    "tracks": "str",
    "route": "str",
    "model_version": "str",
    "roi_net": "float64",
}
"""Columns of trades that a take adds to the ledger, in stored order."""
FEEDBACK_TYPES: dict[str, str] = {
    "session": "datetime64[us]",
    "ticker": "str",
    "stratum": "str",
    "episode": "str",
    "evaluation_session": "datetime64[us]",
    **dict.fromkeys(FEATURES, "float64"),
    **dict.fromkeys(OUTCOMES, "float64"),
    "kind": "str",
    "weight": "float64",
    "tracks": "str",
    "route": "str",
}
"""Columns of feedback rows in stored order: those of the training set, and where the row comes from."""
UNUSED_TYPES = {"session": "datetime64[us]", "ticker": "str", "tracks": "str", "reason": "str"}
"""Columns of trades of the ledger that give no training row."""
SWITCHED_OFF, NO_WEIGHT, SAMPLED, NOT_ANALYSED = "switched_off", "no_weight", "in_training_set", "not_analysed"
REJECTED, UNLABELLED = "rejected: ", "unlabelled: "


@dataclass(frozen=True)
class FeedbackConfig:
    """Whether and how trades taken become training rows.

    Parameters
    ----------
    enabled
        False: nothing is taken, and what was taken is not used
    ai_weight, baseline_weight, blend_weight
        weight of a row by the track that took the trade, 0 or more, where a row of the sample has 1; a row several
        tracks took has the largest of theirs, one of weight 0 is not used
    """

    enabled: bool = True
    ai_weight: float = 1.0
    baseline_weight: float = 1.0
    blend_weight: float = 1.0

    def __post_init__(self) -> None:
        bad = {track: weight for track, weight in self.weights.items() if not 0.0 <= weight < np.inf}
        if bad:
            raise ConfigError(f"feedback weights are {bad}; each must be a number of 0 or more")

    @property
    def weights(self) -> dict[str, float]:
        """Weight by track."""
        return {track: getattr(self, f"{track}_weight") for track in TRACKS}


@dataclass(frozen=True)
class Taking:
    """What a take adds to the ledger, and where all other trades went.

    Parameters
    ----------
    rows
        columns of `LEDGER_TYPES`, sorted by session and ticker
    facts
        ``trades`` (session, ticker) entered by the day, and how many of them were ``added``, ``in_ledger`` or
        ``in_training_set`` already, ``settled`` (their outcome was known at an earlier take, which decided without
        them), or without an outcome (by reason, under ``unlabelled``); these add up
    """

    rows: pd.DataFrame
    facts: dict[str, Any]


@dataclass(frozen=True)
class FeedbackRows:
    """Training rows from trades of the ledger, and the trades that give none.

    Parameters
    ----------
    rows
        columns of `FEEDBACK_TYPES`, sorted by session and ticker
    unused
        columns of `UNUSED_TYPES`, sorted alike; with `rows` they are all trades of the ledger
    """

    rows: pd.DataFrame
    unused: pd.DataFrame


def take(
    decisions: pd.DataFrame,
    outcomes: pd.DataFrame,
    sampled: pd.DataFrame,
    ledger: pd.DataFrame,
    *,
    after: pd.Timestamp | None,
    as_of: pd.Timestamp,
) -> Taking:
    """Trades taken whose outcome came to be known since the last take.

    Parameters
    ----------
    decisions
        columns session, ticker, track, route, model_version, selected
    outcomes
        columns of `schemas.ROI_LABELS` that `labels` gives: session, ticker, evaluation_session, roi_*, label_*,
        missing_reason
    sampled, ledger
        session and ticker of rows of the training set and of the ledger: none of them is added again
    after
        outcomes evaluated up to this session are settled; None before the first take
    as_of
        outcomes evaluated later are not looked at, nor decisions made later

    Returns
    -------
    Taking

    Raises
    ------
    DataError
        if outcomes are repeated, or one is known in part, or two models decided about one trade.
    """
    joined = with_outcomes(_trades(decisions), outcomes, as_of=as_of)
    known = (joined["outcome"] == KNOWN).to_numpy()
    settled = known & (joined["evaluation_session"] <= after).to_numpy() if after is not None else ~known & False
    in_ledger = _among(joined, ledger)
    in_sample = _among(joined, sampled) & ~in_ledger
    fresh = known & ~in_ledger & ~in_sample & ~settled
    unlabelled = joined.loc[~known & ~in_ledger & ~in_sample, "outcome"].value_counts().sort_index()
    rows = joined.loc[fresh, list(LEDGER_TYPES)].astype(LEDGER_TYPES)
    facts = {
        "trades": len(joined),
        "added": int(fresh.sum()),
        "in_ledger": int(in_ledger.sum()),
        "in_training_set": int(in_sample.sum()),
        "settled": int((settled & ~in_ledger & ~in_sample).sum()),
        "unlabelled": {str(reason): int(count) for reason, count in unlabelled.items()},
    }
    return Taking(rows.sort_values(list(KEYS), kind="stable").reset_index(drop=True), facts)


def complete_until(decisions: pd.DataFrame, outcomes: pd.DataFrame, as_of: pd.Timestamp) -> pd.Timestamp:
    """Last day, `as_of` at most, up to which decisions and outcomes are all there.

    A take settles the days it looked at for ever, so it must not look at days whose outcomes, or the decisions they
    belong to, have still to be brought up to date.

    Parameters
    ----------
    decisions
        column session
    outcomes
        columns session, evaluation_session, missing_reason
    as_of
        as far as the data reaches
    """
    undecided = (outcomes["session"] > decisions["session"].max()) if len(decisions) else True
    missing = outcomes.loc[undecided | (outcomes["missing_reason"] == STILL_OPEN), "evaluation_session"]
    return as_of if missing.empty else min(as_of, missing.min() - pd.Timedelta(days=1))


def feedback_rows(
    ledger: pd.DataFrame,
    outcomes: pd.DataFrame,
    features: pd.DataFrame,
    rejects: pd.DataFrame,
    sampled: pd.DataFrame,
    config: FeedbackConfig,
) -> FeedbackRows:
    """Trades of the ledger as training rows.

    Parameters
    ----------
    ledger
        columns session, ticker, tracks, route
    outcomes
        columns of `schemas.ROI_LABELS`, of the trades that could be analysed
    features
        session, ticker, stratum, episode and the 23 features, of the same trades
    rejects
        session, ticker, reason of trades whose analysis was rejected
    sampled
        session and ticker of the rows of the training set: none of them is added again
    config
        switch and weights

    Returns
    -------
    FeedbackRows

    Raises
    ------
    DataError
        if outcomes, features or rejects are repeated, or an outcome is known in part.
    """
    for name, table in (("outcomes", outcomes), ("features", features), ("rejects", rejects)):
        if table.duplicated(list(KEYS)).any():
            raise DataError(
                f"{table.duplicated(list(KEYS)).sum()} {name} are repeated; give one per session and ticker"
            )
    trades = ledger[[*KEYS, "tracks", "route"]]
    trades = trades.merge(rejects[[*KEYS, "reason"]], on=list(KEYS), how="left")
    trades = trades.merge(
        outcomes[[*KEYS, "evaluation_session", "missing_reason", *OUTCOMES]], on=list(KEYS), how="left"
    )
    trades = trades.merge(features[[*KEYS, "stratum", "episode", *FEATURES]], on=list(KEYS), how="left")
    weight = weights_of(trades["tracks"], config)
    reason = np.select(
        [
            np.full(len(trades), not config.enabled),
            _among(trades, sampled),
            weight == 0.0,
            trades["reason"].notna(),
            trades["missing_reason"].isna() | trades["stratum"].isna(),
            trades["missing_reason"] != "",
        ],
        [
            SWITCHED_OFF,
            SAMPLED,
            NO_WEIGHT,
            REJECTED + trades["reason"].fillna("").astype(object),
            NOT_ANALYSED,
            UNLABELLED + trades["missing_reason"].fillna("").astype(object),
        ],
        default="",
    )
    used = reason == ""
    rows = trades[used].assign(kind=FEEDBACK, weight=weight[used])
    _need_complete(rows)
    unused = trades.loc[~used, [*KEYS, "tracks"]].assign(reason=reason[~used])
    return FeedbackRows(_arranged(rows, FEEDBACK_TYPES), _arranged(unused, UNUSED_TYPES))


def weights_of(tracks: pd.Series, config: FeedbackConfig) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Largest weight of the tracks that took each trade, shape (n,).

    Parameters
    ----------
    tracks
        names separated by commas, shape (n,)
    config
        weights

    Raises
    ------
    DataError
        if a track is unknown.
    """
    known = config.weights
    unknown = sorted({name for text in tracks.unique() for name in text.split(",")} - set(known))
    if unknown:
        raise DataError(f"the ledger names the tracks {', '.join(unknown)}; there are {', '.join(known)}")
    return np.array([max(known[name] for name in text.split(",")) for text in tracks], dtype=np.float64)


def _trades(decisions: pd.DataFrame) -> pd.DataFrame:
    """One row per (session, ticker) that some track took, with its tracks, route and model."""
    chosen = decisions[decisions["selected"].to_numpy(dtype=bool)]
    rows = chosen.assign(challenged=chosen["route"] == CHALLENGER)
    grouped = rows.sort_values([*KEYS, "track"], kind="stable").groupby(list(KEYS), sort=True)
    found = grouped.agg(
        tracks=("track", ",".join),
        challenged=("challenged", "any"),
        model_version=("model_version", "first"),
        models=("model_version", "nunique"),
    )
    if (found["models"] != 1).any():
        session, ticker = found.index[found["models"] != 1][0]
        raise DataError(f"several models decided about {ticker} on {session:%Y-%m-%d}; rebuild the decisions")
    found["route"] = np.where(found.pop("challenged").to_numpy(dtype=bool), CHALLENGER, CHAMPION)
    return found.drop(columns="models").reset_index()


def _among(rows: pd.DataFrame, others: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    keys = pd.MultiIndex.from_frame(rows[list(KEYS)])
    found: np.ndarray[Any, np.dtype[np.bool_]] = keys.isin(pd.MultiIndex.from_frame(others[list(KEYS)]))
    return found


def _arranged(rows: pd.DataFrame, types: dict[str, str]) -> pd.DataFrame:
    typed: pd.DataFrame = rows[list(types)].astype(types)
    return typed.sort_values(list(KEYS), kind="stable").reset_index(drop=True)


def _need_complete(rows: pd.DataFrame) -> None:
    partly = rows[list(OUTCOMES)].isna().any(axis=1)
    if partly.any():
        first = rows[partly].iloc[0]
        raise DataError(
            f"{partly.sum()} known outcomes lack a ROI or label, for instance {first['ticker']} on "
            f"{first['session']:%Y-%m-%d}; rebuild the labels"
        )
