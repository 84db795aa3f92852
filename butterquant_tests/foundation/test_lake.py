from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from butterquant_assets.foundation.contracts import Outcome, Verdict
from butterquant_assets.foundation.errors import DamagedFileError, LakeError
from butterquant_assets.foundation.lake import Footer, Lake, combine, content_hash, group_digests


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "session": pd.to_datetime(["2018-01-02", "2018-01-02", "2018-01-03"]).astype("datetime64[us]"),
            "ticker": pd.Series(["A", "B", "A"], dtype="str"),
            "close": [1.5, np.nan, 0.0],
            "label": pd.array([0, None, 3], dtype="Int8"),
            "flag": [True, False, True],
        }
    )


def footer(of: pd.DataFrame, **changes: object) -> Footer:
    verdict = Verdict({"schema": Outcome(True), "range": Outcome(False, 2, ("row 1", "row 2"))})
    values = {
        "content": content_hash(of), "inputs": {"x": "1"}, "code": "c", "config": "k", "verdict": verdict,
        "rows": len(of), "digests": group_digests(of, "ticker"), "facts": {"n": 1, "nested": {"a": [1, 2]}},
    }  # fmt: skip
    return Footer(**{**values, **changes})  # type: ignore[arg-type]


def test_what_is_written_is_read_back_with_types_and_provenance(lake: Lake) -> None:
    lake.write("line/table", "2018-01", frame(), footer(frame()))
    pd.testing.assert_frame_equal(lake.read("line/table", ["2018-01"]), frame())
    assert lake.footer("line/table", "2018-01") == footer(frame())
    assert lake.partitions("line/table") == ["2018-01"]
    assert content_hash(lake.read("line/table", ["2018-01"])) == content_hash(frame())


def test_a_read_takes_only_the_columns_and_partitions_asked_for(lake: Lake) -> None:
    for month in ("2018-01", "2018-02", "2018-03"):
        lake.write("line/table", month, frame().assign(close=float(month[-1])), footer(frame()))
    read = lake.read("line/table", ["2018-03", "2018-01"], ["close"])
    assert list(read.columns) == ["close"]
    assert read["close"].tolist() == [3.0] * 3 + [1.0] * 3


def test_a_missing_file_says_what_to_do(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"line/table has no file for 2018-01.*butterquant run"):
        lake.read("line/table", ["2018-01"])
    with pytest.raises(LakeError, match="does not exist: materialise it first"):
        lake.read("line/table")
    assert lake.footer("line/table", "2018-01") is None


def test_a_quarantined_frame_leaves_the_published_one_and_goes_when_a_good_one_comes(lake: Lake) -> None:
    good, bad = frame(), frame().assign(close=-1.0)
    lake.write("line/table", "2018-01", good, footer(good))
    lake.quarantine("line/table", "2018-01", bad, footer(bad))
    pd.testing.assert_frame_equal(lake.read("line/table", ["2018-01"]), good)
    pd.testing.assert_frame_equal(lake.read("line/table", ["2018-01"], quarantine=True), bad)
    lake.write("line/table", "2018-01", good, footer(good))
    assert lake.footer("line/table", "2018-01", quarantine=True) is None


def test_same_frame_and_footer_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Lake(tmp_path / name).write("line/table", "2018-01", frame(), footer(frame()))
    one, two = ((tmp_path / n / "line/table/2018-01.parquet").read_bytes() for n in ("a", "b"))
    assert one == two


@pytest.mark.parametrize("damage", ["truncate", "garbage", "foreign"])
def test_a_damaged_file_is_named_not_believed(tmp_path: Path, damage: str) -> None:
    lake = Lake(tmp_path)
    lake.write("line/table", "2018-01", frame(), footer(frame()))
    path = tmp_path / "line/table/2018-01.parquet"
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "garbage":
        path.write_bytes(b"not parquet at all")
    else:
        frame().to_parquet(path)
    with pytest.raises(LakeError, match=r"2018-01\.parquet"):
        lake.footer("line/table", "2018-01")


