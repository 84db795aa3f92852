"""Plots of the crypto market tables: figures already computed in, PNG bytes out, the same bytes for the same figures.

What belongs here: drawing what was found. What does not: computing it. Style, size and encoding are those of `drawing`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from butterquant_assets.foundation.drawing import (
    BLUE,
    ORANGE,
    PALE_BLUE,
    legend_below,
    need_rows,
    one_panel,
    png_of,
    styled,
)

MOST_LABELS = 40
_BPS = 1e4


def coverage_map(shares: pd.DataFrame) -> bytes:
    """Which hours came and are believed, by coin and day: dark where all, light where none, blank where none was due.

    Parameters
    ----------
    shares
        share of the day's hours, 0 .. 1, one row a coin and one column a day (``YYYY-MM-DD``, ascending);
        NaN where the coin had no market

    Returns
    -------
    PNG bytes

    Raises
    ------
    DataError
        if there is no coin.
    """
    need_rows(shares, "coverage_map")
    shares = shares.sort_index()
    with styled():
        figure, axes = one_panel(760, 120 + 11 * min(len(shares), MOST_LABELS))
        drawn = axes.imshow(shares.to_numpy(dtype=float), aspect="auto", cmap="viridis_r", vmin=0, vmax=1)
        figure.colorbar(drawn, ax=axes, label="share of hours")
        every = max(1, -(-len(shares) // MOST_LABELS))
        axes.set_yticks(range(0, len(shares), every), list(shares.index)[::every])
        ticks = np.unique(np.linspace(0, shares.shape[1] - 1, 6).round().astype(int))
        axes.set_xticks(ticks, [str(shares.columns[place]) for place in ticks])
        axes.set(title="Hours that came and are believed, by coin and UTC day")
        axes.grid(visible=False)
        return png_of(figure)


def funding(settlements: pd.DataFrame) -> bytes:
    """Funding of the coins by day, per 8 hours: median, the range from a tenth to nine tenths, and the extremes.

    Parameters
    ----------
    settlements
        columns settled_at, coin, funding_rate (fraction), interval_hours, all known

    Returns
    -------
    PNG bytes

    Raises
    ------
    DataError
        if there is no settlement.
    """
    need_rows(settlements, "funding")
    per_eight = _BPS * settlements["funding_rate"] * 8 / settlements["interval_hours"]
    grouped = per_eight.groupby(settlements["settled_at"].dt.normalize())
    days = grouped.median().index.to_numpy()
    low, tenth, middle, nine, high = (grouped.quantile(q).to_numpy() for q in (0, 0.1, 0.5, 0.9, 1))
    with styled():
        figure, axes = one_panel(720, 320)
        axes.fill_between(days, tenth, nine, color=PALE_BLUE, label="10-90 % of coins")
        axes.plot(days, middle, color=BLUE, label="median")
        axes.plot(days, low, color=ORANGE, linewidth=0.7, label="lowest and highest")
        axes.plot(days, high, color=ORANGE, linewidth=0.7)
        axes.set(title="Funding settled, by UTC day", ylabel="bps per 8 hours, paid by longs")
        figure.autofmt_xdate()
        legend_below(figure, 3)
        return png_of(figure)
