from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster._core.events import JobFailureData
from dagster_shared.error import SerializableErrorInfo

from butterquant_assets.automation.failure_schedule import failed_partitions_job, failure_schedule
from butterquant_assets.automation.jobs import REFRESH
from butterquant_assets.foundation.freshness import Key
from butterquant_assets.monitoring import failure_assets
from butterquant_assets.monitoring.failed_partitions import CONTRACT, PastRun
from butterquant_assets.monitoring.failure_assets import failure_of, listing, past_runs, planned_steps
from butterquant_tests.automation.watched import RAW, TOTAL, WATCH, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Site(tmp_path, instance)
        assert made.refresh().success
        yield made


def test_where_all_is_well_the_inventory_is_an_empty_valid_table(site: Site) -> None:
    assert site.take_stock() == []
    frame = site.house.lake.read("monitoring/failed_partitions")
    assert CONTRACT.validate(frame).passed
    assert listing(frame) == "none"


def test_a_quarantined_month_is_listed_until_a_good_one_takes_its_place(site: Site) -> None:
    site.source.values["2018-02"] = -1
    first = site.refresh()
    site.refresh()  # looks at it again, and leaves it alone
    site.source.values["2018-02"] = -2
    second = site.refresh()
    (row,) = site.take_stock()
    assert (row["asset"], row["partition"], row["state"], row["attempts"]) == (RAW, "2018-02", "quarantined", 2)
    assert row["run_id"] == second.run_id != first.run_id
    assert pd.notna(row["since"])
    assert row["waiting_assets"] == f"{WATCH} (1), {TOTAL} (1)"
    site.source.values["2018-02"] = 2
    assert site.refresh().success
    assert site.take_stock() == []


def test_partitions_whose_runs_failed_three_times_are_listed_with_the_step_that_failed(site: Site) -> None:
    site.source.values["2018-02"] = 2
    site.source.broken = "https://vendor/hook-secret does not answer"
    for _ in range(2):
        site.refresh("2018-02", "2018-02")
    assert site.take_stock() == []
    last = site.refresh("2018-02", "2018-02")
    (row,) = site.take_stock()
    assert (row["asset"], row["partition"], row["state"], row["attempts"]) == (RAW, "2018-02", "exhausted", 3)
    assert "https://vendor/*** does not answer" in row["reason"]
    assert row["run_id"] == last.run_id
    site.source.broken = None
    assert site.refresh("2018-02", "2018-02").success
    assert site.take_stock() == []


@dg.job(name="collect_crypto")
def collecting() -> None:
    """A job that makes no asset, as a collector's."""


def test_what_is_exhausted_stays_listed_whatever_other_jobs_did_since(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_assets, "PAGE", 4)
    site.source.values["2018-02"] = 2
    site.source.broken = "no answer"
    for _ in range(3):
        site.refresh("2018-02", "2018-02")
    for _ in range(9):
        # As a daemon starts it: nothing is selected. So does the schedule of the inventory itself.
        site.instance.create_run_for_job(collecting, status=dg.DagsterRunStatus.SUCCESS)
        inventory_job = site.definitions.resolve_job_def(failed_partitions_job.name)
        site.instance.create_run_for_job(inventory_job, status=dg.DagsterRunStatus.SUCCESS)
    (row,) = site.take_stock()
    assert (row["asset"], row["partition"], row["state"], row["attempts"]) == (RAW, "2018-02", "exhausted", 3)


def test_a_success_is_asked_once_what_it_covers_however_many_pages_follow(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(7):
        site.refresh("2018-02", "2018-02")
    asked: list[str] = []
    covers = PastRun.covers

    def counted(run: PastRun, name: str, key: Key) -> bool:
        asked.append(run.run_id)
        return covers(run, name, key)

    monkeypatch.setattr(failure_assets, "PAGE", 1)
    monkeypatch.setattr(PastRun, "covers", counted)
    found = past_runs(site.instance, {"raw": (RAW,)}, [("toy/never", None)])
    assert len(asked) == len(found) >= 8
    assert len(set(asked)) == len(asked)


def test_a_run_of_the_whole_job_covers_what_its_plan_covers(site: Site) -> None:
    job = site.definitions.resolve_job_def(REFRESH)
    run = site.instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS)
    assert run.asset_selection is None
    assert planned_steps(site.instance, run) == {"raw", "total", "watch", "monitoring__failed_partitions"}
    steps = {"raw": (RAW,), "total": (TOTAL,), "watch": (WATCH,)}
    (whole,) = [past for past in past_runs(site.instance, steps, [(RAW, "2018-01")]) if past.run_id == run.run_id]
    assert whole.assets == {RAW, TOTAL, WATCH}


def test_a_run_that_failed_outside_of_its_steps_is_told_with_its_innermost_error(site: Site) -> None:
    run = site.instance.create_run_for_job(site.definitions.resolve_job_def(REFRESH))
    cause = SerializableErrorInfo("ConnectionError: connecting to the broker was refused\n", [], "ConnectionError")
    error = SerializableErrorInfo("RuntimeError: retry limit exceeded\n", [], "RuntimeError", cause=cause)
    site.instance.report_run_failed(run, "An exception was thrown during execution.", JobFailureData(error))
    assert failure_of(site.instance, run.run_id) == ("ConnectionError: connecting to the broker was refused", ())
    killed = site.instance.create_run_for_job(site.definitions.resolve_job_def(REFRESH))
    site.instance.report_run_failed(killed, "its process 7 died")
    assert failure_of(site.instance, killed.run_id) == ("its process 7 died", ())


def test_the_inventory_shows_what_failed_and_is_taken_every_day_by_default(site: Site) -> None:
    site.source.values["2018-02"] = -1
    site.refresh()
    site.take_stock()
    (record,) = site.instance.fetch_materializations(dg.AssetKey(["monitoring", "failed_partitions"]), limit=1).records
    metadata = record.asset_materialization.metadata
    assert metadata["quarantined"].value == 1
    assert "toy/raw 2018-02: quarantined after 1 attempts" in metadata["which"].value
    assert failure_schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert failure_schedule.execution_timezone == "UTC"


def test_every_column_is_described(site: Site) -> None:
    spec = site.definitions.resolve_asset_graph().get(dg.AssetKey(["monitoring", "failed_partitions"]))
    assert all(column.description for column in spec.metadata["dagster/column_schema"].columns)
