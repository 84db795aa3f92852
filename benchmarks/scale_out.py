"""Month ranges over Celery workers: ``python -m benchmarks.scale_out [--postgres URL] [--workers 1 2]``.

Not among the `bench_*` modules that ``make bench`` runs: it needs a PostgreSQL server and redis-server, and takes
minutes. It makes a database of its own on that server, and drops it. The work is analyses, features and labels of
twelve months on the embedded market, from an empty state for each number of workers; then the same once more with
nothing stale, which is what the machinery alone costs. The lake must come out the same each time.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.execution.backfill import BulkActionStatus

from benchmarks.harness import Result, compare, table, write_json
from benchmarks.run import REPORT
from butterquant_tests.conftest import _database
from butterquant_tests.deploy import fleet

START, END = "2015-09", "2016-08"
FIRST = 'group:market or key:"butterfly/vix_samples"'
BY_MONTH = 'key:"butterfly/analyses" or key:"butterfly/features" or key:"butterfly/roi_labels"'
MADE = ("analyses", "analysis_rejects", "features", "roi_labels")
SPEED_UP, OVERHEAD_SECONDS = 1.3, 10.0
SCALE_REPORT = REPORT.with_name("scale_out.json")


@dataclass(frozen=True)
class Timed:
    """One backfill: seconds from the request to the end, steps, rows of analyses."""

    seconds: float
    steps: int
    rows: int


def measure(server: str, workers: Sequence[int], months_per_run: int) -> list[Result]:
    """Rows per second for each number of workers against the first, and seconds a step with nothing to do."""
    full: dict[int, Timed] = {}
    idle: list[Timed] = []
    trees: list[dict[str, bytes]] = []
    with tempfile.TemporaryDirectory() as name, fleet.redis_server(Path(name)) as broker:
        folder = Path(name)
        span = {"BUTTERQUANT_START": START, "BUTTERQUANT_END": END, "BUTTERQUANT_MONTHS_PER_RUN": str(months_per_run)}
        for count in workers:
            with _database(server) as postgres:
                dagster_home = folder / f"dagster_{count}"
                fleet.prepare_instance(dagster_home)
                variables = fleet.environment(folder / "home", dagster_home, postgres, broker, **span)
                variables = {k: v for k, v in variables.items() if not k.startswith("BUTTERQUANT_SAMPLING")}
                _command(["run", "--select", FIRST], variables)
                for made in MADE:
                    shutil.rmtree(folder / "home" / "lake" / "butterfly" / made, ignore_errors=True)
                full[count], nothing = _timed(folder, dagster_home, variables, count, again=not idle)
                idle += nothing
                trees.append(_tree(folder / "home" / "lake" / "butterfly"))
    if any(tree != trees[0] for tree in trees):
        raise AssertionError("the lake depends on the number of workers")
    return _results(full, idle[0])


def _results(full: dict[int, Timed], idle: Timed) -> list[Result]:
    first, *others = full
    base = full[first].rows / full[first].seconds
    results = [
        compare(f"scale_out.{n}_workers", t.rows / t.seconds, base, "analyses/s", SPEED_UP, "higher")
        for n, t in full.items()
        if n in others
    ]
    each = idle.seconds / idle.steps
    return [*results, compare("scale_out.overhead_per_step", each, OVERHEAD_SECONDS, "s", 1.0, "lower")]


def _timed(
    folder: Path, dagster_home: Path, variables: dict[str, str], count: int, *, again: bool
) -> tuple[Timed, list[Timed]]:
    workers = [fleet.start_worker(f"worker_{n}", variables, folder) for n in range(count)]
    try:
        for n in range(count):
            log = folder / f"worker_{n}.log"
            fleet.wait_until(lambda log=log: " ready." in log.read_text(), 120, "a worker is not ready")
        with fleet.daemon_by_hand(dagster_home, variables) as one_round, dg.DagsterInstance.get() as instance:
            made = _backfill(instance, one_round, folder, variables)
            return made, [_backfill(instance, one_round, folder, variables)] if again else []
    finally:
        for worker in workers:
            fleet.stop(worker)
        for n in range(count):
            (folder / f"worker_{n}.log").unlink()


def _backfill(
    instance: dg.DagsterInstance, one_round: Callable[[], None], folder: Path, variables: dict[str, str]
) -> Timed:
    _command(["backfill", "--start", START, "--end", END, "--select", BY_MONTH], variables)
    (backfill,) = instance.get_backfills(limit=1)
    began = time.perf_counter()

    def done() -> bool:
        one_round()
        now = instance.get_backfill(backfill.backfill_id)
        if now is None or now.status in (BulkActionStatus.FAILED, BulkActionStatus.COMPLETED_FAILED):
            raise AssertionError(f"the backfill failed: {now}")
        return now.status is BulkActionStatus.COMPLETED_SUCCESS

    fleet.wait_until(done, 1800, "the backfill is not done")
    seconds = time.perf_counter() - began
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill.backfill_id}))
    steps = sum(len(instance.all_logs(r.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)) for r in runs)
    return Timed(seconds, steps, _rows(folder / "home" / "lake" / "butterfly" / "analyses"))


def _rows(folder: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def _command(arguments: list[str], variables: dict[str, str]) -> None:
    command = [sys.executable, "-m", "butterquant_assets.cli", *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{arguments} failed: {done.stderr}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_out")
    parser.add_argument("--postgres", default="postgresql://postgres@127.0.0.1:5432/postgres", metavar="URL")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="how many; the first is the base")
    parser.add_argument("--months-per-run", type=int, default=6)
    options = parser.parse_args(arguments)
    sa.make_url(options.postgres)
    results = measure(options.postgres, options.workers, options.months_per_run)
    print(table(results))
    write_json(results, SCALE_REPORT)
    print(f"written to {SCALE_REPORT}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
