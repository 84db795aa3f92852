from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from butterquant_assets.automation import retries
from butterquant_assets.automation.jobs import REFRESH
from butterquant_assets.automation.retries import Attempts, Brake, RetryPolicy, Trouble
from butterquant_assets.automation.runs import HOST_TAG, PID_TAG, fail_dead_runs, process_tags
from butterquant_assets.automation.sensors import FULL_LOOK_SECONDS, POLICY, Memory, build_freshness_sensor
from butterquant_assets.foundation import errors
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.orchestration.declaration import LakeAsset, Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_tests.automation.desk import Desk
from butterquant_tests.automation.toys import ToySource, contract, raw, toy_house


@pytest.fixture
def source() -> ToySource:
    return ToySource()


@pytest.fixture
def house(tmp_path: Path, source: ToySource) -> House:
    return toy_house(tmp_path, source)


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
        assert desk.tick() == []
        source.values["2018-01"] = value
        desk.execute(desk.tick()[0])
        assert desk.house.lake.read("toy/total")["x"].tolist() == [value, 1, 1]


def test_corrections_to_and_fro_without_a_quiet_moment_end_current_too(desk: Desk, source: ToySource) -> None:
    desk.execute(desk.tick()[0])
    for value in (2, 1, 2):
        source.values["2018-01"] = value
        # The third looks like the first not having been cured, so it comes after a wait.
        asked = desk.tick() or desk.tick() or desk.tick(after=POLICY.wait(1))
        desk.execute(asked[0])
    assert desk.house.lake.read("toy/total")["x"].tolist() == [2, 1, 1]
    assert desk.tick() == []


def test_while_a_run_is_under_way_no_other_is_requested(desk: Desk) -> None:
    with dg.instance_for_test() as instance:
        desk.instance = instance
        instance.create_run_for_job(
            desk.definitions().resolve_job_def(REFRESH), status=dg.DagsterRunStatus.STARTED, tags=process_tags()
        )
        assert desk.tick() == []


@pytest.mark.parametrize(("job", "holds"), [("collect_crypto", False), ("refresh_crypto", True), ("refresh", True)])
def test_the_houses_take_turns_and_a_poll_of_a_collector_holds_nobody_back(
    tmp_path: Path, source: ToySource, job: str, holds: bool
) -> None:
    def build(of: House, desk: Desk) -> dg.SensorDefinition:
        return build_freshness_sensor(of, beside=["collect_crypto"], clock=lambda: desk.now)

    desk = Desk(toy_house(tmp_path, source), dg.DagsterInstance.ephemeral(), build=build)

    @dg.job(name=job)
    def other() -> None: ...

    desk.instance.create_run_for_job(job_def=other, status=dg.DagsterRunStatus.STARTED)
    assert bool(desk.tick()) != holds
    assert ("is under way" in desk.said) == holds


def test_a_run_whose_process_died_is_marked_failed_and_holds_nothing_back(desk: Desk) -> None:
    with dg.instance_for_test() as instance:
        desk.instance = instance
        dead = instance.create_run_for_job(
            desk.definitions().resolve_job_def(REFRESH),
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
            desk.definitions().resolve_job_def(REFRESH),
            status=dg.DagsterRunStatus.STARTED,
            tags={PID_TAG: "999999999", HOST_TAG: process_tags()[HOST_TAG]},
        )
        storage = instance.event_log_storage
        storage.set_concurrency_slots("training", 1)
        storage.claim_concurrency_slot("training", dead.run_id, "success_model")
        assert storage.get_concurrency_info("training").active_slot_count == 1
        assert fail_dead_runs(instance) == [dead.run_id]
        assert storage.get_concurrency_info("training").active_slot_count == 0


