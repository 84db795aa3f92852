"""Whatever goes wrong on the way, at whatever endpoint, the store ends as if nothing had, and never claims too much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.answers import AccessError
from butterquant_assets.market.collector.limiter import PERMITTED
from butterquant_assets.market.collector.progress import MOST_TRIES
from butterquant_assets.market.crypto_schemas import DELIVERED
from butterquant_assets.market.crypto_sources.store import REJECTS, CryptoStore
from butterquant_assets.market.exchange.faults import FaultKind, FaultRule
from butterquant_tests.market.collector.collecting import Desk, Lacking, Watched, bars, contents, day_before, desk

KINDS = (
    *(FaultKind.RATE_LIMITED, FaultKind.RETRY_AFTER, FaultKind.SERVER_ERROR, FaultKind.TIMEOUT, FaultKind.TRUNCATED),
    *(FaultKind.WRONG_CONTENT_TYPE, FaultKind.EMPTY, FaultKind.DUPLICATED, FaultKind.MISSING, FaultKind.REVISED),
    *(FaultKind.REORDERED, FaultKind.CLOCK_SKEW),
)
OLD, TODAY = day_before(70), day_before(0)
GRIDS = ("crypto_bars", "mark_prices", "index_prices", "funding_rates", "open_interest", "taker_volume")


def fill(one: Desk, *, full: bool = False) -> list[str]:
    """A day long ago, for the endpoints of history, and today; returns what went wrong."""
    spans: list[dict[str, Any]] = [{"start": OLD, "end": OLD, "datasets": GRIDS}, {"start": TODAY}]
    return [problem for span in spans for problem in one.collect(full=full, **span).problems]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CryptoStore]:
    """The store when nothing goes wrong; every endpoint was asked for it."""
    nothing = Watched()
    with desk(tmp_path_factory.mktemp("healthy"), faults=nothing) as one:
        assert fill(one) == []
        assert set(nothing.asked) == set(PERMITTED)
        yield one.store


def claims(store: CryptoStore) -> Iterator[tuple[str, str]]:
    """Days a store calls complete."""
    for dataset in DELIVERED:
        for day in store.days(dataset):
            held = store.day(dataset, day)
            if held is not None and held.coverage.complete:
                yield dataset, day


QUICK = (FaultKind.RETRY_AFTER, FaultKind.TRUNCATED, FaultKind.MISSING, FaultKind.REVISED)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in KINDS]
)
def test_every_endpoint_recovers_from_every_fault(kind: FaultKind, healthy: CryptoStore, tmp_path: Path) -> None:
    faults = Watched([FaultRule(kind)])
    with desk(tmp_path, faults=faults) as one:
        fill(one)
        for dataset, day in claims(one.store):
            keys = list(DELIVERED[dataset].keys)
            assert one.store.read(dataset, [day], keys).equals(healthy.read(dataset, [day], keys)), (dataset, day)
        fill(one, full=kind is FaultKind.REVISED)
        assert contents(one.store) == contents(healthy)
        # What the exchange took back is on record, and nothing else.
        noted = bars(one.store, REJECTS)
        assert set(noted["dataset"]) == (set(GRIDS) if kind is FaultKind.REVISED else set())
        # A price that was moved may leave its own bar, which is refused at once.
        assert set(noted["reason"]) <= {"revised", "ohlc_violation"}
    assert all(faults.endpoints[path] for path in PERMITTED)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_all_faults_together_at_random_end_the_same(seed: int, healthy: CryptoStore, tmp_path: Path) -> None:
    rules = [FaultRule(kind, 0.08, attempts=3) for kind in KINDS]
    with desk(tmp_path, faults=Watched(rules, seed=seed)) as one:
        for turn in range(4):
            fill(one, full=turn > 1)
        assert contents(one.store) == contents(healthy)


def test_a_gap_is_named_exactly_and_filled_by_the_next_collection(tmp_path: Path) -> None:
    venue, span = Lacking(), {"datasets": ("crypto_bars",), "start": day_before(2), "end": day_before(1)}
    hidden = np.datetime64(f"{day_before(1)}T07:00", "ms")
    venue.hidden.add(("SIMETH", int(hidden.astype(np.int64))))
    with desk(tmp_path, venue=venue) as one:
        report = one.collect(**span)
        assert report.incomplete_days == 1
        assert report.incomplete["crypto_bars"].startswith(f"{day_before(1)}: 1 of 48 rows did not come (SIMETH ")
        sooner, later = (one.store.day("crypto_bars", day_before(back)) for back in (2, 1))
        assert sooner is not None
        assert sooner.coverage.complete
        assert later is not None
        assert not later.coverage.complete
        assert later.coverage.missing == {"SIMETH": (f"{day_before(1)}T07:00",)}
        venue.hidden.clear()
        assert one.collect(**span).incomplete_days == 0
        assert len(bars(one.store)) == 2 * 48


def test_a_gap_of_the_exchange_is_never_complete_and_not_asked_for_for_ever(tmp_path: Path) -> None:
    venue, span = Lacking(), {"datasets": ("crypto_bars",), "start": day_before(5), "end": day_before(5)}
    hidden = int(np.datetime64(f"{day_before(5)}T07:00", "ms").astype(np.int64))
    venue.hidden.add(("SIMETH", hidden))
    watched = Watched()
    with desk(tmp_path, venue=venue, faults=watched) as one:
        asked = []
        for _ in range(MOST_TRIES + 2):
            before = watched.asked["market/candles"]
            assert one.collect(**span).incomplete_days == 1
            asked.append(watched.asked["market/candles"] - before)
        # Both coins once and the one with the gap again; then that one alone, twice each time; in the end nobody.
        assert asked == [3, *[2] * (MOST_TRIES - 1), 0, 0]
        venue.hidden.clear()
        assert one.collect(**span, full=True).incomplete_days == 0


def test_a_revised_candle_is_taken_while_its_day_is_young(tmp_path: Path) -> None:
    once = Watched([FaultRule(FaultKind.REVISED, endpoints=("market/candles",))])
    with desk(tmp_path / "a", faults=once) as one, desk(tmp_path / "b") as other:
        one.collect(datasets=("crypto_bars",))
        other.collect(datasets=("crypto_bars",))
        assert not bars(one.store).equals(bars(other.store))
        one.collect(datasets=("crypto_bars",))
        assert bars(one.store).equals(bars(other.store))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (FaultKind.REGION_BLOCK, "does not serve this address or region .*50125"),
        (FaultKind.KEY_EXPIRED, "refuses the key .*50113.* renew it"),
        (FaultKind.WRONG_ENVIRONMENT, "refuses the key .*50101"),
    ],
)
def test_an_exchange_that_does_not_serve_us_is_left_alone_at_once(kind: FaultKind, words: str, tmp_path: Path) -> None:
    faults = Watched([FaultRule(kind, endpoints=("market/candles",), attempts=None)])
    with desk(tmp_path, faults=faults) as one:
        with pytest.raises(AccessError, match=words):
            one.collect(datasets=("crypto_bars",))
        assert faults.asked["market/candles"] <= 2
        assert one.store.days("crypto_bars") == ()


def test_a_coin_the_exchange_lists_but_does_not_know_is_a_problem_of_that_coin(tmp_path: Path) -> None:
    faults = Watched([FaultRule(FaultKind.UNKNOWN_INSTRUMENT, endpoints=("market/candles",), attempts=None)])
    with desk(tmp_path, faults=faults) as one:
        report = one.collect(datasets=("crypto_bars", "mark_prices"))
        assert any("SIMBTC-USDT-SWAP: the exchange has no such instrument" in problem for problem in report.problems)
        assert report.incomplete.keys() == {"crypto_bars"}
        assert len(bars(one.store, "mark_prices")) > 0


def test_an_exchange_that_never_answers_is_given_up_after_bounded_waiting(tmp_path: Path) -> None:
    faults = Watched([FaultRule(FaultKind.SERVER_ERROR, attempts=None)])
    with desk(tmp_path, faults=faults) as one:
        with pytest.raises(SourceError, match=r"no usable answer at 6 attempts, the last: unavailable .*50001"):
            one.collect()
        pauses = [seconds for seconds in one.waiting.waited if seconds > 0.3]
        assert len(pauses) == 5
        # Doubling from half a second, each times 0.5 .. 1.5.
        assert all(0.5 <= pause / (0.5 * 2**place) <= 1.5 for place, pause in enumerate(pauses))
