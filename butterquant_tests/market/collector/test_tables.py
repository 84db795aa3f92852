"""Rows of the exchange become numbers; open bars, repetitions and contradictions do not get through."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.market.collector.days import HOUR_MS
from butterquant_assets.market.collector.questions import CRYPTO_BARS, FUNDING_RATES, MARK_PRICES, OPEN_INTEREST
from butterquant_assets.market.collector.tables import DamagedAnswerError, Points, frame_of, reader

START = 500_000 * HOUR_MS
WINDOW = (START, START + 10 * HOUR_MS)
NOW = START + 3 * HOUR_MS


def bar(hour: int, close: str = "2", confirm: str = "1") -> list[str]:
    return [str(START + hour * HOUR_MS), "1", "3", "0.5", close, "70", "7", "14", confirm]


def test_closed_bars_come_sorted_and_once() -> None:
    found = reader(CRYPTO_BARS, WINDOW, NOW)([bar(2, "5"), bar(0), bar(2, "5"), bar(1)])
    assert list(found.stamp) == [START, START + HOUR_MS, START + 2 * HOUR_MS]
    assert found.figures[2].tolist() == [1, 3, 0.5, 5, 7, 14]


def test_a_bar_that_is_open_by_time_or_by_flag_is_left_out() -> None:
    found = reader(CRYPTO_BARS, WINDOW, NOW)([bar(3), bar(2, confirm="0"), bar(1)])
    assert list(found.stamp) == [START + HOUR_MS]


def test_rows_outside_the_window_are_left_out() -> None:
    assert len(reader(CRYPTO_BARS, (START + HOUR_MS, START + 2 * HOUR_MS), NOW)([bar(0), bar(1), bar(2)])) == 1


@pytest.mark.parametrize(
    "rows",
    [[bar(0), bar(0, "9")], [["x", *bar(0)[1:]]], [bar(0)[:4]], [{"ts": "1"}], [bar(0, "many")], ["text"]],
)
def test_contradictions_and_what_is_no_row_are_damaged(rows: list[object]) -> None:
    with pytest.raises(DamagedAnswerError, match="crypto_bars"):
        reader(CRYPTO_BARS, WINDOW, NOW)(rows)


def test_interest_is_filed_under_the_hour_that_its_stamp_opens_and_only_once_that_is_over() -> None:
    rows = [[str(NOW), "300", "30", "400"], [str(START + 2 * HOUR_MS), "100", "10", "200"], [str(START), "90", "9", ""]]
    found = reader(OPEN_INTEREST, WINDOW, NOW)(rows)
    assert list(found.stamp) == [START, START + 2 * HOUR_MS]
    assert found.figures[1].tolist() == [10, 200]
    # A minute earlier the last of these hours was not over: its row may still move.
    assert list(reader(OPEN_INTEREST, WINDOW, NOW - 60_000)(rows).stamp) == [START]


def test_settlements_carry_the_realised_rate() -> None:
    row = {"fundingTime": str(START + 1_234), "fundingRate": "0.5", "realizedRate": "-0.0001", "instId": "X"}
    found = reader(FUNDING_RATES, WINDOW, NOW)([row])
    assert (found.stamp.tolist(), found.figures.tolist()) == ([START + 1_234], [[-0.0001]])


def test_later_points_count_over_older_ones() -> None:
    older = Points(np.array([1, 2, 3]), np.array([[1.0], [2.0], [3.0]]))
    newer = Points(np.array([0, 2]), np.array([[9.0], [8.0]]))
    both = newer.over(older)
    assert (both.stamp.tolist(), both.figures[:, 0].tolist()) == ([0, 1, 2, 3], [9, 1, 8, 3])


def test_points_become_rows_of_the_store() -> None:
    points = Points(np.array([START, START + HOUR_MS]), np.arange(8.0).reshape(2, 4))
    frame = frame_of(MARK_PRICES, "hour", [("BTC", points), ("ETH", points.within(0, 1))])
    assert list(frame.columns) == ["hour", "coin", "open", "high", "low", "close"]
    assert frame["hour"].dtype == "datetime64[us]"
    assert frame["coin"].tolist() == ["BTC", "BTC"]
    assert frame.iloc[1, 2:].tolist() == [4, 5, 6, 7]
    assert len(frame_of(MARK_PRICES, "hour", [])) == 0
