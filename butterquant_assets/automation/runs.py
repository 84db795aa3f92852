"""Runs whose process has died: found and marked, so that they neither look alive nor hold the sensor back."""

from __future__ import annotations

import os
import socket
import time

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher

from butterquant_assets.orchestration.processes import said_by, started_at, this_process, ticks_of

PID_TAG, HOST_TAG, STARTED_TAG = "butterquant/pid", "butterquant/host", "butterquant/process-started"
LAUNCHED = "Started process for run"  # what a run's own process says first
CLOCK_STEP_SECONDS = 86_400.0
"""How far a clock may be set forward while a run starts: until it executes only the time tells its process."""
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def process_tags() -> dict[str, str]:
    """Tags that tell which process executes a run."""
    process = this_process()
    return {PID_TAG: process.pid, HOST_TAG: socket.gethostname(), STARTED_TAG: process.started}


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark unfinished runs of this machine whose process has died as failed; returns their ids.

    The command line's runs say in their tags which process that is, those that a code server of this machine started in
    their event log (`orchestration.processes`). The server itself reports their death as well, but not when it could
    not reach the storage at that moment, and such a run would hold everything back until its longest time is over.
    """
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        pid = _dead_process_of(instance, run)
        # It may have come to its end between the two looks.
        if pid is None or (now := instance.get_run_by_id(run.run_id)) is None or now.is_finished:
            continue
        # A slot of a pool that the dead run held would make the next run wait for ever.
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        instance.report_run_failed(run, f"its process {pid} died; the next run takes it up")
        dead.append(run.run_id)
    return dead


def _dead_process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """The process that executed a run and is gone; None where it lives or cannot be known."""
    if HOST_TAG in run.tags:
        # One that was re-executed from the UI copies the tags of the first run.
        ours = run.tags[HOST_TAG] == socket.gethostname() and not run.parent_run_id
        pid = run.tags.get(PID_TAG, "")
        return pid if ours and started_at(pid) != run.tags.get(STARTED_TAG) else None
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return None
    # Sensors are evaluated by the code server whose children these processes are, so that the id means the same here.
    for entry in reversed(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)):
        event = entry.dagster_event
        if event is None:
            continue
        if (process := said_by(event)) is not None:
            return None if process.lives() else process.pid
        if (event.message or "").startswith(LAUNCHED):
            pid = str(event.engine_event_data.metadata["pid"].value)
            began = _began(pid)
            # It does not execute yet. A dead one whose id was given away since is left to the daemon's start timeout.
            return None if began is not None and began <= entry.timestamp + CLOCK_STEP_SECONDS else pid
    return None


def _began(pid: str) -> float | None:
    """When a process started, in seconds since 1970, to a second; None for a dead one."""
    try:
        ticks = ticks_of(pid)
    except OSError:
        return None
    since_boot = ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot
