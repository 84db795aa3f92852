"""Migrations on both databases: from empty, from every earlier version, at once, edited, failing."""

from __future__ import annotations

import multiprocessing
import shutil
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.sql_files import read_migrations, read_query, sql_folder
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_tests.foundation.warehouse_rows import daily_metrics, export, model

MIGRATIONS = [migration.name for migration in read_migrations(sql_folder(), "sqlite")]
RELEASED = ["0001_model_registry", "0002_daily_metrics", "0003_model_events", "0004_trade_decisions"]
NEXT = f"{len(MIGRATIONS) + 1:04d}"


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Warehouse]:
    with Warehouse(warehouse_url) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A copy of the project's SQL that a test may change."""
    return Path(shutil.copytree(sql_folder(), tmp_path / "sql"))


def test_migrations_are_applied_once_in_order_and_recorded(warehouse_url: str) -> None:
    with Warehouse(warehouse_url) as warehouse:
        assert warehouse.migrate() == MIGRATIONS
        assert warehouse.migrate() == []
        recorded = warehouse.fetch("schema_migrations")
    assert recorded["name"].tolist() == MIGRATIONS
    assert recorded["number"].tolist() == list(range(1, len(MIGRATIONS) + 1))
    assert recorded["checksum"].str.fullmatch("[0-9a-f]{64}").all()
    assert MIGRATIONS[: len(RELEASED)] == RELEASED


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_a_database_of_any_earlier_version_is_brought_up_to_date_with_its_rows(
    warehouse_url: str, sql: Path, version: int
) -> None:
    for path in (sql / "migrations").glob("*.sql"):
        if int(path.name[:4]) > version:
            path.unlink()
    with Warehouse(warehouse_url, sql) as earlier:
        assert earlier.migrate() == MIGRATIONS[:version]
        earlier.execute("upsert_model", model("v1", role="champion"))
    with Warehouse(warehouse_url) as warehouse:
        assert warehouse.migrate() == MIGRATIONS[version:]
        found = warehouse.fetch("champion", {"model": "success"})
        assert found["version"].tolist() == ["v1"]
        warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(3))
        assert len(export(warehouse)) == 3


QUERIES = sorted({path.name.split(".")[0] for path in (sql_folder() / "queries").glob("*.sql")})


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_runs_on_the_migrated_schema(warehouse: Warehouse, name: str) -> None:
    query = read_query(sql_folder(), name, warehouse.dialect)
    params: dict[str, object] = dict.fromkeys(query.parameters)
    params |= {key: pd.Timestamp("2018-01-02") for key in ("first", "last", "known_by", "session") if key in params}
    if query.returns:
        found = warehouse.fetch(name, params)
        assert list(found.columns) == list(query.returns)
        return
    said = "NOT NULL|null value|CHECK|violates check"  # the database understood it and wants values
    inserts = query.statements[0].startswith("INSERT")
    wants_values = pytest.raises(WarehouseError, match=said) if inserts else nullcontext()
    with wants_values:
        warehouse.execute(name, params)


def test_a_new_migration_is_applied_to_a_database_that_has_the_earlier_ones(warehouse_url: str, sql: Path) -> None:
    with Warehouse(warehouse_url) as warehouse:
        warehouse.migrate()
    (sql / "migrations" / f"{NEXT}_later.sql").write_text(
        "CREATE TABLE later (x INTEGER); INSERT INTO later VALUES (7);"
    )
    (sql / "queries" / "later.sql").write_text("-- returns: x integer\nSELECT x FROM later")
    with Warehouse(warehouse_url, sql) as newer:
        assert newer.migrate() == [f"{NEXT}_later"]
        assert newer.fetch("later")["x"].tolist() == [7]
        assert newer.migrate() == []


def test_each_dialect_gets_its_own_variant_of_a_migration(warehouse_url: str, sql: Path) -> None:
    for number, dialect in enumerate(("sqlite", "postgresql")):
        text = f"CREATE TABLE later (x INTEGER); INSERT INTO later VALUES ({number});"
        (sql / "migrations" / f"{NEXT}_later.{dialect}.sql").write_text(text)
    (sql / "queries" / "later.sql").write_text("-- returns: x integer\nSELECT x FROM later")
    with Warehouse(warehouse_url, sql) as warehouse:
        assert warehouse.migrate() == [*MIGRATIONS, f"{NEXT}_later"]
        assert warehouse.fetch("later")["x"].tolist() == [["sqlite", "postgresql"].index(warehouse.dialect)]


def test_an_edited_migration_is_refused_by_name(warehouse_url: str, sql: Path) -> None:
    with Warehouse(warehouse_url) as warehouse:
        warehouse.migrate()
    edited = sql / "migrations" / "0001_model_registry.sql"
    edited.write_text(edited.read_text() + "-- edited\n")
    with (
        Warehouse(warehouse_url, sql) as warehouse,
        pytest.raises(WarehouseError, match="0001_model_registry was edited after it was applied"),
    ):
        warehouse.migrate()


def test_a_database_newer_than_the_code_is_refused(warehouse_url: str, sql: Path) -> None:
    (sql / "migrations" / f"{NEXT}_future.sql").write_text("CREATE TABLE future (x INTEGER);")
    with Warehouse(warehouse_url, sql) as newer:
        newer.migrate()
    with (
        Warehouse(warehouse_url) as older,
        pytest.raises(WarehouseError, match=f"was migrated to {NEXT}_future by a newer version"),
    ):
        older.migrate()


def test_a_failing_migration_leaves_nothing_behind_and_can_be_repeated(warehouse_url: str, sql: Path) -> None:
    broken = sql / "migrations" / f"{NEXT}_broken.sql"
    broken.write_text("CREATE TABLE half (x INTEGER);\nINSERT INTO nowhere VALUES (1);")
    with Warehouse(warehouse_url, sql) as warehouse:
        with pytest.raises(WarehouseError, match=rf"migration {NEXT}_broken failed .* and was undone: .*nowhere"):
            warehouse.migrate()
        assert warehouse.fetch("schema_migrations")["name"].tolist() == MIGRATIONS
        broken.write_text("CREATE TABLE half (x INTEGER);")
        assert warehouse.migrate() == [f"{NEXT}_broken"]


def _migrate(url: str, start: threading.Barrier, answers: multiprocessing.SimpleQueue[list[str]]) -> None:
    start.wait(timeout=60)
    with Warehouse(url) as warehouse:
        answers.put(warehouse.migrate())


def test_processes_that_migrate_at_once_apply_each_migration_once(warehouse_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(4), spawn.SimpleQueue()
    workers = [spawn.Process(target=_migrate, args=(warehouse_url, start, answers)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert sorted(name for _ in workers for name in answers.get()) == MIGRATIONS
