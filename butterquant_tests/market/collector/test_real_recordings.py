"""39 OKX swaps of May and June 2026, served by the local exchange, come through whole."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from butterquant_assets.market.exchange.folder_venue import FolderVenue
from butterquant_tests.market.collector.collecting import bars, desk
from butterquant_tests.shared_data import data_dir


@pytest.mark.slow
def test_bars_marks_and_settlements_of_39_coins_are_those_recorded(tmp_path: Path) -> None:
    folder = data_dir()
    venue = FolderVenue(folder)
    coins = tuple(sorted(one.base for one in venue.instruments(venue.last_moment)))
    assert len(coins) == 39
    with desk(tmp_path, venue=venue, now=venue.last_moment) as one:
        datasets = ("crypto_bars", "mark_prices", "funding_rates")
        report = one.collect(datasets=datasets, symbols=coins, start=None, history_days=31)
        assert (report.problems, report.incomplete_days) == ((), 0)
        funding, marks = bars(one.store, "funding_rates"), bars(one.store, "mark_prices")
    recorded = pd.read_parquet(folder / "okx_funding.parquet")
    assert len(funding) == len(recorded)
    assert sorted(funding["funding_rate"]) == pytest.approx(sorted(recorded["funding_rate"]))
    usual = funding.groupby("coin")["interval_hours"].median()
    assert (usual == 4).sum() == 9
    assert (usual == 8).sum() == 30
    assert set(funding["interval_hours"].dropna()) == {4.0, 8.0}
    assert funding["mark_price"].notna().all()
    assert len(marks) == len(pd.read_parquet(folder / "okx_mark_1h.parquet"))
