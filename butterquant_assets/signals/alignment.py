"""From long tables to the hourly panel: every coin on one clock, gaps as missing rows, funding as known by then.

What belongs here: placing values in time. What does not: the checks a panel passes (`panel`), and reading files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]
Hours = npt.NDArray[np.datetime64]

FUNDING_HOURS = 8
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
    """Latest settled funding rate known at the end of each hour, as a rate per 8 hours.

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
    the clock, since its interval is not known, and so does one more than 8 hours after the one before. A rate is
    carried for 8 hours at most; after that, and before the first, NaN.

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
        latest = np.searchsorted(times[1:], ends, side="right") - 1
        age = ends - times[1:][latest]
        known = (latest >= 0) & (age <= FUNDING_HOURS * _HOUR_US)
        grid[known, place] = rates[latest[known]]
    return grid


def _microseconds(stamps: pd.Series) -> npt.NDArray[np.int64]:
    """Microseconds since 1970 of naive UTC times."""
    if stamps.dt.tz is not None:
        raise DataError(f"times of {stamps.name} carry the zone {stamps.dt.tz}; give naive UTC")
    return stamps.to_numpy(dtype="datetime64[us]").astype(np.int64)
