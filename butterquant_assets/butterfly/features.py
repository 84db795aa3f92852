"""The 23 features of an analysis, in the order of REFERENCE section 1.

What belongs here: a row-by-row map from the columns of analyses. Prices are divided by spot so that tickers are
comparable. `total_score` is an output of the analysis and never a feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

FEATURE_SOURCES: dict[str, tuple[str, ...]] = {
    "trend_slope": ("trend_slope",),
    "dominant_period": ("dominant_period",),
    "period_strength": ("period_strength",),
    "forecast_return": ("forecast_price", "spot"),
    "predicted_vol": ("predicted_vol",),
    "current_iv": ("current_iv",),
    "vol_mispricing": ("vol_mispricing",),
    "iv_percentile": ("iv_percentile",),
    "delta": ("delta",),
    "gamma": ("gamma", "spot"),
    "vega": ("vega", "spot"),
    "theta": ("theta", "spot"),
    "max_profit": ("max_profit", "spot"),
    "max_loss": ("max_loss", "spot"),
    "profit_ratio": ("profit_ratio",),
    "prob_profit": ("prob_profit",),
    "skew_estimate": ("return_skew",),
    "momentum_7d": ("momentum_7d",),
    "vol_concentration": ("vol_concentration",),
    "dte_factor": ("dte",),
    "price_stability": ("price_stability",),
    "gamma_theta_ratio": ("theta", "gamma", "spot", "predicted_vol"),
    "vix_level": ("vix_close",),
}
"""Columns of analyses that each feature is computed from."""

FEATURES: tuple[str, ...] = tuple(FEATURE_SOURCES)
"""Names of the features, in order."""

_DIVIDED_BY_SPOT = ("vega", "theta", "max_profit", "max_loss")
_RENAMED = {"skew_estimate": "return_skew", "vix_level": "vix_close"}


def build_features(analyses: pd.DataFrame) -> pd.DataFrame:
    """Features of each analysis.

    Parameters
    ----------
    analyses
        columns of `schemas.ANALYSES` (those of `FEATURE_SOURCES` and the keys are read)

    Returns
    -------
    DataFrame
        session, ticker, then the 23 of `FEATURES` as float64, rows as given. Units: REFERENCE section 1. A missing
        input gives NaN, never 0.

    Notes
    -----
    ``skew_estimate`` is the skewness of the last 60 daily returns: under a fixed proxy smile, and under published
    at-the-money volatility, the slope of the smile would be a constant. ``gamma_theta_ratio`` compares the daily move
    at which gamma pays for theta, annualised, with the predicted volatility; it is NaN where gamma is 0.
    """
    spot = analyses["spot"].to_numpy(dtype=np.float64)
    special = {
        "forecast_return": _column(analyses, "forecast_price") / spot - 1.0,
        "gamma": _column(analyses, "gamma") * spot,
        "dte_factor": np.minimum(_column(analyses, "dte") / 30.0, 2.0),
        "gamma_theta_ratio": _gamma_theta_ratio(analyses, spot),
    }
    features = analyses[["session", "ticker"]].copy()
    for name in FEATURES:
        if name in special:
            features[name] = special[name]
        elif name in _DIVIDED_BY_SPOT:
            features[name] = _column(analyses, name) / spot
        else:
            features[name] = _column(analyses, _RENAMED.get(name, name))
    return features


def features_of(analysis: Mapping[str, Any]) -> dict[str, float | None]:
    """Features of one analysis given as plain values (see `analysis.analyse_one`), missing ones as None."""
    row = build_features(pd.DataFrame({name: [value] for name, value in analysis.items()})).iloc[0]
    return {name: None if np.isnan(row[name]) else float(row[name]) for name in FEATURES}


def _column(analyses: pd.DataFrame, name: str) -> Floats:
    return analyses[name].to_numpy(dtype=np.float64)


def _gamma_theta_ratio(analyses: pd.DataFrame, spot: Floats) -> Floats:
    gamma, theta = np.abs(_column(analyses, "gamma")), np.abs(_column(analyses, "theta"))
    curvature = np.where(gamma > 0.0, gamma, np.nan) * spot**2
    return np.clip(np.sqrt(730.0 * theta / curvature) / _column(analyses, "predicted_vol"), 0.0, 5.0)
