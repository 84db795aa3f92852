"""ARIMA: against plain statsmodels, against the formulas of the forecast, and on series that have no fit."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from butterquant_assets.foundation.errors import DataError, FitError
from butterquant_assets.quant import arima
from butterquant_tests.shared_data import data_dir


def walk(n=120, seed=0, momentum=0.4, start=100.0):
    rng = np.random.default_rng(seed)
    steps, step = [], 0.0
    for shock in rng.standard_normal(n):
        step = momentum * step + shock
        steps.append(step)
    return start + np.cumsum(steps)


@pytest.fixture(scope="module")
def closes():
    return walk()


@pytest.fixture(scope="module")
def forecast(closes):
    return arima.choose_and_forecast(closes)


def plain_fits(closes, orders=arima.DEFAULT_ORDERS):
    """Every order by statsmodels as it comes, only with iterations enough to converge."""
    from statsmodels.tsa.arima.model import ARIMA

    fits = {}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for order in orders:
            fits[order] = ARIMA(closes, order=order, trend="n").fit(method_kwargs={"maxiter": 500})
    return fits


def test_order_aic_and_forecast_are_those_of_plain_statsmodels(closes, forecast):
    fits = plain_fits(closes)
    assert forecast.order == min(fits, key=lambda order: fits[order].aic)
    plain = fits[forecast.order]
    assert forecast.aic == pytest.approx(plain.aic, abs=0.02)
    expected = plain.get_forecast(30)
    interval = expected.conf_int(alpha=0.05)
    # Two optimisers stop at slightly different points of a flat likelihood; a step of this series is about 1.
    np.testing.assert_allclose(forecast.mean, expected.predicted_mean, atol=0.02)
    np.testing.assert_allclose(forecast.lower, interval[:, 0], atol=0.1)
    np.testing.assert_allclose(forecast.upper, interval[:, 1], atol=0.1)


def test_the_forecast_of_one_order_follows_from_its_recursion():
    # ARIMA(1,1,1), mean: the step ahead is phi x last step + theta x last shock, later steps shrink by phi.
    closes = walk(400, seed=4)
    found = arima.choose_and_forecast(closes, steps=20, orders=[(1, 1, 1)])
    steps = np.diff(np.r_[closes[-1], found.mean])
    phi = steps[1] / steps[0]
    np.testing.assert_allclose(steps[1:], phi * steps[:-1], rtol=1e-5, atol=1e-6)
    # Interval: var_h = sigma^2 sum psi_j^2 with psi_0 = 1, psi_j = 1 + (phi + theta)(1 + phi + ... + phi^(j-1)).
    variance = ((found.upper - found.lower) / (2 * 1.959963984540054)) ** 2
    psi = np.sqrt(np.diff(variance) / variance[0])
    growth = np.diff(np.r_[1.0, psi])
    np.testing.assert_allclose(growth[1:], phi * growth[:-1], atol=1e-4)


@pytest.mark.parametrize("factor", [10.0, 0.01, 7.3])
def test_the_unit_of_the_price_does_not_matter(closes, forecast, factor):
    scaled = arima.choose_and_forecast(factor * closes)
    assert scaled.order == forecast.order
    np.testing.assert_allclose(scaled.mean, factor * forecast.mean, rtol=1e-12)
    np.testing.assert_allclose(scaled.upper, factor * forecast.upper, rtol=1e-12)
    assert scaled.aic == pytest.approx(forecast.aic + 2 * 119 * np.log(factor), abs=1e-8)


def test_the_same_closes_give_the_same_bytes(closes, forecast):
    again = arima.choose_and_forecast(closes)
    assert again.mean.tobytes() == forecast.mean.tobytes()
    assert again.aic == forecast.aic


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_change_the_bytes(closes, forecast, threads):
    with threadpool_limits(threads):
        again = arima.choose_and_forecast(closes)
    assert again.upper.tobytes() == forecast.upper.tobytes()


def test_the_order_with_the_lowest_aic_is_kept_and_of_equals_the_first(closes, forecast):
    alone = {order: arima.choose_and_forecast(closes, orders=[order]) for order in arima.DEFAULT_ORDERS}
    assert forecast.aic == min(fit.aic for fit in alone.values())
    assert alone[forecast.order].aic == forecast.aic
    np.testing.assert_array_equal(alone[forecast.order].mean, forecast.mean)
    twice = arima.choose_and_forecast(closes, orders=[forecast.order, forecast.order])
    assert twice.aic == forecast.aic


def test_no_warning_escapes_and_filters_are_left_alone(closes):
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        arima.choose_and_forecast(closes, orders=[(2, 1, 2)])
    assert not caught
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        (np.full(120, 50.0), "same step"),
        (np.linspace(10, 20, 120), "same step"),
        (np.ones(49), "49 closes are too few"),
        (np.r_[walk(119), np.nan], "not finite"),
    ],
)
def test_a_series_without_a_fit_is_refused_with_its_reason(series, reason):
    with pytest.raises(FitError, match=reason):
        arima.choose_and_forecast(series)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"steps": 0}, "at least 1"),
        ({"orders": []}, "order"),
        ({"orders": [(1, 1, 1), (1, 0, 1)]}, "order"),
    ],
)
def test_a_wrong_request_is_refused(closes, options, reason):
    with pytest.raises(DataError, match=reason):
        arima.choose_and_forecast(closes, **options)
    with pytest.raises(DataError, match="one dimension"):
        arima.choose_and_forecast(closes[None])


@pytest.mark.slow
def test_on_real_windows_the_likelihood_is_that_of_plain_statsmodels():
    bars = pd.read_parquet(data_dir() / "stocks_daily.parquet", columns=["symbol", "close"])
    rng = np.random.default_rng(6)
    lower_by, moved = [], []
    for symbol in rng.choice(bars["symbol"].unique(), 20, replace=False):
        closes = bars.loc[bars["symbol"] == symbol, "close"].to_numpy(dtype=float)
        end = int(rng.integers(120, len(closes)))
        window = closes[end - 120 : end]
        found, fits = arima.choose_and_forecast(window), plain_fits(window)
        plain = min(fits.values(), key=lambda fit: fit.aic)
        lower_by.append(found.aic - plain.aic)
        moved.append(found.mean.mean() / plain.forecast(30).mean() - 1)
    # Likelihoods with nearly cancelling roots have several optima: one may be missed, by either side, but not often.
    assert np.median(np.abs(lower_by)) < 1e-3
    assert np.mean(np.array(lower_by) < 0.1) >= 0.9
    assert np.median(np.abs(moved)) < 1e-5
    assert np.max(np.abs(moved)) < 0.01
