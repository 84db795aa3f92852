"""The unit of prices and the calendar: what a trade returns depends on neither."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import pricing, strikes
from butterquant_assets.butterfly.analysis import analyse
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.labels import ROI_KINDS, label_trades
from butterquant_tests.butterfly.cases import NO_VOLS, SAMPLED, analysed, made_up_bars, real_bars

ROWS = [0, 3, 4]
END = "2016-09-30"


def _labels(analyses: pd.DataFrame, bars: pd.DataFrame, config: AnalysisConfig) -> pd.DataFrame:
    found = label_trades(analyses, bars, NO_VOLS, END, config, CostConfig())
    assert (found["missing_reason"] == "").all()
    return found


def test_ten_times_the_price_changes_no_roi_and_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    # the one-cent floor of a half-spread is the only figure in dollars; without it costs scale as well
    monkeypatch.setattr(pricing, "MINIMUM_HALF_SPREAD", 0.0)
    config, bars = AnalysisConfig(), made_up_bars()
    dear = bars.assign(close=bars["close"] * 10.0)
    before = analyse(SAMPLED.iloc[ROWS], bars, NO_VOLS, config).analyses
    after = analyse(SAMPLED.iloc[ROWS], dear, NO_VOLS, config).analyses
    for name in ("lower_strike", "center_strike", "upper_strike", "width"):
        np.testing.assert_array_equal(after[name], 10.0 * before[name])
    one, ten = _labels(before, bars, config), _labels(after, dear, config)
    for kind in ROI_KINDS:
        np.testing.assert_allclose(ten[f"roi_{kind}"], one[f"roi_{kind}"], rtol=1e-6, atol=1e-9)
        assert ten[f"label_{kind}"].tolist() == one[f"label_{kind}"].tolist()


def test_with_the_cent_floor_ten_times_the_price_can_only_lower_the_share_of_costs() -> None:
    config, bars = AnalysisConfig(), made_up_bars()
    dear = bars.assign(close=bars["close"] * 10.0)
    before = analysed().analyses.iloc[ROWS].reset_index(drop=True)
    after = analyse(SAMPLED.iloc[ROWS], dear, NO_VOLS, config).analyses
    one, ten = _labels(before, bars, config), _labels(after, dear, config)
    for kind in ("tent", "expiry", "mark"):
        np.testing.assert_allclose(ten[f"roi_{kind}"], one[f"roi_{kind}"], rtol=1e-6, atol=1e-9)
    assert (ten["roi_net"] >= one["roi_net"] - 1e-9).all()


def test_under_the_documents_wings_the_nominal_price_changes_the_trade() -> None:
    config, bars = AnalysisConfig(strike_rule="document"), made_up_bars()
    dear = bars.assign(close=bars["close"] * 10.0)
    before = analyse(SAMPLED.iloc[ROWS], bars, NO_VOLS, config).analyses
    after = analyse(SAMPLED.iloc[ROWS], dear, NO_VOLS, config).analyses
    assert len(before) == len(after) == len(ROWS)
    change = (after["width"] / after["spot"]) / (before["width"] / before["spot"])
    assert (np.abs(change - 1.0) > 0.2).any()


@pytest.mark.parametrize(
    ("session", "dte", "evaluation", "left"),
    [
        ("2015-11-09", 21, "2015-11-27", 3),  # the Friday after Thanksgiving closes at 13:00
        ("2014-12-05", 21, "2014-12-23", 3),  # the day before Christmas Eve, an ordinary session
        ("2014-12-08", 21, "2014-12-26", 3),  # the day after Christmas
        ("2014-11-29", 30, "2014-12-24", 5),  # Christmas Eve closes at 13:00
    ],
)
def test_a_half_day_is_a_session_like_any_other(session: str, dte: int, evaluation: str, left: int) -> None:
    days, remaining = strikes.evaluation_dates(np.array([session], dtype="datetime64[D]"), np.array([dte]))
    assert (str(days[0]), int(remaining[0])) == (evaluation, left)


def test_a_real_trade_evaluated_on_a_half_day_is_marked_at_its_early_close() -> None:
    bars = real_bars()
    apple = bars[bars["ticker"] == "AAPL"]
    on = {"session": pd.Timestamp("2015-11-09"), "evaluation_session": pd.Timestamp("2015-11-27")}
    row = analysed().analyses.iloc[[0]].assign(ticker="AAPL", dte=21, days_left=3, **on)
    found = label_trades(row, apple, NO_VOLS, "2022-12-30", AnalysisConfig(), CostConfig())
    assert found["missing_reason"].tolist() == [""]
    assert found["exit_spot"].iloc[0] == pytest.approx(117.81, abs=0.01)  # official close of 27 November 2015


def test_a_real_ticker_that_stops_trading_before_its_evaluation_has_no_label() -> None:
    bars = real_bars()
    apple = bars[bars["ticker"].isin(["AAPL", "MSFT"])]
    stopped = apple[~((apple["ticker"] == "AAPL") & (apple["session"] > pd.Timestamp("2015-11-20")))]
    on = {"session": pd.Timestamp("2015-11-09"), "evaluation_session": pd.Timestamp("2015-11-27")}
    row = analysed().analyses.iloc[[0]].assign(ticker="AAPL", dte=21, days_left=3, **on)
    found = label_trades(row, stopped, NO_VOLS, "2022-12-30", AnalysisConfig(), CostConfig())
    assert found["missing_reason"].tolist() == ["no_bar_on_evaluation"]
    assert found[["exit_spot", "roi_mark", "label_mark"]].isna().all(axis=None)
