"""Events written in batches are the events Dagster writes one by one.

Dagster reads the annotations of these assets, so they must not be postponed to strings.
"""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from butterquant_assets.orchestration import event_batches
from butterquant_assets.orchestration.event_batches import BatchingEventLogStorage, open_instance
from butterquant_assets.orchestration.instance import prepare_home
from butterquant_assets.orchestration.partitions import daily

DAYS = daily("2024-02-27", "2024-03-02")


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def rows(context: dg.AssetExecutionContext) -> None:
    for key in context.partition_keys:
        context.add_asset_metadata({"day": key}, partition_key=key)


@dg.asset(deps=[rows])
def total() -> None: ...


@dg.asset_check(asset=total)
def good() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def ran(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the instance tells of two runs over all days, without ids and times."""
    job = dg.Definitions([rows, total], asset_checks=[good], jobs=[dg.define_asset_job("all")]).resolve_job_def("all")
    tags = {"dagster/asset_partition_range_start": "2024-02-27", "dagster/asset_partition_range_end": "2024-03-02"}
    runs = [job.execute_in_process(instance=instance, tags=tags).run_id for _ in range(2)]
    found: dict[str, Any] = {}
    for key in (rows.key, total.key):
        records = instance.fetch_materializations(dg.AssetRecordsFilter(key), limit=100).records
        found[str(key)] = [
            (record.partition_key, runs.index(record.run_id), sorted(record.asset_materialization.metadata.items()))
            for record in records
        ]
        latest = instance.get_latest_materialization_event(key)
        found[f"latest {key}"] = latest and (runs.index(latest.run_id), latest.asset_materialization.partition)
        planned = instance.event_log_storage.get_latest_planned_materialization_info(key)
        found[f"planned {key}"] = planned and runs.index(planned.run_id)
    for place, run in enumerate(runs):
        kinds = [entry.dagster_event.event_type_value for entry in instance.all_logs(run) if entry.dagster_event]
        found[f"kinds of {place}"] = sorted(kinds)
    (check,) = instance.event_log_storage.get_latest_asset_check_execution_by_key([good.check_key]).values()
    found["check"] = (runs.index(check.run_id), check.status)
    return found


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "3")


@pytest.mark.usefixtures("batches")
def test_a_batch_leaves_what_single_events_leave(tmp_path: Path) -> None:
    told = {}
    for name, opened in (("plain", dg.DagsterInstance.from_config), ("batches", open_instance)):
        folder = prepare_home(tmp_path / name)
        with opened(str(folder) if name == "plain" else folder) as instance:  # type: ignore[arg-type]
            assert isinstance(instance.event_log_storage, BatchingEventLogStorage) == (name == "batches")
            told[name] = ran(instance)
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            assert len(instance.get_runs()) == 2
            assert len(instance.fetch_materializations(dg.AssetRecordsFilter(rows.key), limit=100).records) == 10
    assert told["batches"] == told["plain"]
    assert told["plain"][f"latest {rows.key}"] == (1, "2024-03-02")


@pytest.mark.usefixtures("batches")
def test_a_batch_costs_two_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    plain = BatchingEventLogStorage._connect

    def counted(self: BatchingEventLogStorage, shard: str) -> Any:
        opened.append("index" if shard == "index" else "run")
        return plain(self, shard)

    with open_instance(prepare_home(tmp_path / "home")) as instance:
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
        result = dg.materialize([total], instance=instance)
        events = [
            dg.EventLogEntry(
                error_info=None,
                level=10,
                user_message="",
                run_id=result.run_id,
                timestamp=float(place),
                dagster_event=result.get_asset_materialization_events()[0],
            )
            for place in range(50)
        ]
        monkeypatch.setattr(BatchingEventLogStorage, "_connect", counted)
        instance.event_log_storage.store_event_batch(events)
    assert sorted(opened) == ["index", "run"]


def test_another_storage_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "dagster.yaml").write_text(
        "event_log_storage:\n  module: dagster._core.storage.event_log\n  class: InMemoryEventLogStorage\n"
    )
    with open_instance(tmp_path) as instance:
        assert type(instance.event_log_storage).__name__ == "InMemoryEventLogStorage"


def test_the_size_of_a_batch_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    assert event_batches.batch_variables() == {"DAGSTER_EVENT_BATCH_SIZE": "500"}
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "7")
    assert event_batches.batch_variables() == {"DAGSTER_EVENT_BATCH_SIZE": "7"}
