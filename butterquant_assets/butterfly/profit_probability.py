"""Probability that a butterfly is worth more than its debit on the evaluation date.

What belongs here: the two break-even prices of the mark and the lognormal mass between them. Everything is elementwise
with a fixed number of steps, so a row's result does not depend on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from butterquant_assets.butterfly.iv_proxy import LegVols
from butterquant_assets.butterfly.pricing import DAYS_PER_YEAR, value
from butterquant_assets.butterfly.strikes import Strikes

Floats = npt.NDArray[np.float64]

REACH_IN_DEVIATIONS = 10.0  # beyond the wings by this many standard deviations the spread is worth nothing
GRID_POINTS = 129
GOLDEN_STEPS = 40
BISECTION_STEPS = 60
CHUNK_ROWS = 512
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0

LogMark = Callable[[Floats], Floats]


def break_evens(
    strikes: Strikes, days_left: npt.NDArray[np.int64], rate: Floats, vols: LegVols, debit: Floats
) -> tuple[Floats, Floats]:
    """The two prices of the underlying at which the mark equals the debit.

    Parameters
    ----------
    strikes, vols
        of the three legs, shape (n,) each; volatilities stay those of entry, strike by strike
    days_left
        calendar days to expiry on the evaluation date, shape (n,)
    rate
        per year, shape (n,)
    debit
        USD per share, positive, shape (n,)

    Returns
    -------
    (low, high)
        USD, shape (n,); both NaN where the mark never reaches the debit

    Notes
    -----
    The mark as a function of spot is taken to have one peak, which a grid finds and golden-section search refines;
    bisection in log price then finds one break-even on either side. Several sign changes cannot occur while the
    volatilities of the legs admit no arbitrage.
    """
    low, high = np.full(debit.shape, np.nan), np.full(debit.shape, np.nan)
    for start in range(0, len(debit), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        part = Strikes(*(array[rows] for array in (strikes.lower, strikes.center, strikes.upper, strikes.width)))
        legs = LegVols(*(array[rows] for array in (vols.lower, vols.center, vols.upper)))
        low[rows], high[rows] = _break_evens(part, days_left[rows], rate[rows], legs, debit[rows])
    return low, high


def profit_probability(
    spot: Floats,
    predicted_vol: Floats,
    days_held: npt.NDArray[np.int64],
    low: Floats,
    high: Floats,
) -> Floats:
    """P(low < S' < high) for a lognormal S' whose median is spot (median drift 0).

    Parameters
    ----------
    spot
        USD, shape (n,)
    predicted_vol
        per year as a fraction, shape (n,)
    days_held
        calendar days from entry to the evaluation date, shape (n,)
    low, high
        break-evens, shape (n,); NaN where the mark never reaches the debit, which makes the probability 0

    Returns
    -------
    float64 array, shape (n,), 0 .. 1
    """
    deviation = predicted_vol * np.sqrt(days_held / DAYS_PER_YEAR)
    mass = ndtr(np.log(high / spot) / deviation) - ndtr(np.log(low / spot) / deviation)
    return np.where(np.isnan(low) | np.isnan(high), 0.0, mass)


def _break_evens(
    strikes: Strikes, days_left: npt.NDArray[np.int64], rate: Floats, vols: LegVols, debit: Floats
) -> tuple[Floats, Floats]:
    def excess(log_spot: Floats) -> Floats:
        return value(np.exp(log_spot), strikes, days_left, rate, vols) - debit

    widest = np.maximum(np.maximum(vols.lower, vols.center), vols.upper)
    reach = REACH_IN_DEVIATIONS * widest * np.sqrt(days_left / DAYS_PER_YEAR)
    left, right = np.log(strikes.lower) - reach, np.log(strikes.upper) + reach
    peak = _peak(excess, left, right)
    reached = excess(peak) > 0.0
    low, high = _bisect(excess, left, peak), _bisect(excess, right, peak)
    return np.where(reached, np.exp(low), np.nan), np.where(reached, np.exp(high), np.nan)


def _peak(excess: LogMark, left: Floats, right: Floats) -> Floats:
    step = (right - left) / (GRID_POINTS - 1)
    heights = np.stack([excess(left + point * step) for point in range(GRID_POINTS)], axis=1)
    best = np.argmax(heights, axis=1)
    low, high = left + (best - 1) * step, left + (best + 1) * step
    for _ in range(GOLDEN_STEPS):
        inner_low, inner_high = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        rising = excess(inner_low) < excess(inner_high)
        low, high = np.where(rising, inner_low, low), np.where(rising, high, inner_high)
    return np.asarray(0.5 * (low + high))


def _bisect(excess: LogMark, outside: Floats, inside: Floats) -> Floats:
    """The sign change between a point below the debit and one above it."""
    for _ in range(BISECTION_STEPS):
        middle = 0.5 * (outside + inside)
        above = excess(middle) > 0.0
        outside, inside = np.where(above, outside, middle), np.where(above, middle, inside)
    return np.asarray(0.5 * (outside + inside))
