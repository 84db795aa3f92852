"""Whose process a run is: told by the process itself, so that neither a clock nor a reused id kills or keeps a run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from butterquant_assets.automation import runs
from butterquant_assets.automation.runs import fail_dead_runs
from butterquant_assets.orchestration import processes
from butterquant_assets.orchestration.executors import ExecutorName, executor_of
from butterquant_assets.orchestration.processes import Process, said_by, say, this_process

DAY = 86_400.0


@dg.asset
def one() -> int:
    return 1


def _job(executor: ExecutorName) -> dg.JobDefinition:
    definitions = dg.Definitions([one], jobs=[dg.define_asset_job("all")], executor=executor_of(executor))
    return definitions.resolve_job_def("all")


def in_process() -> dg.JobDefinition:
    return _job("in_process")


def multiprocess() -> dg.JobDefinition:
    return _job("multiprocess")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def begun(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run that this process was started for."""
    run = instance.create_run_for_job(in_process(), status=dg.DagsterRunStatus.STARTED)
    message = f"Started process for run (pid: {os.getpid()})."
    instance.report_engine_event(message, run, EngineEventData.in_process(os.getpid()))
    return run


@pytest.mark.parametrize("job", [in_process, multiprocess])
def test_the_process_of_every_run_says_that_it_is_the_one(instance: dg.DagsterInstance, job: object) -> None:
    with dg.execute_job(dg.reconstructable(job), instance) as result:
        assert result.success
    said = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    found = [said_by(entry.dagster_event) for entry in said if entry.dagster_event]
    assert [process for process in found if process] == [this_process()]


@pytest.mark.parametrize("step", [10.0, 3600.0, 7 * DAY, -3600.0])
def test_a_clock_that_is_set_kills_no_living_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    say(instance, begun(instance))
    now = time.time
    monkeypatch.setattr(runs.time, "time", lambda: now() + step)
    assert fail_dead_runs(instance) == []


@pytest.mark.parametrize("step", [10.0, 3600.0])
def test_nor_one_that_does_not_execute_yet(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    begun(instance)
    now = time.time
    monkeypatch.setattr(runs.time, "time", lambda: now() + step)
    assert fail_dead_runs(instance) == []


def test_a_run_whose_process_left_its_id_to_another_is_marked_failed_at_once(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(instance)
    boot, _, ticks = this_process().started.partition("/")
    earlier = Process(str(os.getpid()), f"{boot}/{int(ticks) - 1}")
    with monkeypatch.context() as patched:
        patched.setattr(processes, "this_process", lambda: earlier)
        say(instance, run)
    assert fail_dead_runs(instance) == [run.run_id]


def test_a_run_that_was_taken_up_by_another_process_lives_with_that_one(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(instance)
    with monkeypatch.context() as patched:
        patched.setattr(processes, "this_process", lambda: Process("999999999", "gone/1"))
        say(instance, run)
    say(instance, run)
    assert fail_dead_runs(instance) == []
