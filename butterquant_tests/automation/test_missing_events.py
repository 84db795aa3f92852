"""What a run published and did not live to report is reported after it has failed, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from butterquant_assets.automation.jobs import REFRESH
from butterquant_assets.automation.missing_events import report_missing_events
from butterquant_assets.automation.requests import RANGE_END, RANGE_START
from butterquant_assets.automation.runs import HOST_TAG, PID_TAG, fail_dead_runs, process_tags
from butterquant_assets.foundation import errors
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.lake import Lake
from butterquant_assets.foundation.lake_listing import LakeFile
from butterquant_assets.orchestration.assets import asset_key
from butterquant_assets.orchestration.declaration import Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import rebuild
from butterquant_tests.automation.desk import Desk
from butterquant_tests.automation.toys import MONTHS, ToySource, contract, total, toy_house

RAW, TOTAL = "toy/raw", "toy/total"
DEAD = {PID_TAG: "999999999", HOST_TAG: process_tags()[HOST_TAG]}


@lake_asset(contract(RAW), reads=[Window("source:raw")], code=[errors], axis="market", batch=1)
def raw(work: Work) -> pd.DataFrame:
    """Rows as delivered, a month at a time."""
    return work.house.source.fetch("raw", work.keys)


@pytest.fixture
def source() -> ToySource:
    return ToySource()


@pytest.fixture
def house(tmp_path: Path, source: ToySource) -> House:
    return toy_house(tmp_path, source, (raw, total))


@pytest.fixture
def desk(house: House) -> Iterator[Desk]:
    with dg.instance_for_test() as instance:
        yield Desk(house, instance)


def begun(desk: Desk, tags: dict[str, str]) -> dg.DagsterRun:
    """A run of everything that has told of its plan and of nothing else."""
    return desk.instance.create_run_for_job(
        desk.definitions().resolve_job_def(REFRESH),
        status=dg.DagsterRunStatus.STARTED,
        tags={RANGE_START: MONTHS[0], RANGE_END: MONTHS[-1], **tags},
        asset_selection=frozenset({asset_key(RAW), asset_key(TOTAL)}),
    )


def publish(house: House, *names: str) -> None:
    """What a run does before it tells."""
    for name in names:
        declaration = house.declaration(name)
        rebuild(house, declaration, MONTHS if declaration.axis else (None,))


def told(instance: dg.DagsterInstance, name: str) -> list[tuple[str | None, str, str]]:
    """Partition, action and content of every event of an asset, oldest first."""
    records = instance.fetch_materializations(asset_key(name), limit=100, ascending=True).records
    found = []
    for record in records:
        assert record.asset_materialization is not None
        metadata = record.asset_materialization.metadata
        found.append((record.partition_key, str(metadata["action"].value), str(metadata["content"].value)))
    return found


def lies(house: House, name: str) -> list[tuple[str | None, str, str]]:
    """The events that the lake asks for."""
    keys = MONTHS if house.declaration(name).axis else (None,)
    footers = {key: house.lake.footer(name, key) for key in keys}
    return [(key, "rebuilt", footer.content) for key, footer in footers.items() if footer]


def test_a_run_that_died_with_everything_published_is_told_of_by_the_sensor_once(desk: Desk, house: House) -> None:
    dead = begun(desk, DEAD)
    publish(house, RAW, TOTAL)
    assert desk.tick() == []
    assert "everything is current" in desk.said
    for name in (RAW, TOTAL):
        assert told(desk.instance, name) == lies(house, name)
    (event,) = desk.instance.fetch_materializations(asset_key(TOTAL), limit=9).records
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["run"].value == dead.run_id
    assert metadata["reasons"].value == "published by a run that ended before it could tell"
    assert metadata["rows stored"].value == 3
    assert desk.instance.get_materialized_partitions(asset_key(RAW)) == set(MONTHS)
    before = told(desk.instance, RAW)
    assert desk.tick() == []
    assert told(desk.instance, RAW) == before


def test_after_it_was_told_no_look_reads_the_events_of_an_asset(
    desk: Desk, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(desk, DEAD)
    publish(house, RAW, TOTAL)
    fail_dead_runs(desk.instance)
    assert report_missing_events(desk.instance, house) == 4
    asked: list[str] = []
    storage = type(desk.instance.event_log_storage)
    for name in (
        "get_latest_asset_partition_materialization_attempts_without_materializations",
        "get_latest_planned_materialization_info",
    ):
        monkeypatch.setattr(storage, name, lambda *_, name=name, **__: asked.append(name))
    assert report_missing_events(desk.instance, house) == 0
    assert asked == []


def test_batches_that_were_published_before_a_step_failed_are_told_too(
    desk: Desk, house: House, source: ToySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = source.fetch

    def broken(dataset: str, months: list[str]) -> pd.DataFrame:
        if MONTHS[-1] in months:
            raise errors.SourceError("the last month cannot be read")
        return fetch(dataset, months)

    with monkeypatch.context() as patched:
        patched.setattr(source, "fetch", broken)
        assert not desk.execute(desk.tick()[0]).success
    assert told(desk.instance, RAW) == []
    asked = desk.tick() or desk.tick(after=120.0)
    assert told(desk.instance, RAW) == lies(house, RAW)
    assert [key for key, *_ in told(desk.instance, RAW)] == list(MONTHS[:2])
    assert desk.execute(asked[0]).success
    assert desk.tick() == []
    assert [event for event in told(desk.instance, RAW) if event[1] == "rebuilt"] == lies(house, RAW)


def test_what_a_run_under_way_means_to_tell_is_left_to_it(desk: Desk, house: House) -> None:
    begun(desk, DEAD)
    publish(house, RAW)
    fail_dead_runs(desk.instance)
    alive = begun(desk, process_tags())
    assert report_missing_events(desk.instance, house) == 0
    desk.instance.report_run_failed(alive)
    assert report_missing_events(desk.instance, house) == 3


def test_what_failed_before_it_published_is_not_told(desk: Desk, house: House, source: ToySource) -> None:
    desk.execute(desk.tick()[0])
    before = told(desk.instance, RAW)
    begun(desk, DEAD)
    source.values["2018-02"] = 2
    (request,) = desk.tick()
    assert told(desk.instance, RAW) == before
    desk.execute(request)
    assert told(desk.instance, RAW)[-1][2] == lies(house, RAW)[1][2]


def test_a_quarantined_month_is_told_as_such(desk: Desk, house: House, source: ToySource) -> None:
    desk.execute(desk.tick()[0])
    source.values["2018-02"] = -1
    begun(desk, DEAD)
    publish(house, RAW)
    before = len(told(desk.instance, RAW))
    assert desk.tick() == []
    apart = house.lake.footer(RAW, "2018-02", quarantine=True)
    assert apart is not None
    assert told(desk.instance, RAW)[before:] == [("2018-02", "quarantined", apart.content)]
    begun(desk, DEAD)
    assert desk.tick() == []
    assert len(told(desk.instance, RAW)) == before + 1


def test_more_than_one_look_takes_is_told_by_the_next(desk: Desk, house: House) -> None:
    begun(desk, DEAD)
    publish(house, RAW, TOTAL)
    fail_dead_runs(desk.instance)
    assert [report_missing_events(desk.instance, house, most=3) for _ in range(3)] == [3, 1, 0]
    assert told(desk.instance, RAW) == lies(house, RAW)


def test_an_object_store_is_listed_and_not_asked_file_by_file(
    desk: Desk, house: House, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    house.lake = Lake(f"memory://{request.node.name}")
    begun(desk, DEAD)
    publish(house, RAW, TOTAL)
    fail_dead_runs(desk.instance)
    asked: list[str] = []
    ask = house.lake._storage.file

    def counted(path: str) -> LakeFile | None:
        asked.append(path)
        return ask(path)

    monkeypatch.setattr(house.lake._storage, "file", counted)
    assert report_missing_events(desk.instance, house) == 4
    assert asked == []
    assert told(desk.instance, RAW) == lies(house, RAW)


def test_a_run_that_was_executed_again_is_not_taken_for_the_first(desk: Desk, house: House) -> None:
    first = begun(desk, DEAD)
    fail_dead_runs(desk.instance)
    assert report_missing_events(desk.instance, house) == 0
    seen = desk.instance.get_run_by_id(first.run_id)
    assert seen is not None
    copied = {name: value for name, value in seen.tags.items() if name.startswith("butterquant/")}
    begun(desk, copied)
    fail_dead_runs(desk.instance)
    publish(house, RAW)
    assert report_missing_events(desk.instance, house) == 3
