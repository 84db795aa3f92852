"""A crypto source made of raw tables: what they hold, screened, flagged and counted, with every refused row beside it.

A day of bars is judged with the day before it and the first hour after it, so its fingerprint covers those; a
settlement's interval needs the settlements of the day before, and the next one where it seems to be lengthened.

What belongs here: which rows a judgement needs, and putting rows, rejects and coverage together. What does not: the
judgements themselves (`crypto_cleaning.py`, `crypto_suspects.py`) and reading (`files`, `okx`, `sample`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.foundation.lake import combine
from butterquant_assets.market.crypto_cleaning import (
    LENGTHS,
    join_rejects,
    missing_notes,
    screen,
    settle,
    without_rejected,
)
from butterquant_assets.market.crypto_coverage import DAY, Coverage, day_of, in_days
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS, DELIVERED, no_rows
from butterquant_assets.market.crypto_sources.base import DATASETS, REJECTS, Delivery, known_dataset
from butterquant_assets.market.crypto_suspects import Yardstick, flag_bars

INDEX_DISTANCE = 0.05
"""A perpetual may stray this far from its index, as log; the mark price follows it more closely."""

WICK_BEYOND_MARK = 0.1
"""Last prices do reach further than the mark price, which is what liquidations are judged on; so far they do not."""


class RawTables(Protocol):
    """Raw rows of a source by UTC day, with cheap hashes of them."""

    @property
    def name(self) -> str:
        """Name of the source."""
        ...

    @property
    def simulated(self) -> bool:
        """True when the market is invented."""
        ...

    def describe(self) -> dict[str, str | int | float]:
        """What a reader should know. No counts: a day must not look different because another one came."""
        ...

    def refresh(self) -> None:
        """Look again at what is there; the other methods speak of what was there then, or of something later."""
        ...

    def days(self, dataset: str) -> tuple[str, ...]:
        """Days with rows of a dataset, ascending."""
        ...

    def read(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        """Rows of `days` in the columns of `crypto_schemas.raw_columns`."""
        ...

    def digest(self, dataset: str, day: str) -> str:
        """Hash of a day's rows and coverage; "" where there is nothing."""
        ...

    def opening(self, day: str) -> str:
        """Hash of the first hour's bars of a day; "" where there are none."""
        ...

    def coverage(self, dataset: str, day: str) -> Coverage:
        """How complete a day's raw rows are."""
        ...

    def other_venue(self, days: Sequence[str]) -> pd.DataFrame | None:
        """Hourly bars of the same coins at another venue (hour, coin, prices), where there are any."""
        ...

    def other_digest(self, day: str) -> str:
        """Hash of those of one day; "" where there are none."""
        ...

    def rejects(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        """What whoever wrote the tables refused or noted, in the columns of `CRYPTO_REJECTS`."""
        ...


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


class CleanedSource:
    """A `CryptoSource` over raw tables.

    Parameters
    ----------
    tables
        where the rows come from
    clock
        tells the time: rows that lie in the future are refused until it has come
    """

    def __init__(self, tables: RawTables, clock: Callable[[], datetime] = utc_now) -> None:
        self.tables = tables
        self.name, self.simulated = tables.name, tables.simulated
        self._clock = clock
        self._newest: dict[tuple[str, str], tuple[str, np.datetime64]] = {}
        self._rejects: dict[tuple[str, str], tuple[str, pd.DataFrame]] = {}

    def describe(self) -> dict[str, str | int | float]:
        """What a reader of the data should know."""
        return self.tables.describe()

    def span(self) -> tuple[str, str]:
        """First and last UTC day with bars, none after today.

        Raises
        ------
        SourceError
            if there are none.
        """
        self.tables.refresh()
        today = str(np.datetime64(self._now(), "D"))
        days = [day for day in self.tables.days("crypto_bars") if day <= today]
        if not days:
            raise SourceError(
                f"crypto source {self.name!r} holds no bars yet: collect some (butterquant collect-crypto), or choose "
                "another source"
            )
        return days[0], days[-1]

    def keys_held(self, dataset: str) -> tuple[str, ...]:
        """Days with rows of a dataset, ascending."""
        self.tables.refresh()
        if dataset == REJECTS:
            return tuple(sorted({day for name in DATASETS for day in self.tables.days(name)}))
        return self.tables.days(known_dataset(dataset))

    def fingerprints(self, dataset: str, days: Sequence[str]) -> dict[str, str]:
        """Content hash of all that decides each day's rows, rejects and coverage."""
        if dataset != REJECTS:
            known_dataset(dataset)
        self.tables.refresh()
        return {day: self._fingerprint(dataset, day) for day in days}

    def fetch(self, dataset: str, days: Sequence[str]) -> Delivery:
        """Rows, rejects and coverage of `days`; of `crypto_rejects`, the rejects of all datasets are the rows."""
        self.tables.refresh()
        if dataset == REJECTS:
            found = join_rejects([self._rejects_of(name, days) for name in DATASETS])
            return Delivery(CRYPTO_REJECTS.arrange(found), no_rows(CRYPTO_REJECTS))
        return self._deliver(known_dataset(dataset), days)

    # -- one dataset

    def _deliver(self, dataset: str, days: Sequence[str]) -> Delivery:
        contract = DELIVERED[dataset]
        stamp = str(contract.time)
        before = dataset in ("crypto_bars", "funding_rates")
        wanted = sorted({other for day in days for other in (_around(day) if before else (day,))})
        screened = screen(dataset, self.tables.read(dataset, wanted), np.datetime64(self._now(), "us"))
        rows, notes = screened.rows, no_rows(CRYPTO_REJECTS)
        if dataset == "crypto_bars":
            rows, notes = flag_bars(rows, days, self._yardsticks(wanted))
        elif dataset == "crypto_minute_bars":
            rows = rows.assign(outage=(rows["volume"] == 0) & (rows["high"] == rows["low"]))
        elif dataset == "funding_rates":
            rows = self._priced(in_days(settle(rows), stamp, days), days)
        refused = join_rejects([in_days(screened.rejects, "at", days), self.tables.rejects(dataset, days)])
        raw = {day: self.tables.coverage(dataset, day) for day in days}
        lost = {str(day): gone for day, gone in refused.groupby(day_of(refused["at"]))}
        coverage = raw | {day: without_rejected(raw[day], dataset, gone, rows) for day, gone in lost.items()}
        rejects = join_rejects([refused, notes, missing_notes(dataset, raw.values())])
        self._remember(dataset, days, rejects)
        return Delivery(contract.arrange(rows), CRYPTO_REJECTS.arrange(rejects), coverage)

    def _yardsticks(self, days: Sequence[str]) -> list[Yardstick]:
        until = np.datetime64(self._now(), "us")
        marks, indices = (
            screen(name, self.tables.read(name, days), until).rows for name in ("mark_prices", "index_prices")
        )
        found = [
            Yardstick("mark", marks, wick=WICK_BEYOND_MARK),
            Yardstick("index", indices, close=INDEX_DISTANCE),
        ]
        other = self.tables.other_venue(days)
        if other is not None:
            found.append(Yardstick("other_venue", other, wick=Yardstick.close, both_ways=True))
        return [yardstick for yardstick in found if len(yardstick.rows)]

    def _priced(self, settlements: pd.DataFrame, days: Sequence[str]) -> pd.DataFrame:
        """Settlements with the mark price at which the hour of each opened, where none was recorded.

        One stamped just before midnight gets none: what a day holds depends on marks of that day only.
        """
        marks = screen("mark_prices", self.tables.read("mark_prices", days)).rows
        opened = marks.set_index(["hour", "coin"])["open"]
        hour = settlements["settled_at"].dt.round("h")
        hour = hour.where(hour.dt.normalize() == settlements["settled_at"].dt.normalize())
        at = pd.MultiIndex.from_arrays([hour, settlements["coin"]])
        looked_up = pd.Series(opened.reindex(at).to_numpy(), index=settlements.index)
        return settlements.assign(mark_price=settlements["mark_price"].fillna(looked_up))

    # -- what decides a day

    def _fingerprint(self, dataset: str, day: str) -> str:
        if dataset == REJECTS:
            return combine(self._fingerprint(name, day) for name in DATASETS)
        today, before, after = day, *_beside(day)
        parts = [self.tables.digest(dataset, today)]
        if dataset == "crypto_bars":
            parts += [self.tables.digest(dataset, before), self.tables.opening(after)]
            for context in (before, today):
                parts += [self.tables.digest(name, context) for name in ("mark_prices", "index_prices")]
                parts.append(self.tables.other_digest(context))
        elif dataset == "funding_rates":
            parts += [self.tables.digest(dataset, other) for other in (before, after)]
            parts.append(self.tables.digest("mark_prices", today))
        reaches_on = dataset in ("crypto_bars", "funding_rates")
        parts += [self._ahead(dataset, here) for here in ((today, after) if reaches_on else (today,))]
        return combine(parts)

    def _ahead(self, dataset: str, day: str) -> str:
        """The hour it is, where rows of the day lie ahead of the clock: they are refused until their time has come."""
        now = self._now()
        if day < str(np.datetime64(now, "D")):
            return ""
        digest = self.tables.digest(dataset, day)
        if not digest:
            return ""
        stamp = str(DELIVERED[dataset].time)
        if self._newest.get((dataset, day), ("",))[0] != digest:
            stamps = self.tables.read(dataset, [day])[stamp]
            newest = stamps.max().to_datetime64() if len(stamps) else np.datetime64("NaT")
            self._newest[dataset, day] = (digest, newest)
        newest = self._newest[dataset, day][1]
        ends = newest + LENGTHS.get(stamp, np.timedelta64(0, "h"))
        return str(np.datetime64(now, "h")) if ends > np.datetime64(now, "us") else ""

    # -- rejects

    def _remember(self, dataset: str, days: Sequence[str], rejects: pd.DataFrame) -> None:
        nothing = no_rows(CRYPTO_REJECTS)
        found = {str(day): rows for day, rows in rejects.groupby(day_of(rejects["at"]))}
        for day in days:
            self._rejects[dataset, day] = (self._fingerprint(dataset, day), found.get(day, nothing))

    def _rejects_of(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        """Rejects of one dataset, from the last delivery where nothing has changed since."""
        unknown = [
            day for day in days if self._rejects.get((dataset, day), ("",))[0] != self._fingerprint(dataset, day)
        ]
        if unknown:
            self._deliver(dataset, unknown)
        return join_rejects([self._rejects[dataset, day][1] for day in days])

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC).replace(tzinfo=None)


def _beside(day: str) -> tuple[str, str]:
    here = np.datetime64(day, "D")
    return str(here - DAY), str(here + DAY)


def _around(day: str) -> tuple[str, str, str]:
    before, after = _beside(day)
    return before, day, after
