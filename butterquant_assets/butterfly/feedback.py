"""What past decisions teach: realised outcomes of trades taken, as training rows of a kind of their own.

What belongs here: turning decisions and outcomes into rows a training set can take up, each (session, ticker) at most
once. What does not: training on them. These rows are no random sample: a track chose them, so their class frequencies
are those of its choices. They therefore carry their kind and a weight, and can be switched off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.butterfly.decisions import CHALLENGER, CHAMPION, TRACKS
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.labels import ROI_KINDS
from butterquant_assets.butterfly.performance import KEYS, KNOWN, with_outcomes
from butterquant_assets.foundation.errors import ConfigError, DataError

SAMPLE, FEEDBACK = KINDS = ("sample", "feedback")
OUTCOMES = (*(f"roi_{kind}" for kind in ROI_KINDS), *(f"label_{kind}" for kind in ROI_KINDS))
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


@dataclass(frozen=True)
class FeedbackRules:
    """Whether and how decisions become training rows.

    Parameters
    ----------
    enabled
        False: no rows
    weights
        weight of a row by the track that took it, 0 or more; tracks left out, or of weight 0, give no rows, and a row
        several tracks took has the largest of theirs
    """

    enabled: bool = True
    weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType(dict.fromkeys(TRACKS, 1.0)))

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(TRACKS))
        if unknown:
            raise ConfigError(f"feedback weights name {', '.join(unknown)}; the tracks are {', '.join(TRACKS)}")
        bad = {track: weight for track, weight in self.weights.items() if not 0.0 <= weight < np.inf}
        if bad:
            raise ConfigError(f"feedback weights are {bad}; each must be a number of 0 or more")


@dataclass(frozen=True)
class FeedbackRows:
    """Training rows from decisions, and where all other decisions went.

    Parameters
    ----------
    rows
        columns of `FEEDBACK_TYPES`, sorted by session and ticker
    facts
        ``taken`` (session, ticker) and how many of them were ``added``, ``already`` in the training set, without an
        outcome (by reason, under ``unlabelled``), or ``without_features``; these add up
    """

    rows: pd.DataFrame
    facts: dict[str, Any]


def feedback_rows(
    decisions: pd.DataFrame,
    outcomes: pd.DataFrame,
    features: pd.DataFrame,
    already: pd.DataFrame,
    *,
    as_of: str | pd.Timestamp,
    rules: FeedbackRules | None = None,
) -> FeedbackRows:
    """Realised outcomes of trades taken, as training rows.

    Parameters
    ----------
    decisions
        columns session, ticker, track, route, selected
    outcomes
        columns of `schemas.ROI_LABELS` that `labels` gives: session, ticker, evaluation_session, roi_*, label_*,
        missing_reason
    features
        session, ticker, stratum, episode and the 23 features, one row per (session, ticker)
    already
        session and ticker of rows that the training set holds: none of them is added again
    as_of
        outcomes evaluated later are not looked at
    rules
        switch and weights

    Returns
    -------
    FeedbackRows

    Raises
    ------
    DataError
        if outcomes or features are repeated, or an outcome is known in part.
    """
    settings = rules or FeedbackRules()
    taken = _taken(decisions, settings)
    joined = with_outcomes(taken, outcomes, as_of=as_of)
    held = pd.MultiIndex.from_frame(joined[list(KEYS)]).isin(pd.MultiIndex.from_frame(already[list(KEYS)]))
    known = (joined["outcome"] == KNOWN).to_numpy()
    fresh = joined[known & ~held].drop(columns=["roi_mark", "roi_net", "label_mark", "outcome"])
    rows = fresh.merge(outcomes[[*KEYS, *OUTCOMES]], on=list(KEYS), validate="one_to_one")
    _need_complete(rows)
    if features.duplicated(list(KEYS)).any():
        raise DataError(f"{features.duplicated(list(KEYS)).sum()} feature rows are repeated; give one per key")
    rows = rows.merge(features[[*KEYS, "stratum", "episode", *FEATURES]], on=list(KEYS))
    unlabelled = joined.loc[~known & ~held, "outcome"].value_counts().sort_index()
    facts = {
        "enabled": settings.enabled,
        "taken": len(joined),
        "added": len(rows),
        "already": int(held.sum()),
        "unlabelled": {str(reason): int(count) for reason, count in unlabelled.items()},
        "without_features": len(fresh) - len(rows),
    }
    typed = rows.assign(kind=FEEDBACK)[list(FEEDBACK_TYPES)].astype(FEEDBACK_TYPES)
    return FeedbackRows(typed.sort_values(list(KEYS), kind="stable").reset_index(drop=True), facts)


def with_feedback(training_set: pd.DataFrame, feedback: pd.DataFrame) -> pd.DataFrame:
    """The training set followed by its feedback rows, with ``kind`` and ``weight`` (1 for samples), sorted by key.

    Parameters
    ----------
    training_set
        columns of `schemas.TRAINING_SET`
    feedback
        columns of `FEEDBACK_TYPES`

    Returns
    -------
    DataFrame, columns of `training_set`, then kind and weight

    Raises
    ------
    DataError
        if a feedback row is in the training set already.
    """
    columns = [*training_set.columns, "kind", "weight"]
    together = pd.concat([training_set.assign(kind=SAMPLE, weight=1.0)[columns], feedback[columns]], ignore_index=True)
    repeated = int(together.duplicated(list(KEYS)).sum())
    if repeated:
        raise DataError(f"{repeated} feedback rows are in the training set already; pass it to feedback_rows first")
    return together.sort_values(list(KEYS), kind="stable").reset_index(drop=True)


def _taken(decisions: pd.DataFrame, rules: FeedbackRules) -> pd.DataFrame:
    """One row per (session, ticker) that a weighted track took, with its weight, tracks and route."""
    weight = decisions["track"].map(dict(rules.weights)).fillna(0.0).to_numpy(dtype=np.float64)
    use = decisions["selected"].to_numpy(dtype=bool) & (weight > 0) & rules.enabled
    rows = decisions[use].assign(weight=weight[use], challenged=(decisions.loc[use, "route"] == CHALLENGER))
    grouped = rows.sort_values([*KEYS, "track"], kind="stable").groupby(list(KEYS), sort=True)
    found = grouped.agg(weight=("weight", "max"), tracks=("track", ",".join), challenged=("challenged", "any"))
    found["route"] = np.where(found.pop("challenged").to_numpy(dtype=bool), CHALLENGER, CHAMPION)
    return found.reset_index()


def _need_complete(rows: pd.DataFrame) -> None:
    partly = rows[list(OUTCOMES)].isna().any(axis=1)
    if partly.any():
        first = rows[partly].iloc[0]
        raise DataError(
            f"{partly.sum()} known outcomes lack a ROI or label, for instance {first['ticker']} on "
            f"{first['session']:%Y-%m-%d}; rebuild the labels"
        )
