"""One suite for both databases: what holds for SQLite holds for PostgreSQL."""

from __future__ import annotations

import json
import logging
import multiprocessing
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from pandas.testing import assert_frame_equal

from butterquant_assets.foundation.errors import ConfigError, WarehouseError
from butterquant_assets.foundation.sql_files import read_dialect_file, read_migrations, read_query, sql_folder
from butterquant_assets.foundation.warehouse import Warehouse

MIGRATIONS = [migration.name for migration in read_migrations(sql_folder(), "sqlite")]
RELEASED = ["0001_model_registry", "0002_daily_metrics", "0003_model_events", "0004_trade_decisions"]
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
    with pytest.raises(WarehouseError, match=r"no query is named 'champoin' .* known: .*champion, "):
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


def timescaledb_in(sql: Path, licence: str) -> None:
    """Let the probe find an extension with that licence."""
    probe = f"SELECT '2.17.0' AS extversion, '{licence}' AS license;"
    (sql / "postgresql" / "timescaledb_version.sql").write_text(probe)


STAND_IN = """
CREATE TABLE calls (number SERIAL, call TEXT);
CREATE SCHEMA timescaledb_information;
CREATE TABLE timescaledb_information.hypertables (hypertable_name TEXT, compression_enabled BOOLEAN);
CREATE FUNCTION create_hypertable(relation REGCLASS, time_column NAME, chunk_time_interval INTERVAL,
    if_not_exists BOOLEAN, migrate_data BOOLEAN) RETURNS VOID LANGUAGE SQL AS
    'INSERT INTO calls (call) VALUES (''hypertable '' || relation::text)';
CREATE FUNCTION add_compression_policy(relation REGCLASS, compress_after INTERVAL, if_not_exists BOOLEAN)
    RETURNS VOID LANGUAGE SQL AS
    'INSERT INTO calls (call) VALUES (''compression of '' || relation::text)';
CREATE FUNCTION add_continuous_aggregate_policy(relation REGCLASS, start_offset INTERVAL, end_offset INTERVAL,
    schedule_interval INTERVAL, if_not_exists BOOLEAN) RETURNS VOID LANGUAGE SQL AS
    'INSERT INTO calls (call) VALUES (''policy of '' || relation::text)';
CREATE FUNCTION time_bucket(width INTERVAL, at TIMESTAMP) RETURNS TIMESTAMP LANGUAGE SQL IMMUTABLE AS
    'SELECT date_bin(width, at, TIMESTAMP ''2000-01-03'')';
"""


def without_namespace(sql: Path) -> None:
    """The statements as plain PostgreSQL takes them: options of the extension's namespace left out."""
    weekly, compression = (sql / "postgresql" / f"daily_metrics_{name}.sql" for name in ("weekly", "compression"))
    weekly.write_text(re.sub(r"\nWITH \(timescaledb[^)]*\)", "", weekly.read_text()))
    bare = re.sub(r"(?s)ALTER TABLE daily_metrics SET \(.*?\);", "", compression.read_text())
    marked = "UPDATE timescaledb_information.hypertables SET compression_enabled = TRUE;"
    compression.write_text(
        bare + "INSERT INTO timescaledb_information.hypertables VALUES ('daily_metrics', FALSE);" + marked
    )


def test_compression_and_the_weekly_aggregate_are_made_once_where_the_licence_allows(
    new_postgres_url: str, sql: Path
) -> None:
    timescaledb_in(sql, licence="timescale")
    without_namespace(sql)
    (sql / "migrations" / f"{NEXT}_stand_in.postgresql.sql").write_text(STAND_IN)
    (sql / "queries" / "calls.sql").write_text("-- returns: call text\nSELECT call FROM calls ORDER BY number")
    (sql / "queries" / "weekly.sql").write_text(
        "-- returns: week timestamp, ticker text, sessions integer, total_score double\n"
        "SELECT week, ticker, sessions, total_score FROM daily_metrics_weekly ORDER BY week, ticker"
    )
    (sql / "queries" / "refresh.sql").write_text("REFRESH MATERIALIZED VIEW daily_metrics_weekly")
    first = ["hypertable daily_metrics", "compression of daily_metrics", "policy of daily_metrics_weekly"]
    with Warehouse(new_postgres_url, sql) as warehouse:
        warehouse.migrate()
        assert warehouse.fetch("calls")["call"].tolist() == first
        warehouse.migrate()
        assert warehouse.fetch("calls")["call"].tolist() == [*first, first[0], first[2]]
        frame = daily_metrics(40)  # 2018-01-02, a Tuesday, to Friday, ten tickers
        warehouse.upsert_frame("upsert_daily_metrics", frame)
        warehouse.execute("refresh")
        weekly = warehouse.fetch("weekly")
    expected = frame.groupby("ticker")["total_score"].agg(["size", "mean"])
    assert set(weekly["week"]) == {pd.Timestamp("2018-01-01")}
    assert weekly["sessions"].tolist() == expected["size"].tolist()
    assert weekly["total_score"].tolist() == pytest.approx(expected["mean"].tolist())


