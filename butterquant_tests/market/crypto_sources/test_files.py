"""A folder of recordings as a source: on written files, and on the real ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS, DELIVERED
from butterquant_assets.market.crypto_sources.base import DATASETS, REJECTS, open_crypto_source
from butterquant_assets.market.crypto_sources.files import FilesCryptoSource, coin_of
from butterquant_tests.market.crypto_cases import days_of, priced, raw_bars, record
from butterquant_tests.shared_data import data_dir, reference_dir


def perp(folder: Path, **options: object) -> FilesCryptoSource:
    """The folder as a recording of hourly perpetuals."""
    return FilesCryptoSource(CryptoConfig(source="files", data_dir=folder, recording="perp", **options))


def okx(folder: Path) -> FilesCryptoSource:
    """The folder as a recording of OKX swaps."""
    return FilesCryptoSource(CryptoConfig(source="files", data_dir=folder, recording="okx"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two coins, three days."""
    bars = pd.concat([raw_bars("BTC", seed=1), raw_bars("SOL", seed=2)], ignore_index=True)
    record(tmp_path, "crypto_perp_1h", bars.drop(columns="quote_volume_usd"))
    return tmp_path


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTC-USDT-SWAP", "BTC-USDT", "BTC/USDT:USDT", "BTC"])
def test_symbols_of_several_vendors_name_the_same_coin(symbol: str) -> None:
    assert coin_of(symbol) == "BTC"


def test_the_span_is_that_of_the_bars_and_absent_tables_are_empty_and_say_so(folder: Path) -> None:
    source = perp(folder)
    assert source.span() == ("2024-01-01", "2024-01-03")
    for dataset in set(DATASETS) - {"crypto_bars", "crypto_universe"}:
        delivery = source.fetch(dataset, ["2024-01-02"])
        assert delivery.rows.empty
        assert DELIVERED[dataset].validate(delivery.rows).passed
        assert "does not have this" in delivery.coverage["2024-01-02"].note
    assert "order_books" in str(source.describe()["absent"])


def test_a_gap_is_named_in_coverage_and_rejects_and_nowhere_filled(folder: Path) -> None:
    bars = pd.concat([raw_bars("BTC", seed=1).drop(30), raw_bars("SOL", seed=2)], ignore_index=True)
    record(folder, "crypto_perp_1h", bars.drop(columns="quote_volume_usd"))
    delivery = perp(folder).fetch("crypto_bars", ["2024-01-01", "2024-01-02"])
    assert delivery.coverage["2024-01-01"].complete
    assert delivery.coverage["2024-01-02"].missing == {"BTC": ("2024-01-02T06:00",)}
    missing = delivery.rejects[delivery.rejects["reason"] == "missing"]
    assert missing[["coin", "at"]].to_numpy().tolist() == [["BTC", pd.Timestamp("2024-01-02 06:00")]]
    assert len(delivery.rows) == 95


def test_a_corrected_file_changes_the_fingerprints_of_its_days_alone(folder: Path) -> None:
    source, days = perp(folder), ["2024-01-01", "2024-01-02", "2024-01-03"]
    before = source.fingerprints("crypto_bars", days)
    bars = pd.concat([raw_bars("BTC", seed=1), raw_bars("SOL", seed=2)], ignore_index=True)
    bars.loc[40, "volume"] += 1.0
    record(folder, "crypto_perp_1h", bars.drop(columns="quote_volume_usd"))
    after = source.fingerprints("crypto_bars", days)
    # The day after is judged with this one before its eyes.
    assert [day for day in days if before[day] != after[day]] == ["2024-01-02", "2024-01-03"]


def test_half_hours_make_hours_and_a_torn_hour_is_left_out(tmp_path: Path) -> None:
    hours = raw_bars(hours=48)
    halves = pd.concat([hours, hours.assign(hour=hours["hour"] + pd.Timedelta("30min"), open=hours["close"])])
    halves = halves.sort_values("hour").reset_index(drop=True).drop(21)
    record(tmp_path, "okx_swap_30m", halves.drop(columns="quote_volume_usd"), suffix="-USDT-SWAP")
    delivery = okx(tmp_path).fetch("crypto_bars", ["2024-01-01"])
    assert len(delivery.rows) == 23
    np.testing.assert_allclose(delivery.rows["volume"], 2 * hours["volume"].drop(10).iloc[:23])
    torn = delivery.rejects[delivery.rejects["reason"] == "part_of_hour_missing"]
    assert torn["value"].tolist() == ["1 of 2 bars came"]
    assert delivery.coverage["2024-01-01"].missing == {"BTC": ("2024-01-01T10:00",)}


