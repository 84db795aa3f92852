from __future__ import annotations

from datetime import UTC, datetime

import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.orchestration.axes import DayAxis, MonthAxes
from butterquant_assets.orchestration.partitions import daily

BOUND = {"start": "2018-01", "end": "2018-03", "market_start": "2017-11", "market_end": "2018-05"}
NOON = datetime(2024, 3, 2, 12, tzinfo=UTC)


def test_months_have_a_market_an_analysis_and_recent_axes() -> None:
    axes = MonthAxes(BOUND, {"scan": 2})
    assert axes.keys("market") == ("2017-11", "2017-12", "2018-01", "2018-02", "2018-03", "2018-04", "2018-05")
    assert axes.keys("analysis") == ("2018-01", "2018-02", "2018-03")
    assert axes.keys("scan") == ("2018-02", "2018-03")
    assert axes.span() == ("2017-11", "2018-05")
    assert not axes.may_grow()


def test_days_run_from_the_first_bound_to_the_last_delivered() -> None:
    axes = DayAxis({"start": "2024-02-28", "end": None, "grows_to": None})
    assert axes.keys("days") == ()
    assert axes.span() == ("2024-02-28", None)
    axes.grow("2024-03-01", None, NOON)
    assert axes.keys("days") == ("2024-02-28", "2024-02-29", "2024-03-01")


@pytest.mark.parametrize(
    ("grows_to", "delivered", "held", "end"),
    [
        (None, "2024-03-02", None, "2024-03-02"),  # the day that is not over yet
        (None, "2024-03-09", None, "2024-03-02"),  # a source that serves days that have not begun
        (None, "2024-02-20", None, "2024-02-29"),  # a source that lost its newest days
        (None, "2024-02-20", "2024-03-01", "2024-03-01"),  # the same after they were taken in
        ("2024-03-01", "2024-03-02", None, "2024-03-01"),
    ],
)
def test_days_move_forward_only_within_what_is_bound(
    grows_to: str | None, delivered: str, held: str | None, end: str
) -> None:
    axes = DayAxis({"start": "2024-02-01", "end": "2024-02-29", "grows_to": grows_to})
    assert axes.may_grow()
    axes.grow(delivered, held, NOON)
    assert axes.keys("days")[-1] == end


def test_a_fixed_span_of_days_does_not_grow() -> None:
    assert not DayAxis({"start": "2024-02-01", "end": "2024-02-29", "grows_to": "2024-02-29"}).may_grow()
    assert not DayAxis({"start": "2024-02-01", "end": "2024-02-29"}).may_grow()


@pytest.mark.parametrize("axes", [MonthAxes(BOUND), DayAxis({"start": "2024-02-01", "end": "2024-02-02"})])
def test_an_unknown_axis_is_refused_with_those_there_are(axes: MonthAxes | DayAxis) -> None:
    with pytest.raises(ConfigError, match=r"'weeks' is unknown: (market, analysis|days)"):
        axes.keys("weeks")


def test_days_without_an_end_reach_the_current_utc_day_without_being_defined_again() -> None:
    days = daily("2024-02-27", None)
    for now, last in (((2024, 2, 29, 23, 59), "2024-02-29"), ((2024, 3, 1, 0, 1), "2024-03-01")):
        assert days.get_partition_keys(current_time=datetime(*now, tzinfo=UTC))[-1] == last
    assert daily("2024-02-28", "2024-03-01").get_partition_keys() == ["2024-02-28", "2024-02-29", "2024-03-01"]
