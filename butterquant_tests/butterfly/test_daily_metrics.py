"""Rows of daily_metrics: which figure is which, whose opinion each row carries, and that none knows its future."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly.daily_metrics import COLUMNS, DAILY_METRICS, metric_rows, receipts
from butterquant_assets.butterfly.decisions import DecisionRules
from butterquant_assets.butterfly.features import FEATURES, build_features
from butterquant_assets.butterfly.replay import TimedModel, replay
from butterquant_assets.foundation.sql_files import read_query, sql_folder
from butterquant_tests.butterfly.decision_cases import CLASS_VALUES
from butterquant_tests.butterfly.metric_cases import constant_model, scan_of

MODELS = [
    constant_model("2018-01-10", "v@2018-01", [0.4, 0.1, 0.2, 0.3]),
    constant_model("2018-02-01", "v", [1, 0, 0, 0]),
]


def rows_of(scan: pd.DataFrame, models: list[TimedModel] = MODELS) -> pd.DataFrame:
    return metric_rows(scan, build_features(scan), models)


def test_the_columns_are_those_that_the_warehouse_takes() -> None:
    assert list(read_query(sql_folder(), "upsert_daily_metrics", "sqlite").parameters) == COLUMNS
    assert rows_of(scan_of("2018-01-02", 3)).columns.tolist() == COLUMNS


def test_every_row_of_a_scan_becomes_one_row_with_its_own_figures() -> None:
    scan = scan_of("2018-01-02", 30, seed=3)
    made = rows_of(scan.sample(frac=1.0, random_state=1))
    assert len(made) == len(scan)
    same = {"time": "session", "ticker": "ticker", "current_price": "spot", "predicted_price": "forecast_price"}
    for ours, theirs in (same | {name: name for name in ("delta", "vega", "total_score", "butterfly_type")}).items():
        assert made[ours].tolist() == scan[theirs].tolist()
    assert made["prediction_upper"].to_numpy() - made["prediction_lower"].to_numpy() == pytest.approx(
        (scan["band_pct"] / 100 * scan["forecast_price"]).to_numpy()
    )


def test_each_session_is_judged_by_the_model_of_its_time() -> None:
    made = rows_of(scan_of("2018-01-02", 30)).set_index("time")
    early, middle, late = made[:"2018-01-09"], made["2018-01-10":"2018-01-31"], made["2018-02-01":]
    assert len(early)
    assert early[["ml_success_prob", "expected_roi", "model_version"]].isna().all(axis=None)
    assert set(middle["model_version"]) == {"v@2018-01"}
    assert middle["ml_success_prob"].to_numpy() == pytest.approx(0.5)
    assert middle["expected_roi"].to_numpy() == pytest.approx(float(np.dot([0.4, 0.1, 0.2, 0.3], CLASS_VALUES)))
    assert set(late["model_version"]) == {"v"}
    assert late["ml_success_prob"].to_numpy() == pytest.approx(0.0)


def test_a_later_retraining_and_later_sessions_change_no_row() -> None:
    scan = scan_of("2018-01-02", 30)
    whole = rows_of(scan)
    cut = rows_of(scan[scan["session"] < "2018-02-01"], MODELS[:1])
    pd.testing.assert_frame_equal(cut, whole[whole["time"] < "2018-02-01"], check_exact=True)


def rounding_model() -> TimedModel:
    """A model whose answer depends on how many rows it is asked about, as the rounding of a matrix product does."""

    def predict(X: np.ndarray) -> np.ndarray:
        return np.tile([0.25 + 1e-9 * len(X), 0.25, 0.25, 0.25 - 1e-9 * len(X)], (len(X), 1))

    return TimedModel(np.datetime64("2017-01-01"), "v", SimpleNamespace(predict=predict), CLASS_VALUES, 0.0, "")


def test_a_session_says_the_same_whichever_sessions_are_made_with_it() -> None:
    scan = scan_of("2018-01-02", 20)
    scan = scan.drop(index=scan.index[[3, 10]]).reset_index(drop=True)  # not all sessions have as many rows
    days, models = scan["session"], [rounding_model()]
    whole = rows_of(scan, models)
    decided = replay(scan, build_features(scan), models, models, DecisionRules())
    for one in days.unique():
        alone = scan[days == one].reset_index(drop=True)
        of_whole = whole[whole["time"] == one].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows_of(alone, models), of_whole, check_exact=True)
        of_decided = decided[decided["session"] == one].reset_index(drop=True)
        made = replay(alone, build_features(alone), models, models, DecisionRules())
        pd.testing.assert_frame_equal(made, of_decided, check_exact=True)


def test_a_row_the_model_has_no_opinion_on_has_none_written() -> None:
    scan = scan_of("2018-02-05", 2)
    scan.loc[0, "delta"] = np.nan

    def predict(X: np.ndarray) -> np.ndarray:
        known = np.isfinite(X[:, FEATURES.index("delta")])
        return np.where(known[:, None], [[0.25, 0.25, 0.25, 0.25]], np.nan)

    model = TimedModel(np.datetime64("2018-01-01"), "v", SimpleNamespace(predict=predict), CLASS_VALUES, None, "")
    made = rows_of(scan, [model])
    assert made["model_version"].isna().tolist() == [True, *[False] * (len(scan) - 1)]
    assert made["ml_success_prob"].isna().tolist() == made["expected_roi"].isna().tolist()
    assert made["ml_success_prob"].isna().sum() == 1


def test_receipts_count_rows_and_opinions_and_keep_their_contract() -> None:
    scan = scan_of("2018-01-08", 4)
    table = receipts(rows_of(scan))
    assert DAILY_METRICS.validate(table).passed
    assert table["rows"].tolist() == scan.groupby("session").size().tolist()
    assert table["model_version"].tolist() == ["", "", "v@2018-01", "v@2018-01"]
    assert table.loc[table["model_version"] == "", "scored"].tolist() == [0, 0]
    assert DAILY_METRICS.validate(receipts(rows_of(scan.iloc[:0]))).passed


def test_a_receipt_without_a_model_that_claims_opinions_breaks_the_contract() -> None:
    table = receipts(rows_of(scan_of("2018-01-10", 1))).assign(model_version="")
    assert not DAILY_METRICS.validate(table).checks["scored_by_a_model"].passed
