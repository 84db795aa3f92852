"""From when to when a followed coin trades, as far as the exchange's list of instruments tells.

An end may be announced. One that is not lies between the last list that had the coin and the first that had not; it is
believed once a later list lacks the coin too and the exchange denies its candles. A coin that is listed again has a
second life, so that the first keeps its end.

What belongs here: pure arithmetic of those moments. What does not: asking (`collect_snapshots.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, day_at, start_of

SURE_MS = HOUR_MS
"""A coin must be absent for so long before its end is believed."""


@dataclass(frozen=True)
class Life:
    """One listing of a coin that is or was followed; moments in ms.

    Parameters
    ----------
    listed
        when it was listed; 0 where the exchange does not say
    since
        from when on its rows are owed, on days without any too: the day it was first followed
    last_live
        last list in which it traded, while it was followed
    end
        when it ceases to trade, as announced; None for not at all
    left
        end of the last day on which it was followed, for a coin that is listed but followed no more
    first_absent
        first list without it since then
    denied
        whether the exchange has confirmed that it is gone
    """

    listed: int
    since: int
    last_live: int
    end: int | None = None
    left: int | None = None
    first_absent: int | None = None
    denied: bool = False

    @property
    def unannounced(self) -> bool:
        """Whether it has ended, and nobody said when."""
        early = self.end is None or (self.first_absent is not None and self.first_absent < self.end)
        return self.denied and early

    @property
    def gone(self) -> int | None:
        """Moment from which on it certainly does not trade; None while none is known."""
        return self.first_absent if self.unannounced else self.end

    def closed(self, bar: int) -> int | None:
        """When the last bar ended that is owed, ms; None while there is no last one.

        The bar with which a coin ceases to trade is not owed: once it has closed, nobody can ask for it. Where the end
        is not known to a bar, all are owed that may have closed.

        Parameters
        ----------
        bar
            ms between stamps
        """
        last = None if self.end is None else (self.end - 1) // bar * bar
        if self.unannounced and self.first_absent is not None:
            sure, possible = self.last_live // bar * bar, self.first_absent // bar * bar
            last = sure if possible - sure <= bar else possible
        known = [moment for moment in (last, self.left) if moment is not None]
        return min(known, default=None)

    def owes(self, day: str) -> bool:
        """Whether it was followed and may have traded on some of a UTC day."""
        start = start_of(day)
        stops = [moment for moment in (self.gone, self.left) if moment is not None]
        return self.since < start + DAY_MS and min(stops, default=start + 1) > start


def followed(lives: Sequence[Life], listed: int, now: int, end: int | None) -> tuple[Life, ...]:
    """Lives of a coin that is followed and trades now.

    Parameters
    ----------
    lives
        so far, oldest first
    listed, end
        as the exchange says now, ms
    now
        ms
    """
    before = _ended_by(lives, listed)
    if before and listed <= before[-1].last_live:
        same = replace(before[-1], last_live=now, end=end, left=None, first_absent=None, denied=False)
        return *before[:-1], same
    return *before, Life(listed, max(listed, start_of(day_at(now))), now, end)


def dropped(lives: Sequence[Life], listed: int, end: int | None) -> tuple[Life, ...]:
    """Lives of a coin that trades and is followed no more, or never was; see `followed`."""
    before = _ended_by(lives, listed)
    if not before or listed > before[-1].last_live:
        return before
    last = before[-1]
    left = start_of(day_at(last.last_live)) + DAY_MS if last.left is None else last.left
    return *before[:-1], replace(last, end=end, left=left, first_absent=None, denied=False)


def resting(lives: Sequence[Life], now: int, end: int | None) -> tuple[Life, ...]:
    """Lives of a coin that is listed and does not trade now; see `followed`.

    What has ended stays so: the coin may be about to be listed again.
    """
    last = lives[-1]
    if last.denied or (last.end is not None and last.end <= now):
        return tuple(lives)
    return *lives[:-1], replace(last, end=end, first_absent=None)


def absent(lives: Sequence[Life], now: int) -> tuple[Life, ...]:
    """Lives of a coin that is not listed; see `followed`."""
    last = lives[-1]
    return *lives[:-1], last if last.first_absent is not None else replace(last, first_absent=now)


def to_confirm(life: Life, now: int) -> bool:
    """Whether the exchange is to be asked if a coin is gone."""
    if life.denied or life.left is not None or life.first_absent is None:
        return False
    told = life.end is not None and life.end <= life.first_absent
    return not told and now - life.first_absent >= SURE_MS


def _ended_by(lives: Sequence[Life], listed: int) -> tuple[Life, ...]:
    """The lives, the last one ended where the coin was listed anew since."""
    if not lives or listed <= lives[-1].last_live or lives[-1].left is not None:
        return tuple(lives)
    gone = lives[-1].first_absent
    return *lives[:-1], replace(lives[-1], first_absent=listed if gone is None else gone, denied=True)
