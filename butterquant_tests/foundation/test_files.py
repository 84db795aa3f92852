"""Whose unfinished files are removed, and whose are not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from butterquant_assets.foundation.files import FOREIGN_SECONDS, sweep_temporaries, temporary_of


def written(folder: Path, pid: int, *, age_seconds: float = 0.0) -> Path:
    """An unfinished file of a writer."""
    own = temporary_of(folder / "2018-01.parquet")
    path = own.with_name(own.name.replace(f".{os.getpid()}.", f".{pid}."))
    path.write_bytes(b"half")
    os.utime(path, (path.stat().st_mtime - age_seconds,) * 2)
    return path


@pytest.fixture
def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_dead_writers_files_go_and_a_living_ones_stay_however_old(tmp_path: Path, dead: int) -> None:
    left, kept = written(tmp_path, dead), written(tmp_path, os.getpid(), age_seconds=2 * FOREIGN_SECONDS)
    assert sweep_temporaries(tmp_path) == 1
    assert (left.exists(), kept.exists()) == (False, True)


def test_of_another_machine_or_container_only_what_is_a_day_old_goes(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "another-container")
        young, old = written(tmp_path, dead), written(tmp_path, dead, age_seconds=FOREIGN_SECONDS + 60)
    assert sweep_temporaries(tmp_path) == 1
    assert (young.exists(), old.exists()) == (True, False)


def test_files_that_a_former_version_named_go_when_they_are_a_day_old(tmp_path: Path, dead: int) -> None:
    former = [tmp_path / f".2018-0{n}.parquet.{dead}.0123abcd.tmp" for n in (1, 2)]
    for path in [*former, tmp_path / ".x.tmp"]:
        path.write_bytes(b"half")
    os.utime(former[0], (0, 0))
    assert sweep_temporaries(tmp_path) == 1
    assert not former[0].exists()
