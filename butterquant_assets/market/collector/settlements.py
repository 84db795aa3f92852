"""Funding settlements of one coin: the interval each closes, and the ones that seem to be missing.

When a coin is settled is not known beforehand: every 1, 2, 4, 6 or 8 hours, and the interval changes. But an interval
lasts when it changes, so a single longer gap between equal ones is a settlement that did not come. As long as nothing
tells whether the latest interval was lengthened, the one before it is taken to go on. An odd one between different
ones proves nothing: where rates hit their limit, OKX goes from 8 hours to 4, 2 and 1 by single steps, and from 1 back
to the grid of 8 or 4.

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


def missing_settlements(stamp: Ints, until: int, since: int, end: int | None = None, *, listed: bool = False) -> Ints:
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
    listed
        whether the coin was listed at `since` only: how soon it is settled for the first time is not known then
    """
    quiet = until - SLACK_MS if end is None else min(until - SLACK_MS, end)
    longest = LONGEST_HOURS * HOUR_MS
    if not len(stamp):
        return np.arange(since + longest, max(quiet, since), longest, dtype=np.int64)
    gaps = np.diff(stamp)
    last = int(stamp[-1])
    steps = [_step_at(gaps, place) for place in range(len(gaps))]
    if len(gaps) > 1 and not steps[-1] and (end is None or last + longest < end):
        # Lengthened or torn, only the next interval tells. Where none follows, there is no telling and no blame.
        steps[-1] = _step(int(gaps[-1]), int(gaps[-2]), int(gaps[-2]))
    found = _before(int(stamp[0]), since, longest if listed or not len(gaps) else min(_whole(gaps[0]), longest), listed)
    for place, (gap, step) in enumerate(zip(gaps.tolist(), steps, strict=True)):
        if step:
            found += [int(stamp[place]) + step * k for k in range(1, round(gap / step))]
    rhythm = _whole((steps[-1] or int(gaps[-1])) if steps else longest)
    found += range(last + rhythm, quiet, rhythm)
    return np.array(found, np.int64)


def _before(first: int, since: int, step: int, listed: bool) -> list[int]:
    """What did not come before the first settlement that did, ms."""
    if listed:
        since = -(-since // step) * step
    return list(range(first - step, since + SLACK_MS, -step))[::-1] if first > since + step + SLACK_MS else []


def _whole(gap: int) -> int:
    """A gap in whole hours, at least one, ms: some seconds late are no other rhythm."""
    return max(round(gap / HOUR_MS), 1) * HOUR_MS


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
