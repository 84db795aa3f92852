"""UTC days as the collector counts them: names, milliseconds, runs of consecutive ones.

What belongs here: pure arithmetic of days. What does not: which of them are to be asked for (`progress.py`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def start_of(day: str) -> int:
    """First moment of a UTC day, ms since 1970-01-01."""
    return int(np.datetime64(day, "ms").astype(np.int64))


def day_at(moment: int) -> str:
    """UTC day of a moment in ms."""
    return str(np.datetime64(moment, "ms").astype("datetime64[D]"))


def day_range(first: str, last: str) -> list[str]:
    """All days from first to last, both included; none when last lies before first."""
    days = np.arange(np.datetime64(first, "D"), np.datetime64(last, "D") + 1)
    return [str(day) for day in days]


def chunks(days: Iterable[str], most: int) -> list[list[str]]:
    """Days in runs of consecutive ones, each at most so long, oldest first."""
    found: list[list[str]] = []
    for day in sorted(set(days)):
        run = found[-1] if found else []
        if run and len(run) < most and start_of(day) - start_of(run[-1]) == DAY_MS:
            run.append(day)
        else:
            found.append([day])
    return found
