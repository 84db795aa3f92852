"""The feedback ledger on both databases: each trade once, whole takes, nothing edited unnoticed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from butterquant_assets.foundation.errors import DataError, WarehouseError
from butterquant_assets.foundation.feedback_ledger import COLUMNS, FeedbackLedger
from butterquant_assets.foundation.sql_files import sql_folder
from butterquant_assets.foundation.warehouse import Warehouse

WHEN = datetime(2026, 3, 2, 9, 30, 15, 123456, tzinfo=timezone(timedelta(hours=2)))
UNTIL = pd.Timestamp("2018-03-30")


@pytest.fixture
def ledger(warehouse_url: str) -> Iterator[FeedbackLedger]:
    with FeedbackLedger(warehouse_url, clock=lambda: WHEN) as opened:
        yield opened


def trades(days: list[str], tickers: str = "AB") -> pd.DataFrame:
    """One trade per day and ticker, evaluated ten days later, in disorder."""
    frame = pd.DataFrame([(pd.Timestamp(day), ticker) for day in days for ticker in tickers], columns=list(COLUMNS[:2]))
    frame["evaluation_session"] = frame["session"] + pd.Timedelta(days=10)
    frame = frame.assign(tracks="ai,blend", route="champion", model_version="ab12@2018-01")
    return frame.assign(roi_net=[0.1 + 1 / (n + 3) for n in range(len(frame))]).iloc[::-1]


def test_a_take_is_read_back_as_it_was_written_with_its_time_in_utc(ledger: FeedbackLedger) -> None:
    given = trades(["2018-03-05", "2018-03-06"])
    assert ledger.append(given, UNTIL) == 1
    found = ledger.trades()
    expected = given.sort_values(["session", "ticker"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(found[list(COLUMNS)], expected, check_exact=True, check_dtype=False)
    assert (found["take"] == 1).all()
    take = ledger.takes().iloc[0]
    assert (take["taken_at"], take["known_until"], take["trades"]) == (
        pd.Timestamp(WHEN.astimezone(UTC).replace(tzinfo=None)),
        UNTIL,
        4,
    )
    assert take["mean_roi_net"] == pytest.approx(given["roi_net"].mean())


def test_takes_are_numbered_and_a_take_without_trades_is_none(ledger: FeedbackLedger) -> None:
    assert ledger.append(trades(["2018-03-05"]), UNTIL) == 1
    before = ledger.contents()
    assert ledger.append(trades([]), UNTIL) is None
    assert ledger.contents() == before
    assert ledger.append(trades(["2018-03-06"]), UNTIL) == 2
    after = ledger.contents()
    assert {key: after[key] for key in before} == before
    assert len(after) == 2
    assert len(set(after.values())) == 2


def test_a_trade_enters_once_and_a_take_that_repeats_one_leaves_nothing_behind(ledger: FeedbackLedger) -> None:
    ledger.append(trades(["2018-03-05"]), UNTIL)
    before = ledger.trades()
    with pytest.raises(WarehouseError, match="insert_feedback failed"):
        ledger.append(trades(["2018-03-04", "2018-03-05"]), UNTIL)
    pd.testing.assert_frame_equal(ledger.trades(), before)


def test_a_trade_evaluated_after_the_take_reaches_is_refused(ledger: FeedbackLedger) -> None:
    with pytest.raises(DataError, match="2 trades were evaluated after 2018-03-30, which is as far as the take goes"):
        ledger.append(trades(["2018-03-21"]), UNTIL)
    assert ledger.trades().empty


def edit(url: str, statement: str) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE feedback_ledger SET roi_net = 9 WHERE ticker = 'A'",
        "UPDATE feedback_ledger SET content = 'x' WHERE ticker = 'A'",
        "DELETE FROM feedback_ledger WHERE ticker = 'A'",
    ],
)
def test_an_edited_ledger_is_refused(warehouse_url: str, ledger: FeedbackLedger, statement: str) -> None:
    ledger.append(trades(["2018-03-05"]), UNTIL)
    edit(warehouse_url, statement)
    with pytest.raises(WarehouseError, match=r"the trades of take 1 in the feedback ledger of .* are not those"):
        ledger.trades()


def test_a_lost_trade_changes_what_readers_rest_on(warehouse_url: str, ledger: FeedbackLedger) -> None:
    ledger.append(trades(["2018-03-05"]), UNTIL)
    before = ledger.contents()
    edit(warehouse_url, "DELETE FROM feedback_ledger WHERE ticker = 'A'")
    assert ledger.contents() != before


def test_looking_at_a_home_without_a_warehouse_creates_none(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.sqlite"
    with FeedbackLedger(f"sqlite:///{path}") as ledger:
        assert ledger.contents() == {}
    assert not path.exists()


def test_a_warehouse_of_an_earlier_version_has_an_empty_ledger(warehouse_url: str, tmp_path: Path) -> None:
    earlier = Path(shutil.copytree(sql_folder(), tmp_path / "sql"))
    for path in (earlier / "migrations").iterdir():
        if path.name >= "0005":
            path.unlink()
    with Warehouse(warehouse_url, earlier) as warehouse:
        assert warehouse.migrate()[-1] == "0004_trade_decisions"
    with FeedbackLedger(warehouse_url) as ledger:
        assert ledger.contents() == {}
        assert ledger.takes().empty
        assert ledger.trades().empty
        assert ledger.append(trades(["2018-03-05"]), UNTIL) == 1
