"""What outlives a collection: nothing is given up that was not answered, and nothing that is down holds up the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.market.collector.progress import MOST_TRIES, Progress
from butterquant_assets.market.exchange.faults import FaultKind, FaultRule
from butterquant_tests.market.collector.collecting import Desk, Lacking, Watched, bars, day_before, desk
from butterquant_tests.market.exchange.asking import HOUR_MS

DAY, YESTERDAY = day_before(2), day_before(1)
CANDLES, INTEREST = "market/candles", "rubik/stat/contracts/open-interest-history"
INDEX = "market/history-index-candles"


def down(*endpoints: str, kind: FaultKind = FaultKind.SERVER_ERROR) -> FaultRule:
    """An endpoint that never answers."""
    return FaultRule(kind, endpoints=endpoints, attempts=None)


def hourly(one: Desk, times: int, **span: Any) -> list[tuple[str, ...]]:
    """So many collections, an hour apart; returns the problems of each."""
    problems = []
    for _ in range(times):
        problems.append(one.collect(**span).problems)
        one.clock.advance(HOUR_MS)
    return problems


@pytest.mark.parametrize(
    ("dataset", "endpoint", "kind"),
    [
        ("open_interest", INTEREST, FaultKind.SERVER_ERROR),
        ("crypto_bars", CANDLES, FaultKind.RATE_LIMITED),
        ("funding_rates", "public/funding-rate-history", FaultKind.TRUNCATED),
        ("trade_flow", "market/history-trades", FaultKind.SERVER_ERROR),
    ],
)
def test_an_outage_longer_than_all_tries_loses_nothing(
    dataset: str, endpoint: str, kind: FaultKind, tmp_path: Path
) -> None:
    faults = Watched([down(endpoint, kind=kind)])
    datasets = tuple({"crypto_bars", dataset}) if dataset == "trade_flow" else (dataset,)
    span: dict[str, Any] = {"datasets": datasets, "start": DAY, "end": DAY, "symbols": ("SIMBTC", "SIMETH")}
    with desk(tmp_path / "a", faults=faults) as one, desk(tmp_path / "b") as other:
        told = hourly(one, MOST_TRIES + 2, **span)
        assert all(any(endpoint in problem for problem in problems) for problems in told)
        held = one.store.day(dataset, DAY)
        assert held is not None
        assert not held.coverage.complete
        faults.rules = ()
        report = one.collect(**span)
        assert (report.problems, report.incomplete_days) == ((), 0)
        other.collect(**span)
        assert len(bars(other.store, dataset))
        assert bars(one.store, dataset).equals(bars(other.store, dataset))
        held = one.store.day(dataset, DAY)
        assert held is not None
        assert held.coverage.complete


def test_the_gap_of_one_coin_gives_up_no_other(tmp_path: Path) -> None:
    venue, faults = Lacking(), Watched()
    venue.hidden.add(("SIMETH", int(np.datetime64(f"{DAY}T07:00", "ms").astype(np.int64))))
    span: dict[str, Any] = {"datasets": ("crypto_bars",), "start": DAY, "end": DAY}
    with desk(tmp_path, venue=venue, faults=faults) as one:
        hourly(one, MOST_TRIES, symbols=("SIMBTC", "SIMETH"), **span)
        faults.rules = (down(CANDLES),)
        (problems,) = hourly(one, 1, symbols=("SIMBTC", "SIMETH", "SIMC08"), **span)
        assert "SIMC08" in problems[0]
        faults.rules = ()
        before = faults.asked[CANDLES]
        one.collect(symbols=("SIMBTC", "SIMETH", "SIMC08"), **span)
        assert faults.asked[CANDLES] - before == 1
        assert bars(one.store)["coin"].value_counts().to_dict() == {"SIMBTC": 24, "SIMC08": 24, "SIMETH": 23}
        asked = Progress(tmp_path).of("crypto_bars", DAY)
        assert asked is not None
        assert asked.tries == {"SIMETH": MOST_TRIES}


def test_an_instrument_the_exchange_denies_is_asked_for_again_and_only_once_a_collection(tmp_path: Path) -> None:
    faults = Watched([down(CANDLES, kind=FaultKind.UNKNOWN_INSTRUMENT)])
    span: dict[str, Any] = {
        "datasets": ("crypto_bars",),
        "start": day_before(45),
        "end": day_before(1),
        "symbols": ("SIMBTC",),
    }
    with desk(tmp_path, faults=faults) as one:
        for _ in range(MOST_TRIES + 1):
            one.collect(**span)
        # Four chunks of days: two are asked for at once, and then nothing more.
        assert faults.asked[CANDLES] <= 2 * (MOST_TRIES + 1)
        faults.rules = ()
        assert one.collect(**span).incomplete_days == 0


def test_an_endpoint_that_is_down_is_left_alone_and_the_others_are_collected_whole(tmp_path: Path) -> None:
    faults = Watched([down(INDEX, kind=FaultKind.RATE_LIMITED)])
    span: dict[str, Any] = {"start": day_before(88), "end": day_before(65), "universe": 8}
    datasets = ("index_prices", "mark_prices", "order_books")
    with desk(tmp_path, faults=faults) as one:
        report = one.collect(datasets=datasets, **span)
        # Six chunks of eight coins would be 288 requests in vain.
        assert faults.asked[INDEX] <= 120
        told = [problem for problem in report.problems if INDEX in problem]
        assert any("left alone for the rest of this collection" in problem for problem in told)
        assert report.incomplete.keys() == {"index_prices"}
        assert len(bars(one.store, "mark_prices")) == 24 * 24 * 8
        assert len(bars(one.store, "order_books")) == 8
        faults.rules = ()
        report = one.collect(datasets=datasets, **span)
        assert (report.problems, report.incomplete_days) == ((), 0)
        assert len(bars(one.store, "index_prices")) == 24 * 24 * 8


def test_settlements_nobody_told_of_are_no_whole_day(tmp_path: Path) -> None:
    faults = Watched()
    span: dict[str, Any] = {"datasets": ("funding_rates",), "start": day_before(0)}
    with desk(tmp_path, faults=faults) as one:
        one.collect(**span)
        for _ in range(13):
            one.clock.advance(HOUR_MS)
        one.collect(**span)  # at 18:25, so that every settlement but those of the evening is there
        faults.rules = (down("public/funding-rate-history"),)
        for _ in range(6):
            one.clock.advance(HOUR_MS)
        one.collect(**span)
        held = one.store.day("funding_rates", day_before(0))
        assert held is not None
        assert not held.coverage.complete
        assert held.coverage.sentence()
        faults.rules = ()
        assert one.collect(**span).incomplete_days == 0


FLOW: dict[str, Any] = {"datasets": ("crypto_bars", "trade_flow"), "start": DAY, "end": DAY, "symbols": ("SIMBTC",)}


def test_trades_wait_for_their_bar(tmp_path: Path) -> None:
    faults = Watched([down(CANDLES), FaultRule(FaultKind.MISSING, endpoints=("market/history-trades",))])
    with desk(tmp_path / "a", faults=faults) as one, desk(tmp_path / "b") as other:
        report = one.collect(**FLOW)
        assert any("24 hours of SIMBTC have no bar in crypto_bars" in problem for problem in report.problems)
        assert faults.asked["market/history-trades"] == 0
        assert len(bars(one.store, "trade_flow")) == 0
        faults.rules = faults.rules[1:]
        assert one.collect(**FLOW).problems == ()
        other.collect(**FLOW)
        assert len(bars(one.store, "trade_flow")) == 24
        assert bars(one.store, "trade_flow").equals(bars(other.store, "trade_flow"))


def test_an_hour_that_no_longer_fits_its_bar_is_asked_for_again(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        one.collect(**FLOW)
        right, held = bars(one.store, "trade_flow"), one.store.day("trade_flow", DAY)
        assert held is not None
        assert held.coverage.complete
        wrong = right.assign(buy_volume=right["buy_volume"] * np.where(np.arange(24) == 7, 0.5, 1.0))
        one.store.write("trade_flow", DAY, wrong, held.coverage)
        one.collect(**FLOW)
        assert bars(one.store, "trade_flow").equals(right)


def test_an_hour_without_its_bar_is_not_called_complete(tmp_path: Path) -> None:
    venue = Lacking()
    hidden = int(np.datetime64(f"{DAY}T07:00", "ms").astype(np.int64))
    venue.hidden.add(("SIMBTC", hidden))
    with desk(tmp_path, venue=venue) as one:
        one.collect(**FLOW)
        held = one.store.day("trade_flow", DAY)
        assert held is not None
        assert held.coverage.missing == {"SIMBTC": (f"{DAY}T07:00",)}
        for _ in range(MOST_TRIES):
            one.collect(**FLOW)
        venue.hidden.clear()
        one.collect(full=True, **{**FLOW, "datasets": ("crypto_bars",)})
        one.collect(**FLOW)
        held = one.store.day("trade_flow", DAY)
        assert held is not None
        assert held.coverage.complete


def test_a_book_too_shallow_for_its_depth_says_so(tmp_path: Path) -> None:
    class Tight(Lacking):
        """A market whose books have a level at every hundredth of a basis point."""

        def book(self, base: str, now: int, levels: int) -> Any:
            found = super().book(base, now, levels)
            assert found is not None
            middle = (found.bid_price[0] + found.ask_price[0]) / 2
            steps = middle * 1e-6 * np.arange(1, levels + 1)
            return type(found)(middle - steps, found.bid_size, middle + steps, found.ask_size)

    with desk(tmp_path, venue=Tight()) as one:
        one.collect(datasets=("order_books",), start=day_before(0))
        books, levels = bars(one.store, "order_books"), bars(one.store, "order_book_levels")
        assert books["bid_depth_10bp_usd"].isna().all()
        assert books["ask_depth_10bp_usd"].isna().all()
        assert (books["levels"] == 20).all()
        assert levels["level"].max() == 20
        assert pd.notna(books["imbalance"]).all()
