"""What a home has come to: its files, its warehouse and its runs, so that two homes can be compared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from butterquant_assets.automation.runs import UNFINISHED, fail_dead_runs

# When something was written, and the identities that hold it, are the only things that may differ.
TABLES = (
    "daily_metrics",
    "trade_decisions",
    "decision_outcomes",
    "model_registry",
    "model_events",
    "warehouse_receipts",
)
VOLATILE = {"at", "event_id", "taken_at", "published_at", "sequence", "applied_at"}
VOLATILE |= {"decided_at", "revised_at", "withdrawn_at", "said_since", "superseded_at"}


def warehouse_rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables by table, sorted, without the columns that tell when they were written."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = {}
        for name in sa.inspect(connection).get_table_names():
            table = sa.Table(name, sa.MetaData(), autoload_with=connection)
            columns = [column for column in table.columns if column.name not in VOLATILE]
            rows = connection.execute(sa.select(*columns)).all() if columns else []
            found[name] = sorted((tuple(row) for row in rows), key=repr)
    engine.dispose()
    return found


def sqlite_url(home: Path) -> str:
    """Where a home of the embedded profile keeps its warehouse."""
    return f"sqlite:///{home / 'warehouse.sqlite'}"


def doubled(rows: dict[str, list[tuple[object, ...]]]) -> dict[str, int]:
    """Rows that are there more than once, by table."""
    counted = {name: Counter(map(repr, found)) for name, found in rows.items()}
    return {name: n for name, times in counted.items() if (n := sum(t > 1 for t in times.values()))}


def finished_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """All runs of an instance, after a look for those whose process has died, as every sensor takes at each tick.

    Raises
    ------
    AssertionError
        if one still counts as under way: it would hold everything back for ever.
    """
    fail_dead_runs(instance)
    unfinished = [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))]
    assert unfinished == [], f"runs {unfinished} count as under way"
    return list(instance.get_runs())


def run_states(dagster_home: Path) -> Counter[str]:
    """How the runs of a home of the embedded profile ended."""
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        return Counter(run.status.value for run in finished_runs(instance))
