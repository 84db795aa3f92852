"""Funding settlements of one coin: the interval each closes, and the ones that seem to be missing.

When a coin is settled is not known beforehand: every 1, 2, 4, 6 or 8 hours, and the interval changes. But an interval
lasts when it changes, so a single longer gap between equal ones is a settlement that did not come.

What belongs here: pure arithmetic of stamps.
"""

from __future__ import annotations

import numpy as np

from butterquant_assets.market.collector.days import HOUR_MS
from butterquant_assets.market.collector.tables import Floats, Ints

LONGEST_HOURS = 8
SLACK_MS = 15 * 60_000


def interval_hours(stamp: Ints) -> Floats:
    """Hours since the settlement before; NaN for the first, and after a gap no interval can explain.

    Parameters
    ----------
    stamp
        ms, ascending, shape (n,)
    """
    hours = np.full(len(stamp), np.nan)
    gaps = np.diff(stamp) / HOUR_MS
    hours[1:] = np.where(gaps <= LONGEST_HOURS + SLACK_MS / HOUR_MS, np.round(gaps * 60) / 60, np.nan)
    return hours


def missing_settlements(stamp: Ints, until: int, since: int) -> Ints:
    """Stamps at which a settlement seems to be missing, ms ascending.

    Parameters
    ----------
    stamp
        of the settlements that came, ms, ascending, shape (n,)
    until
        ms: settlements up to here have been asked for
    since
        ms: from here on; counts only where none came at all
    """
    if not len(stamp):
        silent = until - since > LONGEST_HOURS * HOUR_MS + SLACK_MS
        return np.array([since + LONGEST_HOURS * HOUR_MS] if silent else [], np.int64)
    gaps = np.diff(stamp)
    found: list[int] = []
    for place, gap in enumerate(gaps.tolist()):
        before = int(gaps[place - 1]) if place else 0
        after = int(gaps[place + 1]) if place + 1 < len(gaps) else 0
        step = _step(int(gap), before, after)
        if step:
            found += [int(stamp[place]) + step * k for k in range(1, round(gap / step))]
    quiet = until - int(stamp[-1])
    if quiet > LONGEST_HOURS * HOUR_MS + SLACK_MS:
        step = _last_step(gaps)
        found += list(range(int(stamp[-1]) + step, until - SLACK_MS, step))
    return np.array(found, np.int64)


def _step(gap: int, before: int, after: int) -> int:
    """The interval that a gap should have been divided into; 0 where nothing is wrong with it."""
    longest = LONGEST_HOURS * HOUR_MS
    both = [near for near in (before, after) if 0 < near <= longest + SLACK_MS]
    if gap > longest + SLACK_MS:
        return min(both, default=longest)
    alone = len(both) == 2 and abs(before - after) <= SLACK_MS
    multiple = gap / both[0] if both else 1.0
    return both[0] if alone and multiple > 1.5 and abs(multiple - round(multiple)) < 0.05 else 0


def _last_step(gaps: Ints) -> int:
    usual = gaps[gaps <= LONGEST_HOURS * HOUR_MS + SLACK_MS]
    return int(usual[-1]) if len(usual) else LONGEST_HOURS * HOUR_MS
