"""What was expected of a day, and what did not come."""

from __future__ import annotations

import numpy as np

from butterquant_assets.market.crypto_coverage import Coverage, cover, cover_days
from butterquant_tests.market.crypto_cases import days_of, hours_of, raw_bars


def test_missing_hours_are_listed_exactly_by_coin() -> None:
    bars = raw_bars(hours=24)
    found = cover(bars.drop([3, 17]), "hour", {"BTC": hours_of("2024-01-01")}, over=True)
    assert found.missing == {"BTC": ("2024-01-01T03:00", "2024-01-01T17:00")}
    assert (found.expected, found.received, found.complete) == (24, 22, False)
    assert "2 of 24 rows" in found.sentence()


def test_a_day_that_is_not_over_is_never_complete() -> None:
    found = cover(raw_bars(hours=24), "hour", {"BTC": hours_of("2024-01-01")}, over=False)
    assert not found.missing
    assert not found.complete
    assert "not over" in found.sentence()


def test_a_complete_day_says_nothing_and_survives_its_footer() -> None:
    found = cover(raw_bars(hours=24), "hour", {"BTC": hours_of("2024-01-01")}, over=True)
    assert found.complete
    assert found.sentence() == ""
    torn = cover(raw_bars(hours=5), "hour", {"BTC": hours_of("2024-01-01")}, over=True, note="late")
    assert Coverage.from_json(torn.to_json()) == torn


def test_many_days_at_once_are_covered_as_each_alone() -> None:
    bars = raw_bars(hours=72).drop([5, 30, 31, 71])
    days = days_of(bars)
    whole = {"BTC": np.concatenate([hours_of(day) for day in days])}
    end = np.datetime64("2024-01-03T12:00", "us")
    together = cover_days(bars, "hour", whole, days, end)
    for day in days:
        rows = bars[bars["hour"].dt.strftime("%Y-%m-%d") == day]
        over = bool(np.datetime64(day, "us") + np.timedelta64(1, "D") <= end)
        assert together[day] == cover(rows, "hour", {"BTC": hours_of(day)}, over=over)
