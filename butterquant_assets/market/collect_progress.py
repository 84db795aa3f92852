"""How far a collection got, what is to be asked next, and when a session counts as closed and complete.

A session is complete when its row is landed, or when the service, asked `SETTLED_SESSIONS` sessions later, still has
none. Old sessions are asked for again now and then, because services correct them.

What belongs here: pure functions on dates and the configuration of the collector; the time is passed in. What does not:
rows (`market/collect.py`), services and files (`market/sources/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.calendar import FIRST_SESSION, LAST_SESSION, sessions
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.collect import Days, Merged, Screened

SETTLED_SESSIONS = 5
"""A row that has not come after so many sessions is not waited for: no trade, or a gap of the service."""


@dataclass(frozen=True)
class CollectConfig:
    """What the collector polls, and how.

    Parameters
    ----------
    symbols
        tickers to poll; none, and no file either, switches scheduled polling off
    symbols_file
        text file with one ticker a line, ``#`` starting a comment; read at every poll
    start
        first date asked for, ``YYYY-MM-DD``
    vix
        whether the VIX is polled too
    overlap_sessions
        sessions asked again at every poll, so that late corrections are seen
    full_every_days
        after so many days the whole history is asked again, for corrections to old sessions; 0 never
    settle_minutes
        minutes after the close before a session's bar is believed
    clock_minutes
        difference between this machine's clock and the server's beyond which nothing is judged closed
    every_minutes
        time between the first two scheduled polls for a session that is still incomplete; doubles up to four hours
    attempts
        scheduled polls for one session, after which the next session is awaited
    pause_seconds
        between two requests
    seed
        of the jitter of waiting times
    yahoo_url, cboe_url
        where the services lie
    """

    symbols: tuple[str, ...] = ()
    symbols_file: str | None = None
    start: str = "2000-01-01"
    vix: bool = True
    overlap_sessions: int = 20
    full_every_days: int = 7
    settle_minutes: int = 30
    clock_minutes: float = 5.0
    every_minutes: int = 15
    attempts: int = 8
    pause_seconds: float = 0.5
    seed: int = 7
    yahoo_url: str = "https://query1.finance.yahoo.com"
    cboe_url: str = "https://cdn.cboe.com"

    def __post_init__(self) -> None:
        try:
            good = bool(np.datetime64(self.start, "D") >= np.datetime64(FIRST_SESSION))  # false for NaT
        except ValueError:
            good = False
        if not good:
            raise ConfigError(f"collect start is {self.start!r}, expected a date such as 2000-01-01: correct it")
        floors = {"overlap_sessions": 1, "full_every_days": 0, "settle_minutes": 0, "every_minutes": 1, "attempts": 1}
        for name, floor in floors.items():
            if getattr(self, name) < floor:
                raise ConfigError(f"collect {name} is {getattr(self, name)}, expected at least {floor}: correct it")
        if not self.clock_minutes > 0 or not self.pause_seconds >= 0:
            raise ConfigError(
                f"collect clock_minutes is {self.clock_minutes} and pause_seconds {self.pause_seconds}, expected more "
                "than 0 and at least 0: correct them"
            )

    @property
    def enabled(self) -> bool:
        """Whether anything is to be polled on a schedule."""
        return bool(self.symbols) or self.symbols_file is not None


@dataclass(frozen=True)
class Progress:
    """How far one ticker has been collected; dates as ``YYYY-MM-DD``, instants in ISO format, UTC.

    Parameters
    ----------
    since
        first date that was ever asked for
    first_session, last_session
        first and last landed row
    complete_through
        last session up to which nothing is missing; empty when nothing is complete
    polled_at, full_at
        last poll that was landed, and last one over the whole history
    problem
        what went wrong at the last poll; empty when nothing did
    """

    since: str = ""
    first_session: str = ""
    last_session: str = ""
    complete_through: str = ""
    polled_at: str = ""
    full_at: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Window:
    """Span of one request: its first date, and whether it is the whole history."""

    first: np.datetime64
    full: bool = False


def last_closed_session(now: datetime, settle_minutes: float, exchange: str = "XNYS") -> np.datetime64:
    """Last session whose close, half days included, lies at least `settle_minutes` before `now`.

    Parameters
    ----------
    now
        an instant with its time zone

    Returns
    -------
    datetime64[D]

    Raises
    ------
    ConfigError
        if `now` lies outside what the calendar knows: the clock is wrong.
    """
    days, closes = _closes(exchange)
    seconds = now.timestamp() - 60 * settle_minutes
    place = int(np.searchsorted(closes, seconds, side="right")) - 1
    if not 0 <= place < len(days) - 1:
        raise ConfigError(
            f"the time is {now:%Y-%m-%d %H:%M} UTC, expected {FIRST_SESSION} to {LAST_SESSION}: set the clock"
        )
    return np.datetime64(days[place], "D")


def window_to_ask(
    progress: Progress, config: CollectConfig, closed: np.datetime64, now: datetime, *, full: bool
) -> Window:
    """Which days to ask for: the whole history at first, where it is due, and where `full`; else the newest."""
    start = np.datetime64(config.start, "D")
    due = config.full_every_days > 0 and (
        not progress.full_at or now - datetime.fromisoformat(progress.full_at) >= timedelta(days=config.full_every_days)
    )
    known = progress.complete_through and progress.since and np.datetime64(progress.since) <= start
    if full or due or not known:
        return Window(start, full=True)
    days = sessions()
    through = min(np.datetime64(progress.complete_through, "D"), closed)
    place = max(0, int(np.searchsorted(days, through, side="right")) - config.overlap_sessions)
    return Window(max(start, days[place]))


def complete_through(landed: pd.DataFrame, refused: Days, closed: np.datetime64, listed: np.datetime64) -> str:
    """Last session up to which nothing is awaited, ``YYYY-MM-DD``; empty when there is none.

    Parameters
    ----------
    landed
        column session: the ticker's rows of the span asked for, `refused` sessions included where they are held
    refused
        sessions the service answered with something that was refused: awaited, however old
    closed
        last closed session
    listed
        first session that was ever landed; NaT where none was
    """
    if np.isnat(listed):
        return ""
    days = sessions()
    have = landed["session"].to_numpy().astype("datetime64[D]")
    last = int(np.searchsorted(days, closed, side="right"))
    recent = days[max(0, last - SETTLED_SESSIONS) : last]
    awaited = np.setdiff1d(np.union1d(recent[recent >= listed], refused), have)
    if not awaited.size:
        return str(closed)
    place = int(np.searchsorted(days, awaited[0], side="left")) - 1
    return str(days[place]) if place >= 0 and days[place] >= listed else ""


def advanced(
    before: Progress, window: Window, merged: Merged, screened: Screened, closed: np.datetime64, now: datetime
) -> Progress:
    """Progress of a ticker once an answer is landed."""
    dates = merged.rows["session"].dt.strftime("%Y-%m-%d")
    known = [text for text in (before.first_session, before.last_session, *dates.iloc[[0, -1][: len(dates)]]) if text]
    first, last = (min(known), max(known)) if known else ("", "")
    through = complete_through(merged.rows, screened.refused, closed, np.datetime64(first or "NaT", "D"))
    instant = now.isoformat(timespec="seconds")
    return Progress(
        since=min(before.since or str(window.first), str(window.first)),
        first_session=first,
        last_session=last,
        complete_through=through,
        polled_at=instant,
        full_at=instant if window.full else before.full_at,
    )


def silence(progress: Progress, ticker: str, closed: np.datetime64) -> str:
    """A sentence when a ticker's last row lies before the last closed session; empty otherwise."""
    if not progress.last_session:
        return f"{ticker}: no session up to {closed} was delivered: check the symbol and the start"
    late = progress.last_session < str(closed)
    return (
        f"{ticker}: the last session is {progress.last_session}, expected {closed}; asked again later" if late else ""
    )


