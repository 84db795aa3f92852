"""Runs whose process is gone: those of the command line are tested with the sensor, those of a code server here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from butterquant_assets.automation.runs import fail_dead_runs

NOBODY = 999_999_999


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def launched(instance: dg.DagsterInstance, *pids: int) -> dg.DagsterRun:
    """A run that was begun by these processes in turn."""

    @dg.job
    def nothing() -> None:
        pass

    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
    for pid in pids:
        message = f"Started process for run (pid: {pid})."
        instance.report_engine_event(message, run, EngineEventData.in_process(pid))
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_run_of_a_code_server_whose_process_died_unseen_is_marked_failed(instance: dg.DagsterInstance) -> None:
    run = launched(instance, NOBODY)
    assert fail_dead_runs(instance) == [run.run_id]
    assert status(instance, run) is dg.DagsterRunStatus.FAILURE
    (told,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert f"its process {NOBODY} died" in str(told.dagster_event)
    assert fail_dead_runs(instance) == []


def test_a_run_whose_process_lives_is_left_alone_also_when_an_earlier_one_died(instance: dg.DagsterInstance) -> None:
    run = launched(instance, NOBODY, os.getpid())
    assert fail_dead_runs(instance) == []
    assert status(instance, run) is dg.DagsterRunStatus.STARTED


def test_a_run_whose_process_id_belongs_to_a_later_process_is_marked_failed(instance: dg.DagsterInstance) -> None:
    run = launched(instance)
    said = instance.report_engine_event(
        f"Started process for run (pid: {os.getpid()}).", launched(instance), EngineEventData.in_process(os.getpid())
    )
    instance.report_dagster_event(said, run.run_id, timestamp=time.time() - 7 * 86400)  # before this process began
    assert fail_dead_runs(instance) == [run.run_id]
    assert status(instance, run) is dg.DagsterRunStatus.FAILURE


def test_a_run_of_which_no_process_is_known_is_left_alone(instance: dg.DagsterInstance) -> None:
    run = launched(instance)
    assert fail_dead_runs(instance) == []
    assert status(instance, run) is dg.DagsterRunStatus.STARTED


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_end(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launched(instance, NOBODY)
    stale = instance.get_run_by_id(run.run_id)
    instance.report_run_failed(run, "its own end")
    monkeypatch.setattr(instance, "get_runs", lambda *_, **__: [stale])
    assert fail_dead_runs(instance) == []
