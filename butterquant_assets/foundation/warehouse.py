"""The warehouse: SQL for what is transactional, or queried by others.

SQLite by default, PostgreSQL in production. All SQL lies in ``sql/`` and is called by name. Writes are idempotent
upserts; migrations are applied once, in order, each in a transaction. An edge: it does I/O and knows no Dagster.
A write that failed may be repeated as it is: either all of it was committed, and writing it again changes nothing, or
none was.
What does not belong here: SQL text (``sql/``), how its files are read (`sql_files`), what rows mean (the lines).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import pandas as pd
import sqlalchemy as sa

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.sql_checks import check_keys, check_names, check_recorded
from butterquant_assets.foundation.sql_files import (
    Dialect,
    Migration,
    Query,
    read_dialect_file,
    read_migrations,
    read_query,
    sql_folder,
)
from butterquant_assets.foundation.sql_values import SQL_TYPES, bound, plain, records, to_frame
from butterquant_assets.foundation.warehouse_url import masked, parse_url, secrets_of

log = logging.getLogger(__name__)

Params = Mapping[str, Any]

# Seconds a writer waits for another before it gives up.
LOCK_TIMEOUT = 60
# Rows sent to the database at a time.
CHUNK = 10_000
# What timescaledb.license says where all of it may be used; the Apache build has neither compression nor aggregates.
TIMESCALE_LICENCE = "timescale"


class Warehouse:
    """A database with the project's schema.

    Parameters
    ----------
    url
        ``sqlite:///file`` or ``postgresql://user:password@host:port/database``. The folder of an SQLite file is
        created. No connection is made before one is needed.
    sql
        folder of the SQL files; by default the project's own

    Raises
    ------
    ConfigError
        if `url` is not one of these. No error message of this class ever holds a password.

    Notes
    -----
    Every failure of the database is a `WarehouseError` that says which query failed, where, and what the database
    said. Use it as a context manager, or call `close`.
    """

    def __init__(self, url: str, sql: Path | None = None) -> None:
        self._url = parse_url(url)
        self._sql = sql or sql_folder()
        self.dialect: Dialect = cast(Dialect, self._url.get_backend_name())
        self._engine = self._make_engine()
        self._writer = self._engine.execution_options(writes=True)

    @property
    def url(self) -> str:
        """Where the warehouse is, without its password."""
        return masked(self._url)

    def __repr__(self) -> str:
        return f"Warehouse({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back all connections. The warehouse may be used again; it then connects anew."""
        self._engine.dispose()

    def migrate(self) -> list[str]:
        """Bring the schema to what this version of the code needs.

        Safe to call at every start and from several processes at once: they take turns, and each migration is
        applied by one of them.

        Returns
        -------
        names of the migrations this call applied, in order; empty when the schema was current

        Raises
        ------
        WarehouseError
            if an applied migration is not the one this version has (edited or renamed), if the database was migrated
            by a newer version, or if a migration fails (it then leaves nothing behind).
        """
        migrations = read_migrations(self._sql, self.dialect)
        applied: list[str] = []
        while (name := self._apply_next(migrations)) is not None:
            log.info("migration %s applied to %s", name, self.url)
            applied.append(name)
        self._use_timescaledb()
        return applied

    def execute(self, name: str, params: Params | Sequence[Params] | None = None) -> int:
        """Run a named query in one transaction.

        Parameters
        ----------
        name
            file in ``sql/queries`` without its ending
        params
            values by parameter name; None and NaN become NULL. With a sequence, the query's one statement runs for
            each of its members, all in the same transaction.

        Returns
        -------
        rows changed by the last statement, as the driver counts them (drivers do not count a sequence reliably)

        Raises
        ------
        WarehouseError
            if there is no such query, a parameter is missing or unknown, or the database refuses.
        """
        query = read_query(self._sql, name, self.dialect)
        rows = [dict(params or {})] if params is None or isinstance(params, Mapping) else [dict(row) for row in params]
        for row in rows:
            check_names(query, list(row))
        if not rows:
            return 0
        clean = [{key: plain(value) for key, value in row.items()} for row in rows]
        with self._transaction(name, writes=True) as connection:
            if isinstance(params, Mapping) or params is None:
                return self._run(connection, query, clean[0])
            return self._run_many(connection, query, clean)

    def fetch(self, name: str, params: Params | None = None) -> pd.DataFrame:
        """Result of a named query.

        Parameters
        ----------
        name
            file in ``sql/queries`` without its ending; its header says which columns it returns
        params
            values by parameter name

        Returns
        -------
        DataFrame
            the columns of the query's ``returns`` comment with types that do not depend on the rows found: text is
            ``str``, double ``float64``, integer ``Int64``, timestamp ``datetime64[us]``; NULL is NaN, NaT or missing

        Raises
        ------
        WarehouseError
            as for `execute`, and if the query does not say what it returns or returns something else.
        """
        query, given = self._fetchable(name, params)
        with self._transaction(name, writes=False) as connection:
            return self._frame(connection, query, given)

    def stream(self, name: str, params: Params | None = None, chunk: int = CHUNK) -> Iterator[pd.DataFrame]:
        """Result of a named query in pieces, so that memory does not grow with it.

        Parameters
        ----------
        name, params
            as for `fetch`
        chunk
            rows of a piece, 1 or more

        Yields
        ------
        DataFrame
            typed as `fetch` does, at most `chunk` rows each; one without rows where there are none. All pieces belong
            to one transaction: they show the database as it was when the first was read.

        Raises
        ------
        WarehouseError
            as for `fetch`; a connection lost on the way raises it too, whatever was yielded before.
        """
        query, given = self._fetchable(name, params)
        with self._transaction(name, writes=False) as connection:
            # PostgreSQL keeps the result and hands it out in pieces; SQLite steps through it anyway.
            streaming = connection.execution_options(stream_results=True, max_row_buffer=chunk)
            result = self._result(streaming, query, given)
            some = False
            while rows := result.fetchmany(chunk):
                some = True
                yield to_frame(rows, query.returns)
            if not some:
                yield to_frame([], query.returns)

    def replace_frame(
        self, name: str, frame: pd.DataFrame, *, clear: str, params: Params | None = None, chunk: int = CHUNK
    ) -> int:
        """Write all rows of a frame in the place of others, in one transaction: readers see the old rows or the new.

        Parameters
        ----------
        name, frame, chunk
            as for `upsert_frame`
        clear
            file in ``sql/queries`` that removes the former rows
        params
            its values by parameter name

        Returns
        -------
        rows written

        Raises
        ------
        WarehouseError
            as for `upsert_frame`. The former rows are then still there.
        """
        removal = read_query(self._sql, clear, self.dialect)
        given = {key: plain(value) for key, value in (params or {}).items()}
        check_names(removal, list(given))
        query = self._checked(name, frame)
        with self._transaction(name, writes=True) as connection:
            self._run(connection, removal, given)
            return self._write_rows(connection, query, frame, chunk)

    def upsert_frame(self, name: str, frame: pd.DataFrame, chunk: int = CHUNK) -> int:
        """Write all rows of a frame by a named upsert, in one transaction: all of them or none.

        Parameters
        ----------
        name
            file in ``sql/queries``; its parameters are the frame's columns, its ``key`` comment what identifies a row
        frame
            rows to write, shape (n, parameters); NaN, NaT and missing become NULL, timestamps are naive UTC
        chunk
            rows turned into parameters at a time, which bounds memory and nothing else

        Returns
        -------
        rows written

        Raises
        ------
        WarehouseError
            if the columns are not the query's parameters, two rows share a key, a timestamp has a time zone, or the
            database refuses. Nothing is written then.
        """
        query = self._checked(name, frame)
        with self._transaction(name, writes=True) as connection:
            return self._write_rows(connection, query, frame, chunk)

    def _make_engine(self) -> sa.Engine:
        if self.dialect == "postgresql":
            # Without the batch mode psycopg2 sends one row per round trip.
            return sa.create_engine(
                self._url,
                hide_parameters=True,
                pool_pre_ping=True,
                executemany_mode="values_plus_batch",
                connect_args={"connect_timeout": LOCK_TIMEOUT},
            )
        if self._url.database:
            Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(self._url, hide_parameters=True, connect_args={"timeout": LOCK_TIMEOUT})
        sa.event.listen(engine, "connect", self._prepare_sqlite)
        sa.event.listen(engine, "begin", self._begin_sqlite)
        return engine

    def _prepare_sqlite(self, connection: Any, _record: object) -> None:
        # The driver's own transactions leave DDL outside; with this, ours are the only ones.
        connection.isolation_level = None
        for statement in read_dialect_file(self._sql, "connect", "sqlite").statements:
            connection.execute(statement)

    def _begin_sqlite(self, connection: sa.Connection) -> None:
        how = "begin_write" if connection.get_execution_options().get("writes") else "begin_read"
        self._run_dialect_file(connection, how)

    @contextmanager
    def _transaction(self, what: str, writes: bool) -> Iterator[sa.Connection]:
        """One transaction; whatever the database says against it becomes a WarehouseError without secrets."""
        try:
            with (self._writer if writes else self._engine).begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            reason = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
            said = self._scrub(" ".join(str(reason).split()))
            # The chained error could hold what the message must not.
            raise WarehouseError(f"{what} failed on {self.url}: {type(reason).__name__}: {said}") from None

    def _scrub(self, text: str) -> str:
        for secret in secrets_of(self._url):
            text = text.replace(secret, "***")
        return text

    def _apply_next(self, migrations: list[Migration]) -> str | None:
        """Apply the first migration that is not recorded yet; None when there is none."""
        with self._transaction("migration", writes=True) as connection:
            if self.dialect == "postgresql":
                self._run_dialect_file(connection, "lock_migrations")
            self._run(connection, self._query("create_schema_migrations"), {})
            recorded = self._frame(connection, self._query("schema_migrations"), {})
            check_recorded(migrations, recorded, self.url)
            if len(recorded) == len(migrations):
                return None
            migration = migrations[len(recorded)]
            self._apply(connection, migration)
        return migration.name

    def _apply(self, connection: sa.Connection, migration: Migration) -> None:
        try:
            for statement in migration.statements:
                connection.exec_driver_sql(statement)
        except sa.exc.DBAPIError as error:
            said = self._scrub(" ".join(str(error.orig).split()))
            raise WarehouseError(f"migration {migration.name} failed on {self.url} and was undone: {said}") from None
        row = {"number": migration.number, "name": migration.name, "checksum": migration.checksum}
        self._run(connection, self._query("record_migration"), row)

    def _use_timescaledb(self) -> None:
        """Hypertable, compression and weekly aggregate of daily_metrics, where the extension and its licence allow."""
        if self.dialect != "postgresql":
            return
        found = self._probe("timescaledb_version")
        if found is None:
            log.info("no timescaledb extension in %s: daily_metrics stays a plain table", self.url)
            return
        version, licence = found
        self._run_under_lock("daily_metrics_hypertable")
        log.info("daily_metrics is a hypertable of timescaledb %s in %s", version, self.url)
        if licence != TIMESCALE_LICENCE:
            log.info("timescaledb of %s has licence %s: no compression and no weekly aggregate", self.url, licence)
            return
        compressed = self._probe("daily_metrics_compressed")
        if compressed is None or not compressed[0]:
            # Some versions refuse to set the same options again once a chunk is compressed.
            self._run_under_lock("daily_metrics_compression")
        self._run_under_lock("daily_metrics_weekly")
        log.info("daily_metrics is compressed and aggregated by week in %s", self.url)

    def _probe(self, name: str) -> Sequence[Any] | None:
        """First row of a question to PostgreSQL itself."""
        with self._transaction(name, writes=False) as connection:
            statement = read_dialect_file(self._sql, name, "postgresql").statements[0]
            return connection.exec_driver_sql(statement).first()

    def _run_under_lock(self, name: str) -> None:
        with self._transaction(name, writes=True) as connection:
            self._run_dialect_file(connection, "lock_migrations")
            self._run_dialect_file(connection, name)

    def _query(self, name: str) -> Query:
        return read_query(self._sql, name, self.dialect)

    def _run_dialect_file(self, connection: sa.Connection, name: str) -> None:
        for statement in read_dialect_file(self._sql, name, self.dialect).statements:
            connection.exec_driver_sql(statement)

    def _run(self, connection: sa.Connection, query: Query, params: Params) -> int:
        changed = 0
        for statement in query.statements:
            changed = connection.execute(bound(statement, [params]), params).rowcount
        return changed

    def _run_many(self, connection: sa.Connection, query: Query, rows: list[dict[str, Any]]) -> int:
        if len(query.statements) != 1:
            raise WarehouseError(f"query {query.name} has {len(query.statements)} statements; many rows need exactly 1")
        return connection.execute(bound(query.statements[0], rows), rows).rowcount

    def _frame(self, connection: sa.Connection, query: Query, params: Params) -> pd.DataFrame:
        return to_frame(self._result(connection, query, params).all(), query.returns)

    def _result(self, connection: sa.Connection, query: Query, params: Params) -> sa.CursorResult[Any]:
        types = {column: SQL_TYPES[kind] for column, kind in query.returns.items()}
        result = connection.execute(bound(query.statements[0], [params]).columns(**types), params)
        if list(result.keys()) != list(query.returns):
            raise WarehouseError(
                f"query {query.name} returns {list(result.keys())}, its comment says {list(query.returns)}; correct it"
            )
        return result

    def _fetchable(self, name: str, params: Params | None) -> tuple[Query, dict[str, Any]]:
        query = read_query(self._sql, name, self.dialect)
        given = {key: plain(value) for key, value in (params or {}).items()}
        check_names(query, list(given))
        if len(query.statements) != 1 or not query.returns:
            raise WarehouseError(f"query {name} cannot be fetched: it needs one statement and a '-- returns:' comment")
        return query, given

    def _checked(self, name: str, frame: pd.DataFrame) -> Query:
        query = read_query(self._sql, name, self.dialect)
        check_names(query, [str(column) for column in frame.columns])
        check_keys(query, frame)
        return query

    def _write_rows(self, connection: sa.Connection, query: Query, frame: pd.DataFrame, chunk: int) -> int:
        for start in range(0, len(frame), chunk):
            self._run_many(connection, query, records(frame.iloc[start : start + chunk]))
        return len(frame)
