"""The daemon dies in the middle of a sensor's tick, and another takes its place."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from butterquant_assets.foundation.lake import Lake
from butterquant_tests.automation.toys import MONTHS
from butterquant_tests.deploy.fleet import wait_until
from butterquant_tests.faults import toy_location
from butterquant_tests.faults.dying_daemon import POINTS
from butterquant_tests.faults.installation import Installation, instance_of, variables_for

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path, new_postgres_url: str) -> Iterator[Installation]:
    variables = variables_for(tmp_path / "home", tmp_path / "dagster", new_postgres_url)
    site = Installation(tmp_path, variables, location=toy_location.__name__)
    site.migrate()
    try:
        yield site
    finally:
        site.stop()


def test_a_daemon_killed_within_a_tick_loses_and_doubles_no_request(tmp_path: Path, site: Installation) -> None:
    lake = Lake(tmp_path / "home" / "lake")
    values = dict.fromkeys(MONTHS, 1)
    with instance_of(site.variables) as instance:
        (tmp_path / toy_location.VALUES).write_text(json.dumps(values))
        site.start_code_server()
        for number, point in enumerate(POINTS, start=1):
            values["2018-02"] = 10 * number
            (tmp_path / toy_location.VALUES).write_text(json.dumps(values))
            before = len(instance.get_runs())
            daemon = site.start_daemon(point)
            assert daemon.wait(timeout=90) == -signal.SIGKILL, site.tail()
            site.start_daemon()
            wanted = list(values.values())
            wait_until(lambda w=wanted: made(lake) == w, 120, f"{point}: the correction is lost; {site.tail()}")
            wait_until(lambda: all(run.is_finished for run in instance.get_runs()), 60, "the run does not end")
            wait_until(lambda: current(instance), 60, "the sensor does not come to rest")
            site.kill_daemon()
            runs = instance.get_runs()
            assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
            assert len(runs) == before + 1, f"{point}: {len(runs) - before} runs for one correction"


def made(lake: Lake) -> list[int]:
    """The values that have arrived in the last table of the graph."""
    return lake.read("toy/total")["x"].tolist() if lake.exists("toy/total") else []


def current(instance: dg.DagsterInstance) -> bool:
    """Whether the newest tick found nothing to do."""
    (sensor,) = (state for state in instance.all_instigator_state() if state.name == "freshness")
    (tick,) = instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id, limit=1)
    return tick.skip_reason == "everything is current"
