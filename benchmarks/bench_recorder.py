"""The signal recorder: idempotent upserts a second, on SQLite and, where a server is given, on PostgreSQL.

``BUTTERQUANT_TEST_POSTGRES_URL`` names an empty database's server URL; without it a local server is tried, and without
one the PostgreSQL figures are left out, with a word.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from benchmarks.harness import Result, compare, median_seconds
from butterquant_assets.foundation.signal_recorder import SignalRecorder
from butterquant_assets.signals.paper import execute
from butterquant_tests.signals.signal_cases import HOUR, START, random_bars, random_funding, scored

HOURS, COINS = 2_500, 4
TARGET = 5_000.0


def benchmarks() -> list[Result]:
    """Rows a second of signals, and of executions with their results; each write replaces what the one before wrote."""
    bars = random_bars(COINS, HOURS, 1)
    signals = scored(bars, 1)
    trades = execute(signals, bars, random_funding(COINS, HOURS, 1), as_of=START + HOURS * HOUR)
    results = []
    with _databases() as urls:
        for name, url in urls.items():
            with SignalRecorder(url) as recorder:
                recorder.migrate()
                wrote = recorder.record_signals(signals)
                filled = recorder.record_trades(trades)
                signal_seconds = median_seconds(partial(recorder.record_signals, signals), repeats=3)
                trade_seconds = median_seconds(partial(recorder.record_trades, trades), repeats=3)
                assert len(recorder.signals(START, START + HOURS * HOUR)) == wrote
            rates = {"signals": wrote / signal_seconds, "executions_and_results": 2 * filled / trade_seconds}
            results += [
                compare(f"recorder.{name}.{what}", rate, TARGET, "rows/s", 1.0, "higher")
                for what, rate in rates.items()
            ]
    return results


@contextmanager
def _databases() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        urls = {"sqlite": f"sqlite:///{Path(folder) / 'warehouse.sqlite'}"}
        server = os.environ.get("BUTTERQUANT_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
        admin = sa.create_engine(
            sa.make_url(server).set(drivername="postgresql+psycopg2"),
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
        )
        name = f"butterquant_bench_{secrets.token_hex(4)}"
        try:
            with admin.connect() as connection:
                connection.execute(sa.text(f"CREATE DATABASE {name}"))
        except sa.exc.OperationalError as error:
            print(f"PostgreSQL is not measured: {str(error.orig).splitlines()[0]}", file=sys.stderr)
            yield urls
            return
        try:
            yield urls | {"postgresql": sa.make_url(server).set(database=name).render_as_string(hide_password=False)}
        finally:
            with admin.connect() as connection:
                connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
