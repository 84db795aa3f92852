"""Runs that failed or succeeded, as the plain values that alerts and retries are made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterEventType

from butterquant_assets.automation.requests import FINGERPRINT_TAG, WITHOUT_KEYS_TAG
from butterquant_assets.monitoring.failure_assets import failure_of, months_of, planned_steps
from butterquant_assets.monitoring.run_failures import FailedRun, SucceededRun, failure_identity

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
    for run_id, place in {record.run_id: record.storage_id for record in records}.items():
        run = instance.get_run_by_id(run_id)
        if run is not None:
            message, steps = failure_of(instance, run_id)
            months = _months(run)
            found.append(FailedRun(run_id, run.job_name, message, tuple(sorted(steps)), place, months))
    return found, Mark(reached, max([*(record.timestamp for record in records), mark.at or 0.0]))


def successes_after(instance: dg.DagsterInstance, place: int) -> list[SucceededRun]:
    """The newest runs that succeeded after a place in the event log, oldest first, at most 50."""
    asked = dg.RunStatusChangeRecordsFilter(event_type=DagsterEventType.RUN_SUCCESS, after_storage_id=place)
    found = []
    for record in reversed(instance.fetch_run_status_changes(asked, limit=AT_ONCE).records):
        run = instance.get_run_by_id(record.run_id)
        if run is not None:
            steps, months = planned_steps(instance, run), _months(run)
            found.append(SucceededRun(run.run_id, run.job_name, steps, record.storage_id, months))
    return found


def newest_outcome(instance: dg.DagsterInstance, job: str, asked: Collection[str]) -> tuple[str, str | None] | None:
    """The newest finished run of a job that carries one of these fingerprints; None where there is none.

    Returns
    -------
    its id, and the identity of its failure (`run_failures.failure_identity`) or None for a success
    """
    if not asked:
        return None
    statuses = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    wanted = dg.RunsFilter(job_name=job, statuses=statuses, tags={FINGERPRINT_TAG: list(asked)})
    for run in instance.get_runs(wanted, limit=1):
        if run.is_success:
            return run.run_id, None
        message, steps = failure_of(instance, run.run_id)
        return run.run_id, failure_identity(job, steps, message)
    return None


def _page(instance: dg.DagsterInstance, after: int) -> Sequence[dg.EventLogRecord]:
    """The first failures behind a place in the log, at most 50."""
    return instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(event_type=DagsterEventType.RUN_FAILURE, after_storage_id=after),
        limit=AT_ONCE,
        ascending=True,
    ).records


def _months(run: dg.DagsterRun) -> tuple[str, str] | None:
    return None if WITHOUT_KEYS_TAG in run.tags else months_of(run.tags)
