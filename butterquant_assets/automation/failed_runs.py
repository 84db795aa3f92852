"""Runs that failed since a mark, as the plain values alerts are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterEventType

from butterquant_assets.automation.requests import FINGERPRINT_TAG
from butterquant_assets.monitoring.alerts import FailedRun
from butterquant_assets.monitoring.failure_assets import failure_of

AT_ONCE = 50


@dataclass(frozen=True)
class Mark:
    """How far failures were looked at.

    Parameters
    ----------
    storage_id
        of the last one in the event log
    at
        when the latest one happened, in seconds since 1970; None where that was not kept
    """

    storage_id: int
    at: float | None = None


def failures_after(instance: dg.DagsterInstance, mark: Mark | None) -> tuple[list[FailedRun], Mark]:
    """Runs that failed after a mark, oldest first, at most 50, and the mark that says they were looked at.

    Parameters
    ----------
    instance
        of Dagster
    mark
        what an earlier call returned; None for none, which finds nothing and begins at this moment
    """
    newest = instance.fetch_run_status_changes(DagsterEventType.RUN_FAILURE, limit=1).records
    head, latest = (newest[0].storage_id, newest[0].timestamp) if newest else (0, 0.0)
    if mark is None:
        return [], Mark(head, latest)
    after, told = mark.storage_id, float("-inf")
    # The last failure is gone. Either the log was pruned, and what is left of it was told, or the storage was made
    # anew and counts from the beginning: only the time tells what is new.
    if head < after:
        after, told = 0, told if mark.at is None else mark.at
    reached, records = after, list[dg.EventLogRecord]()
    # All that was told is passed over in this call: the mark it returns lies within the log, and the next call goes by
    # that alone.
    while not records and (page := _page(instance, reached)):
        reached = page[-1].storage_id
        records = [record for record in page if record.timestamp > told]
    found = []
    for run_id in dict.fromkeys(record.run_id for record in records):
        run = instance.get_run_by_id(run_id)
        if run is not None:
            message, _ = failure_of(instance, run_id)
            found.append(FailedRun(run_id, run.job_name, run.tags.get(FINGERPRINT_TAG, ""), message))
    return found, Mark(reached, max([*(record.timestamp for record in records), mark.at or 0.0]))


def _page(instance: dg.DagsterInstance, after: int) -> Sequence[dg.EventLogRecord]:
    """The first failures behind a place in the log, at most 50."""
    return instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(event_type=DagsterEventType.RUN_FAILURE, after_storage_id=after),
        limit=AT_ONCE,
        ascending=True,
    ).records
