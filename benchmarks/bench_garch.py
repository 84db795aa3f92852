"""GARCH(1,1) fits and 30-session forecasts of 1,000 windows of 504 returns: ours on an array, arch in a loop.

Times are CPU seconds of one thread, taken in turns with those of the reference, so that a loaded machine slows both;
the gain of a second thread is wall time and needs an idle machine. The agreement with arch is measured before anything
is timed. Real windows are used where there are real data (BUTTERQUANT_TEST_DATA, or a folder shared/data beside the
checkout), else simulated ones; the names of the results say which.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.harness import Result, compare
from butterquant_assets.quant.garch_batch import GarchFits, Status, fit_forecast_batch

WINDOWS, SESSIONS, HORIZON, SEED = 1_000, 504, 30, 7
POLISHED_TOLERANCE = 1e-12
# What the comparisons below call agreement, relative to the mean forecast volatility.
POLISHED_TARGET, PLAIN_TARGET, LIKELIHOOD_TARGET = 1e-5, 2e-4, 1e-6
SPEED_TARGET, THREADS_TARGET = 150.0, 1.8
ROUNDS, REFERENCE_FITS = 9, 25

Floats = npt.NDArray[np.float64]


def benchmarks() -> list[Result]:
    """Agreement with arch as it comes and polished, then fits per second."""
    kind, windows = _windows()
    fits = fit_forecast_batch(windows, HORIZON)
    if (fits.status != Status.OK).any():
        raise AssertionError(f"{int((fits.status != Status.OK).sum())} of {len(windows)} windows have no fit")
    return [*_agreement(kind, windows, fits), *_speed(kind, windows)]


def _windows() -> tuple[str, Floats]:
    folder = Path(os.environ.get("BUTTERQUANT_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    path, rng = folder / "stocks_daily.parquet", np.random.default_rng(SEED)
    if not path.is_file():
        return "simulated", np.array([_simulated(rng) for _ in range(WINDOWS)])
    bars = pd.read_parquet(path, columns=["symbol", "close"])
    closes = {str(symbol): group.to_numpy(dtype=float) for symbol, group in bars.groupby("symbol")["close"]}
    symbols, windows = sorted(closes), np.empty((WINDOWS, SESSIONS))
    for row in range(WINDOWS):
        series = closes[symbols[int(rng.integers(len(symbols)))]]
        end = int(rng.integers(SESSIONS + 1, len(series) + 1))
        windows[row] = 100.0 * np.diff(np.log(series[end - SESSIONS - 1 : end]))
    return "real", windows


def _simulated(rng: np.random.Generator) -> Floats:
    alpha, persistence = rng.uniform(0.03, 0.15), rng.uniform(0.9, 0.98)
    variance, previous, returns = 2.0, 0.0, np.empty(SESSIONS)
    for t, shock in enumerate(rng.standard_t(6, SESSIONS) / np.sqrt(1.5)):
        variance = 2.0 * (1.0 - persistence) + alpha * previous**2 + (persistence - alpha) * variance
        previous = np.sqrt(variance) * shock
        returns[t] = 0.05 + previous
    return returns


def _model(window: Floats) -> Any:
    from arch import arch_model

    return arch_model(window, mean="Constant", vol="GARCH", p=1, q=1, dist="normal", rescale=False)


def _fit(window: Floats, **options: object) -> tuple[Floats, float, float]:
    """Parameters, log-likelihood and mean forecast volatility by arch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = _model(window).fit(disp="off", show_warning=False, **options)
        forecast = np.asarray(fit.forecast(horizon=HORIZON, reindex=False).variance)[-1]
    return np.asarray(fit.params), float(fit.loglikelihood), float(np.sqrt(forecast).mean())


def _agreement(kind: str, windows: Floats, fits: GarchFits) -> list[Result]:
    """The 99th percentiles of the disagreement, and the windows whose likelihood is below arch's."""
    ours = np.stack([fits.mu, fits.omega, fits.alpha, fits.beta], axis=1)
    plain, polished, below, overstepped = [], [], 0, 0
    for row, window in enumerate(windows):
        parameters, likelihood, forecast = _fit(window)
        starts = [_inside(parameters, window), _inside(ours[row], window)]
        tight = [_fit(window, tol=POLISHED_TOLERANCE, starting_values=start) for start in starts]
        best = max(tight, key=lambda fit: fit[1])
        plain.append(abs(fits.mean_daily_vol[row] / forecast - 1.0))
        polished.append(abs(fits.mean_daily_vol[row] / best[2] - 1.0))
        if fits.log_likelihood[row] < likelihood - LIKELIHOOD_TARGET:
            if parameters[2] + parameters[3] > 1.0:
                overstepped += 1
            else:
                below += 1
    print(
        f"garch: of {len(windows)} {kind} windows {below} are less likely than arch finds them, by more than "
        f"{LIKELIHOOD_TARGET}, at a point arch may go to, and {overstepped} where it oversteps alpha + beta <= 1"
    )
    # Ratios of target to figure: 1 is the target met.
    return [
        _within(f"garch.{kind}.forecast_against_arch_polished_p99", polished, POLISHED_TARGET),
        _within(f"garch.{kind}.forecast_against_arch_as_it_comes_p99", plain, PLAIN_TARGET),
        compare(
            f"garch.{kind}.windows_as_likely_as_arch_finds_them",
            len(windows) - below,
            len(windows),
            "windows",
            target=1.0,
            better="higher",
        ),
    ]


def _within(name: str, errors: list[float], target: float) -> Result:
    return compare(name, float(np.quantile(errors, 0.99)), target, "relative", target=1.0, better="lower")


def _inside(parameters: Floats, window: Floats) -> Floats:
    """The point itself, moved into the bounds of arch where rounding left it outside; arch ignores other starts."""
    mu, omega, alpha, beta = (float(value) for value in parameters)
    variance = float(window.var())
    alpha = min(max(alpha, 0.0), 1.0)
    bounded = min(max(omega, 1.000001e-8 * variance), 9.99999 * variance)
    return np.array([mu, bounded, alpha, min(max(beta, 0.0), 1.0 - alpha)])


def _speed(kind: str, windows: Floats) -> list[Result]:
    ours, reference, one, two = [], [], [], []
    for turn in range(ROUNDS):
        some = windows[turn * REFERENCE_FITS : (turn + 1) * REFERENCE_FITS]
        reference.append(_seconds(partial(_fit_all, some), time.thread_time) / len(some))
        ours.append(_seconds(lambda: fit_forecast_batch(windows, HORIZON, threads=1), time.thread_time) / len(windows))
        one.append(_seconds(lambda: fit_forecast_batch(windows, HORIZON, threads=1), time.perf_counter))
        two.append(_seconds(lambda: fit_forecast_batch(windows, HORIZON, threads=2), time.perf_counter))
    speed = 1.0 / statistics.median(ours), 1.0 / statistics.median(reference)
    return [
        compare(f"garch.{kind}.fit_and_forecast_per_thread", *speed, "fits/s", target=SPEED_TARGET, better="higher"),
        compare(f"garch.{kind}.two_threads", min(two), min(one), "s", target=THREADS_TARGET, better="lower"),
    ]


def _fit_all(windows: Floats) -> None:
    for window in windows:
        _fit(window)


def _seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start