def break_source(source: ToySource, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(dataset: str, months: list[str]) -> pd.DataFrame:
        raise errors.SourceError("the source does not answer")

    monkeypatch.setattr(source, "fetch", broken)


def test_a_failure_is_tried_a_bounded_number_of_times_ever_later_and_something_new_starts_afresh(
    house: House, source: ToySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RetryPolicy(attempts=3, base_seconds=60.0, factor=3.0)
    desk = Desk(
        house,
        dg.DagsterInstance.ephemeral(),
        build=lambda house, desk: build_freshness_sensor(house, policy=policy, clock=lambda: desk.now),
    )
    break_source(source, monkeypatch)
    start, asked = desk.now, []
    while desk.now < start + 600:
        for request in desk.tick():
            asked.append(desk.now - start)
            assert not desk.execute(request).success
    waits = [60.0, 180.0]
    assert len(asked) == 3
    # Seen to have failed at the next look, tried again at the first look after the wait.
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert all(wait <= gap <= wait + 3 * FULL_LOOK_SECONDS for wait, gap in zip(waits, gaps, strict=True))
    assert "have not cured" in desk.said
    source.values["2018-01"] = 5
    assert len(desk.tick()) == 1


def failing_total(error: str | None) -> LakeAsset:
    """The sum of `toys`, with a bug that meets every input but a 7 alike; or another version, without it."""

    def total(work: Work) -> pd.DataFrame:
        rows = work.read("toy/raw")
        if error and 7 not in rows["x"].tolist():
            raise errors.DataError(error)
        return rows

    code = [errors] if error else [errors, retries]
    return lake_asset(contract("toy/total", None), reads=[Window("toy/raw")], code=code, axis=None)(total)


def storm(desk: Desk, source: ToySource, hours: int) -> list[float]:
    """When runs were asked for in hours with new data each; all of them fail."""
    asked = []
    for hour in range(hours):
        source.values["2018-03"] = 100 + hour
        for _ in range(12):
            for request in desk.tick(after=300.0):
                asked.append(desk.now)
                assert not desk.execute(request).success
    return asked


def test_an_error_that_meets_every_input_alike_keeps_its_waits_and_other_code_does_not_wait(
    tmp_path: Path, source: ToySource
) -> None:
    desk = Desk(toy_house(tmp_path, source, (raw, failing_total("a bug"))), dg.DagsterInstance.ephemeral())
    asked = storm(desk, source, 7)
    assert len(asked) <= 16  # without the brake it is five an hour
    assert sum(at > desk.now - 7200.0 for at in asked) <= 4
    source.values["2018-03"] = 99
    assert desk.tick() == []
    assert "runs in a row have failed" in desk.said
    mended = Desk(
        toy_house(tmp_path, source, (raw, failing_total(None))), desk.instance, cursor=desk.cursor, now=desk.now
    )
    assert mended.execute(mended.tick()[0]).success
    assert mended.tick() == []


def test_a_correction_after_many_failures_waits_for_an_hour_at_most(tmp_path: Path, source: ToySource) -> None:
    desk = Desk(toy_house(tmp_path, source, (raw, failing_total("a bug"))), dg.DagsterInstance.ephemeral())
    storm(desk, source, 7)
    source.values["2018-02"], corrected = 7, desk.now
    while not (requests := desk.tick()):
        assert desk.now - corrected <= 3600.0
    assert desk.execute(requests[0]).success
    assert desk.tick() == []
    source.values["2018-02"] = 1  # the bug again, after a success
    assert len(desk.tick()) == 1


@pytest.mark.parametrize(
    "cursor",
    [
        "[]",
        "x",
        "null",
        "7",
        '{"tried": [{"fingerprint": "a", "attempts": 1}]}',
        '{"tried": 5}',
        '{"next_look": "soon"}',
        '{"next_look": null}',
        '{"brake": [1]}',
        '{"brake": {"troubles": [{"identity": "a"}]}}',
    ],
)
def test_a_cursor_that_is_not_understood_begins_afresh(desk: Desk, cursor: str) -> None:
    assert Memory.from_cursor(cursor) == Memory()
    desk.cursor = cursor
    assert len(desk.tick()) == 1


def test_of_a_cursor_of_another_version_the_known_part_is_kept() -> None:
    memory = Memory("digest", 5.0, (Attempts("a", 2, 9.0),), Brake("r1", "code", 5.0, (Trouble("x", 3),)))
    assert Memory.from_cursor(memory.to_cursor()) == memory
    later = json.loads(memory.to_cursor())
    later["tried"][0]["first"] = later["brake"]["first"] = later["first"] = 1
    assert Memory.from_cursor(json.dumps(later)) == memory
    earlier = {name: value for name, value in later.items() if name != "brake"}
    assert Memory.from_cursor(json.dumps(earlier)) == Memory("digest", 5.0, (Attempts("a", 2, 9.0),))


def test_a_daemon_that_restarts_neither_repeats_nor_loses_an_attempt(
    desk: Desk, house: House, source: ToySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_source(source, monkeypatch)
    desk.execute(desk.tick()[0])
    assert desk.tick() == []
    assert "attempt 1 of" in desk.said
    again = Desk(house, desk.instance, cursor=desk.cursor, now=desk.now)
    assert again.tick() == []
    again.now += POLICY.wait(1)
    assert len(again.tick()) == 1


def test_a_tick_whose_answer_was_lost_is_asked_again_without_harm(desk: Desk) -> None:
    (lost,) = desk.tick()
    (request,) = Desk(desk.house, desk.instance, now=desk.now).tick()
    assert request.tags == lost.tags
    desk.execute(request)
    assert desk.tick() == []


def test_between_two_full_looks_nothing_is_read(desk: Desk, source: ToySource, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.execute(desk.tick()[0])
    assert desk.tick() == []
    looks = []
    monkeypatch.setattr(desk.house, "freshness", lambda: looks.append(1))
    assert desk.tick(after=10.0) == []
    assert (looks, "next full look" in desk.said) == ([], True)


def test_a_source_that_cannot_be_read_is_told_and_tried_again(
    desk: Desk, source: ToySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(dataset: str, months: tuple[str, ...]) -> dict[str, str]:
        raise errors.SourceError("the disk with the bars is not mounted")

    with monkeypatch.context() as patched:
        patched.setattr(source, "fingerprints", broken)
        assert desk.tick() == []
        assert desk.said == "the disk with the bars is not mounted"
    assert len(desk.tick()) == 1


def test_a_correction_that_arrives_while_its_month_is_built_is_recorded_as_read(
    desk: Desk, source: ToySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.execute(desk.tick()[0])
    source.values["2018-02"] = 2
    (request,) = desk.tick()
    fetch, arrivals = source.fetch, [3]

    def arriving(dataset: str, months: list[str]) -> pd.DataFrame:
        if arrivals:
            source.values["2018-02"] = arrivals.pop()
        return fetch(dataset, months)

    monkeypatch.setattr(source, "fetch", arriving)
    desk.execute(request)
    assert desk.house.lake.read("toy/total")["x"].tolist() == [1, 3, 1]
    assert desk.tick() == []
    source.values["2018-02"] = 2  # back to what the run was requested for: it must not pass for current
    desk.execute(desk.tick()[0])
    assert desk.house.lake.read("toy/total")["x"].tolist() == [1, 2, 1]
    assert desk.tick() == []


def test_newer_code_on_disk_is_waited_for(desk: Desk) -> None:
    desk.code_has_changed = True
    assert desk.tick() == []
    assert "reload the code location" in desk.said


def test_a_deleted_file_is_made_again_and_only_it(desk: Desk, house: House) -> None:
    desk.execute(desk.tick()[0])
    Path(house.lake.path("toy/raw", "2018-02")).unlink()
    (request,) = desk.tick()
    assert request.tags["dagster/asset_partition_range_start"] == "2018-02"
    result = desk.execute(request)
    actions = [
        event.step_materialization_data.materialization.metadata["action"].value
        for event in result.get_asset_materialization_events()
    ]
    assert actions == ["rebuilt", "unchanged"]
    assert desk.tick() == []


def test_a_reverted_correction_leads_back_to_the_same_bytes(desk: Desk, house: House, source: ToySource) -> None:
    desk.execute(desk.tick()[0])
    path = Path(house.lake.path("toy/raw", "2018-03"))
    before = path.read_bytes()
    for value in (9, 1):
        source.values["2018-03"] = value
        desk.execute(desk.tick()[0])
    assert path.read_bytes() == before
    assert desk.tick() == []


def test_a_bad_correction_that_is_taken_back_leaves_nothing_to_do(desk: Desk, source: ToySource) -> None:
    desk.execute(desk.tick()[0])
    source.values["2018-02"] = -1
    desk.execute(desk.tick()[0])
    source.values["2018-02"] = 1
    assert desk.tick() == []
    assert desk.house.freshness().judge("toy/total", None).state.value == "current"


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
    job = desk.definitions().resolve_job_def(REFRESH)
    result = job.execute_in_process(
        instance=desk.instance,
        asset_selection=[dg.AssetKey(["toy", "total"])],
        run_config={"ops": {"total": {"config": {"force": True}}}},
    )
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == "total"]
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["action"].value == "rebuilt"
    assert metadata["reasons"].value == "asked for"
