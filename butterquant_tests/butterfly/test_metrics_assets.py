"""The asset daily_metrics in a house of stand-ins: what reaches the warehouse, and what a second run costs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pytest

from butterquant_assets.butterfly import metrics_assets, stored_models
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.declaration import Result, Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import Rebuilt, rebuild
from butterquant_tests.butterfly.metric_cases import constant_model, scan_of

BINDING = {"start": "2018-01", "end": "2018-02", "market_start": "2018-01", "market_end": "2018-02"}
SCANNED = {"rows": scan_of("2018-01-02", 30)}
FACTS = {"champion": "", "version": "fedcba9876543210"}


def any_table(name: str, columns: Iterable[str], keys: tuple[str, ...], time: str | None = "session") -> Contract:
    return Contract(f"butterfly/{name}", pa.DataFrameSchema({column: pa.Column() for column in columns}), keys, time)


@lake_asset(
    any_table("daily_scan", SCANNED["rows"].columns, ("session", "ticker")),
    code=[],
    axis="scan",
    config=lambda settings: FACTS["version"],
)
def daily_scan(work: Work) -> pd.DataFrame:
    """The scan, as it is held above."""
    rows = SCANNED["rows"]
    return rows[rows["session"].dt.strftime("%Y-%m").isin(work.keys)]


@lake_asset(
    any_table("success_model", ["x"], ("x",), None),
    any_table("success_in_service", ["x"], ("x",), None),
    code=[],
    axis=None,
)
def success(work: Work) -> Result:
    """A model that was trained and judged."""
    table = pd.DataFrame({"x": [1]})
    return Result({"success_model": table, "success_in_service": table}, facts={None: FACTS})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Versions whose models were asked for."""
    versions: list[str] = []

    def stored(store: object, version: str) -> list[Any]:
        versions.append(version)
        return [constant_model("2018-01-10", version, [0.4, 0.1, 0.2, 0.3])]

    monkeypatch.setattr(stored_models, "stored_models", stored)
    monkeypatch.setitem(SCANNED, "rows", scan_of("2018-01-02", 30))
    return versions


def house_of(home: Path, url: str) -> House:
    settings = HomeSettings(home=home, warehouse_url=url)
    declarations = [daily_scan, success, *metrics_assets.ASSETS]
    return House(settings, MonthAxes(BINDING, {"scan": 2}), declarations, lambda: None)  # type: ignore[arg-type,return-value]


def rebuild_scan(home: Path, url: str) -> None:
    """Make the scan alone again."""
    house = house_of(home, url)
    rebuild(house, house.declarations[0], house.keys("scan"), force=True)


def built(home: Path, url: str, *, force: bool = False) -> Rebuilt:
    house = house_of(home, url)
    done = [rebuild(house, d, house.keys("scan") if d.axis else (None,), force=force) for d in house.declarations]
    return done[-1]


def written(url: str) -> pd.DataFrame:
    with Warehouse(url) as house:
        span = {"first": pd.Timestamp("2000-01-01"), "last": pd.Timestamp("2100-01-01")}
        return house.fetch("export_daily_metrics", span | {"minimum_score": -1e9})


def test_every_analysis_of_the_scan_is_in_the_warehouse_with_the_opinion_of_its_model(
    tmp_path: Path, warehouse_url: str, asked: list[str]
) -> None:
    done = built(tmp_path, warehouse_url)
    assert done.count("butterfly/daily_metrics", "rebuilt") == 2
    found = written(warehouse_url)
    scan = SCANNED["rows"]
    assert found[["time", "ticker"]].to_numpy().tolist() == scan[["session", "ticker"]].to_numpy().tolist()
    assert found["current_price"].tolist() == scan["spot"].tolist()
    judged = found["time"] >= "2018-01-10"
    assert found["ml_success_prob"].notna().tolist() == judged.tolist()
    assert set(found.loc[judged, "model_version"]) == {"fedcba9876543210"}
    assert asked == ["fedcba9876543210"]  # no champion yet: the newest version, as trade_decisions takes it


def test_a_second_run_writes_nothing_and_a_forced_one_the_same_rows(
    tmp_path: Path, warehouse_url: str, asked: list[str]
) -> None:
    built(tmp_path, warehouse_url)
    before = written(warehouse_url)
    assert built(tmp_path, warehouse_url).count("butterfly/daily_metrics", "unchanged") == 2
    assert len(asked) == 1
    built(tmp_path, warehouse_url, force=True)
    pd.testing.assert_frame_equal(written(warehouse_url), before, check_exact=True)


def test_a_row_that_a_correction_takes_out_of_the_scan_leaves_the_warehouse_too(
    tmp_path: Path, warehouse_url: str, asked: list[str]
) -> None:
    built(tmp_path, warehouse_url)
    whole = SCANNED["rows"]
    SCANNED["rows"] = whole.drop(index=whole.index[5])
    assert built(tmp_path, warehouse_url, force=True).count("butterfly/daily_metrics", "rebuilt") == 2
    assert len(written(warehouse_url)) == len(whole) - 1


def test_the_champion_is_asked_where_there_is_one(
    tmp_path: Path, warehouse_url: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FACTS, "champion", "0123456789abcdef")
    built(tmp_path, warehouse_url)
    assert asked == ["0123456789abcdef"]


NOT_HELD = ("the warehouse does not hold it",)


def test_a_database_older_than_the_home_gets_its_rows_again(tmp_path: Path, asked: list[str]) -> None:
    file = tmp_path / "warehouse.sqlite"
    url, backup = f"sqlite:///{file}", tmp_path / "backup.sqlite"
    whole = SCANNED["rows"]
    SCANNED["rows"] = whole[whole["session"] < "2018-02-01"]
    built(tmp_path, url)
    shutil.copy(file, backup)
    SCANNED["rows"] = whole
    built(tmp_path, url, force=True)
    newest = written(url)
    shutil.copy(backup, file)
    done = built(tmp_path, url).outcomes["butterfly/daily_metrics"]
    assert {key: one.action for key, one in done.items()} == {"2018-01": "unchanged", "2018-02": "rebuilt"}
    assert done["2018-02"].reasons == NOT_HELD
    pd.testing.assert_frame_equal(written(url), newest, check_exact=True)
    file.unlink()
    assert built(tmp_path, url).count("butterfly/daily_metrics", "rebuilt") == 2
    pd.testing.assert_frame_equal(written(url), newest, check_exact=True)
    assert built(tmp_path, url).count("butterfly/daily_metrics", "unchanged") == 2


class Killed(BaseException):
    """What nothing catches."""


def test_rows_written_before_a_kill_are_put_right_also_where_the_correction_was_taken_back(
    tmp_path: Path, warehouse_url: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built(tmp_path, warehouse_url)
    before, whole = written(warehouse_url), SCANNED["rows"]

    def die(*_: object) -> None:
        raise Killed

    SCANNED["rows"] = whole.assign(spot=whole["spot"] + 1.0)
    with monkeypatch.context() as patched:
        patched.setattr(metrics_assets.metrics, "receipts", die)
        with pytest.raises(Killed):
            built(tmp_path, warehouse_url, force=True)
    assert not written(warehouse_url).equals(before)
    SCANNED["rows"] = whole
    rebuild_scan(tmp_path, warehouse_url)
    done = built(tmp_path, warehouse_url)
    assert {one.reasons for one in done.outcomes["butterfly/daily_metrics"].values()} == {NOT_HELD}
    pd.testing.assert_frame_equal(written(warehouse_url), before, check_exact=True)
