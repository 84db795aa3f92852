"""A month range over two Celery workers, Redis and PostgreSQL; a worker dies, or the broker is cut off."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from butterquant_assets.monitoring.failure_assets import failure_of
from butterquant_tests import forks, homes
from butterquant_tests.conftest import unavailable
from butterquant_tests.deploy import fleet
from butterquant_tests.faults import quiet
from butterquant_tests.faults.services import CuttableProxy
from butterquant_tests.shared_data import ROOT

BY_MONTH = ("butterfly/analyses", "butterfly/features")
FIRST = {f"market/{name}" for name in ("equity_bars", "index_bars", "vix", "implied_vols", "published_vols")}
FIRST |= {"market/option_chains", "butterfly/vix_samples"}
HEAVY = "analyses"
START, END = "2016-07", "2016-08"
OUTAGE_SECONDS = 30.0
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Fleet:
    """A home whose inputs are there, its instance on PostgreSQL, and a broker behind a proxy."""

    home: Path
    dagster_home: Path
    variables: dict[str, str]
    broker: CuttableProxy

    def ask(self) -> str:
        """Ask for the months; returns the id of the backfill."""
        select = " or ".join(f'key:"{name}"' for name in BY_MONTH)
        asked = cli(
            *("backfill", "--json", "--start", START, "--end", END, "--select", select), variables=self.variables
        )
        return str(json.loads(asked)["backfill"])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prices, a home in which everything is made, and one in which only the inputs are."""
    folder = tmp_path_factory.mktemp("inputs")
    homes.write_vendor_files(folder / "data", tickers=4)
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith(("BUTTERQUANT_", "DAGSTER_"))]:
            patched.delenv(name)
        for name, value in homes.SETTINGS.items():
            patched.setenv(name, value)
        quiet.make(folder / "home", FIRST, data=folder / "data", start=START, end=END)
        shutil.copytree(folder / "home", folder / "alone")
        quiet.make(folder / "alone", BY_MONTH)
    return folder


@pytest.fixture
def site(tmp_path: Path, inputs: Path, new_postgres_url: str) -> Iterator[Fleet]:
    if shutil.which("redis-server") is None:
        unavailable("Redis", "there is no redis-server on PATH")
    home, dagster_home = tmp_path / "home", tmp_path / "dagster"
    shutil.copytree(inputs / "home", home)
    fleet.prepare_instance(dagster_home)
    with fleet.redis_server(tmp_path) as url:
        proxy = CuttableProxy("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        broker = f"redis://127.0.0.1:{proxy.port}/0"
        variables = fleet.environment(home, dagster_home, new_postgres_url, broker, BUTTERQUANT_MONTHS_PER_RUN="1")
        yield Fleet(home, dagster_home, variables, proxy)
        proxy.cut()


@pytest.fixture
def workers(tmp_path: Path, site: Fleet) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    started = {name: fleet.start_worker(name, site.variables, tmp_path) for name in ("one", "two")}
    yield started
    for worker in started.values():
        if worker.poll() is None:
            fleet.stop(worker)


def cli(*arguments: str, variables: dict[str, str]) -> str:
    done = forks.butterquant(arguments, folder=ROOT, environment=variables)
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
    inputs: Path, site: Fleet, workers: dict[str, subprocess.Popen[bytes]]
) -> None:
    asked = site.ask()
    with fleet.daemon_by_hand(site.dagster_home, site.variables) as one_round, dg.DagsterInstance.get() as instance:
        killed = drive(instance, asked, one_round, lambda: kill_who_is_at_it(instance, asked, workers))
        begun = starts(instance, asked)
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": asked}))
    assert killed is not None
    assert {step for step, times in begun.items() if times > 1} == {killed}
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    assert sorted(map(months_of, runs)) == [(START, START), (END, END)]
    assert homes.tree(site.home) == homes.tree(inputs / "alone")


def test_a_broker_that_is_cut_off_while_steps_run_costs_a_run_at_most_and_no_result(
    inputs: Path, site: Fleet, workers: dict[str, subprocess.Popen[bytes]]
) -> None:
    asked = site.ask()
    with fleet.daemon_by_hand(site.dagster_home, site.variables) as one_round, dg.DagsterInstance.get() as instance:

        def cut() -> bool | None:
            if not any(step == HEAVY for _, step in starts(instance, asked)):
                return None
            site.broker.cut()
            time.sleep(OUTAGE_SECONDS)  # the fault itself
            site.broker.mend()
            return True

        assert drive(instance, asked, one_round, cut, may_fail=True)
        for run in instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": asked})):
            message, _ = failure_of(instance, run.run_id)
            assert run.is_success or re.search("redis|connect", message, re.IGNORECASE), message
        # The workers have found the broker again by themselves, and what was finished is not done again.
        done = homes.tree(site.home)
        drive(instance, site.ask(), one_round, lambda: True)
    assert homes.tree(site.home) == homes.tree(inputs / "alone")
    assert done.items() <= homes.tree(site.home).items()


def drive(
    instance: dg.DagsterInstance,
    identity: str,
    one_round: Callable[[], None],
    disturb: Callable[[], Any],
    *,
    may_fail: bool = False,
) -> Any:
    """Rounds of the daemon until the backfill is done; disturbs it until that has had an effect, which is returned."""
    failed = (BulkActionStatus.FAILING, BulkActionStatus.FAILED, BulkActionStatus.COMPLETED_FAILED)
    effect: Any = None

    def finished() -> bool:
        nonlocal effect
        one_round()
        if effect is None:
            effect = disturb()
        backfill = instance.get_backfill(identity)
        assert backfill is not None
        assert may_fail or backfill.status not in failed, backfill.error
        return backfill.status in (BulkActionStatus.COMPLETED_SUCCESS, *failed)

    fleet.wait_until(finished, 400, "the backfill is not done")
    return effect


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
