"""What TimescaleDB adds to PostgreSQL where it is there, and what is said where it is not."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from butterquant_assets.foundation.sql_files import read_dialect_file, read_migrations, sql_folder
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_tests.foundation.warehouse_rows import daily_metrics

NEXT = f"{len(read_migrations(sql_folder(), 'sqlite')) + 1:04d}"


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A copy of the project's SQL that a test may change."""
    return Path(shutil.copytree(sql_folder(), tmp_path / "sql"))


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
