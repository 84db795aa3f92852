"""Dagster's own processes over a home: the UI with its daemon, Celery workers, and the environment they need.

What belongs here: starting them, and telling what they will not have. What does not: runs in this very process
(`runner.py`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from butterquant_assets.definitions import Settings, build_houses, told_missing
from butterquant_assets.foundation.errors import ButterQuantError, ConfigError, SourceError
from butterquant_assets.foundation.files import write_atomically
from butterquant_assets.orchestration.instance import dagster_environment

REPORTS = "butterquant_assets.orchestration.report_server"
WORKSPACE = """load_from:
  - python_module:
      module_name: butterquant_assets.definitions
      location_name: butterquant_assets
"""
Say = Callable[[str], None]


def serve_ui(settings: Settings, host: str, port: int, reports_port: int, say: Say) -> int:
    """Webserver, daemon and the reports of one home, until interrupted or one of them ends.

    Parameters
    ----------
    settings
        all settings
    host, port, reports_port
        where to listen
    say
        takes a sentence for each house that is missing because its source cannot be read

    Raises
    ------
    ConfigError
        if somebody else listens there; nothing was started then.
    ButterQuantError
        if one of them ends by itself.
    """
    for option, wanted in (("--port", port), ("--reports-port", reports_port)):
        _need_free(host, wanted, option)
    _bind(settings, say)
    environment = dagster_environment(settings.home)
    workspace = ["-w", str(_workspace_file(Path(environment["DAGSTER_HOME"])))]
    commands = (
        [sys.executable, "-m", "dagster_webserver", "-h", host, "-p", str(port), *workspace],
        [sys.executable, "-m", "dagster._daemon", "run", *workspace],
        [sys.executable, "-m", REPORTS, str(settings.home), host, str(reports_port)],
    )
    environment.setdefault("BUTTERQUANT_REPORTS_URL", f"http://{host}:{reports_port}")
    processes = [subprocess.Popen(command, env=environment, cwd=settings.home) for command in commands]  # noqa: S603
    previous = signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    try:
        while True:
            # Told before the others are ended: then all have, and none could be named.
            for command, process in zip(commands, processes, strict=True):
                if (code := process.poll()) is not None:
                    raise ButterQuantError(f"{command[2]} ended with {code}; its messages are above")
            time.sleep(0.5)
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)
        for process in processes:
            process.send_signal(signal.SIGINT)
        # Started in the background of a script it ignores that one; it has nothing to put in order.
        processes[-1].terminate()
        for process in processes:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def dagster_variables(settings: Settings, say: Say) -> dict[str, str]:
    """What Dagster's own commands need in their environment to work on a home directory; `say` as for `serve_ui`."""
    _bind(settings, say)
    environment = dagster_environment(settings.home)
    return {name: environment[name] for name in ("BUTTERQUANT_HOME", "DAGSTER_HOME")}


def run_worker(settings: Settings, queues: Sequence[str], concurrency: int, say: Say) -> None:
    """A Celery worker in this very process, until it is told to stop; `say` as for `serve_ui`.

    Raises
    ------
    ConfigError
        without a broker or the packages it needs.
    """
    from butterquant_assets.orchestration.executors import celery_app, worker_arguments

    os.environ["BUTTERQUANT_HOME"] = str(settings.home)
    # Read and hashed here once, the code is what every forked child runs and signs its results with.
    _bind(settings, say)
    app = celery_app(settings.broker_url, lease_seconds=settings.lease_seconds)
    app.worker_main(worker_arguments(queues, concurrency=concurrency))


def _need_free(host: str, port: int, option: str) -> None:
    """Refuse an address that is taken, before anything is started that would have to be ended again."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(kind, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was closed a moment ago is free
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port} ({error.strerror}): choose another {option}") from None


def _bind(settings: Settings, say: Say) -> None:
    """Bind a new home; say which house it must do without."""
    failed: dict[str, SourceError] = {}
    build_houses(settings, failed)
    for name, error in failed.items():
        say(told_missing(name, error))


def _workspace_file(folder: Path) -> Path:
    """The workspace of a home: same code location, same name as the workspace.yaml of the repository."""
    path = folder / "workspace.yaml"
    write_atomically(path, WORKSPACE.encode())
    return path


def _interrupt() -> None:
    raise KeyboardInterrupt
