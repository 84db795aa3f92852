"""A run killed at any moment, and taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from butterquant_tests import homes


@pytest.mark.slow
def test_a_killed_run_is_taken_up_and_ends_byte_identical_to_an_undisturbed_one(tmp_path: Path) -> None:
    homes.write_vendor_files(tmp_path / "data")
    homes.build(tmp_path / "undisturbed", tmp_path / "data")
    began = time.monotonic()
    homes.build(tmp_path / "timed", tmp_path / "data")
    whole = time.monotonic() - began
    rng = np.random.default_rng(5)
    home = tmp_path / "killed"
    kills = 0
    for _ in range(3):
        process = start_run(home, tmp_path / "data")
        try:
            process.wait(timeout=float(rng.uniform(0.3, 0.8)) * whole)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 1
    report = homes.run(home) if (home / "home.json").exists() else homes.build(home, tmp_path / "data")
    assert report["status"] in ("done", "current")
    assert homes.tree(home) == homes.tree(tmp_path / "undisturbed")
    assert not list(home.rglob("*.tmp"))
    assert unfinished_runs(home) == []


def start_run(home: Path, data: Path) -> subprocess.Popen[bytes]:
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("BUTTERQUANT_", "DAGSTER_"))}
    command = [sys.executable, "-m", "butterquant_assets.cli", "run", "--home", str(home)]
    command += ["--source", "files", "--data", str(data), "--start", homes.START, "--end", homes.END]
    return subprocess.Popen(
        command,
        env=variables | homes.SETTINGS,
        cwd=home.parent,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def unfinished_runs(home: Path) -> list[str]:
    """Runs that Dagster believes to be under way."""
    code = (
        "import dagster as dg; from butterquant_assets.automation.runs import UNFINISHED;"
        "instance = dg.DagsterInstance.get();"
        "import json; print(json.dumps([run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))]))"
    )
    environment = {**os.environ, "DAGSTER_HOME": str(home / "dagster")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])
