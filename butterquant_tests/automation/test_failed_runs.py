"""Which failures are new since a mark, also when the event log was pruned under it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import pytest

from butterquant_assets.automation import failed_runs
from butterquant_assets.automation.failed_runs import Mark, failures_after, successes_after
from butterquant_assets.automation.requests import RANGE_END, RANGE_START, WITHOUT_KEYS_TAG


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setattr(failed_runs, "AT_ONCE", 2)
    with dg.instance_for_test() as made:
        yield made


@dg.job
def nothing() -> None:
    pass


def fail(instance: dg.DagsterInstance, count: int) -> list[str]:
    runs = [instance.create_run_for_job(nothing) for _ in range(count)]
    for run in runs:
        instance.report_run_failed(run)
    return [run.run_id for run in runs]


def tell_all(instance: dg.DagsterInstance, mark: Mark) -> tuple[list[str], Mark]:
    """Failures of call after call, until one has nothing more to tell twice in a row."""
    told: list[str] = []
    quiet = 0
    while quiet < 2:
        found, mark = failures_after(instance, mark)
        told += [run.run_id for run in found]
        quiet = 0 if found else quiet + 1
    return told, mark


def test_what_was_told_stays_told_after_a_prune_that_leaves_more_than_one_page(instance: dg.DagsterInstance) -> None:
    _, start = failures_after(instance, None)
    failed = fail(instance, 7)
    told, mark = tell_all(instance, start)
    assert told == failed
    instance.delete_run(failed[-1])
    told, mark = tell_all(instance, mark)
    assert told == []
    later = fail(instance, 3)
    assert tell_all(instance, mark)[0] == later


def test_of_a_log_made_anew_only_what_came_after_the_mark_is_told(instance: dg.DagsterInstance) -> None:
    _, start = failures_after(instance, None)
    old = fail(instance, 5)
    told, mark = tell_all(instance, start)
    assert told == old
    new = fail(instance, 3)
    # The same times at lower places in the log.
    assert tell_all(instance, replace(mark, storage_id=mark.storage_id + 1000))[0] == new


def test_without_a_time_everything_that_is_left_is_told(instance: dg.DagsterInstance) -> None:
    failed = fail(instance, 3)
    assert tell_all(instance, Mark(10**6))[0] == failed


def test_runs_say_which_months_they_were_about(instance: dg.DagsterInstance) -> None:
    _, start = failures_after(instance, None)
    tags = {RANGE_START: "2024-01", RANGE_END: "2024-06"}
    instance.report_run_failed(instance.create_run_for_job(nothing, tags=tags))
    done = instance.create_run_for_job(nothing, tags={"dagster/partition": "2024-02"})
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "nothing"), done.run_id)
    whole = instance.create_run_for_job(nothing, tags={**tags, WITHOUT_KEYS_TAG: "yes"})
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "nothing"), whole.run_id)
    ((failed,), _) = failures_after(instance, start)
    assert failed.months == ("2024-01", "2024-06")
    months = {run.run_id: run.months for run in successes_after(instance, 0)}
    assert months == {done.run_id: ("2024-02", "2024-02"), whole.run_id: None}
