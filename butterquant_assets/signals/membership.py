"""Whose signals are learned from: coins of the universe of their day, and how far that was known on the day.

What belongs here: the standing of a signal's coin in the universe of its day. What does not: making the universe (the
market tables), and scores, gates and fills, which know nothing of it. A coin that enters the universe brings its past
along, and it entered because that past was a good one: learned from, it would teach that trades pay.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from butterquant_assets.signals.versions import require_columns

COLUMNS = ("day", "coin", "as_of_known")


def no_universe() -> pd.DataFrame:
    """A universe of which nothing is said on any day."""
    return pd.DataFrame(
        {
            "day": pd.Series(dtype="datetime64[us]"),
            "coin": pd.Series(dtype="str"),
            "as_of_known": pd.Series(dtype="bool"),
        }
    )


def standing(hour: pd.Series, coin: pd.Series, universe: pd.DataFrame | None = None) -> pd.DataFrame:
    """Whether signals are of coins of their day's universe, and whether they are learned from.

    Parameters
    ----------
    hour, coin
        of each signal, shape (n,)
    universe
        `COLUMNS`: UTC day, coin, and whether the coin was chosen with what was known that day; one row per day and
        coin. By default nothing is said of any day

    Returns
    -------
    DataFrame
        aligned with `hour`: ``member`` (bool), the coin is in the universe of the day as it was known then;
        ``evidence`` (bool), the signal is learned from: the coin is in the universe of the day, known then or chosen
        afterwards, or nothing is said of that day

    Raises
    ------
    DataError
        if columns are missing.
    """
    given = no_universe() if universe is None else universe
    require_columns(given, COLUMNS, "universes")
    keys = pd.DataFrame({"day": hour.dt.normalize(), "coin": coin})
    found = keys.merge(given[list(COLUMNS)], on=["day", "coin"], how="left", validate="many_to_one")["as_of_known"]
    listed = found.notna().to_numpy()
    told = np.isin(keys["day"].to_numpy().astype("datetime64[D]"), given["day"].to_numpy().astype("datetime64[D]"))
    known = found.eq(True).to_numpy(dtype=np.bool_)
    return pd.DataFrame({"member": listed & known, "evidence": listed | ~told}, index=hour.index)
