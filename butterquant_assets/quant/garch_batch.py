"""GARCH(1,1) volatility forecasts of many series at once, at hundreds of times the speed of `arch`.

What belongs here: an array of series in, their fits and forecasts out, with a status for every row. What does not:
which returns to use. The compiled work lies in `garch_rows`, `garch_steps` and `garch_kernel`, imported on first use.

The model, its likelihood (backcast, limits of the variances, bounds of the parameters) and its starting point are those
of `arch` 8; so is the path to the optimum, which decides which of several local maxima is found. The optimum itself is
found to rounding, where `arch` stops at a tolerance of 1e-6 in the log-likelihood.

Model: r_t = mu + e_t, e_t ~ N(0, v_t), v_t = omega + alpha e_{t-1}^2 + beta v_{t-1}.
Source: T. Bollerslev, "Generalized Autoregressive Conditional Heteroskedasticity", Journal of Econometrics 31 (1986).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.quant.garch import (
    MINIMUM_RETURNS,
    MINIMUM_STD_PCT,
    SECOND_START_ALPHA,
    SECOND_START_BETA,
    SESSIONS_PER_YEAR,
)

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]


class Status(IntEnum):
    """What became of a row."""

    OK = 0
    NON_FINITE = 1
    CONSTANT = 2
    NOT_CONVERGED = 3
    BAD_FORECAST = 4
    TOO_SHORT = 5


REASONS: dict[Status, str] = {
    Status.OK: "",
    Status.NON_FINITE: "returns are not all finite; repair or reject the series before fitting",
    Status.CONSTANT: "returns are constant; a price that does not move has no volatility to fit, reject the row",
    Status.NOT_CONVERGED: "GARCH(1,1) did not converge from arch's own start nor from the second; reject the row",
    Status.BAD_FORECAST: "GARCH(1,1) gave a variance forecast that is not finite and positive; reject the row",
    Status.TOO_SHORT: f"returns are too few for GARCH(1,1); give at least {MINIMUM_RETURNS}",
}


@dataclass(frozen=True)
class GarchFits:
    """Fits and forecasts of n series; everything but `status` is NaN in a row whose status is not OK.

    Attributes
    ----------
    mu
        mean return, percent per session, shape (n,)
    omega
        constant of the variance equation, percent squared, shape (n,)
    alpha, beta
        weights of the last squared shock and of the last variance, shape (n,)
    log_likelihood
        of the returns as given, in percent, shape (n,)
    mean_daily_vol
        mean conditional volatility 1 .. horizon sessions ahead, percent per session, shape (n,)
    annualised_vol
        the same per year, as a fraction: mean_daily_vol sqrt(252) / 100, shape (n,)
    daily_vol
        conditional volatility 1 .. horizon sessions ahead, percent per session, shape (n, horizon)
    status
        code of `Status`, shape (n,); `REASONS` puts it into words
    """

    mu: Floats
    omega: Floats
    alpha: Floats
    beta: Floats
    log_likelihood: Floats
    mean_daily_vol: Floats
    annualised_vol: Floats
    daily_vol: Floats
    status: Codes

    def reason(self, row: int) -> str:
        """Why a row has no fit; empty where it has one."""
        return REASONS[Status(int(self.status[row]))]


def fit_forecast_batch(returns_pct: npt.ArrayLike, horizon: int = 30, threads: int = 2) -> GarchFits:
    """Fit a GARCH(1,1) with constant mean and normal errors to every row, and forecast its volatility.

    A fit on the boundary alpha + beta = 1 (an integrated GARCH) is accepted, as in `garch.fit_forecast`; beyond it
    there is none. A row gives the same bytes alone, in any batch and with any number of threads.

    Parameters
    ----------
    returns_pct
        returns in percent (not fractions: the path to the optimum depends on the unit, as it does in `arch`), oldest
        first, shape (n, T); a row that holds a missing value is refused
    horizon
        sessions to forecast
    threads
        threads to spread the rows over

    Returns
    -------
    GarchFits

    Raises
    ------
    DataError
        if `returns_pct` is not two-dimensional, or `horizon` or `threads` is below 1. A row without a fit raises
        nothing: see `GarchFits.status`.
    """
    returns = np.ascontiguousarray(returns_pct, dtype=np.float64)
    if returns.ndim != 2:
        raise DataError(f"returns have shape {returns.shape}, expected (series, sessions); give one series as one row")
    if horizon < 1:
        raise DataError(f"a horizon of {horizon} sessions cannot be forecast; ask for at least 1")
    if threads < 1:
        raise DataError(f"{threads} threads cannot do anything; ask for at least 1")
    count = returns.shape[0]
    parameters, log_likelihood = np.full((count, 4), np.nan), np.full(count, np.nan)
    daily_vol, mean_vol = np.full((count, horizon), np.nan), np.full(count, np.nan)
    status = np.full(count, Status.TOO_SHORT, dtype=np.int8)
    if returns.shape[1] >= MINIMUM_RETURNS and count:
        _fit_in_threads(returns, min(threads, count), parameters, log_likelihood, daily_vol, mean_vol, status)
    for values in (parameters, log_likelihood, daily_vol, mean_vol):
        values[status != Status.OK] = np.nan
    mu, omega, alpha, beta = np.ascontiguousarray(parameters.T)
    annualised = mean_vol * np.sqrt(SESSIONS_PER_YEAR) / 100.0
    return GarchFits(mu, omega, alpha, beta, log_likelihood, mean_vol, annualised, daily_vol, status)


def _fit_in_threads(
    returns: Floats,
    threads: int,
    parameters: Floats,
    log_likelihood: Floats,
    daily_vol: Floats,
    mean_vol: Floats,
    status: Codes,
) -> None:
    """Fill the result arrays; every thread works on its own run of rows, and the compiled code holds no lock."""
    from butterquant_assets.quant.garch_rows import fit_rows

    second_start = (SECOND_START_ALPHA, SECOND_START_BETA)
    edges = np.linspace(0, len(returns), threads + 1).astype(int)

    def fit(start: int, stop: int) -> None:
        part = slice(start, stop)
        fit_rows(
            returns[part],
            MINIMUM_STD_PCT,
            second_start,
            parameters[part],
            log_likelihood[part],
            daily_vol[part],
            mean_vol[part],
            status[part],
        )

    if threads == 1:
        fit(0, len(returns))
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(fit, int(a), int(b)) for a, b in pairwise(edges)]:
            done.result()
