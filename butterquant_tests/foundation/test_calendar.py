from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation import calendar
from butterquant_assets.foundation.errors import ConfigError


def test_good_friday_2018_is_no_session_and_the_thursday_before_is() -> None:
    assert calendar.is_session(["2018-03-29", "2018-03-30", "2018-03-31"]).tolist() == [True, False, False]


def test_a_sunday_goes_back_to_the_last_session() -> None:
    assert calendar.session_on_or_before(["2018-04-01"]).tolist() == [np.datetime64("2018-03-29")]


def test_the_day_of_mourning_in_december_2018_is_no_session() -> None:
    assert calendar.session_on_or_before(["2018-12-05"]).astype(str).tolist() == ["2018-12-04"]


def test_session_numbers_count_sessions_over_weekends() -> None:
    friday, monday = calendar.session_number(["2018-01-05", "2018-01-08"])
    assert monday - friday == 1


def test_months_shift_and_range_over_years() -> None:
    assert calendar.shift_month("2018-01", -26) == "2015-11"
    assert calendar.month_range("2017-11", "2018-02") == ["2017-11", "2017-12", "2018-01", "2018-02"]
    assert calendar.month_range("2018-02", "2018-01") == []
    assert len(calendar.sessions_in_months(["2018-01"])) == 21


@pytest.mark.parametrize("text", ["2018", "2018-1", "2018-13", "01-2018", "2018-01-01", ""])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a month; write it as YYYY-MM"):
        calendar.parse_month(text)


def test_dates_before_the_calendar_are_refused() -> None:
    with pytest.raises(ConfigError, match="before the first session known"):
        calendar.session_on_or_before(["1970-01-01"])


def test_days_shift_and_range_over_a_leap_day() -> None:
    assert calendar.shift_key("2024-03-01", -1, "day") == "2024-02-29"
    assert calendar.key_range("2024-02-28", "2024-03-01", "day") == ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert calendar.key_range("2024-03-01", "2024-02-28", "day") == []


def test_keys_of_times_are_their_month_or_utc_day_and_a_missing_time_is_none() -> None:
    times = pd.Series(pd.to_datetime(["2024-02-29 23:59:59.999999", None, "2024-03-01"], format="ISO8601")).astype(
        "datetime64[us]"
    )
    assert calendar.key_of(times, "day").tolist() == ["2024-02-29", "NaT", "2024-03-01"]
    assert calendar.key_of(times, "month").tolist() == ["2024-02", "NaT", "2024-03"]
    assert calendar.key_of(times[:0], "day").tolist() == []


@pytest.mark.parametrize("text", ["2024-02", "2024-02-30", "2024-2-01", "2024-02-01T00", "today", ""])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a day; write it as YYYY-MM-DD"):
        calendar.parse_key(text, "day")
    assert calendar.parse_key("2024-02-29", "day") == "2024-02-29"
