"""Fitting the level, and judging it against published volatilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import iv_fit, iv_level
from butterquant_assets.butterfly.iv_level_coefficients import LEVEL, PROVENANCE, RANK
from butterquant_assets.foundation.calendar import sessions
from butterquant_assets.foundation.errors import DataError, InsufficientHistoryError
from butterquant_tests.butterfly.iv_cases import fitting_rows, judged_rows, made_up_windows


def made_up_rows(noise: float, seed: int = 2, years: int = 4) -> iv_fit.PublishedRows:
    """Volatilities that follow the stored level exactly, but for noise."""
    count = 1200
    closes, vix = made_up_windows(count, seed)
    random = np.random.default_rng(seed)
    tickers = np.array([f"T{number % 4}" for number in range(count)], dtype=object)
    days = np.datetime64("2010-06-01") + 365 * (np.arange(count) * years // count)
    iv = iv_level.level(closes, vix) * np.exp(noise * random.standard_normal(count))
    return iv_fit.PublishedRows(tickers, days, closes, vix, iv)


def test_a_level_without_noise_is_found_again_without_a_penalty() -> None:
    rows = made_up_rows(0.0)
    X = np.column_stack(list(iv_level.terms(rows.closes, rows.vix).values()))
    intercept, weights = iv_fit.regress(X, rows.target, ridge=0.0)
    assert intercept == pytest.approx(LEVEL.intercept, abs=1e-8)
    np.testing.assert_allclose(weights, list(LEVEL.weights.values()), atol=1e-8)


def test_the_fit_names_its_weights_and_leaves_rows_without_a_level_out() -> None:
    rows = made_up_rows(0.05)
    rows.vix[0] = 18.0
    found = iv_fit.fit(rows)
    assert found.rows == len(rows.iv) - 1
    assert tuple(found.level.weights) == tuple(LEVEL.weights)
    assert tuple(found.rank.weights) == tuple(RANK.weights)


def test_the_median_residual_of_a_fit_is_zero() -> None:
    random = np.random.default_rng(0)
    X = random.standard_normal((301, 3))
    y = X @ np.array([1.0, 0.5, 0.0]) + random.exponential(1.0, 301)
    intercept, weights = iv_fit.regress(X, y)
    assert np.median(y - X @ weights - intercept) == pytest.approx(0.0, abs=1e-12)


def test_too_few_rows_are_not_fitted() -> None:
    with pytest.raises(InsufficientHistoryError, match="99 rows"):
        iv_fit.regress(np.ones((99, 2)), np.ones(99))


def test_every_half_of_the_stocks_is_fitted_once() -> None:
    found = iv_fit.half_splits(np.array(["B", "A", "D", "C", "A"], dtype=object))
    assert len(found) == len(set(found)) == 6
    assert ("A", "B") in found
    assert ("C", "D") in found


def test_stocks_left_out_are_judged_by_the_others_alone() -> None:
    rows = made_up_rows(0.05)
    X = np.column_stack(list(iv_level.terms(rows.closes, rows.vix).values()))
    errors = iv_fit.other_half_errors(X, rows, X, rows)
    assert len(errors) == 6
    first = np.isin(rows.tickers, ("T0", "T1"))
    intercept, weights = iv_fit.regress(X[first], rows.target[first])
    np.testing.assert_array_equal(errors[0], np.abs(X[~first] @ weights + intercept - rows.target[~first]))


def test_validation_never_judges_what_it_fitted() -> None:
    rows = made_up_rows(0.05)
    known = rows.years < 2013
    wild = iv_fit.PublishedRows(rows.tickers, rows.sessions, rows.closes, rows.vix, np.where(known, rows.iv, 9.0))
    X = np.column_stack(list(iv_level.terms(rows.closes, rows.vix).values()))
    one, other = (iv_fit.validation_errors(X[known], part.where(known), [("T0", "T1")]) for part in (rows, wild))
    assert one == other
    assert set(one) == {"next_year", "next_year_other_stocks", "other_year_other_stocks", "mean"}


def test_a_publishers_close_stands_in_only_where_there_are_no_bars() -> None:
    day = pd.Timestamp("2012-01-03")
    bars = pd.DataFrame({"session": [day], "ticker": ["A"], "close": [1.0], "volume": [5.0], "split_ratio": [1.0]})
    published = pd.DataFrame({"session": [day] * 2, "ticker": ["A", "B"], "close": [2.0, 3.0]})
    found = iv_fit.fitting_bars(bars, published).set_index("ticker")
    assert found["close"].to_dict() == {"A": 1.0, "B": 3.0}
    assert found["volume"].to_dict() == {"A": 5.0, "B": 0.0}


def test_rows_exist_only_where_bars_and_vix_reach_back_far_enough() -> None:
    days = sessions()
    days = days[days >= np.datetime64("2010-01-04")][:520].astype("datetime64[us]")
    closes, vix = made_up_windows(2, 3)
    walk, index = np.r_[closes[0], closes[0][:15]], np.r_[vix[0], vix[0][:15]]
    bars = pd.DataFrame({"session": days, "ticker": "A", "close": walk, "volume": 1.0, "split_ratio": 1.0})
    published = pd.DataFrame({"session": days, "ticker": "A", "iv": 0.2})
    given = pd.DataFrame({"session": days, "close": index})
    span = ("2010-01-01", "2014-12-31")
    found = iv_fit.published_rows(bars, published, given, span)
    assert found.sessions.tolist() == days[504:].astype("datetime64[D]").tolist()
    later = iv_fit.published_rows(bars, published, given[8:], span)
    assert later.sessions.tolist() == days[512:].astype("datetime64[D]").tolist()
    with pytest.raises(DataError, match="two published"):
        iv_fit.published_rows(bars, pd.concat([published, published]), given, span)


@pytest.mark.slow
def test_fitting_the_real_rows_again_gives_the_stored_coefficients() -> None:
    found = iv_fit.fit(fitting_rows())
    assert found.rows == PROVENANCE["rows"]
    for stored, fitted in ((LEVEL, found.level), (RANK, found.rank)):
        assert fitted.intercept == pytest.approx(stored.intercept, abs=1e-9)
        assert dict(fitted.weights) == pytest.approx(dict(stored.weights), abs=1e-9)


@pytest.mark.slow
def test_on_2015_to_2019_the_level_errs_by_less_than_seven_and_a_half_percent() -> None:
    rows = judged_rows()
    assert len(rows.iv) == 12_580
    error = np.abs(np.log(iv_level.level(rows.closes, rows.vix) / rows.iv))
    assert np.median(error) < 0.075


@pytest.mark.slow
def test_on_stocks_left_out_of_the_fit_it_errs_by_less_than_nine_percent() -> None:
    fitted, judged = fitting_rows(), judged_rows()
    X, X_judge = (np.column_stack(list(iv_level.terms(rows.closes, rows.vix).values())) for rows in (fitted, judged))
    errors = iv_fit.other_half_errors(X, fitted, X_judge, judged)
    assert len(errors) == 252
    assert np.median(np.concatenate(errors)) < 0.09
