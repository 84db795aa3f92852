"""The commands about stored data: trace a decision, export a table of the warehouse, prune what has outlived its use.

What belongs here: options, and calls of what does the work. What does not: what is written (`foundation.export`), what
is on record (`foundation.decision_trace`), what may go (`foundation.retention`, `orchestration.pruning`).
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from butterquant_assets.cli_models import DONE, HOME, JSON, errors_to_exit_codes
from butterquant_assets.foundation.errors import ConfigError

TABLES = ("daily_metrics", "trade_decisions", "decision_revisions")
LISTED = 20


@click.command()
@click.argument("table", type=click.Choice(TABLES))
@click.option("--since", required=True, metavar="YYYY-MM-DD", help="First session.")
@click.option("--until", metavar="YYYY-MM-DD", help="Last session.  [default: the newest]")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Parquet file to write; one that is there is replaced once the new one is complete.",
)
@click.option(
    "--minimum-score",
    type=float,
    help="Of daily_metrics: only rows whose total_score exceeds it.  [default: 50]",
)
@HOME
@JSON
@errors_to_exit_codes
def export(
    table: str,
    since: str,
    until: str | None,
    target: Path,
    minimum_score: float | None,
    home: Path | None,
    as_json: bool,
) -> int:
    """Write TABLE of the warehouse to a Parquet file, piece by piece, so that memory does not grow with it.

    \b
    butterquant export daily_metrics --since 2018-01-01 --to metrics.parquet
    butterquant export trade_decisions --since 2018-01-01 --until 2018-06-30 --to decisions.parquet

    The file appears whole or not at all; an interrupted export leaves nothing behind.
    """
    from butterquant_assets.foundation.export import export_table
    from butterquant_assets.foundation.warehouse import Warehouse

    first, last = _day("--since", since), _day("--until", until) if until else date.max
    filters = {} if minimum_score is None else {"minimum_score": minimum_score}
    settings = _settings(home)
    with _stoppable(), Warehouse(settings.warehouse_location) as warehouse:
        warehouse.migrate()
        done = export_table(warehouse, table, target, since=first, until=last, filters=filters)
    if as_json:
        click.echo(json.dumps(done.to_json(), indent=2, sort_keys=True))
    else:
        span = f"sessions {done.first} .. {done.last}" if done.rows else "no row in that span: was it materialised?"
        click.echo(f"{done.rows} rows of {table} in {done.file} ({done.bytes / 1e6:.1f} MB), {span}")
    return DONE


@click.command()
@click.argument("ticker")
@click.argument("session", metavar="YYYY-MM-DD")
@HOME
@JSON
@errors_to_exit_codes
def trace(ticker: str, session: str, home: Path | None, as_json: bool) -> int:
    """Where each decision about TICKER on that session came from, what it said before, and what became of it.

    \b
    butterquant trace SIM03 2018-06-05
    """
    from butterquant_assets.foundation.decision_trace import trace_decision, trace_text
    from butterquant_assets.foundation.warehouse import Warehouse

    day = _day("YYYY-MM-DD", session)
    with Warehouse(_settings(home).warehouse_location) as warehouse:
        warehouse.migrate()
        found = trace_decision(warehouse, day, ticker)
    click.echo(json.dumps(found.to_json(), indent=2, sort_keys=True) if as_json else trace_text(found))
    return DONE


@click.command()
@click.option("--older-than", "days", required=True, type=int, metavar="DAYS", help="Spare whatever is younger.")
@click.option("--dry-run", is_flag=True, help="List what would go, and remove nothing.")
@HOME
@JSON
@errors_to_exit_codes
def prune(days: int, dry_run: bool, home: Path | None, as_json: bool) -> int:
    """Remove what has outlived its use: old runs and their events, leftovers in the lake, model versions nobody names.

    Never removed: a run that holds the latest materialization of a partition or the latest result of a check; a lake
    file within the span of the home; a quarantined frame that still says why its partition is not published; a model
    version that the registry (in any role), a decision, daily_metrics, the feedback ledger, a pointer file, the lake or
    a version made from it names. Waits for assets that are being rebuilt.
    """
    import os

    from dagster import DagsterInstance

    from butterquant_assets.definitions import build_houses
    from butterquant_assets.orchestration.instance import prepare_home
    from butterquant_assets.orchestration.pruning import prune as prune_home

    settings = _settings(home)
    os.environ.setdefault("DAGSTER_HOME", str(prepare_home(settings.home)))
    houses = build_houses(settings)
    with DagsterInstance.get() as instance:
        report = prune_home(houses, instance, older_than_days=days, now=datetime.now(UTC), dry_run=dry_run).to_json()
    click.echo(json.dumps(report, indent=2, sort_keys=True) if as_json else _prune_text(report))
    return DONE


def _settings(home: Path | None) -> Any:
    """Settings of a home directory that is in use."""
    from butterquant_assets.definitions import Settings
    from butterquant_assets.foundation.settings import BINDING_FILE, load_settings

    settings = load_settings(Settings, {"home": home})
    if not (settings.home / BINDING_FILE).exists():
        raise ConfigError(f"{settings.home} is not a home directory yet: run `butterquant run --home {settings.home}`")
    return settings


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} is {text!r}, which is not a date; write it as YYYY-MM-DD, for instance 2018-06-01"
        ) from None


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let a request to terminate unwind the stack, so that temporary files are removed."""

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _prune_text(report: dict[str, Any]) -> str:
    did = "Would remove" if report["dry_run"] else "Removed"
    lines = [f"{did}, older than {report['older_than_days']} days:"]
    if not report["removed"]:
        lines.append("  nothing")
    for kind, count in report["counts"].items():
        lines.append(f"  {count:>6} {kind:<12}{report['bytes'][kind] / 1e6:>10.1f} MB")
        shown = [entry for entry in report["removed"] if entry["kind"] == kind]
        lines += [f"         {entry['what']}: {entry['why']}" for entry in shown[:LISTED]]
        lines += [f"         and {len(shown) - LISTED} more (--json lists them)"] if len(shown) > LISTED else []
    lines += (
        ["Kept:", *(f"  {count:>6} {reason}" for reason, count in report["kept"].items())] if report["kept"] else []
    )
    return "\n".join(lines)
