from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest

from butterquant_assets.automation.jobs import REFRESH, refresh_job
from butterquant_assets.automation.runs import HOST_TAG, PID_TAG, fail_dead_runs, process_tags
from butterquant_assets.automation.sensors import MAX_ATTEMPTS, build_freshness_sensor
from butterquant_assets.foundation import errors
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.orchestration.assets import IO_MANAGER_KEY, build_assets, build_checks
from butterquant_assets.orchestration.declaration import Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.io_manager import LakeIOManager

MONTHS = ("2018-01", "2018-02", "2018-03")


def contract(name: str, time: str | None = "session") -> Contract:
    columns = {"session": pa.Column("datetime64[us]"), "x": pa.Column("int64", pa.Check.ge(0))}
    return Contract(name, pa.DataFrameSchema(columns, strict=True), ("session",), time)


class ToySource:
    """One row a month, whose value a test may change."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(MONTHS, 1)

    def fingerprints(self, dataset: str, months: tuple[str, ...]) -> dict[str, str]:
        return {month: str(self.values[month]) for month in months}

    def fetch(self, dataset: str, months: list[str]) -> pd.DataFrame:
        sessions = pd.to_datetime([f"{month}-05" for month in months]).astype("datetime64[us]")
        return pd.DataFrame({"session": sessions, "x": [self.values[month] for month in months]})

    def describe(self) -> dict[str, str]:
        return {}


@lake_asset(contract("toy/raw"), reads=[Window("source:raw")], code=[errors], months="market")
def raw(work: Work) -> pd.DataFrame:
    """Rows as delivered."""
    return work.house.source.fetch("raw", work.months)


@lake_asset(contract("toy/total", None), reads=[Window("toy/raw")], code=[errors], months=None)
def total(work: Work) -> pd.DataFrame:
    """All rows."""
    return work.read("toy/raw")


@pytest.fixture
def source() -> ToySource:
    return ToySource()


@pytest.fixture
def house(tmp_path: Path, source: ToySource) -> House:
    binding = {"start": MONTHS[0], "end": MONTHS[-1], "market_start": MONTHS[0], "market_end": MONTHS[-1]}
    return House(HomeSettings(home=tmp_path), binding, [raw, total], lambda: source)


class Desk:
    """A sensor, its cursor, and the runs it asked for."""

    def __init__(self, house: House, instance: dg.DagsterInstance) -> None:
        self.house, self.instance, self.cursor = house, instance, None
        self.sensor = build_freshness_sensor(house)
        resources = {IO_MANAGER_KEY: LakeIOManager(house.lake)}
        self.definitions = dg.Definitions(
            assets=build_assets(house),
            asset_checks=build_checks(house),
            jobs=[refresh_job],
            sensors=[self.sensor],
            resources=resources,
        )

    def tick(self) -> list[dg.RunRequest]:
        repository = self.definitions.get_repository_def()
        with dg.build_sensor_context(self.instance, cursor=self.cursor, repository_def=repository) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return list(data.run_requests)

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_job_def(REFRESH)
        return job.execute_in_process(
            instance=self.instance,
            tags=request.tags,
            asset_selection=request.asset_selection,
            raise_on_error=False,
        )


@pytest.fixture
def desk(house: House) -> Desk:
    return Desk(house, dg.DagsterInstance.ephemeral())


def test_a_new_home_gets_one_run_for_the_whole_chain_and_then_silence(desk: Desk) -> None:
    (request,) = desk.tick()
    assert {key.to_user_string() for key in request.asset_selection or ()} == {"toy/raw", "toy/total"}
    assert request.run_key is None
    assert desk.execute(request).success
    assert desk.tick() == []


def test_a_late_correction_asks_for_its_month_only(desk: Desk, source: ToySource) -> None:
    desk.execute(desk.tick()[0])
    source.values["2018-02"] = 2
    (request,) = desk.tick()
    assert request.tags["dagster/asset_partition_range_start"] == "2018-02"
    assert request.tags["dagster/asset_partition_range_end"] == "2018-02"
    assert "source:raw changed" in request.tags["butterquant/reason"]
    desk.execute(request)
    assert desk.house.lake.read("toy/total")["x"].tolist() == [1, 2, 1]
    assert desk.tick() == []


def test_two_corrections_in_quick_succession_are_both_seen(desk: Desk, source: ToySource) -> None:
    desk.execute(desk.tick()[0])
    source.values["2018-02"] = 2
    (request,) = desk.tick()
    source.values["2018-03"] = 3  # arrives while the first is about to be built
    desk.execute(request)
    (second,) = desk.tick()
    desk.execute(second)
    assert desk.house.lake.read("toy/total")["x"].tolist() == [1, 2, 3]


def test_a_correction_made_again_after_it_was_reverted_is_seen_again(desk: Desk, source: ToySource) -> None:
    desk.execute(desk.tick()[0])
    for value in (2, 1, 2):
        source.values["2018-01"] = value
        desk.execute(desk.tick()[0])
        assert desk.house.lake.read("toy/total")["x"].tolist() == [value, 1, 1]


def test_while_a_run_is_under_way_no_other_is_requested(desk: Desk) -> None:
    with dg.instance_for_test() as instance:
        desk.instance = instance
        instance.create_run_for_job(
            desk.definitions.resolve_job_def(REFRESH), status=dg.DagsterRunStatus.STARTED, tags=process_tags()
        )
        assert desk.tick() == []


def test_a_run_whose_process_died_is_marked_failed_and_holds_nothing_back(desk: Desk) -> None:
    with dg.instance_for_test() as instance:
        desk.instance = instance
        dead = instance.create_run_for_job(
            desk.definitions.resolve_job_def(REFRESH),
            status=dg.DagsterRunStatus.STARTED,
            tags={PID_TAG: "999999999", HOST_TAG: process_tags()[HOST_TAG]},
        )
        assert len(desk.tick()) == 1
        run = instance.get_run_by_id(dead.run_id)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.FAILURE
        assert fail_dead_runs(instance) == []


def test_a_slot_of_a_pool_that_a_dead_run_held_is_free_again(desk: Desk) -> None:
    with dg.instance_for_test() as instance:
        dead = instance.create_run_for_job(
            desk.definitions.resolve_job_def(REFRESH),
            status=dg.DagsterRunStatus.STARTED,
            tags={PID_TAG: "999999999", HOST_TAG: process_tags()[HOST_TAG]},
        )
        storage = instance.event_log_storage
        storage.set_concurrency_slots("training", 1)
        storage.claim_concurrency_slot("training", dead.run_id, "success_model")
        assert storage.get_concurrency_info("training").active_slot_count == 1
        assert fail_dead_runs(instance) == [dead.run_id]
        assert storage.get_concurrency_info("training").active_slot_count == 0


def test_a_failure_is_tried_a_bounded_number_of_times_and_something_new_starts_afresh(
    desk: Desk, source: ToySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(dataset: str, months: list[str]) -> pd.DataFrame:
        raise errors.SourceError("the source does not answer")

    monkeypatch.setattr(source, "fetch", broken)
    asked = 0
    for _ in range(MAX_ATTEMPTS + 3):
        for request in desk.tick():
            asked += 1
            assert not desk.execute(request).success
    assert asked == MAX_ATTEMPTS
    assert json.loads(desk.cursor or "")["attempts"] == MAX_ATTEMPTS
    source.values["2018-01"] = 5
    assert len(desk.tick()) == 1


def test_an_invalid_month_is_quarantined_and_not_asked_for_again_until_it_changes(
    desk: Desk, source: ToySource
) -> None:
    desk.execute(desk.tick()[0])
    source.values["2018-02"] = -1
    result = desk.execute(desk.tick()[0])
    assert result.success
    failed = {
        e.check_name for e in result.get_asset_check_evaluations() if not e.passed and e.severity.value == "ERROR"
    }
    assert failed == {"schema"}
    assert desk.house.lake.read("toy/total")["x"].tolist() == [1, 1, 1]
    assert desk.tick() == []
    source.values["2018-02"] = 4
    desk.execute(desk.tick()[0])
    assert desk.house.lake.read("toy/total")["x"].tolist() == [1, 4, 1]


def test_forcing_a_current_asset_rebuilds_it(desk: Desk) -> None:
    desk.execute(desk.tick()[0])
    job = desk.definitions.resolve_job_def(REFRESH)
    result = job.execute_in_process(
        instance=desk.instance,
        asset_selection=[dg.AssetKey(["toy", "total"])],
        run_config={"ops": {"total": {"config": {"force": True}}}},
    )
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == "total"]
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["action"].value == "rebuilt"
    assert metadata["reasons"].value == "asked for"
