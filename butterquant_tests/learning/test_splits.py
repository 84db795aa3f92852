"""Purged, embargoed splits by time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.splits import episodes_per_part, purged_time_split, split_summary

START = np.datetime64("2016-01-04")


def dates(days: list[int]) -> np.ndarray:
    return START + np.array(days, dtype="timedelta64[D]")


def test_a_training_row_whose_trade_reaches_into_the_embargo_is_purged() -> None:
    entry = dates([0, 10, 20, 30, 60, 100])
    exit_ = dates([5, 54, 55, 60, 70, 120])  # validation starts on day 60, so the embargo of 5 starts on day 55
    split = purged_time_split(entry, exit_, validation_share=0.17, test_share=0.17, embargo_days=5)
    assert split.validation_start == START + 60
    assert split.test_start == START + 100
    assert split.train.tolist() == [True, True, False, False, False, False]
    assert split.purged.tolist() == [False, False, True, True, False, False]
    assert split.validation.tolist() == [False, False, False, False, True, False]
    assert split.test.tolist() == [False, False, False, False, False, True]


def test_a_validation_row_is_purged_against_the_test_part() -> None:
    entry, exit_ = dates([0, 50, 60, 100]), dates([5, 55, 97, 120])
    split = purged_time_split(entry, exit_, validation_share=0.5, test_share=0.25, embargo_days=3)
    assert split.validation.tolist() == [False, True, False, False]
    assert split.purged.tolist() == [False, False, True, False]


def test_shares_count_sessions_not_rows() -> None:
    entry = dates([0] * 90 + [20, 40, 60, 80, 100, 120, 140, 160, 180])
    split = purged_time_split(entry, entry + 1, validation_share=0.2, test_share=0.2, embargo_days=0)
    assert (split.train.sum(), split.validation.sum(), split.test.sum()) == (95, 2, 2)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 45)), min_size=3, max_size=60),
    validation_share=st.floats(0.05, 0.4),
    test_share=st.floats(0.05, 0.4),
    embargo=st.integers(0, 20),
)
def test_parts_never_share_a_day_of_holding_period(
    rows: list[tuple[int, int]], validation_share: float, test_share: float, embargo: int
) -> None:
    entry = np.array([day for day, _ in rows])
    exit_ = entry + np.array([length for _, length in rows])
    try:
        split = purged_time_split(
            START + entry, START + exit_, validation_share=validation_share, test_share=test_share, embargo_days=embargo
        )
    except DataError:
        return
    masks = [split.train, split.validation, split.test, split.purged]
    assert (np.sum(masks, axis=0) == 1).all()
    days = [{day for row in np.flatnonzero(mask) for day in range(entry[row], exit_[row] + 1)} for mask in masks[:3]]
    for earlier, later in ((0, 1), (0, 2), (1, 2)):
        assert max(days[earlier]) + embargo < min(days[later])
    # Purging takes no more than it must: every purged row reaches into the embargo before the next boundary.
    boundaries = [int((start - START).astype(int)) for start in (split.validation_start, split.test_start)]
    for row in np.flatnonzero(split.purged):
        boundary = min(b for b in boundaries if entry[row] < b)
        assert exit_[row] >= boundary - embargo


def test_an_empty_part_is_refused_with_its_figures() -> None:
    entry = dates([0, 10, 20])
    with pytest.raises(DataError, match=r"train part has 0 rows, at least 1 are needed \(3 rows in all, 2 purged"):
        purged_time_split(entry, dates([45, 15, 60]), validation_share=0.3, test_share=0.3, embargo_days=5)


def test_too_few_training_rows_are_refused() -> None:
    entry = dates(list(range(0, 200, 10)))
    with pytest.raises(DataError, match="at least 100"):
        purged_time_split(
            entry, entry + 1, validation_share=0.2, test_share=0.2, embargo_days=0, minimum_train_rows=100
        )


def test_two_sessions_cannot_be_split_in_three() -> None:
    with pytest.raises(DataError, match="2 distinct sessions"):
        purged_time_split(dates([0, 9]), dates([1, 10]), validation_share=0.3, test_share=0.3, embargo_days=0)


def test_an_exit_before_its_entry_is_refused() -> None:
    with pytest.raises(DataError, match=r"row 1: 2016-01-14 \.\. 2016-01-13"):
        purged_time_split(dates([0, 10, 20]), dates([5, 9, 25]), validation_share=0.3, test_share=0.3, embargo_days=0)


def test_a_missing_date_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 exit dates are missing"):
        purged_time_split(
            dates([0, 10]),
            np.array([START, "NaT"], dtype="M8[D]"),
            validation_share=0.3,
            test_share=0.3,
            embargo_days=0,
        )


@pytest.mark.parametrize(("validation", "test", "embargo"), [(0.0, 0.2, 0), (0.6, 0.5, 0), (0.2, 0.2, -1)])
def test_shares_that_make_no_sense_are_refused(validation: float, test: float, embargo: int) -> None:
    with pytest.raises(ConfigError):
        purged_time_split(
            dates([0, 1, 2]), dates([0, 1, 2]), validation_share=validation, test_share=test, embargo_days=embargo
        )


def test_episodes_are_counted_per_part_and_those_seen_before_are_told() -> None:
    entry = dates([0, 0, 10, 40, 50, 80, 90])
    split = purged_time_split(entry, entry + 2, validation_share=0.33, test_share=0.33, embargo_days=0)
    episode = ["a", "a", "b", "b", "c", "c", "d"]
    assert episodes_per_part(split, episode) == {"train": 2, "validation": 2, "test": 2}
    summary = split_summary(split, entry, entry + 2, episode)
    assert [summary[part]["episodes_seen_before"] for part in ("train", "validation", "test")] == [0, 1, 1]
    assert summary["train"] == {
        "rows": 3,
        "sessions": 2,
        "episodes": 2,
        "episodes_seen_before": 0,
        "first_entry": "2016-01-04",
        "last_entry": "2016-01-14",
        "last_exit": "2016-01-16",
    }
    assert summary["purged"] == {"rows": 0}
