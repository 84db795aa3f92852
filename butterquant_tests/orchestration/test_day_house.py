"""A house by UTC day, from the sensor's request to the lake."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from butterquant_assets.automation.sensors import build_freshness_sensor
from butterquant_assets.foundation.calendar import key_range
from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.foundation.freshness import State, plan
from butterquant_assets.orchestration.house import House
from butterquant_tests.automation.desk import Desk
from butterquant_tests.orchestration.days import FIRST, LAST, DaySource, day_house

DAYS = key_range(FIRST, LAST, "day")
TABLES = ("toy/hours", "toy/sums", "toy/weekly", "toy/judged")


@pytest.fixture
def source() -> DaySource:
    return DaySource()


@pytest.fixture
def house(tmp_path: Path, source: DaySource) -> House:
    return day_house(tmp_path / "home", source, grows_to=None)


@pytest.fixture
def desk(house: House) -> Desk:
    def build(of: House, desk: Desk) -> dg.SensorDefinition:
        return build_freshness_sensor(of, name="crypto_freshness_sensor", clock=lambda: desk.now)

    return Desk(house, dg.DagsterInstance.ephemeral(), build=build)


@pytest.fixture
def built(desk: Desk) -> Desk:
    while requests := desk.tick():
        assert desk.execute(requests[0]).success
    return desk


def rows(house: House, name: str) -> pd.DataFrame:
    axis = house.declaration(name).axis
    return house.lake.read(name, None if axis is None else list(house.keys(axis)))


def stale(house: House) -> dict[str, dict[str | None, frozenset[str] | None]]:
    found = plan(house.freshness())
    return {name: {key: j.groups for key, j in keys.items()} for name, keys in found.stale.items() if keys}


def test_one_request_fills_all_days_and_then_nothing_is_asked_for(desk: Desk) -> None:
    (request,) = desk.tick()
    assert request.tags["dagster/asset_partition_range_start"] == FIRST
    assert request.tags["dagster/asset_partition_range_end"] == LAST
    assert desk.definitions().resolve_job_def("refresh_crypto")
    assert desk.execute(request).success
    assert desk.house.lake.partitions("toy/hours") == DAYS
    while requests := desk.tick():
        assert desk.execute(requests[0]).success
    assert desk.said == "everything is current"
    assert len(rows(desk.house, "toy/hours")) == 2 * 24 * len(DAYS)


def test_dagster_sees_days(house: House, desk: Desk) -> None:
    hours = desk.definitions().resolve_asset_graph().get(dg.AssetKey(["toy", "hours"])).partitions_def
    assert isinstance(hours, dg.TimeWindowPartitionsDefinition)
    assert hours.get_partition_keys()[:6] == DAYS[:6]
    assert "2024-02-29" in hours.get_partition_keys()


def test_a_corrected_day_of_one_coin_costs_its_own_rows_in_the_days_that_read_it(
    built: Desk, source: DaySource
) -> None:
    before = {name: rows(built.house, name) for name in TABLES}
    source.values["2024-02-28", "B"] = 5
    assert stale(built.house) == {"toy/hours": {"2024-02-28": None}}
    source.fetched.clear()
    (request,) = built.tick()
    span = (request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
    assert tuple(span) == ("2024-02-28", "2024-03-01")
    assert built.execute(request).success
    assert source.fetched == [("2024-02-28",)]
    while requests := built.tick():
        assert built.execute(requests[0]).success
    after = {name: rows(built.house, name) for name in TABLES}
    changed = after["toy/sums"][after["toy/sums"]["x"] != before["toy/sums"]["x"]]
    assert sorted(zip(changed["coin"], changed["hour"].dt.strftime("%m-%d"), strict=True)) == [
        ("B", "02-28"), ("B", "02-29"), ("B", "03-01"),
    ]  # fmt: skip
    fresh = day_house(built.house.settings.home.parent / "fresh", source)
    desk = Desk(fresh, dg.DagsterInstance.ephemeral())
    while requests := desk.tick():
        assert desk.execute(requests[0]).success
    for name in TABLES:
        pd.testing.assert_frame_equal(rows(fresh, name), after[name])


def test_a_new_table_in_force_concerns_only_the_days_it_judges(built: Desk, source: DaySource) -> None:
    source.values["2024-03-02", "A"] = 7
    (request,) = built.tick()
    assert built.execute(request).success
    # Tables of 02-25, 02-28, 03-02 and 03-05: only the last knows the corrected day.
    assert stale(built.house) == {"toy/judged": {"2024-03-05": None}}


def test_a_coin_that_is_new_to_an_old_day_gets_its_rows_there_and_nobody_elses_are_made_again(
    built: Desk, source: DaySource
) -> None:
    source.values["2024-02-27", "NEW"] = 9
    (request,) = built.tick()
    ran = built.execute(request)
    assert ran.success
    found = rows(built.house, "toy/sums").query("coin == 'NEW'")
    assert found["hour"].dt.strftime("%m-%d").tolist() == ["02-27", "02-28", "02-29"]
    made = {
        event.materialization.partition: event.materialization.metadata["reasons"].value
        for event in (e.step_materialization_data for e in ran.get_asset_materialization_events())
        if event.materialization.asset_key.path[-1] == "sums" and "reasons" in event.materialization.metadata
    }
    assert made == dict.fromkeys(("2024-02-27", "2024-02-28", "2024-02-29"), "toy/hours changed for NEW")
    assert "toy/sums" not in stale(built.house)


def test_a_coin_without_rows_of_its_own_is_recorded_and_looked_at_once(built: Desk, source: DaySource) -> None:
    source.values["2024-02-27", "EMPTY"] = 0
    (request,) = built.tick()
    assert built.execute(request).success
    footer = built.house.lake.footer("toy/sums", "2024-02-28")
    assert footer is not None
    assert "toy/hours|EMPTY" in footer.inputs
    assert "toy/sums" not in stale(built.house)


def test_new_days_join_as_the_source_delivers_them_and_no_day_that_has_not_begun(
    built: Desk, source: DaySource
) -> None:
    for day in ("2024-03-06", "2024-03-07", "2024-03-21"):
        source.values |= {(day, "A"): 1, (day, "B"): 1}
    (request,) = built.tick()
    assert request.tags["dagster/asset_partition_range_end"] == "2024-03-20"
    assert built.execute(request).success
    assert built.house.keys("days")[-1] == "2024-03-20"
    source.values = {at: x for at, x in source.values.items() if at[0] <= LAST}
    built.house.freshness()
    assert built.house.keys("days")[-1] == "2024-03-20"  # a source that lost days does not shrink the house


def test_days_outside_the_house_are_unwanted(house: House) -> None:
    judgement = house.freshness().judge("toy/hours", "2024-02-24")
    assert (judgement.state, judgement.reasons) == (State.UNWANTED, ("outside the days this asset covers",))


def test_a_house_whose_source_holds_nothing_yet_waits_and_begins_when_it_does(
    tmp_path: Path, source: DaySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(_: DaySource) -> tuple[str, str]:
        raise SourceError("holds no bars yet: collect some")

    house = day_house(tmp_path / "home", source, last=None, grows_to=None)
    with monkeypatch.context() as patch:
        patch.setattr(DaySource, "span", empty)
        judgement = house.freshness().judge("toy/weekly", None)
        assert (judgement.state, judgement.reasons) == (
            State.WAITING, ("waits for toy/hours, which covers nothing yet",),
        )  # fmt: skip
        assert plan(house.freshness()).nothing_to_do
    house.freshness()
    assert house.keys("days") == tuple(DAYS)
    monkeypatch.setattr(DaySource, "span", empty)
    with pytest.raises(SourceError, match="holds no bars"):
        house.freshness()
