"""Scores of point forecasts, and the test of whether one forecaster is better than another.

What belongs here: losses of forecasts of a level or of a variance, and tests on the difference of two series of losses.
What does not: scores of class probabilities (`learning.metrics`), intervals over episodes (`learning.evidence`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr, stdtr

from butterquant_assets.foundation.errors import ConfigError, DataError, InsufficientHistoryError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DieboldMariano:
    """Whether two series of losses have the same mean.

    Parameters
    ----------
    difference
        mean of ``loss_a - loss_b``: above 0, b is the better
    statistic
        the difference over its standard error, corrected if asked; infinite for a constant difference other than 0
    p_value
        two-sided
    observations
        losses compared, for a panel its sessions
    lag
        autocovariances in the long-run variance
    """

    difference: float
    statistic: float
    p_value: float
    observations: int
    lag: int


def squared_errors(forecast: npt.ArrayLike, realised: npt.ArrayLike) -> Floats:
    """(forecast - realised)^2 per row, shape (n,), in the square of their unit.

    Raises
    ------
    DataError
        if there is no row, or a value is missing or infinite.
    """
    f, r = _pair(forecast, realised)
    return np.square(f - r)


def rmse(forecast: npt.ArrayLike, realised: npt.ArrayLike) -> float:
    """Root mean squared error, in the unit of the forecast; see `squared_errors`."""
    return float(np.sqrt(squared_errors(forecast, realised).mean()))


def qlike_losses(forecast: npt.ArrayLike, realised: npt.ArrayLike) -> Floats:
    """QLIKE per row, ``rv / f - log(rv / f) - 1``: 0 for a perfect forecast, without unit, harsher on one too low.

    Parameters
    ----------
    forecast, realised
        variances (not volatilities), same unit, above 0, shape (n,)

    Returns
    -------
    array of shape (n,), 0 or more

    Raises
    ------
    DataError
        if there is no row, or a variance is missing, infinite or not above 0 (a realised variance of exactly 0 is a
        halted stock: leave it out, or floor it at the variance of one tick).

    Notes
    -----
    With squared error the one loss that ranks variance forecasts rightly although realised variance is itself a noisy
    estimate: A. J. Patton, *Volatility forecast comparison using imperfect volatility proxies*, Journal of Econometrics
    160 (2011), normalised here to be 0 at its minimum.
    """
    f, r = _pair(forecast, realised)
    for name, variances in (("forecast", f), ("realised", r)):
        unusable = np.flatnonzero(~(variances > 0))
        if unusable.size:
            row = int(unusable[0])
            raise DataError(
                f"{unusable.size} {name} variances are not above 0, first row {row}: {variances[row]}; QLIKE needs "
                "positive variances, so leave such rows out or floor them"
            )
    ratio = r / f
    # For ratios near 1 rounding could give -1e-17, and a loss below its minimum is a lie.
    return np.maximum(ratio - np.log(ratio) - 1.0, 0.0)


def qlike(forecast: npt.ArrayLike, realised: npt.ArrayLike) -> float:
    """Mean QLIKE of variance forecasts; see `qlike_losses`."""
    return float(qlike_losses(forecast, realised).mean())


def diebold_mariano(loss_a: npt.ArrayLike, loss_b: npt.ArrayLike, *, lag: int, harvey: bool = True) -> DieboldMariano:
    """Test whether two forecasters of one series have the same expected loss.

    Parameters
    ----------
    loss_a, loss_b
        losses of the same forecasts in time order, shape (n,), no missing values
    lag
        autocovariances in the long-run variance, at least the h - 1 steps over which losses of h-step forecasts
        overlap; better 2 (h - 1) or more, see Notes
    harvey
        correct for short series, with h = lag + 1, and compare with Student's t of n - 1 degrees of freedom; else
        compare with the normal distribution

    Returns
    -------
    DieboldMariano
        Identical losses give statistic 0 and p-value 1.

    Raises
    ------
    ConfigError
        if the lag is negative.
    DataError
        if a loss is missing or infinite.
    InsufficientHistoryError
        if there are not at least lag + 2 losses.

    Notes
    -----
    F. X. Diebold and R. S. Mariano, *Comparing Predictive Accuracy*, Journal of Business & Economic Statistics 13
    (1995). Long-run variance with Bartlett weights 1 - j / (lag + 1), which cannot be negative: W. K. Newey and K. D.
    West, Econometrica 55 (1987). Correction: D. Harvey, S. Leybourne and P. Newbold, *Testing the equality of
    prediction mean squared errors*, International Journal of Forecasting 13 (1997), equation 9.

    Bartlett weights also shrink the covariance that overlapping losses do have, so the test rejects too often: for 200
    pure moving sums of h = 7 shocks, at the 5 % level, 11 times in 100 with lag h - 1, 8 with twice that lag and 7 with
    four times.
    """
    if lag < 0:
        raise ConfigError(f"lag is {lag}; it must be 0 or more")
    a, b = _pair(loss_a, loss_b)
    return _test(a - b, lag, harvey)


def diebold_mariano_panel(
    loss_a: npt.ArrayLike, loss_b: npt.ArrayLike, session: npt.ArrayLike, lag: int, harvey: bool = True
) -> DieboldMariano:
    """`diebold_mariano` for forecasts of many tickers: differences are first averaged over the tickers of a session.

    Parameters
    ----------
    loss_a, loss_b
        losses of the same rows, shape (n,), in any order, no missing values
    session
        session of each row (dates), shape (n,), no missing values
    lag
        in sessions that occur; where sessions are sampled with gaps, those within `lag` places still hold all that
        overlap
    harvey
        as for `diebold_mariano`

    Returns
    -------
    DieboldMariano
        ``observations`` counts sessions, each with the same weight however many tickers it has.

    Raises
    ------
    ConfigError, DataError, InsufficientHistoryError
        as `diebold_mariano`.

    Notes
    -----
    Tickers of one session share the market's shock, so rows are no independent evidence. Averaging over the cross
    section before the long-run variance is taken is robust to that: J. C. Driscoll and A. C. Kraay, *Consistent
    covariance matrix estimation with spatially dependent panel data*, Review of Economics and Statistics 80 (1998).
    """
    if lag < 0:
        raise ConfigError(f"lag is {lag}; it must be 0 or more")
    a, b = _pair(loss_a, loss_b)
    dates = np.asarray(session)
    if dates.shape != a.shape:
        raise ValueError(f"session has shape {dates.shape}, the losses {a.shape}; they must be equal")
    codes, _ = pd.factorize(dates, sort=True)
    missing = int((codes < 0).sum())
    if missing:
        raise DataError(f"{missing} of {a.size} rows have no session; every forecast is made in one")
    return _test(np.bincount(codes, weights=a - b) / np.bincount(codes), lag, harvey)


def long_run_variance(series: npt.ArrayLike, lag: int) -> float:
    """Newey-West estimate of the variance of sqrt(n) times the mean, with Bartlett weights; shape (n,) in."""
    values = np.asarray(series, dtype=np.float64)
    centred = values - values.mean()
    products = [float((centred[j:] * centred[: len(centred) - j]).sum()) / len(centred) for j in range(lag + 1)]
    weights = [1.0] + [2.0 * (1.0 - j / (lag + 1)) for j in range(1, lag + 1)]
    return float(sum(weight * product for weight, product in zip(weights, products, strict=True)))


def _test(difference: Floats, lag: int, harvey: bool) -> DieboldMariano:
    n = difference.size
    if n < lag + 2:
        raise InsufficientHistoryError(
            f"{n} losses cannot be tested with lag {lag}; at least {lag + 2} are needed, so compare a longer span"
        )
    mean = float(difference.mean())
    # A constant difference has no variance to divide by, whatever its rounding says.
    if difference.max() == difference.min():
        same = difference[0] == 0
        return DieboldMariano(mean, 0.0 if same else float(np.copysign(np.inf, mean)), float(same), n, lag)
    statistic = mean / float(np.sqrt(long_run_variance(difference, lag) / n))
    if harvey:
        horizon = lag + 1
        statistic *= float(np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n))
    tail = stdtr(n - 1, -abs(statistic)) if harvey else ndtr(-abs(statistic))
    return DieboldMariano(mean, statistic, float(2 * tail), n, lag)


def _pair(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"the arguments have shapes {a.shape} and {b.shape}; expected the same (n,)")
    if not a.size:
        raise DataError("there are no rows to score; the part is empty")
    unusable = ~(np.isfinite(a) & np.isfinite(b))
    if unusable.any():
        raise DataError(
            f"{unusable.sum()} of {a.size} rows lack a finite value, first row {int(np.flatnonzero(unusable)[0])}; "
            "drop rows without an outcome, and mend the forecaster where a forecast is missing"
        )
    return a, b
