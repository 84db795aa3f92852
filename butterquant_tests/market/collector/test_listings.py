"""A swap that rests is not one that is gone, and a day is whole when all that could be asked for is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from butterquant_assets.market.collector import collect_snapshots
from butterquant_assets.market.collector.answers import UnknownSymbolError
from butterquant_assets.market.collector.days import day_at
from butterquant_assets.market.collector.progress import Progress
from butterquant_assets.market.collector.questions import GRIDS
from butterquant_assets.market.crypto_coverage import Coverage
from butterquant_assets.market.exchange.venue import Instrument
from butterquant_tests.market.collector.collecting import DAY_MS, Desk, Lacking, Watched, bars, day_before, desk
from butterquant_tests.market.exchange.asking import HOUR_MS, NOW

TODAY = day_before(0)
BEGUN = (NOW // DAY_MS + 1) * DAY_MS
LATE = 2 * 60_000
"""A collection begins two minutes past the hour."""


def day(number: int) -> str:
    return day_at(BEGUN + number * DAY_MS)


def hours(one: Desk, count: int) -> None:
    for _ in range(count):
        one.clock.advance(HOUR_MS)


def stored(one: Desk, dataset: str, number: int) -> Coverage:
    held = one.store.day(dataset, day(number))
    assert held is not None
    return held.coverage


class Announcing(Lacking):
    """The simulated market, some of whose coins are suspended, and of some of which the end is announced."""

    def __init__(self) -> None:
        super().__init__()
        self.suspended: set[str] = set()
        self.ends: dict[str, int] = {}

    def instruments(self, now: int) -> tuple[Instrument, ...]:
        return tuple(
            replace(
                one,
                state="suspend" if one.base in self.suspended else "live",
                ends=self.ends.get(one.base),
            )
            for one in super().instruments(now)
        )


def test_a_suspended_coin_is_not_called_delisted_and_is_made_up_for_later(tmp_path: Path) -> None:
    venue, options = Announcing(), {"datasets": ("crypto_bars",), "start": TODAY}
    with desk(tmp_path, venue=venue) as one:
        one.collect(**options)
        venue.suspended.add("SIMETH")
        for _ in range(3):
            one.clock.advance(HOUR_MS)
        report = one.collect(**options)
        (problem,) = report.problems
        assert "SIMETH-USDT-SWAP is listed but does not trade now (state suspend)" in problem
        assert "delisted" not in problem
        held = one.store.day("crypto_bars", TODAY)
        assert held is not None
        assert set(held.coverage.missing) == {"SIMETH"}
        with pytest.raises(UnknownSymbolError, match="does not trade now"):
            one.collect(symbols=("SIMETH",), **options)
        venue.suspended.clear()
        for _ in range(22):
            one.clock.advance(HOUR_MS)
        report = one.collect(**options)
        assert (report.problems, report.incomplete_days) == ((), 0)
        assert bars(one.store)["coin"].value_counts().nunique() == 1


@pytest.mark.parametrize(
    ("dataset", "announced"),
    [
        *(("crypto_bars", True), ("crypto_bars", False), ("funding_rates", True)),
        *(("order_books", True), ("order_books", False)),
    ],
)
def test_a_day_on_which_a_coin_is_delisted_can_be_whole(dataset: str, announced: bool, tmp_path: Path) -> None:
    venue: Any = Announcing()
    begun = (NOW // DAY_MS + 1) * DAY_MS
    day = str(np.datetime64(begun, "ms").astype("datetime64[D]"))
    if announced:
        venue.ends["SIMETH"] = begun + 8 * HOUR_MS
    with desk(tmp_path, venue=venue, now=begun + 25 * 60_000) as one:
        options: dict[str, Any] = {"datasets": (dataset,), "start": day, "symbols": ("SIMBTC", "SIMETH")}
        for hour in range(25):
            if hour == 8:
                venue.gone.add("SIMETH")
            if dataset == "order_books" or hour in (7, 8, 24):
                one.collect(**options)
            one.clock.advance(HOUR_MS)
        held = one.store.day(dataset, day)
        assert held is not None
        assert held.coverage.complete
        told = f"SIMETH ended unannounced between {day}T07:25 and {day}T08:25"
        assert held.coverage.note == ("" if announced else told)
        if dataset == "crypto_bars":
            # The bar that ended with the coin could never be asked for.
            assert bars(one.store).query("coin == 'SIMETH'")["hour"].dt.hour.tolist() == list(range(7))


def test_an_end_that_is_called_off_is_forgotten(tmp_path: Path) -> None:
    venue, options = Announcing(), {"datasets": ("crypto_bars",), "start": TODAY}
    venue.ends["SIMETH"] = NOW + 2 * HOUR_MS
    with desk(tmp_path, venue=venue) as one:
        one.collect(**options)
        venue.ends.clear()
        for _ in range(24):
            one.clock.advance(HOUR_MS)
        assert one.collect(**options).incomplete_days == 0
        assert bars(one.store)["coin"].value_counts().nunique() == 1


BREAK: dict[str, Any] = {"datasets": ("crypto_bars", "funding_rates"), "start": day(0), "universe": 2}


@pytest.mark.parametrize("announced", [True, False])
def test_a_coin_that_ended_during_a_break_is_missed_on_the_days_it_traded(announced: bool, tmp_path: Path) -> None:
    venue = Announcing()
    if announced:
        venue.ends["SIMETH"] = BEGUN + 3 * DAY_MS + 8 * HOUR_MS
    with desk(tmp_path, venue=venue, now=BEGUN + 10 * HOUR_MS + LATE) as one:
        one.collect(**BREAK)
        hours(one, 24 * 5)
        venue.gone.add("SIMETH")
        one.collect(**BREAK)
        hours(one, 24)
        report = one.collect(**BREAK)
        lacking = {number: len(stored(one, "crypto_bars", number).missing.get("SIMETH", ())) for number in range(6)}
        # Announced for eight on the third day, the bar that ends then is not owed; else the next list bounds it.
        assert list(lacking.values()) == ([14, 24, 24, 7, 0, 0] if announced else [14, 24, 24, 24, 24, 10])
        whole = {
            (name, number): stored(one, name, number).complete for name in BREAK["datasets"] for number in range(6)
        }
        after = [4, 5] if announced else []
        assert all(complete == (number in after) for (_, number), complete in whole.items() if number != 3)
        # The settlement at midnight before the announced end may have come.
        assert not whole["crypto_bars", 3]
        assert not whole["funding_rates", 3]
        assert report.incomplete_days == list(whole.values()).count(False)
        if not announced:
            assert "SIMETH ended unannounced between" in stored(one, "crypto_bars", 2).sentence()


def test_an_end_that_stays_unknown_is_not_asked_for_for_ever(tmp_path: Path) -> None:
    venue, watched = Announcing(), Watched()
    with desk(tmp_path, venue=venue, faults=watched, now=BEGUN + 10 * HOUR_MS + LATE) as one:
        one.collect(**BREAK)
        hours(one, 48)
        venue.gone.add("SIMETH")
        for _ in range(31):
            one.collect(**BREAK)
            hours(one, 1)
        before = watched.asked.total()
        one.collect(**BREAK)
        # The clock, what is listed, and today's two datasets of the two that are left.
        assert watched.asked.total() - before <= 2 + 2 + 2 * 2 * 2


@pytest.mark.parametrize(("step", "complete"), [(8, False), (12, True)])
def test_a_settlement_that_may_have_come_before_an_unannounced_end_is_missed(
    step: int, complete: bool, tmp_path: Path
) -> None:
    venue = Announcing()
    gone = 8 if step == 8 else 11
    with desk(tmp_path, venue=venue, now=BEGUN + LATE) as one:
        options: dict[str, Any] = {"datasets": ("funding_rates",), "start": day(0), "universe": 2}
        for hour in range(25):
            if hour == gone:
                venue.gone.add("SIMETH")
            if hour in (gone - 1, gone, gone + 1, 24):
                one.collect(**options)
            hours(one, 1)
        coverage = stored(one, "funding_rates", 0)
        assert coverage.complete == complete
        assert coverage.missing == ({} if complete else {"SIMETH": (f"{day(0)}T08:00",)})


def test_an_end_around_midnight_leaves_both_days_whole_once_it_is_confirmed(tmp_path: Path) -> None:
    venue = Announcing()
    names = ("crypto_bars", "trade_flow", "order_books")
    with desk(tmp_path, venue=venue, now=BEGUN + LATE) as one:
        options: dict[str, Any] = {"datasets": names, "start": day(0), "symbols": ("SIMBTC", "SIMETH")}
        for hour in range(26):
            if hour == 24:
                venue.gone.add("SIMETH")
            one.collect(**options)
            if hour == 24:
                assert not stored(one, "crypto_bars", 0).complete
            hours(one, 1)
        assert [stored(one, name, 0).complete for name in names] == [True] * 3
        hours(one, 23)
        one.collect(**options)
        assert stored(one, "crypto_bars", 1).complete


def test_a_list_that_lacks_a_coin_once_ends_nothing(tmp_path: Path) -> None:
    venue = Announcing()
    options: dict[str, Any] = {"datasets": ("crypto_bars",), "start": day(0), "universe": 2}
    with desk(tmp_path, venue=venue, now=BEGUN + 7 * HOUR_MS + LATE) as one:
        one.collect(**options)
        hours(one, 1)
        venue.gone.add("SIMETH")
        one.collect(**options)
        venue.gone.clear()
        hours(one, 17)
        assert one.collect(**options).incomplete_days == 0
        (life,) = Progress(tmp_path).lives["SIMETH"]
        assert (life.first_absent, life.denied) == (None, False)
        assert len(one.store.read("crypto_bars", [day(0)]).query("coin == 'SIMETH'")) == 24


def test_a_memory_from_before_lives_were_noted_still_misses_what_ended_in_a_break(tmp_path: Path) -> None:
    venue = Announcing()
    with desk(tmp_path, venue=venue, now=BEGUN + 10 * HOUR_MS + LATE) as one:
        one.collect(**BREAK)
        file = tmp_path / "progress.json"
        former = json.loads(file.read_text())
        del former["lives"]
        file.write_text(json.dumps(former))
        hours(one, 24 * 3)
        venue.gone.add("SIMETH")
        one.collect(**BREAK)
        assert not stored(one, "crypto_bars", 1).complete
        assert set(stored(one, "crypto_bars", 1).missing) == {"SIMETH"}


def test_a_coin_that_leaves_the_universe_is_collected_to_the_end_of_its_last_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_snapshots, "KEEP_DAYS", 1)
    names = ("funding_rates", "order_books", "crypto_bars")
    collected = (*names, "leverage_tiers")  # which are there on their own day only
    with desk(tmp_path, venue=Announcing(), now=BEGUN + LATE) as one:
        one.collect(datasets=collected, start=day(0), universe=3)
        for hour in range(1, 24 + 24 + 8):
            hours(one, 1)
            report = one.collect(datasets=collected, start=day(0), universe=3 if hour < 24 else 2)
        assert report.coins == ("SIMBTC", "SIMETH")
        assert [stored(one, name, 1).complete for name in names] == [True] * 3
        assert (report.problems, report.incomplete_days) == ((), 0)
        assert not Progress(tmp_path).unsettled("SIMC03", GRIDS)
        for name in names:
            assert "SIMC03" in set(one.store.read(name, [day(1)])["coin"])
            assert "SIMC03" not in set(one.store.read(name, [day(2)])["coin"])
