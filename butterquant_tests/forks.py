"""`butterquant` commands forked from one process that has everything loaded.

As a program it reads orders, one JSON object a line, and answers each with the exit status of the command, which ran in
a child of its own. A process per command would spend most of its time importing.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

TIMEOUT_SECONDS = 600
# What a run imports on its way.
LOADED = (
    *("butterquant_assets.cli", "butterquant_assets.runner", "butterquant_assets.automation.jobs"),
    *("butterquant_assets.quant.arima_kernel", "butterquant_assets.quant.garch_rows", "dagster._daemon"),
    *("dagster_postgres", "exchange_calendars", "lightgbm", "matplotlib.style", "numba.typed", "onnxruntime"),
    *("onnxscript.function_libs.torch_lib.ops", "pandera.strategies.pandas_strategies", "scipy.stats"),
    *("sklearn.linear_model", "torch._dynamo", "xgboost"),
)


def butterquant(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run one command in a folder, with nothing in its environment but what is given."""
    with tempfile.TemporaryDirectory() as said:
        out, err = Path(said, "out"), Path(said, "err")
        order = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
        code = _forker().ask({**order, "out": str(out), "err": str(err)})["code"]
        return subprocess.CompletedProcess(list(arguments), code, out.read_text(), err.read_text())


def killed(arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], after: float) -> bool:
    """Run one command and kill it, and whatever it started, after some seconds; whether it was still at it."""
    order = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
    answer = _forker().ask({**order, "out": os.devnull, "err": os.devnull, "kill_after": after})
    return answer["code"] == -signal.SIGKILL


class Forker:
    """A process that answers orders, one JSON object a line each, and the pipe to it.

    Parameters
    ----------
    module
        what it runs as a program, ending in `serve`
    environment
        all of its environment
    folder
        where it starts; by default here
    """

    def __init__(self, module: str, environment: Mapping[str, str], folder: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that answers orders has died; its messages are above"
        return json.loads(answer)

    def end(self) -> None:
        """No more orders."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def serve(prepare: Callable[[], None], answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Prepare, then answer orders from standard input until there are none."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed on the way is no answer
    prepare()
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


def own_environment() -> dict[str, str]:
    """The variables of this process, but none that would configure ours or Dagster."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("BUTTERQUANT_", "DAGSTER_"))}


@cache
def _forker() -> Forker:
    """One for this process, started when it is first needed."""
    forker = Forker(__name__, own_environment() | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})
    atexit.register(forker.end)
    return forker


# -- in the process that forks


def _forked(order: dict[str, Any]) -> dict[str, Any]:
    child = os.fork()
    if child == 0:
        _run(order)
    if "kill_after" in order:
        os.setpgid(child, child)  # here too: whichever of the two comes first
        _kill_later(child, order["kill_after"])
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status)}


def _load() -> None:
    """Import what a run needs, and hash the code as each run would."""
    import sqlite3
    from importlib import import_module

    import sqlalchemy as sa

    for name in LOADED:
        import_module(name)
    from butterquant_assets.definitions import DECLARATIONS
    from butterquant_assets.foundation.code_version import code_version

    for declaration in DECLARATIONS:
        code_version([part for part in declaration.code if isinstance(part, ModuleType)])

    def unflushed(connection: Any, _: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")  # a process that ends loses nothing; only a machine does

    sa.event.listen(sa.Engine, "connect", unflushed)


def _kill_later(child: int, seconds: float) -> None:
    """Wait for a child to end, at most so long; then kill it and its processes."""
    end = time.monotonic() + seconds
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= end:
            os.killpg(child, signal.SIGKILL)
            return
        time.sleep(0.01)


def _run(order: dict[str, Any]) -> None:
    """The child: runs the command and ends; never returns."""
    import traceback

    from butterquant_assets.cli import main

    code: Any = 1
    if "kill_after" in order:
        os.setpgid(0, 0)
    try:
        signal.alarm(TIMEOUT_SECONDS)  # whose default is to end the process
        for stream, path in ((1, order["out"]), (2, order["err"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
        main(order["arguments"])
    except SystemExit as end:
        code = 0 if end.code is None else end.code
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    serve(_load, _forked)
