"""As-of analyses: no look-ahead, no dependence on unit or batch, every row analysed or rejected with a reason."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import analysis, schemas
from butterquant_assets.butterfly.analysis import analyse, analyse_one
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.features import FEATURES, build_features
from butterquant_assets.foundation.errors import DataError, InsufficientHistoryError
from butterquant_assets.quant import arima_batch, garch_batch
from butterquant_tests.butterfly.cases import (
    NO_VOLS,
    SAMPLED,
    analysed,
    assert_same_bits,
    made_up_bars,
    published_vols,
    samples_of,
    tidy,
)

DEFAULT = AnalysisConfig()


def test_every_sampled_row_is_analysed_and_keeps_the_contract() -> None:
    found = analysed()
    assert len(found.analyses) == len(SAMPLED)
    assert found.rejects.empty
    assert schemas.ANALYSES.validate(found.analyses).reasons() == []
    assert schemas.ANALYSIS_REJECTS.validate(found.rejects).reasons() == []


def test_cutting_the_bars_after_the_date_changes_no_bit_of_any_column_or_feature() -> None:
    whole, bars = analysed().analyses, made_up_bars()
    for session, samples in SAMPLED.groupby("session"):
        cut = analyse(samples, bars[bars["session"] <= session], NO_VOLS, DEFAULT).analyses
        expected = whole[whole["session"] == session].reset_index(drop=True)
        assert_same_bits(cut, expected)
        assert_same_bits(build_features(cut)[list(FEATURES)], build_features(expected)[list(FEATURES)])


def test_wild_prices_and_splits_after_the_date_change_nothing() -> None:
    bars = made_up_bars()
    later = bars["session"] > SAMPLED["session"].max()
    spoilt = bars.assign(
        close=bars["close"].where(~later, bars["close"] * 7.0),
        volume=bars["volume"].where(~later, 0.0),
        split_ratio=bars["split_ratio"].where(~later, 3.0),
    )
    assert_same_bits(
        analyse(SAMPLED, spoilt, NO_VOLS, DEFAULT).analyses, analyse(SAMPLED, bars, NO_VOLS, DEFAULT).analyses
    )


def test_bars_before_the_window_change_nothing() -> None:
    bars = made_up_bars()
    first = sorted(bars["session"].unique())[-520]
    samples = samples_of([(str(bars["session"].max().date()), f"T{number:02d}") for number in range(6)])
    late = analyse(samples, bars[bars["session"] >= first], NO_VOLS, DEFAULT)
    assert_same_bits(late.analyses, analyse(samples, bars, NO_VOLS, DEFAULT).analyses)


def test_a_row_analysed_alone_equals_the_same_row_in_a_batch_bit_for_bit() -> None:
    whole = analysed().analyses
    for row in (0, 4):
        alone = analyse(SAMPLED.iloc[[row]], made_up_bars(), NO_VOLS, DEFAULT).analyses
        assert_same_bits(alone, whole.iloc[[row]].reset_index(drop=True))


@pytest.mark.parametrize("level", ["realised", "published"])
def test_the_vectorised_steps_do_not_mix_rows_at_any_batch_size(level: str) -> None:
    bars = made_up_bars()
    days = sorted(bars["session"].unique())[560:690:6]
    samples = samples_of([(str(day.date()), f"T{number:02d}") for day in days for number in range(3)])
    config = AnalysisConfig(iv_level=level, smile="flat" if level == "published" else "smooth")  # type: ignore[arg-type]
    vols = published_vols(bars)
    whole = analyse(samples, bars, vols, config).analyses
    assert len(whole) == len(samples) == 66
    for size in (1, 2, 5, 31):
        parts = [
            analyse(samples.iloc[start : start + size], bars, vols, config).analyses
            for start in range(0, 62 if size > 1 else 12, size)
        ]
        together = tidy(pd.concat(parts))
        assert_same_bits(together, whole.iloc[: len(together)].reset_index(drop=True))


def test_ten_times_the_price_changes_no_feature() -> None:
    bars = made_up_bars()
    dear = bars.assign(close=bars["close"] * 10.0)
    rows = [0, 3, 4]
    found = build_features(analyse(SAMPLED.iloc[rows], dear, NO_VOLS, DEFAULT).analyses)
    expected = build_features(analysed().analyses.iloc[rows].reset_index(drop=True))
    for name in FEATURES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-12, err_msg=name)


def test_a_split_inside_the_window_changes_no_feature() -> None:
    bars = made_up_bars()
    day = sorted(bars["session"].unique())[400]
    before = (bars["session"] < day) & (bars["ticker"] == "T03")
    split = bars.assign(
        close=bars["close"].where(~before, bars["close"] * 4.0),
        volume=bars["volume"].where(~before, bars["volume"] / 4.0),
        split_ratio=bars["split_ratio"].where(~((bars["session"] == day) & (bars["ticker"] == "T03")), 4.0),
    )
    found = analyse(SAMPLED.iloc[[3]], split, NO_VOLS, DEFAULT).analyses
    # quadrupling and quartering are exact in binary, so even the bits agree
    assert_same_bits(found, analysed().analyses.iloc[[3]].reset_index(drop=True))


def _recomputed_with_quantlib(row: pd.Series) -> dict[str, float]:
    """Debit and greeks of a stored row by QuantLib, from its columns alone."""
    import QuantLib as ql  # noqa: N813

    today = ql.Date(row.session.day, row.session.month, row.session.year)
    ql.Settings.instance().evaluationDate = today
    day_count = ql.Actual365Fixed()
    rate = ql.YieldTermStructureHandle(ql.FlatForward(today, row.rate, day_count))
    dividend = ql.YieldTermStructureHandle(ql.FlatForward(today, 0.0, day_count))
    spot = ql.QuoteHandle(ql.SimpleQuote(row.spot))
    exercise = ql.EuropeanExercise(today + int(row.dte))
    kind = ql.Option.Put if row.butterfly_type == "PUT" else ql.Option.Call
    total = dict.fromkeys(("debit", "delta", "gamma", "vega", "theta"), 0.0)
    for side, weight in (("lower", 1), ("center", -2), ("upper", 1)):
        vol = ql.BlackVolTermStructureHandle(
            ql.BlackConstantVol(today, ql.NullCalendar(), row[f"iv_{side}"], day_count)
        )
        option = ql.VanillaOption(ql.PlainVanillaPayoff(kind, row[f"{side}_strike"]), exercise)
        option.setPricingEngine(ql.AnalyticEuropeanEngine(ql.BlackScholesMertonProcess(spot, dividend, rate, vol)))
        figures = (option.NPV(), option.delta(), option.gamma(), option.vega() / 100, option.theta() / 365)
        for name, figure in zip(total, figures, strict=True):
            total[name] += weight * figure
    return total


def test_an_outsider_with_quantlib_recomputes_debit_and_greeks_from_the_stored_columns() -> None:
    for _, row in analysed().analyses.iterrows():
        for name, value in _recomputed_with_quantlib(row).items():
            assert row[name] == pytest.approx(value, rel=1e-9), name


def test_volatility_columns_follow_their_definitions() -> None:
    found, bars = analysed().analyses, made_up_bars()
    for row in found.itertuples():
        closes = bars[(bars["ticker"] == row.ticker) & (bars["session"] <= row.session)].set_index("session")["close"]
        returns = np.log(closes).diff().dropna().iloc[-504:]
        realised = returns.rolling(30).std() * np.sqrt(252)
        assert row.hv == pytest.approx(realised.iloc[-1], rel=1e-10)
        assert row.current_iv == pytest.approx(1.15 * row.hv, rel=1e-14)
        earlier = realised.iloc[-253:-1]
        assert row.iv_percentile == pytest.approx((earlier < realised.iloc[-1]).sum() / 252, abs=1e-12)
        assert row.momentum_7d == pytest.approx(closes.iloc[-1] / closes.iloc[-8] - 1, rel=1e-12)
        tail = returns.iloc[-60:]
        moments = ((tail - tail.mean()) ** 3).mean() / ((tail - tail.mean()) ** 2).mean() ** 1.5
        assert row.return_skew == pytest.approx(moments, rel=1e-9)


def test_published_volatility_is_taken_at_the_tenor_and_ranked_among_the_252_sessions_before() -> None:
    bars = made_up_bars()
    vols = published_vols(bars)
    config = AnalysisConfig(iv_level="published", smile="flat")
    found = analyse(SAMPLED, bars, vols, config).analyses
    assert (found["iv_source"] == "published").all()
    for row in found.itertuples():
        tenor = vols[(vols["ticker"] == row.ticker) & (vols["days"] == row.dte)].set_index("session")["iv"]
        earlier = tenor[tenor.index < row.session].iloc[-252:]
        assert row.current_iv == row.iv_center == row.iv_lower == tenor[row.session]
        assert row.iv_percentile == pytest.approx((earlier < row.current_iv).mean(), abs=1e-12)


def test_later_published_volatilities_change_nothing() -> None:
    bars = made_up_bars()
    vols, samples = published_vols(bars), SAMPLED.iloc[:3]
    config = AnalysisConfig(iv_level="published", smile="flat")
    cut = vols[vols["session"] <= samples["session"].max()]
    assert_same_bits(analyse(samples, bars, cut, config).analyses, analyse(samples, bars, vols, config).analyses)


def test_too_few_published_values_leave_the_percentile_missing_and_none_rejects_the_row() -> None:
    bars = made_up_bars()
    vols = published_vols(bars)
    recent = vols[vols["session"] >= SAMPLED["session"].min() - pd.Timedelta(days=90)]
    gone = recent[recent["ticker"] != "T01"]
    found = analyse(SAMPLED.iloc[:3], bars, gone, AnalysisConfig(iv_level="published", smile="flat"))
    assert found.analyses["iv_percentile"].isna().all()
    assert schemas.ANALYSES.validate(found.analyses).passed
    assert found.rejects["reason"].tolist() == ["no_published_iv"]
    assert "2016-02-16" in found.rejects["detail"].iloc[0]


def test_the_rules_of_the_document_stay_selectable_and_make_a_difference() -> None:
    theirs = AnalysisConfig(smile="document", strike_rule="document", dte_rule="document")
    found = analyse(SAMPLED, made_up_bars(), NO_VOLS, theirs)
    ours = analyse(SAMPLED, made_up_bars(), NO_VOLS, DEFAULT)
    assert len(found.analyses) + len(found.rejects) == len(SAMPLED)
    assert set(found.analyses["width"] % 2.5) == {0.0}
    both = found.analyses.merge(ours.analyses, on=["session", "ticker"])
    assert (both["width_x"] != both["width_y"]).any()
    assert (both["dte_x"] > both["dte_y"]).any()
    assert (both["iv_lower_x"] != both["iv_lower_y"]).all()


def _bars_with(ticker: str, **columns: object) -> pd.DataFrame:
    bars = made_up_bars()
    rows = bars["ticker"] == ticker
    return bars.assign(**{name: bars[name].where(~rows, value) for name, value in columns.items()})


def test_each_defect_rejects_its_row_with_its_reason_and_leaves_the_others_alone() -> None:
    bars = made_up_bars()
    days = bars["session"]
    session = SAMPLED["session"].iloc[0]
    samples = samples_of([(str(session.date()), f"T{number:02d}") for number in range(6)])
    bars = bars[~((bars["ticker"] == "T00") & (days == session))]
    bars = bars[~((bars["ticker"] == "T01") & (bars["session"] < pd.Timestamp("2014-03-01")))]
    hole = (bars["session"] > pd.Timestamp("2015-03-01")) & (bars["session"] < pd.Timestamp("2015-04-01"))
    dry = (bars["ticker"] == "T03") & hole
    bars = bars.assign(volume=bars["volume"].where(~dry, 0.0))
    still = (bars["ticker"] == "T04") & (bars["session"] > session - pd.Timedelta(days=60))
    bars = bars.assign(close=bars["close"].where(~still, 50.0))
    found = analyse(samples, bars, NO_VOLS, DEFAULT)
    assert len(found.analyses) + len(found.rejects) == 6
    reasons = found.rejects.set_index("ticker")["reason"].to_dict()
    assert reasons == {
        "T00": "no_bar_on_date",
        "T01": "too_short",
        "T03": "zero_volume",
        "T04": "zero_volatility",
    }
    assert found.analyses["ticker"].tolist() == ["T02", "T05"]
    assert schemas.ANALYSIS_REJECTS.validate(found.rejects).reasons() == []
    assert found.rejects["detail"].str.contains(r"\d").all()


def test_a_hole_in_a_long_enough_history_is_named_missing_sessions() -> None:
    bars = made_up_bars()
    hole = (bars["session"] > pd.Timestamp("2015-03-01")) & (bars["session"] < pd.Timestamp("2015-03-12"))
    found = analyse(SAMPLED.iloc[[7]], bars[~hole], NO_VOLS, DEFAULT)
    assert found.rejects["reason"].tolist() == ["missing_sessions"]
    assert found.rejects["detail"].iloc[0].startswith("8 exchange sessions")


def test_a_failed_fit_rejects_only_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    spot = analyse(SAMPLED.iloc[:3], made_up_bars(), NO_VOLS, DEFAULT).analyses["spot"]
    genuine_garch, genuine_arima = garch_batch.fit_forecast_batch, arima_batch.choose_and_forecast_batch

    def failing_garch(returns_pct: np.ndarray, horizon: int) -> garch_batch.GarchFits:
        found = genuine_garch(returns_pct, horizon)
        status, vol = found.status.copy(), found.annualised_vol.copy()
        status[0], vol[0] = garch_batch.Status.NOT_CONVERGED, np.nan
        return replace(found, status=status, annualised_vol=vol)

    def wild_arima(closes: np.ndarray, steps: int) -> arima_batch.ArimaFits:
        found = genuine_arima(closes, steps)
        mean = found.mean.copy()
        mean[0] = 1.2 * closes[0, -1]
        return replace(found, mean=mean)

    monkeypatch.setattr(garch_batch, "fit_forecast_batch", failing_garch)
    monkeypatch.setattr(arima_batch, "choose_and_forecast_batch", wild_arima)
    found = analyse(SAMPLED.iloc[:3], made_up_bars(), NO_VOLS, DEFAULT)
    assert found.rejects["reason"].tolist() == ["garch_failed", "forecast_out_of_range"]
    assert "did not converge" in found.rejects["detail"].iloc[0]
    assert "+20.0 %" in found.rejects["detail"].iloc[1]
    assert found.analyses["spot"].tolist() == [spot.iloc[2]]


def test_a_butterfly_wider_than_the_price_is_rejected_not_floored() -> None:
    cheap = _bars_with("T00", close=made_up_bars()["close"] / 40.0)  # about $1, where the document's increment is 2.5
    found = analyse(SAMPLED.iloc[[0]], cheap, NO_VOLS, AnalysisConfig(strike_rule="document"))
    assert found.rejects["reason"].tolist() == ["strikes_not_positive"]


def test_a_debit_outside_its_bounds_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis.pricing, "value_by_type", lambda types, spot, *rest: np.full(len(spot), -0.01))
    found = analyse(SAMPLED.iloc[:2], made_up_bars(), NO_VOLS, DEFAULT)
    assert found.rejects["reason"].tolist() == ["debit_out_of_bounds"] * 2
    assert found.analyses.empty
    assert schemas.ANALYSES.validate(found.analyses).passed


def test_no_samples_give_empty_tables_of_the_contract() -> None:
    found = analyse(SAMPLED.iloc[:0], made_up_bars(), NO_VOLS, DEFAULT)
    assert schemas.ANALYSES.validate(found.analyses).reasons() == []
    assert schemas.ANALYSIS_REJECTS.validate(found.rejects).reasons() == []


def test_one_analysis_in_plain_values_equals_its_row_and_is_ready_for_json() -> None:
    row = analysed().analyses.iloc[0]
    found = analyse_one("T00", "2016-02-16", made_up_bars(), NO_VOLS, 18.0, DEFAULT)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == [name for name in schemas.ANALYSES.columns if name not in ("stratum", "episode")]
    assert found["session"] == "2016-02-16"
    for name, value in found.items():
        if isinstance(value, float | int):
            assert value == row[name], name


@pytest.mark.parametrize(
    ("ticker", "session", "error", "reason"),
    [
        ("T00", "2014-06-02", InsufficientHistoryError, "too_short"),
        ("T00", "2016-02-15", InsufficientHistoryError, "no_bar_on_date"),  # Presidents' Day
        ("XXX", "2016-02-16", InsufficientHistoryError, "no_bar_on_date"),
    ],
)
def test_one_analysis_of_a_rejected_row_raises_its_reason(
    ticker: str, session: str, error: type[DataError], reason: str
) -> None:
    with pytest.raises(error, match=rf"{ticker} .* {session} \({reason}\)"):
        analyse_one(ticker, session, made_up_bars(), NO_VOLS, 18.0, DEFAULT)


def test_the_entry_cost_contains_the_commission() -> None:
    free, paid = (
        analyse(SAMPLED, made_up_bars(), NO_VOLS, DEFAULT, CostConfig(fee)).analyses["entry_cost"] for fee in (0.0, 1.0)
    )
    np.testing.assert_allclose(paid - free, 0.04, rtol=1e-9)