def test_a_flipped_bit_in_a_data_page_is_found_on_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write("line/table", "2018-01", frame(), footer(frame()))
    path = tmp_path / "line/table/2018-01.parquet"
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)
    with pytest.raises(LakeError, match="not a readable Parquet file"):
        lake.read("line/table", ["2018-01"])


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(close=[1.5, np.nan, 1e-300]),
        lambda f: f.assign(ticker=pd.Series(["AB", "", "A"], dtype="str")),
        lambda f: f.assign(label=pd.array([0, 0, 3], dtype="Int8")),
        lambda f: f.assign(flag=[True, True, True]),
        lambda f: f.rename(columns={"close": "clos"}),
        lambda f: f.iloc[::-1],
        lambda f: f.iloc[:2],
        lambda f: f.assign(close=f["close"].astype("float32")),
    ],
)
def test_the_content_hash_sees_every_change_of_values_schema_and_order(change) -> None:
    assert content_hash(change(frame())) != content_hash(frame())


def test_the_content_hash_ignores_bit_patterns_of_nan_and_the_sign_of_zero() -> None:
    odd = np.frombuffer(np.uint64(0xFFF8000000000001).tobytes(), dtype=np.float64)[0]
    assert content_hash(frame().assign(close=[1.5, odd, -0.0])) == content_hash(frame())


def test_hash_and_bytes_do_not_depend_on_how_a_frame_was_put_together(tmp_path: Path) -> None:
    together = pd.concat([frame().iloc[:1], frame().iloc[1:]], ignore_index=True)
    assert content_hash(together) == content_hash(frame())
    for name, made in (("a", together), ("b", frame())):
        Lake(tmp_path / name).write("line/table", "2018-01", made, footer(frame()))
    one, two = ((tmp_path / n / "line/table/2018-01.parquet").read_bytes() for n in ("a", "b"))
    assert one == two


def test_a_password_in_the_lakes_url_is_not_shown() -> None:
    lake = Lake("memory://user:hunter2@host/lake")
    assert "hunter2" not in lake.shown
    with pytest.raises(LakeError) as caught:
        lake.read("line/table", ["2018-01"])
    assert "hunter2" not in str(caught.value)


def test_group_digests_change_only_for_the_group_that_changed() -> None:
    before, after = group_digests(frame(), "ticker"), group_digests(frame().assign(close=[1.5, 2.0, 0.0]), "ticker")
    assert before["A"] == after["A"]
    assert before["B"] != after["B"]


def test_a_groups_digest_is_the_content_hash_of_its_rows() -> None:
    table = pd.DataFrame(
        {
            "ticker": pd.Series(["B", "A", "ÄÖ", "B", "A", ""], dtype="str"),
            "close": [1.5, np.nan, -0.0, 2.0, np.inf, 3.0],
            "session": pd.to_datetime(["2018-01-02", None, "2018-01-03", "2018-01-04", "2018-01-05", "2018-01-08"]),
            "label": pd.array([0, None, 3, 1, 2, None], dtype="Int8"),
            "count": np.arange(6, dtype="int32"),
            "flag": [True, False, True, True, False, True],
            "reason": pd.Series(["", None, "no fit", None, "x", ""], dtype="str"),
        }
    )
    digests = group_digests(table, "ticker")
    assert digests == {name: content_hash(rows) for name, rows in table.groupby("ticker")}
    assert len(set(digests.values())) == 4


def test_combining_hashes_keeps_their_boundaries() -> None:
    assert combine(["ab", "c"]) != combine(["a", "bc"])


