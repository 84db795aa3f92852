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
from butterquant_assets.market.collector.days import DAY_MS, day_range, start_of
from butterquant_assets.market.collector.progress import Progress, needed
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_coverage import Coverage, Stamps
from butterquant_assets.market.crypto_sources.store import CryptoStore

PROBLEMS_SHOWN = 200
SILENCES = 3
"""Questions in a row without an answer after which nothing more is asked about a coin and dataset in a collection."""


@dataclass(frozen=True)
class Listing:
    """A coin's swap: coins in a contract, and when it was listed (ms)."""

    contract_value: float
    listed: int


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
        coins that are followed and listed
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
        """Coins that have a market on some of the day."""
        end = min(start_of(day) + DAY_MS, self.now)
        return frozenset(coin for coin, listing in self.listings.items() if listing.listed < end)

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
        """What is `expected`, and what coins lack that have rows on the day but are not asked for now.

        Such a coin may have traded on, so that from its first row on every closed bar counts, until it is delisted.

        Parameters
        ----------
        rows, stamp
            what will be stored of the day, and the name of its time column
        listed
            see `expected`
        """
        found = self.expected(day, bar, listed)
        others = rows[~rows["coin"].isin(list(found))]
        if others.empty:
            return found
        before = self.lacking(dataset, day)
        for coin, first in others.groupby("coin")[stamp].min().items():
            begin = int(first.to_datetime64().astype("datetime64[ms]").astype(np.int64))
            stamps = _stamps(begin, self._closed(day, bar, str(coin)), bar)
            found[str(coin)] = np.union1d(stamps, before.get(str(coin), stamps[:0]))
        return found

    def lacking(self, dataset: str, day: str) -> dict[str, Stamps]:
        """Stamps that a stored day is known to lack, by coin."""
        held = self.store.day(dataset, day)
        missing = held.coverage.missing if held else {}
        return {coin: np.array(stamps, dtype="datetime64[us]") for coin, stamps in missing.items()}

    def _closed(self, day: str, bar: int, coin: str) -> int:
        """When the last closed bar of a day ended, ms.

        The bar with which a coin ceases to trade is not expected: once it has closed, nobody can ask for it.
        """
        closed = min(start_of(day) + DAY_MS, self.now // bar * bar)
        ends = self.progress.ends.get(coin)
        return closed if ends is None else min(closed, (ends - 1) // bar * bar)

    def write(self, dataset: str, day: str, rows: pd.DataFrame, coverage: Coverage) -> None:
        """Publish a day and count it where it changed."""
        if self.store.write(dataset, day, rows, coverage):
            self.changed[dataset] += 1


def _stamps(begin: int, end: int, bar: int) -> Stamps:
    return np.arange(begin, max(end, begin), bar).astype("datetime64[ms]").astype("datetime64[us]")
