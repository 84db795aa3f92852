"""A run that dies before a write, before a rename, before its event or between two partitions, again and again."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from butterquant_tests import homes
from butterquant_tests.faults import crashes, state
from butterquant_tests.faults.scene import correct

CRASHES = 24
CORRECTED = "2016-07"
MADE_TOGETHER = {"butterfly/analyses", "butterfly/analysis_rejects"}


@pytest.mark.slow
def test_after_24_crashes_at_chosen_points_every_resumed_home_equals_an_undisturbed_one(tmp_path: Path) -> None:
    data, whole = tmp_path / "data", tmp_path / "undisturbed"
    homes.write_vendor_files(data, tickers=4)
    rng = np.random.default_rng(24)
    with crashes.forking_process(tmp_path) as runs:
        runs.build(tmp_path / "built", data)
        correct(data, CORRECTED)
        shutil.copytree(tmp_path / "built", whole)
        assert runs.run(whole)["status"] == "done"
        wanted, partitions = homes.tree(whole), materialized(whole)
        assert wanted != homes.tree(tmp_path / "built")
        seen: Counter[str] = Counter()
        while seen.total() < CRASHES:
            home = tmp_path / f"crashed_{seen.total()}"
            shutil.copytree(tmp_path / "built", home)
            ended = {"code": crashes.KILLED}
            while ended["code"] == crashes.KILLED:
                point = crashes.POINTS[seen.total() % len(crashes.POINTS)]
                # Once there were enough, the run that takes it up is left alone.
                enough = seen.total() >= CRASHES
                ended = runs.run(home, None if enough else point, int(rng.integers(1, 3)))
                seen[point] += ended["code"] == crashes.KILLED
            assert (ended["code"], ended["problems"]) == (0, []), seen
            assert homes.tree(home) == wanted, seen
            assert not list(home.rglob("*.tmp"))
            assert published_twice(home) == set()
            # Where it died with everything published, before the event of the last asset, no run was left to make.
            assert ended["status"] in ("done", "current")
            assert materialized(home) == partitions
            ends = state.run_states(home / "dagster")
            assert ends["SUCCESS"] <= 1
            assert set(ends) <= {"SUCCESS", "FAILURE"}
    assert set(seen) == set(crashes.POINTS)


@pytest.mark.slow
def test_the_event_that_a_killed_run_owed_is_there_after_the_next_one_which_has_nothing_to_rebuild(
    tmp_path: Path,
) -> None:
    data, home, whole = tmp_path / "data", tmp_path / "home", tmp_path / "undisturbed"
    homes.write_vendor_files(data, tickers=4)
    with crashes.forking_process(tmp_path) as runs:
        runs.build(home, data)
        correct(data, CORRECTED)
        shutil.copytree(home, whole)
        rebuilt = homes.rebuilt(runs.run(whole))
        assert runs.run(home, "before_event", sum(rebuilt.values()))["code"] == crashes.KILLED
        assert homes.tree(home) == homes.tree(whole)
        assert events(home, "rebuilt") != events(whole, "rebuilt")
        for _ in range(2):
            assert runs.run(home)["status"] == "current"
            # Months that the run found unchanged had never been told of in this home, and are told as well.
            assert set(events(home, "rebuilt")) >= set(events(whole, "rebuilt"))
            assert set(events(home).values()) == {1}
            assert set(events(home)) == set(events(whole))
        assert state.run_states(home / "dagster") == {"FAILURE": 1}


def events(home: Path, action: str | None = None) -> Counter[tuple[str, str | None, str]]:
    """Asset, partition and content of every materialisation that Dagster was told of, of one action or of any."""
    found: Counter[tuple[str, str | None, str]] = Counter()
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        for key in instance.get_asset_keys():
            for record in instance.fetch_materializations(key, limit=1000).records:
                assert record.asset_materialization is not None
                said = record.asset_materialization.metadata
                if action in (None, said["action"].value):
                    found[key.to_user_string(), record.partition_key, str(said["content"].value)] += 1
    return found


def published_twice(home: Path) -> set[str]:
    """Files that took their place more than once, though no crash came between two that are made together."""
    written = Counter((home / crashes.JOURNAL).read_text().splitlines())
    return {line for line, times in written.items() if times > 1 and line.split(" ")[0] not in MADE_TOGETHER}


def materialized(home: Path) -> dict[str, set[str]]:
    """What Dagster's own record says was made, by asset."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        keys = instance.get_asset_keys()
        return {key.to_user_string(): set(instance.get_materialized_partitions(key)) for key in keys}
