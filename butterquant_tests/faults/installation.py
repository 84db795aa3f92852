"""A whole installation, as a supervisor would start it: PostgreSQL storage, code server, webserver and daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

from butterquant_tests import forks, homes
from butterquant_tests.deploy.fleet import free_port, listens, wait_until
from butterquant_tests.shared_data import ROOT

LOCATION = "butterquant_tests.faults.quick_definitions"


def variables_for(home: Path, dagster_home: Path, postgres: str, **more: str) -> dict[str, str]:
    """The environment of every process: storage and warehouse on PostgreSQL, everything small."""
    url = sa.make_url(postgres)
    kept = forks.own_environment()
    database = {
        "HOST": url.host,
        "PORT": url.port or 5432,
        "USER": url.username,
        "PASSWORD": url.password or "",
        "DATABASE": url.database,
    }
    return (
        kept
        | homes.SETTINGS
        | {f"BUTTERQUANT_PG_{name}": str(value) for name, value in database.items()}
        | {
            "BUTTERQUANT_HOME": str(home),
            "DAGSTER_HOME": str(dagster_home),
            "BUTTERQUANT_WAREHOUSE_URL": url.set(drivername="postgresql+psycopg2").render_as_string(
                hide_password=False
            ),
        }
        | more
    )


class Installation:
    """Processes of one home, their logs, and what the webserver answers.

    Parameters
    ----------
    folder
        where the instance and the logs lie
    variables
        the environment of every process
    location
        module that holds the definitions
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], location: str = LOCATION) -> None:
        self.folder, self.variables, self._location = folder, dict(variables), location
        self.dagster_home = Path(variables["DAGSTER_HOME"])
        self.dagster_home.mkdir(parents=True)
        shutil.copy(ROOT / "dagster.yaml", self.dagster_home)
        self.code_port, self.web_port = free_port(), free_port()
        self._workspace = self.dagster_home / "workspace.yaml"
        server = {"host": "127.0.0.1", "port": self.code_port, "location_name": "butterquant_assets"}
        self._workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def migrate(self) -> None:
        """Make Dagster's tables, in one process before there are others."""
        with instance_of(self.variables) as instance:
            instance.get_runs(limit=1)

    def start_code_server(self) -> None:
        """Serve the definitions; runs are its children."""
        where = ("--host", "127.0.0.1", "--port", str(self.code_port), "--location-name", "butterquant_assets")
        self._start("code", "dagster", "api", "grpc", "--module-name", self._location, *where)
        wait_until(lambda: self._alive("code") and listens(self.code_port), 120, "the code server does not listen")

    def start_webserver(self) -> None:
        """Serve the UI and its GraphQL."""
        where = ("-h", "127.0.0.1", "-p", str(self.web_port), "-w", str(self._workspace))
        self._start("web", "dagster_webserver", *where)
        wait_until(lambda: self._alive("web") and listens(self.web_port), 120, "the webserver does not listen")

    def start_daemon(self, dies_at: str | None = None) -> subprocess.Popen[bytes]:
        """Tick the sensors, launch the runs; or kill itself at a point of `dying_daemon`."""
        module = ("dagster._daemon",) if dies_at is None else ("butterquant_tests.faults.dying_daemon", dies_at)
        self._start("daemon", *module, "run", "-w", str(self._workspace))
        return self._processes["daemon"]

    def kill_daemon(self) -> None:
        """As the death of a machine would, but for the runs, which are children of the code server."""
        process = self._processes.pop("daemon")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)

    def stop(self) -> None:
        """End everything, runs included."""
        for process in reversed(self._processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _kill_group(process)
        self._processes.clear()

    def ask(self, query: str, **values: Any) -> dict[str, Any]:
        """GraphQL of the webserver."""
        body = json.dumps({"query": query, "variables": values}).encode()
        url = f"http://127.0.0.1:{self.web_port}/graphql"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own webserver
            found = json.load(answer)
        assert "errors" not in found, found["errors"]
        return found["data"]

    def butterquant(self, *arguments: str) -> str:
        """The command line in this environment."""
        done = forks.butterquant(arguments, folder=ROOT, environment=self.variables)
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def tail(self) -> str:
        """The ends of the logs, for a test that fails."""
        return "\n".join(f"-- {log.name}\n{log.read_text()[-2000:]}" for log in sorted(self.folder.glob("*.log")))

    def _start(self, name: str, module: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as out:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self.variables,
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _alive(self, name: str) -> bool:
        assert self._processes[name].poll() is None, f"{name} has ended: {self.tail()}"
        return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(timeout=30)


@contextmanager
def instance_of(variables: Mapping[str, str]) -> Iterator[dg.DagsterInstance]:
    """The instance of an installation, in this process."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        with dg.DagsterInstance.get() as instance:
            yield instance
    finally:
        os.environ.clear()
        os.environ.update(before)
