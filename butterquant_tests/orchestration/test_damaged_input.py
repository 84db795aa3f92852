"""A lake file that is damaged, or goes or changes between look and read: its reader meets it, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pytest

from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.errors import DamagedFileError, LakeError
from butterquant_assets.foundation.freshness import Window, plan
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.declaration import Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import rebuild

BINDING = {"start": "2018-01", "end": "2018-02", "market_start": "2018-01", "market_end": "2018-02"}
DAYS = pd.to_datetime(["2018-01-02", "2018-02-01"]).astype("datetime64[us]")
VALUES = [1.0, 2.0]


def table(name: str) -> Contract:
    return Contract(f"m/{name}", pa.DataFrameSchema({"session": pa.Column(), "x": pa.Column()}), ("session",))


@lake_asset(table("source"), code=[], axis="market")
def source(work: Work) -> pd.DataFrame:
    """Two months."""
    frame = pd.DataFrame({"session": DAYS, "x": VALUES})
    return frame[frame["session"].dt.strftime("%Y-%m").isin(work.keys)]


@lake_asset(table("reader"), reads=[Window("m/source")], code=[], config=lambda settings: settings.seed, axis="market")
def reader(work: Work) -> pd.DataFrame:
    """The same, twice as much."""
    frame = work.read("m/source")
    return frame.assign(x=frame["x"] * 2)


def house_of(home: Path, seed: int) -> House:
    settings = HomeSettings(home=home, seed=seed)
    return House(settings, MonthAxes(BINDING), [source, reader], lambda: None)  # type: ignore[arg-type,return-value]


def run(house: House) -> None:
    for declaration in house.declarations:
        rebuild(house, declaration, house.keys("market"))


def test_a_damaged_page_is_met_set_aside_and_made_again(tmp_path: Path) -> None:
    house = house_of(tmp_path, seed=7)
    run(house)
    path = Path(house.lake.path("m/source", "2018-01"))
    good = path.read_bytes()
    raw = bytearray(good)
    raw[30] ^= 1
    path.write_bytes(raw)
    changed = house_of(tmp_path, seed=8)  # gives the reader cause to read
    assert plan(changed.freshness()).stale["m/source"] == {}
    with pytest.raises(DamagedFileError, match=r"source/2018-01\.parquet is not a readable Parquet file"):
        run(changed)
    stale = plan(changed.freshness()).stale["m/source"]
    assert {key: judgement.reasons for key, judgement in stale.items()} == {"2018-01": ("missing",)}
    run(changed)
    assert plan(changed.freshness()).nothing_to_do
    assert path.read_bytes() == good
    assert changed.lake.read("m/reader", ["2018-01", "2018-02"])["x"].tolist() == [2.0, 4.0]


@pytest.mark.parametrize("fate", ["deleted", "replaced"])
def test_what_changes_between_the_look_and_the_read_is_not_taken_for_what_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    house = house_of(tmp_path, seed=7)
    run(house)
    path = Path(house.lake.path("m/source", "2018-02"))
    good = path.read_bytes()
    other = house_of(tmp_path / "other", seed=7)
    monkeypatch.setitem(globals(), "VALUES", [1.0, 5.0])
    run(other)
    monkeypatch.undo()
    changed = house_of(tmp_path, seed=8)
    read = Work.read_keys

    def meanwhile(*arguments: Any, **options: Any) -> pd.DataFrame:
        if fate == "deleted":
            path.unlink()
        else:
            path.write_bytes(Path(other.lake.path("m/source", "2018-02")).read_bytes())
        return read(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Work, "read_keys", meanwhile)
        with pytest.raises(LakeError, match="m/source 2018-02 was changed while it was being read: run again"):
            run(changed)
    run(changed)
    assert plan(changed.freshness()).nothing_to_do
    assert (path.read_bytes() == good) is (fate == "deleted")
    made = changed.lake.read("m/reader", ["2018-01", "2018-02"])["x"].tolist()
    assert made == [2.0, 4.0 if fate == "deleted" else 10.0]
