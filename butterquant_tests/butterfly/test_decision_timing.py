"""When a decision counts as made in time: hours of the New York Stock Exchange, in UTC, from its published calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest

from butterquant_assets.butterfly.decision_timing import TIMINGS, timing
from butterquant_assets.foundation.errors import DataError


def told(day: str, at: str, settle: float = 30) -> str:
    when = datetime.fromisoformat(at).replace(tzinfo=UTC)
    return timing(pd.Series(pd.to_datetime([day])), when, settle).item()


@pytest.mark.parametrize(
    ("day", "at", "expected"),
    [
        # Tuesday in winter: closes 21:00, the next session opens 14:30.
        ("2018-01-02", "2018-01-02 20:59:59", "early"),
        ("2018-01-02", "2018-01-02 21:29:59.999999", "early"),
        ("2018-01-02", "2018-01-02 21:30:00", "in_time"),
        ("2018-01-02", "2018-01-03 14:29:59.999999", "in_time"),
        ("2018-01-02", "2018-01-03 14:30:00", "afterwards"),
        # Friday in summer, Memorial Day after it: closes 20:00, the next session is Tuesday and opens 13:30.
        ("2018-05-25", "2018-05-25 20:30:00", "in_time"),
        ("2018-05-25", "2018-05-29 13:29:59", "in_time"),
        ("2018-05-25", "2018-05-29 13:30:00", "afterwards"),
        # A half day: the day after Thanksgiving closes at 18:00.
        ("2018-11-23", "2018-11-23 18:29:00", "early"),
        ("2018-11-23", "2018-11-23 18:30:00", "in_time"),
        # Clocks go forward over the weekend: the open moves from 14:30 to 13:30.
        ("2018-03-09", "2018-03-12 13:29:00", "in_time"),
        ("2018-03-09", "2018-03-12 13:30:00", "afterwards"),
        ("2018-01-02", "2017-12-31 12:00:00", "early"),
        ("2018-01-02", "2026-01-01 00:00:00", "afterwards"),
    ],
)
def test_in_time_is_from_the_settled_close_to_before_the_next_open(day: str, at: str, expected: str) -> None:
    assert told(day, at) == expected


def test_the_settling_time_is_the_users() -> None:
    assert told("2018-01-02", "2018-01-02 21:00:00", settle=0) == "in_time"
    assert told("2018-01-02", "2018-01-02 22:59:00", settle=120) == "early"


def test_the_zone_of_the_clock_does_not_matter() -> None:
    days = pd.Series(pd.to_datetime(["2018-01-02"]))
    tokyo = datetime(2018, 1, 3, 6, 30, tzinfo=timezone(timedelta(hours=9)))
    assert timing(days, tokyo, 30).item() == "in_time"
    assert timing(days, tokyo - timedelta(minutes=1), 30).item() == "early"


def test_each_row_is_told_by_its_own_session_on_its_own_index() -> None:
    days = pd.Series(pd.to_datetime(["2018-01-04", "2018-01-02", "2018-01-03"]), index=[7, 5, 9])
    found = timing(days, datetime(2018, 1, 4, 3, tzinfo=UTC), 30)
    assert found.to_dict() == {7: "early", 5: "afterwards", 9: "in_time"}
    assert set(found) == set(TIMINGS)
    none = timing(days.iloc[:0], datetime(2018, 1, 4, 3, tzinfo=UTC), 30)
    assert (len(none), none.dtype) == (0, "str")


def test_the_last_session_of_the_calendar_has_no_next_open() -> None:
    assert told("2035-12-31", "2036-01-05 12:00:00") == "in_time"


@pytest.mark.parametrize("day", ["2018-01-01", "2018-01-06", "2040-01-03", "1970-01-02"])
def test_a_day_that_is_no_session_is_refused(day: str) -> None:
    with pytest.raises(DataError, match=f"{day} is no session of XNYS"):
        told(day, "2018-01-03 00:00:00")
