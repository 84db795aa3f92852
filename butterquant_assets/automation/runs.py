"""Runs whose process has died: found and marked, so that they neither look alive nor hold the sensor back."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg

PID_TAG, HOST_TAG, STARTED_TAG = "butterquant/pid", "butterquant/host", "butterquant/process-started"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def process_tags() -> dict[str, str]:
    """Tags that tell which process executes a run."""
    pid = str(os.getpid())
    return {PID_TAG: pid, HOST_TAG: socket.gethostname(), STARTED_TAG: _started(pid)}


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark unfinished runs of this machine's command line whose process has died as failed; returns their ids."""
    dead = []
    for run in instance.get_runs(dg.RunsFilter(tags={HOST_TAG: socket.gethostname()}, statuses=UNFINISHED)):
        pid = run.tags.get(PID_TAG, "")
        if run.parent_run_id:
            continue  # re-executed from the UI, which copies the tags of the first run
        if _started(pid) != run.tags.get(STARTED_TAG):
            # A slot of a pool that the dead run held would make the next run wait for ever.
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            instance.report_run_failed(run, f"its process {pid} died; the next `butterquant run` takes it up")
            dead.append(run.run_id)
    return dead


def _started(pid: str) -> str:
    """When a process started, in clock ticks since boot and with the boot's id; empty for a dead one.

    A process id alone is used again after a while, and another process would keep a dead run alive for ever.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{fields[19]}"
    except OSError:
        return ""
