"""Pruning Dagster's runs: old ones go with their events, the newest facts stay; and a whole home at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest

from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.orchestration.axes import MonthAxes
from butterquant_assets.orchestration.declaration import Result, Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.instance import prepare_home
from butterquant_assets.orchestration.pruning import prune, prune_runs
from butterquant_assets.orchestration.rebuild import rebuild

LATER = datetime.now(UTC) + timedelta(days=100)
STALE, USED = "00000000000000a1", "00000000000000a2"
TROUBLE = {"now": False}


@dg.asset(
    partitions_def=dg.StaticPartitionsDefinition(["a", "b"]), check_specs=[dg.AssetCheckSpec("fine", asset="parts")]
)
def parts() -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="fine")])


@dg.asset
def whole() -> None:
    if TROUBLE["now"]:
        raise ValueError("on purpose")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(prepare_home(tmp_path / "home"))) as opened:
        yield opened


def made(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, partition: str | None = None) -> str:
    done = dg.materialize([asset], instance=instance, partition_key=partition, raise_on_error=False)
    return done.run_id


def latest(instance: dg.DagsterInstance) -> dict[str, object]:
    """What the UI shows: the newest materialization of each partition and the newest result of the check."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    storage = instance.event_log_storage
    check = storage.get_latest_asset_check_execution_by_key([dg.AssetCheckKey(parts.key, "fine")])
    event = instance.get_latest_materialization_event(whole.key)
    return {
        "parts": dict(storage.get_latest_storage_id_by_partition(parts.key, kind)),
        "whole": event.run_id if event else None,
        "check": [(record.run_id, record.status) for record in check.values()],
    }


def runs(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def shards(instance: dg.DagsterInstance) -> set[str]:
    return {path.stem for path in Path(instance.root_directory).rglob("history/runs/*.db")} - {"index"}


def test_old_runs_go_with_their_events_and_the_newest_facts_stay_visible(instance: dg.DagsterInstance) -> None:
    first, b = made(instance, parts, "a"), made(instance, parts, "b")
    second, old_whole, new_whole = made(instance, parts, "a"), made(instance, whole), made(instance, whole)
    before = latest(instance)
    listed = prune_runs(instance, before=LATER, checks=[dg.AssetCheckKey(parts.key, "fine")], dry_run=True)
    assert runs(instance) == {first, b, second, old_whole, new_whole}
    done = prune_runs(instance, before=LATER, checks=[dg.AssetCheckKey(parts.key, "fine")])
    assert done == listed
    assert {removal.what for removal in done.removed} == {first, old_whole}
    assert runs(instance) == {b, second, new_whole}
    assert latest(instance) == before
    assert instance.get_materialized_partitions(parts.key) == {"a", "b"}
    assert first not in shards(instance)
    assert second in shards(instance)
    with dg.DagsterInstance.from_config(instance.root_directory) as fresh:
        assert not fresh.all_logs(first)
        assert fresh.all_logs(second)
    assert prune_runs(instance, before=LATER).removed == ()


def test_a_failed_run_goes_when_it_is_old_and_a_younger_or_unfinished_one_stays(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TROUBLE, "now", True)
    failed = made(instance, whole)
    started = instance.create_run_for_job(
        dg.Definitions(assets=[whole], jobs=[dg.define_asset_job("j")]).resolve_job_def("j"),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert prune_runs(instance, before=datetime.now(UTC) - timedelta(days=1)).removed == ()
    assert prune_runs(instance, before=LATER, sparing=[failed]).removed == ()
    assert [removal.what for removal in prune_runs(instance, before=LATER).removed] == [failed]
    assert runs(instance) == {started.run_id}


@lake_asset(Contract("butterfly/model", pa.DataFrameSchema({"x": pa.Column()}), ("x",), time=None), code=[], axis=None)
def model(work: Work) -> Result:
    """Names the version it trained."""
    return Result({"model": pd.DataFrame({"x": [1]})}, facts={None: {"version": USED}})


@pytest.fixture
def house(tmp_path: Path) -> House:
    settings = HomeSettings(home=tmp_path / "home")
    binding = {"start": "2018-01", "end": "2018-02", "market_start": "2018-01", "market_end": "2018-02"}
    made_house = House(settings, MonthAxes(binding), [model], lambda: None)  # type: ignore[arg-type,return-value]
    rebuild(made_house, made_house.declarations[0], (None,))
    store = ModelStore(settings.models_location)
    for version in (STALE, USED):
        store.write_weights("success", version, {}, {}, {})
    leftover = settings.home / "plots" / ".x.png.1.ab.tmp"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    return made_house


def test_a_home_is_pruned_in_one_call_and_a_dry_run_lists_the_same(house: House, instance: dg.DagsterInstance) -> None:
    old, new = made(instance, whole), made(instance, whole)
    listed = prune([house], instance, older_than_days=30, now=LATER, dry_run=True).to_json()
    assert runs(instance) == {old, new}
    done = prune([house], instance, older_than_days=30, now=LATER).to_json()
    assert done["removed"] == listed["removed"]
    assert done["counts"] == {"model": 1, "run": 1, "temporary": 1}
    assert runs(instance) == {new}
    assert [one.version for one in ModelStore(house.settings.models_location).stored()] == [USED]
    assert not list(house.settings.home.rglob("*.tmp"))
    assert prune([house], instance, older_than_days=30, now=LATER).to_json()["removed"] == []


def test_nothing_young_is_touched(house: House, instance: dg.DagsterInstance) -> None:
    old, new = made(instance, whole), made(instance, whole)
    done = prune([house], instance, older_than_days=30, now=datetime.now(UTC))
    assert done.pruned.removed == ()
    assert runs(instance) == {old, new}


@pytest.mark.parametrize("damage", [b"no parquet", None])
def test_models_are_left_alone_while_the_lake_cannot_say_which_it_names(
    house: House, instance: dg.DagsterInstance, damage: bytes | None
) -> None:
    path = Path(house.lake.path("butterfly/model"))
    path.write_bytes(damage) if damage else path.unlink()
    done = prune([house], instance, older_than_days=30, now=LATER)
    assert len(ModelStore(house.settings.models_location).stored()) == 2
    assert done.pruned.kept["model: the lake is empty or damaged, bring it up to date first"] == 2


def test_less_than_a_day_is_refused(house: House, instance: dg.DagsterInstance) -> None:
    with pytest.raises(ConfigError, match="older than 0 days"):
        prune([house], instance, older_than_days=0, now=LATER)
