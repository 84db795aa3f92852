"""Which process executes a run: said by that process in the run's event log, in words that no clock can change.

What belongs here: telling one process from every other, and saying which one is at a run. What does not: what becomes
of a run whose process is gone (`automation.runs`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.events import EngineEventData

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan

_PID, _STARTED = "pid", "process started"


@dataclass(frozen=True)
class Process:
    """A process of this machine.

    Parameters
    ----------
    pid
        its id
    started
        see `started_at`
    """

    pid: str
    started: str

    def lives(self) -> bool:
        """Whether it is this very process that has the id now; where a system tells neither, it is taken to live."""
        return started_at(self.pid) == self.started


def this_process() -> Process:
    """The one that asks."""
    pid = str(os.getpid())
    return Process(pid, started_at(pid))


def started_at(pid: str) -> str:
    """When a process started, in clock ticks since boot and with the boot's id; empty for a dead one.

    A process id alone is used again after a while, and another process would keep a dead run alive for ever.
    """
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{ticks_of(pid)}"
    except OSError:
        return ""


def ticks_of(pid: str) -> int:
    """When a process started, in clock ticks since boot.

    Raises
    ------
    OSError
        for a dead one.
    """
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def said_by(event: dg.DagsterEvent) -> Process | None:
    """The process that says in this event that it executes the run; None for any other event."""
    data = event.event_specific_data
    if not isinstance(data, EngineEventData) or _STARTED not in data.metadata:
        return None
    return Process(*(str(data.metadata[name].value) for name in (_PID, _STARTED)))


def say(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Write into a run's event log that it is this process that executes it.

    An event and no tag: to add a tag Dagster writes the whole run again, and a change of its status in between is lost.
    """
    process = this_process()
    metadata = {_PID: process.pid, _STARTED: process.started}
    instance.report_engine_event(
        f"Executing the run in process {process.pid}.",
        run,
        EngineEventData({name: dg.MetadataValue.text(value) for name, value in metadata.items()}),
    )


def saying(executor: dg.Executor) -> dg.Executor:
    """The same executor, before whose first step the process says that it is the one at the run.

    The very same object: Dagster's loop for Celery asks the executor of a run for more than what every executor has.
    """
    execute = executor.execute

    def say_and_execute(
        plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        say(plan_context.instance, plan_context.dagster_run)
        return execute(plan_context, execution_plan)

    executor.execute = say_and_execute  # type: ignore[method-assign]
    return executor
