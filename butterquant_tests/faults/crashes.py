"""Runs that die at a chosen point, forked from one process that has everything loaded.

As a program it reads orders, one JSON object a line, and answers each with one: ``butterquant run`` of a home in a
child of its own, which kills itself with SIGKILL at the n-th time it comes to a point. A process per run would spend
its time importing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from butterquant_tests import forks, homes

Point = Literal["before_write", "before_rename", "between_partitions", "before_event"]
POINTS: tuple[Point, ...] = get_args(Point)
KILLED = -signal.SIGKILL
JOURNAL = "published.log"  # one line for each file that took its place in the lake
MAKES = ("analyses", "features", "roi_labels")
# The graph up to the labels: every kind of asset but models, and a run of it is a matter of seconds.
GRAPH = {"market/equity_bars", "market/index_bars", "market/vix", "market/implied_vols", "market/published_vols"}
GRAPH |= {"market/option_chains", "butterfly/vix_samples", *(f"butterfly/{name}" for name in MAKES)}
START, END = "2016-06", "2016-08"


class Runs:
    """The other end of the pipe: asks for runs and learns how they ended."""

    def __init__(self, forker: forks.Forker) -> None:
        self._forker = forker

    def build(self, home: Path, data: Path) -> None:
        """A home with everything made, without a run."""
        assert self._forker.ask({"build": str(home), "data": str(data)})["status"] == "done"

    def run(self, home: Path, point: Point | None = None, nth: int = 0) -> dict[str, Any]:
        """`butterquant run --json`; with a point, killed at the nth time it is reached. `code` is the exit status."""
        return self._forker.ask({"home": str(home), "point": point, "nth": nth})


@contextmanager
def forking_process(folder: Path) -> Iterator[Runs]:
    """The process that forks runs, for as long as the block lasts."""
    forker = forks.Forker(__name__, forks.own_environment() | homes.SETTINGS, folder)
    try:
        yield Runs(forker)
    finally:
        forker.end()


# -- in the process that forks


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    return _build(order) if "build" in order else _forked(order)


def _only_graph() -> None:
    from butterquant_assets import definitions

    chosen = tuple(d for d in definitions.DECLARATIONS if GRAPH & set(d.names))
    assert {name for d in chosen for name in d.names} >= GRAPH
    vars(definitions)["DECLARATIONS"] = chosen


def _build(order: dict[str, Any]) -> dict[str, Any]:
    """Also loads and compiles whatever a run needs, so that its children find it done."""
    from butterquant_assets.orchestration.instance import prepare_home
    from butterquant_tests.faults import quiet

    home = Path(order["build"])
    quiet.make(home, GRAPH, data=Path(order["data"]), start=START, end=END)
    prepare_home(home)
    return {"status": "done"}


def _forked(order: dict[str, Any]) -> dict[str, Any]:
    home = Path(order["home"])
    report = home / "report.json"
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _run(home, report, order["point"], order["nth"])
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return (json.loads(report.read_text()) if report.exists() else {}) | {"code": code}


def _run(home: Path, report: Path, point: Point | None, nth: int) -> None:
    """The child: runs, reports and ends; never returns."""
    import traceback

    import sqlalchemy as sa

    from butterquant_assets.definitions import Settings
    from butterquant_assets.foundation.settings import load_settings
    from butterquant_assets.runner import bring_up_to_date

    code = 1
    try:
        # A killed process loses nothing that it wrote, flushed or not; only a machine does. Flushing is half the time.
        sa.event.listen(sa.Engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        _keep_journal(home)
        if point is not None:
            _die_at(point, nth)
        report.write_text(json.dumps(bring_up_to_date(load_settings(Settings, {"home": home}))))
        code = 0
    finally:
        if code:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)


def _keep_journal(home: Path) -> None:
    from butterquant_assets.foundation.lake import Lake

    def written(asset: str, partition: str | None) -> None:
        with (home / JOURNAL).open("a") as journal:
            journal.write(f"{asset} {partition or ''}\n")

    _after(Lake, "write", lambda lake, asset, partition, *_: written(asset, partition))


def _die_at(point: Point, nth: int) -> None:
    """Have this process kill itself when it comes to a point for the nth time, from 1."""
    import dagster as dg

    from butterquant_assets.foundation import files, lake, lake_storage

    passed = 0

    def come(*_: Any) -> None:
        nonlocal passed
        passed += 1
        if passed == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    if point == "before_write":
        _before(lake_storage, "write_atomically", come)
    elif point == "before_rename":
        _before(files.os, "replace", lambda _, target: come() if str(target).endswith(".parquet") else None)
    elif point == "between_partitions":
        _after(lake.Lake, "write", come)
    else:

        def told(_: dg.DagsterInstance, entry: dg.EventLogEntry, *__: Any, **___: Any) -> None:
            made = entry.asset_materialization
            if made is not None and made.metadata["action"].value == "rebuilt":
                come()

        _before(dg.DagsterInstance, "handle_new_event", told)


def _before(owner: Any, name: str, then: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        then(*arguments, **options)
        return original(*arguments, **options)

    setattr(owner, name, wrapped)


def _after(owner: Any, name: str, then: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        then(*arguments, **options)
        return result

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    forks.serve(_only_graph, _answer)
