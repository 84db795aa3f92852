"""Dagster's events in SQLite, many at a time.

A run over days reports one event for each partition of each asset, twice. Dagster collects them in batches where it is
asked to, but its SQLite storage writes each one by itself, and opens, syncs and closes two databases for it: 20 to
40 ms. A year of twenty assets would spend minutes on that. What belongs here: writing a batch at once, over connections
that stay open, for runs in this process. What does not: what the events say, and other storages (that of PostgreSQL
writes batches itself).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import BATCH_WRITABLE_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._serdes import ConfigurableClassData

from butterquant_assets.foundation.sql_files import read_dialect_file, sql_folder

PATIENCE_SECONDS = 60.0  # for another process to let go of a database
BATCH_VARIABLE, BATCH_EVENTS = "DAGSTER_EVENT_BATCH_SIZE", "500"
"""Variable by which Dagster is asked for batches, and how many events one holds."""


class BatchingEventLogStorage(SqliteEventLogStorage):
    """The same files, with one transaction for a batch in the run's file, and one in the index of assets."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, sa.Engine] = {}
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> BatchingEventLogStorage:
        """As Dagster builds it from a configuration."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            if shard not in self._engines:
                self._keep(shard)
            with self._engines[shard].connect() as connection, connection.begin():
                yield connection

    def _keep(self, shard: str) -> None:
        """Open a database for good: that of the run under way, and the index."""
        for other in self._engines.keys() - {INDEX_SHARD_NAME, shard}:
            self._engines.pop(other).dispose()
        engine = sa.create_engine(
            self.conn_string_for_shard(shard),
            poolclass=sa.QueuePool,
            pool_size=1,
            max_overflow=-1,  # tables are made over connections within connections
            connect_args={"timeout": PATIENCE_SECONDS},
        )
        sa.event.listen(engine, "connect", _sync_at_checkpoints)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        self._engines[shard] = engine

    def dispose(self) -> None:
        """Close the databases."""
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events that belong to assets; any others one by one."""
        together = [event for event in events if _of_an_asset(event)]
        for event in events:
            if not _of_an_asset(event):
                self.store_event(event)
        for run_id in dict.fromkeys(event.run_id for event in together):
            self._store_together(run_id, [event for event in together if event.run_id == run_id])

    def _store_together(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        statements = [self.prepare_insert_event(event) for event in events]
        with self.run_connection(run_id) as connection:
            for statement in statements:
                connection.execute(statement)
        with self.index_transaction() as connection:
            ids = [connection.execute(statement).lastrowid for statement in statements]
            self._store_asset_event_tags(connection, events, ids)
            # The table of assets tells of the last event only.
            last = {str(event.get_dagster_event().asset_key): place for place, event in enumerate(events)}
            for place in last.values():
                self._store_asset_event(connection, events[place], ids[place])


def _sync_at_checkpoints(connection: Any, _record: object) -> None:
    for statement in read_dialect_file(sql_folder(), "event_log", "sqlite").statements:
        connection.execute(statement)


def _of_an_asset(event: EventLogEntry) -> bool:
    kind = event.dagster_event_type
    return kind in BATCH_WRITABLE_EVENTS and kind in (
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    )


def open_instance(folder: Path) -> dg.DagsterInstance:
    """The instance of a folder (its DAGSTER_HOME), for runs in this process.

    Where it keeps its events in SQLite it writes them in batches; `BATCH_VARIABLE` must be set for that.
    """
    ref = InstanceRef.from_dir(str(folder))
    kept = ref.event_storage_data
    if kept is None or kept.class_name != SqliteEventLogStorage.__name__:
        return dg.DagsterInstance.from_ref(ref)
    batching = {
        "module": BatchingEventLogStorage.__module__,
        "class": BatchingEventLogStorage.__name__,
        "config": kept.config_dict,
    }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides={"event_log_storage": batching}))


def batch_variables() -> dict[str, str]:
    """What must stand in the environment of a process that executes runs."""
    return {BATCH_VARIABLE: os.environ.get(BATCH_VARIABLE, BATCH_EVENTS)}
