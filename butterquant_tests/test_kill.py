"""Whole homes with models, on PostgreSQL: killed, cut off from the database, and run twice at once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from butterquant_tests.faults import state
from butterquant_tests.faults.scene import CORRECTED, Copy, Scene, kill, scene

ANALYSED, TRAINED, SCANNED = f"butterfly/analyses/{CORRECTED}", "butterfly/training_set", "butterfly/daily_scan/2016-08"
MONTHS = ("2016-03", "2016-10")
CUT_SECONDS = 30.0
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("scene")) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(stage: Scene) -> tuple[Copy, list[str]]:
    """The home brought up to date in peace, and the assets that took part."""
    quiet = stage.copy("undisturbed")
    report = quiet.run()
    assert report["status"] == "done"
    assert report["problems"] == []
    return quiet, [entry["asset"] for entry in report["assets"] if entry["rebuilt"]]


def same(copy: Copy, undisturbed: Copy) -> None:
    """Nothing lost, nothing doubled."""
    files, rows = copy.outcome()
    wanted_files, wanted_rows = undisturbed.outcome()
    assert files == wanted_files
    assert rows == wanted_rows
    assert all(wanted_rows[name] for name in ("daily_metrics", "trade_decisions", "model_registry"))
    assert state.doubled(rows) == {}
    assert not list(copy.home.rglob("*.tmp"))


def test_a_run_killed_twice_and_taken_up_equals_an_undisturbed_one(
    stage: Scene, undisturbed: tuple[Copy, list[str]]
) -> None:
    copy = stage.copy("killed")
    for asset in (ANALYSED, TRAINED):
        process = copy.start()
        copy.wait_for(asset, undisturbed[0])
        kill(process)
    assert copy.run()["status"] == "done"
    same(copy, undisturbed[0])
    assert copy.own_runs() == {"SUCCESS", "FAILURE"}


def test_two_runs_over_the_same_months_at_once_both_succeed_and_make_everything_once(
    stage: Scene, undisturbed: tuple[Copy, list[str]]
) -> None:
    copy = stage.copy("twice")
    copy.migrate()
    runs = [copy.start_as_daemon(undisturbed[1], MONTHS) for _ in range(2)]
    for run in runs:
        code, said = run.end()
        assert code == 0, said[-4000:]
    same(copy, undisturbed[0])
    assert copy.daemon_runs() == {"SUCCESS"}
    assert copy.run()["status"] == "current"


def test_a_database_that_is_cut_off_and_one_that_dies_cost_a_run_but_no_result(
    stage: Scene, undisturbed: tuple[Copy, list[str]]
) -> None:
    copy, assets = stage.copy("cut"), undisturbed[1]
    copy.migrate()
    for asset, disturb in ((ANALYSED, cut_off), (TRAINED, restart)):
        run = copy.start_as_daemon(assets, MONTHS)
        copy.wait_for(asset, undisturbed[0])
        disturb(stage)
        code, said = run.end()
        assert code == 0 or re.search("server closed the connection|connection to server", said), said[-4000:]
    code, said = copy.start_as_daemon(assets, MONTHS).end()
    assert code == 0, said[-4000:]
    same(copy, undisturbed[0])
    assert "SUCCESS" in copy.daemon_runs() <= {"SUCCESS", "FAILURE"}


def cut_off(stage: Scene) -> None:
    """Half a minute without the database."""
    stage.server.proxy.cut()
    time.sleep(CUT_SECONDS)  # the fault itself
    stage.server.proxy.mend()


def restart(stage: Scene) -> None:
    """The server dies and comes back."""
    stage.server.stop("immediate")
    stage.server.start()
