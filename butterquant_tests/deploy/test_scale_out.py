"""A month range over two Celery workers, Redis and PostgreSQL; one of the workers is killed in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from butterquant_tests import homes
from butterquant_tests.conftest import unavailable
from butterquant_tests.deploy import fleet
from butterquant_tests.shared_data import ROOT

FIRST = 'group:market or key:"butterfly/vix_samples"'
BY_MONTH = 'key:"butterfly/analyses" or key:"butterfly/features" or key:"butterfly/roi_labels"'
HEAVY = "analyses"
pytestmark = pytest.mark.slow


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    if shutil.which("redis-server") is None:
        unavailable("Redis", "there is no redis-server on PATH")
    with fleet.redis_server(tmp_path) as url:
        yield url


def cli(*arguments: str, variables: dict[str, str]) -> str:
    command = [sys.executable, "-m", "butterquant_assets.cli", *arguments]
    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
    return done.stdout


def starts(instance: dg.DagsterInstance, identity: str) -> Counter[tuple[str, str]]:
    """How often each step of each run of a backfill was begun, by run and step."""
    counted: Counter[tuple[str, str]] = Counter()
    for run in instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": identity})):
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START):
            counted[run.run_id, str(entry.step_key)] += 1
    return counted


def months_of(run: dg.DagsterRun) -> tuple[str, str]:
    return run.tags["dagster/asset_partition_range_start"], run.tags["dagster/asset_partition_range_end"]


def test_a_range_of_months_over_two_workers_of_which_one_dies_equals_one_process(
    tmp_path: Path, new_postgres_url: str, broker: str
) -> None:
    homes.write_vendor_files(tmp_path / "data")
    home, dagster_home = tmp_path / "home", tmp_path / "dagster"
    fleet.prepare_instance(dagster_home)
    span = {"BUTTERQUANT_SOURCE": "files", "BUTTERQUANT_DATA_DIR": str(tmp_path / "data")}
    span |= {"BUTTERQUANT_START": homes.START, "BUTTERQUANT_END": homes.END, "BUTTERQUANT_MONTHS_PER_RUN": "3"}
    variables = fleet.environment(home, dagster_home, new_postgres_url, broker, **span)
    cli("run", "--select", FIRST, variables=variables)
    workers = {name: fleet.start_worker(name, variables, tmp_path) for name in ("one", "two")}
    try:
        asked = json.loads(
            cli(
                *("backfill", "--json", "--start", homes.START, "--end", homes.END, "--select", BY_MONTH),
                variables=variables,
            )
        )
        with fleet.daemon_by_hand(dagster_home, variables) as one_round, dg.DagsterInstance.get() as instance:
            killed = drive(instance, asked["backfill"], one_round, workers)
            begun = starts(instance, asked["backfill"])
            runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": asked["backfill"]}))
    finally:
        for worker in workers.values():
            if worker.poll() is None:
                fleet.stop(worker)
    assert killed is not None
    assert {step for step, times in begun.items() if times > 1} == {killed}
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    assert sorted(map(months_of, runs)) == [("2016-03", "2016-05"), ("2016-06", "2016-08")]
    alone = tmp_path / "alone"
    homes.butterquant(
        *("run", "--source", "files", "--data", str(tmp_path / "data"), "--select", f"{FIRST} or {BY_MONTH}"),
        *("--start", homes.START, "--end", homes.END),
        home=alone,
    )
    assert homes.tree(home) == homes.tree(alone)


def drive(
    instance: dg.DagsterInstance,
    identity: str,
    one_round: Callable[[], None],
    workers: dict[str, subprocess.Popen[bytes]],
) -> tuple[str, str] | None:
    """Rounds of the daemon until the backfill is done; kills the worker that is at the first heavy step."""
    killed: tuple[str, str] | None = None

    def finished() -> bool:
        nonlocal killed
        one_round()
        if killed is None:
            killed = kill_who_is_at_it(instance, identity, workers)
        backfill = instance.get_backfill(identity)
        assert backfill is not None
        assert backfill.status not in (BulkActionStatus.FAILED, BulkActionStatus.COMPLETED_FAILED), backfill.error
        return backfill.status is BulkActionStatus.COMPLETED_SUCCESS

    fleet.wait_until(finished, 400, "the backfill is not done")
    return killed


def kill_who_is_at_it(
    instance: dg.DagsterInstance, identity: str, workers: dict[str, subprocess.Popen[bytes]]
) -> tuple[str, str] | None:
    for run in instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": identity})):
        entries = instance.all_logs(run.run_id)
        for entry in entries:
            event = entry.dagster_event
            if event is None or entry.step_key != HEAVY or event.event_type is not dg.DagsterEventType.STEP_START:
                continue
            if any(e.step_key == HEAVY and e.dagster_event and e.dagster_event.is_step_success for e in entries):
                continue
            for worker in workers.values():
                if holds(worker.pid, int(event.pid or 0)):
                    fleet.stop(worker, signal.SIGKILL)
                    return run.run_id, HEAVY
    return None


def holds(group: int, pid: int) -> bool:
    """Whether a process belongs to a worker's process group."""
    try:
        return pid > 0 and os.getpgid(pid) == group
    except ProcessLookupError:
        return False
