"""Funding settlements of one coin: the interval each closes, and the ones that seem to be missing.

When a coin is settled is not known beforehand: every 1, 2, 4, 6 or 8 hours, and the interval changes. But an interval
lasts when it changes, so a single odd gap is a settlement that did not come. As long as nothing tells whether the
latest interval was lengthened, the one before it is taken to go on.

What belongs here: pure arithmetic of stamps. What does not: which interval lasts (`crypto_cleaning.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from butterquant_assets.market.collector.days import HOUR_MS
from butterquant_assets.market.collector.tables import Floats, Ints
from butterquant_assets.market.crypto_cleaning import INTERVALS, lasting_intervals

LONGEST_HOURS = max(INTERVALS)
SLACK_MS = 15 * 60_000


def interval_hours(stamp: Ints) -> Floats:
    """Hours since the settlement before; NaN for the first, and where `lasting_intervals` knows none.

    Parameters
    ----------
    stamp
        ms, ascending, shape (n,)
    """
    return np.append(np.nan, lasting_intervals(np.diff(stamp) / HOUR_MS))[: len(stamp)]


def missing_settlements(stamp: Ints, until: int, since: int, end: int | None = None) -> Ints:
    """Stamps at which a settlement seems to be missing, ms ascending.

    After an interval was lengthened, settlements seem to be missing until the second one of the new rhythm came.

    Parameters
    ----------
    stamp
        of the settlements that came, ms, ascending, shape (n,)
    until
        ms: settlements up to here have been asked for
    since
        ms: settlements from here on have been asked for, and the coin was listed
    end
        ms: when the coin ceases to trade; None for not at all
    """
    quiet = until - SLACK_MS if end is None else min(until - SLACK_MS, end)
    if not len(stamp):
        return np.arange(since + LONGEST_HOURS * HOUR_MS, max(quiet, since), LONGEST_HOURS * HOUR_MS, dtype=np.int64)
    # Some seconds late are no other rhythm.
    hours = np.rint(np.diff(stamp) / HOUR_MS).astype(int).tolist()
    first, last = int(stamp[0]), int(stamp[-1])
    told = end is None or last + LONGEST_HOURS * HOUR_MS < end
    found: list[int] = []
    opening = next((gap for gap in hours if gap in INTERVALS), LONGEST_HOURS) * HOUR_MS
    if first > since + opening + SLACK_MS:
        found += range(first - opening, since + SLACK_MS, -opening)[::-1]
    torn = np.isnan(lasting_intervals(np.array(hours, dtype=float)))
    for place in np.flatnonzero(torn).tolist():
        found += [int(stamp[place]) + HOUR_MS * hour for hour in _lost(hours, place, told=told)]
    closing = (hours[-1] if hours[-1] in INTERVALS else LONGEST_HOURS) if hours else LONGEST_HOURS
    if len(hours) > 1 and _lost(hours, len(hours) - 1, told=told) and hours[-2] in INTERVALS:
        closing = hours[-2]
    found += range(last + closing * HOUR_MS, quiet, closing * HOUR_MS)
    return np.array(found, np.int64)


def _lost(hours: Sequence[int], place: int, *, told: bool) -> list[int]:
    """Hours into a gap at which settlements did not come; none where nothing is wrong with it.

    Parameters
    ----------
    hours
        between neighbouring settlements
    place
        of a gap that equals neither neighbour
    told
        whether the next settlement will tell if the last interval was lengthened: where none follows, there is no blame
    """
    gap = hours[place]
    before, after = (hours[near] if 0 <= near < len(hours) else 0 for near in (place - 1, place + 1))
    before, after = (near if near in INTERVALS else 0 for near in (before, after))
    if gap in INTERVALS:
        if not place or not (before or after):
            return []
        if place == len(hours) - 1 and (gap < before or not told):
            return []
    return _divided(gap, before or after or LONGEST_HOURS, after or before or LONGEST_HOURS)


def _divided(gap: int, before: int, after: int) -> list[int]:
    """Where a gap is divided into the fewest intervals, first as before it, then as after it; else hour by hour."""
    ways = [
        [*range(before, before * count + 1, before), *range(before * count + after, gap + 1, after)]
        for count in range(gap // before + 1)
        if (gap - before * count) % after == 0
    ]
    several = [way[:-1] for way in ways if len(way) > 1]
    return min(several, key=len, default=list(range(before, gap, before)) or list(range(1, gap)))
