"""Implied volatility where no option chain is at hand: a level times a smile.

What belongs here: realised volatility, the shape of the smile, and the rank of today's level among earlier ones.
Published volatilities by tenor are looked up in `implied_vols`. A proxy built on realised volatility manufactures
edge (REFERENCE, section 1): whatever is found under it has to be re-marked with published volatility.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.config import Smile
from butterquant_assets.butterfly.strikes import Strikes
from butterquant_assets.foundation.errors import ConfigError

Floats = npt.NDArray[np.float64]

SESSIONS_PER_YEAR = 252
REALISED_RETURNS = 30
PERCENTILE_SESSIONS = 252
MINIMUM_PERCENTILE_VALUES = 126
MINIMUM_VOL = 1e-6  # below it a volatility per year is rounding of a price that does not move

# The source document's multiples of realised volatility: low strikes, at the money, high strikes.
LOW_MULTIPLE, ATM_MULTIPLE, HIGH_MULTIPLE = 1.25, 1.15, 1.10
LOW_MONEYNESS, HIGH_MONEYNESS = 0.95, 1.05
SMILE_LIMIT = 0.2  # |ln(K/S)| beyond which the smooth smile stays flat


@dataclass(frozen=True)
class LegVols:
    """Implied volatility of each leg, per year as a fraction, arrays of one shape."""

    lower: Floats
    center: Floats
    upper: Floats


def leg_vols_of(table: Mapping[str, npt.ArrayLike] | pd.DataFrame) -> LegVols:
    """Volatilities held in the columns iv_lower, iv_center and iv_upper of the analyses."""
    return LegVols(*(np.asarray(table[name], dtype=np.float64) for name in ("iv_lower", "iv_center", "iv_upper")))


def log_returns(closes: Floats) -> Floats:
    """Daily log returns of adjusted closes, shape (n, m) in, (n, m - 1) out."""
    return np.asarray(np.diff(np.log(closes), axis=1))


def realised_vol(returns: Floats, count: int = 1) -> Floats:
    """Annualised standard deviation (ddof 1) of the last 30 daily log returns, for the last `count` days.

    Parameters
    ----------
    returns
        daily log returns, shape (n, m) with m >= 29 + count, oldest first
    count
        how many days to answer for; the last one is the newest

    Returns
    -------
    float64 array, shape (n, count), per year (252 sessions) as a fraction; oldest first
    """
    tail = returns[:, -(REALISED_RETURNS - 1 + count) :]
    out = np.empty((len(returns), count))
    # One row at a time: the temporary is small, and a row's bits cannot depend on its neighbours in the batch.
    for row, values in enumerate(tail):
        runs = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(values, REALISED_RETURNS))
        out[row] = runs.std(axis=1, ddof=1)
    return np.asarray(out * np.sqrt(SESSIONS_PER_YEAR))


def percentile(history: Floats, today: Floats) -> Floats:
    """Share of earlier values below today's.

    Parameters
    ----------
    history
        earlier values, NaN where unknown, shape (n, m)
    today
        shape (n,)

    Returns
    -------
    float64 array, shape (n,), 0 .. 1; NaN where today's value or more than half of 252 earlier ones are missing
    (fewer than 126 known)
    """
    known = np.isfinite(history).sum(axis=1)
    below = (history < today[:, None]).sum(axis=1)
    enough = (known >= MINIMUM_PERCENTILE_VALUES) & np.isfinite(today)
    return np.where(enough, below / np.maximum(known, 1), np.nan)


def smile_multiple(strike: npt.ArrayLike, spot: npt.ArrayLike, smile: Smile) -> Floats:
    """Implied volatility at a strike over that at the money.

    Parameters
    ----------
    strike, spot
        positive, same currency, broadcast
    smile
        ``smooth``: the quadratic in m = ln(K/S) through the document's anchors (m = ln .95, 0, ln 1.05), constant
        beyond |m| = 0.2; ``document``: their steps at K/S = .95 and 1.05; ``flat``: 1

    Returns
    -------
    float64 array of the broadcast shape, dimensionless; NaN in gives NaN out

    Raises
    ------
    ConfigError
        if `smile` is unknown.

    Notes
    -----
    The steps move a debit by 11 % and put wings at exactly +-5 % into the wrong bucket (REFERENCE, section 1).
    """
    moneyness = np.asarray(strike, dtype=np.float64) / np.asarray(spot, dtype=np.float64)
    if smile == "flat":
        return np.where(np.isnan(moneyness), np.nan, 1.0)
    if smile == "document":
        low, high = moneyness < LOW_MONEYNESS, moneyness > HIGH_MONEYNESS
        steps = np.where(low, LOW_MULTIPLE, np.where(high, HIGH_MULTIPLE, ATM_MULTIPLE)) / ATM_MULTIPLE
        return np.where(np.isnan(moneyness), np.nan, steps)
    if smile == "smooth":
        slope, curvature = _smooth_coefficients()
        m = np.clip(np.log(moneyness), -SMILE_LIMIT, SMILE_LIMIT)
        return np.asarray(1.0 + m * (slope + curvature * m))
    raise ConfigError(f"smile {smile!r} is unknown; use 'smooth', 'document' or 'flat'")


def _smooth_coefficients() -> tuple[float, float]:
    """Slope and curvature of 1 + b m + a m^2 through the two outer anchors (Newton's divided differences)."""
    low, high = np.log(LOW_MONEYNESS), np.log(HIGH_MONEYNESS)
    chord_low = (LOW_MULTIPLE / ATM_MULTIPLE - 1.0) / low
    chord_high = (HIGH_MULTIPLE / ATM_MULTIPLE - 1.0) / high
    curvature = (chord_high - chord_low) / (high - low)
    return float(chord_low - curvature * low), float(curvature)


def leg_vols(atm: npt.ArrayLike, strikes: Strikes, spot: npt.ArrayLike, smile: Smile) -> LegVols:
    """Implied volatility of the three legs: the at-the-money level times the smile at each strike.

    Parameters
    ----------
    atm
        at-the-money implied volatility, per year as a fraction, shape (n,)
    strikes
        strikes in today's shares, shape (n,) each
    spot
        price the moneyness is taken against, shape (n,)
    smile
        as in `smile_multiple`

    Returns
    -------
    LegVols
        NaN where an input is NaN
    """
    level = np.asarray(atm, dtype=np.float64)
    return LegVols(
        lower=level * smile_multiple(strikes.lower, spot, smile),
        center=level * smile_multiple(strikes.center, spot, smile),
        upper=level * smile_multiple(strikes.upper, spot, smile),
    )
