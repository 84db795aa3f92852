"""Contracts of decisions, of what came of them, and of the training rows made from them.

What belongs here: columns and rules that a frame alone can be judged by. Order and types are those the pure functions
deliver; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pandera.pandas as pa

from butterquant_assets.butterfly.decisions import PROBABILITIES, ROUTES, STATUSES, SUM_TOLERANCE, TRACKS
from butterquant_assets.butterfly.lessons import FEEDBACK as FEEDBACK_KIND
from butterquant_assets.butterfly.performance import ALL, CANDIDATES, QUINTILES
from butterquant_assets.butterfly.schemas import KEYS, TRAINING_SET, sessions_rule
from butterquant_assets.foundation.contracts import Contract, Rule

DECISION_KEYS = ("session", "ticker", "track")
PERFORMANCE_KEYS = ("track", "route", "metric")
CALIBRATION_KEYS = ("population", "route", "quintile")
HISTORY_KEYS = ("day", "track", "route")
_DATE, _TEXT, _FLOAT, _INT, _BOOL = "datetime64[us]", "str", "float64", "int64", "bool"


def _column(
    dtype: str,
    description: str,
    unit: str | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    one_of: Iterable[str] | None = None,
    nullable: bool = False,
) -> pa.Column:
    checks = []
    if low is not None:
        checks.append(pa.Check.ge(low))
    if high is not None:
        checks.append(pa.Check.le(high))
    if one_of is not None:
        checks.append(pa.Check.isin(list(one_of)))
    if dtype == _FLOAT:
        checks.append(pa.Check(_finite, name="finite", error="finite"))
    return pa.Column(
        dtype, checks, nullable=nullable, description=description, metadata={"unit": unit} if unit else None
    )


def _finite(values: pd.Series) -> pd.Series:
    return ~pd.Series(np.isinf(values.to_numpy(dtype=np.float64)), index=values.index)


def _table(columns: dict[str, pa.Column]) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(columns, strict=True, ordered=True)


# ------------------------------------------------------------------------------------------------------------ rules


def _probabilities_sum(frame: pd.DataFrame) -> pd.Series:
    p = frame[list(PROBABILITIES)]
    return p.isna().all(axis=1) | (p.notna().all(axis=1) & ((p.sum(axis=1) - 1.0).abs() <= SUM_TOLERANCE))


def _status_fits(frame: pd.DataFrame) -> pd.Series:
    scored, bar = frame["score"].notna(), frame["threshold"].notna()
    over = frame["score"] > frame["threshold"]
    status = frame["status"]
    expected = pd.Series("below_threshold", index=frame.index).mask(over, "over").mask(~bar, "no_threshold")
    expected = expected.mask(~scored, "not_decided")
    stated = status.mask(status.isin(["selected", "not_among_best"]), "over")
    return (stated == expected) & (frame["selected"] == (status == "selected"))


def _ranks_fit(frame: pd.DataFrame) -> pd.Series:
    """Only rows over their threshold have a rank; within a session and track ranks run 1, 2, ... by falling score."""
    ranked = frame["status"].isin(["selected", "not_among_best"])
    order = frame[ranked].sort_values(["session", "track", "rank"], kind="stable")
    place = order.groupby(["session", "track"]).cumcount() + 1
    falling = order.groupby(["session", "track"])["score"].diff().fillna(0.0) <= 0.0
    good = (frame["rank"].notna() == ranked).to_numpy(copy=True)
    fits = (order["rank"] == place) & falling
    good &= fits.reindex(frame.index, fill_value=True).to_numpy()
    return pd.Series(good, index=frame.index)


def _best_are_taken(frame: pd.DataFrame) -> pd.Series:
    last_taken = frame["rank"].where(frame["selected"]).groupby([frame["session"], frame["track"]]).transform("max")
    left_out = frame["status"] == "not_among_best"
    return ~left_out | (frame["rank"] > last_taken)


def _bounds_hold(frame: pd.DataFrame) -> pd.Series:
    return ~(frame["low"] > frame["high"]) & (frame["low"].isna() == frame["high"].isna())


def _months_fit(frame: pd.DataFrame) -> pd.Series:
    return (frame["months"] <= frame["decisions"]) & ((frame["months"] > 0) == (frame["decisions"] > 0))


_BOUNDS = Rule("intervals_hold", "an interval has both bounds, the lower not above the upper one", _bounds_hold)
_MONTHS = Rule("months_fit_decisions", "no more months than decisions, and none only without decisions", _months_fit)

# -------------------------------------------------------------------------------------------------------- contracts

TRADE_DECISIONS = Contract(
    "butterfly/trade_decisions",
    _table(
        {
            "session": _column(_DATE, "session of the decision, a date label"),
            "ticker": _column(_TEXT, "ticker as the source names it"),
            "track": _column(_TEXT, "rule that decided; each judges every candidate", one_of=TRACKS),
            "route": _column(_TEXT, "model the ticker is routed to", one_of=ROUTES),
            "model_version": _column(_TEXT, "version of that model"),
            **{
                name: _column(
                    _FLOAT, f"probability of ROI class {k}", "0 .. 1", low=0.0, high=1.0 + 1e-4, nullable=True
                )
                for k, name in enumerate(PROBABILITIES)
            },
            "expected_roi": _column(
                _FLOAT, "sum of p x mean roi_net of the class on training folds", "ratio", nullable=True
            ),
            "expected_roi_document": _column(
                _FLOAT, "sum of p x the document's 0, .05, .20, .40", "ratio", nullable=True
            ),
            "passes_gate": _column(_BOOL, "expected_roi exceeds the threshold found on earlier folds"),
            "passes_document_gate": _column(_BOOL, "expected_roi_document exceeds the document's threshold"),
            "total_score": _column(
                _FLOAT, "the source document's score", "points", low=-10.0, high=100.0, nullable=True
            ),
            "blend_score": _column(_FLOAT, ".7 total_score + .3 x 100 (p2 + p3)", "points", nullable=True),
            "score": _column(
                _FLOAT, "what the track ranks by; missing where an input is", "ratio or points", nullable=True
            ),
            "threshold": _column(
                _FLOAT, "what the score must exceed; missing: nothing is taken", "ratio or points", nullable=True
            ),
            "rank": _column(
                _FLOAT,
                "place among the session's rows over their threshold; missing for others",
                low=1.0,
                nullable=True,
            ),
            "status": _column(_TEXT, "what was decided", one_of=STATUSES),
            "selected": _column(_BOOL, "whether the track takes the trade"),
            "reason": _column(_TEXT, "why, in words with the figures"),
        }
    ),
    DECISION_KEYS,
    rules=(
        Rule("probabilities_sum_to_one", "four probabilities that sum to 1, or none", _probabilities_sum),
        Rule("status_fits_score", "status and selected follow from score, threshold and rank", _status_fits),
        Rule("ranks_follow_scores", "ranks run 1, 2, ... by falling score within a session and track", _ranks_fit),
        Rule("the_best_are_taken", "no row left out ranks before one that is taken", _best_are_taken),
        Rule("every_row_has_a_reason", "the reason is not empty", lambda frame: frame["reason"] != ""),
        sessions_rule("session"),
    ),
)

DECISION_PERFORMANCE = Contract(
    "butterfly/decision_performance",
    _table(
        {
            "track": _column(_TEXT, "rule, or all_candidates, which takes all", one_of=(*TRACKS, CANDIDATES)),
            "route": _column(_TEXT, "whose decisions", one_of=(ALL, *ROUTES)),
            "metric": _column(_TEXT, "the figure; performance.judge_decisions names them"),
            "value": _column(_FLOAT, "its value: counts, shares, returns as ratios", "count or ratio", nullable=True),
            "low": _column(
                _FLOAT,
                "lower bound of its 95 % interval over blocks of months; missing for counts and single blocks",
                "ratio",
                nullable=True,
            ),
            "high": _column(_FLOAT, "upper bound", "ratio", nullable=True),
            "decisions": _column(_INT, "decisions behind it, of both sides for an uplift", "decisions", low=0),
            "months": _column(_INT, "calendar months of entry behind it", "months", low=0),
        }
    ),
    PERFORMANCE_KEYS,
    time=None,
    rules=(_BOUNDS, _MONTHS),
)

DECISION_CALIBRATION = Contract(
    "butterfly/decision_calibration",
    _table(
        {
            "population": _column(_TEXT, "every candidate, or those the AI track took", one_of=(CANDIDATES, "taken")),
            "route": _column(_TEXT, "whose decisions", one_of=(ALL, *ROUTES)),
            "quintile": _column(_INT, "of expected_roi, lowest first", low=1, high=QUINTILES),
            "mean_expected_roi": _column(_FLOAT, "mean expected_roi", "ratio"),
            "mean_roi_net": _column(_FLOAT, "mean realised return after costs", "ratio"),
            "low": _column(_FLOAT, "lower bound of its 95 % interval over blocks of months", "ratio", nullable=True),
            "high": _column(_FLOAT, "upper bound", "ratio", nullable=True),
            "decisions": _column(_INT, "decisions in the quintile", "decisions", low=1),
            "months": _column(_INT, "calendar months of entry behind it", "months", low=1),
        }
    ),
    CALIBRATION_KEYS,
    time=None,
    rules=(_BOUNDS, _MONTHS),
)

DECISION_HISTORY = Contract(
    "butterfly/decision_history",
    _table(
        {
            "day": _column(_DATE, "evaluation session of some decision; nothing known later enters"),
            "track": _column(_TEXT, "rule that decided", one_of=TRACKS),
            "route": _column(_TEXT, "whose decisions", one_of=(ALL, *ROUTES)),
            "accuracy": _column(
                _FLOAT,
                "share with roi_net > 0 among trades taken and evaluated in the 30 calendar days to this one",
                "0 .. 1",
                low=0.0,
                high=1.0,
                nullable=True,
            ),
            "mean_roi_net": _column(_FLOAT, "their mean return after costs", "ratio", nullable=True),
            "decisions": _column(_INT, "how many they are", "decisions", low=0),
            "mean_roi_net_so_far": _column(_FLOAT, "mean over all evaluated so far", "ratio", nullable=True),
            "decisions_so_far": _column(_INT, "how many they are", "decisions", low=0),
        }
    ),
    HISTORY_KEYS,
    time=None,
    rules=(sessions_rule("day"),),
)

FEEDBACK = Contract(
    "butterfly/feedback",
    _table(
        dict(TRAINING_SET.schema.columns)
        | {
            "kind": _column(_TEXT, "where the row comes from", one_of=(FEEDBACK_KIND,)),
            "weight": _column(_FLOAT, "weight in training; a sample has 1", low=0.0),
            "tracks": _column(_TEXT, "tracks that took the trade, separated by commas"),
            "route": _column(_TEXT, "model the ticker was routed to", one_of=ROUTES),
        }
    ),
    KEYS,
    time=None,
    rules=TRAINING_SET.rules,
)
