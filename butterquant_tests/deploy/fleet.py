"""Redis, PostgreSQL-backed Dagster, Celery workers: the processes of a scaled-out installation, started by a test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
import yaml

from butterquant_tests import forks
from butterquant_tests.homes import SETTINGS
from butterquant_tests.shared_data import ROOT

STEP_LEASE_SECONDS = 12


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis of its own on a free port, without files; yields its URL."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port), 10, "Redis does not listen")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(timeout=10)


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], Any], seconds: float, complaint: str) -> Any:
    """What the condition returns once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{complaint} after {seconds} s")


def environment(home: Path, dagster_home: Path, postgres: str, broker: str, **more: str) -> dict[str, str]:
    """What every process of the installation has in its environment."""
    url = sa.make_url(postgres)
    kept = forks.own_environment()
    return (
        kept
        | SETTINGS
        | {
            "DAGSTER_HOME": str(dagster_home),
            "BUTTERQUANT_HOME": str(home),
            "BUTTERQUANT_EXECUTOR": "celery",
            "BUTTERQUANT_BROKER_URL": broker,
            "BUTTERQUANT_LEASE_SECONDS": str(STEP_LEASE_SECONDS),
            "BUTTERQUANT_PG_HOST": str(url.host),
            "BUTTERQUANT_PG_PORT": str(url.port or 5432),
            "BUTTERQUANT_PG_USER": str(url.username),
            "BUTTERQUANT_PG_PASSWORD": str(url.password or ""),
            "BUTTERQUANT_PG_DATABASE": str(url.database),
        }
        | more
    )


def prepare_instance(folder: Path) -> None:
    """DAGSTER_HOME with the shipped configuration, but without the queue: a run starts when it is submitted."""
    folder.mkdir(parents=True)
    shipped = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert shipped["run_coordinator"]["class"] == "QueuedRunCoordinator"
    shipped["run_coordinator"] = {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
    del shipped["concurrency"]  # limits of the queue
    (folder / "dagster.yaml").write_text(yaml.safe_dump(shipped))
    shutil.copy(ROOT / "workspace.yaml", folder)


def start_worker(name: str, variables: dict[str, str], log: Path, *queues: str) -> subprocess.Popen[bytes]:
    """A worker in a process group of its own, as a supervisor would start it."""
    chosen = [part for queue in queues or ("dagster",) for part in ("--queue", queue)]
    with (log / f"{name}.log").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "butterquant_assets.cli", "worker", *chosen],
            env=variables,
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> int:
    """End a worker; a SIGKILL takes its children along, as the death of a machine does."""
    if how is signal.SIGKILL:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    return process.wait(timeout=60)


@contextmanager
def daemon_by_hand(dagster_home: Path, variables: dict[str, str]) -> Iterator[Callable[[], None]]:
    """The code server, and a function that does one round of the backfill daemon.

    The real daemon makes a round in 30 s; the code it runs is the same.
    """
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._daemon.backfill import execute_backfill_iteration

    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        with (
            dg.DagsterInstance.get() as instance,
            WorkspaceProcessContext(instance, WorkspaceFileTarget([str(dagster_home / "workspace.yaml")])) as workspace,
        ):
            logger = dg.get_dagster_logger("backfill")
            yield lambda: list(execute_backfill_iteration(workspace, logger)) and None
    finally:
        os.environ.clear()
        os.environ.update(before)
