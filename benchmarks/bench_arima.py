"""ARIMA order choice and 30-step forecast with band, 120 real closes: compiled kernels against statsmodels.

The reference is the plain implementation in the tests: statsmodels on scaled closes, with the variance concentrated
out and iterations enough to converge, which as it comes it does not in one fit of seven. Both run on one thread and are
timed by its processor time, which other programs do not lengthen. Windows are of the stocks in the folder of real
market data where there is one, else of the two stock indices that come with `arch`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.harness import Result, compare, median_seconds
from butterquant_assets.foundation.errors import FitError
from butterquant_assets.quant import arima
from butterquant_assets.quant.arima_batch import ArimaFits, choose_and_forecast_batch
from butterquant_tests.quant import plain_arima

WINDOWS = 300
CLOSES = 120
BLOCK = 30
THREADED_WINDOWS = 3_000
LIKELIHOOD_TOLERANCE = 1e-4

Floats = npt.NDArray[np.float64]


def benchmarks() -> list[Result]:
    """Windows per second of one thread, what a second adds, and how far choice, likelihood and forecast agree."""
    windows = _windows()
    choose_and_forecast_batch(windows[:2], threads=1)
    ours_seconds, reference_seconds = [], []
    likelihood, forecasts = np.full((WINDOWS, len(arima.DEFAULT_ORDERS)), np.nan), []
    # Ours and the reference take turns, so that what else the machine does falls on both.
    for start in range(0, WINDOWS, BLOCK):
        begun = time.process_time()
        fits = choose_and_forecast_batch(windows, threads=1)
        ours_seconds.append((time.process_time() - begun) / WINDOWS)
        begun = time.process_time()
        for row in range(start, start + BLOCK):
            likelihood[row], forecast = _reference(windows[row])
            forecasts.append(forecast)
        reference_seconds.append((time.process_time() - begun) / BLOCK)
    ours, reference = 1.0 / float(np.median(ours_seconds)), 1.0 / float(np.median(reference_seconds))
    return [
        compare("arima.choose_and_forecast", ours, reference, "windows/CPU s", target=60.0, better="higher"),
        _two_threads(windows),
        *_agreement(windows, fits, likelihood, forecasts),
    ]


def _two_threads(windows: Floats) -> Result:
    """Windows per second of processor time: two threads that wait for nothing need no more of it than one."""
    many = np.resize(windows, (THREADED_WINDOWS, CLOSES))

    def rate(threads: int) -> float:
        def call() -> object:
            return choose_and_forecast_batch(many, threads=threads)

        return THREADED_WINDOWS / median_seconds(call, repeats=3, clock=time.process_time)

    one, two = rate(1), rate(2)
    return compare("arima.two_threads_against_one", two, one, "windows/CPU s", target=0.9, better="higher")


def _agreement(
    windows: Floats, fits: ArimaFits, likelihood: Floats, forecasts: list[tuple[int, arima.ArimaForecast]]
) -> list[Result]:
    """Shares and 95th percentiles over the windows whose chosen fit reaches the same likelihood on both sides."""
    chosen = np.array([place for place, _ in forecasts])
    difference = fits.log_likelihood - likelihood
    at_least = float(np.mean(~(difference < -LIKELIHOOD_TOLERANCE)))
    shared = np.abs(difference)[np.arange(WINDOWS), chosen] < LIKELIHOOD_TOLERANCE
    same = fits.order_index == chosen
    mean = np.array([forecast.mean for _, forecast in forecasts])
    width = np.array([forecast.upper - forecast.lower for _, forecast in forecasts])
    moved = 1e4 * np.max(np.abs(fits.mean - mean) / windows[:, -1:], axis=1)
    widened = 100.0 * np.max(np.abs((fits.upper - fits.lower) / width - 1.0), axis=1)
    moved_p95, widened_p95 = (float(np.percentile(error[shared], 95)) for error in (moved, widened))
    return [
        compare("arima.likelihood_not_below", at_least, 0.98, "share of fits", target=1.0, better="higher"),
        compare("arima.likelihood_shared", float(shared.mean()), 0.80, "share of windows", target=1.0, better="higher"),
        compare("arima.same_order", float(same[shared].mean()), 0.95, "share of shared", target=1.0, better="higher"),
        compare("arima.mean_error_p95", moved_p95, 5.0, "bp of spot", target=1.0, better="lower"),
        compare("arima.band_error_p95", widened_p95, 2.0, "% of width", target=1.0, better="lower"),
    ]


def _reference(closes: Floats) -> tuple[Floats, tuple[int, arima.ArimaForecast]]:
    """Log-likelihood of every order by statsmodels, NaN where it failed, and the choice among them."""
    likelihood, found = np.full(len(arima.DEFAULT_ORDERS), np.nan), []
    for place, order in enumerate(arima.DEFAULT_ORDERS):
        try:
            fit = plain_arima.choose_and_forecast(closes, orders=[order])
        except FitError:
            continue
        likelihood[place] = order[0] + order[2] + 1 - fit.aic / 2.0
        found.append((place, fit))
    return likelihood, min(found, key=lambda entry: entry[1].aic)


def _windows() -> Floats:
    """Windows of closes drawn with a fixed seed, shape (300, 120)."""
    closes = _closes()
    rng = np.random.default_rng(6)
    names = sorted(closes)
    windows = []
    for _ in range(WINDOWS):
        series = closes[names[rng.integers(len(names))]]
        end = int(rng.integers(CLOSES, len(series) + 1))
        windows.append(series[end - CLOSES : end])
    return np.array(windows)


def _closes() -> dict[str, Floats]:
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    file = Path(os.environ.get("BUTTERQUANT_TEST_DATA", shared)) / "stocks_daily.parquet"
    if file.is_file():
        bars = pd.read_parquet(file, columns=["symbol", "close"])
        return {str(name): part.to_numpy(dtype=np.float64) for name, part in bars.groupby("symbol")["close"]}
    from arch.data import nasdaq, sp500

    return {"NASDAQ": nasdaq.load()["Close"].to_numpy(), "SP500": sp500.load()["Close"].to_numpy()}
