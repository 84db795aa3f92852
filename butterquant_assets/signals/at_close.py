"""Factors of every hour from what was known when it closed: a bar doubted later counts until the next one has come.

What belongs here: that order in time. What does not: the factors of a panel (`factors`), and which bars are doubted
(the market tables).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from butterquant_assets.signals.alignment import MarketTables, hourly_grid, panel_of
from butterquant_assets.signals.factors import TAIL_HOURS, compute_factors


def factors_at_close(
    tables: MarketTables, first: pd.Timestamp, last: pd.Timestamp, leaders: tuple[str, str], hours: int
) -> pd.DataFrame:
    """Factors of the newest hours, each from the bars as they were judged when it closed.

    Parameters
    ----------
    tables, first, last
        as for `alignment.panel_of`; give 888 hours before the first one whose factors matter
    leaders
        coins of the market's regime
    hours
        how many hours, up to `last`, are wanted

    Returns
    -------
    DataFrame
        columns of `factors.FactorPanels.frame`. Nothing that came after an hour's close bears on its row: of its own
        bar only what contradicts it by then, of earlier ones their next open too

    Raises
    ------
    DataError
        as for `alignment.panel_of` and `factors.compute_factors`.
    """
    panel = panel_of(tables, first, last, leaders)
    frame = compute_factors(panel, *leaders).last(hours).frame()
    later = tables.bars[tables.bars["suspect_later"]]
    if later.empty:
        return frame
    doubted = hourly_grid(later.assign(doubted=1.0), "doubted", panel.hours, panel.coins) == 1.0
    start, anew = max(len(panel.hours) - hours, 0), []
    for place in np.flatnonzero(doubted.any(axis=1)):
        if place < start:
            continue
        seen = panel.rows(slice(max(0, place + 1 - TAIL_HOURS), place + 1))
        defective = seen.defective.copy()
        defective[-1] &= ~doubted[place]
        anew.append(compute_factors(replace(seen, defective=defective), *leaders).last(1).frame())
    if not anew:
        return frame
    believed = pd.concat(anew, ignore_index=True)
    kept = frame[~frame["hour"].isin(believed["hour"])]
    return pd.concat([kept, believed]).sort_values("hour", kind="stable", ignore_index=True)
