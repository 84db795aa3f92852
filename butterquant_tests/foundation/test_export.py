"""Exports: what is in the file, how much memory it takes, and what an interruption leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from butterquant_assets.foundation.errors import ConfigError, WarehouseError
from butterquant_assets.foundation.export import TABLES, export_table
from butterquant_assets.foundation.files import temporary_of
from butterquant_assets.foundation.sql_files import read_query, sql_folder
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_tests.foundation.warehouse_rows import daily_metrics

SPAN = {"since": date(2018, 1, 1), "until": date(2018, 12, 31)}


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Warehouse]:
    with Warehouse(warehouse_url) as opened:
        opened.migrate()
        opened.upsert_frame("upsert_daily_metrics", daily_metrics(57))
        yield opened


def test_the_file_holds_the_rows_of_the_span_in_order_whatever_the_pieces(warehouse: Warehouse, tmp_path: Path) -> None:
    for rows in (7, 57, 1000):
        done = export_table(warehouse, "daily_metrics", tmp_path / "m.parquet", rows_at_a_time=rows, **SPAN)
        found = pd.read_parquet(tmp_path / "m.parquet")
        pd.testing.assert_frame_equal(found, daily_metrics(57), check_exact=True)
        assert (done.rows, done.first, done.last) == (57, "2018-01-02", "2018-01-07")
        assert done.bytes == (tmp_path / "m.parquet").stat().st_size
    assert pq.ParquetFile(tmp_path / "m.parquet").num_row_groups == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["m.parquet"]


def test_since_and_until_are_both_included_and_the_score_must_exceed_its_minimum(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    target = tmp_path / "m.parquet"
    done = export_table(warehouse, "daily_metrics", target, since=date(2018, 1, 3), until=date(2018, 1, 4))
    assert (done.rows, done.first, done.last) == (20, "2018-01-03", "2018-01-04")
    done = export_table(warehouse, "daily_metrics", target, filters={"minimum_score": 60.0}, **SPAN)
    assert pd.read_parquet(target)["total_score"].min() == 61.0
    assert done.rows == 47


@pytest.mark.parametrize("table", TABLES)
def test_an_export_without_rows_has_the_columns_with_their_types(
    warehouse: Warehouse, tmp_path: Path, table: str
) -> None:
    done = export_table(warehouse, table, tmp_path / "m.parquet", since=date(2030, 1, 1), until=date(2030, 1, 1))
    found = pd.read_parquet(tmp_path / "m.parquet")
    assert (done.rows, done.first, done.last, len(found)) == (0, None, None, 0)
    query = read_query(sql_folder(), TABLES[table].query, "sqlite")
    assert list(found.columns) == list(query.returns)
    kinds = {"text": "str", "double": "float64", "integer": "Int64", "timestamp": "datetime64[us]"}
    assert [str(dtype) for dtype in found.dtypes] == [kinds[kind] for kind in query.returns.values()]


def test_what_cannot_be_exported_is_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    target = tmp_path / "m.parquet"
    with pytest.raises(ConfigError, match="'model_events' cannot be exported; there are daily_metrics, trade_dec"):
        export_table(warehouse, "model_events", target, **SPAN)
    with pytest.raises(ConfigError, match="begins on 2018-02-01, after its end 2018-01-01"):
        export_table(warehouse, "daily_metrics", target, since=date(2018, 2, 1), until=date(2018, 1, 1))
    with pytest.raises(ConfigError, match="is no folder"):
        export_table(warehouse, "daily_metrics", tmp_path / "none" / "m.parquet", **SPAN)
    with pytest.raises(ConfigError, match="is a folder: name a file in it"):
        export_table(warehouse, "daily_metrics", tmp_path, **SPAN)
    with pytest.raises(ConfigError, match="trade_decisions has no filter minimum_score"):
        export_table(warehouse, "trade_decisions", target, filters={"minimum_score": 1.0}, **SPAN)
    assert not target.exists()


def test_an_export_that_fails_on_the_way_leaves_the_former_file_and_nothing_else(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "m.parquet"
    target.parent.mkdir()
    target.write_bytes(b"former")

    def cut(*_: object) -> Iterator[pd.DataFrame]:
        yield daily_metrics(10)
        raise failure

    failure: BaseException
    monkeypatch.setattr(Warehouse, "stream", cut)
    for failure in (WarehouseError("connection lost"), KeyboardInterrupt(), OSError(28, "No space left on device")):
        expected = WarehouseError if isinstance(failure, OSError) else type(failure)
        with pytest.raises(expected):
            export_table(warehouse, "daily_metrics", target, **SPAN)
        assert [path.name for path in target.parent.iterdir()] == ["m.parquet"]
        assert target.read_bytes() == b"former"


FULL_DISK = """
import resource, sys
from datetime import date
from pathlib import Path
from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.export import export_table
from butterquant_assets.foundation.warehouse import Warehouse
warehouse = Warehouse(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))
try:
    export_table(warehouse, "daily_metrics", Path(sys.argv[2]), since=date(2018, 1, 1), until=date(2019, 1, 1))
