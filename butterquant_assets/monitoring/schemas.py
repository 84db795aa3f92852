"""Contracts of the monitoring tables.

What belongs here: columns and rules that a frame alone can be judged by. Order and types are those the pure functions
deliver; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation.contracts import Contract, Rule
from butterquant_assets.monitoring.decay import CALIBRATION_TYPES, DECISION_TYPES, EVERYTHING
from butterquant_assets.monitoring.drift_table import DRIFT_TYPES
from butterquant_assets.monitoring.regime import METRICS, REGIME_TYPES, UNSEEN

REPORT_TYPES = {
    "month": "datetime64[us]",
    "table": "str",
    "alarm": "bool",
    "judged": "bool",
    "alarms": "int64",
    "compared": "int64",
    "worst": "str",
    "worst_statistic": "float64",
    "threshold": "float64",
    "reasons": "str",
}
TABLES = ("feature_drift", "prediction_drift", "regime")

_SHARES = ("missing_share", "missing_limit", "ece", "ece_limit", "promised_ece")
_MEANINGS = {
    "month": "first day of the calendar month",
    "column": "what is compared",
    "metric": "what is compared",
    "track": "ai: what the model's track took; all_candidates: as if it had taken all",
    "table": "monitoring table it sums up",
    "shift_sigma": "where the month's rows lie less where the reference's do at the month's VIX strata, normal scores",
    "shift_error": "standard deviation the shift has by luck",
    "detectable_sigma": "smallest shift of this column that this month could tell from luck",
    "spread_ratio": "spread of the scores within a session over the reference's; missing: the column has none",
    "statistic": "larger of shift and log spread over their errors by luck",
    "threshold": "what it must exceed for an alarm, all columns of the month together",
    "missing_share": "share of rows without a value",
    "missing_limit": "more than this is an alarm: the emptiest month of the reference and a margin",
    "sessions": "sessions judged: those of the month, of one under way the last ones before it too",
    "rows": "rows of these sessions",
    "reference_rows": "rows of the reference before the month in which the judged sessions begin",
    "reference_months": "calendar months of the reference before the month in which the judged sessions begin",
    "reference_sessions": "sessions of the reference before the month",
    "learnt": "the model in service has learnt from sessions judged here or later ones",
    "judged": "whether there is enough to give a verdict",
    "alarm": "whether it strays by more than luck",
    "reason": "the alarm in words with its figures, or why there is no verdict",
    "value": "of the month",
    "reference": "of the sessions before it",
    "log_loss": "of live predictions with known outcome, nats a row",
    "promised_log_loss": "what the walk-forward promises at the month's VIX strata, nats a row",
    "excess": "log-loss less what was promised, nats a row",
    "low": "lower bound of its interval",
    "high": "upper bound of its interval",
    "overconfidence": "mean confidence less share of hits",
    "overconfidence_limit": "how far it may move from the walk-forward's by luck",
    "ece": "expected calibration error",
    "ece_limit": "what it stays below by chance, sessions sharing their luck",
    "promised_ece": "of the walk-forward's predictions before the month",
    "promised_rows": "walk-forward predictions before the month",
    "decisions": "decisions entered in the month",
    "known": "of these, with known outcome",
    "expected": "mean expected ROI of those, ratio",
    "realised": "mean realised ROI after costs of those, ratio",
    "trailing": "realised less expected ROI over the last months, ratio",
    "trailing_decisions": "known decisions behind it",
    "trailing_months": "months of entry behind it",
    "alarms": "columns or metrics with an alarm",
    "compared": "columns or metrics compared",
    "worst": "the one furthest from its threshold",
    "worst_statistic": "its statistic",
    "reasons": "every alarm in words, or why there is no verdict",
}
_ONE_OF = {"track": ("ai", EVERYTHING), "metric": (*METRICS, UNSEEN), "table": TABLES}


def _schema(types: Mapping[str, str]) -> pa.DataFrameSchema:
    columns = {}
    for name, dtype in types.items():
        checks = []
        if dtype == "int64":
            checks.append(pa.Check.ge(0))
        if name in _SHARES:
            checks.append(pa.Check.in_range(0.0, 1.0))
        if name in _ONE_OF:
            checks.append(pa.Check.isin(list(_ONE_OF[name])))
        columns[name] = pa.Column(dtype, checks, nullable=dtype == "float64", description=_MEANINGS[name])
    return pa.DataFrameSchema(columns, strict=True, ordered=True)


def _first_days(frame: pd.DataFrame) -> pd.Series:
    return _flags(frame["month"].dt.day == 1)


def _alarms_are_judged(frame: pd.DataFrame) -> pd.Series:
    return _flags(frame["judged"] | ~frame["alarm"])


def _reasons_given(frame: pd.DataFrame) -> pd.Series:
    reason = frame["reason"] if "reason" in frame else frame["reasons"]
    return _flags((reason != "") == (frame["alarm"] | ~frame["judged"]))


def _flags(values: pd.Series) -> pd.Series:
    return pd.Series(values.to_numpy(dtype=bool), index=values.index)


_RULES = (
    Rule("months_are_first_days", "a month is named by its first day", _first_days),
    Rule("alarms_are_judged", "there is no alarm without a verdict", _alarms_are_judged),
    Rule("reasons_are_given", "alarms and missing verdicts, and no others, have a reason", _reasons_given),
)


def _contract(name: str, types: Mapping[str, str], *keys: str, partitioned: bool = False) -> Contract:
    return Contract(f"monitoring/{name}", _schema(types), ("month", *keys), "month" if partitioned else None, _RULES)


FEATURE_DRIFT = _contract("feature_drift", DRIFT_TYPES, "column", partitioned=True)
PREDICTION_DRIFT = _contract("prediction_drift", DRIFT_TYPES, "column", partitioned=True)
REGIME = _contract("regime", REGIME_TYPES, "metric")
CALIBRATION_DECAY = _contract("calibration_decay", CALIBRATION_TYPES, partitioned=True)
DECISION_DECAY = _contract("decision_decay", DECISION_TYPES, "track", partitioned=True)
DRIFT_REPORT = _contract("drift_report", REPORT_TYPES, "table")
