"""What the collector has stored, as a source; the network is never asked from here.

A day the collector has no ranking for borrows that of the nearest later day (else of the nearest earlier one), with
`as_of_known` False: who was in the universe then is not known, and coins that went since are missing.

A collection may write while a run reads. What `fingerprints` looked at last is what `fetch` delivers, whatever was
collected since, so that all a run reads for one decision belongs together.

What belongs here: the store's rows. What does not: collecting (`collector/`) and cleaning (`cleaned.py`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from butterquant_assets.foundation.lake import combine, content_hash
from butterquant_assets.market.crypto_coverage import Coverage
from butterquant_assets.market.crypto_schemas import DELIVERED, no_rows
from butterquant_assets.market.crypto_sources.cleaned import CleanedSource, utc_now
from butterquant_assets.market.crypto_sources.store import REJECTS, CryptoStore, StoredDay, columns_of
from butterquant_assets.market.crypto_traits import SIMULATED

NOT_COLLECTED = Coverage(0, 0, note="not collected")
BORROWED = "ranked on another day: survivors' bias"


class OkxCryptoSource(CleanedSource):
    """The collector's store.

    Parameters
    ----------
    folder
        where it lies; need not exist yet
    clock
        see `CleanedSource`
    """

    def __init__(self, folder: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self._stored = StoreTables(folder)
        super().__init__(self._stored, clock)

    def fingerprints(self, dataset: str, days: Sequence[str]) -> dict[str, str]:
        """Content hash of all that decides each day's rows, rejects and coverage, as the store is now."""
        with self._stored.looking():
            return super().fingerprints(dataset, days)

    def fingerprints_delivered(self, dataset: str, days: Sequence[str]) -> dict[str, str]:
        """Content hashes of what `fetch` delivers: of the store as it was when it was last looked at."""
        return super().fingerprints(dataset, days)


class StoreTables:
    """Raw tables of a store, each day as it was when it was last looked at, or as it is where it never was."""

    name = "okx"

    def __init__(self, folder: Path) -> None:
        self.store = CryptoStore(folder)
        self._openings: dict[str, tuple[str, str]] = {}
        self._ranked_days: tuple[str, ...] | None = None
        self._seen: dict[tuple[str, str], StoredDay | None] = {}
        self._looks = self._listed = False

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Everything asked for meanwhile is looked at anew, and seen so from then on."""
        self._looks, self._listed = True, False
        try:
            yield
        finally:
            self._looks = False

    @property
    def simulated(self) -> bool:
        """Whether the exchange that was asked trades simulated coins."""
        days = self.store.days("crypto_bars")
        return bool(days) and bool(self.store.read("crypto_bars", days[:1])["coin"].str.startswith(SIMULATED).any())

    def describe(self) -> dict[str, str | int | float]:
        """Where the rows come from."""
        if self.simulated:
            asked, invented = "a simulated exchange that speaks OKX's v5 REST", f"everything ({SIMULATED} coins)"
        else:
            asked, invented = "OKX v5 REST, linear USDT swaps", "no"
        return {"source": self.name, "simulated": invented, "collected from": asked}

    def refresh(self) -> None:
        """List the ranked days anew where nothing was looked at yet; else `looking` does."""
        if not self._seen:
            self._ranked_days = None

    def days(self, dataset: str) -> tuple[str, ...]:
        """Days that were stored; for the universe, all days with bars."""
        if dataset == "crypto_universe":
            return tuple(sorted({*self.store.days(dataset), *self.store.days("crypto_bars")}))
        return self.store.days(dataset)

    def read(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        """Rows of `days`."""
        if dataset != "crypto_universe":
            return self._read(dataset, days)
        parts = [self._ranking(day) for day in sorted(set(days))]
        filled = [part for part in parts if len(part)]
        return pd.concat(filled, ignore_index=True) if filled else no_rows(DELIVERED[dataset])[columns_of(dataset)]

    def digest(self, dataset: str, day: str) -> str:
        """Hash of a day's rows and coverage, and of what the collector refused."""
        if dataset == "crypto_universe":
            ranked = self._ranked_on(day)
            return combine([ranked, self._content(dataset, ranked)]) if ranked else ""
        parts = [self._content(dataset, day), self._content(REJECTS, day)]
        return combine(parts) if any(parts) else ""

    def opening(self, day: str) -> str:
        """Hash of the first hour's bars of a day, read again only when the day's file changes."""
        content = self._content("crypto_bars", day)
        if not content:
            return ""
        if self._openings.get(day, ("", ""))[0] != content:
            rows = self._read("crypto_bars", [day])
            first = rows[rows["hour"] == np.datetime64(day, "us")].reset_index(drop=True)
            self._openings[day] = (content, content_hash(first) if len(first) else "")
        return self._openings[day][1]

    def coverage(self, dataset: str, day: str) -> Coverage:
        """What the collector says."""
        if dataset == "crypto_universe":
            ranked = self._ranked_on(day)
            if not ranked:
                return NOT_COLLECTED
            return Coverage(0, 0, complete=True, note="" if ranked == day else BORROWED)
        held = self._day(dataset, day)
        return held.coverage if held else NOT_COLLECTED

    def other_venue(self, days: Sequence[str]) -> pd.DataFrame | None:
        """One exchange is collected."""
        return None

    def other_digest(self, day: str) -> str:
        """One exchange is collected."""
        return ""

    def rejects(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        """What the collector refused or saw revised."""
        found = self._read(REJECTS, days)
        return found[found["dataset"] == dataset].reset_index(drop=True)

    def _day(self, dataset: str, day: str) -> StoredDay | None:
        if not self._looks and (dataset, day) in self._seen:
            return self._seen[dataset, day]
        found = self.store.day(dataset, day)
        if self._looks:
            self._seen[dataset, day] = found
        return found

    def _content(self, dataset: str, day: str) -> str:
        held = self._day(dataset, day)
        return held.content if held else ""

    def _read(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        seen: Mapping[str, str] = {day: self._content(dataset, day) for day in days if (dataset, day) in self._seen}
        return self.store.read(dataset, days, contents=seen)

    def _ranked_on(self, day: str) -> str:
        """Day whose ranking stands for `day`; "" where there is none at all."""
        if self._ranked_days is None or (self._looks and not self._listed):
            self._ranked_days, self._listed = self.store.days("crypto_universe"), True
        known = self._ranked_days
        if not known:
            return ""
        place = bisect_left(known, day)
        return known[place] if place < len(known) else known[-1]

    def _ranking(self, day: str) -> pd.DataFrame:
        ranked = self._ranked_on(day)
        rows = self._read("crypto_universe", [ranked] if ranked else [])
        if ranked == day:
            return rows
        stamps = np.full(len(rows), np.datetime64(day, "us"))
        return rows.assign(day=stamps, as_of_known=False)
