"""Several at one warehouse, connections that break, and URLs that say no password."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from pandas.testing import assert_frame_equal

from butterquant_assets.foundation.errors import ConfigError, WarehouseError
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_tests.foundation.warehouse_rows import daily_metrics, export


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Warehouse]:
    with Warehouse(warehouse_url) as opened:
        opened.migrate()
        yield opened


def test_readers_see_the_state_before_or_after_a_write_never_half(warehouse: Warehouse) -> None:
    first, second = daily_metrics(400).assign(delta=1.0), daily_metrics(400).assign(delta=2.0)
    warehouse.upsert_frame("upsert_daily_metrics", first)
    done = threading.Event()
    seen: set[tuple[float, ...]] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(tuple(sorted(set(export(warehouse)["delta"]))))

    reader = threading.Thread(target=read)
    reader.start()
    for frame in (second, first, second):
        warehouse.upsert_frame("upsert_daily_metrics", frame, chunk=50)
    done.set()
    reader.join()
    assert seen <= {(1.0,), (2.0,)}


def _upsert(url: str, start: threading.Barrier, ticker: str) -> None:
    frame = daily_metrics(300).assign(ticker=ticker)
    frame["time"] = pd.date_range("2018-01-01", periods=300, unit="us")
    start.wait(timeout=60)
    with Warehouse(url) as warehouse:
        for _ in range(5):
            warehouse.upsert_frame("upsert_daily_metrics", frame)


def test_processes_that_write_at_once_wait_for_each_other(warehouse: Warehouse, warehouse_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(3)
    workers = [spawn.Process(target=_upsert, args=(warehouse_url, start, name)) for name in ("A", "B", "C")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert export(warehouse)["ticker"].value_counts().to_dict() == {"A": 300, "B": 300, "C": 300}


def cut_off(url: str, waiting: bool = False) -> None:
    """End every other connection to the database, once one of them waits for a lock if `waiting`."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT")
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    others += " AND wait_event_type = 'Lock'" if waiting else ""
    with engine.connect() as connection:
        while waiting and not connection.exec_driver_sql(f"SELECT count(*) {others}").scalar():
            connection.exec_driver_sql("SELECT pg_sleep(0.02)")
        connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) {others}")
    engine.dispose()


def test_a_connection_lost_between_two_calls_is_made_anew(new_postgres_url: str) -> None:
    with Warehouse(new_postgres_url) as warehouse:
        warehouse.migrate()
        cut_off(new_postgres_url)
        warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(5))
        cut_off(new_postgres_url)
        assert len(export(warehouse)) == 5


def test_a_connection_lost_in_a_write_is_said_to_be_so_and_the_write_can_be_repeated(new_postgres_url: str) -> None:
    frame = daily_metrics(40)
    blocker = sa.create_engine(sa.make_url(new_postgres_url).set(drivername="postgresql+psycopg2"))
    failures: list[BaseException] = []
    with Warehouse(new_postgres_url) as warehouse:
        warehouse.migrate()

        def write() -> None:
            try:
                warehouse.upsert_frame("upsert_daily_metrics", frame, chunk=10)
            except WarehouseError as error:
                failures.append(error)

        writer = threading.Thread(target=write)
        with blocker.begin() as held:
            held.exec_driver_sql("LOCK TABLE daily_metrics IN SHARE MODE")
            writer.start()
            cut_off_waiting = threading.Thread(target=cut_off, args=(new_postgres_url, True))
            cut_off_waiting.start()
            cut_off_waiting.join(timeout=30)
        writer.join(timeout=30)
        assert "upsert_daily_metrics failed on" in str(failures[0])
        assert "terminat" in str(failures[0])
        assert export(warehouse).empty
        assert warehouse.upsert_frame("upsert_daily_metrics", frame) == 40
        assert_frame_equal(export(warehouse), frame, check_exact=True)
    blocker.dispose()


def test_a_connection_lost_in_a_stream_is_an_error_not_an_early_end(new_postgres_url: str) -> None:
    with Warehouse(new_postgres_url) as warehouse:
        warehouse.migrate()
        warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(2_000))
        params = {"first": date(2000, 1, 1), "last": date(2100, 1, 1), "minimum_score": -1e9}
        stream = warehouse.stream("export_daily_metrics", params, chunk=10)
        next(stream)
        cut_off(new_postgres_url)
        with pytest.raises(WarehouseError, match="export_daily_metrics failed on"):
            list(stream)
        assert len(export(warehouse)) == 2_000


URLS_THAT_FAIL: list[Callable[[str], str]] = [
    lambda secret: f"postgresql://anna:{secret}@127.0.0.1:1/x",
    lambda secret: f"postgresql://127.0.0.1:1/x?user=anna&password={secret}",
    lambda secret: f"postgresql://anna:{secret}@127.0.0.1:not-a-port/x",
    lambda secret: f"mysql://anna:{secret}@127.0.0.1/x",
    lambda secret: f"anna:{secret}",
    lambda secret: f"postgresql://anna@127.0.0.1:1/x?sslmode=prefer&sslpassword={secret}",
]


@pytest.mark.parametrize("make", URLS_THAT_FAIL)
def test_no_message_and_no_traceback_holds_the_password(make: Callable[[str], str]) -> None:
    secret = "s3cret-Pa55"  # noqa: S105 - the point of this test
    with pytest.raises((WarehouseError, ConfigError)) as failure:
        Warehouse(make(secret)).migrate()
    error: BaseException | None = failure.value
    while error is not None and not error.__suppress_context__:
        assert secret not in str(error)
        error = error.__cause__ or error.__context__
    assert error is None or secret not in str(error)


def test_a_password_with_reserved_characters_is_masked_in_both_spellings() -> None:
    warehouse = Warehouse("postgresql://anna:p%40ss%2Fw@127.0.0.1:1/x")
    assert warehouse.url == "postgresql+psycopg2://anna:***@127.0.0.1:1/x"
    assert "p@ss" not in repr(warehouse)
    assert "p%40ss" not in repr(warehouse)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_spelling_of_a_postgresql_url_gets_the_same_driver(scheme: str) -> None:
    assert Warehouse(f"{scheme}://anna@127.0.0.1/x").url == "postgresql+psycopg2://anna@127.0.0.1/x"


def test_an_sqlite_warehouse_makes_its_folder_and_lives_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "home" / "warehouse.sqlite"
    with Warehouse(f"sqlite:///{file}") as warehouse:
        warehouse.migrate()
    assert [path.name for path in file.parent.iterdir()] == ["warehouse.sqlite"]