def test_a_licence_without_compression_is_left_with_the_hypertable_and_a_log_line(
    new_postgres_url: str, sql: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timescaledb_in(sql, licence="apache")
    (sql / "migrations" / f"{NEXT}_stand_in.postgresql.sql").write_text(STAND_IN)
    (sql / "queries" / "calls.sql").write_text("-- returns: call text\nSELECT call FROM calls ORDER BY number")
    with caplog.at_level(logging.INFO), Warehouse(new_postgres_url, sql) as warehouse:
        warehouse.migrate()
        assert warehouse.fetch("calls")["call"].tolist() == ["hypertable daily_metrics"]
    assert "has licence apache: no compression and no weekly aggregate" in caplog.text


@pytest.mark.parametrize("name", ["daily_metrics_compression", "daily_metrics_weekly", "daily_metrics_hypertable"])
def test_postgresql_understands_every_statement_meant_for_timescaledb(new_postgres_url: str, name: str) -> None:
    engine = sa.create_engine(sa.make_url(new_postgres_url).set(drivername="postgresql+psycopg2"))
    with Warehouse(new_postgres_url) as warehouse:
        warehouse.migrate()
    for statement in read_dialect_file(sql_folder(), name, "postgresql").statements:
        with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as refused:
            connection.exec_driver_sql(statement)
        # Unknown function, unknown namespace of options: what lacks is the extension, not a comma.
        assert refused.value.orig is not None
        assert refused.value.orig.pgcode in ("42883", "22023")  # type: ignore[attr-defined]
    engine.dispose()


def test_hypertables_are_made_where_timescaledb_is_present(new_postgres_url: str, sql: Path) -> None:
    # The extension is not packaged for test machines: a function of its name records how it is called.
    timescaledb_in(sql, licence="apache")
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


def test_a_stream_gives_in_pieces_what_a_fetch_gives_at_once(warehouse: Warehouse) -> None:
    frame = daily_metrics(57)
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    params = {"first": date(2000, 1, 1), "last": date(2100, 1, 1), "minimum_score": -1e9}
    pieces = list(warehouse.stream("export_daily_metrics", params, chunk=10))
    assert [len(piece) for piece in pieces] == [10, 10, 10, 10, 10, 7]
    assert_frame_equal(pd.concat(pieces, ignore_index=True), export(warehouse), check_exact=True)


def test_a_stream_of_nothing_gives_one_empty_piece_with_its_types(warehouse: Warehouse) -> None:
    params = {"first": date(2000, 1, 1), "last": date(2000, 1, 1), "minimum_score": 0.0}
    (piece,) = warehouse.stream("export_daily_metrics", params)
    assert piece.empty
    assert piece.dtypes.equals(daily_metrics(1).dtypes)


def test_a_stream_shows_the_database_as_it_was_when_it_began(warehouse: Warehouse) -> None:
    warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(30).assign(delta=1.0))
    params = {"first": date(2000, 1, 1), "last": date(2100, 1, 1), "minimum_score": -1e9}
    stream = warehouse.stream("export_daily_metrics", params, chunk=10)
    seen = [next(stream)]
    warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(30).assign(delta=2.0))
    seen += list(stream)
    assert set(pd.concat(seen)["delta"]) == {1.0}


def test_a_stream_that_is_given_up_gives_its_connection_back(warehouse: Warehouse) -> None:
    warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(30))
    params = {"first": date(2000, 1, 1), "last": date(2100, 1, 1), "minimum_score": -1e9}
    for _ in range(30):  # more than any pool holds
        stream = warehouse.stream("export_daily_metrics", params, chunk=5)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    assert len(export(warehouse)) == 30


def test_replacing_takes_away_what_is_not_written_again_and_nothing_beyond_its_span(warehouse: Warehouse) -> None:
    frame = daily_metrics(40)
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    span = {"first": date(2018, 1, 3), "last": date(2018, 1, 4)}
    inside = frame[frame["time"].between("2018-01-03", "2018-01-04")].drop(index=[12])
    warehouse.replace_frame("upsert_daily_metrics", inside, clear="clear_daily_metrics", params=span)
    assert_frame_equal(export(warehouse), frame.drop(index=[12]).reset_index(drop=True), check_exact=True)


def test_a_replacement_the_database_refuses_leaves_the_former_rows(warehouse: Warehouse) -> None:
    frame = daily_metrics(20)
    warehouse.upsert_frame("upsert_daily_metrics", frame)
    bad = frame.assign(ticker=frame["ticker"].where(frame.index != 15, None))
    span = {"first": date(2018, 1, 1), "last": date(2018, 12, 31)}
    with pytest.raises(WarehouseError, match=r"(NOT NULL|null value)"):
        warehouse.replace_frame("upsert_daily_metrics", bad, clear="clear_daily_metrics", params=span, chunk=4)
    assert_frame_equal(export(warehouse), frame, check_exact=True)


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
