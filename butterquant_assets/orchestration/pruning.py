"""Pruning a home: Dagster's old runs and events, and what `foundation.retention` finds in lake and model store.

What belongs here: which runs of Dagster may go, and the order of things. What does not: when it is done (schedules, the
command line), and which files may go (`retention`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster import DagsterInstance
from dagster._core.storage.event_log import SqliteEventLogStorage

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.retention import (
    Pruned,
    Removal,
    Report,
    prune_lake,
    prune_models,
    prune_temporaries,
    referenced_versions,
)
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_assets.orchestration.assets import build_checks
from butterquant_assets.orchestration.house import House, joint_freshness
from butterquant_assets.orchestration.rebuild import writing

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
PAGE = 200


def prune(
    houses: Sequence[House],
    instance: DagsterInstance,
    *,
    older_than_days: int,
    now: datetime,
    dry_run: bool = False,
    sparing: Sequence[str] = (),
) -> Report:
    """Remove what is older than a number of days and has outlived its use.

    Parameters
    ----------
    houses, instance
        all houses of the home, and its Dagster instance
    older_than_days
        1 or more
    now
        the time (UTC)
    dry_run
        list, and remove nothing
    sparing
        runs to keep whatever their age, for instance the one that prunes

    Raises
    ------
    ConfigError
        for less than one day: a writer could still be at a file.
    ButterQuantError
        if the lake, the warehouse or a pointer file cannot be read. Nothing that hangs on it was removed then.
    """
    if older_than_days < 1:
        raise ConfigError(
            f"older than {older_than_days} days was asked for; 1 is the least, or work under way would go"
        )
    before = now.astimezone(UTC) - timedelta(days=older_than_days)
    home, lake = houses[0].settings.home, houses[0].lake
    checks = [key for house in houses for definition in build_checks(house) for key in definition.check_keys]
    found = prune_runs(instance, before=before, checks=checks, dry_run=dry_run, sparing=sparing)
    freshness = joint_freshness(houses)  # a house that grows learns by looking what it covers
    covered = {house.axes.unit: house.keys(house.axes.widest) for house in houses}
    spans = {unit: (keys[0], keys[-1]) for unit, keys in covered.items() if keys}
    found += prune_lake(lake, freshness, spans, before=before, dry_run=dry_run)
    found += prune_temporaries((home / "models", home / "plots"), before=before, dry_run=dry_run)
    found += _prune_models(houses, before, dry_run)
    return Report(older_than_days, dry_run, found)


def _prune_models(houses: Sequence[House], before: datetime, dry_run: bool) -> Pruned:
    """Unreferenced model versions, while no asset that makes models is being rebuilt on this machine."""
    settings = houses[0].settings
    store = ModelStore(settings.models_location)
    with ExitStack() as held:
        if not dry_run:
            # Models are made by assets without partitions; the others only refer to what these have published.
            for house in houses:
                for declaration in house.declarations:
                    if declaration.axis is None:
                        held.enter_context(writing(house, declaration, (None,)))
        freshness = joint_freshness(houses)
        entries = [entry for each in freshness.snapshot.held.values() for entry in each.values()]
        if any(entry.damage for entry in entries) or not any(entry.footer for entry in entries):
            # A file that cannot be read may be the one that names a version.
            return Pruned(kept={"model: the lake is empty or damaged, bring it up to date first": len(store.stored())})
        warehouse = held.enter_context(Warehouse(settings.warehouse_location))
        warehouse.migrate()
        return prune_models(
            store, lambda: referenced_versions(warehouse, store, freshness), before=before, dry_run=dry_run
        )


def prune_runs(
    instance: DagsterInstance,
    *,
    before: datetime,
    checks: Sequence[dg.AssetCheckKey] = (),
    dry_run: bool = False,
    sparing: Sequence[str] = (),
) -> Pruned:
    """Remove old finished runs with their events, except those that the UI's newest facts come from.

    Parameters
    ----------
    instance
        Dagster's
    before
        only runs that last changed before this time (UTC)
    checks
        asset checks whose latest result is to stay visible
    dry_run
        list, and remove nothing
    sparing
        runs to keep whatever their age

    Notes
    -----
    Kept: a run with the latest materialization of an asset, or of any of its partitions, or the latest result of a
    check. Runs that have not finished are never looked at.
    """
    needed = _newest_facts(instance, checks)
    removed, kept = [], 0
    for run_id in list(_finished(instance, before)):
        if run_id in needed:
            kept += 1
        elif run_id not in sparing:
            why = f"finished before {before:%Y-%m-%d}, and whatever it made was made again since"
            removed.append(Removal("run", run_id, why))
            if not dry_run:
                _delete(instance, run_id)
    return Pruned(
        tuple(removed), {"run: has the latest materialization or check result of something": kept} if kept else {}
    )


def _finished(instance: DagsterInstance, before: datetime) -> Iterator[str]:
    cursor = None
    filters = dg.RunsFilter(statuses=FINISHED, updated_before=before)
    while records := instance.get_run_records(filters=filters, cursor=cursor, limit=PAGE):
        yield from (record.dagster_run.run_id for record in records)
        cursor = records[-1].dagster_run.run_id


def _newest_facts(instance: DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> set[str]:
    """Runs whose events are the latest of an asset, a partition or a check."""
    storage, kind = instance.event_log_storage, dg.DagsterEventType.ASSET_MATERIALIZATION
    needed: set[str] = set()
    for key in instance.all_asset_keys():
        latest = instance.get_latest_materialization_event(key)
        if latest is not None:
            needed.add(latest.run_id)
        ids = sorted(storage.get_latest_storage_id_by_partition(key, kind).values())
        for start in range(0, len(ids), PAGE):
            chunk = ids[start : start + PAGE]
            filters = dg.AssetRecordsFilter(asset_key=key, storage_ids=chunk)
            needed |= {record.run_id for record in storage.fetch_materializations(filters, limit=len(chunk)).records}
    for start in range(0, len(checks), PAGE):
        found = storage.get_latest_asset_check_execution_by_key(checks[start : start + PAGE])
        needed |= {execution.run_id for execution in found.values()}
    return needed


def _delete(instance: DagsterInstance, run_id: str) -> None:
    # Events first: a process killed in between leaves a run without events, which the next pruning takes. The other
    # way round its events would belong to no run, and nobody would find them again.
    storage = instance.event_log_storage
    storage.delete_events(run_id)
    if isinstance(storage, SqliteEventLogStorage):
        # A database of its own, which the line above emptied but did not shrink.
        shard = Path(storage.path_for_shard(run_id))
        for path in (shard, *(shard.with_name(f"{shard.name}-{ending}") for ending in ("wal", "shm", "journal"))):
            path.unlink(missing_ok=True)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.run_storage.delete_run(run_id)
