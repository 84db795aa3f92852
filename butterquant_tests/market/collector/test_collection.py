"""The store holds what the exchange's market holds: whole, exact, closed bars only, and taken up where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.foundation.files import locked
from butterquant_assets.market.collector import collect_trades
from butterquant_assets.market.collector.answers import UnknownSymbolError
from butterquant_assets.market.collector.client import ExchangeClient
from butterquant_assets.market.collector.collection import LOCK
from butterquant_assets.market.collector.progress import Progress
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_schemas import DELIVERED
from butterquant_assets.market.exchange.faults import FaultKind, FaultRule, Faults
from butterquant_tests.market.collector.collecting import Desk, Lacking, bars, contents, day_before, desk
from butterquant_tests.market.exchange.asking import HOUR_MS, MARKET, NOW

OPEN_HOUR = NOW // HOUR_MS
YESTERDAY, TODAY = day_before(1), day_before(0)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A store filled once; nobody changes it."""
    with desk(tmp_path_factory.mktemp("store")) as one:
        one.report = one.collect()  # type: ignore[attr-defined]
        yield one


def test_bars_are_those_of_the_market_and_end_with_the_last_closed_hour(filled: Desk) -> None:
    found = bars(filled.store)
    first = OPEN_HOUR // 24 * 24 - 24
    truth = MARKET.hours(first, OPEN_HOUR)
    for place, coin in enumerate(("SIMBTC", "SIMETH")):
        mine = found[found["coin"] == coin]
        assert list(mine["hour"]) == list(pd.to_datetime(np.arange(first, OPEN_HOUR) * HOUR_MS, unit="ms"))
        for name in ("open", "high", "low", "close"):
            assert np.array_equal(mine[name], getattr(truth, name)[:, place])
        coins = truth.volume[:, place] * MARKET.traits.contract_value[place]
        assert np.allclose(mine["volume"], coins, rtol=1e-12)


def test_mark_index_interest_and_taker_volume_stand_at_their_hours(filled: Desk) -> None:
    first = OPEN_HOUR // 24 * 24 - 24
    truth = MARKET.hours(first, OPEN_HOUR)
    value = MARKET.traits.contract_value[0]
    expected = {
        "mark_prices": ("close", truth.mark_close[:, 0]),
        "index_prices": ("close", truth.index_close[:, 0]),
        "open_interest": ("open_interest", truth.open_interest[:, 0] * value),
        "taker_volume": ("buy_volume", truth.taker_buy[:, 0] * value),
    }
    for dataset, (name, figures) in expected.items():
        found = bars(filled.store, dataset)
        mine = found[found["coin"] == "SIMBTC"]
        assert len(mine) == OPEN_HOUR - first, dataset
        assert np.allclose(mine[name], figures, rtol=1e-9), dataset


def test_funding_has_its_true_times_intervals_and_marks(filled: Desk) -> None:
    first = OPEN_HOUR // 24 * 24 - 24
    truth = MARKET.hours(first, OPEN_HOUR + 1)
    found = bars(filled.store, "funding_rates")
    for place, coin in enumerate(("SIMBTC", "SIMETH")):
        mine = found[found["coin"] == coin]
        settled = np.flatnonzero(~np.isnan(truth.funding[:, place]))
        assert list(mine["settled_at"]) == list(pd.to_datetime((first + settled) * HOUR_MS, unit="ms"))
        assert np.array_equal(mine["funding_rate"], truth.funding[settled, place])
        assert (mine["interval_hours"] == truth.interval[0, place]).all()
        assert np.array_equal(mine["mark_price"], truth.mark_open[settled, place])


def test_trade_flow_adds_up_to_the_bars(filled: Desk) -> None:
    flow, traded = bars(filled.store, "trade_flow"), bars(filled.store)
    both = flow.merge(traded, on=["hour", "coin"])
    assert len(both) == len(traded) == len(flow)
    assert np.allclose(both["buy_volume"] + both["sell_volume"], both["volume"], rtol=1e-9)
    taker = bars(filled.store, "taker_volume").merge(flow, on=["hour", "coin"])
    assert np.allclose(taker["buy_volume_x"], taker["buy_volume_y"], rtol=1e-9)
    assert 0 < flow["large_trades"].sum() < flow["trades"].sum()


def test_every_table_keeps_its_contract_and_the_open_day_is_never_complete(filled: Desk) -> None:
    for dataset, contract in DELIVERED.items():
        if dataset == "crypto_minute_bars":
            continue
        days = filled.store.days(dataset)
        assert days, dataset
        frame = filled.store.read(dataset, days)
        schema = contract.schema.remove_columns([name for name in contract.columns if name not in frame])
        schema.validate(frame)
        for day in days:
            held = filled.store.day(dataset, day)
            assert held is not None
            assert held.coverage.complete == (day != TODAY), (dataset, day)


