from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from butterquant_assets.automation.prune_schedule import build_prune_job, build_prune_schedule
from butterquant_assets.orchestration.assets import IO_MANAGER_KEY, build_assets
from butterquant_assets.orchestration.io_manager import LakeIOManager
from butterquant_tests.automation.desk import Desk
from butterquant_tests.automation.toys import ToySource, toy_house

SUNDAY = datetime(2030, 1, 6, 4, 15, tzinfo=UTC)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as opened:
        yield opened


def test_a_tick_of_the_schedule_prunes_what_is_old_and_spares_its_own_run(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    house = toy_house(tmp_path / "home", ToySource())
    desk = Desk(house, instance)
    (request,) = desk.tick()
    superseded, newest = desk.execute(request), desk.execute(request)
    left = tmp_path / "home" / "lake" / "toy" / "raw" / ".2018-01.parquet.1.tmp"
    left.write_bytes(b"of a writer that died")
    job = build_prune_job([house], 30, now=lambda: datetime.now(UTC) + timedelta(days=31))
    schedule = build_prune_schedule(job)
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    with dg.build_schedule_context(instance, scheduled_execution_time=SUNDAY) as context:
        (asked,) = schedule.evaluate_tick(context).run_requests
    definitions = dg.Definitions(build_assets(house), jobs=[job], resources={IO_MANAGER_KEY: LakeIOManager(house.lake)})
    done = definitions.resolve_job_def("prune").execute_in_process(instance=instance, tags=asked.tags)
    assert done.success
    assert not left.exists()
    assert {run.run_id for run in instance.get_runs()} == {newest.run_id, done.run_id}
    assert superseded.run_id != newest.run_id
    assert house.lake.partitions("toy/raw") == ["2018-01", "2018-02", "2018-03"]


def test_nothing_young_goes(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    house = toy_house(tmp_path / "home", ToySource())
    desk = Desk(house, instance)
    (request,) = desk.tick()
    kept = {desk.execute(request).run_id, desk.execute(request).run_id}
    assert build_prune_job([house], 30).execute_in_process(instance=instance).success
    assert kept <= {run.run_id for run in instance.get_runs()}
