"""The collector's store: whole days or nothing, and the same content hash for the same content."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError, SchemaError, SourceError
from butterquant_assets.market.crypto_coverage import cover
from butterquant_assets.market.crypto_sources import store as store_module
from butterquant_assets.market.crypto_sources.store import CryptoStore
from butterquant_tests.market.crypto_cases import hours_of, raw_bars

DAY = "2024-01-01"


@pytest.fixture
def store(tmp_path: Path) -> CryptoStore:
    """An empty store."""
    return CryptoStore(tmp_path / "store")


def coverage_of(rows: pd.DataFrame, *, over: bool = True):
    return cover(rows, "hour", {"BTC": hours_of(DAY)}, over=over)


def test_what_was_written_is_read_back_sorted_with_its_coverage(store: CryptoStore) -> None:
    rows = raw_bars(hours=24)
    assert store.write("crypto_bars", DAY, rows[::-1], coverage_of(rows))
    pd.testing.assert_frame_equal(store.read("crypto_bars", [DAY]), rows)
    held = store.day("crypto_bars", DAY)
    assert held is not None
    assert held.coverage == coverage_of(rows)
    assert held.rows == 24
    assert store.days("crypto_bars") == (DAY,)


def test_the_same_content_is_not_written_again_and_other_coverage_is(store: CryptoStore) -> None:
    rows = raw_bars(hours=24)
    store.write("crypto_bars", DAY, rows, coverage_of(rows, over=False))
    before = store.fingerprint("crypto_bars", DAY)
    written = store.path("crypto_bars", DAY).stat().st_mtime_ns
    assert not store.write("crypto_bars", DAY, rows, coverage_of(rows, over=False))
    assert store.path("crypto_bars", DAY).stat().st_mtime_ns == written
    assert store.write("crypto_bars", DAY, rows, coverage_of(rows))
    assert store.fingerprint("crypto_bars", DAY) != before


def test_a_revised_value_changes_the_fingerprint_as_another_process_sees_it(store: CryptoStore) -> None:
    rows = raw_bars(hours=24)
    store.write("crypto_bars", DAY, rows, coverage_of(rows))
    reader = CryptoStore(store.folder)
    before = reader.fingerprint("crypto_bars", DAY)
    store.write("crypto_bars", DAY, rows.assign(volume=rows["volume"] + 1), coverage_of(rows))
    assert reader.fingerprint("crypto_bars", DAY) != before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.drop(columns="volume"), "expected hour, coin"),
        (lambda rows: rows.assign(volume=rows["volume"].astype("float32")), "float32"),
        (lambda rows: rows.assign(hour=rows["hour"] + pd.Timedelta("1D")), "2024-01-02"),
        (lambda rows: pd.concat([rows, rows.iloc[[3]]]), "two rows for hour"),
    ],
)
def test_rows_that_do_not_belong_are_refused(store: CryptoStore, change, said: str) -> None:
    rows = raw_bars(hours=24)
    with pytest.raises(SchemaError, match=said):
        store.write("crypto_bars", DAY, change(rows), coverage_of(rows))
    assert store.days("crypto_bars") == ()


def test_a_write_that_fails_leaves_the_former_day(store: CryptoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = raw_bars(hours=24)
    store.write("crypto_bars", DAY, rows, coverage_of(rows))

    def refuse(path: Path, data: bytes) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store_module, "write_atomically", refuse)
    with pytest.raises(OSError, match="disk full"):
        store.write("crypto_bars", DAY, rows.assign(volume=1.0), coverage_of(rows))
    pd.testing.assert_frame_equal(store.read("crypto_bars", [DAY]), rows)


def test_a_torn_or_foreign_file_is_named(store: CryptoStore) -> None:
    path = store.path("crypto_bars", DAY)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 torn")
    with pytest.raises(SourceError, match="delete it"):
        store.day("crypto_bars", DAY)
    raw_bars(hours=24).to_parquet(path)
    with pytest.raises(SourceError, match="not written by the collector"):
        store.day("crypto_bars", DAY)


def test_a_day_without_a_file_reads_empty_in_the_stored_types(store: CryptoStore) -> None:
    empty = store.read("crypto_bars", [DAY])
    assert empty.dtypes.equals(raw_bars(hours=1).dtypes)
    assert store.day("crypto_bars", DAY) is None
    assert store.fingerprint("crypto_bars", DAY) == ""


def test_an_unknown_dataset_is_refused(store: CryptoStore) -> None:
    with pytest.raises(ConfigError, match="crypto_bars"):
        store.days("candles")


def test_what_was_replaced_can_be_read_for_some_hours_more(store: CryptoStore) -> None:
    versions = [raw_bars(hours=24, seed=seed) for seed in (1, 2, 3)]
    contents = []
    for rows in versions:
        store.write("crypto_bars", DAY, rows, coverage_of(rows))
        contents.append(store.fingerprint("crypto_bars", DAY))
    for rows, content in zip(versions, contents, strict=True):
        found = store.read("crypto_bars", [DAY], contents={DAY: content})
        pd.testing.assert_frame_equal(found, rows)
    assert store.read("crypto_bars", [DAY], contents={DAY: ""}).empty
    assert store.days("crypto_bars") == (DAY,)
    replaced = store.path("crypto_bars", DAY).stat().st_mtime
    assert store.sweep() == 0
    assert store.sweep(now=replaced + store_module.KEPT_SECONDS + 60) == 2
    pd.testing.assert_frame_equal(store.read("crypto_bars", [DAY], contents={DAY: contents[-1]}), versions[-1])
    with pytest.raises(SourceError, match="the next run takes up what is there now"):
        store.read("crypto_bars", [DAY], contents={DAY: contents[0]})


def test_a_disk_without_links_stores_all_the_same(store: CryptoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(store_module.os, "link", refused)
    for seed in (1, 2):
        rows = raw_bars(hours=24, seed=seed)
        assert store.write("crypto_bars", DAY, rows, coverage_of(rows))
    pd.testing.assert_frame_equal(store.read("crypto_bars", [DAY]), rows)
