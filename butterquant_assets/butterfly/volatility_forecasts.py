"""Volatility forecasts that need no learner, and the way from a forecast of log variance back to volatility.

What belongs here: GARCH as it is, GARCH with its bias removed, HAR-RV with and without more regressors, and smearing.
What does not: learners, folds and scores. Variances are per year; a forecast is a pair of variance and volatility,
since the mean of one is not the square of the mean of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.short_term_training import LOG_REFERENCES, log_references, log_variance
from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]

GARCH, GARCH_CORRECTED, HAR_RV, HAR_RV_X = "garch", "garch_corrected", "har_rv", "har_x"
REFERENCE_FORECASTS = (GARCH, GARCH_CORRECTED, HAR_RV, HAR_RV_X)
HAR = ("log_rv_1", "log_rv_5", "log_rv_22")
HAR_X = (*HAR, "log_garch_variance_7", "log_vix_variance")


@dataclass(frozen=True, eq=False)
class Forecast:
    """Expected variance and expected volatility, per year, shape (n,) each."""

    variance: Floats
    volatility: Floats


@dataclass(frozen=True)
class Smearing:
    """Factors that turn exp(log forecast) into expected variance, and its root into expected volatility.

    The mean of a quantity exceeds the exponential of the mean of its logarithm. Duan's estimate assumes no
    distribution: the factor is the mean of the exponentiated residuals.

    Notes
    -----
    Source: N. Duan, *Smearing Estimate: A Nonparametric Retransformation Method*, JASA 78 (1983).
    """

    variance: float
    volatility: float

    def forecast(self, log_forecast: Floats) -> Forecast:
        """Expected variance and volatility from forecasts of log variance, shape (n,)."""
        return Forecast(self.variance * np.exp(log_forecast), self.volatility * np.exp(0.5 * log_forecast))


def duan_smearing(log_realised: Floats, log_forecast: Floats) -> Smearing:
    """Smearing factors from log variances realised and forecast on training rows, shape (n,) each.

    Raises
    ------
    DataError
        if there is no row, or a value is missing.
    """
    residuals = log_realised - log_forecast
    if not residuals.size or not np.isfinite(residuals).all():
        raise DataError(f"{residuals.size} residuals, not all finite, give no smearing factor; give training rows")
    return Smearing(float(np.exp(residuals).mean()), float(np.exp(0.5 * residuals).mean()))


def log_realised_variance(rows: pd.DataFrame) -> Floats:
    """Log of the variance realised over the seven sessions, floored, shape (n,)."""
    return log_variance(rows["realised_vol_7"].to_numpy(dtype=np.float64) ** 2)


def log_garch_variance(rows: pd.DataFrame) -> Floats:
    """Log of the GARCH variance of the seven sessions, floored, shape (n,)."""
    return log_variance(rows["garch_vol_7"].to_numpy(dtype=np.float64) ** 2)


def garch_forecast(rows: pd.DataFrame) -> Forecast:
    """GARCH as it is: its volatility is the root of its variance."""
    volatility = rows["garch_vol_7"].to_numpy(dtype=np.float64)
    return Forecast(volatility**2, volatility)


def corrected_garch_forecast(train: pd.DataFrame, rows: pd.DataFrame) -> Forecast:
    """GARCH with its bias on the training rows removed.

    In logs only a constant is fitted. With smearing it cancels: the variance is multiplied by the mean ratio of
    realised to forecast variance, which is also the multiple of lowest QLIKE, and the volatility by the mean ratio of
    volatilities.

    Parameters
    ----------
    train, rows
        columns garch_vol_7 and, in `train`, realised_vol_7
    """
    smearing = duan_smearing(log_realised_variance(train), log_garch_variance(train))
    return smearing.forecast(log_garch_variance(rows))


def reference_forecasts(train: pd.DataFrame, rows: pd.DataFrame) -> dict[str, Forecast]:
    """Every one of `REFERENCE_FORECASTS` for `rows`, from what `train` holds."""
    return {
        GARCH: garch_forecast(rows),
        GARCH_CORRECTED: corrected_garch_forecast(train, rows),
        HAR_RV: log_linear_forecast(train, rows, HAR),
        HAR_RV_X: log_linear_forecast(train, rows, HAR_X),
    }


@dataclass(frozen=True, eq=False)
class LogLinear:
    """Log realised variance as a linear function of log references.

    Parameters
    ----------
    columns
        of `LOG_REFERENCES`
    coefficients
        the constant, then one per column
    """

    columns: tuple[str, ...]
    coefficients: tuple[float, ...]

    def log_forecast(self, rows: pd.DataFrame) -> Floats:
        """Forecast of log variance, shape (n,)."""
        X = _design(rows, self.columns)
        # Not by BLAS, whose order of summation depends on threads.
        return np.asarray((X * np.array(self.coefficients)).sum(axis=1))


def fit_log_linear(train: pd.DataFrame, columns: tuple[str, ...]) -> LogLinear:
    """Least squares of log realised variance on a constant and log references.

    Parameters
    ----------
    train
        columns rv_1, rv_5, rv_22, garch_vol_7, vix_level, realised_vol_7
    columns
        of `LOG_REFERENCES`; `HAR` for HAR-RV, `HAR_X` for HAR-RV with GARCH and the VIX beside it

    Raises
    ------
    DataError
        if the training rows do not determine the coefficients.

    Notes
    -----
    Source: F. Corsi, *A Simple Approximate Long-Memory Model of Realized Volatility*, Journal of Financial
    Econometrics 7 (2009), with squared daily returns in place of intraday ones.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    X, y = _design(train, columns), log_realised_variance(train)
    with threadpool_limits(limits=1):  # sums in one order, so that equal inputs give equal bytes
        coefficients, _, rank, _ = np.linalg.lstsq(X, y, rcond=None)
    if rank < X.shape[1]:
        raise DataError(
            f"{len(train)} training rows give {rank} independent columns of {X.shape[1]} (constant, "
            f"{', '.join(columns)}); train on a longer span"
        )
    return LogLinear(columns, tuple(float(value) for value in coefficients))


def log_linear_forecast(train: pd.DataFrame, rows: pd.DataFrame, columns: tuple[str, ...]) -> Forecast:
    """Forecast of `fit_log_linear` on `train`, with smearing from its residuals there."""
    model = fit_log_linear(train, columns)
    return duan_smearing(log_realised_variance(train), model.log_forecast(train)).forecast(model.log_forecast(rows))


def _design(rows: pd.DataFrame, columns: tuple[str, ...]) -> Floats:
    chosen = [LOG_REFERENCES.index(name) for name in columns]
    return np.column_stack([np.ones(len(rows)), log_references(rows)[:, chosen]])
