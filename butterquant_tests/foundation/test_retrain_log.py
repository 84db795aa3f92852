from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.retrain_log import Reason, RetrainEvent, RetrainLog, new_event

AT = datetime(2018, 6, 20, 12, 0, 0, 123456)
DRIFT = Reason("feature_drift", "2018-06", {"columns": 3.0, "ece": None}, "3 of 23 columns drifted")
DECAY = Reason("decision_decay", "2018-05", {}, "ROI fell")


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> RetrainLog:
    if request.param == "sqlite":
        return RetrainLog(f"sqlite:///{tmp_path / 'warehouse.sqlite'}")
    return RetrainLog(request.getfixturevalue("new_postgres_url"))


def made(at: datetime = AT, *reasons: Reason) -> RetrainEvent:
    return new_event(at, "full", "requested", 12, reasons or (DECAY, DRIFT))


def test_an_event_comes_back_as_it_was_recorded(log: RetrainLog) -> None:
    assert log.events() == ()
    log.record(made())
    assert log.events() == (made(),)


def test_recording_twice_changes_nothing(log: RetrainLog) -> None:
    for _ in range(2):
        log.record(made())
    assert len(log.events()) == 1


def test_one_that_was_given_up_says_when_and_nothing_is_taken_back(log: RetrainLog) -> None:
    log.record(made())
    log.record(made(AT + timedelta(days=1)))
    failed, other = log.events()
    for hours in (2, 3):
        log.record_failure(failed.event_id, AT + timedelta(hours=hours), attempts=5)
    assert log.events() == (replace(failed, failed_at=AT + timedelta(hours=2)), other)


def test_events_come_oldest_first(log: RetrainLog) -> None:
    later, earlier = made(AT + timedelta(hours=1), DRIFT), made(AT, DECAY)
    log.record(later)
    log.record(earlier)
    assert log.events() == (earlier, later)


def test_the_same_decision_is_the_same_event_and_another_is_not() -> None:
    ids = {made().event_id, made().event_id, made(AT, DRIFT).event_id, made(AT + timedelta(seconds=1)).event_id}
    assert len(ids) == 3


def test_an_event_needs_a_reason_and_a_naive_time() -> None:
    with pytest.raises(ValueError, match="0 reasons"):
        new_event(AT, "full", "requested", 0, ())
    with pytest.raises(ValueError, match="naive UTC"):
        new_event(AT.replace(tzinfo=UTC), "full", "requested", 0, (DRIFT,))


def test_damaged_figures_are_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'warehouse.sqlite'}"
    RetrainLog(url).record(made())
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql("UPDATE retrain_events SET figures = '[1]'")
    with pytest.raises(WarehouseError, match=r"holds figures \[1\], expected a JSON object"):
        RetrainLog(url).events()