def pending(progress: Mapping[str, Progress], names: Sequence[str], closed: np.datetime64) -> tuple[str, ...]:
    """Those of `names` that are not complete through the last closed session, in order."""
    return tuple(name for name in names if progress.get(name, Progress()).complete_through < str(closed))


def read_symbols(lines: Sequence[str]) -> tuple[str, ...]:
    """Tickers from lines of text: separated by commas or blanks, ``#`` starts a comment; upper case, each once.

    Raises
    ------
    ConfigError
        for what cannot be a ticker.
    """
    words = [word.upper() for line in lines for word in line.split("#")[0].replace(",", " ").split()]
    for word in words:
        if not (word.isascii() and word[0].isalnum() and word.replace("-", "").replace(".", "").isalnum()):
            raise ConfigError(f"{word!r} is no ticker; expected letters, digits, '.' and '-', for instance BRK.B")
    return tuple(dict.fromkeys(words))


@lru_cache(maxsize=4)
def _closes(exchange: str) -> tuple[Days, npt.NDArray[np.float64]]:
    """Sessions, and the instants of their closes in seconds since 1970 (UTC)."""
    import exchange_calendars

    calendar = exchange_calendars.get_calendar(exchange, start=FIRST_SESSION, end=LAST_SESSION)
    closes = calendar.closes.dt.tz_convert("UTC").dt.tz_localize(None)
    return closes.index.to_numpy().astype("datetime64[D]"), closes.to_numpy().astype("datetime64[s]").astype(float)
