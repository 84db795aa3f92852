"""Which butterfly an analysis asks for: its type, expiry, strikes, and the date it is evaluated.

What belongs here: choices that follow from forecasts by rule. What does not: prices. Each rule that differs from the
source document's keeps the document's selectable as ``document``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.config import DteRule, StrikeRule
from butterquant_assets.foundation.calendar import session_on_or_before
from butterquant_assets.foundation.errors import ConfigError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Days = npt.NDArray[np.datetime64]
Texts = npt.NDArray[np.object_]

TREND_THRESHOLD_PCT = 0.15
CYCLE_BARS = 10
WIDTH_IN_DEVIATIONS = 1.25
INCREMENTS_PER_WIDTH = 4
MANTISSAS = np.array([1.0, 2.5, 5.0, 10.0])


@dataclass(frozen=True)
class Strikes:
    """Strikes of symmetric butterflies and the width between two neighbours, arrays of one shape, in USD."""

    lower: Floats
    center: Floats
    upper: Floats
    width: Floats


def strikes_of(table: Mapping[str, npt.ArrayLike] | pd.DataFrame) -> Strikes:
    """Strikes held in the columns lower_strike, center_strike, upper_strike and width of the analyses."""
    names = ("lower_strike", "center_strike", "upper_strike", "width")
    return Strikes(*(np.asarray(table[name], dtype=np.float64) for name in names))


def trend_direction(slope: Floats) -> Texts:
    """``UP``, ``DOWN`` or ``FLAT`` (within +-0.15 % per session) for trend slopes in % per session, shape (n,)."""
    up, down = slope > TREND_THRESHOLD_PCT, slope < -TREND_THRESHOLD_PCT
    return np.where(up, "UP", np.where(down, "DOWN", "FLAT")).astype(object)


def cycle_position(cycle: Floats) -> Texts:
    """``PEAK`` where the last ten values of the cycle, shape (n, m), average above 0, else ``TROUGH``; shape (n,)."""
    recent = np.ascontiguousarray(cycle[:, -CYCLE_BARS:]).mean(axis=1)
    return np.where(recent > 0.0, "PEAK", "TROUGH").astype(object)


def butterfly_type(trend: Texts, position: Texts) -> Texts:
    """The document's choice: FLAT -> ``IRON``, DOWN at a PEAK -> ``PUT``, everything else -> ``CALL``; shape (n,)."""
    put = (trend == "DOWN") & (position == "PEAK")
    return np.where(trend == "FLAT", "IRON", np.where(put, "PUT", "CALL")).astype(object)


def days_to_expiry(dominant_period: Floats, rule: DteRule) -> Ints:
    """Calendar days to expiry by the length of the dominant cycle.

    Parameters
    ----------
    dominant_period
        sessions, shape (n,)
    rule
        ``ours``: 21 / 30 / 45 for periods < 52 / < 85 / longer, the terciles of real periods; ``document``: for
        periods < 20 / < 40 / longer, which puts 87 % of rows into one bucket

    Raises
    ------
    ConfigError
        if `rule` is unknown.
    """
    limits = {"ours": (52.0, 85.0), "document": (20.0, 40.0)}.get(rule)
    if limits is None:
        raise ConfigError(f"dte_rule {rule!r} is unknown; use 'ours' or 'document'")
    return np.where(dominant_period < limits[0], 21, np.where(dominant_period < limits[1], 30, 45)).astype(np.int64)