WRITER = """
import sys, numpy as np, pandas as pd
from butterquant_assets.foundation.contracts import Verdict
from butterquant_assets.foundation.lake import Footer, Lake
lake = Lake(sys.argv[1])
big = pd.DataFrame({"x": np.random.default_rng(0).standard_normal(2_000_000)})
print("ready", flush=True)
while True:
    lake.write("line/table", "2018-01", big, Footer("new", {}, "", "", Verdict({}), len(big)))
"""


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    rng = np.random.default_rng(3)
    for _ in range(5):
        lake.write("line/table", "2018-01", frame(), footer(frame()))
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(timeout=float(rng.uniform(0.01, 1.0)))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = lake.footer("line/table", "2018-01")
        assert found is not None
        assert len(lake.read("line/table", ["2018-01"])) == found.rows
        lake.sweep()
        assert not list(tmp_path.rglob("*.tmp"))


def test_files_are_listed_with_what_they_hold(lake: Lake) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # stores count whole seconds
    lake.write("line/table", "2018-01", frame(), footer(frame()))
    lake.write("line/single", None, frame(), footer(frame()))
    lake.quarantine("line/table", "2018-02", frame(), footer(frame()))
    found = lake.files()
    assert {(f.area, f.asset, f.partition) for f in found} == {
        ("", "line/table", "2018-01"),
        ("", "line/single", None),
        ("_quarantine", "line/table", "2018-02"),
    }
    assert all(f.bytes > 500 and f.modified >= before and not f.temporary for f in found)
    lake.remove(found[0])
    lake.remove(found[0])
    assert len(lake.files()) == 2


def test_an_empty_lake_has_no_files(tmp_path: Path) -> None:
    assert Lake(tmp_path / "lake").files() == []


def test_a_file_found_damaged_on_read_counts_as_missing_from_then_on(lake: Lake) -> None:
    lake.write("line/table", "2018-01", frame(), footer(frame()))
    path = lake.path("line/table", "2018-01")
    raw = bytearray(lake._storage.fs.cat_file(path))
    raw[40] ^= 1
    lake._storage.fs.pipe_file(path, bytes(raw))
    assert lake.footer("line/table", "2018-01") is not None  # the footer itself is whole
    with pytest.raises(DamagedFileError, match="not a readable Parquet file"):
        lake.read("line/table", ["2018-01"])
    assert lake.footer("line/table", "2018-01") is None
    assert [(f.area, f.partition) for f in lake.files()] == [("_damaged", "2018-01")]
    lake.write("line/table", "2018-01", frame(), footer(frame()))
    pd.testing.assert_frame_equal(lake.read("line/table", ["2018-01"]), frame())


@pytest.mark.parametrize("rows", [3, 40_000])
def test_a_footer_is_read_whatever_its_size(lake: Lake, rows: int) -> None:
    names = pd.Series([f"T{number:05d}" for number in range(rows)], dtype="str")
    table = pd.DataFrame({"ticker": names, "x": np.arange(rows)})
    written = Footer(content_hash(table), {}, "", "", Verdict({}), rows, digests=dict.fromkeys(names, "0" * 24))
    lake.write("line/table", "2018-01", table, written)
    assert lake.footer("line/table", "2018-01") == written
    assert Lake(lake.location).look(["line/table"]).footer("line/table", "2018-01") == written


