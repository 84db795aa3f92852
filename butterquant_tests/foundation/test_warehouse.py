"""One suite for both databases: what holds for SQLite holds for PostgreSQL."""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from butterquant_assets.foundation.errors import ConfigError, WarehouseError
from butterquant_assets.foundation.sql_files import sql_folder
from butterquant_assets.foundation.warehouse import Warehouse

MIGRATIONS = ["0001_model_registry", "0002_daily_metrics", "0003_model_events", "0004_trade_decisions"]
NEXT = f"{len(MIGRATIONS) + 1:04d}"
# The table of the source document, in its order.
# fmt: off
DAILY_METRICS = [
    "time", "ticker", "current_price", "trend_direction", "trend_slope", "dominant_period",
    "predicted_price", "prediction_lower", "prediction_upper", "price_stability", "predicted_vol", "current_iv",
    "vol_mispricing", "iv_percentile", "delta", "gamma", "vega", "theta",
    "butterfly_type", "max_profit", "max_loss", "profit_ratio", "prob_profit", "total_score",
    "recommendation", "ml_success_prob", "expected_roi", "model_version",
]
# fmt: on
TEXT = ("ticker", "trend_direction", "butterfly_type", "recommendation", "model_version")


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Warehouse]:
    with Warehouse(warehouse_url) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A copy of the project's SQL that a test may change."""
    return Path(shutil.copytree(sql_folder(), tmp_path / "sql"))


def daily_metrics(rows: int, seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=rows) for name in DAILY_METRICS})
    for name in TEXT:
        frame[name] = pd.Series([f"{name} {number}" for number in range(rows)], dtype="str")
    frame["time"] = pd.Timestamp("2018-01-02") + pd.to_timedelta(np.arange(rows) // 10, unit="D")
    frame["ticker"] = pd.Series([f"SIM{number % 10:02d}" for number in range(rows)], dtype="str")
    frame["total_score"] = 51.0 + np.arange(rows)
    return frame.astype({"time": "datetime64[us]"})


def export(warehouse: Warehouse, minimum_score: float = -1e9) -> pd.DataFrame:
    span = {"first": date(2000, 1, 1), "last": date(2100, 1, 1)}
    return warehouse.fetch("export_daily_metrics", span | {"minimum_score": minimum_score})


def model(version: str, role: str = "challenger", **changes: object) -> dict[str, object]:
    return {
        "model": "success",
        "version": version,
        "role": role,
        "label": "label_mark",
        "onnx_sha256": "ab" * 32,
        "training_content": "t1",
        "code_version": "c1",
        "metrics": json.dumps({"log_loss": 1.2}),
        "published_at": None,
    } | changes


def test_migrations_are_applied_once_in_order_and_recorded(warehouse_url: str) -> None:
    with Warehouse(warehouse_url) as warehouse:
        assert warehouse.migrate() == MIGRATIONS
        assert warehouse.migrate() == []
        recorded = warehouse.fetch("schema_migrations")
    assert recorded["name"].tolist() == MIGRATIONS
    assert recorded["number"].tolist() == list(range(1, len(MIGRATIONS) + 1))
    assert recorded["checksum"].str.fullmatch("[0-9a-f]{64}").all()


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


def test_daily_metrics_has_the_columns_of_the_document(warehouse: Warehouse) -> None:
    assert export(warehouse).columns.tolist() == DAILY_METRICS


def test_a_frame_comes_back_as_it_was_written(warehouse: Warehouse) -> None:
    frame = daily_metrics(57)
    assert warehouse.upsert_frame("upsert_daily_metrics", frame, chunk=10) == 57
    assert_frame_equal(export(warehouse), frame, check_exact=True)


def test_types_do_not_depend_on_the_rows_found(warehouse: Warehouse) -> None:
    types = daily_metrics(1).dtypes
    assert export(warehouse).dtypes.equals(types)
    frame = daily_metrics(3)
    frame["expected_roi"] = np.nan
    frame["model_version"] = pd.Series([None] * 3, dtype="str")
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    found = export(warehouse)
    assert found.dtypes.equals(types)
    assert found["expected_roi"].isna().all()
    assert found["model_version"].isna().all()


def test_writing_a_frame_again_changes_nothing_and_corrections_replace(warehouse: Warehouse) -> None:
    frame = daily_metrics(20)
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    assert_frame_equal(export(warehouse), frame, check_exact=True)
    frame.loc[3, ["trend_slope", "theta"]] = [9.5, np.nan]
    warehouse.upsert_frame("upsert_daily_metrics", frame.iloc[[3]])
    assert_frame_equal(export(warehouse), frame, check_exact=True)


def test_the_export_keeps_scores_above_the_minimum_only(warehouse: Warehouse) -> None:
    frame = daily_metrics(4)
    frame["total_score"] = [49.9, 50.0, 50.1, np.nan]
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    assert export(warehouse, minimum_score=50)["total_score"].tolist() == [50.1]


def test_an_empty_frame_writes_nothing(warehouse: Warehouse) -> None:
    assert warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(3).iloc[:0]) == 0
    assert export(warehouse).empty


def test_a_row_the_database_refuses_takes_the_whole_frame_with_it(warehouse: Warehouse) -> None:
    frame = daily_metrics(25)
    frame["ticker"] = frame["ticker"].where(frame.index != 23, None)
    with pytest.raises(WarehouseError, match=r"upsert_daily_metrics failed on .*(NOT NULL|null value)"):
        warehouse.upsert_frame("upsert_daily_metrics", frame, chunk=5)
    assert export(warehouse).empty


def test_a_repeated_key_is_refused_not_overwritten(warehouse: Warehouse) -> None:
    frame = pd.concat([daily_metrics(3), daily_metrics(1)], ignore_index=True)
    with pytest.raises(WarehouseError, match=r"1 rows repeat a key .* time=2018-01-02 00:00:00, ticker=SIM00"):
        warehouse.upsert_frame("upsert_daily_metrics", frame)


def test_columns_that_are_not_the_parameters_are_named(warehouse: Warehouse) -> None:
    frame = daily_metrics(1).rename(columns={"theta": "tehta"})
    with pytest.raises(WarehouseError, match="missing: theta; not known to it: tehta"):
        warehouse.upsert_frame("upsert_daily_metrics", frame)
    with pytest.raises(WarehouseError, match="missing: model"):
        warehouse.fetch("champion")


def test_timestamps_with_a_time_zone_are_refused(warehouse: Warehouse) -> None:
    frame = daily_metrics(2)
    frame["time"] = frame["time"].dt.tz_localize("UTC")
    with pytest.raises(WarehouseError, match="has a time zone"):
        warehouse.upsert_frame("upsert_daily_metrics", frame)
    with pytest.raises(WarehouseError, match="has a time zone"):
        warehouse.execute("upsert_model", model("v1", published_at=datetime(2026, 1, 1, tzinfo=UTC)))


def test_numpy_values_are_written_as_what_they_are(warehouse: Warehouse) -> None:
    row: dict[str, object] = dict.fromkeys(DAILY_METRICS)
    row |= {"time": np.datetime64("2018-01-02T00:00:00.000000000"), "ticker": np.str_("SIM01")}
    row |= {"delta": np.float32(0.5), "theta": np.float64("nan"), "total_score": np.int64(60)}
    assert warehouse.execute("upsert_daily_metrics", row) == 1
    found = export(warehouse).iloc[0]
    assert (found["time"], found["ticker"]) == (pd.Timestamp("2018-01-02"), "SIM01")
    assert (found["delta"], found["total_score"]) == (0.5, 60.0)
    assert np.isnan(found["theta"])


def test_a_list_of_parameters_is_written_in_one_transaction(warehouse: Warehouse) -> None:
    warehouse.execute("upsert_model", [model("v1"), model("v2")])
    with pytest.raises(WarehouseError):
        warehouse.execute("upsert_model", [model("v3"), model("v4", role="king")])
    found = warehouse.fetch("models", {"model": "success"})
    assert found["version"].tolist() == ["v1", "v2"]
    assert warehouse.execute("upsert_model", []) == 0


