"""From long tables to the hourly panel: every coin on one clock, gaps as missing rows, funding as known by then.

What belongs here: placing values in time, and the panel of the market tables. What does not: the checks a panel passes
(`panel`), and reading files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.panel import HourlyPanel

Floats = npt.NDArray[np.float64]
Hours = npt.NDArray[np.datetime64]

FUNDING_HOURS = 8
BAR_COLUMNS = ("hour", "coin", "high", "low", "close", "volume", "outage", "suspect", "suspect_later")


@dataclass(frozen=True, eq=False)
class MarketTables:
    """The market tables that factors are computed from, columns as in their contracts; each may be empty.

    Attributes
    ----------
    bars
        `BAR_COLUMNS`; hours of an outage and suspect bars, known at once or later, count as defective
    mark, index
        hour, coin, close
    taker
        hour, coin, buy_volume (coins)
    interest
        hour, coin, open_interest (coins), at the end of the hour
    funding
        settled_at, coin, funding_rate
    """

    bars: pd.DataFrame
    mark: pd.DataFrame
    index: pd.DataFrame
    taker: pd.DataFrame
    interest: pd.DataFrame
    funding: pd.DataFrame


def panel_of(tables: MarketTables, first: pd.Timestamp, last: pd.Timestamp, named: Sequence[str] = ()) -> HourlyPanel:
    """All coins of some market tables on one clock.

    Parameters
    ----------
    tables
        long tables; rows outside the hours asked for are left out
    first, last
        first and last hour, both included, naive UTC
    named
        coins that get a column whether they have bars or not: the leaders of the market

    Returns
    -------
    HourlyPanel
        columns are the coins that have a bar, and the named ones, by name

    Raises
    ------
    DataError
        as for `hourly_grid` and `funding_per_8h`.
    """
    start = np.datetime64(first, "us")
    hours: Hours = np.arange(start, np.datetime64(last, "us") + np.timedelta64(1, "h"), np.timedelta64(1, "h"))
    bars = tables.bars
    coins = tuple(sorted({*bars["coin"].unique().tolist(), *named}))
    prices = {name: hourly_grid(bars, name, hours, coins) for name in ("high", "low", "close", "volume")}
    wrong = bars["outage"] | bars["suspect"] | bars["suspect_later"]
    doubted = bars[["hour", "coin"]].assign(doubted=wrong.astype("float64"))
    return HourlyPanel(
        hours=hours,
        coins=coins,
        **prices,
        taker_buy_volume=hourly_grid(tables.taker, "buy_volume", hours, coins),
        open_interest=hourly_grid(tables.interest, "open_interest", hours, coins),
        mark=hourly_grid(tables.mark, "close", hours, coins),
        index=hourly_grid(tables.index, "close", hours, coins),
        funding_8h=funding_per_8h(tables.funding, hours, coins),
        defective=hourly_grid(doubted, "doubted", hours, coins) == 1.0,
    )


_HOUR_US = 3_600_000_000


def hourly_grid(frame: pd.DataFrame, column: str, hours: Hours, coins: Sequence[str]) -> Floats:
    """One column of a long table on the clock of a panel.

    Parameters
    ----------
    frame
        columns ``hour`` (start of the hour, naive UTC), ``coin`` and `column`; rows of other hours and coins are left
        out
    column
        what to place
    hours
        start of each hour, consecutive, UTC, shape (h,)
    coins
        names of the columns to make

    Returns
    -------
    shape (h, c); NaN where the table has no row

    Raises
    ------
    DataError
        if a row is not at a full hour, or two rows share hour and coin.
    """
    grid = np.full((len(hours), len(coins)), np.nan)
    if not len(hours) or not len(frame):
        return grid
    stamps = _microseconds(frame["hour"])
    if (stamps % _HOUR_US != 0).any():
        first = frame["hour"].iloc[int(np.flatnonzero(stamps % _HOUR_US != 0)[0])]
        raise DataError(f"{column} has a row at {first}, expected the start of an hour; resample it first")
    rows = (stamps - int(hours[0].astype("datetime64[us]").astype(np.int64))) // _HOUR_US
    places = pd.Index(list(coins)).get_indexer(pd.Index(frame["coin"]))
    inside = (rows >= 0) & (rows < len(hours)) & (places >= 0)
    cells = rows[inside] * len(coins) + places[inside]
    if len(np.unique(cells)) < len(cells):
        repeated = frame.loc[inside, ["hour", "coin"]]
        twice = repeated[repeated.duplicated()].iloc[0]
        raise DataError(
            f"{column} of {twice['coin']} at {twice['hour']} is given twice; keep one row per hour and coin"
        )
    grid.ravel()[cells] = frame[column].to_numpy(dtype=np.float64)[inside]
    return grid


def funding_per_8h(settlements: pd.DataFrame, hours: Hours, coins: Sequence[str]) -> Floats:
    """Latest funding rate settled before the end of each hour, as a rate per 8 hours.

    A settlement at that very end is known a moment later, and belongs to the next hour (and day).

    Parameters
    ----------
    settlements
        columns ``settled_at`` (true time, naive UTC), ``coin`` and ``funding_rate`` (a fraction of the position for
        the interval that ended then). Intervals of 1 to 8 hours differ between coins and change.
    hours, coins
        as in `hourly_grid`

    Returns
    -------
    shape (h, c). The rate times 8 over the hours since the settlement before. A coin's first settlement only starts
    the clock, since its interval is not known, and so does one more than 8 hours after the one before, or after a
    longer time than that one: whether the interval was lengthened or a settlement did not come is known by the next. A
    rate is carried for 8 hours at most; after that, and before the first, NaN.

    Raises
    ------
    DataError
        if a coin has two settlements within the same hour.
    """
    grid = np.full((len(hours), len(coins)), np.nan)
    ends = hours.astype("datetime64[us]").astype(np.int64) + _HOUR_US
    for place, coin in enumerate(coins):
        own = settlements[settlements["coin"] == coin].sort_values("settled_at", kind="stable")
        if len(own) < 2 or not len(ends):
            continue
        times = _microseconds(own["settled_at"])
        intervals = np.rint(np.diff(times) / _HOUR_US)
        if (intervals < 1).any():
            again = own["settled_at"].iloc[int(np.flatnonzero(intervals < 1)[0]) + 1]
            raise DataError(f"funding of {coin} settles twice within the hour of {again}; keep one of the two")
        rates = own["funding_rate"].to_numpy(dtype=np.float64)[1:] * FUNDING_HOURS / intervals
        rates[intervals > FUNDING_HOURS] = np.nan
        rates[1:][intervals[1:] > intervals[:-1]] = np.nan
        latest = np.searchsorted(times[1:], ends, side="left") - 1
        age = ends - times[1:][latest]
        known = (latest >= 0) & (age <= FUNDING_HOURS * _HOUR_US)
        grid[known, place] = rates[latest[known]]
    return grid


def _microseconds(stamps: pd.Series) -> npt.NDArray[np.int64]:
    """Microseconds since 1970 of naive UTC times."""
    if stamps.dt.tz is not None:
        raise DataError(f"times of {stamps.name} carry the zone {stamps.dt.tz}; give naive UTC")
    return stamps.to_numpy(dtype="datetime64[us]").astype(np.int64)
