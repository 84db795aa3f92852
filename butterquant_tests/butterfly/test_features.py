"""The 23 features: their order, definitions and sources."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import schemas
from butterquant_assets.butterfly.features import FEATURE_SOURCES, FEATURES, build_features, features_of
from butterquant_tests.butterfly.cases import analysed

# REFERENCE section 1, "The 23 features"
ORDER = (
    "trend_slope dominant_period period_strength forecast_return predicted_vol current_iv vol_mispricing iv_percentile "
    "delta gamma vega theta max_profit max_loss profit_ratio prob_profit skew_estimate momentum_7d vol_concentration "
    "dte_factor price_stability gamma_theta_ratio vix_level"
)


def _row() -> pd.DataFrame:
    return analysed().analyses.iloc[[0]].reset_index(drop=True)


def test_the_features_come_in_the_order_of_the_reference() -> None:
    assert tuple(ORDER.split()) == FEATURES
    assert len(FEATURES) == 23
    assert list(build_features(_row()).columns) == ["session", "ticker", *FEATURES]


def test_features_keep_their_contract() -> None:
    assert schemas.FEATURES.validate(build_features(analysed().analyses)).reasons() == []


def test_derived_features_follow_their_definitions() -> None:
    found = build_features(_row()).iloc[0]
    row = _row().iloc[0]
    spot = row["spot"]
    assert found["forecast_return"] == row["forecast_price"] / spot - 1
    assert found["gamma"] == row["gamma"] * spot
    for name in ("vega", "theta", "max_profit", "max_loss"):
        assert found[name] == row[name] / spot
    assert found["profit_ratio"] == pytest.approx(row["max_profit"] / row["max_loss"])
    assert found["skew_estimate"] == row["return_skew"]
    assert found["dte_factor"] == min(row["dte"] / 30, 2)
    assert found["price_stability"] == pytest.approx(min(1 / (row["band_pct"] / 100 + 1e-6), 100), rel=1e-14)
    # the daily move at which gamma pays for theta: 1/2 |gamma| (S x)^2 = |theta|, annualised over 365 days
    daily = np.sqrt(2 * abs(row["theta"]) / abs(row["gamma"])) / spot
    assert found["gamma_theta_ratio"] == pytest.approx(daily * np.sqrt(365) / row["predicted_vol"], rel=1e-12)


def test_clips_hold_at_their_limits() -> None:
    rows = pd.concat([_row()] * 3, ignore_index=True)
    rows["dte"] = [21, 60, 90]
    rows["gamma"] = [1e-12, 0.0, -1e-12]
    found = build_features(rows)
    assert found["dte_factor"].tolist() == [0.7, 2.0, 2.0]
    assert found["gamma_theta_ratio"].iloc[[0, 2]].tolist() == [5.0, 5.0]
    assert np.isnan(found["gamma_theta_ratio"].iloc[1])


@pytest.mark.parametrize("feature", FEATURES)
def test_a_missing_source_makes_exactly_the_features_missing_that_name_it(feature: str) -> None:
    plain = build_features(_row())
    for column in FEATURE_SOURCES[feature]:
        rows = _row()
        rows[column] = rows[column].astype("float64") * np.nan
        found = build_features(rows)
        missing = {name for name in FEATURES if np.isnan(found[name].iloc[0])}
        assert missing == {name for name, sources in FEATURE_SOURCES.items() if column in sources}
    assert not plain[list(FEATURES)].isna().any(axis=None)


def test_the_score_is_no_feature_and_no_source_of_one() -> None:
    used = {column for sources in FEATURE_SOURCES.values() for column in sources}
    assert not {"total_score", "recommendation"} & (used | set(FEATURES))


def test_features_of_one_analysis_are_those_of_its_row() -> None:
    found = features_of(_row().iloc[0].to_dict())
    assert found == {name: float(value) for name, value in build_features(_row()).iloc[0][list(FEATURES)].items()}
