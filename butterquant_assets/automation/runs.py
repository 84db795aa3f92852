"""Runs whose process has died: found and marked, so that they neither look alive nor hold the sensor back."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher

PID_TAG, HOST_TAG, STARTED_TAG = "butterquant/pid", "butterquant/host", "butterquant/process-started"
LAUNCHED = "Started process for run"  # what a run's own process says first
ROUNDING_SECONDS = 2.0
"""How much later than its first words a process may seem to have begun: clocks are corrected by fractions."""
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
    """Mark unfinished runs of this machine whose process has died as failed; returns their ids.

    The command line's runs say in their tags which process that is. Of the runs that a code server of this machine
    started the event log does; the server itself reports their death as well, but not when it could not reach the
    storage at that moment, and such a run would hold everything back until its longest time is over.
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
        return pid if ours and _started(pid) != run.tags.get(STARTED_TAG) else None
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return None
    # Sensors are evaluated by the code server whose children these processes are, so that the id means the same here.
    for entry in reversed(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)):
        event = entry.dagster_event
        if event is not None and (event.message or "").startswith(LAUNCHED):
            pid = str(event.engine_event_data.metadata["pid"].value)
            began = _began(pid)
            # It was the process itself that said so; one that began later was given the id of a dead one, as happens
            # at once where a container starts again and counts from 1.
            return None if began is not None and began <= entry.timestamp + ROUNDING_SECONDS else pid
    return None


def _started(pid: str) -> str:
    """When a process started, in clock ticks since boot and with the boot's id; empty for a dead one.

    A process id alone is used again after a while, and another process would keep a dead run alive for ever.
    """
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{_ticks(pid)}"
    except OSError:
        return ""


def _began(pid: str) -> float | None:
    """When a process started, in seconds since 1970, to a second; None for a dead one."""
    try:
        ticks = _ticks(pid)
    except OSError:
        return None
    since_boot = ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot


def _ticks(pid: str) -> int:
    """When a process started, in clock ticks since boot."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
