"""Short-term rows: references know nothing after the session, targets nothing after the seventh, splits are undone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import analysis, short_term, windows
from butterquant_assets.butterfly.short_term_schemas import SHORT_TERM, no_target_after
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.quant.garch_batch import fit_forecast_batch
from butterquant_tests.butterfly.cases import (
    SAMPLED,
    analysed,
    assert_same_bits,
    made_up_bars,
    real_bars,
    samples_of,
    session_range,
)

END = "2016-09-30"


def _rows(
    analyses: pd.DataFrame | None = None, bars: pd.DataFrame | None = None, last_session: str | pd.Timestamp = END
) -> pd.DataFrame:
    return short_term.short_term_rows(
        SAMPLED if analyses is None else analyses, made_up_bars() if bars is None else bars, last_session
    )


def _split(bars: pd.DataFrame, ticker: str, day: str, ratio: float) -> pd.DataFrame:
    """The same history with a split on `day`: prices from it on are divided, volumes multiplied."""
    later = (bars["ticker"] == ticker) & (bars["session"] >= pd.Timestamp(day))
    on = later & (bars["session"] == pd.Timestamp(day))
    return bars.assign(
        close=bars["close"].where(~later, bars["close"] / ratio),
        volume=bars["volume"].where(~later, bars["volume"] * ratio),
        split_ratio=bars["split_ratio"].where(~on, ratio),
    )


def _without(bars: pd.DataFrame, ticker: str, first: str, last: str) -> pd.DataFrame:
    gone = (bars["ticker"] == ticker) & bars["session"].between(pd.Timestamp(first), pd.Timestamp(last))
    return bars[~gone]


def test_every_row_keeps_the_contract_and_the_declared_columns() -> None:
    found = _rows()
    assert len(found) == len(SAMPLED)
    assert (found["missing_reason"] == "").all()
    assert SHORT_TERM.validate(found).reasons() == []
    assert found.dtypes.astype(str).to_dict() == short_term.SHORT_TERM_TYPES
    assert set(short_term.SHORT_TERM_SOURCES) == set(found) - {"session", "ticker", "missing_reason"}


def test_a_row_is_recomputed_from_its_closes_by_the_definitions() -> None:
    bars = made_up_bars()
    for row in _rows().itertuples():
        series = bars[bars["ticker"] == row.ticker].set_index("session")["close"]
        past = np.log(series[: row.session]).diff().to_numpy()
        for count in (1, 5, 22):
            expected = 252 / count * (past[-count:] ** 2).sum()
            assert getattr(row, f"rv_{count}") == pytest.approx(expected, rel=1e-12)
        future = series[row.session :].iloc[:8]
        assert future.index[7] == row.target_session
        assert row.realised_vol_7 == pytest.approx(
            np.sqrt(252 / 7 * (np.log(future).diff().dropna() ** 2).sum()), rel=1e-12
        )
        moved = future.iloc[7] / future.iloc[0] - 1
        assert row.return_7 == pytest.approx(moved, rel=1e-12)
        assert row.direction_7 == (0 if moved < -0.02 else 2 if moved > 0.02 else 1)
        assert row.quiet_7 == (abs(moved) < 0.02)


def test_the_garch_forecast_is_the_root_mean_of_seven_variances_by_arch() -> None:
    from arch import arch_model

    bars, row = made_up_bars(), _rows().iloc[0]
    series = bars[(bars["ticker"] == row["ticker"]) & (bars["session"] <= row["session"])]["close"].to_numpy()
    returns = 100 * np.diff(np.log(series[-505:]))
    fit = arch_model(returns, mean="Constant", vol="GARCH", p=1, q=1).fit(disp="off")
    variance = fit.forecast(horizon=7, reindex=False).variance.to_numpy()[0]
    # arch stops at a tolerance of 1e-6 in the log-likelihood, our batch at the optimum.
    assert row["garch_vol_7"] == pytest.approx(np.sqrt(252 * variance.mean()) / 100, rel=2e-3)


def test_the_garch_fit_is_that_of_the_analysis_bit_for_bit() -> None:
    quoted, analyses = windows.quoted_bars(made_up_bars()), analysed().analyses
    window = windows.build(analyses["ticker"], analyses["session"], quoted)
    fits = fit_forecast_batch(100 * np.diff(np.log(window.closes), axis=1), analysis.FORECAST_STEPS)
    assert fits.annualised_vol.tolist() == analyses["predicted_vol"].tolist()
    seven = np.sqrt(252 * np.mean(np.ascontiguousarray(fits.daily_vol[:, :7]) ** 2, axis=1)) / 100
    assert _rows(analyses)["garch_vol_7"].tolist() == seven.tolist()


def test_nothing_after_the_session_changes_a_bit_of_its_references() -> None:
    whole, bars = _rows(), made_up_bars()
    columns = ["session", "ticker", *short_term.REFERENCES, "target_session"]
    for row in range(len(whole)):
        day = whole["session"].iloc[row]
        alone = _rows(SAMPLED.iloc[[row]], bars[bars["session"] <= day], day)
        assert alone["missing_reason"].tolist() == ["after_data_end"]
        assert_same_bits(alone[columns], whole.iloc[[row]][columns].reset_index(drop=True))


def test_nothing_after_the_target_session_changes_a_bit_of_a_row() -> None:
    whole, bars = _rows(), made_up_bars()
    for row in range(len(whole)):
        day = whole["target_session"].iloc[row]
        later = bars["session"] > day
        disturbed = bars.assign(
            close=bars["close"].where(~later, 3.0 * bars["close"]), split_ratio=bars["split_ratio"].where(~later, 5.0)
        )
        for other in (bars[~later], disturbed):
            alone = _rows(SAMPLED.iloc[[row]], other, day)
            assert_same_bits(alone, whole.iloc[[row]].reset_index(drop=True))


def test_tickers_and_months_can_be_made_apart() -> None:
    whole, bars = _rows(), made_up_bars()
    apart = [_rows(part, bars[bars["ticker"] == ticker]) for ticker, part in SAMPLED.groupby("ticker")]
    again = pd.concat(apart).sort_values(["session", "ticker"]).reset_index(drop=True)
    assert_same_bits(again, whole)
    assert_same_bits(_rows(SAMPLED.iloc[::-1]), whole)


@pytest.mark.parametrize("ratio", [4.0, 0.125, 1.5, 1.311791])
@pytest.mark.parametrize("day", ["2016-02-17", "2016-02-22", "2016-02-25"])
def test_a_split_within_the_seven_sessions_leaves_the_row_what_it_would_be_unsplit(day: str, ratio: float) -> None:
    plain, found = _rows(), _rows(bars=_split(made_up_bars(), "T00", day, ratio))
    assert str(plain["target_session"].iloc[0].date()) == "2016-02-25"
    np.testing.assert_allclose(found.loc[0, "return_7"], plain.loc[0, "return_7"], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.loc[0, "realised_vol_7"], plain.loc[0, "realised_vol_7"], rtol=1e-11)
    references = list(short_term.REFERENCES)
    assert found.loc[0, references].tolist() == plain.loc[0, references].tolist()


def test_a_split_on_a_session_without_a_quoted_bar_is_not_a_loss() -> None:
    bars = _split(made_up_bars(), "T00", "2016-02-12", 4.0)
    holed = bars.assign(
        close=bars["close"].where(~((bars["ticker"] == "T00") & (bars["session"] == pd.Timestamp("2016-02-12"))))
    )
    found, plain = _rows(bars=holed), _rows(bars=_without(made_up_bars(), "T00", "2016-02-12", "2016-02-12"))
    columns = ["rv_5", "rv_22", "realised_vol_7"]
    np.testing.assert_allclose(found.loc[0, columns].astype(float), plain.loc[0, columns].astype(float), rtol=1e-9)


def test_the_apple_split_of_august_2020_is_no_crash() -> None:
    bars = real_bars()
    row = samples_of([("2020-08-26", "AAPL")])
    found = _rows(row, bars, bars["session"].max())
    quoted = bars[bars["ticker"] == "AAPL"].set_index("session")["close"]
    assert quoted["2020-08-28"] > 4 * 120
    assert quoted["2020-08-31"] < 140
    # quoted closes 506.09 on 2020-08-26 and 120.96 on 2020-09-04 (public record), four new shares for each old one
    assert str(found["target_session"].iloc[0].date()) == "2020-09-04"
    assert found["return_7"].iloc[0] == pytest.approx(4 * 120.96 / 506.09 - 1, abs=2e-3)
    assert found["realised_vol_7"].iloc[0] < 1.0


def test_sessions_are_counted_by_the_exchange_calendar() -> None:
    found = _rows(samples_of([("2016-03-18", "T00"), ("2016-05-26", "T01")]))
    # Good Friday 2016-03-25 and Memorial Day 2016-05-30 are no sessions
    assert [str(day.date()) for day in found["target_session"]] == ["2016-03-30", "2016-06-07"]
    assert found["target_session"].tolist() == [session_range("2016-03-18", 8)[7], session_range("2016-05-26", 8)[7]]


def test_targets_after_the_data_end_are_not_known_yet() -> None:
    found = _rows(last_session="2016-04-05")
    late = found["target_session"] > pd.Timestamp("2016-04-05")
    assert 0 < late.sum() < len(found)
    assert found["missing_reason"].tolist() == np.where(late, "after_data_end", "").tolist()
    assert found.loc[late, list(short_term.TARGETS)].isna().all(axis=None)
    assert found[list(short_term.REFERENCES)].notna().all(axis=None)
    assert SHORT_TERM.validate(found).reasons() == []
    assert no_target_after("2016-04-05").holds(found).all()
    assert not no_target_after("2016-04-04").holds(found).all()


def test_a_ticker_that_stops_trading_has_no_made_up_target() -> None:
    found = _rows(bars=_without(made_up_bars(), "T01", "2016-02-24", "2020-01-01"))
    gone = found["ticker"] == "T01"
    assert found.loc[gone, "missing_reason"].tolist() == ["no_bar_on_target"]
    assert found.loc[gone, list(short_term.TARGETS)].isna().all(axis=None)
    assert (found.loc[~gone, "missing_reason"] == "").all()


def test_a_hole_between_is_named_and_an_unquoted_bar_counts_as_a_hole() -> None:
    bars = made_up_bars()
    holed = _without(bars, "T01", "2016-02-24", "2016-02-24")
    on = (bars["ticker"] == "T02") & (bars["session"] == pd.Timestamp("2016-02-19"))
    unquoted = holed.assign(close=holed["close"].where(~on, np.nan))
    assert _rows(bars=unquoted)["missing_reason"].tolist()[:3] == ["", "missing_bar", "missing_bar"]


def test_a_step_that_no_split_explains_is_no_return() -> None:
    bars = made_up_bars()
    later = (bars["ticker"] == "T00") & (bars["session"] >= pd.Timestamp("2016-02-22"))
    found = _rows(SAMPLED.iloc[[0]], bars.assign(close=bars["close"].where(~later, 6.0 * bars["close"])))
    assert found["missing_reason"].tolist()[0] == "unexplained_jump"
    assert found.loc[0, list(short_term.TARGETS)].isna().all()


def test_bars_that_cannot_carry_an_analysed_row_are_refused() -> None:
    bars = made_up_bars()
    with pytest.raises(DataError, match=r"T00 on 2016-02-16.*give bars from 510 sessions"):
        _rows(bars=bars[bars["session"] >= pd.Timestamp("2015-01-02")])
    with pytest.raises(DataError, match=r"1 analysed rows cannot be followed.*no quoted bar"):
        _rows(samples_of([("2016-02-16", "XYZ")]), bars)


@pytest.mark.parametrize(
    ("moved", "direction", "quiet"),
    [(-0.02, 1, 0), (0.02, 1, 0), (-0.0200001, 0, 0), (0.0200001, 2, 0), (0.0199999, 1, 1), (0.0, 1, 1)],
)
def test_classes_at_their_bounds(moved: float, direction: int, quiet: int) -> None:
    assert short_term.direction_of([moved, np.nan])[0] == direction
    assert short_term.quiet_of([moved, np.nan])[0] == quiet
    assert np.isnan(short_term.direction_of([np.nan])).all()
    assert np.isnan(short_term.quiet_of([np.nan])).all()


@pytest.mark.slow
def test_every_real_row_has_its_targets() -> None:
    bars = real_bars()
    days = bars["session"].drop_duplicates().sort_values()
    picks = [(str(day.date()), ticker) for day in days[560:-20:97] for ticker in ("AAPL", "MSFT", "SPY", "KO")]
    found = _rows(samples_of(picks), bars, bars["session"].max())
    assert SHORT_TERM.validate(found).reasons() == []
    assert (found["missing_reason"] == "").all()