def test_a_model_version_has_a_time_of_publication_only_when_given_one(warehouse: Warehouse) -> None:
    at = datetime(2026, 3, 1, 12, 30, 0, 250_000)
    warehouse.execute("upsert_model", [model("v1"), model("v2", published_at=at)])
    found = warehouse.fetch("models", {"model": "success"}).set_index("version")["published_at"]
    assert found["v1"] is pd.NaT
    assert found["v2"] == pd.Timestamp(at)


def test_the_database_itself_refuses_a_second_champion_and_unknown_roles(warehouse: Warehouse) -> None:
    warehouse.execute("upsert_model", model("v1", role="champion"))
    for row in (model("v2", role="champion"), model("v3", role="king")):
        with pytest.raises(WarehouseError, match="upsert_model failed"):
            warehouse.execute("upsert_model", row)


def test_publishing_a_version_again_refreshes_its_evidence_and_keeps_its_role(warehouse: Warehouse) -> None:
    warehouse.execute("upsert_model", model("v1", role="champion", published_at=datetime(2026, 1, 1)))
    warehouse.execute("upsert_model", model("v1", metrics="{}"))
    found = warehouse.fetch("champion", {"model": "success"}).iloc[0]
    assert (found["metrics"], found["published_at"]) == ("{}", pd.Timestamp("2026-01-01"))


def test_values_are_parameters_not_sql(warehouse: Warehouse) -> None:
    nasty = "x'); DROP TABLE model_registry; -- 100 % :model"
    warehouse.execute("upsert_model", model(nasty))
    assert warehouse.fetch("models", {"model": "success"})["version"].tolist() == [nasty]


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


def test_an_unknown_query_is_named_with_those_there_are(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match=r"no query is named 'champoin' .* known: champion, "):
        warehouse.fetch("champoin")
    with pytest.raises(WarehouseError, match="no query is named"):
        warehouse.fetch("../migrations/0001_model_registry")


def test_a_database_without_the_schema_says_what_is_missing(warehouse_url: str) -> None:
    with Warehouse(warehouse_url) as empty, pytest.raises(WarehouseError, match=r"champion failed on .*model_registry"):
        empty.fetch("champion", {"model": "success"})


def test_a_query_whose_comment_does_not_match_its_result_is_refused(warehouse_url: str, sql: Path) -> None:
    (sql / "queries" / "odd.sql").write_text("-- returns: a integer\nSELECT 1 AS b")
    (sql / "queries" / "mute.sql").write_text("SELECT 1 AS b")
    with Warehouse(warehouse_url, sql) as warehouse:
        with pytest.raises(WarehouseError, match=r"returns .*'b'.*, its comment says .*'a'"):
            warehouse.fetch("odd")
        with pytest.raises(WarehouseError, match="needs one statement and a '-- returns:' comment"):
            warehouse.fetch("mute")


def test_hypertables_are_skipped_with_a_log_line_where_timescaledb_is_absent(
    new_postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), Warehouse(new_postgres_url) as warehouse:
        warehouse.migrate()
    assert "no timescaledb extension" in caplog.text


def test_hypertables_are_made_where_timescaledb_is_present(new_postgres_url: str, sql: Path) -> None:
    # The extension is not packaged for test machines: a function of its name records how it is called.
    (sql / "postgresql" / "timescaledb_version.sql").write_text("SELECT '2.17.0' AS extversion;")
    (sql / "migrations" / f"{NEXT}_stand_in.sql").write_text(
        "CREATE TABLE calls (hypertable TEXT, dimension TEXT);\n"
        "CREATE FUNCTION create_hypertable(relation REGCLASS, time_column NAME, chunk_time_interval INTERVAL, "
        "if_not_exists BOOLEAN, migrate_data BOOLEAN) RETURNS VOID LANGUAGE SQL AS "
        "'INSERT INTO calls VALUES (relation::text, time_column)';"
    )
    (sql / "queries" / "calls.sql").write_text(
        "-- returns: hypertable text, dimension text\nSELECT hypertable, dimension FROM calls"
    )
    with Warehouse(new_postgres_url, sql) as warehouse:
        warehouse.migrate()
        assert warehouse.fetch("calls").to_dict("records") == [{"hypertable": "daily_metrics", "dimension": "time"}]


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
