"""The daily scan: every ticker of every session, analysed as of its close. Pure.

What belongs here: which (session, ticker) pairs a scan covers. What does not: analysing them (`analysis`), deciding on
them (`decisions`).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from butterquant_assets.butterfly import sampling
from butterquant_assets.foundation.calendar import month_range, shift_month

LOOK_BACK_MONTHS = 26
COLUMNS = ["session", "ticker", "stratum", "vix_close", "episode"]


def scan_samples(vix: pd.DataFrame, bars: pd.DataFrame, months: Sequence[str], episode_gap: int) -> pd.DataFrame:
    """Every ticker that traded, on every session with a VIX close, of the given months.

    Parameters
    ----------
    vix
        session, close (points), of the months and the 26 before
    bars
        session, ticker
    months
        ``YYYY-MM``
    episode_gap
        as in `SamplingConfig`

    Returns
    -------
    DataFrame
        session, ticker, stratum, vix_close, episode, sorted by (session, ticker). An episode is named as it was seen
        from 26 months before, whichever months are scanned together.
    """
    traded = bars[["session", "ticker"]]
    traded = traded.assign(month=traded["session"].dt.strftime("%Y-%m"))
    vix_month = vix["session"].dt.strftime("%Y-%m")
    parts = []
    for month in months:
        window = set(month_range(shift_month(month, -LOOK_BACK_MONTHS), month))
        days = sampling.strata(vix[vix_month.isin(window)], episode_gap)
        parts.append(traded[traded["month"] == month].merge(days, on="session"))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(parts, ignore_index=True)[COLUMNS].sort_values(["session", "ticker"]).reset_index(drop=True)
