"""Which settlements a day lacks: told by what came after it, and else by the coin's own rhythm."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.market.collector.collect_grid import _settlements
from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, start_of
from butterquant_assets.market.collector.progress import MOST_TRIES, Progress
from butterquant_assets.market.collector.round import Round
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_coverage import Coverage
from butterquant_assets.market.crypto_sources.okx import OkxCryptoSource
from butterquant_assets.market.crypto_sources.store import REJECTS, CryptoStore
from butterquant_tests.market.collector.collecting import Desk, Watched, day_before, desk
from butterquant_tests.market.collector.test_listings import Announcing
from butterquant_tests.market.exchange.asking import NOW

DAY, NEXT = "2024-03-01", "2024-03-02"


def settled(day: str, hours: list[int]) -> pd.DataFrame:
    stamps = np.datetime64(day, "us") + np.array(hours) * np.timedelta64(1, "h")
    coins = pd.Series(["SOL"] * len(hours), dtype="str")
    return pd.DataFrame(
        {"settled_at": stamps, "coin": coins, "funding_rate": 1e-4, "interval_hours": np.nan, "mark_price": np.nan}
    )


@pytest.mark.parametrize(
    ("hours", "later", "lost"),
    [
        ([0, 4, 8, 12, 16], [0, 8, 16], []),  # lengthened to eight hours in the evening
        ([0, 2, 4, 6, 8, 16], [0, 8, 16], []),
        ([0, 2, 4, 6, 8, 10, 12, 14, 16], [0, 8, 16], []),  # from two hours to eight at once
        ([0, 4, 8, 12, 16], [0, 4, 8], [20]),  # of four hours before and after
        ([0, 4, 8, 12, 16], [], [20]),  # nothing later is known: by its own rhythm one is missing
    ],
)
def test_an_interval_lengthened_in_the_evening_is_no_missing_settlement(
    hours: list[int], later: list[int], lost: list[int], tmp_path: Path
) -> None:
    store = CryptoStore(tmp_path)
    merged = settled(DAY, hours)
    store.write("funding_rates", DAY, merged, Coverage(0, 0))
    if later:
        store.write("funding_rates", NEXT, settled(NEXT, later), Coverage(0, 0))
    now = start_of(NEXT) + 20 * DAY_MS
    work = Round(CryptoConfig(source="okx"), store, Progress(tmp_path), cast(Any, None), now, DAY, NEXT)
    expected = _settlements(work, DAY, merged, {}, frozenset())["SOL"]
    assert expected.tolist() == settled(DAY, sorted([*hours, *lost]))["settled_at"].to_numpy().tolist()


FUNDING = "public/funding-rate-history"
TODAY, TOMORROW, LONG_AGO = day_before(0), day_before(-1), day_before(30)
OVER = start_of(TOMORROW)
LATE = 2 * 60_000
"""A collection begins two minutes past the hour."""


class Settling(Announcing):
    """The simulated market with settlements at hours of our own, counted from the start of a day."""

    def __init__(self, day: str, hours: list[int]) -> None:
        super().__init__()
        self.day, self.hours = day, hours

    def settlements(self, base: str, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        stamps = start_of(self.day) + np.array(sorted(self.hours), np.int64) * HOUR_MS
        kept = stamps[(stamps >= first) & (stamps < end)]
        return kept, np.full(len(kept), 1e-4)


def every(step: int, *, without: list[int]) -> list[int]:
    """Two days before until three days after."""
    return [hour for hour in range(-48, 96, step) if hour not in without]


def collected(one: Desk, day: str, **changes: Any) -> Coverage:
    one.collect(datasets=("funding_rates",), start=day, end=day, symbols=("SIMBTC",), **changes)
    held = one.store.day("funding_rates", day)
    assert held is not None
    return held.coverage


def named(day: str, hours: list[int]) -> dict[str, tuple[str, ...]]:
    return {"SIMBTC": tuple(f"{day}T{hour:02d}:00" for hour in hours)} if hours else {}


EVENINGS = [(4, [20]), (2, [18, 20, 22]), (1, list(range(17, 24)))]


@pytest.mark.parametrize(("step", "lost"), EVENINGS)
def test_the_last_day_of_a_backfill_without_its_evening_is_not_whole(
    step: int, lost: list[int], tmp_path: Path
) -> None:
    venue, watched = Settling(LONG_AGO, every(step, without=lost)), Watched()
    with desk(tmp_path, venue=venue, faults=watched) as one:
        for turn in (1, 2):
            coverage = collected(one, LONG_AGO)
            assert coverage.missing == named(LONG_AGO, lost)
            assert not coverage.complete
            # The page is asked for twice, and by the next collection again.
            assert watched.asked[FUNDING] == 2 * turn
        venue.hours += lost
        assert collected(one, LONG_AGO).complete
        assert watched.asked[FUNDING] == 5
        assert collected(one, LONG_AGO).complete
        assert watched.asked[FUNDING] == 5
        # What was asked besides, to tell how the day ended, belongs to other days.
        assert one.store.days("funding_rates") == (LONG_AGO,)


@pytest.mark.parametrize(("step", "lost"), EVENINGS)
@pytest.mark.parametrize("midnight_came", [True, False])
def test_a_day_without_its_evening_is_not_whole_just_after_midnight(
    step: int, lost: list[int], midnight_came: bool, tmp_path: Path
) -> None:
    venue = Settling(TODAY, every(step, without=[*lost, *([] if midnight_came else [24])]))
    with desk(tmp_path, venue=venue, now=OVER + LATE) as one:
        assert collected(one, TODAY).missing == named(TODAY, lost)
        venue.hours += lost
        assert collected(one, TODAY).complete


@pytest.mark.parametrize("step", [1, 2, 4, 6, 8])
def test_a_whole_day_is_whole_just_after_midnight_though_the_next_settlement_is_late(step: int, tmp_path: Path) -> None:
    watched = Watched()
    with desk(tmp_path, venue=Settling(TODAY, every(step, without=[24])), faults=watched, now=OVER + LATE) as one:
        assert collected(one, TODAY).complete
        assert watched.asked[FUNDING] == 1


@pytest.mark.parametrize(
    ("before", "after", "lost", "told"),
    [
        (4, [16, 24, 32, 40], [20], 8),
        (1, [16, 24, 32, 40], list(range(17, 24)), 8),
        (2, [20, 28, 36, 44], [22], 12),  # after more collections than a gap is asked for
    ],
)
def test_a_day_whose_interval_was_lengthened_in_the_evening_is_whole_once_the_next_one_tells(
    before: int, after: list[int], lost: list[int], told: int, tmp_path: Path
) -> None:
    venue = Settling(TODAY, [*range(-48, after[0], before), *after])
    with desk(tmp_path, venue=venue, now=OVER + LATE) as one:
        for hour in range(told):
            coverage = collected(one, TODAY)
            assert (coverage.missing, coverage.complete) == (named(TODAY, lost), not lost), hour
            one.clock.advance(HOUR_MS)
        assert collected(one, TODAY).complete


def test_a_day_on_which_a_coin_ends_after_a_longer_interval_can_be_whole(tmp_path: Path) -> None:
    venue = Settling(TOMORROW, [*range(-48, 9, 4), 16])
    venue.ends["SIMETH"] = OVER + 22 * HOUR_MS
    with desk(tmp_path, venue=venue, now=OVER + 20 * HOUR_MS + LATE) as one:
        options: dict[str, Any] = {"datasets": ("funding_rates",), "start": TOMORROW}
        one.collect(**options, symbols=("SIMETH",))
        venue.gone.add("SIMETH")
        venue.hours += [20, 24]
        one.clock.advance(6 * HOUR_MS)
        one.collect(**options, symbols=("SIMBTC",))
        held = one.store.day("funding_rates", TOMORROW)
        assert held is not None
        assert "SIMETH" not in held.coverage.missing


class Kept(Announcing):
    """The simulated market of which only so many days of settlements are kept, or so many shown in one answer."""

    def __init__(self, days: int, most: int = 400) -> None:
        super().__init__()
        self.days, self.most = days, most

    def settlements(self, base: str, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        stamps, rates = super().settlements(base, max(first, NOW - self.days * DAY_MS), end)
        return stamps[-self.most :], rates[-self.most :]


def test_settlements_beyond_the_exchanges_reach_are_no_whole_day_and_not_asked_for_for_ever(tmp_path: Path) -> None:
    watched = Watched()
    span: dict[str, Any] = {"datasets": ("funding_rates",), "start": day_before(92), "end": day_before(87)}
    with desk(tmp_path, venue=Kept(days=89), faults=watched) as one:
        for _ in range(MOST_TRIES):
            report = one.collect(**span, symbols=("SIMBTC",))
        found = [one.store.day("funding_rates", day) for day in one.store.days("funding_rates")]
        told = [(held.rows, held.coverage.expected, held.coverage.complete) for held in found if held is not None]
        assert told == [(0, 3, False), (0, 3, False), (2, 3, False), (3, 3, True), (3, 3, True)]
        assert report.incomplete_days == 3
        assert "SIMBTC lie beyond the exchange's reach" in report.incomplete["funding_rates"]
        before = watched.asked[FUNDING]
        one.collect(**span, symbols=("SIMBTC",))
        assert watched.asked[FUNDING] == before


def test_settlements_that_a_short_page_leaves_out_are_asked_for_again(tmp_path: Path) -> None:
    venue = Kept(days=90, most=7)
    span: dict[str, Any] = {"datasets": ("funding_rates",), "start": day_before(9), "end": day_before(2)}
    with desk(tmp_path, venue=venue) as one:
        assert one.collect(**span, symbols=("SIMBTC",)).incomplete_days >= 6
        held = one.store.day("funding_rates", day_before(9))
        assert held is not None
        assert "reach" not in held.coverage.sentence()
        venue.most = 400
        assert one.collect(**span, symbols=("SIMBTC",)).incomplete_days == 0


class Erring(Announcing):
    """The simulated market, of which one hour of one coin cannot be true now and then."""

    def __init__(self, hour: int) -> None:
        super().__init__()
        self.hour, self.errs = hour, False

    def bars(self, kind: Any, base: str, *window: Any) -> Any:
        found = super().bars(kind, base, *window)
        wrong = (found.stamp == self.hour) & self.errs & (base == "SIMETH")
        return replace(found, high=np.where(wrong, found.low * 0.5, found.high))

    def open_interest(self, base: str, moments: np.ndarray) -> np.ndarray:
        wrong = (moments == self.hour + HOUR_MS) & self.errs & (base == "SIMETH")
        return np.where(wrong, 0.0, super().open_interest(base, moments))


@pytest.mark.parametrize("good_first", [True, False])
def test_a_row_that_cannot_be_true_replaces_none_and_is_asked_for_again(good_first: bool, tmp_path: Path) -> None:
    span: dict[str, Any] = {"datasets": ("crypto_bars", "open_interest"), "start": LONG_AGO, "end": LONG_AGO}
    venue = Erring(start_of(LONG_AGO) + 13 * HOUR_MS)
    with desk(tmp_path, venue=venue) as one:
        if good_first:
            one.collect(**span)
        venue.errs = True
        report = one.collect(**span, full=True)
        rejects = one.store.read(REJECTS, [LONG_AGO])
        assert sorted(rejects["reason"]) == ["ohlc_violation", "zero"]
        assert set(rejects["action"]) == {"rejected"}
        assert report.incomplete_days == (0 if good_first else 2)
        if not good_first:
            held = one.store.day("crypto_bars", LONG_AGO)
            assert held is not None
            assert held.coverage.missing == {"SIMETH": (f"{LONG_AGO}T13:00",)}
        venue.errs = False
        assert one.collect(**span).incomplete_days == 0
        cleaned = OkxCryptoSource(tmp_path, lambda: datetime.fromtimestamp(NOW / 1e3, UTC))
        for dataset in span["datasets"]:
            delivery = cleaned.fetch(dataset, [LONG_AGO])
            assert delivery.coverage[LONG_AGO].complete
            assert len(delivery.rows) == 48
