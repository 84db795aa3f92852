"""A folder of files by the clock: what is dated in the future is not believed before its day."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.calendar import month_range
from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.schemas import BAR_REJECTS
from butterquant_assets.market.sources import files
from butterquant_assets.market.sources.base import DATASETS, MarketSource, open_source
from butterquant_tests.market.raw_bars import split_table, vendor_bars, write_folder

MONTHS = ["2016-01", "2016-02", "2016-03"]
ALL = month_range("1985-01", "2022-12")


class Clock:
    """A clock that a test sets, UTC."""

    def __init__(self, now: str) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return datetime.fromisoformat(self.now).replace(tzinfo=UTC)


def by(clock: Clock, folder: Path) -> MarketSource:
    return open_source("files", data_dir=folder, clock=clock)


def test_a_row_dated_tomorrow_is_refused_until_its_day_has_come(tmp_path: Path) -> None:
    bars = vendor_bars()
    today, tomorrow = (str(bars["timestamp"][place].date()) for place in (57, 58))
    clock = Clock(f"{today}T23:30")
    source = by(clock, write_folder(tmp_path, bars))
    early = source.fetch("equity_bars", MONTHS)
    assert early.rows["session"].max() == pd.Timestamp(today)
    refused = early.rejects[early.rejects["reason"] == "future"]
    assert refused[["dataset", "row", "action"]].to_numpy().tolist() == [
        ["equity_bars", f"stocks_daily.parquet row {line}", "rejected"] for line in (59, 60)
    ]
    assert (
        refused["detail"].str.startswith("dated in the future, expected a day that has begun in New York; found").all()
    )
    BAR_REJECTS.validate(early.rejects)
    assert source.fetch("vix", MONTHS).rejects["reason"].tolist() == ["future", "future"]
    before = source.fingerprints("equity_bars", MONTHS)
    clock.now = f"{tomorrow}T03:30"  # in New York it is still the day before
    assert source.fingerprints("equity_bars", MONTHS) == before
    clock.now = f"{tomorrow}T15:30"
    assert source.fetch("equity_bars", MONTHS).rows["session"].max() == pd.Timestamp(tomorrow)
    after = source.fingerprints("equity_bars", MONTHS)
    assert [month for month in MONTHS if after[month] != before[month]] == [tomorrow[:7]]
    clock.now = f"{today}T23:30"  # a clock that was set back
    assert source.fingerprints("equity_bars", MONTHS) == before


def test_a_month_that_has_not_begun_does_not_belong_to_the_span(tmp_path: Path) -> None:
    source = by(Clock("2016-02-10T12:00"), write_folder(tmp_path, vendor_bars()))
    assert source.span() == ("2016-01", "2016-02")


def test_files_that_end_in_the_past_look_the_same_on_every_day_and_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock("2026-11-20T12:00")
    source = by(clock, write_folder(tmp_path, vendor_bars(), splits=split_table(("2016-02-01", "AAA", 1.28))))
    known = {dataset: source.fingerprints(dataset, ALL) for dataset in DATASETS}
    monkeypatch.setattr(files, "read_table", lambda *_: pytest.fail("the files have not changed"))
    for clock.now in ("2026-11-21T12:00", "2031-01-01T12:00", "2017-01-01T12:00"):
        assert {dataset: source.fingerprints(dataset, ALL) for dataset in DATASETS} == known


def test_a_split_that_is_only_announced_is_behind_no_price_until_its_day(tmp_path: Path) -> None:
    bars = vendor_bars()
    last, split = bars["timestamp"][59], "2016-06-01"
    assert last < pd.Timestamp(split)
    clock = Clock("2016-05-31T12:00")
    source = by(clock, write_folder(tmp_path, bars, splits=split_table((split, "AAA", 4.0))))
    announced = source.fetch("equity_bars", MONTHS)
    assert announced.rows["close"].tolist() == bars["close"].tolist()
    (told,) = source.fetch("equity_bars", ["2016-06"]).rejects.itertuples()
    assert (told.reason, told.row) == ("future", "stock_splits.parquet row 1")
    assert told.detail.endswith("found split_ratio=4")
    clock.now = "2016-06-02T12:00"
    effective = source.fetch("equity_bars", MONTHS).rows
    np.testing.assert_allclose(effective["close"], 4 * bars["close"])


def test_a_folder_of_nothing_but_the_future_says_that_no_month_has_both(tmp_path: Path) -> None:
    source = by(Clock("2015-12-31T12:00"), write_folder(tmp_path, vendor_bars()))
    assert len(source.fetch("equity_bars", MONTHS).rejects) == 60
    with pytest.raises(SourceError, match="no month has both"):
        source.span()