def test_open_interest_read_at_a_moment_stood_at_the_end_of_the_hour_before(folder: Path) -> None:
    hours = raw_bars(hours=72)["hour"]
    record(folder, "crypto_open_interest_1h", pd.DataFrame({"hour": hours, "coin": "BTC", "open_interest": 5.0}))
    rows = perp(folder).fetch("open_interest", ["2024-01-01", "2024-01-02"]).rows
    assert rows["hour"].min() == pd.Timestamp("2024-01-01 00:00")
    assert rows["hour"].max() == pd.Timestamp("2024-01-02 23:00")


def test_the_universe_is_ranked_by_the_day_before_and_admits_its_hindsight(folder: Path) -> None:
    rows = perp(folder).fetch("crypto_universe", ["2024-01-01", "2024-01-02"]).rows
    assert not rows["as_of_known"].any()
    assert set(rows["chosen_by"]) == {"recording"}
    assert sorted(rows["rank"]) == [1, 1, 2, 2]
    assert DELIVERED["crypto_universe"].validate(rows).passed


def test_a_folder_without_the_bars_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="crypto_perp_1h"):
        perp(tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        perp(tmp_path / "nowhere")


def test_settlements_carry_the_mark_price_that_the_fee_is_paid_on(tmp_path: Path) -> None:
    vectors = json.loads((reference_dir() / "okx_margin_and_funding_vectors.json").read_text())["funding"]
    bars = raw_bars("XRP", "2021-08-31", 72, level=2.77)
    marks = priced(bars)
    marks["open"] = vectors["mark_open_00"]
    marks["high"], marks["low"] = marks[["open", "high"]].max(axis=1), marks[["open", "low"]].min(axis=1)
    record(tmp_path, "okx_swap_30m", bars.drop(columns="quote_volume_usd"), suffix="-USDT-SWAP")
    record(tmp_path, "okx_mark_1h", marks, suffix="-USDT-SWAP")
    for case in vectors["cases"]:
        rates = [entry.split() for entry in case["funding_at"]]
        stamps = pd.to_datetime([f"2021-09-01 {time}" for time, _ in rates]).as_unit("us")
        settled = pd.DataFrame({"hour": stamps, "coin": "XRP", "funding_rate": [float(rate) for _, rate in rates]})
        record(tmp_path, "okx_funding", settled, suffix="-USDT-SWAP")
        rows = okx(tmp_path).fetch("funding_rates", ["2021-09-01"]).rows
        held = rows[(rows["settled_at"] >= case["open"]) & (rows["settled_at"] <= case["close"])]
        received = (held["funding_rate"] * held["mark_price"]).sum() * case["amount"]
        assert received == pytest.approx(case["fee_short_received"], rel=1e-7, abs=1e-15)


def test_a_settlement_stamped_just_before_midnight_is_the_same_alone_and_beside_the_next_day(tmp_path: Path) -> None:
    bars = raw_bars("XRP", "2021-08-31", 72, level=2.77)
    record(tmp_path, "okx_swap_30m", bars.drop(columns="quote_volume_usd"), suffix="-USDT-SWAP")
    record(tmp_path, "okx_mark_1h", priced(bars), suffix="-USDT-SWAP")
    stamps = pd.to_datetime(["2021-08-31 16:00:00", "2021-08-31 23:59:59.998", "2021-09-01 08:00:00"], format="ISO8601")
    settled = pd.DataFrame({"hour": stamps.as_unit("us"), "coin": "XRP", "funding_rate": 1e-4})
    record(tmp_path, "okx_funding", settled, suffix="-USDT-SWAP")
    alone = okx(tmp_path).fetch("funding_rates", ["2021-08-31"]).rows
    both = okx(tmp_path).fetch("funding_rates", ["2021-08-31", "2021-09-01"]).rows
    assert alone["mark_price"].notna().tolist() == [True, False]
    pd.testing.assert_frame_equal(both.iloc[:2][["settled_at", "mark_price"]], alone[["settled_at", "mark_price"]])
    assert both["mark_price"].notna().tolist() == [True, False, True]


def test_the_212_missing_hours_of_a_defective_file_are_found_exactly_and_its_bad_bars_quarantined() -> None:
    source = perp(data_dir(), bars_dataset="defective_crypto_1h")
    days = list(source.keys_held("crypto_bars"))
    delivery = source.fetch("crypto_bars", days)
    raw = pd.read_parquet(data_dir() / "defective_crypto_1h.parquet")
    stamps = raw["timestamp"].dt.tz_localize(None)
    truth = set(pd.date_range(stamps.min(), stamps.max(), freq="h")) - set(stamps)
    missing = delivery.rejects[delivery.rejects["reason"] == "missing"]
    assert len(truth) == 212
    assert set(missing["at"]) == truth
    assert len(missing) == 212
    assert len(delivery.rows) == len(raw)
    assert delivery.rows["suspect"].sum() == 3
    # Where another venue knows better, exactly the bars more than 2 % off are quarantined, and no others.
    other = pd.read_parquet(data_dir() / "crypto_perp_1h.parquet")
    other = other[other["symbol"] == "SOLUSDT"].assign(hour=lambda rows: rows["timestamp"].dt.tz_localize(None))
    both = delivery.rows.merge(other, on="hour", suffixes=("", "_other"))
    prices = ("open", "high", "low", "close")
    off = np.max([np.abs(np.log(both[name] / both[f"{name}_other"])) for name in prices], axis=0)
    assert both["suspect"].tolist() == (off > 0.02).tolist()


def test_real_okx_swaps_pass_every_contract_and_settle_every_4_or_8_hours() -> None:
    source = okx(data_dir())
    days = list(source.keys_held("crypto_bars"))
    bars = source.fetch("crypto_bars", days)
    assert bars.rows["coin"].nunique() == 39
    assert len(bars.rows) == 28_041
    assert not bars.rows["suspect"].any()
    assert [day for day in days if not bars.coverage[day].complete] == ["2026-06-25"]
    funding = source.fetch("funding_rates", days).rows
    assert funding["interval_hours"].value_counts().to_dict() == {8.0: 2670, 4.0: 1611}
    assert funding["mark_price"].notna().all()
    for dataset, rows in (("crypto_bars", bars.rows), ("funding_rates", funding)):
        assert DELIVERED[dataset].validate(rows).passed


def test_the_two_hour_intervals_of_sol_in_november_2022_are_seen() -> None:
    rows = perp(data_dir()).fetch("funding_rates", ["2022-11-12", "2022-11-13"]).rows
    sol = rows[rows["coin"] == "SOL"]
    assert sol["interval_hours"].tolist() == [2.0] * 24
    assert set(rows[rows["coin"] == "BTC"]["interval_hours"]) == {8.0}


@pytest.mark.slow
def test_five_years_of_perpetuals_pass_the_contracts_and_name_their_few_doubts() -> None:
    source = perp(data_dir())
    days = list(source.keys_held("crypto_bars"))
    for dataset in ("crypto_bars", "funding_rates", "open_interest", "crypto_universe"):
        assert DELIVERED[dataset].validate(source.fetch(dataset, days).rows).passed
    rejects = source.fetch(REJECTS, days).rows
    assert CRYPTO_REJECTS.validate(rejects).passed
    doubted = rejects[rejects["dataset"] == "crypto_bars"]
    assert doubted["at"].dt.year.tolist() == [2019, 2019]


def test_days_of_the_files_are_days_of_the_source(folder: Path) -> None:
    assert perp(folder).keys_held("crypto_bars") == tuple(days_of(raw_bars()))


def test_a_row_dated_tomorrow_is_refused_until_its_hour_is_over(folder: Path) -> None:
    now = datetime(2024, 1, 2, 5, 30, tzinfo=UTC)
    config = CryptoConfig(source="files", data_dir=folder, recording="perp")
    source = open_crypto_source(config, folder, lambda: now)
    days = ["2024-01-01", "2024-01-02"]
    assert source.span() == ("2024-01-01", "2024-01-02")
    early = source.fetch("crypto_bars", days)
    assert early.rows["hour"].max() == pd.Timestamp("2024-01-02 04:00")
    refused = early.rejects[early.rejects["reason"] == "future"]
    assert len(refused) == 2 * 19
    assert set(refused["value"]) == {"dated in the future: not over when it was read"}
    before = source.fingerprints("crypto_bars", days)
    now = datetime(2026, 11, 1, tzinfo=UTC)
    assert source.fetch("crypto_bars", days).rows["hour"].max() == pd.Timestamp("2024-01-02 23:00")
    assert source.fingerprints("crypto_bars", days)["2024-01-02"] != before["2024-01-02"]


def test_days_that_ended_long_ago_look_the_same_on_every_day(folder: Path) -> None:
    found = []
    for now in (datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)):
        config = CryptoConfig(source="files", data_dir=folder, recording="perp")
        source = open_crypto_source(config, folder, lambda now=now: now)
        found.append([source.fingerprints(name, source.keys_held("crypto_bars")) for name in (*DATASETS, REJECTS)])
    assert found[0] == found[1]
