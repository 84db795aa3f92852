"""Funding settlements of one coin: the interval each closes, and the ones that seem to be missing.

When a coin is settled is not known beforehand: every 1, 2, 4, 6 or 8 hours, and the interval changes. But an interval
lasts when it changes, so a single longer gap between equal ones is a settlement that did not come. As long as nothing
tells whether the latest interval was lengthened, the one before it is taken to go on.

What belongs here: pure arithmetic of stamps.
"""

from __future__ import annotations

import numpy as np

from butterquant_assets.market.collector.days import HOUR_MS
from butterquant_assets.market.collector.tables import Floats, Ints

LONGEST_HOURS = 8
SLACK_MS = 15 * 60_000


def interval_hours(stamp: Ints) -> Floats:
    """Hours since the settlement before; NaN for the first, and after a gap in which one seems to be missing.

    Parameters
    ----------
    stamp
        ms, ascending, shape (n,)
    """
    hours = np.full(len(stamp), np.nan)
    gaps = np.diff(stamp)
    whole = np.array([not _step_at(gaps, place) for place in range(len(gaps))], dtype=bool)
    hours[1:] = np.where(whole, np.round(gaps / HOUR_MS * 60) / 60, np.nan)
    return hours


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
        ms: from here on; counts only where none came at all
    end
        ms: when the coin ceases to trade, as announced; None for not at all
    """
    if not len(stamp):
        silent = until - since > LONGEST_HOURS * HOUR_MS + SLACK_MS
        return np.array([since + LONGEST_HOURS * HOUR_MS] if silent else [], np.int64)
    gaps = np.diff(stamp)
    last = int(stamp[-1])
    steps = [_step_at(gaps, place) for place in range(len(gaps))]
    if len(gaps) > 1 and not steps[-1] and (end is None or last + LONGEST_HOURS * HOUR_MS < end):
        # Lengthened or torn, only the next interval tells. Where none follows, there is no telling and no blame.
        steps[-1] = _step(int(gaps[-1]), int(gaps[-2]), int(gaps[-2]))
    found: list[int] = []
    for place, (gap, step) in enumerate(zip(gaps.tolist(), steps, strict=True)):
        if step:
            found += [int(stamp[place]) + step * k for k in range(1, round(gap / step))]
    rhythm = (steps[-1] or int(gaps[-1])) if steps else LONGEST_HOURS * HOUR_MS
    hours = max(round(rhythm / HOUR_MS), 1)  # some seconds late are no other rhythm
    quiet = until - SLACK_MS if end is None else min(until - SLACK_MS, end)
    found += list(range(last + hours * HOUR_MS, quiet, hours * HOUR_MS))
    return np.array(found, np.int64)


def _step_at(gaps: Ints, place: int) -> int:
    before = int(gaps[place - 1]) if place else 0
    after = int(gaps[place + 1]) if place + 1 < len(gaps) else 0
    return _step(int(gaps[place]), before, after)


def _step(gap: int, before: int, after: int) -> int:
    """The interval that a gap should have been divided into; 0 where nothing is wrong with it."""
    longest = LONGEST_HOURS * HOUR_MS
    both = [near for near in (before, after) if 0 < near <= longest + SLACK_MS]
    if gap > longest + SLACK_MS:
        return min(both, default=longest)
    alone = len(both) == 2 and abs(before - after) <= SLACK_MS
    multiple = gap / both[0] if both else 1.0
    return both[0] if alone and multiple > 1.5 and abs(multiple - round(multiple)) < 0.05 else 0
