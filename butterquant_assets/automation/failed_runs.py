"""Runs that failed since a mark, as the plain values alerts are made of."""

from __future__ import annotations

import dagster as dg
from dagster import DagsterEventType

from butterquant_assets.automation.requests import FINGERPRINT_TAG
from butterquant_assets.monitoring.alerts import FailedRun
from butterquant_assets.monitoring.failure_assets import failure_of

AT_ONCE = 50


def failures_after(instance: dg.DagsterInstance, mark: int | None) -> tuple[list[FailedRun], int]:
    """Runs that failed after a mark, oldest first, at most 50, and the mark that says they were looked at.

    Parameters
    ----------
    instance
        of Dagster
    mark
        what an earlier call returned; None for none, which finds nothing and begins at this moment
    """
    newest = instance.fetch_run_status_changes(DagsterEventType.RUN_FAILURE, limit=1).records
    head = newest[0].storage_id if newest else 0
    if mark is None:
        return [], head
    if head < mark:
        mark = 0  # the storage was made anew and counts from the beginning
    records = instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(event_type=DagsterEventType.RUN_FAILURE, after_storage_id=mark),
        limit=AT_ONCE,
        ascending=True,
    ).records
    found = []
    for run_id in dict.fromkeys(record.run_id for record in records):
        run = instance.get_run_by_id(run_id)
        if run is not None:
            message, _ = failure_of(instance, run_id)
            found.append(FailedRun(run_id, run.job_name, run.tags.get(FINGERPRINT_TAG, ""), message))
    return found, records[-1].storage_id if records else mark
