"""Walk-forward folds: nothing trained on was unknown at the boundary, and later rows move no boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.walk_forward import (
    Fold,
    final_fold,
    fold_summary,
    inner_split,
    out_of_fold_before,
    walk_forward,
)

START = np.datetime64("2016-01-04")


def dates(days: Any) -> np.ndarray:
    return START + np.asarray(days, dtype="timedelta64[D]")


def day(text: str) -> np.datetime64:
    return np.datetime64(text, "D")


def sample(seed: int, rows: int = 400, span: int = 900, shortest: int = 20, longest: int = 40) -> tuple[Any, Any, Any]:
    """Rows sorted by entry, with holding periods and the episode of each."""
    random = np.random.default_rng(seed)
    entered = np.sort(random.integers(0, span, rows))
    return dates(entered), dates(entered + random.integers(shortest, longest + 1, rows)), entered // 30


def plain_boundaries(
    entry: Any, leave: Any, episode: Any, rows: int, episodes: int, step: int, embargo: int
) -> list[np.datetime64]:
    """Month after month, as the definition reads."""
    found: list[np.datetime64] = []
    month = entry.min().astype("datetime64[M]") + 1
    while month.astype("datetime64[D]") <= entry.max():
        here = month.astype("datetime64[D]")
        if found:
            met = sum(1 for entered in entry if found[-1] <= entered < here)
            if met >= step:
                found.append(here)
        else:
            known = [row for row in range(len(leave)) if leave[row] < here - np.timedelta64(embargo, "D")]
            if len(known) >= rows and len({episode[row] for row in known}) >= episodes:
                found.append(here)
        month += 1
    return found


def folds_of(entry: Any, leave: Any, episode: Any, **changes: int) -> list[Fold]:
    asked = {"minimum_train_rows": 60, "minimum_train_episodes": 3, "step_rows": 40, "embargo_days": 5} | changes
    return walk_forward(entry, leave, episode=episode, **asked)


def test_the_worked_example_cuts_where_it_says() -> None:
    entry = np.array(
        ["2016-01-05", "2016-01-20", "2016-02-10", "2016-03-03", "2016-03-30", "2016-05-02"], dtype="M8[D]"
    )
    leave = np.array(
        ["2016-02-01", "2016-02-24", "2016-03-20", "2016-04-10", "2016-05-05", "2016-06-01"], dtype="M8[D]"
    )
    first, second = walk_forward(
        entry,
        leave,
        minimum_train_rows=2,
        minimum_train_episodes=2,
        step_rows=2,
        embargo_days=5,
        episode=["a", "b", "b", "c", "c", "d"],
    )
    # 1 March minus the embargo is 25 February in this leap year: two rows had left before that day.
    assert first.boundary == day("2016-03-01")
    assert first.train.tolist() == [True, True, False, False, False, False]
    assert first.purged.tolist() == [False, False, True, False, False, False]
    assert first.test.tolist() == [False, False, False, True, True, False]
    assert second.boundary == day("2016-04-01")
    assert second.train.tolist() == [True, True, True, False, False, False]
    assert second.purged.tolist() == [False, False, False, True, True, False]
    assert second.test.tolist() == [False, False, False, False, False, True]


def test_a_row_that_leaves_on_the_day_the_embargo_starts_is_purged() -> None:
    entry = dates([0, 1, 100])  # 2016-04-13; the first month start with a row known is 1 March
    leave = np.array(["2016-02-24", "2016-02-25", "2016-05-01"], dtype="M8[D]")
    (fold,) = walk_forward(
        entry,
        leave,
        minimum_train_rows=1,
        minimum_train_episodes=1,
        step_rows=1,
        embargo_days=5,
        episode=[1, 1, 2],
    )
    assert fold.boundary == day("2016-03-01")
    assert fold.train.tolist() == [True, False, False]
    assert fold.purged.tolist() == [False, True, False]


def test_the_first_boundary_waits_for_episodes_as_well_as_rows() -> None:
    entry = dates([*range(30), 70, 150])
    leave, episode = entry + 20, np.array([0] * 30 + [1, 2])
    few, more = (folds_of(entry, leave, episode, minimum_train_rows=20, minimum_train_episodes=k) for k in (1, 2))
    assert few[0].boundary == day("2016-03-01")
    assert more[0].boundary == day("2016-05-01")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 120),
    episodes=st.integers(1, 12),
    step=st.integers(1, 150),
    embargo=st.integers(0, 20),
)
def test_boundaries_are_those_of_the_definition_read_month_by_month(
    seed: int, rows: int, episodes: int, step: int, embargo: int
) -> None:
    entry, leave, episode = sample(seed, rows=250)
    shuffled = np.random.default_rng(seed).permutation(len(entry))
    asked = {"minimum_train_rows": rows, "minimum_train_episodes": episodes, "step_rows": step, "embargo_days": embargo}
    found = walk_forward(entry[shuffled], leave[shuffled], episode=episode[shuffled], **asked)
    assert [fold.boundary for fold in found] == plain_boundaries(entry, leave, episode, rows, episodes, step, embargo)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), embargo=st.integers(0, 20))
def test_no_fold_learns_from_what_was_unknown_at_its_boundary(seed: int, embargo: int) -> None:
    entry, leave, episode = sample(seed)
    found = folds_of(entry, leave, episode, embargo_days=embargo)
    assert len(found) > 1
    tested = np.zeros(len(entry), dtype=int)
    for number, fold in enumerate(found):
        assert (leave[fold.train] < fold.boundary - np.timedelta64(embargo, "D")).all()
        assert (entry[fold.test] >= fold.boundary).all()
        assert not (fold.train & fold.test).any()
        assert not (fold.train & fold.purged).any()
        # Every row before the boundary is either learned from or purged, and none is purged without need.
        assert ((fold.train | fold.purged) == (entry < fold.boundary)).all()
        assert (leave[fold.purged] >= fold.boundary - np.timedelta64(embargo, "D")).all()
        assert fold.test.sum() >= (40 if number < len(found) - 1 else 1)
        tested += fold.test
    assert (tested == (entry >= found[0].boundary)).all()


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(50, 400))
def test_rows_that_enter_later_move_no_boundary_and_change_no_earlier_fold(seed: int, cut: int) -> None:
    entry, leave, episode = sample(seed)
    whole = folds_of(entry, leave, episode)
    try:
        part = folds_of(entry[:cut], leave[:cut], episode[:cut])
    except DataError:
        assert whole[0].boundary > entry[cut - 1]
        return
    assert [fold.boundary for fold in part] == [fold.boundary for fold in whole[: len(part)]]
    for early, late in zip(part, whole, strict=False):
        assert (early.train == late.train[:cut]).all()
        assert not late.train[cut:].any()
        assert (early.purged == late.purged[:cut]).all()
    for early, late in zip(part[:-1], whole, strict=False):
        assert (early.test == late.test[:cut]).all()
        assert not late.test[cut:].any()


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), today=st.integers(150, 950))
def test_rows_that_arrive_with_their_outcome_move_no_boundary(seed: int, today: int) -> None:
    entry, leave, episode = sample(seed)
    known = leave <= START + today
    assume(known.any())
    try:
        part = folds_of(entry[known], leave[known], episode[known])
    except DataError:
        return
    whole = folds_of(entry, leave, episode)
    assert [fold.boundary for fold in part] == [fold.boundary for fold in whole[: len(part)]]


def test_the_final_fold_learns_from_everything_and_starts_when_all_of_it_is_known() -> None:
    entry = dates([0, 10, 20])
    leave = np.array(["2016-02-01", "2016-02-20", "2016-02-25"], dtype="M8[D]")
    fold = final_fold(entry, leave, embargo_days=4)
    assert fold.train.all()
    assert not fold.test.any()
    assert not fold.purged.any()
    assert fold.boundary == day("2016-03-01")
    assert final_fold(entry, leave, embargo_days=5).boundary == day("2016-04-01")  # 25 February + 5 days is 1 March


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.6), embargo=st.integers(0, 20))
def test_rows_to_fit_leave_before_the_rows_to_stop_by_enter(seed: int, share: float, embargo: int) -> None:
    entry, leave, _ = sample(seed)
    mask = leave < START + 700
    fit, validation = inner_split(entry, leave, mask, share, embargo)
    assert not (fit & validation).any()
    assert not ((fit | validation) & ~mask).any()
    start = entry[validation].min()
    assert leave[fit].max() + np.timedelta64(embargo, "D") < start
    assert (entry[mask & ~validation] < start).all()
    # What is in neither part reaches into the embargo.
    assert (leave[mask & ~fit & ~validation] >= start - np.timedelta64(embargo, "D")).all()
    sessions = np.unique(entry[mask]).size
    assert np.unique(entry[validation]).size == max(1, round(share * sessions))


def test_an_inner_split_ignores_rows_outside_the_mask() -> None:
    entry, leave, _ = sample(3)
    mask = leave < START + 400
    fit, validation = inner_split(entry, leave, mask, 0.2, 5)
    inside = np.flatnonzero(mask)
    fit_alone, validation_alone = inner_split(entry[inside], leave[inside], np.ones(inside.size, dtype=bool), 0.2, 5)
    assert (fit[inside] == fit_alone).all()
    assert (validation[inside] == validation_alone).all()


def test_a_vintage_may_calibrate_on_earlier_test_rows_with_a_known_outcome_only() -> None:
    entry, leave, episode = sample(11)
    found = folds_of(entry, leave, episode)
    assert not out_of_fold_before(found, 0).any()
    for index in range(1, len(found)):
        usable = out_of_fold_before(found, index)
        expected = [
            bool(entered >= found[0].boundary and left < found[index].boundary - np.timedelta64(5, "D"))
            for entered, left in zip(entry, leave, strict=True)
        ]
        assert usable.tolist() == expected
    assert out_of_fold_before(found, len(found) - 1).any()


def test_the_summary_counts_what_the_masks_hold() -> None:
    entry = np.array(["2016-01-05", "2016-01-05", "2016-02-10", "2016-03-03"], dtype="M8[D]")
    leave = np.array(["2016-02-01", "2016-02-03", "2016-03-20", "2016-04-10"], dtype="M8[D]")
    episode = ["a", "b", "b", "b"]
    folds = walk_forward(
        entry, leave, minimum_train_rows=2, minimum_train_episodes=2, step_rows=1, embargo_days=5, episode=episode
    )
    assert fold_summary([*folds, final_fold(entry, leave, embargo_days=5)], entry, leave, episode) == [
        {
            "fold": 0,
            "boundary": "2016-03-01",
            "purged_rows": 1,
            "train_rows": 2,
            "train_sessions": 1,
            "train_episodes": 2,
            "train_first_entry": "2016-01-05",
            "train_last_entry": "2016-01-05",
            "train_last_exit": "2016-02-03",
            "test_rows": 1,
            "test_sessions": 1,
            "test_episodes": 1,
            "test_first_entry": "2016-03-03",
            "test_last_entry": "2016-03-03",
            "test_last_exit": "2016-04-10",
            "test_episodes_partly_seen": 1,
        },
        {
            "fold": 1,
            "boundary": "2016-05-01",
            "purged_rows": 0,
            "train_rows": 4,
            "train_sessions": 3,
            "train_episodes": 2,
            "train_first_entry": "2016-01-05",
            "train_last_entry": "2016-03-03",
            "train_last_exit": "2016-04-10",
            "test_rows": 0,
            "test_sessions": 0,
            "test_episodes": 0,
            "test_first_entry": None,
            "test_last_entry": None,
            "test_last_exit": None,
            "test_episodes_partly_seen": 0,
        },
    ]


def test_too_little_data_says_what_is_missing() -> None:
    entry, leave, episode = sample(5, rows=50, span=200)
    with pytest.raises(DataError, match=r"at least 60 rows from 3 episodes are needed \(50 rows in all\)"):
        folds_of(entry, leave, episode)
    with pytest.raises(DataError, match="episodes had left 5 days before; at least 10 rows from 30 episodes"):
        folds_of(entry, leave, episode, minimum_train_rows=10, minimum_train_episodes=30)
    with pytest.raises(DataError, match="all 3 rows enter within one month"):
        folds_of(dates([0, 1, 2]), dates([5, 6, 7]), [0, 0, 0])
    with pytest.raises(DataError, match="no rows to fold"):
        folds_of(dates([]), dates([]), [])
    with pytest.raises(DataError, match="no rows to learn from"):
        final_fold(dates([]), dates([]), embargo_days=5)


def test_unusable_dates_and_episodes_are_refused() -> None:
    entry, leave, episode = sample(5)
    gap = leave.copy()
    gap[7] = np.datetime64("NaT")
    with pytest.raises(DataError, match="1 of 400 leave dates are missing"):
        folds_of(entry, gap, episode)
    gap[7] = entry[7] - 1
    with pytest.raises(DataError, match="1 rows leave before they enter, first row 7"):
        folds_of(entry, gap, episode)
    with pytest.raises(DataError, match="400 rows have no episode"):
        folds_of(entry, leave, [None] * 400)
    with pytest.raises(ValueError, match="they must be equal"):
        folds_of(entry, leave[1:], episode)


@pytest.mark.parametrize("name", ["minimum_train_rows", "minimum_train_episodes", "step_rows"])
def test_a_minimum_below_one_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        folds_of(*sample(5), **{name: 0})


def test_senseless_embargo_and_shares_are_refused() -> None:
    entry, leave, episode = sample(5)
    with pytest.raises(ConfigError, match="embargo_days is -1"):
        folds_of(entry, leave, episode, embargo_days=-1)
    mask = np.ones(400, dtype=bool)
    for share in (0.0, 1.0):
        with pytest.raises(ConfigError, match="validation_share"):
            inner_split(entry, leave, mask, share, 5)
    with pytest.raises(DataError, match="1 distinct sessions cannot give"):
        inner_split(dates([0, 0]), dates([5, 5]), [True, True], 0.2, 5)
    with pytest.raises(DataError, match="no training row leaves 5 days before 2016-01-14"):
        inner_split(dates([0, 10]), dates([5, 15]), [True, True], 0.5, 5)