def test_books_and_tiers_are_those_the_exchange_shows(filled: Desk) -> None:
    venue = filled.app.venue
    book = venue.book("SIMBTC", NOW, 20)
    assert book is not None
    row = bars(filled.store, "order_books").set_index("coin").loc["SIMBTC"]
    levels = bars(filled.store, "order_book_levels")
    mine = levels[(levels["coin"] == "SIMBTC") & (levels["side"] == "bid")]
    assert list(mine["price"]) == list(book.bid_price)
    assert np.allclose(mine["size"], book.bid_size * MARKET.traits.contract_value[0])
    assert (row["best_bid"], row["best_ask"], row["levels"]) == (book.bid_price[0], book.ask_price[0], 20)
    resting = book.bid_size.sum() - book.ask_size.sum()
    assert row["imbalance"] == pytest.approx(resting / (book.bid_size.sum() + book.ask_size.sum()))
    deep = venue.book("SIMBTC", NOW, 400)
    assert deep is not None
    near = deep.bid_price >= (book.bid_price[0] + book.ask_price[0]) / 2 * 0.999
    value = (deep.bid_price * deep.bid_size)[near].sum() * MARKET.traits.contract_value[0]
    assert row["bid_depth_10bp_usd"] == pytest.approx(value)
    tiers = bars(filled.store, "leverage_tiers")
    assert list(tiers.loc[tiers["coin"] == "SIMBTC", "tier"]) == [1, 2, 3, 4, 5, 6]


def test_the_universe_is_todays(filled: Desk) -> None:
    rows = bars(filled.store, "crypto_universe")
    assert list(rows["coin"]) == ["SIMBTC", "SIMETH"]
    assert set(rows["day"].dt.strftime("%Y-%m-%d")) == {TODAY}
    assert rows["as_of_known"].all()
    assert set(rows["chosen_by"]) == {"simulation"}


