"""Whether a decision was made in time to trade on it, by the hours of the exchange. Pure.

What belongs here: what a time of writing means for a session. What does not: the clock (callers pass the time in), and
the decisions themselves (`decisions`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.calendar import FIRST_SESSION, LAST_SESSION, sessions
from butterquant_assets.foundation.errors import DataError

EARLY, IN_TIME, AFTERWARDS = TIMINGS = ("early", "in_time", "afterwards")

Instants = npt.NDArray[np.datetime64]


def timing(days: pd.Series, decided_at: datetime, settle_minutes: float, exchange: str = "XNYS") -> pd.Series:
    """How a time of decision stands to the sessions that were decided on.

    Parameters
    ----------
    days
        sessions, shape (n,)
    decided_at
        when the decision was written, with its zone
    settle_minutes
        minutes after the close, half days included, before a session's bar is believed
    exchange
        ISO market identifier

    Returns
    -------
    Series of str, shape (n,), on the index of `days`
        ``early``: before the close and those minutes, so perhaps on unfinished bars; ``in_time``: from there to before
        the next session opens; ``afterwards``: later, a replay nobody could have traded on at the next open

    Raises
    ------
    DataError
        if a day is no session.
    """
    asked = days.to_numpy().astype("datetime64[D]")
    known = sessions(exchange)
    place = np.searchsorted(known, asked)
    strange = asked[(place >= len(known)) | (known[np.minimum(place, len(known) - 1)] != asked)]
    if len(strange):
        raise DataError(f"{strange[0]} is no session of {exchange}; expected sessions of the calendar only")
    opens, closes = _hours(exchange)
    now = np.datetime64(decided_at.astimezone(UTC).replace(tzinfo=None), "us")
    believed = closes[place] + np.timedelta64(round(60e6 * settle_minutes), "us")
    found = np.where(now < believed, EARLY, np.where(now < opens[place + 1], IN_TIME, AFTERWARDS))
    return pd.Series(found, index=days.index, dtype="str")


@lru_cache(maxsize=4)
def _hours(exchange: str) -> tuple[Instants, Instants]:
    """Opens and closes of all sessions, naive UTC; after the last session the calendar knows, none opens."""
    import exchange_calendars

    calendar = exchange_calendars.get_calendar(exchange, start=FIRST_SESSION, end=LAST_SESSION)
    opens, closes = (
        times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[us]")
        for times in (calendar.opens, calendar.closes)
    )
    return np.append(opens, np.datetime64("9999-12-31", "us")), closes
