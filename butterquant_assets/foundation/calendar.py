"""Sessions of the exchange, and months as partition keys.

Sessions come from the exchange calendar library, never from "is there a row" or weekday tests. A session is a
timezone-naive midnight timestamp: a date label, not an instant. What belongs here: dates, sessions, month keys. What
does not: the clock (callers pass dates in) and anything about data.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError

FIRST_SESSION = "1980-01-01"
LAST_SESSION = "2035-12-31"


@lru_cache(maxsize=4)
def sessions(exchange: str = "XNYS") -> npt.NDArray[np.datetime64]:
    """All sessions of an exchange between 1980 and 2035.

    Parameters
    ----------
    exchange
        ISO market identifier known to `exchange_calendars`, for instance ``XNYS``.

    Returns
    -------
    array of datetime64[D], ascending, read-only
    """
    import exchange_calendars

    calendar = exchange_calendars.get_calendar(exchange, start=FIRST_SESSION, end=LAST_SESSION)
    days: npt.NDArray[np.datetime64] = calendar.sessions.to_numpy().astype("datetime64[D]")
    days.setflags(write=False)
    return days


def is_session(dates: npt.ArrayLike, exchange: str = "XNYS") -> npt.NDArray[np.bool_]:
    """Which of `dates` are sessions.

    Parameters
    ----------
    dates
        anything numpy turns into datetime64, shape (n,)

    Returns
    -------
    bool array, shape (n,)
    """
    result: npt.NDArray[np.bool_] = np.isin(np.asarray(dates, dtype="datetime64[D]"), sessions(exchange))
    return result


def session_on_or_before(dates: npt.ArrayLike, exchange: str = "XNYS") -> npt.NDArray[np.datetime64]:
    """The last session on or before each date.

    Parameters
    ----------
    dates
        anything numpy turns into datetime64, shape (n,)

    Returns
    -------
    array of datetime64[D], shape (n,)
    """
    days = sessions(exchange)
    asked = np.asarray(dates, dtype="datetime64[D]")
    position = np.searchsorted(days, asked, side="right") - 1
    if position.size and position.min() < 0:
        raise ConfigError(f"{asked.min()} lies before the first session known ({days[0]}); use later dates")
    return days[position]


def session_number(dates: npt.ArrayLike, exchange: str = "XNYS") -> npt.NDArray[np.int64]:
    """Position of each session in the calendar, so that differences count sessions.

    Parameters
    ----------
    dates
        sessions (a date that is none gets the number of the last session before it), shape (n,)

    Returns
    -------
    int64 array, shape (n,)
    """
    asked = np.asarray(dates, dtype="datetime64[D]")
    return (np.searchsorted(sessions(exchange), asked, side="right") - 1).astype(np.int64)


def parse_month(text: str) -> str:
    """Check a ``YYYY-MM`` month key and return it.

    Raises
    ------
    ConfigError
        if `text` is not a month.
    """
    try:
        month = np.datetime64(text, "M")
    except ValueError:
        raise ConfigError(f"{text!r} is not a month; write it as YYYY-MM, for instance 2018-01") from None
    if str(month) != text:
        raise ConfigError(f"{text!r} is not a month; write it as YYYY-MM, for instance 2018-01")
    return text


def month_of(dates: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """``YYYY-MM`` keys of dates, shape (n,) in, str array of shape (n,) out."""
    return np.asarray(dates, dtype="datetime64[M]").astype(str)


def shift_month(month: str, by: int) -> str:
    """The month key `by` months later (earlier when negative)."""
    return str(np.datetime64(month, "M") + np.timedelta64(by, "M"))


def month_range(first: str, last: str) -> list[str]:
    """All month keys from `first` to `last`, both included; empty when `last` lies before `first`."""
    start, stop = np.datetime64(first, "M"), np.datetime64(last, "M") + np.timedelta64(1, "M")
    return [str(month) for month in np.arange(start, stop)] if start < stop else []


def sessions_in_months(months: Sequence[str], exchange: str = "XNYS") -> pd.DatetimeIndex:
    """All sessions that fall into `months`, ascending, as naive timestamps (datetime64[us])."""
    days = sessions(exchange)
    wanted = np.isin(days.astype("datetime64[M]"), np.array(list(months), dtype="datetime64[M]"))
    return pd.DatetimeIndex(days[wanted].astype("datetime64[us]"), name="session")
