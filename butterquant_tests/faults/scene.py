"""A home with models on PostgreSQL, a correction that makes half of it stale, and copies of both to be disturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from butterquant_tests import forks, homes
from butterquant_tests.deploy.fleet import wait_until
from butterquant_tests.faults import state
from butterquant_tests.faults.installation import instance_of, variables_for
from butterquant_tests.faults.services import PostgresServer, postgres_of_its_own
from butterquant_tests.shared_data import ROOT

# What ends in the warehouse, with all that it is made from: models, champion, scans, decisions, metrics.
SELECT = '+key:"butterfly/daily_metrics" or +key:"butterfly/decision_records"'
RUN = ("run", "--json", "--select", SELECT)
SOURCE = ("SOURCE", "DATA_DIR", "START", "END")
CORRECTED = "2016-07"
TICKERS = 6


@dataclass(frozen=True)
class DaemonRun:
    """A run under way, and where it writes."""

    process: subprocess.Popen[bytes]
    log: Path

    def end(self) -> tuple[int, str]:
        """Exit status and what it said, once it has ended."""
        return self.process.wait(timeout=300), self.log.read_text()


@dataclass(frozen=True)
class Copy:
    """A home, its instance and its database, stale by one correction.

    Parameters
    ----------
    home
        of the product
    url
        of its database: the warehouse, and the storage of the daemon's runs
    variables
        the environment of its processes
    """

    home: Path
    url: str
    variables: dict[str, str]

    def start(self) -> subprocess.Popen[str]:
        """`butterquant run` of the selection, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "butterquant_assets.cli", *RUN],
            env=self.variables,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self) -> dict[str, Any]:
        """The same, to its end; its report."""
        done = forks.butterquant(RUN, folder=ROOT, environment=self.variables)
        assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}\n{done.stderr}"
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def migrate(self) -> None:
        """Make Dagster's tables, before there are two processes at it."""
        with instance_of(self.variables) as instance:
            instance.get_runs(limit=1)

    def start_as_daemon(self, assets: list[str], months: tuple[str, str]) -> DaemonRun:
        """A run as the daemon launches one, without the lock that keeps a second command line away."""
        order = json.dumps({"assets": assets, "months": months})
        number = len(list(self.home.parent.glob("run_*.log")))
        log = self.home.parent / f"run_{number}.log"
        command = [sys.executable, "-m", "butterquant_tests.faults.one_run", order]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, env=self.variables, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        return DaemonRun(process, log)

    def wait_for(self, asset: str, wanted: Copy) -> None:
        """Wait until a file of the lake is what it is in another copy."""
        new = wanted.path(asset).read_bytes()
        wait_until(lambda: self.path(asset).read_bytes() == new, 180, f"{asset} is not rebuilt")

    def path(self, asset: str) -> Path:
        """Where a table of the lake lies."""
        return self.home / "lake" / f"{asset}.parquet"

    def outcome(self) -> tuple[dict[str, bytes], dict[str, list[tuple[object, ...]]]]:
        """Files and warehouse rows."""
        rows = state.warehouse_rows(self.url.replace("postgresql://", "postgresql+psycopg2://"))
        return homes.tree(self.home), {name: rows[name] for name in state.TABLES}

    def daemon_runs(self) -> set[str]:
        """How the runs on PostgreSQL ended; none may count as under way."""
        with instance_of(self.variables) as instance:
            return {run.status.value for run in state.finished_runs(instance)}

    def own_runs(self) -> set[str]:
        """How the runs of the command line ended, which keeps them in the home."""
        return set(state.run_states(self.home / "dagster"))


@dataclass(frozen=True)
class Scene:
    """The home as it was built, and the one that was brought up to date undisturbed after the correction."""

    server: PostgresServer
    built: Copy
    folder: Path

    def copy(self, name: str) -> Copy:
        """A copy of home and database, stale by the correction."""
        target = self.folder / name
        shutil.copytree(self.built.home, target / "home")
        url = self.server.database(name, template="built")
        return _copy(target, url, self.built.variables)


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Build it; takes a minute."""
    homes.write_vendor_files(folder / "data", tickers=TICKERS)
    with postgres_of_its_own() as server:
        source = {"BUTTERQUANT_SOURCE": "files", "BUTTERQUANT_DATA_DIR": str(folder / "data")}
        span = {"BUTTERQUANT_START": homes.START, "BUTTERQUANT_END": homes.END}
        built = _copy(folder / "built", server.database("built"), source | span)
        report = built.run()
        assert report["status"] == "done", report["problems"]
        correct(folder / "data", CORRECTED)
        yield Scene(server, built, folder)


def _copy(folder: Path, url: str, variables: dict[str, str]) -> Copy:
    dagster_home = folder / "dagster"
    dagster_home.mkdir(parents=True)
    shutil.copy(ROOT / "dagster.yaml", dagster_home)
    own = {f"BUTTERQUANT_{name}": variables[f"BUTTERQUANT_{name}"] for name in SOURCE}
    return Copy(folder / "home", url, variables_for(folder / "home", dagster_home, url, **own))


def correct(data: Path, month: str) -> None:
    """Other prices in one month, for every ticker."""
    path = data / "stocks_daily.parquet"
    bars = pd.read_parquet(path)
    bars.loc[bars["timestamp"].dt.strftime("%Y-%m") == month, ["open", "high", "low", "close"]] *= 1.02
    temporary = path.with_suffix(".tmp")
    bars.to_parquet(temporary)
    temporary.replace(path)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to a run and whatever it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
