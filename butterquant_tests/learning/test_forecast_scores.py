"""Forecast losses by hand; Diebold-Mariano against a plain version, statsmodels, and its own size and power."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mean_gamma_deviance, root_mean_squared_error

from butterquant_assets.foundation.errors import ConfigError, DataError, InsufficientHistoryError
from butterquant_assets.learning.forecast_scores import (
    diebold_mariano,
    diebold_mariano_panel,
    long_run_variance,
    qlike,
    qlike_losses,
    rmse,
    squared_errors,
)


def overlapping(seed: int, n: int = 200, steps: int = 7) -> np.ndarray:
    """A moving sum of `steps` shocks with mean 0, as losses of overlapping forecasts."""
    shocks = np.random.default_rng(seed).normal(size=n + steps - 1)
    return np.convolve(shocks, np.ones(steps), mode="valid")


def plain_test(difference: list[float], lag: int) -> tuple[float, float]:
    """Statistic and p-value with both corrections, sum by sum."""
    n = len(difference)
    mean = sum(difference) / n
    variance = 0.0
    for i in range(n):
        for j in range(n):
            if abs(i - j) <= lag:
                weight = 1 - abs(i - j) / (lag + 1)
                variance += weight * (difference[i] - mean) * (difference[j] - mean) / n
    h = lag + 1
    statistic = mean / (variance / n) ** 0.5 * ((n + 1 - 2 * h + h * (h - 1) / n) / n) ** 0.5
    return statistic, 2 * stats.t.sf(abs(statistic), n - 1)


def test_rmse_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    forecast, realised = random.normal(size=(2, 50))
    assert rmse(forecast, realised) == pytest.approx(root_mean_squared_error(realised, forecast), rel=1e-13)
    assert squared_errors([1.0, 4.0], [3.0, 4.0]).tolist() == [4.0, 0.0]


def test_qlike_is_half_the_gamma_deviance() -> None:
    random = np.random.default_rng(1)
    forecast, realised = random.gamma(2.0, size=(2, 50))
    assert qlike(forecast, realised) == pytest.approx(mean_gamma_deviance(realised, forecast) / 2, rel=1e-12)
    assert qlike_losses([2.0], [4.0])[0] == pytest.approx(2 - np.log(2) - 1)


@settings(max_examples=100, deadline=None)
@given(forecast=st.floats(1e-8, 1e4), ratio=st.floats(1e-4, 1e4))
def test_qlike_is_zero_only_for_a_perfect_forecast_and_has_no_unit(forecast: float, ratio: float) -> None:
    loss = qlike([forecast], [forecast * ratio])
    assert qlike([forecast], [forecast]) == 0
    assert loss >= 0
    if abs(ratio - 1) > 1e-3:
        assert loss > 0
    assert qlike([252 * forecast], [252 * forecast * ratio]) == pytest.approx(loss, rel=1e-6, abs=1e-12)


def test_qlike_ranks_forecasts_rightly_by_a_noisy_realised_variance() -> None:
    # Patton (2011): the expected loss is smallest for the true variance, whatever unbiased proxy it is measured by.
    proxy = 0.04 * np.random.default_rng(2).chisquare(1, size=20_000)
    losses = {scale: qlike(np.full(20_000, 0.04 * scale), proxy) for scale in (0.7, 0.85, 1.0, 1.15, 1.3)}
    assert min(losses, key=lambda scale: losses[scale]) == 1.0
    assert losses[0.7] > losses[1.3]


def test_values_that_cannot_be_scored_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 realised variances are not above 0, first row 1: 0\.0"):
        qlike([1.0, 1.0], [1.0, 0.0])
    with pytest.raises(DataError, match="1 forecast variances"):
        qlike([-1.0, 1.0], [1.0, 1.0])
    with pytest.raises(DataError, match="1 of 2 rows lack a finite value, first row 0"):
        rmse([np.nan, 1.0], [1.0, 1.0])
    with pytest.raises(DataError, match="no rows to score"):
        rmse([], [])
    with pytest.raises(ValueError, match="expected the same"):
        rmse([1.0], [1.0, 2.0])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(12, 60), lag=st.integers(0, 8))
def test_the_test_is_that_of_the_sums_written_out(seed: int, n: int, lag: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.gamma(2.0, size=(2, n))
    found = diebold_mariano(a, b, lag=lag)
    statistic, p_value = plain_test((a - b).tolist(), lag)
    assert found.statistic == pytest.approx(statistic, rel=1e-9)
    assert found.p_value == pytest.approx(p_value, rel=1e-7)
    assert (found.observations, found.lag) == (n, lag)
    assert found.difference == pytest.approx((a - b).mean())


@pytest.mark.parametrize("lag", [0, 3, 6, 12])
def test_the_standard_error_is_the_hac_one_of_statsmodels(lag: int) -> None:
    difference = overlapping(3) + 0.4
    fitted = sm.OLS(difference, np.ones(difference.size)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lag, "use_correction": False}
    )
    found = diebold_mariano(difference, np.zeros(difference.size), lag=lag, harvey=False)
    assert found.statistic == pytest.approx(fitted.tvalues[0], rel=1e-10)
    assert found.p_value == pytest.approx(fitted.pvalues[0], rel=1e-8)
    # Its small-sample option multiplies the variance by n / (n - 1), k = 1 regressor.
    corrected = sm.OLS(difference, np.ones(difference.size)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lag, "use_correction": True}
    )
    n = difference.size
    assert long_run_variance(difference, lag) / n * n / (n - 1) == pytest.approx(corrected.bse[0] ** 2, rel=1e-10)


def test_the_small_sample_correction_is_the_published_factor() -> None:
    a, b = np.random.default_rng(5).gamma(2.0, size=(2, 40))
    plain, corrected = (diebold_mariano(a, b, lag=6, harvey=harvey) for harvey in (False, True))
    # n = 40, h = 7: (41 - 14 + 42 / 40) / 40 = 0.70125
    assert corrected.statistic / plain.statistic == pytest.approx(np.sqrt(0.70125))
    assert corrected.p_value > plain.p_value


def test_overlapping_losses_reject_about_as_often_as_the_level_says_when_the_lag_is_generous() -> None:
    rejected = {
        lag: np.mean([diebold_mariano(overlapping(seed), np.zeros(200), lag=lag).p_value < 0.05 for seed in range(500)])
        for lag in (0, 6, 24)
    }
    assert 0.03 < rejected[24] < 0.10
    assert rejected[24] < rejected[6] < 0.15  # Bartlett weights shrink the overlap's covariance, as the Notes say
    assert rejected[0] > 0.3


def test_a_better_forecaster_is_found() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(50):
        truth = random.normal(size=200)
        good, bad = truth + 0.8 * random.normal(size=200), truth + random.normal(size=200)
        found = diebold_mariano(squared_errors(bad, truth), squared_errors(good, truth), lag=0)
        hits += found.p_value < 0.05 and found.difference > 0
    assert hits >= 35


def test_swapping_the_forecasters_turns_the_sign_alone() -> None:
    a, b = np.random.default_rng(4).gamma(2.0, size=(2, 40))
    one, other = diebold_mariano(a, b, lag=3), diebold_mariano(b, a, lag=3)
    assert one.statistic == -other.statistic
    assert one.p_value == other.p_value


def test_equal_losses_show_no_difference_and_a_constant_one_is_certain() -> None:
    same = diebold_mariano([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], lag=1)
    assert (same.statistic, same.p_value) == (0.0, 1.0)
    worse = diebold_mariano([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], lag=1)
    assert (worse.statistic, worse.p_value) == (np.inf, 0.0)
    assert diebold_mariano([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], lag=1).statistic == -np.inf


def test_too_few_losses_or_a_negative_lag_are_refused() -> None:
    with pytest.raises(InsufficientHistoryError, match="7 losses cannot be tested with lag 6; at least 8"):
        diebold_mariano(np.arange(7.0), np.zeros(7), lag=6)
    assert np.isfinite(diebold_mariano(np.arange(8.0), np.zeros(8), lag=6).statistic)
    with pytest.raises(ConfigError, match="lag is -1"):
        diebold_mariano(np.arange(8.0), np.zeros(8), lag=-1)
    with pytest.raises(ConfigError, match="lag is -1"):
        diebold_mariano_panel(np.arange(8.0), np.zeros(8), np.arange(8), lag=-1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_panel_is_tested_on_the_means_of_its_sessions_in_any_order_of_rows(seed: int) -> None:
    random = np.random.default_rng(seed)
    session = np.datetime64("2020-01-01") + np.sort(random.integers(0, 40, 300))
    a, b = random.gamma(2.0, size=(2, 300))
    order = random.permutation(300)
    found = diebold_mariano_panel(a[order], b[order], session[order], lag=4)
    days = np.unique(session)
    means = [float(np.mean([a[i] - b[i] for i in range(300) if session[i] == day])) for day in days]
    statistic, p_value = plain_test(means, 4)
    assert found.observations == len(days)
    assert found.statistic == pytest.approx(statistic, rel=1e-9)
    assert found.p_value == pytest.approx(p_value, rel=1e-7)


def test_tickers_that_share_a_shock_are_not_counted_as_evidence() -> None:
    panel, rows = [], []
    for seed in range(300):
        random = np.random.default_rng(seed)
        session = np.repeat(np.arange(60), 10)
        a = random.normal(size=60)[session] + 0.3 * random.normal(size=600)
        panel.append(diebold_mariano_panel(a, np.zeros(600), session, lag=0).p_value)
        rows.append(diebold_mariano(a, np.zeros(600), lag=0).p_value)
    assert 0.02 < np.mean(np.array(panel) < 0.05) < 0.085
    assert np.mean(np.array(rows) < 0.05) > 0.3


def test_a_panel_needs_a_session_for_every_row() -> None:
    dates = np.array(["2020-01-01", "NaT", "2020-01-03"], dtype="M8[D]")
    with pytest.raises(DataError, match="1 of 3 rows have no session"):
        diebold_mariano_panel([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], dates, lag=0)
    with pytest.raises(ValueError, match="they must be equal"):
        diebold_mariano_panel([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], dates[:2], lag=0)