def choose_strikes(
    spot: Floats,
    forecast_price: Floats,
    predicted_vol: Floats,
    dte: Ints,
    band_pct: Floats,
    dominant_period: Floats,
    rule: StrikeRule,
) -> Strikes:
    """Strikes around the forecast price, shape (n,) in and out.

    Parameters
    ----------
    spot, forecast_price
        USD, positive
    predicted_vol
        per year as a fraction (``ours``)
    dte
        calendar days
    band_pct
        width of the forecast's 95 % band in % of its mean (``document``)
    dominant_period
        sessions (``document``)
    rule
        ``ours``: raw width 1.25 S predicted_vol sqrt(dte/365); the increment is the member of {1, 2.5, 5} x 10^k
        nearest in log to a quarter of it; center and width are the forecast and the raw width, rounded to the
        increment. All prices times ten gives all strikes times ten.
        ``document``: increment 2.5 below $50, 5 below $200, else 10; width of 1 / 2 / 3 increments for a band below
        8 % / 12 % / wider, x 0.8 for periods below 15, x 1.2 above 45, rounded to increments, at least one.

    Returns
    -------
    Strikes
        the lower strike may be 0 or negative (a wide butterfly on a cheap stock under ``document``): reject such rows

    Raises
    ------
    ConfigError
        if `rule` is unknown.
    """
    if rule == "ours":
        raw = WIDTH_IN_DEVIATIONS * spot * predicted_vol * np.sqrt(dte / 365.0)
        mantissa, exponent = _nearest_increment(raw / INCREMENTS_PER_WIDTH)
        units = _whole(raw / _times_power_of_ten(mantissa, exponent))
    elif rule == "document":
        mantissa = np.where(spot < 50.0, 2.5, np.where(spot < 200.0, 5.0, 10.0))
        exponent = np.zeros(spot.shape, dtype=np.int64)
        units = np.where(band_pct < 8.0, 1.0, np.where(band_pct < 12.0, 2.0, 3.0))
        stretch = np.where(dominant_period < 15.0, 0.8, np.where(dominant_period > 45.0, 1.2, 1.0))
        units = np.maximum(np.rint(units * stretch), 1.0)
    else:
        raise ConfigError(f"strike_rule {rule!r} is unknown; use 'ours' or 'document'")
    middle = _whole(forecast_price / _times_power_of_ten(mantissa, exponent))
    return Strikes(
        lower=_times_power_of_ten((middle - units) * mantissa, exponent),
        center=_times_power_of_ten(middle * mantissa, exponent),
        upper=_times_power_of_ten((middle + units) * mantissa, exponent),
        width=_times_power_of_ten(units * mantissa, exponent),
    )


def _nearest_increment(target: Floats) -> tuple[Floats, Ints]:
    """Mantissa and exponent of the member of {1, 2.5, 5} x 10^k nearest to `target` in log."""
    log_target = np.log10(target)
    exponent = np.floor(log_target)
    distance = np.abs((log_target - exponent)[:, None] - np.log10(MANTISSAS))
    return MANTISSAS[np.argmin(distance, axis=1)], exponent.astype(np.int64)


def _whole(ratio: Floats) -> Floats:
    """Nearest whole number, halves to even; .95/.1 is a half like 9.5/1, though the float quotient lies below it."""
    return np.rint(np.round(ratio, 9))


def _times_power_of_ten(value: Floats, exponent: Ints) -> Floats:
    """`value` x 10^exponent with one rounding, so that 12 x 0.1 is the float nearest to 1.2."""
    power = 10.0 ** np.abs(exponent)
    return np.where(exponent < 0, value / power, value * power)


def days_held(dte: Ints) -> Ints:
    """The document's holding time: dte - 5 from 30 days on, else max(dte - 3, floor(0.8 dte)); calendar days, (n,)."""
    return np.where(dte >= 30, dte - 5, np.maximum(dte - 3, np.floor(0.8 * dte).astype(np.int64))).astype(np.int64)


def evaluation_dates(sessions: Days, dte: Ints) -> tuple[Days, Ints]:
    """When each butterfly is evaluated, and how long it then has to live.

    Parameters
    ----------
    sessions
        entry sessions, datetime64[D], shape (n,)
    dte
        calendar days to expiry, shape (n,)

    Returns
    -------
    (datetime64[D] array, int64 array)
        the last session on or before entry + days held (a Friday expiry minus five days is a Sunday), and the
        calendar days from it to expiry
    """
    planned = sessions + days_held(dte).astype("timedelta64[D]")
    evaluation = session_on_or_before(planned)
    left = (sessions + dte.astype("timedelta64[D]") - evaluation).astype(np.int64)
    return evaluation, left
