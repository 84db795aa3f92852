"""The fitted at-the-money level: its terms, its rank, and the VIX they need."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from butterquant_assets.butterfly import iv_level
from butterquant_assets.butterfly.iv_level_coefficients import LEVEL, RANK
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.iv_cases import made_up_windows

SEEDS = st.integers(0, 2**32 - 1)


def plain_terms(closes: np.ndarray, vix: np.ndarray) -> dict[str, float]:
    """Every term of one window, written out with pandas."""
    price, index = pd.Series(closes), np.log(pd.Series(vix) / 100.0)
    returns = np.log(price).diff().dropna()
    today = index.iloc[-1]
    found = {
        f"realised_{days}": np.log(returns.tail(days).std() * 252**0.5) - today for days in (10, 20, 60, 120, 250, 480)
    }
    long_vol = returns.tail(480).std() * 252**0.5
    found["absolute_480"] = np.log(returns.tail(480).abs().mean() * 252**0.5 * (np.pi / 2) ** 0.5) - today
    limit = 2.5 * returns.tail(480).abs().median() / 0.6744897501960817
    found["clipped_40"] = np.log(((returns.tail(40).clip(-limit, limit) ** 2).mean() * 252) ** 0.5) - today
    weights = 0.5 ** (np.arange(503, -1, -1) / 40.0)
    found["vix_trend"] = np.average(index.tail(504), weights=weights) - today
    found["vix_correlation_480"] = returns.tail(480).corr(index.diff().tail(480))
    found["drawdown_60"] = np.log(price.iloc[-1] / price.tail(61).max()) / long_vol
    found["rise_180"] = np.log(price.iloc[-1] / price.tail(181).min())
    return found


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_every_term_equals_its_plain_definition(seed: int) -> None:
    closes, vix = made_up_windows(3, seed)
    found = iv_level.terms(closes, vix, tuple(iv_level.TERMS))
    for row in range(3):
        expected = plain_terms(closes[row], vix[row])
        assert set(expected) == set(found)
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(value, rel=1e-9, abs=1e-11), name


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_level_is_the_vix_times_the_exponential_of_its_weighted_terms(seed: int) -> None:
    closes, vix = made_up_windows(1, seed)
    terms = plain_terms(closes[0], vix[0])
    total = LEVEL.intercept + sum(weight * terms[name] for name, weight in LEVEL.weights.items())
    assert iv_level.level(closes, vix)[0] == pytest.approx(vix[0, -1] / 100.0 * np.exp(total), rel=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_the_rank_level_of_each_day_equals_its_plain_definition(seed: int) -> None:
    closes, vix = made_up_windows(2, seed)
    found = iv_level.rank_history(closes, vix)
    assert found.shape == (2, 253)
    weights = 0.5 ** (np.arange(249, -1, -1) / 40.0)
    for back in (0, 1, 100, 252):
        price, index = pd.Series(closes[1, : 505 - back]), np.log(vix[1, : 505 - back] / 100.0)
        returns = np.log(price).diff()
        total = RANK.intercept + RANK.weights["vix_trend_250"] * (np.average(index[-250:], weights=weights) - index[-1])
        for days in iv_level.RANK_HORIZONS:
            vol = returns.tail(days).std() * 252**0.5
            total += RANK.weights[f"realised_{days}"] * (np.log(vol) - index[-1])
        assert found[1, 252 - back] == pytest.approx(np.exp(index[-1] + total), rel=1e-8)


def test_a_row_has_the_same_bytes_alone_and_in_a_batch_across_chunks() -> None:
    closes, vix = made_up_windows(1100, 5)
    batch = iv_level.fitted_level(closes, vix)
    for row in (0, 1, 511, 512, 1023, 1099):
        alone = iv_level.fitted_level(closes[row : row + 1].copy(), vix[row : row + 1].copy())
        assert alone.level.tobytes() == batch.level[row : row + 1].tobytes()
        assert alone.percentile.tobytes() == batch.percentile[row : row + 1].tobytes()


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, factor=st.sampled_from([1e-3, 0.1, 4.0, 10.0, 1e4]))
def test_prices_in_another_unit_have_the_same_level(seed: int, factor: float) -> None:
    closes, vix = made_up_windows(4, seed)
    one, other = iv_level.fitted_level(closes, vix), iv_level.fitted_level(factor * closes, vix)
    np.testing.assert_allclose(other.level, one.level, rtol=1e-10)
    np.testing.assert_allclose(other.percentile, one.percentile, atol=1.0 / 252.0 + 1e-12)


def test_a_price_or_a_vix_that_does_not_move_has_no_level() -> None:
    closes, vix = made_up_windows(4, 1)
    closes[0] = 50.0
    closes[1, -30:] = closes[1, -30]
    vix[2] = 18.0
    found = iv_level.fitted_level(closes, vix)
    assert np.isnan(found.level).tolist() == [True, True, True, False]
    assert np.isnan(found.percentile).tolist() == [True, True, False, False]


def test_no_windows_have_no_levels() -> None:
    found = iv_level.fitted_level(np.empty((0, 505)), np.empty((0, 505)))
    assert found.level.shape == found.percentile.shape == (0,)


def test_windows_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected \(n, 505\)"):
        iv_level.level(np.ones((2, 504)), np.ones((2, 504)))


def _days(count: int = 10) -> np.ndarray:
    return np.datetime64("2015-06-01") + np.arange(count)


def _vix(days: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"session": days.astype("datetime64[us]"), "close": 10.0 + np.arange(len(days))})


def test_a_day_without_a_vix_takes_the_one_before() -> None:
    days = _days()
    values, details = iv_level.vix_windows(days[None, :], _vix(days).drop(index=[3, 4]))
    assert details.tolist() == [""]
    assert values[0].tolist() == [10.0, 11.0, 12.0, 12.0, 12.0, 15.0, 16.0, 17.0, 18.0, 19.0]


@pytest.mark.parametrize("gone", [[9], [0], [1, 2, 3, 4, 5, 6], list(range(10))])
def test_a_window_without_todays_first_or_too_many_vix_values_has_none(gone: list[int]) -> None:
    days = _days()
    values, details = iv_level.vix_windows(np.vstack([days, days]), _vix(days).drop(index=gone))
    assert np.isnan(values).all()
    assert details[0].startswith(f"{len(gone)} of the 10 sessions up to 2015-06-10 have no VIX")


def test_the_vix_after_a_window_changes_nothing() -> None:
    days = _days()
    full, _ = iv_level.vix_windows(days[None, :6], _vix(days))
    cut, _ = iv_level.vix_windows(days[None, :6], _vix(days)[:6])
    assert full.tobytes() == cut.tobytes()


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf])
def test_an_impossible_vix_is_refused(bad: float) -> None:
    days = _days()
    with pytest.raises(DataError, match="not positive"):
        iv_level.vix_windows(days[None, :], _vix(days).assign(close=bad))


def test_the_level_cannot_do_without_a_vix() -> None:
    with pytest.raises(DataError, match="needs the VIX"):
        iv_level.required_vix(None)
