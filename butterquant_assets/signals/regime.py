"""The state of the market: the trend of its two leading coins.

What belongs here: that one number per hour. What does not: the gate that reads it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from butterquant_assets.signals.scaling import within_limits

Floats = npt.NDArray[np.float64]

LEADER_WEIGHT, SECOND_WEIGHT = 0.7, 0.3


def market_regime(leader_trend: npt.ArrayLike, second_trend: npt.ArrayLike) -> Floats:
    """Weighted trend of the two: .7 T(BTC) + .3 T(ETH), REFERENCE section 2.

    Parameters
    ----------
    leader_trend, second_trend
        factor T of each, NaN = missing, shape (hours,)

    Returns
    -------
    strictly between -100 (falling) and 100 (rising), shape (hours,); NaN where either is missing: a regime of one of
    them would be another quantity
    """
    mix = LEADER_WEIGHT * np.asarray(leader_trend, dtype=np.float64)
    return within_limits(mix + SECOND_WEIGHT * np.asarray(second_trend, dtype=np.float64))
