"""Values lie in the hour they belong to, and a funding rate in none before it was settled."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.alignment import funding_per_8h, hourly_grid

HOURS = np.datetime64("2024-03-01T00", "us") + np.arange(24) * np.timedelta64(1, "h")


def settlements(times, rates, coin="AAA"):
    stamps = pd.to_datetime([f"2024-03-01 {time}" if len(time) < 13 else time for time in times], format="ISO8601")
    return pd.DataFrame({"settled_at": stamps, "coin": coin, "funding_rate": rates})


def test_rows_find_their_hour_and_coin_and_gaps_stay_missing():
    frame = pd.DataFrame(
        {"hour": HOURS[[2, 0, 2, 5]], "coin": ["BBB", "AAA", "AAA", "ZZZ"], "close": [1.0, 2.0, 3.0, 4.0]}
    )
    grid = hourly_grid(frame, "close", HOURS[:4], ["AAA", "BBB"])
    np.testing.assert_array_equal(grid, [[2.0, np.nan], [np.nan] * 2, [3.0, 1.0], [np.nan] * 2])


def test_repeated_and_uneven_rows_are_refused():
    frame = pd.DataFrame({"hour": HOURS[[1, 1]], "coin": "AAA", "close": [1.0, 2.0]})
    with pytest.raises(DataError, match="close of AAA at 2024-03-01 01:00:00 is given twice"):
        hourly_grid(frame, "close", HOURS, ["AAA"])
    half = frame.assign(hour=HOURS[[1, 2]] + np.timedelta64(30, "m"))
    with pytest.raises(DataError, match="row at 2024-03-01 01:30:00, expected the start of an hour"):
        hourly_grid(half, "close", HOURS, ["AAA"])
    with pytest.raises(DataError, match="zone UTC; give naive UTC"):
        hourly_grid(frame.assign(hour=frame["hour"].dt.tz_localize("UTC")), "close", HOURS, ["AAA"])
    assert np.isnan(hourly_grid(frame.iloc[:0], "close", HOURS, ["AAA"])).all()


def test_rates_are_per_eight_hours_whatever_the_interval():
    times = ["00:00", "08:00", "12:00", "14:00", "15:00"]
    grid = funding_per_8h(settlements(times, [9.0, 1.0, 1.0, 1.0, 1.0]), HOURS, ["AAA"])[:, 0]
    expected = np.full(24, np.nan)
    expected[8:12], expected[12:14], expected[14], expected[15:23] = 1.0, 2.0, 4.0, 8.0
    np.testing.assert_array_equal(grid, expected)


def test_a_rate_settled_as_an_hour_ends_is_known_an_hour_later_and_so_a_day_needs_nothing_of_the_next():
    grid = funding_per_8h(settlements(["00:00", "08:00"], [0.0, 1.0]), HOURS, ["AAA"])[:, 0]
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(grid)), np.arange(8, 16))


def test_an_unknown_interval_gives_no_rate_but_starts_the_clock():
    times = ["2024-02-28 00:00", "2024-03-01 04:00", "2024-03-01 08:00"]
    grid = funding_per_8h(settlements(times, [1.0, 1.0, 1.0]), HOURS, ["AAA"])[:, 0]
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(grid)), np.arange(8, 16))
    assert (grid[8:16] == 2.0).all()


def test_cutting_the_settlements_changes_no_earlier_hour():
    times = ["00:00", "04:00", "08:00", "16:00", "20:00"]
    full = settlements(times, [1.0, 2.0, 3.0, 4.0, 5.0])
    whole = funding_per_8h(full, HOURS, ["AAA"])
    for hour in (4, 8, 12, 19):
        cut = full[full["settled_at"] <= pd.Timestamp(HOURS[hour])]
        np.testing.assert_array_equal(funding_per_8h(cut, HOURS, ["AAA"])[:hour], whole[:hour])


def test_coins_keep_to_themselves_and_doubled_settlements_are_refused():
    both = pd.concat([settlements(["00:00", "08:00"], [0.0, 1.0]), settlements(["00:00", "04:00"], [0.0, 1.0], "BBB")])
    grid = funding_per_8h(both, HOURS, ["BBB", "AAA", "CCC"])
    assert (grid[4, 0], grid[8, 1]) == (2.0, 1.0)
    assert np.isnan(grid[:, 2]).all()
    with pytest.raises(DataError, match=r"funding of AAA settles twice within the hour of 2024-03-01 08:00:00.5"):
        funding_per_8h(settlements(["00:00", "08:00", "08:00:00.5"], [0.0, 1.0, 1.0]), HOURS, ["AAA"])


def test_a_missing_settlement_of_a_four_hour_coin_halves_no_rate():
    times = ["00:00", "04:00", "12:00", "16:00"]
    grid = funding_per_8h(settlements(times, [1.0] * 4), HOURS, ["AAA"])[:, 0]
    expected = np.full(24, np.nan)
    expected[4:12], expected[16:] = 2.0, 2.0
    np.testing.assert_array_equal(grid, expected)
