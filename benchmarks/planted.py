"""What is known of a simulated market with a planted edge: the true class probabilities of its butterflies.

Used to say how much there is to find, so that a model can be judged against it and not against luck.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from butterquant_assets.butterfly import pricing
from butterquant_assets.butterfly.iv_proxy import LegVols
from butterquant_assets.butterfly.strikes import Strikes
from butterquant_assets.market.simulator import RATE, SimulatedMarket

Floats = npt.NDArray[np.float64]

POINTS = 2001
ROWS_PER_CHUNK = 64
N_CLASSES = 4


def planted_probabilities(analyses: pd.DataFrame, labels: pd.DataFrame, market: SimulatedMarket) -> Floats:
    """Probabilities of the four classes of roi_mark in the market that made the prices, shape (n, 4).

    Given the premium, the exit spot is exactly lognormal: its variance is the sum of the true variances of the sessions
    held, its drift the riskless rate. Implied volatilities at exit are known too. What no as-of observer can know,
    the variance path to come, enters as it will be: the bound is a little higher than anyone can reach.

    Parameters
    ----------
    analyses
        columns session, ticker, evaluation_session, spot, the strikes, width, days_left, rate, debit
    labels
        of the same rows in the same order: exit_iv_lower, exit_iv_center, exit_iv_upper
    market
        the market they were made on
    """
    total = np.cumsum(market.priced_variance * market.premium, axis=0)
    entry, leave = (
        np.searchsorted(market.sessions, analyses[name].to_numpy().astype("datetime64[D]"))
        for name in ("session", "evaluation_session")
    )
    share = np.searchsorted(np.array(market.tickers), analyses["ticker"].to_numpy(dtype=str))
    variance = total[leave, share] - total[entry, share]
    carry = RATE / 365 * (market.sessions[leave] - market.sessions[entry]).astype(float)
    normal = ndtri((np.arange(POINTS) + 0.5) / POINTS)
    counts = np.empty((len(analyses), N_CLASSES))
    for start in range(0, len(analyses), ROWS_PER_CHUNK):
        rows = slice(start, start + ROWS_PER_CHUNK)

        def of(frame: pd.DataFrame, name: str, rows: slice = rows) -> Floats:
            values: Floats = frame[name].to_numpy(dtype=np.float64)[rows, None]
            return values

        drift, spread = (carry - variance / 2)[rows, None], np.sqrt(variance)[rows, None]
        spot = of(analyses, "spot") * np.exp(drift + spread * normal)
        names = ("lower_strike", "center_strike", "upper_strike", "width")
        vols = LegVols(*(of(labels, f"exit_iv_{leg}") for leg in ("lower", "center", "upper")))
        strikes = Strikes(*(of(analyses, name) for name in names))
        mark = pricing.value(spot, strikes, of(analyses, "days_left"), of(analyses, "rate"), vols)
        classes = pricing.label_of(pricing.roi_mark(mark, of(analyses, "debit")))
        counts[rows] = np.stack([(classes == k).sum(axis=1) for k in range(N_CLASSES)], axis=1)
    probabilities: Floats = (counts + 1.0) / (POINTS + N_CLASSES)
    return probabilities