except WarehouseError as error:
    print(error)
"""


def test_a_full_disk_is_said_to_be_so_and_the_former_file_stays(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'warehouse' / 'w.sqlite'}"
    with Warehouse(url) as warehouse:
        warehouse.migrate()
        warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(500))
        target = tmp_path / "m.parquet"
        target.write_bytes(b"former")
        command = [sys.executable, "-c", FULL_DISK, url, str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "m.parquet could not be written" in done.stdout
    assert "unchanged. Make room" in done.stdout
    assert target.read_bytes() == b"former"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.parquet", "warehouse"]


def test_what_a_killed_export_left_goes_with_the_next_one_and_that_of_a_living_one_stays(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = tmp_path / "out"
    folder.mkdir()
    mine, dead_one = f".{os.getpid()}.", f".{dead.pid}."
    names = [temporary_of(Path("m.parquet")).name.replace(mine, pid) for pid in (dead_one, mine)]
    others = [temporary_of(Path("other.parquet")).name.replace(mine, dead_one), ".m.parquet.notes"]
    for name in [*names, *others]:
        (folder / name).write_bytes(b"half")
    export_table(warehouse, "daily_metrics", folder / "m.parquet", **SPAN)
    assert {path.name for path in folder.iterdir()} == {"m.parquet", names[1], *others}


MEASURED = """
import resource, sys
from datetime import date
from pathlib import Path
from butterquant_assets.foundation.export import export_table
from butterquant_assets.foundation.warehouse import Warehouse
done = export_table(
    Warehouse(sys.argv[1]), "daily_metrics", Path(sys.argv[2]),
    since=date(2000, 1, 1), until=date.fromisoformat(sys.argv[3]), rows_at_a_time=5_000,
)
print(done.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(warehouse_url: str, tmp_path: Path) -> None:
    with Warehouse(warehouse_url) as warehouse:
        warehouse.migrate()
        rows = daily_metrics(100_000)  # ten a day: 10,000 days
        warehouse.upsert_frame("upsert_daily_metrics", rows)
    peaks = {}
    for until in ("2021-01-01", "2080-01-01"):
        command = [sys.executable, "-c", MEASURED, warehouse_url, str(tmp_path / "m.parquet"), until]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        count, peak = map(int, done.stdout.split())
        peaks[count] = peak / 1024
    assert len(peaks) == 2
    (few, small), (many, large) = sorted(peaks.items())
    assert few < 12_000
    assert many == 100_000
    # As rows of a driver the rest takes over 100 MB.
    assert large - small < 40
    assert len(pd.read_parquet(tmp_path / "m.parquet", columns=["ticker"])) == 100_000
    assert pq.ParquetFile(tmp_path / "m.parquet").num_row_groups == 20


INTERRUPTED = """
import sys
from butterquant_assets.cli_data import export
export(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_export_told_to_stop_leaves_the_former_file_and_nothing_else(tmp_path: Path, how: signal.Signals) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    out.mkdir()
    (home / "home.json").write_text("{}")
    with Warehouse(f"sqlite:///{home / 'warehouse.sqlite'}") as warehouse:
        warehouse.migrate()
        warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(150_000))
    (out / "m.parquet").write_bytes(b"former")
    command = [sys.executable, "-c", INTERRUPTED, "daily_metrics", "--since", "2000-01-01"]
    command += ["--to", str(out / "m.parquet"), "--home", str(home)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list(out.iterdir())) == 1:
        time.sleep(0.005)
    assert len(list(out.iterdir())) == 2  # its temporary file is there
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0, said
    assert [path.name for path in out.iterdir()] == ["m.parquet"]
    assert (out / "m.parquet").read_bytes() == b"former"
