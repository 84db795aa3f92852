from __future__ import annotations

import os
from pathlib import Path

import pytest

from butterquant_assets.automation.landing import look


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stocks_daily").mkdir()
    (tmp_path / "stocks_daily" / "A.csv").write_text("a")
    (tmp_path / "vix_daily.parquet").write_bytes(b"v")
    return tmp_path


def test_an_untouched_folder_looks_the_same(folder: Path) -> None:
    assert look(folder) == look(folder)


def test_a_file_that_grows_is_seen_and_named(folder: Path) -> None:
    before = look(folder)
    with (folder / "stocks_daily" / "A.csv").open("a") as file:
        file.write("b")
    after = look(folder)
    assert after.digest != before.digest
    assert after.newest == "stocks_daily/A.csv"


def test_a_file_of_the_same_size_and_date_is_seen(folder: Path) -> None:
    path, before = folder / "vix_daily.parquet", look(folder)
    date = path.stat().st_mtime_ns
    path.write_bytes(b"w")
    os.utime(path, ns=(date, date))
    assert look(folder).digest != before.digest


def test_a_new_file_and_a_removed_one_are_seen(folder: Path) -> None:
    seen = {look(folder).digest}
    (folder / "B.csv").write_text("b")
    seen.add(look(folder).digest)
    (folder / "vix_daily.parquet").unlink()
    assert len({*seen, look(folder).digest}) == 3


def test_hidden_files_and_other_kinds_are_none_of_its_business(folder: Path) -> None:
    before = look(folder)
    (folder / ".stocks_daily.csv.tmp").write_text("x")
    (folder / ".partial.csv").write_text("x")
    (folder / "notes.txt").write_text("x")
    assert look(folder) == before


def test_an_empty_folder_has_no_newest_file_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert look(tmp_path).newest == ""
    with pytest.raises(FileNotFoundError):
        look(tmp_path / "nowhere")
