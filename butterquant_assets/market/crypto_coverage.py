"""What was expected of a day, what came, and what did not.

What belongs here: the record and the arithmetic of stamps. What does not: asking again (`collector/`) and judging what
came (`crypto_cleaning.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Stamps = npt.NDArray[np.datetime64]

HOUR = np.timedelta64(1, "h")
DAY = np.timedelta64(1, "D")
SHOWN = 3
NOT_OVER = "the day is not over"


@dataclass(frozen=True)
class Coverage:
    """How complete one day of one dataset is.

    Parameters
    ----------
    expected
        rows that should be there by the end of the day, as far as that can be known; 0 where nothing is expected
    received
        expected rows that are there
    missing
        stamps that are not, by coin, as ``YYYY-MM-DDTHH:MM``
    complete
        True only when the day is over and nothing is missing
    note
        why it is not complete where no stamp is missing, or what else a reader should know; "" for nothing
    """

    expected: int
    received: int
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    complete: bool = False
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return {
            "expected": self.expected,
            "received": self.received,
            "missing": {coin: list(stamps) for coin, stamps in sorted(self.missing.items())},
            "complete": self.complete,
            "note": self.note,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Coverage:
        """Inverse of `to_json`."""
        missing = {str(coin): tuple(map(str, stamps)) for coin, stamps in data["missing"].items()}
        return cls(int(data["expected"]), int(data["received"]), missing, bool(data["complete"]), str(data["note"]))

    def sentence(self) -> str:
        """What is wrong with the day, in words; "" for a complete one."""
        if self.complete:
            return ""
        parts = []
        if self.missing:
            count = sum(map(len, self.missing.values()))
            some = [f"{coin} {stamps[0]}" for coin, stamps in sorted(self.missing.items())[:SHOWN]]
            more = ", ..." if count > len(some) else ""
            parts.append(f"{count} of {self.expected} rows did not come ({', '.join(some)}{more})")
        if self.note:
            parts.append(self.note)
        return "; ".join(parts) or NOT_OVER


NOT_HELD = Coverage(0, 0, complete=True, note="the source does not have this")
"""Of a dataset that is absent altogether: its table is empty and nothing is missed."""


def cover(
    received: pd.DataFrame,
    stamp: str,
    expected: Mapping[str, Stamps],
    *,
    over: bool,
    note: str = "",
) -> Coverage:
    """Compare the rows of one day with the stamps expected of each coin.

    Parameters
    ----------
    received
        rows of the day; columns `stamp` (datetime64[us]) and ``coin``
    stamp
        name of the time column
    expected
        coin -> stamps, datetime64[us]
    over
        whether the whole day lies in the past; a day that is not is never complete
    note
        see `Coverage`

    Returns
    -------
    Coverage
    """
    held = {coin: rows.to_numpy(dtype="datetime64[us]") for coin, rows in received.groupby("coin")[stamp]}
    nothing = np.empty(0, dtype="datetime64[us]")
    missing: dict[str, tuple[str, ...]] = {}
    total = came = 0
    for coin, stamps in sorted(expected.items()):
        absent = np.setdiff1d(stamps, held.get(coin, nothing))
        total, came = total + len(stamps), came + len(stamps) - len(absent)
        if len(absent):
            missing[coin] = as_text(absent)
    said = "; ".join(part for part in (note, "" if over else NOT_OVER) if part)
    return Coverage(total, came, missing, complete=over and not missing, note=said)


def cover_days(
    received: pd.DataFrame, stamp: str, expected: Mapping[str, Stamps], days: Sequence[str], end: np.datetime64
) -> dict[str, Coverage]:
    """`cover` for many days at once.

    Parameters
    ----------
    received, stamp
        rows of all days, and the name of their time column
    expected
        coin -> stamps of all days, ascending, datetime64[us]
    days
        UTC days, ascending
    end
        a day that ends later is not over
    """
    held = {coin: rows.to_numpy(dtype="datetime64[us]") for coin, rows in received.groupby("coin")[stamp]}
    edges = np.array([*days, str(np.datetime64(days[-1], "D") + DAY)], dtype="datetime64[us]")
    total = np.zeros(len(days), dtype=np.int64)
    missing: list[dict[str, tuple[str, ...]]] = [{} for _ in days]
    for coin, stamps in sorted(expected.items()):
        total += np.diff(np.searchsorted(stamps, edges))
        absent = np.setdiff1d(stamps, held.get(coin, edges[:0]))
        places = np.searchsorted(absent, edges)
        for place in np.flatnonzero(np.diff(places)).tolist():
            missing[place][coin] = as_text(absent[places[place] : places[place + 1]])
    found = {}
    for place, day in enumerate(days):
        over, lost = bool(edges[place] + DAY <= end), sum(map(len, missing[place].values()))
        count = int(total[place])
        note = "" if over else NOT_OVER
        found[day] = Coverage(count, count - lost, missing[place], complete=over and not lost, note=note)
    return found


def as_text(stamps: Stamps) -> tuple[str, ...]:
    """Stamps as ``YYYY-MM-DDTHH:MM``."""
    minutes = np.asarray(stamps, dtype="datetime64[m]")
    return tuple(str(minute) for minute in minutes)


def day_of(stamps: pd.Series) -> pd.Series:
    """UTC day of each stamp as ``YYYY-MM-DD``."""
    days = stamps.to_numpy(dtype="datetime64[D]")
    return pd.Series(np.datetime_as_string(days), index=stamps.index, dtype="str")


def in_days(frame: pd.DataFrame, stamp: str, days: Sequence[str]) -> pd.DataFrame:
    """Rows of a frame whose stamp falls into `days`, with a plain index."""
    wanted = np.isin(frame[stamp].to_numpy(dtype="datetime64[D]"), np.array(list(days), dtype="datetime64[D]"))
    return frame[wanted].reset_index(drop=True)
