from __future__ import annotations

import json
import multiprocessing
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dagster import DagsterInstance

from butterquant_assets.orchestration import instance as module
from butterquant_assets.orchestration.instance import PROFILE, prepare_home


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_home(tmp_path_factory.mktemp("prepared") / "home")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


def heads(folder: Path) -> dict[str, list[tuple[str]]]:
    """Migration heads Dagster recorded in each SQLite file; more than one breaks the instance."""
    found = {}
    for path in sorted(folder.rglob("*.db")):
        with sqlite3.connect(path) as connection:
            found[str(path.relative_to(folder))] = connection.execute("SELECT * FROM alembic_version").fetchall()
    return found


def test_an_empty_home_becomes_an_instance_with_the_embedded_profile(tmp_path: Path) -> None:
    folder = prepare_home(tmp_path / "new" / "home")
    assert folder == (tmp_path / "new" / "home" / "dagster").resolve()
    assert (folder / "dagster.yaml").read_bytes() == PROFILE.read_bytes()
    assert sorted(path.name for path in folder.parent.iterdir()) == [".dagster.lock", "dagster"]
    with DagsterInstance.from_config(str(folder)) as instance:
        assert instance.get_runs() == []


def test_preparing_again_changes_no_file_and_does_not_import_dagster(prepared: Path) -> None:
    before = snapshot(prepared)
    script = (
        "import sys, pathlib\n"
        "from butterquant_assets.orchestration.instance import prepare_home\n"
        f"print(prepare_home(pathlib.Path({str(prepared.parent)!r})))\n"
        "assert 'dagster' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(prepared)
    assert snapshot(prepared) == before


def test_preparing_again_takes_less_than_50_ms(prepared: Path) -> None:
    def timed() -> float:
        start = time.perf_counter()
        prepare_home(prepared.parent)
        return time.perf_counter() - start

    assert min(timed() for _ in range(5)) < 0.05


def _prepare(home: Path, start: threading.Barrier) -> None:
    start.wait(timeout=120)
    with DagsterInstance.from_config(str(prepare_home(home))) as instance:
        assert instance.get_runs() == []


@pytest.mark.slow
def test_processes_that_prepare_an_empty_home_at_once_leave_a_working_instance(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(4)
    workers = [spawn.Process(target=_prepare, args=(tmp_path / "home", start)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=180)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    found = heads(tmp_path / "home" / "dagster")
    assert len(found) >= 3
    assert all(len(versions) == 1 for versions in found.values()), found


def test_a_home_whose_preparation_was_killed_is_prepared_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(folder: Path, upgrade: bool) -> None:
        (folder / "history").mkdir()
        (folder / "history" / "runs.db").write_bytes(b"half a database")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_make_storage", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_home(tmp_path)
    assert not (tmp_path / "dagster").exists()
    with DagsterInstance.from_config(str(prepare_home(tmp_path))) as instance:
        assert instance.get_runs() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dagster.lock", "dagster"]


def test_a_new_profile_replaces_the_old_one_and_leaves_the_storage_alone(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepare_home(tmp_path)
    databases = {path: path.read_bytes() for path in folder.rglob("*.db")}
    newer = tmp_path / "newer.yaml"
    newer.write_bytes(PROFILE.read_bytes() + b"# a newer profile\n")
    monkeypatch.setattr(module, "PROFILE", newer)
    prepare_home(tmp_path)
    assert (folder / "dagster.yaml").read_bytes() == newer.read_bytes()
    assert databases
    assert {path: path.read_bytes() for path in folder.rglob("*.db")} == databases


def test_a_configuration_a_user_edited_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare_home(tmp_path)
    edited = PROFILE.read_text() + "# mine\n"
    (folder / "dagster.yaml").write_text(edited)
    newer = tmp_path / "newer.yaml"
    newer.write_bytes(PROFILE.read_bytes() + b"# a newer profile\n")
    monkeypatch.setattr(module, "PROFILE", newer)
    prepare_home(tmp_path)
    prepare_home(tmp_path)
    assert (folder / "dagster.yaml").read_text() == edited


@pytest.mark.parametrize("marker", ['{"dagster": "1.12.0", "profile": "x"}', "damaged", "[]", None])
def test_storage_of_another_dagster_version_or_without_a_sound_marker_is_upgraded(
    tmp_path: Path, marker: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = prepare_home(tmp_path)
    path = folder / "butterquant.json"
    good = path.read_text()
    path.unlink() if marker is None else path.write_text(marker)
    prepare_home(tmp_path)
    assert json.loads(path.read_text()) == json.loads(good)
    assert capsys.readouterr().out == ""
    assert all(len(versions) == 1 for versions in heads(folder).values())
    with DagsterInstance.from_config(str(folder)) as instance:
        assert instance.get_runs() == []


def test_a_deleted_configuration_is_written_again(tmp_path: Path) -> None:
    folder = prepare_home(tmp_path)
    (folder / "dagster.yaml").unlink()
    prepare_home(tmp_path)
    assert (folder / "dagster.yaml").read_bytes() == PROFILE.read_bytes()
