"""GARCH(1,1) volatility forecast of one series; `garch_batch` does many at once.

What belongs here: one series in, one fit and its forecast out. What does not: which returns to use, and what a fit
that fails means for a row; the caller rejects it with the reason given. There is never a made-up volatility.

Model: r_t = mu + e_t, e_t ~ N(0, v_t), v_t = omega + alpha e_{t-1}^2 + beta v_{t-1}.
Source: T. Bollerslev, "Generalized Autoregressive Conditional Heteroskedasticity", Journal of Econometrics 31 (1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError, FitError

Floats = npt.NDArray[np.float64]

MINIMUM_RETURNS = 100
SESSIONS_PER_YEAR = 252.0
# A standard deviation below this (in percent a session) is rounding noise of a price that does not move.
MINIMUM_STD_PCT = 1e-6
# Persistence of the second start; alpha and beta are the usual ones of daily equity returns.
SECOND_START_ALPHA, SECOND_START_BETA = 0.05, 0.90


@dataclass(frozen=True)
class GarchForecast:
    """A fitted GARCH(1,1) and its forecast.

    Attributes
    ----------
    mu
        mean return, percent per session
    omega
        constant of the variance equation, percent squared
    alpha, beta
        weights of the last squared shock and of the last variance
    log_likelihood
        of the returns as given, in percent
    daily_vol
        conditional volatility 1 .. horizon sessions ahead, percent per session, shape (horizon,)
    """

    mu: float
    omega: float
    alpha: float
    beta: float
    log_likelihood: float
    daily_vol: Floats


def fit_forecast(returns_pct: npt.ArrayLike, horizon: int = 30) -> GarchForecast:
    """Fit a GARCH(1,1) with constant mean and normal errors, and forecast its volatility.

    The fit starts where `arch` starts (the best of its grid). Only if that does not converge is a second, fixed start
    tried: a search over many starts finds degenerate optima (alpha = 0) whose forecasts are far off.
    A fit on the boundary alpha + beta = 1 (an integrated GARCH) is accepted: its variance has no long-run level, yet
    its forecast over `horizon` sessions is finite and the one `arch` gives. Beyond the boundary there is none.

    Parameters
    ----------
    returns_pct
        returns in percent (not fractions: on those the optimiser of `arch` stops far from the optimum), oldest first,
        shape (n,), n >= 100
    horizon
        sessions to forecast

    Returns
    -------
    GarchForecast
        the same input gives the same bytes, whatever number of threads the process has

    Raises
    ------
    FitError
        if the series is too short, not finite or constant, if no start converged, or if the forecast is not finite.
    DataError
        if `returns_pct` is not one-dimensional or `horizon` is below 1.
    """
    returns = np.asarray(returns_pct, dtype=np.float64)
    _check_input(returns, horizon)

    from butterquant_assets.quant.garch_batch import fit_forecast_batch

    fits = fit_forecast_batch(returns[None, :], horizon, threads=1)
    if reason := fits.reason(0):
        raise FitError(f"{returns.size} returns with a standard deviation of {returns.std():.6g} %: {reason}")
    return GarchForecast(
        mu=float(fits.mu[0]),
        omega=float(fits.omega[0]),
        alpha=float(fits.alpha[0]),
        beta=float(fits.beta[0]),
        log_likelihood=float(fits.log_likelihood[0]),
        daily_vol=fits.daily_vol[0],
    )


def annualised_vol(forecast: GarchForecast) -> float:
    """Mean of the forecast volatilities over the horizon, per year as a fraction: mean(daily_vol) sqrt(252) / 100."""
    return float(forecast.daily_vol.mean() * np.sqrt(SESSIONS_PER_YEAR) / 100.0)


def _check_input(returns: Floats, horizon: int) -> None:
    if returns.ndim != 1:
        raise DataError(f"returns have shape {returns.shape}, expected one dimension; fit one series at a time")
    if horizon < 1:
        raise DataError(f"a horizon of {horizon} sessions cannot be forecast; ask for at least 1")
    if returns.size < MINIMUM_RETURNS:
        raise FitError(f"{returns.size} returns are too few for GARCH(1,1); give at least {MINIMUM_RETURNS}")
    bad = ~np.isfinite(returns)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise FitError(
            f"{int(bad.sum())} of {returns.size} returns are not finite, the first ({returns[first]}) at position "
            f"{first}; repair or reject the series before fitting"
        )
    if returns.std() <= MINIMUM_STD_PCT:
        raise FitError(
            f"the {returns.size} returns are constant at {returns[0]:.6g} % (deviation {returns.std():.3g} %); "
            "a price that does not move has no volatility to fit, reject the row"
        )
