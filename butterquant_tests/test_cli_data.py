"""`butterquant export`, `trace` and `prune`: options, answers, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from butterquant_assets import cli_data
from butterquant_assets.foundation import export as exports
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_tests.foundation.test_decision_record import SECOND, decisions, record
from butterquant_tests.foundation.warehouse_rows import daily_metrics


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose warehouse holds scores from 46 upwards."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "home.json").write_text("{}")
    with Warehouse(f"sqlite:///{folder / 'warehouse.sqlite'}") as warehouse:
        warehouse.migrate()
        warehouse.upsert_frame("upsert_daily_metrics", daily_metrics(57).assign(total_score=range(46, 103)))
    return folder


def export(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli_data.export, [*arguments, "--home", str(home)])


def test_an_export_answers_with_what_it_wrote(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.parquet"
    done = export(home, "daily_metrics", "--since", "2018-01-01", "--to", str(target), "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.output)
    assert answer == {
        "table": "daily_metrics", "file": str(target), "rows": 52, "bytes": target.stat().st_size,
        "first": "2018-01-02", "last": "2018-01-07",
    }  # fmt: skip
    assert pd.read_parquet(target)["total_score"].min() == 51.0  # the document's export leaves out 50 and less


def test_the_span_and_the_minimum_can_be_chosen(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.parquet"
    span = ("--since", "2018-01-03", "--until", "2018-01-03", "--minimum-score", "60")
    done = export(home, "daily_metrics", *span, "--to", str(target))
    assert done.exit_code == 0, done.output
    assert "5 rows of daily_metrics" in done.output
    assert "sessions 2018-01-03 .. 2018-01-03" in done.output


def test_an_export_without_rows_says_so(home: Path, tmp_path: Path) -> None:
    done = export(home, "trade_decisions", "--since", "2018-01-03", "--to", str(tmp_path / "d.parquet"))
    assert done.exit_code == 0, done.output
    assert "0 rows of trade_decisions" in done.output
    assert "no row in that span" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("daily_metrics", "--since", "2018-13-01"), "--since is '2018-13-01', which is not a date"),
        (("daily_metrics", "--since", "2018-02-01", "--until", "2018-01-01"), "after its end 2018-01-01"),
        (("trade_decisions", "--since", "2018-02-01", "--minimum-score", "1"), "has no filter minimum_score"),
        (
            ("model_events", "--since", "2018-02-01"),
            "is not one of 'daily_metrics', 'trade_decisions', 'decision_revisions'",
        ),
    ],
)
def test_bad_usage_exits_with_2_and_a_reason(home: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = export(home, *arguments, "--to", str(tmp_path / "m.parquet"))
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "m.parquet").exists()


def test_a_folder_that_is_no_home_is_refused(tmp_path: Path) -> None:
    done = export(tmp_path, "daily_metrics", "--since", "2018-01-01", "--to", str(tmp_path / "m.parquet"))
    assert done.exit_code == 2
    assert "is not a home directory yet" in done.output


def test_the_tables_offered_are_those_that_can_be_exported() -> None:
    assert tuple(exports.TABLES) == cli_data.TABLES


def test_what_was_pruned_is_worded_by_kind() -> None:
    removed = [{"kind": "model", "what": f"success {n}", "why": "nothing names it", "bytes": 1} for n in range(25)]
    report = {
        "older_than_days": 30, "dry_run": True, "counts": {"model": 25}, "bytes": {"model": 2_500_000},
        "kept": {"model: decision": 3}, "removed": removed,
    }  # fmt: skip
    text = cli_data._prune_text(report)
    assert text.startswith("Would remove, older than 30 days:")
    assert "25 model              2.5 MB" in text
    assert "and 5 more" in text
    assert "3 model: decision" in text
    nothing = cli_data._prune_text(report | {"counts": {}, "bytes": {}, "removed": [], "dry_run": False, "kept": {}})
    assert nothing == "Removed, older than 30 days:\n  nothing"


def trace(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli_data.trace, [*arguments, "--home", str(home)])


def test_a_decision_is_traced(home: Path) -> None:
    with Warehouse(f"sqlite:///{home / 'warehouse.sqlite'}") as warehouse:
        record(warehouse, decisions("AB"))
        record(warehouse, decisions("BA"), SECOND)
    done = trace(home, "A", "2018-02-05")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("A on 2018-02-05\noutcome on 2018-03-05: ROI +5.0 % net")
    assert done.output.count("said until 2018-02-07 03:30:15") == 2
    answer = json.loads(trace(home, "A", "2018-02-05", "--json").output)
    assert [each["model_version"] for each in answer["decisions"]] == ["v1", None]
    assert [each["said_before"][0]["rank"] for each in answer["decisions"]] == [1, 1]


def test_a_trace_of_nothing_exits_with_1_and_of_no_day_with_2(home: Path) -> None:
    nothing = trace(home, "A", "2018-02-05")
    assert (nothing.exit_code, "no decision about A on 2018-02-05" in nothing.output) == (1, True)
    no_day = trace(home, "A", "yesterday")
    assert (no_day.exit_code, "'yesterday', which is not a date" in no_day.output) == (2, True)
