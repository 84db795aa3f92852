"""Which tables should keep coming in which home, and what is read of them."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from butterquant_assets.automation.feeds import Feeds
from butterquant_assets.definitions import CRYPTO_DECLARATIONS, DECLARATIONS, Settings, feeds_of
from butterquant_assets.monitoring.behind import CRYPTO_FEED, EQUITY_FEED, Feed
from butterquant_assets.orchestration.house import CRYPTO, EQUITY
from butterquant_tests.automation.watched import RAW, TOTAL, Site

FEEDS = {EQUITY: Feed((RAW, TOTAL), "session", "session")}


@pytest.mark.parametrize(("feed", "declared"), [(EQUITY_FEED, DECLARATIONS), (CRYPTO_FEED, CRYPTO_DECLARATIONS)])
def test_every_table_that_is_followed_exists_and_has_its_time(feed: Feed, declared: tuple) -> None:
    columns = {contract.table: set(contract.schema.columns) for each in declared for contract in each.contracts}
    assert all(feed.column in columns[asset] for asset in feed.assets)


def test_neither_the_sample_nor_recordings_are_followed(tmp_path: Path) -> None:
    assert feeds_of(Settings(home=tmp_path)) == {}
    files = {"home": tmp_path, "source": "files", "data_dir": tmp_path}
    assert feeds_of(Settings(**files)) == {EQUITY: EQUITY_FEED}
    recorded = {"source": "files", "data_dir": str(tmp_path)}
    assert feeds_of(Settings(home=tmp_path, crypto=recorded)) == {}
    assert feeds_of(Settings(**files, crypto={"source": "okx"})) == {EQUITY: EQUITY_FEED, CRYPTO: CRYPTO_FEED}


def test_the_newest_row_is_read_once_as_long_as_its_file_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, dg.DagsterInstance.ephemeral(), endless=True)
    feeds = Feeds([site.house], FEEDS)
    assert feeds.newest(site.house.freshness()) == {EQUITY: {}}  # nothing has been made yet
    site.refresh()
    read, made = [], site.house.lake.read
    monkeypatch.setattr(site.house.lake, "read", lambda name, *rest: read.append(name) or made(name, *rest))
    for _ in range(2):
        assert feeds.newest(site.house.freshness()) == {EQUITY: {RAW: np.datetime64("2018-03-05")}}
    assert read == [RAW]
    site.source.day = 8
    monkeypatch.undo()
    site.refresh()
    assert feeds.newest(site.house.freshness()) == {EQUITY: {RAW: np.datetime64("2018-03-08")}}


def test_a_house_with_an_end_is_not_followed(tmp_path: Path) -> None:
    site = Site(tmp_path, dg.DagsterInstance.ephemeral())
    site.refresh()
    assert Feeds([site.house], FEEDS).newest(site.house.freshness()) == {}
