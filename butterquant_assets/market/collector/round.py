"""One collection under way: what every dataset's collecting needs to know and to report to.

What belongs here: that state. What does not: how any dataset is collected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.answers import UnknownSymbolError
from butterquant_assets.market.collector.client import ExchangeClient
from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, day_range, start_of
from butterquant_assets.market.collector.lives import Life
from butterquant_assets.market.collector.progress import Progress, needed
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_coverage import Coverage, Stamps
from butterquant_assets.market.crypto_sources.store import CryptoStore

PROBLEMS_SHOWN = 200
SILENCES = 3
"""Questions in a row without an answer after which nothing more is asked about a coin and dataset in a collection."""


@dataclass(frozen=True)
class Listing:
    """A coin's swap.

    Parameters
    ----------
    contract_value
        coins in a contract
    listed
        when it was listed, ms
    left
        from when on it is followed no more, ms: only what earlier days lack is asked for; None while it is
    """

    contract_value: float
    listed: int
    left: int | None = None


@dataclass
class Round:
    """A collection.

    Parameters
    ----------
    config, store, progress, client
        what it works with
    now
        exchange's time when it began, ms; a bar that ends later is open
    first, last
        UTC days it is about
    full
        whether everything is asked for again
    listings
        coins that are listed, and followed or not yet collected to the end of their last day
    problems
        sentences
    silences
        questions in a row that got no answer, by dataset and coin
    states
        coins whose swap is listed but does not trade now, and the exchange's word for it
    changed
        files written, by dataset
    """

    config: CryptoConfig
    store: CryptoStore
    progress: Progress
    client: ExchangeClient
    now: int
    first: str
    last: str
    full: bool = False
    listings: Mapping[str, Listing] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    silences: Counter[tuple[str, str]] = field(default_factory=Counter)
    states: Mapping[str, str] = field(default_factory=dict)
    changed: Counter[str] = field(default_factory=Counter)

    @property
    def followed(self) -> tuple[str, ...]:
        """Coins that are followed now, ascending."""
        listed = sorted(self.listings.items())
        return tuple(coin for coin, listing in listed if listing.left is None or self.now < listing.left)

    def complain(self, problem: str) -> None:
        """Note a problem, once, and not without end."""
        if problem not in self.problems and len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(problem)

    def heard(self, dataset: str, coin: str) -> None:
        """Note that a question was answered."""
        self.silences.pop((dataset, coin), None)

    def unheard(self, dataset: str, coin: str, error: SourceError) -> None:
        """Note that a question got no answer, and why."""
        self.complain(f"{dataset}: {error}")
        self.silences[dataset, coin] += SILENCES if isinstance(error, UnknownSymbolError) else 1

    def rests(self, dataset: str, coin: str) -> bool:
        """Whether what is left to ask about a coin is left for the next collection, because it has no answer now."""
        return self.silences[dataset, coin] >= SILENCES

    def days(self, reach: int | None = None) -> list[str]:
        """Days of the collection, those out of an endpoint's reach left out, oldest first."""
        found = day_range(self.first, self.last)
        oldest = self.now - reach * DAY_MS if reach is not None else 0
        return [day for day in found if start_of(day) >= oldest]

    def wanted(self, day: str) -> frozenset[str]:
        """Coins that have a market on some of the day, and are followed on it."""
        start = start_of(day)
        end = min(start + DAY_MS, self.now)
        return frozenset(
            coin
            for coin, listing in self.listings.items()
            if listing.listed < end and (listing.left is None or start < listing.left)
        )

    def needs(self, dataset: str, days: Iterable[str]) -> dict[str, frozenset[str]]:
        """Coins to ask for, by day; days that need none are left out."""
        found: dict[str, frozenset[str]] = {}
        for day in days:
            asked = self.progress.of(dataset, day)
            gaps = self._gaps(dataset, day, tried=asked is not None and bool(asked.tries))
            if coins := needed(day, self.wanted(day), asked, gaps, full=self.full):
                found[day] = coins
        return found

    def _gaps(self, dataset: str, day: str, *, tried: bool) -> frozenset[str] | None:
        """Coins of which a stored day lacks something; None where nothing is stored."""
        if not self.store.path(dataset, day).is_file():
            return None
        held = self.store.day(dataset, day) if tried else None
        return frozenset(held.coverage.missing) if held else frozenset()

    def over(self, day: str) -> bool:
        """Whether all of a day lies in the past."""
        return start_of(day) + DAY_MS <= self.now

    def expected(self, day: str, bar: int, listed: Mapping[str, int] | None = None) -> dict[str, Stamps]:
        """Stamps of closed bars that each coin should have on a day.

        Parameters
        ----------
        listed
            coin -> when it was listed, ms; by default the coins that are followed now
        """
        start = start_of(day)
        since = {coin: listing.listed for coin, listing in self.listings.items()} if listed is None else listed
        found: dict[str, Stamps] = {}
        for coin, moment in since.items():
            if moment < min(start + DAY_MS, self.now):
                found[coin] = _stamps(max(start, -(-moment // bar) * bar), self._closed(day, bar, coin), bar)
        return found

    def owed(
        self,
        dataset: str,
        day: str,
        bar: int,
        rows: pd.DataFrame,
        stamp: str,
        listed: Mapping[str, int] | None = None,
    ) -> dict[str, Stamps]:
        """What is `expected`, and what coins lack that were followed on the day but are not asked for now.

        Such a coin may have traded on, so that from its first row on every closed bar counts, until it is delisted. One
        that was followed when the collector stopped counts without a row.

        Parameters
        ----------
        rows, stamp
            what will be stored of the day, and the name of its time column
        listed
            see `expected`
        """
        found = self.expected(day, bar, listed)
        others = rows[~rows["coin"].isin(list(found))]
        before = self.lacking(dataset, day)
        for coin, first in others.groupby("coin")[stamp].min().items():
            begin = int(first.to_datetime64().astype("datetime64[ms]").astype(np.int64))
            closed = self._closed(day, bar, str(coin))
            stamps = _stamps(begin, closed, bar)
            lacked = before.get(str(coin), stamps[:0])
            found[str(coin)] = np.union1d(stamps, lacked[lacked < np.datetime64(closed, "ms")])
        for coin, life in self.progress.owing(day):
            begin = -(-max(life.since, start_of(day)) // bar) * bar
            stamps = _stamps(begin, self._until(day, bar, life.closed(bar)), bar)
            found[coin] = np.union1d(stamps, found.get(coin, stamps[:0]))
        return found

    def gone(self, coin: str, day: str) -> int | None:
        """From when on a coin that traded on the day certainly does no more, ms; None where that is not known."""
        life = self.progress.life(coin, day)
        return self.progress.ends.get(coin) if life is None else life.gone

    def ended(self, day: str) -> str:
        """Coins that ended unannounced on some of the day, in words; "" for none."""
        start = start_of(day)
        return "; ".join(
            f"{coin} ended unannounced between {_minute(life.last_live)} and {_minute(life.gone)}"
            for coin, lives in sorted(self.progress.lives.items())
            for life in lives
            if life.unannounced and life.gone is not None
            # An end in the first hour of a day takes no bar of it.
            if life.last_live < start + DAY_MS and start < life.gone // HOUR_MS * HOUR_MS
        )

    def lacking(self, dataset: str, day: str) -> dict[str, Stamps]:
        """Stamps that a stored day is known to lack, by coin."""
        held = self.store.day(dataset, day)
        missing = held.coverage.missing if held else {}
        return {coin: np.array(stamps, dtype="datetime64[us]") for coin, stamps in missing.items()}

    def _closed(self, day: str, bar: int, coin: str) -> int:
        """When the last bar of a day ended that a coin owes, ms."""
        life, ends = self.progress.life(coin, day), self.progress.ends.get(coin)
        if life is None and ends is not None:
            life = Life(0, 0, 0, ends)
        return self._until(day, bar, life.closed(bar) if life is not None else None)

    def _until(self, day: str, bar: int, last: int | None) -> int:
        """When the last closed bar of a day ended, ms, where `last` is the end of the last there is."""
        closed = min(start_of(day) + DAY_MS, self.now // bar * bar)
        return closed if last is None else min(closed, last)

    def write(self, dataset: str, day: str, rows: pd.DataFrame, coverage: Coverage) -> None:
        """Publish a day and count it where it changed."""
        if self.store.write(dataset, day, rows, coverage):
            self.changed[dataset] += 1


def _minute(moment: int) -> str:
    return str(np.datetime64(moment, "ms").astype("datetime64[m]"))


def _stamps(begin: int, end: int, bar: int) -> Stamps:
    return np.arange(begin, max(end, begin), bar).astype("datetime64[ms]").astype("datetime64[us]")
