"""Materialisations that were published and never told to Dagster: found after a run has failed, and told then.

A step publishes one batch of partitions after the other, and its events follow when it is through. A run that dies
between the two, or a step that fails over a later batch, leaves files that the UI knows nothing of; and because nothing
about them is stale, no later run would ever tell. What belongs here: comparing the lake with the event log after a
failure. What does not: finding runs that died (`runs.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from butterquant_assets.foundation.errors import DamagedFileError
from butterquant_assets.foundation.files import locked
from butterquant_assets.foundation.freshness import Key
from butterquant_assets.foundation.lake import Footer, Lake, Look
from butterquant_assets.orchestration.assets import asset_key
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.metadata import partition_metadata
from butterquant_assets.orchestration.rebuild import QUARANTINED, REBUILT, Done

ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
NEWEST = 20
"""Failed runs to look at. More than these do not fail between two looks; what older ones left was told then."""
AT_ONCE = 200
REASON = "published by a run that ended before it could tell"
SEEN_TAG = "butterquant/events-told"


@dataclass(frozen=True)
class _Attempt:
    """The last run that meant to make a partition and has not told since."""

    key: Key
    run_id: str


def report_missing_events(instance: dg.DagsterInstance, house: House, *, most: int | None = None) -> int:
    """Report what a house's failed runs published without telling; returns how many events that were.

    Costs one query where no run has failed since the last look, and one look at each asset where one has. A run that
    was dealt with carries a tag that says so. What a run under way means to make is left to that run.

    Parameters
    ----------
    instance
        whose runs they are
    house
        whose assets
    most
        stop after so many events and leave the others to the next look; by default all
    """
    tag = f"{SEEN_TAG}-{house.name}"
    runs = instance.get_runs(dg.RunsFilter(statuses=ENDED_BADLY), limit=NEWEST)
    # One that is executed again from the UI copies the tags of the first, so that the id must be its own.
    failed = [run for run in runs if run.tags.get(tag) != run.run_id]
    if not failed:
        return 0
    told = 0
    with locked(house.settings.home / "locks" / f"events.{house.name}"):
        concerned = _concerned(house, failed)
        seen = house.lake.look(concerned)  # an object store is listed once, instead of being asked for file by file
        for name in concerned:
            for event in _missing(instance, house, name, seen):
                if told == most:
                    return told
                instance.report_runless_asset_event(event)
                told += 1
    for run in failed:
        instance.add_run_tags(run.run_id, {tag: run.run_id})
    return told


def _concerned(house: House, failed: Sequence[dg.DagsterRun]) -> list[str]:
    """Assets that the runs were about; a run that does not say is about all."""
    names = [name for declaration in house.declarations for name in declaration.names]
    if any(run.asset_selection is None for run in failed):
        return names
    selected = {key.to_user_string() for run in failed for key in run.asset_selection or ()}
    return [name for name in names if name in selected]


def _missing(
    instance: dg.DagsterInstance, house: House, name: str, seen: Lake | Look
) -> Iterator[dg.AssetMaterialization]:
    """What the event log does not say about an asset."""
    untold = _untold(instance, house, name)
    for start in range(0, len(untold), AT_ONCE):
        attempts = untold[start : start + AT_ONCE]
        told = _told(instance, name, [attempt.key for attempt in attempts])
        for attempt in attempts:
            done = _held(seen, name, attempt.key, told.get(attempt.key))
            if done is None:
                continue
            metadata = partition_metadata(attempt.key, done, house.settings.reports_url)
            yield dg.AssetMaterialization(
                asset_key(name),
                partition=attempt.key,
                metadata=metadata | {"run": dg.MetadataValue.dagster_run(attempt.run_id)},
            )


def _untold(instance: dg.DagsterInstance, house: House, name: str) -> list[_Attempt]:
    """Partitions that a run meant to make, and of which nothing was told since, where that run has ended."""
    storage, key = instance.event_log_storage, asset_key(name)
    if house.declaration(name).axis is None:
        planned = storage.get_latest_planned_materialization_info(key)
        last = instance.fetch_materializations(key, limit=1).records
        untold = planned is not None and (not last or last[0].storage_id < planned.storage_id)
        attempts = [_Attempt(None, planned.run_id)] if planned is not None and untold else []
    else:
        found = storage.get_latest_asset_partition_materialization_attempts_without_materializations(key)
        attempts = [_Attempt(partition, run_id) for partition, (run_id, _) in sorted(found.items())]
    runs = {run_id: instance.get_run_by_id(run_id) for run_id in {attempt.run_id for attempt in attempts}}
    under_way = {run_id for run_id, run in runs.items() if run is not None and not run.is_finished}
    return [attempt for attempt in attempts if attempt.run_id not in under_way]


def _told(instance: dg.DagsterInstance, name: str, keys: Sequence[Key]) -> dict[Key, tuple[str, str]]:
    """What was last told of each partition: the action, and the content."""
    key = asset_key(name)
    if list(keys) == [None]:
        records = instance.fetch_materializations(key, limit=1).records
    else:
        latest = instance.event_log_storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION, {str(partition) for partition in keys}
        )
        wanted = dg.AssetRecordsFilter(key, storage_ids=list(latest.values()))
        records = instance.fetch_materializations(wanted, limit=len(latest)).records if latest else []
    return {record.partition_key: _said(record.asset_materialization) for record in records}


def _said(event: dg.AssetMaterialization | None) -> tuple[str, str]:
    metadata: Mapping[str, dg.MetadataValue] = event.metadata if event else {}
    action, content = (str(metadata[name].value) if name in metadata else "" for name in ("action", "content"))
    return action, content


def _held(seen: Lake | Look, name: str, key: Key, told: tuple[str, str] | None) -> Done | None:
    """What lies in the lake, where that is not what was told."""
    published, apart = (_footer(seen, name, key, quarantine=quarantine) for quarantine in (False, True))
    action, content = told or ("", "")
    if apart is not None:
        # A later look at a quarantined partition names the file that stayed published.
        known = {footer.content for footer in (published, apart) if footer}
        if action == QUARANTINED and content in known:
            return None
        return Done(QUARANTINED, (REASON, *apart.verdict.reasons()), apart)
    if published is None or published.content == content:
        return None
    return Done(REBUILT, (REASON,), published)


def _footer(seen: Lake | Look, name: str, key: Key, *, quarantine: bool) -> Footer | None:
    try:
        return seen.footer(name, key, quarantine=quarantine)
    except DamagedFileError:
        return None  # a damaged file is made again, and told then
