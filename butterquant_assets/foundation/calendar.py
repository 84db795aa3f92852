"""Sessions of the exchange, and months and UTC days as partition keys.

Sessions come from the exchange calendar library, never from "is there a row" or weekday tests. A session is a
timezone-naive midnight timestamp: a date label, not an instant. A partition key is the ISO text of a month
(``2018-01``) or of a UTC day (``2018-01-31``), so that keys of one unit sort as they follow each other. What belongs
here: dates, sessions, keys. What does not: the clock (callers pass dates in) and anything about data.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError

Unit = Literal["month", "day"]
KEY_FORMATS: dict[Unit, str] = {"month": "%Y-%m", "day": "%Y-%m-%d"}
_CODES: dict[Unit, Literal["M", "D"]] = {"month": "M", "day": "D"}
_WRITTEN: dict[Unit, str] = {"month": "YYYY-MM, for instance 2018-01", "day": "YYYY-MM-DD, for instance 2018-01-31"}

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


def parse_key(text: str, unit: Unit) -> str:
    """Check a partition key and return it.

    Raises
    ------
    ConfigError
        if `text` is not a month, or not a day.
    """
    try:
        key = str(np.datetime64(text, _CODES[unit]))
    except ValueError:
        key = ""
    if key != text or not text:
        raise ConfigError(f"{text!r} is not a {unit}; write it as {_WRITTEN[unit]}")
    return text


def key_of(times: npt.ArrayLike, unit: Unit) -> npt.NDArray[np.str_]:
    """Partition keys of points in time.

    Parameters
    ----------
    times
        anything numpy turns into datetime64, naive UTC, shape (n,); a missing one becomes ``NaT``, which is no key

    Returns
    -------
    str array, shape (n,)
    """
    # Writing out few distinct values is what keeps a year of hourly rows fast.
    distinct, position = np.unique(np.asarray(times, dtype=f"datetime64[{_CODES[unit]}]"), return_inverse=True)
    keys: npt.NDArray[np.str_] = distinct.astype(str)[position.reshape(-1)]
    return keys


def shift_key(key: str, by: int, unit: Unit) -> str:
    """The key `by` units later (earlier when negative)."""
    return str(np.datetime64(key, _CODES[unit]) + np.timedelta64(by, _CODES[unit]))


def key_range(first: str, last: str, unit: Unit) -> list[str]:
    """All keys from `first` to `last`, both included; empty when `last` lies before `first`."""
    code = _CODES[unit]
    start, stop = np.datetime64(first, code), np.datetime64(last, code) + np.timedelta64(1, code)
    return [str(key) for key in np.arange(start, stop)] if start < stop else []


def parse_month(text: str) -> str:
    """Check a ``YYYY-MM`` month key and return it; see `parse_key`."""
    return parse_key(text, "month")


def month_of(dates: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """``YYYY-MM`` keys of dates, shape (n,) in, str array of shape (n,) out."""
    return key_of(dates, "month")


def shift_month(month: str, by: int) -> str:
    """The month key `by` months later (earlier when negative)."""
    return shift_key(month, by, "month")


def month_range(first: str, last: str) -> list[str]:
    """All month keys from `first` to `last`, both included; empty when `last` lies before `first`."""
    return key_range(first, last, "month")


def sessions_in_months(months: Sequence[str], exchange: str = "XNYS") -> pd.DatetimeIndex:
    """All sessions that fall into `months`, ascending, as naive timestamps (datetime64[us])."""
    days = sessions(exchange)
    wanted = np.isin(days.astype("datetime64[M]"), np.array(list(months), dtype="datetime64[M]"))
    return pd.DatetimeIndex(days[wanted].astype("datetime64[us]"), name="session")