def test_a_second_collection_asks_little_and_changes_nothing(filled: Desk, tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        first, before = one.collect(), contents(one.store)
        again = one.collect()
        assert contents(one.store) == before == contents(filled.store)
        assert again.changed == {}
        assert (again.problems, again.incomplete_days) == ((), 0)
        assert again.requests < first.requests / 5


def test_the_next_hour_costs_one_request_a_coin_and_dataset(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        one.collect(datasets=("crypto_bars", "mark_prices", "open_interest"))
        one.clock.advance(HOUR_MS)
        later = one.collect(datasets=("crypto_bars", "mark_prices", "open_interest"))
        assert later.changed == {"crypto_bars": 1, "mark_prices": 1, "open_interest": 1}
        # Two for the clock, two for what is listed, then one a coin and dataset.
        assert later.requests == 2 + 2 + 2 * 3
        assert bars(one.store)["hour"].max() == pd.Timestamp(OPEN_HOUR * HOUR_MS, unit="ms")


def test_a_bar_the_exchange_calls_open_is_left_out_even_when_its_clock_runs_ahead(tmp_path: Path) -> None:
    skewed = Faults([FaultRule(FaultKind.CLOCK_SKEW, endpoints=("public/time",), attempts=None)])
    with desk(tmp_path, faults=skewed, now=(OPEN_HOUR + 1) * HOUR_MS - 300_000) as one:
        report = one.collect(datasets=("crypto_bars",))
        assert report.at > str(np.datetime64((OPEN_HOUR + 1) * HOUR_MS, "ms"))
        assert bars(one.store)["hour"].max() == pd.Timestamp((OPEN_HOUR - 1) * HOUR_MS, unit="ms")


def test_minute_bars_add_up_to_the_hours(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        report = one.collect(
            datasets=("crypto_bars", "crypto_minute_bars"),
            bar="1m",
            start=YESTERDAY,
            end=YESTERDAY,
            symbols=("SIMBTC",),
        )
        assert report.incomplete_days == 0
        minutes, hours = bars(one.store, "crypto_minute_bars"), bars(one.store)
        assert len(minutes) == 1440
        summed = minutes.groupby(minutes["minute"].dt.floor("h"))["volume"].sum()
        assert np.allclose(summed.to_numpy(), hours["volume"].to_numpy(), rtol=1e-9)


def test_a_day_that_is_over_is_said_to_be_whole_or_not(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        chosen = {"datasets": ("order_books", "leverage_tiers"), "start": TODAY}
        one.collect(**chosen)
        for _ in range(19):
            one.clock.advance(HOUR_MS)
        one.collect(**chosen)
        found = {name: one.store.day(name, TODAY) for name in ("order_books", "leverage_tiers", "instruments")}
        assert {name: held.coverage.complete for name, held in found.items() if held} == {
            "order_books": False,
            "leverage_tiers": True,
            "instruments": True,
        }
        books = found["order_books"]
        assert books is not None
        # One book was taken in the hour from five on, of 24.
        assert (books.coverage.expected, books.coverage.received) == (48, 2)
        assert f"{TODAY}T05:00" not in books.coverage.missing["SIMBTC"]


def test_a_coin_that_came_today_does_not_spoil_the_books_of_yesterday(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        one.collect(datasets=("order_books",), start=TODAY, symbols=("SIMBTC",))
        for _ in range(24):
            one.clock.advance(HOUR_MS)
        one.collect(datasets=("order_books",), start=TODAY, symbols=("SIMBTC", "SIMETH"))
        held = one.store.day("order_books", TODAY)
        assert held is not None
        assert (held.coverage.expected, held.coverage.received, set(held.coverage.missing)) == (24, 1, {"SIMBTC"})


@pytest.mark.parametrize("dataset", ["crypto_bars", "mark_prices", "open_interest", "funding_rates"])
def test_a_coin_left_out_after_a_break_is_missed_and_asked_for_again(tmp_path: Path, dataset: str) -> None:
    with desk(tmp_path) as one:
        options: dict[str, Any] = {"datasets": (dataset,), "start": TODAY}
        one.collect(**options)
        for _ in range(26):
            one.clock.advance(HOUR_MS)
        one.collect(**options, symbols=("SIMBTC",))
        held = one.store.day(dataset, TODAY)
        assert held is not None
        assert not held.coverage.complete
        assert set(held.coverage.missing) == {"SIMETH"}
        report = one.collect(**options, symbols=("SIMBTC", "SIMETH"))
        assert report.incomplete_days == 0
        held = one.store.day(dataset, TODAY)
        assert held is not None
        assert held.coverage.complete
        counts = one.store.read(dataset, [TODAY])["coin"].value_counts()
        assert counts["SIMBTC"] == counts["SIMETH"]


def test_trades_not_asked_for_for_want_of_requests_are_no_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_trades, "MOST_REQUESTS", 1)
    day = day_before(2)
    with desk(tmp_path) as one:
        for hours in (1, 2):
            report = one.collect(datasets=("crypto_bars", "trade_flow"), start=day, end=day, symbols=("SIMBTC",))
            assert any("are left for the next collection" in problem for problem in report.problems)
            asked = Progress(tmp_path).of("trade_flow", day)
            assert asked is not None
            assert asked.tries == {}
            assert len(bars(one.store, "trade_flow")) == hours


def test_an_unknown_coin_is_named_and_the_others_are_collected(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        report = one.collect(datasets=("crypto_bars",), symbols=("SIMBTC", "NONSUCH"))
        assert report.coins == ("SIMBTC",)
        (problem,) = report.problems
        assert "NONSUCH" in problem
        assert "expected one of SIM" in problem
        with pytest.raises(UnknownSymbolError, match="NONSUCH-USDT-SWAP"):
            one.collect(symbols=("NONSUCH",))


def test_a_delisted_coin_keeps_its_rows_and_is_said_to_be_gone(tmp_path: Path) -> None:
    venue = Lacking()
    with desk(tmp_path, venue=venue) as one:
        one.collect(datasets=("crypto_bars",))
        before = bars(one.store)
        venue.gone.add("SIMETH")
        one.clock.advance(HOUR_MS)
        report = one.collect(datasets=("crypto_bars",))
        (problem,) = report.problems
        assert "SIMETH-USDT-SWAP is no longer listed" in problem
        assert "SIMETH" not in report.coins
        after = bars(one.store)
        assert (
            after[after["coin"] == "SIMETH"]
            .reset_index(drop=True)
            .equals(before[before["coin"] == "SIMETH"].reset_index(drop=True))
        )
        assert (after["coin"] == "SIMBTC").sum() == (before["coin"] == "SIMBTC").sum() + 1


def test_a_second_collector_at_once_is_refused(tmp_path: Path) -> None:
    with desk(tmp_path) as one, locked(tmp_path / LOCK):
        with pytest.raises(SourceError, match="another collection is at work"):
            one.collect()
        assert one.store.days("crypto_bars") == ()


def test_a_span_without_days_and_an_unknown_dataset_are_refused(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        with pytest.raises(ConfigError, match="start 2031-01-01 lies after"):
            one.collect(start="2031-01-01")
        with pytest.raises(ConfigError, match="expected some of crypto_bars"):
            one.collect(datasets=("candles",))


@pytest.mark.parametrize("after", [14, 60])
def test_a_collection_that_dies_is_taken_up_and_ends_the_same(filled: Desk, tmp_path: Path, after: int) -> None:
    class Died(BaseException):
        """As if the process were gone."""

    with desk(tmp_path) as one:
        count = 0

        async def dying(*question: Any) -> Any:
            nonlocal count
            count += 1
            if count == after:
                raise Died
            return await ask(*question)

        def client(config: CryptoConfig) -> ExchangeClient:
            nonlocal ask
            made = one.waiting.client(config)
            ask, made.ask = made.ask, dying  # type: ignore[method-assign]
            return made

        ask: Any = None
        one.make_client = client
        with pytest.raises(Died):
            one.collect()
        held = contents(one.store)
        assert len(held) < len(contents(filled.store))
        assert all(contents(filled.store)[key] == content for key, content in held.items())
        one.make_client = one.waiting.client
        one.collect()
        assert contents(one.store) == contents(filled.store)