def test_an_object_store_that_cannot_be_reached_is_said_to_be_so(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    lake = Lake(s3_url)
    for ask in (lambda: lake.footer("line/table", "2018-01"), lambda: lake.read("line/table", ["2018-01"])):
        with pytest.raises(LakeError, match="cannot be reached") as caught:
            ask()
        assert not isinstance(caught.value, DamagedFileError)  # nothing is made again for a network's sake
    with pytest.raises(LakeError, match="could not be written"):
        lake.write("line/table", "2018-01", frame(), footer(frame()))


FULL_DISK = """
import resource, sys, numpy as np, pandas as pd
from butterquant_assets.foundation.contracts import Verdict
from butterquant_assets.foundation.errors import LakeError
from butterquant_assets.foundation.lake import Footer, Lake
lake = Lake(sys.argv[1])
big = pd.DataFrame({"x": np.random.default_rng(0).standard_normal(200_000)})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    lake.write("line/table", "2018-01", big, Footer("new", {}, "", "", Verdict({}), len(big)))
except LakeError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write("line/table", "2018-01", frame(), footer(frame()))
    before = (tmp_path / "line/table/2018-01.parquet").read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "2018-01.parquet could not be written: File too large" in done.stdout
    assert "Make room" in done.stdout
    assert [path.name for path in (tmp_path / "line/table").iterdir()] == ["2018-01.parquet"]
    assert (tmp_path / "line/table/2018-01.parquet").read_bytes() == before


KILLED_BEFORE_RENAME = """
import os, signal, sys, pandas as pd
from butterquant_assets.foundation import files
from butterquant_assets.foundation.contracts import Verdict
from butterquant_assets.foundation.lake import Footer, Lake
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
frame = pd.DataFrame({"x": [1.0]})
Lake(sys.argv[1]).write("line/table", "2018-01", frame, Footer("new", {}, "", "", Verdict({}), 1))
"""


def test_a_writer_killed_between_writing_and_renaming_leaves_the_old_file(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write("line/table", "2018-01", frame(), footer(frame()))
    command = [sys.executable, "-c", KILLED_BEFORE_RENAME, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    pd.testing.assert_frame_equal(lake.read("line/table", ["2018-01"]), frame())
    assert [f.temporary for f in lake.files()] == [True, False]
    assert lake.partitions("line/table") == ["2018-01"]
    assert lake.sweep() == 1
    assert len(lake.files()) == 1


SAME_PARTITION = """
import sys, numpy as np, pandas as pd
from butterquant_assets.foundation.contracts import Verdict
from butterquant_assets.foundation.lake import Footer, Lake, content_hash
lake, value = Lake(sys.argv[1]), float(sys.argv[2])
table = pd.DataFrame({"x": np.full(20_000, value) + np.arange(20_000)})
sys.stdin.readline()
for _ in range(40):
    lake.write("line/table", "2018-01", table, Footer(content_hash(table), {}, "", "", Verdict({}), len(table)))
"""


def test_two_writers_of_one_partition_leave_a_whole_file_of_one_of_them(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write("line/table", "2018-01", frame(), footer(frame()))
    writers = [
        subprocess.Popen([sys.executable, "-c", SAME_PARTITION, str(tmp_path), value], stdin=subprocess.PIPE)
        for value in ("1", "2")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    while any(writer.poll() is None for writer in writers):
        assert len(lake.read("line/table", ["2018-01"])) in (3, 20_000)  # never a half
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    assert [writer.returncode for writer in writers] == [0, 0]
    found = lake.footer("line/table", "2018-01")
    assert found is not None
    assert content_hash(lake.read("line/table", ["2018-01"])) == found.content
    assert len(lake.files()) == 1


def test_a_file_that_another_process_replaced_is_seen_and_one_that_did_not_change_is_not_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Lake(tmp_path), Lake(tmp_path)
    theirs.write("line/table", "2018-01", frame(), footer(frame()))
    first = ours.footer("line/table", "2018-01")
    other = frame().assign(close=3.0)
    theirs.write("line/table", "2018-01", other, footer(other))
    assert ours.footer("line/table", "2018-01") == footer(other) != first
    monkeypatch.setattr(Lake, "_read_footer", lambda *_: pytest.fail("parsed again"))
    assert ours.footer("line/table", "2018-01") == footer(other)
    monkeypatch.undo()
    Path(ours.path("line/table", "2018-01")).unlink()
    assert ours.footer("line/table", "2018-01") is None


def test_want_of_memory_is_no_damage(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.write("line/table", "2018-01", frame(), footer(frame()))

    def fails(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetFile, "read", fails)
        with pytest.raises(LakeError, match="for want of memory: make room") as caught:
            lake.read("line/table", ["2018-01"])
    assert not isinstance(caught.value, DamagedFileError)
    assert len(lake.read("line/table", ["2018-01"]))
