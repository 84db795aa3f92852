"""A landing folder and the home it feeds: what arrives, is corrected, half written or broken, seen tick by tick."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from butterquant_assets.automation.sensors import INTERVAL_SECONDS
from butterquant_assets.foundation.calendar import sessions_in_months
from butterquant_assets.foundation.freshness import State
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.market import assets as market_assets
from butterquant_assets.market.sources.base import open_source
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.house import House
from butterquant_tests.automation.desk import Desk

BARS, VIX = "market/equity_bars", "market/vix"
INTERVAL = float(INTERVAL_SECONDS)
NOW = datetime(2018, 4, 20, 12, tzinfo=UTC)
ASSETS = (market_assets.equity_bars, market_assets.vix)


def bars_of(*months: str, factor: float = 1.0) -> pd.DataFrame:
    """Plausible bars of two tickers."""
    sessions = sessions_in_months(months)
    level = 100.0 + np.arange(len(sessions)) % 7
    columns = {"open": level, "high": level + 1, "low": level - 1, "close": level + 0.5}
    parts = [
        pd.DataFrame({"timestamp": sessions, "symbol": ticker, **columns, "volume": 1e6}) for ticker in ("AAA", "BBB")
    ]
    bars = pd.concat(parts, ignore_index=True)
    return bars.assign(**{name: bars[name] * factor for name in columns})


def vix_of(*months: str) -> pd.DataFrame:
    sessions = sessions_in_months(months)
    return pd.DataFrame({"timestamp": sessions, "symbol": "VIX", "close": 12.0 + np.arange(len(sessions)) % 5})


def land(folder: Path, *months: str, factor: float = 1.0) -> None:
    """One file per month, as a collector would land them."""
    for dataset, make in (("stocks_daily", lambda m: bars_of(m, factor=factor)), ("vix_daily", vix_of)):
        (folder / dataset).mkdir(parents=True, exist_ok=True)
        for month in months:
            make(month).to_csv(folder / dataset / f"{month}.csv", index=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    land(tmp_path / "data", "2018-01", "2018-02")
    return tmp_path / "data"


@pytest.fixture
def house(tmp_path: Path, data: Path) -> House:
    span = {"start": "2018-01", "end": "2018-02", "market_start": "2018-01", "market_end": "2018-02"}
    settings = HomeSettings(home=tmp_path / "home", source="files", data_dir=data)
    settings.home.mkdir()
    return House(
        settings,
        MonthAxes({**span, "grows_to": None}),
        ASSETS,
        lambda: open_source("files", data_dir=data, clock=lambda: NOW),
        clock=lambda: NOW,
        landing=data,
    )


@pytest.fixture
def desk(house: House) -> Desk:
    return Desk(house, dg.DagsterInstance.ephemeral())


@pytest.fixture
def built(desk: Desk) -> Desk:
    """After the first run."""
    assert desk.tick() == []
    assert "waiting until it stays the same" in desk.said
    (request,) = desk.tick(after=INTERVAL)
    assert desk.execute(request).success
    assert desk.tick() == []
    assert desk.said == "everything is current"
    return desk


def rows(house: House, month: str) -> int:
    return len(house.lake.read(BARS, [month]))


def test_a_file_that_landed_is_sensed_within_half_a_minute(built: Desk, data: Path) -> None:
    land(data, "2018-02", factor=1.01)
    waited = 0.0
    while not (asked := built.tick(after=INTERVAL)):
        waited += INTERVAL
        assert waited < 30
    assert asked[0].tags["dagster/asset_partition_range_start"] == "2018-02"


def test_a_month_that_appears_at_the_source_joins_the_home(built: Desk, data: Path) -> None:
    house = built.house
    assert house.keys("analysis")[-1] == "2018-02"
    land(data, "2018-03")
    assert built.tick() == []
    (request,) = built.tick(after=INTERVAL)
    assert request.tags["dagster/asset_partition_range_end"] == "2018-03"
    assert built.execute(request).success
    assert house.keys("market") == house.keys("analysis") == ("2018-01", "2018-02", "2018-03")
    assert rows(house, "2018-03") == 2 * len(sessions_in_months(["2018-03"]))
    assert built.tick() == []


def test_a_month_once_taken_in_stays_when_the_source_loses_it_and_is_told(built: Desk, data: Path) -> None:
    land(data, "2018-03")
    built.tick()
    built.execute(built.tick(after=INTERVAL)[0])
    good = rows(built.house, "2018-03")
    for dataset in ("stocks_daily", "vix_daily"):
        (data / dataset / "2018-03.csv").unlink()
    built.tick()
    built.execute(built.tick(after=INTERVAL)[0])
    # The span was not cut back, so the loss is seen: the month is judged, not forgotten.
    assert built.house.keys("market")[-1] == "2018-03"
    state = built.house.freshness().judge(BARS, "2018-03").state
    assert state is State.QUARANTINED or rows(built.house, "2018-03") < good


def test_a_month_that_has_not_begun_is_not_believed(built: Desk, data: Path) -> None:
    land(data, "2018-03", "2018-04", "2018-05")
    built.tick()
    (request,) = built.tick(after=INTERVAL)
    assert request.tags["dagster/asset_partition_range_end"] == "2018-04"


def test_rows_dated_in_the_future_are_refused_and_do_not_keep_the_rest_of_their_month_out(
    built: Desk, data: Path
) -> None:
    land(data, "2018-03", "2018-04")
    whole = len(bars_of("2018-04"))
    assert built.tick() == []
    assert built.execute(built.tick(after=INTERVAL)[0]).success
    house = built.house
    published = house.lake.read(BARS, ["2018-04"])
    assert published["session"].max() == pd.Timestamp("2018-04-20")
    assert house.freshness().judge(BARS, "2018-04").state is State.CURRENT
    footer = house.lake.footer(BARS, "2018-04")
    assert footer is not None
    # More than a fifth of the rows, which would set the month aside if they were wrong.
    assert footer.facts["refused by reason"] == {"future": whole - len(published)}
    assert whole - len(published) > 0.2 * whole


def test_a_home_with_a_last_month_gains_only_what_its_labels_need(house: House, data: Path) -> None:
    bound = House(
        house.settings,
        MonthAxes({**house.binding, "grows_to": "2018-03"}),
        ASSETS,
        lambda: open_source("files", data_dir=data),
    )
    land(data, "2018-03", "2018-04")
    bound.freshness()
    assert bound.keys("analysis")[-1] == "2018-02"
    assert bound.keys("market")[-1] == "2018-03"
    assert bound.partition_span() == ("2018-01", "2018-03")


def test_a_file_that_is_still_being_written_is_not_read(built: Desk, data: Path) -> None:
    text = bars_of("2018-02", factor=1.01).to_csv(index=False)
    path = data / "stocks_daily" / "2018-02.csv"
    for share in (0.3, 0.6, 1.0):
        path.write_text(text[: int(share * len(text))])
        assert built.tick(after=INTERVAL) == []
        assert f"{path} has changed since the last look" in built.said
    (request,) = built.tick(after=INTERVAL)
    assert built.execute(request).success
    assert rows(built.house, "2018-02") == len(bars_of("2018-02"))
    assert built.tick() == []


def test_a_truncated_file_is_refused_by_name_and_taken_up_when_it_changes(built: Desk, data: Path) -> None:
    (data / "stocks_daily" / "2018-02.csv").unlink()
    path = data / "stocks_daily" / "2018-02.parquet"
    bars_of("2018-02", factor=1.01).to_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for _ in range(3):
        assert built.tick() == []
    assert f"{path} is not a readable Parquet file" in built.said
    path.write_bytes(whole)
    assert built.tick() == []
    (request,) = built.tick(after=INTERVAL)
    assert built.execute(request).success
    assert built.tick() == []


def test_a_folder_that_went_away_is_told_and_taken_up_when_it_is_back(built: Desk, data: Path) -> None:
    data.rename(data.with_name("elsewhere"))
    assert built.tick() == []
    assert str(data) in built.said
    data.with_name("elsewhere").rename(data)
    land(data, "2018-02", factor=1.01)
    built.tick()
    assert len(built.tick(after=INTERVAL)) == 1


def test_a_bad_month_is_set_aside_and_a_good_one_releases_it(built: Desk, data: Path) -> None:
    good = rows(built.house, "2018-02")
    bars = bars_of("2018-02")
    bars.loc[bars.index % 2 == 0, "low"] = bars["high"] + 1  # more than a fifth of the rows make no sense
    bars.to_csv(data / "stocks_daily" / "2018-02.csv", index=False)
    built.tick()
    built.execute(built.tick(after=INTERVAL)[0])
    assert built.house.freshness().judge(BARS, "2018-02").state is State.QUARANTINED
    assert rows(built.house, "2018-02") == good
    assert built.tick() == []
    land(data, "2018-02", factor=1.01)
    built.tick()
    built.execute(built.tick(after=INTERVAL)[0])
    assert built.house.freshness().judge(BARS, "2018-02").state is State.CURRENT
    assert built.house.lake.partitions(BARS, quarantine=True) == []
    assert built.tick() == []
