"""Contracts accept what the line produces and name the row that breaks a rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import analysis, schemas
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.features import FEATURES, build_features
from butterquant_assets.butterfly.frames import empty
from butterquant_assets.butterfly.labels import LABEL_TYPES, ROI_KINDS, label_trades
from butterquant_assets.foundation.contracts import Contract
from butterquant_tests.butterfly.cases import NO_VOLS, SAMPLED, analysed, made_up_bars

ALL = (
    schemas.VIX_SAMPLES,
    schemas.ANALYSES,
    schemas.ANALYSIS_REJECTS,
    schemas.FEATURES,
    schemas.ROI_LABELS,
    schemas.TRAINING_SET,
)


def _labels() -> pd.DataFrame:
    bars = made_up_bars()
    return label_trades(analysed().analyses, bars, NO_VOLS, "2016-04-18", AnalysisConfig(), CostConfig())


def _samples() -> pd.DataFrame:
    return SAMPLED[["session", "ticker", "stratum", "vix_close", "episode"]]


def _training_set() -> pd.DataFrame:
    labels = _labels()
    joined = (
        analysed()
        .analyses[["session", "ticker", "stratum", "episode"]]
        .merge(labels[labels["missing_reason"] == ""], on=["session", "ticker"])
    )
    joined = joined.merge(build_features(analysed().analyses), on=["session", "ticker"])
    return schemas.TRAINING_SET.arrange(joined)


@pytest.mark.parametrize("contract", ALL, ids=lambda contract: contract.table)
def test_every_column_has_a_description(contract: Contract) -> None:
    assert all(column.description for column in contract.schema.columns.values())


def test_tables_of_the_line_keep_their_contracts() -> None:
    assert schemas.VIX_SAMPLES.validate(_samples()).reasons() == []
    assert schemas.ROI_LABELS.validate(_labels()).reasons() == []
    assert schemas.TRAINING_SET.validate(_training_set()).reasons() == []


def test_contracts_and_pure_functions_agree_on_columns_order_and_types() -> None:
    for contract, types in (
        (schemas.ANALYSES, analysis.ANALYSIS_TYPES),
        (schemas.ANALYSIS_REJECTS, analysis.REJECT_TYPES),
        (schemas.ROI_LABELS, LABEL_TYPES),
    ):
        assert contract.columns == list(types)
        assert contract.validate(empty(types)).reasons() == []
    assert analysed().analyses.dtypes.astype(str).to_dict() == analysis.ANALYSIS_TYPES
    assert schemas.FEATURES.columns == ["session", "ticker", *FEATURES]
    outcomes = [f"roi_{kind}" for kind in ROI_KINDS] + [f"label_{kind}" for kind in ROI_KINDS]
    assert schemas.TRAINING_SET.columns == [
        *("session", "ticker", "stratum", "episode", "evaluation_session"),
        *FEATURES,
        *outcomes,
    ]


def _set(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        changed = frame.copy()
        changed.loc[2, column] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_set("debit", 1e9), "debit_within_width"),
        (_set("debit", -1.0), "schema"),
        (_set("lower_strike", 1.0), "strikes_symmetric"),
        (_set("max_profit", 1.0), "profit_and_loss_fit"),
        (_set("evaluation_session", pd.Timestamp("2016-02-16")), "dates_fit"),
        (_set("evaluation_session", pd.Timestamp("2016-03-25")), "evaluation_session"),  # Good Friday
        (_set("session", pd.Timestamp("2016-02-15")), "session"),  # Presidents' Day
        (_set("credit", np.nan), "credit_only_for_iron"),
        (_set("butterfly_type", "PUT"), "type_fits_trend_and_cycle"),
        (_set("forecast_price", 400.0), "forecast_near_spot"),
        (_set("prob_profit", 1.01), "schema"),
        (_set("predicted_vol", np.inf), "schema"),
        (_set("theta", np.nan), "schema"),
        (_set("recommendation", "HOLD"), "schema"),
        (lambda frame: frame.assign(total_scores=1.0), "schema"),
        (lambda frame: frame.drop(columns="hv"), "schema"),
    ],
)
def test_a_broken_analysis_is_caught_by_the_rule_it_breaks(
    change: Callable[[pd.DataFrame], pd.DataFrame], check: str
) -> None:
    verdict = schemas.ANALYSES.validate(change(analysed().analyses))
    failed = [name for name, outcome in verdict.checks.items() if not outcome.passed]
    assert any(name.startswith(check) or check in name for name in failed), failed


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_set("label_mark", 2.0), "labels_agree_with_roi"),
        (_set("label_net", 4.0), "schema"),
        (_set("missing_reason", "no_exit_iv"), "label_or_reason"),
        (_set("roi_mark", np.nan), "label_or_reason"),
        (_set("missing_reason", "because"), "schema"),
        (_set("roi_tent", -0.5), "tent_and_expiry_agree"),
        (_set("roi_net", -1.1), "schema"),
        (_set("evaluation_session", pd.Timestamp("2016-02-16")), "evaluated_after_entry"),
    ],
)
def test_a_broken_label_is_caught_by_the_rule_it_breaks(
    change: Callable[[pd.DataFrame], pd.DataFrame], check: str
) -> None:
    verdict = schemas.ROI_LABELS.validate(change(_labels()))
    assert not verdict.checks[check].passed


def test_a_label_from_the_future_is_caught_where_the_end_of_the_data_is_known() -> None:
    def passed(last_session: str) -> bool:
        rule = schemas.no_label_after(last_session)
        contract = replace(schemas.ROI_LABELS, rules=(*schemas.ROI_LABELS.rules, rule))
        return contract.validate(_labels()).checks["no_label_from_the_future"].passed

    assert passed("2016-04-18")
    assert not passed("2016-04-15")


def test_a_stratum_that_does_not_fit_the_vix_is_caught() -> None:
    verdict = schemas.VIX_SAMPLES.validate(_set("vix_close", 25.01)(_samples()))
    assert not verdict.checks["stratum_fits_vix"].passed


def test_duplicate_and_unsorted_rows_are_caught() -> None:
    rows = analysed().analyses
    twice = pd.concat([rows, rows.iloc[[-1]]], ignore_index=True)
    assert not schemas.ANALYSES.validate(twice).checks["unique_keys"].passed
    assert not schemas.ANALYSES.validate(rows.iloc[::-1].reset_index(drop=True)).checks["sorted"].passed


@pytest.mark.parametrize("label", ["label_tent", "label_net"])
def test_missing_labels_survive_parquet(label: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.parquet"
    _labels().to_parquet(path)
    back = pd.read_parquet(path)
    assert back[label].isna().sum() == 3
    assert schemas.ROI_LABELS.validate(back).reasons() == []
