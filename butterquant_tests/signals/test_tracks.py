from __future__ import annotations

import pandas as pd

from butterquant_assets.signals.paper import execute
from butterquant_assets.signals.tracks import positions_of, tracks
from butterquant_tests.signals.signal_cases import HOUR, START, accepted, random_bars, random_funding, scored

LENGTH = 24 * 8


def trades() -> pd.DataFrame:
    bars = random_bars(3, LENGTH, 4)
    return execute(accepted(scored(bars, 4)), bars, random_funding(3, LENGTH, 4), as_of=START + LENGTH * HOUR)


def test_days_apart_with_their_positions_are_all_days_in_turn() -> None:
    made = trades()
    days = pd.date_range(START, periods=8, freq="D")
    positions = positions_of(made, days)
    assert len(positions) > 10
    pd.testing.assert_series_equal(tracks(made, positions, each_day=True), made["track"], check_names=False)
    wrong = positions.iloc[:0]
    assert (tracks(made, wrong, each_day=True) != made["track"]).any()


def test_taking_up_from_a_day_is_going_through_from_the_start() -> None:
    made = trades()
    day = START + 72 * HOUR
    opening = positions_of(made, [day])
    later = made[made["hour"] >= day]
    pd.testing.assert_series_equal(tracks(later, opening), later["track"], check_names=False)


def test_a_position_ends_with_its_trade() -> None:
    made = trades()
    for row in positions_of(made, pd.date_range(START, periods=8, freq="D")).itertuples():
        trade = made[made["signal_id"] == row.signal_id].iloc[0]
        assert trade["track"] == "accepted"
        assert trade["hour"] < row.day
        assert trade["status"] == "open" or trade["exit_at"] == row.free_at > row.day
