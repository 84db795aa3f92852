"""GARCH(1,1): against arch, against a recursion written out here, and on series that have no fit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from butterquant_assets.foundation.errors import DataError, FitError
from butterquant_assets.quant import garch
from butterquant_tests.quant import plain_garch
from butterquant_tests.shared_data import data_dir


def simulated(n, seed, omega=0.05, alpha=0.08, beta=0.88, mu=0.04):
    rng = np.random.default_rng(seed)
    shocks = rng.standard_normal(n + 500)
    variance, previous, returns = omega / (1 - alpha - beta), 0.0, []
    for shock in shocks:
        variance = omega + alpha * previous**2 + beta * variance
        previous = np.sqrt(variance) * shock
        returns.append(mu + previous)
    return np.array(returns[500:])


@pytest.fixture(scope="module")
def returns():
    return simulated(504, seed=3)


@pytest.fixture(scope="module")
def forecast(returns):
    return garch.fit_forecast(returns)


def plain_forecast(returns, fit, horizon, first_variance):
    """Variance recursion in a loop, then iterated expectation: an independent reading of the fitted parameters."""
    variance = first_variance
    for value in returns:
        variance = fit.omega + fit.alpha * (value - fit.mu) ** 2 + fit.beta * variance
    path = [variance]
    for _ in range(horizon - 1):
        path.append(fit.omega + (fit.alpha + fit.beta) * path[-1])
    return np.sqrt(path)


def test_the_fit_is_the_one_of_arch(returns, forecast):
    # arch stops within 1e-6 of the optimum in log-likelihood, so parameters agree to about the square root of that.
    reference = plain_garch.fit_forecast(returns)
    assert forecast.log_likelihood >= reference.log_likelihood - 1e-6
    np.testing.assert_allclose(forecast.daily_vol, reference.daily_vol, rtol=2e-4)
    for name in ("mu", "omega", "alpha", "beta"):
        assert getattr(forecast, name) == pytest.approx(getattr(reference, name), rel=5e-3)


def test_the_forecast_is_the_recursion_of_the_fitted_parameters(returns, forecast):
    # The variance before the first return is forgotten after 504 of them: two very different ones give one forecast.
    for first_variance in (0.1, 10.0):
        expected = plain_forecast(returns, forecast, 30, first_variance)
        np.testing.assert_allclose(forecast.daily_vol, expected, rtol=1e-8)


def test_the_parameters_of_a_long_simulated_series_are_recovered():
    fit = garch.fit_forecast(simulated(20_000, seed=11))
    assert fit.mu == pytest.approx(0.04, abs=0.02)
    assert fit.alpha == pytest.approx(0.08, abs=0.015)
    assert fit.beta == pytest.approx(0.88, abs=0.025)
    assert fit.omega == pytest.approx(0.05, abs=0.02)


def test_the_fit_has_no_smaller_likelihood_than_its_neighbours(returns, forecast):
    def log_likelihood(mu, omega, alpha, beta):
        # arch starts the recursion from an exponentially weighted mean of the first 75 squared residuals.
        residuals = returns - mu
        weights = 0.94 ** np.arange(75)
        variance = float(weights @ residuals[:75] ** 2 / weights.sum())
        total, previous = 0.0, variance
        for residual in residuals:
            variance = omega + alpha * previous + beta * variance
            total -= 0.5 * (np.log(2 * np.pi * variance) + residual**2 / variance)
            previous = residual**2
        return total

    best = np.array([forecast.mu, forecast.omega, forecast.alpha, forecast.beta])
    at_best = log_likelihood(*best)
    assert at_best == pytest.approx(forecast.log_likelihood, abs=0.02)
    for index in range(4):
        for factor in (0.9, 1.1):
            moved = best.copy()
            moved[index] *= factor
            assert log_likelihood(*moved) < at_best + 0.01


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_change_the_bytes(returns, forecast, threads):
    with threadpool_limits(threads):
        again = garch.fit_forecast(returns)
    assert again.daily_vol.tobytes() == forecast.daily_vol.tobytes()


def test_the_same_returns_give_the_same_bytes_in_another_process(returns, forecast):
    code = (
        "import sys, numpy as np\n"
        "from butterquant_assets.quant import garch\n"
        "returns = np.frombuffer(sys.stdin.buffer.read())\n"
        "sys.stdout.write(garch.fit_forecast(returns).daily_vol.tobytes().hex())\n"
    )
    other = subprocess.run([sys.executable, "-c", code], input=returns.tobytes(), capture_output=True, check=True)
    assert other.stdout.decode() == forecast.daily_vol.tobytes().hex()


def test_the_annualised_volatility_is_the_mean_of_the_horizon():
    fit = garch.GarchForecast(0.0, 0.1, 0.1, 0.8, 0.0, np.array([1.0, 2.0, 3.0]))
    assert garch.annualised_vol(fit) == pytest.approx(2.0 * np.sqrt(252) / 100)


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(returns, forecast):
    np.testing.assert_allclose(garch.fit_forecast(returns, 5).daily_vol, forecast.daily_vol[:5], rtol=1e-14)


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        (np.full(504, 0.3), "constant at 0.3"),
        (np.zeros(504), "constant at 0"),
        (np.ones(99), "99 returns are too few"),
        (np.r_[np.ones(200), np.nan, np.ones(303)], r"not finite, the first \(nan\) at position 200"),
        (np.r_[np.inf, np.ones(503)], r"not finite, the first \(inf\) at position 0"),
    ],
)
def test_a_series_without_a_fit_is_refused_with_its_reason(series, reason):
    with pytest.raises(FitError, match=reason):
        garch.fit_forecast(series)


@pytest.mark.parametrize(("series", "horizon"), [(np.ones((2, 200)), 30), (np.ones(200), 0)])
def test_a_wrong_request_is_refused(series, horizon):
    with pytest.raises(DataError, match=r"expected one dimension|at least 1"):
        garch.fit_forecast(series, horizon)


@pytest.mark.slow
def test_real_windows_fit_and_forecast_plausible_volatility():
    bars = pd.read_parquet(data_dir() / "stocks_daily.parquet", columns=["symbol", "close"])
    rng = np.random.default_rng(5)
    for symbol in rng.choice(bars["symbol"].unique(), 30, replace=False):
        closes = bars.loc[bars["symbol"] == symbol, "close"].to_numpy(dtype=float)
        end = int(rng.integers(505, len(closes)))
        window = 100.0 * np.diff(np.log(closes[end - 505 : end]))
        fit = garch.fit_forecast(window)
        assert fit.alpha + fit.beta <= 1.0 + plain_garch.PERSISTENCE_TOLERANCE
        realised = window[-60:].std() * np.sqrt(252) / 100
        assert 0.3 < garch.annualised_vol(fit) / realised < 3.0
