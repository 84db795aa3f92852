"""Reasons to retrain: the newest judged month only, with figures, and not for what the model has learnt already."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.monitoring.decay import CALIBRATION_TYPES, DECISION_TYPES
from butterquant_assets.monitoring.drift_table import DRIFT_TYPES
from butterquant_assets.monitoring.retrain_signals import NAMES, Condition, SignalConfig, conditions


def table(types: dict[str, str], rows: list[dict[str, Any]]) -> pd.DataFrame:
    filled = {"datetime64[us]": pd.Timestamp("2018-01-01"), "str": "", "float64": 1.0, "int64": 5, "bool": False}
    return pd.DataFrame([{name: filled[kind] for name, kind in types.items()} | row for row in rows]).astype(types)


def drift(*rows: dict[str, Any]) -> pd.DataFrame:
    return table(DRIFT_TYPES, [{"judged": True} | row for row in rows])


def empty(types: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})


def found(
    features: pd.DataFrame | None = None,
    calibration: pd.DataFrame | None = None,
    decisions: pd.DataFrame | None = None,
    config: SignalConfig | None = None,
) -> dict[str, Condition]:
    made = conditions(
        empty(DRIFT_TYPES) if features is None else features,
        empty(DRIFT_TYPES),
        empty(CALIBRATION_TYPES) if calibration is None else calibration,
        empty(DECISION_TYPES) if decisions is None else decisions,
        config or SignalConfig(),
    )
    assert tuple(condition.name for condition in made) == NAMES
    return {condition.name: condition for condition in made}


def month(text: str) -> pd.Timestamp:
    return pd.Timestamp(text)


def test_empty_tables_fire_nothing_and_say_so() -> None:
    for condition in found().values():
        assert (condition.month, condition.fired, condition.figures) == ("", False, {})
        assert condition.text.endswith("no month can be judged yet")


def test_drift_of_the_newest_judged_month_fires_with_its_columns_and_figures() -> None:
    rows = [
        {"month": month("2018-03"), "column": "delta", "alarm": True, "reason": "old"},
        {"month": month("2018-04"), "column": "delta", "alarm": True, "reason": "shifted by +0.5", "statistic": 9.0},
        {"month": month("2018-04"), "column": "vega", "statistic": float("nan"), "threshold": 3.0},
        {"month": month("2018-05"), "column": "vega", "judged": False, "reason": "not judged: 2 sessions"},
    ]
    condition = found(drift(*rows))["feature_drift"]
    assert (condition.month, condition.fired) == ("2018-04", True)
    assert condition.figures == {"columns": 2.0, "drifted": 1.0, "worst_statistic": 9.0, "threshold": 1.0}
    assert condition.text == "feature drift in 2018-04: 1 of 2 columns drifted: delta shifted by +0.5"


def test_an_alarm_of_an_older_month_is_over_when_a_newer_one_is_quiet() -> None:
    rows = [{"month": month("2018-03"), "alarm": True, "reason": "x"}, {"month": month("2018-04")}]
    condition = found(drift(*rows))["feature_drift"]
    assert (condition.month, condition.fired) == ("2018-04", False)


def test_what_the_model_has_learnt_already_fires_only_where_that_is_asked_for() -> None:
    rows = drift({"alarm": True, "learnt": True, "reason": "x", "column": "delta"})
    quiet = found(rows)["feature_drift"]
    assert not quiet.fired
    assert quiet.text.endswith("the model in service has learnt from that month")
    assert found(rows, config=SignalConfig(known_months=True))["feature_drift"].fired


def test_fewer_drifted_columns_than_asked_for_do_not_fire() -> None:
    rows = drift(*({"column": name, "alarm": name != "c", "reason": "x"} for name in "abc"))
    assert found(rows, config=SignalConfig(minimum_columns=2))["feature_drift"].fired
    assert not found(rows, config=SignalConfig(minimum_columns=3))["feature_drift"].fired


def test_decays_fire_with_their_reasons_and_only_the_track_of_the_model_counts() -> None:
    calibration = table(CALIBRATION_TYPES, [{"judged": True, "alarm": True, "reason": "log-loss 1.3 against 1.1"}])
    rows = [
        {"track": "ai", "judged": True, "low": float("nan")},
        {"track": "all_candidates", "judged": True, "alarm": True, "reason": "x"},
    ]
    both = found(calibration=calibration, decisions=table(DECISION_TYPES, rows))
    assert both["calibration_decay"].fired
    assert "log-loss 1.3 against 1.1" in both["calibration_decay"].text
    assert both["calibration_decay"].figures["log_loss"] == 1.0
    assert not both["decision_decay"].fired
    assert "low" not in both["decision_decay"].figures


def test_asking_for_no_column_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 column"):
        SignalConfig(minimum_columns=0)
