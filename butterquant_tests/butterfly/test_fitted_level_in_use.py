"""Analyses and labels under ``iv_level = "fitted"``."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import iv_level, windows
from butterquant_assets.butterfly.analysis import AnalysisResult, analyse
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.labels import label_trades
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.cases import NO_VOLS, SAMPLED, assert_same_bits, made_up_bars

FITTED = AnalysisConfig(iv_level="fitted")
FEW = SAMPLED.iloc[:5]
LAST = pd.Timestamp("2016-10-03")


@lru_cache
def made_up_vix() -> pd.DataFrame:
    days = pd.DatetimeIndex(made_up_bars()["session"].unique()).sort_values()
    random = np.random.default_rng(4)
    walk = np.cumsum(0.05 * random.standard_normal(len(days)))
    return pd.DataFrame({"session": days, "close": 18.0 * np.exp(walk - walk.mean())})


@lru_cache
def analysed() -> AnalysisResult:
    return analyse(FEW, made_up_bars(), NO_VOLS, FITTED, vix=made_up_vix())


def labelled(analyses: pd.DataFrame, vix: pd.DataFrame) -> pd.DataFrame:
    return label_trades(analyses, made_up_bars(), NO_VOLS, LAST, FITTED, CostConfig(), vix=vix)


def test_an_analysis_takes_the_fitted_level_of_its_own_window() -> None:
    found = analysed().analyses
    assert len(found) >= 3
    assert set(found["iv_source"]) == {"fitted"}
    assert found["iv_percentile"].between(0.0, 1.0).all()
    built = windows.build(found["ticker"], found["session"], windows.quoted_bars(made_up_bars()))
    values, _ = iv_level.vix_windows(built.days, made_up_vix())
    np.testing.assert_array_equal(found["current_iv"], iv_level.level(built.closes, values))


def test_the_analysis_knows_nothing_after_its_date() -> None:
    row = FEW.iloc[:1]
    day = row["session"].iloc[0]
    bars, vix = made_up_bars(), made_up_vix()
    cut = analyse(row, bars[bars["session"] <= day], NO_VOLS, FITTED, vix=vix[vix["session"] <= day])
    whole = analyse(row, bars, NO_VOLS, FITTED, vix=vix)
    assert_same_bits(cut.analyses, whole.analyses)
    assert_same_bits(cut.rejects, whole.rejects)


def test_a_row_without_a_vix_history_is_rejected_with_its_reason() -> None:
    late = made_up_vix()[30:]
    found = analyse(FEW, made_up_bars(), NO_VOLS, FITTED, vix=late)
    reasons = found.rejects.set_index(["session", "ticker"])["reason"]
    assert reasons.loc[(FEW["session"].iloc[0], FEW["ticker"].iloc[0])] == "no_vix_history"


def test_a_vix_that_never_moves_gives_no_level() -> None:
    found = analyse(FEW, made_up_bars(), NO_VOLS, FITTED, vix=made_up_vix().assign(close=18.0))
    assert set(found.rejects["reason"]) == {"no_fitted_iv"}
    assert found.analyses.empty


def test_without_a_vix_the_fitted_level_is_refused() -> None:
    with pytest.raises(DataError, match="needs the VIX"):
        analyse(FEW, made_up_bars(), NO_VOLS, FITTED)


def test_the_exit_is_marked_at_the_fitted_level_of_the_evaluation_date() -> None:
    analyses = analysed().analyses
    labels = labelled(analyses, made_up_vix())
    assert (labels["missing_reason"] == "").all()
    built = windows.build(labels["ticker"], labels["evaluation_session"], windows.quoted_bars(made_up_bars()))
    values, _ = iv_level.vix_windows(built.days, made_up_vix())
    level = iv_level.level(built.closes, values)
    # Between its wings the smooth smile lies close to the level.
    assert (np.abs(np.log(labels["exit_iv_center"] / level)) < 0.35).all()


def test_the_vix_after_the_evaluation_changes_no_label() -> None:
    analyses = analysed().analyses.iloc[:1]
    day = analyses["evaluation_session"].iloc[0]
    vix = made_up_vix()
    assert_same_bits(labelled(analyses, vix), labelled(analyses, vix[vix["session"] <= day]))


def test_an_evaluation_without_a_vix_has_no_label() -> None:
    analyses = analysed().analyses.iloc[:1]
    vix = made_up_vix()
    gone = vix[vix["session"] != analyses["evaluation_session"].iloc[0]]
    found = labelled(analyses, gone)
    assert found["missing_reason"].tolist() == ["no_exit_iv"]
    assert np.isnan(found["roi_mark"]).all()
