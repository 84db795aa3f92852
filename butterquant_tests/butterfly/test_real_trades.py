"""The whole way on real stocks: a real split inside a trade, and what the analyses and labels look like."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import schemas
from butterquant_assets.butterfly.analysis import AnalysisResult, analyse
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.features import FEATURES, build_features
from butterquant_assets.butterfly.labels import label_trades
from butterquant_tests.butterfly.cases import NO_VOLS, assert_same_bits, real_bars, samples_of, tidy

ANALYSIS, COSTS = AnalysisConfig(), CostConfig()


def _unsplit_apple(bars: pd.DataFrame) -> pd.DataFrame:
    """Apple as it would have been quoted without the 4:1 split of 2020-08-31."""
    day = pd.Timestamp("2020-08-31")
    apple = bars["ticker"] == "AAPL"
    later = apple & (bars["session"] >= day)
    return bars.assign(
        close=bars["close"].where(~later, bars["close"] * 4.0),
        volume=bars["volume"].where(~later, bars["volume"] / 4.0),
        split_ratio=bars["split_ratio"].where(~(apple & (bars["session"] == day)), 1.0),
    )


def test_quoted_prices_of_apple_around_its_split_are_those_of_the_day() -> None:
    # official closes: $499.23 on Friday 2020-08-28, $129.04 on Monday 2020-08-31, the first day after 4:1
    apple = real_bars().query("ticker == 'AAPL'").set_index("session")
    assert apple.loc["2020-08-28", "close"] == pytest.approx(499.23, abs=0.01)
    assert apple.loc["2020-08-31", "close"] == pytest.approx(129.04, abs=0.01)
    assert apple.loc["2020-08-31", "split_ratio"] == 4.0


def test_apples_split_between_entry_and_evaluation_leaves_the_label_what_it_would_be_unsplit() -> None:
    quoted = real_bars()
    quoted = quoted[quoted["ticker"] == "AAPL"]
    samples = samples_of([("2020-08-14", "AAPL"), ("2020-08-26", "AAPL")])
    analyses = analyse(samples, quoted, NO_VOLS, ANALYSIS).analyses
    assert len(analyses) == 2
    assert (analyses["evaluation_session"] >= pd.Timestamp("2020-08-31")).all()
    assert analyses["center_strike"].between(400.0, 560.0).all()  # strikes stay those of the entry, in old shares
    split = label_trades(analyses, quoted, NO_VOLS, "2022-12-30", ANALYSIS, COSTS)
    plain = label_trades(analyses, _unsplit_apple(quoted), NO_VOLS, "2022-12-30", ANALYSIS, COSTS)
    numbers = plain.select_dtypes("float64").columns
    assert plain[numbers].notna().all(axis=None)
    np.testing.assert_allclose(split[numbers], plain[numbers], rtol=1e-9)
    on_the_day = quoted.set_index("session")["close"].loc[split["evaluation_session"]].to_numpy()
    np.testing.assert_allclose(split["exit_spot"], 4.0 * on_the_day)


def test_an_analysis_after_the_split_sees_one_continuous_history() -> None:
    quoted = real_bars()
    quoted = quoted[quoted["ticker"] == "AAPL"]
    samples = samples_of([("2020-09-15", "AAPL")])
    split = analyse(samples, quoted, NO_VOLS, ANALYSIS).analyses
    # without the split every price of the window is four times what it is in new shares, which no feature may see
    plain = analyse(samples, _unsplit_apple(quoted), NO_VOLS, ANALYSIS).analyses
    names = [name for name in FEATURES if name != "vix_level"]
    np.testing.assert_allclose(split[["hv", "predicted_vol"]], plain[["hv", "predicted_vol"]], rtol=1e-6)
    scale_free = [name for name in names if name in ("trend_slope", "dominant_period", "momentum_7d", "skew_estimate")]
    np.testing.assert_allclose(
        build_features(split)[scale_free], build_features(plain)[scale_free], rtol=1e-6, err_msg=str(scale_free)
    )


@pytest.fixture(scope="module")
def drawn() -> tuple[pd.DataFrame, AnalysisResult, pd.DataFrame]:
    """Every third stock on five sessions of 2014-2022, analysed and labelled."""
    bars = real_bars()
    tickers = sorted(bars["ticker"].unique())[::3]
    days = ("2014-10-15", "2016-05-18", "2018-02-06", "2020-03-16", "2021-11-10")
    samples = samples_of([(day, ticker) for day in days for ticker in tickers])
    result = analyse(samples, bars, NO_VOLS, ANALYSIS)
    return samples, result, label_trades(result.analyses, bars, NO_VOLS, "2022-12-30", ANALYSIS, COSTS)


@pytest.mark.slow
def test_every_real_row_is_analysed_or_rejected_and_keeps_the_contracts(
    drawn: tuple[pd.DataFrame, AnalysisResult, pd.DataFrame],
) -> None:
    samples, result, labels = drawn
    keys = ["session", "ticker"]
    everything = tidy(pd.concat([result.analyses[keys], result.rejects[keys]]))
    pd.testing.assert_frame_equal(everything, samples[keys])
    assert schemas.ANALYSES.validate(result.analyses).reasons() == []
    assert schemas.ANALYSIS_REJECTS.validate(result.rejects).reasons() == []
    assert schemas.FEATURES.validate(build_features(result.analyses)).reasons() == []
    assert schemas.ROI_LABELS.validate(labels).reasons() == []
    assert len(result.analyses) > 0.85 * len(samples)
    assert (labels["missing_reason"] == "").all()


@pytest.mark.slow
def test_labels_of_real_stocks_are_nearly_two_classes(
    drawn: tuple[pd.DataFrame, AnalysisResult, pd.DataFrame],
) -> None:
    # REFERENCE section 1 expects about 38 / 8 / 5 / 49 % (mark); five sessions are few and cluster, hence wide bounds
    shares = drawn[2]["label_mark"].value_counts(normalize=True).reindex([0.0, 1.0, 2.0, 3.0], fill_value=0.0)
    assert 0.2 < shares[0.0] < 0.6
    assert 0.3 < shares[3.0] < 0.7
    assert shares[1.0] + shares[2.0] < 0.3


@pytest.mark.slow
def test_real_rows_recomputed_without_their_future_are_the_same_bits(
    drawn: tuple[pd.DataFrame, AnalysisResult, pd.DataFrame],
) -> None:
    samples, result, labels = drawn
    bars = real_bars()
    for session, rows in samples.groupby("session"):
        kept = rows.iloc[::5]
        again = analyse(kept, bars[bars["session"] <= session], NO_VOLS, ANALYSIS)
        expected = result.analyses.merge(kept[["session", "ticker"]], on=["session", "ticker"])
        assert_same_bits(again.analyses, expected)
    for day, rows in labels.groupby("evaluation_session"):
        entered = result.analyses.merge(rows[["session", "ticker"]], on=["session", "ticker"])
        again = label_trades(entered, bars[bars["session"] <= day], NO_VOLS, day, ANALYSIS, COSTS)
        assert_same_bits(again, rows.reset_index(drop=True))
