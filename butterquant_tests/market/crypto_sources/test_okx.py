"""The collector's store as a source."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.crypto_coverage import Coverage
from butterquant_assets.market.crypto_schemas import DELIVERED
from butterquant_assets.market.crypto_sources.base import DATASETS, REJECTS
from butterquant_assets.market.crypto_sources.okx import OkxCryptoSource
from butterquant_assets.market.crypto_sources.store import CryptoStore
from butterquant_assets.orchestration.reading import RecordingSource
from butterquant_tests.market.crypto_cases import LATER, PRICES, priced, raw_bars, store_bars

DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]


@pytest.fixture
def store(tmp_path: Path) -> CryptoStore:
    """Three days of bars and mark prices of one coin."""
    made = CryptoStore(tmp_path)
    store_bars(made, raw_bars())
    store_bars(made, priced(raw_bars()), "mark_prices")
    return made


def source_of(store: CryptoStore) -> OkxCryptoSource:
    return OkxCryptoSource(store.folder, clock=lambda: LATER)


def universe(day: str, coins: list[str]) -> pd.DataFrame:
    stamps = np.full(len(coins), np.datetime64(day, "us"))
    rows = pd.DataFrame({"day": stamps, "coin": pd.Series(coins, dtype="str"), "rank": range(1, len(coins) + 1)})
    return rows.assign(
        market_cap_usd=1e9, chosen_by=pd.Series(["coingecko"] * len(coins), dtype="str"), as_of_known=True
    )


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="collect-crypto"):
        OkxCryptoSource(tmp_path / "none").span()


def test_a_store_says_whether_its_coins_are_simulated(store: CryptoStore, tmp_path: Path) -> None:
    source = source_of(store)
    assert (source.simulated, source.describe()["simulated"]) == (False, "no")
    invented = CryptoStore(tmp_path / "invented")
    assert not source_of(invented).simulated
    store_bars(invented, raw_bars().assign(coin="SIMBTC"))
    source = source_of(invented)
    assert (source.simulated, source.describe()["simulated"]) == (True, "everything (SIM coins)")
    assert "simulated exchange" in str(source.describe()["collected from"])


def test_stored_bars_are_flagged_against_the_stored_mark(store: CryptoStore) -> None:
    wrong = raw_bars()
    wrong.loc[30, "close"] *= 1.05
    wrong["high"] = wrong[list(PRICES)].max(axis=1)
    store_bars(store, wrong)
    delivery = source_of(store).fetch("crypto_bars", DAYS)
    assert delivery.rows.index[delivery.rows["suspect"]].tolist() == [30]
    assert delivery.rejects["reason"].tolist() == ["off_mark"]
    assert delivery.coverage[DAYS[0]].complete


def test_bars_depend_on_the_mark_price_and_on_the_first_hour_of_the_next_day_alone(store: CryptoStore) -> None:
    source = source_of(store)
    first = source.fingerprints("crypto_bars", DAYS)
    later = raw_bars()
    later.loc[70, "volume"] += 1  # the last evening
    store_bars(store, later)
    assert [day for day in DAYS if source.fingerprints("crypto_bars", [day])[day] != first[day]] == DAYS[2:]
    later.loc[48, "open"] *= 1.0001  # the first hour of the last day
    store_bars(store, later)
    assert [day for day in DAYS if source.fingerprints("crypto_bars", [day])[day] != first[day]] == DAYS[1:]
    second = source.fingerprints("crypto_bars", DAYS)
    store_bars(store, priced(raw_bars(), 1.0001).iloc[:24], "mark_prices")
    assert [day for day in DAYS if source.fingerprints("crypto_bars", [day])[day] != second[day]] == DAYS[:2]


def test_what_was_not_collected_is_empty_and_not_complete(store: CryptoStore) -> None:
    delivery = source_of(store).fetch("taker_volume", DAYS[:1])
    assert delivery.rows.empty
    assert delivery.coverage[DAYS[0]].sentence() == "not collected"


def test_a_day_without_a_ranking_borrows_the_next_and_admits_it(store: CryptoStore) -> None:
    for day, coins in (("2024-01-02", ["BTC", "SOL"]), ("2024-01-03", ["BTC"])):
        store.write("crypto_universe", day, universe(day, coins), Coverage(0, 0, complete=True))
    delivery = source_of(store).fetch("crypto_universe", DAYS)
    known = delivery.rows.groupby("day")["as_of_known"].agg(["size", "all"])
    assert known["size"].tolist() == [2, 2, 1]
    assert known["all"].tolist() == [False, True, True]
    assert "survivors" in delivery.coverage[DAYS[0]].note
    assert DELIVERED["crypto_universe"].validate(delivery.rows).passed


def test_the_ranked_days_are_listed_once_for_all_days_and_anew_each_time(
    store: CryptoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    days = CryptoStore.days

    def counted(self: CryptoStore, dataset: str) -> tuple[str, ...]:
        listed.append(dataset)
        return days(self, dataset)

    source, complete = source_of(store), Coverage(0, 0, complete=True)
    store.write("crypto_universe", "2024-01-03", universe("2024-01-03", ["BTC"]), complete)
    monkeypatch.setattr(CryptoStore, "days", counted)
    before = source.fingerprints("crypto_universe", DAYS)
    assert listed == ["crypto_universe"]
    store.write("crypto_universe", "2024-01-02", universe("2024-01-02", ["SOL"]), complete)
    after = source.fingerprints("crypto_universe", DAYS)
    assert [day for day in DAYS if after[day] != before[day]] == DAYS[:2]


def test_a_book_is_no_other_when_the_clock_moves_on(tmp_path: Path) -> None:
    store, day, at = CryptoStore(tmp_path), "2024-01-01", "2024-01-01T15:02:30"
    row = {"taken_at": np.array([at], "datetime64[us]"), "coin": pd.Series(["BTC"], dtype="str")}
    figures = {"best_bid": 99.0, "best_ask": 101.0, "spread_bps": 200.0, "bid_depth_10bp_usd": 1.0}
    figures |= {"ask_depth_10bp_usd": 1.0, "imbalance": 0.0}
    book = pd.DataFrame({**row, **figures, "levels": 20})
    store.write("order_books", day, book, Coverage(24, 1))
    found = []
    for hour, minute in ((15, 1), (15, 3), (15, 59), (16, 3)):
        now = datetime(2024, 1, 1, hour, minute, tzinfo=UTC)
        found.append(OkxCryptoSource(tmp_path, clock=lambda now=now: now).fingerprints("order_books", [day])[day])
    assert found[0] != found[1]
    assert found[1] == found[2] == found[3]


def test_what_the_collector_refused_is_among_the_rejects(store: CryptoStore) -> None:
    row = {"dataset": "crypto_bars", "coin": "BTC", "reason": "revised", "value": "close 1", "action": "rejected"}
    frame = pd.DataFrame({"at": [pd.Timestamp("2024-01-02 03:00")], **{k: [v] for k, v in row.items()}})
    frame = frame.astype({"at": "datetime64[us]", **dict.fromkeys(row, "str")})
    before = source_of(store).fingerprints(REJECTS, DAYS[1:2])
    store.write(REJECTS, "2024-01-02", frame, Coverage(0, 0, complete=True))
    source = source_of(store)
    assert source.fetch(REJECTS, DAYS).rows["reason"].tolist() == ["revised"]
    assert source.fingerprints(REJECTS, DAYS[1:2]) != before


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_dataset_can_be_asked_of_an_empty_store(tmp_path: Path, dataset: str) -> None:
    delivery = OkxCryptoSource(tmp_path, clock=lambda: LATER).fetch(dataset, DAYS)
    assert DELIVERED[dataset].validate(delivery.rows).passed
    assert not any(delivery.coverage[day].complete for day in DAYS)


def test_the_open_bar_is_refused_and_the_day_made_again_when_it_has_closed(tmp_path: Path) -> None:
    store = CryptoStore(tmp_path)
    store_bars(store, raw_bars(hours=10), over=False)
    clock = [datetime(2024, 1, 1, 9, 20, tzinfo=UTC)]
    source = OkxCryptoSource(tmp_path, clock=lambda: clock[0])
    early = source.fingerprints("crypto_bars", DAYS[:1])
    assert len(source.fetch("crypto_bars", DAYS[:1]).rows) == 9
    clock[0] = datetime(2024, 1, 1, 10, 0, tzinfo=UTC)
    assert source.fingerprints("crypto_bars", DAYS[:1]) != early
    assert len(source.fetch("crypto_bars", DAYS[:1]).rows) == 10
    closed = source.fingerprints("crypto_bars", DAYS[:1])
    clock[0] = datetime(2024, 1, 1, 17, 0, tzinfo=UTC)
    assert source.fingerprints("crypto_bars", DAYS[:1]) == closed


def watched(store: CryptoStore, days: list[str]) -> tuple[RecordingSource, dict[str, dict[str, str]]]:
    """A source as a run holds it, and the fingerprints its decision was made on."""
    source = RecordingSource(source_of(store))
    seen = {name: dict(source.fingerprints(name, days)) for name in ("crypto_bars", "crypto_universe", "mark_prices")}
    source.watch(seen)
    return source, seen


def test_a_run_goes_on_with_what_it_saw_while_a_collection_writes(store: CryptoStore) -> None:
    old, days = raw_bars(), [*DAYS, "2024-01-04"]
    complete = Coverage(0, 0, complete=True)
    store.write("crypto_universe", "2024-01-03", universe("2024-01-03", ["BTC"]), complete)
    source, seen = watched(store, days)
    before = {name: dict(own) for name, own in seen.items()}
    assert len(source.fetch("crypto_bars", days[:1]).rows) == 24

    new = raw_bars(hours=96, seed=2)  # every day revised, and one more
    store_bars(store, new)
    store_bars(store, priced(new), "mark_prices")
    store.write("crypto_universe", "2024-01-02", universe("2024-01-02", ["SOL"]), complete)

    bars, marks = (source.fetch(name, days) for name in ("crypto_bars", "mark_prices"))
    np.testing.assert_array_equal(bars.rows["close"], old["close"])
    np.testing.assert_array_equal(marks.rows["close"], old["close"])
    assert not bars.rows["suspect"].any()
    assert bars.coverage["2024-01-04"].sentence() == "not collected"
    assert set(source.fetch("crypto_universe", days[:2]).rows["coin"]) == {"BTC"}
    assert seen == before

    assert source.fingerprints("crypto_bars", days) != before["crypto_bars"]
    assert "SOL" in set(source_of(store).fetch("crypto_universe", days[:2]).rows["coin"])
    again, _ = watched(store, days)
    np.testing.assert_array_equal(again.fetch("crypto_bars", days).rows["close"], new["close"])


def test_what_comes_between_the_looks_of_a_decision_and_its_first_read_is_recorded_as_it_was_read(
    store: CryptoStore,
) -> None:
    source = RecordingSource(source_of(store))
    seen = {"crypto_bars": dict(source.fingerprints("crypto_bars", DAYS))}
    new = raw_bars(seed=2)
    store_bars(store, priced(new), "mark_prices")
    seen["mark_prices"] = dict(source.fingerprints("mark_prices", DAYS))  # the bars are judged by these too
    source.watch(seen)
    first = dict(seen["crypto_bars"])
    rows = source.fetch("crypto_bars", DAYS).rows
    assert rows[["suspect", "suspect_later"]].to_numpy().any()
    assert seen["crypto_bars"] != first
    assert source_of(store).fingerprints("crypto_bars", DAYS) == seen["crypto_bars"]


def test_a_version_that_is_gone_ends_the_read_and_nothing_is_mixed(store: CryptoStore) -> None:
    source, _ = watched(store, DAYS)
    store_bars(store, raw_bars(seed=2))
    assert store.sweep(now=datetime(2100, 1, 1, tzinfo=UTC).timestamp()) == 3
    with pytest.raises(SourceError, match="has been replaced, and what it held when it was looked at is gone"):
        source.fetch("crypto_bars", DAYS)
