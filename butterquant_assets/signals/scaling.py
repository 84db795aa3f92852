"""The robust score that puts the raw values of every factor on one scale.

What belongs here: its definition and its constants. What does not: what is scored. The loops lie in `scaling_kernel`,
imported on first use.

Source: REFERENCE section 2: s(x) = 100 tanh(z / 2), z = (x - median) / (1.4826 MAD) over the coin's previous 720 hours,
the current one excluded. 1.4826 and 1.2533 (the root of pi / 2) turn the median and the mean absolute deviation from
the median of normal values into their standard deviation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]

WINDOW_HOURS = 720
MINIMUM_VALUES = 168
MAD_TO_SIGMA = 1.4826
MEAN_DEVIATION_TO_SIGMA = 1.2533
# The hyperbolic tangent of twenty is one in floating point, and no score is to reach 100.
HIGHEST_SCORE = float(np.nextafter(100.0, 0.0))


def centre_and_scale(values: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Median and robust standard deviation of the 720 hours before each hour.

    Parameters
    ----------
    values
        hourly values of one coin, oldest first, NaN = missing, shape (hours,)

    Returns
    -------
    centre
        median of what is known of the 720 hours before; NaN where that is fewer than 168 values; shape (hours,)
    scale
        1.4826 times the median absolute deviation from it; where that is 0 (funding: a third to half of all hours),
        1.2533 times the mean absolute deviation from it, which is 0 only where nothing deviated at all

    Raises
    ------
    DataError
        if the values are not one-dimensional, or one is infinite.
    """
    from butterquant_assets.signals.scaling_kernel import trailing_spread

    series = _series(values)
    centre, scale = np.empty(series.shape), np.empty(series.shape)
    trailing_spread(series, WINDOW_HOURS, MINIMUM_VALUES, MAD_TO_SIGMA, MEAN_DEVIATION_TO_SIGMA, centre, scale)
    return centre, scale


def robust_score(values: npt.ArrayLike) -> Floats:
    """Score of each hourly value against the 720 hours before it.

    Parameters
    ----------
    values
        as in `centre_and_scale`

    Returns
    -------
    strictly between -100 and 100, shape (hours,); 0 where none of the earlier values deviated from their median, NaN
    where the value is missing or fewer than 168 of the earlier ones are known. The score at an hour depends on that
    hour and the 720 before it, and on nothing else, bit for bit.

    Raises
    ------
    DataError
        as in `centre_and_scale`.
    """
    from butterquant_assets.signals.scaling_kernel import squash

    series = _series(values)
    centre, scale = centre_and_scale(series)
    scores = np.empty(series.shape)
    squash(series, centre, scale, HIGHEST_SCORE, scores)
    return scores


def within_limits(scores: Floats) -> Floats:
    """Scores that were averaged, kept inside the open interval that rounding may have left."""
    return np.clip(scores, -HIGHEST_SCORE, HIGHEST_SCORE)


def _series(values: npt.ArrayLike) -> Floats:
    series = np.ascontiguousarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise DataError(f"values of shape {series.shape} cannot be scored: expected (hours,); give one coin at a time")
    if np.isinf(series).any():
        place = int(np.flatnonzero(np.isinf(series))[0])
        raise DataError(f"value {series[place]} at hour {place} cannot be scored; give NaN where it is missing")
    return series
