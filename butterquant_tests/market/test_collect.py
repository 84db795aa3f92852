from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collect import (
    BAR_VALUES,
    VIX_VALUES,
    empty_rows,
    merge,
    merge_splits,
    one_per_session,
    rebasing_factor,
    screen,
)
from butterquant_tests.market.fake_services import truth

D = np.datetime64
BARS = truth("AAA", 10, "2024-05-01")[["session", "ticker", *BAR_VALUES]]
FIRST, CLOSED, TODAY = D("2024-05-01"), D("2024-05-14"), D("2024-05-14")


def splits(*entries: tuple[str, float]) -> pd.DataFrame:
    days = pd.to_datetime([day for day, _ in entries]).astype("datetime64[us]")
    return pd.DataFrame({"session": days, "ticker": "AAA", "split_ratio": [ratio for _, ratio in entries]})


def test_screening_sorts_and_keeps_one_of_identical_rows() -> None:
    shuffled = pd.concat([BARS, BARS.iloc[[3, 3]]]).sample(frac=1.0, random_state=1)
    found = screen(shuffled, BAR_VALUES, CLOSED, TODAY)
    pd.testing.assert_frame_equal(found.rows, BARS)
    assert found.problems == ()
    assert found.refused.size == 0


def test_contradicting_rows_of_a_session_are_refused_and_named() -> None:
    other = BARS.iloc[[3]].assign(close=BARS["close"].iloc[3] + 0.5)
    found = screen(pd.concat([BARS, other]), BAR_VALUES, CLOSED, TODAY)
    pd.testing.assert_frame_equal(found.rows, BARS.drop(3).reset_index(drop=True))
    assert found.refused.astype(str).tolist() == ["2024-05-06"]
    assert "AAA: 1 sessions came more than once" in found.problems[0]
    assert "2024-05-06" in found.problems[0]


@pytest.mark.parametrize(("name", "value"), [("close", np.nan), ("low", 0.0), ("open", np.inf), ("volume", -1.0)])
def test_a_row_without_a_possible_number_is_refused(name: str, value: float) -> None:
    bars = BARS.copy()
    bars.loc[2, name] = value
    found = screen(bars, BAR_VALUES, CLOSED, TODAY)
    assert found.refused.astype(str).tolist() == ["2024-05-03"]
    assert len(found.rows) == 9


def test_a_half_row_beside_a_whole_one_does_not_count_against_it() -> None:
    half = BARS.iloc[[2]].assign(close=np.nan)
    found = screen(pd.concat([half, BARS]), BAR_VALUES, CLOSED, TODAY)
    pd.testing.assert_frame_equal(found.rows, BARS)
    assert found.refused.size == 0
    assert len(found.problems) == 1


def test_the_open_session_is_left_out_silently_and_tomorrow_with_a_word() -> None:
    assert screen(BARS, BAR_VALUES, D("2024-05-13"), TODAY).problems == ()
    found = screen(BARS, BAR_VALUES, D("2024-05-10"), D("2024-05-13"))
    assert found.rows["session"].max() == pd.Timestamp("2024-05-10")
    assert "AAA: 1 rows are dated 2024-05-14 or later, expected none after today (2024-05-13)" in found.problems[0]


def test_an_empty_answer_is_screened_to_nothing() -> None:
    found = screen(empty_rows(BAR_VALUES), BAR_VALUES, CLOSED, TODAY)
    assert found.rows.empty
    assert found.problems == ()


def test_merging_adds_revises_and_never_drops() -> None:
    fresh = BARS.iloc[4:].drop(6).reset_index(drop=True)
    fresh.loc[0, "volume"] += 100
    merged = merge(BARS.iloc[:8], fresh, BAR_VALUES, D("2024-05-07"))
    assert merged.rows["session"].tolist() == BARS["session"].tolist()
    assert merged.added == 2
    (revision,) = merged.revisions
    assert (revision.session, revision.old, revision.new) == ("2024-05-07", {"volume": 5000.0}, {"volume": 5100.0})
    assert merged.unanswered.astype(str).tolist() == ["2024-05-09"]
    assert merged.rows["volume"].iloc[4] == 5100.0


def test_merging_agrees_with_a_plain_dictionary_on_random_answers() -> None:
    draw = np.random.default_rng(5)
    for _ in range(30):
        held = BARS[draw.random(10) < 0.6]
        fresh = BARS[draw.random(10) < 0.6].copy()
        fresh.loc[draw.random(len(fresh)) < 0.3, "close"] += 1.0
        expected = {row[0]: row[1:] for frame in (held, fresh) for row in frame.itertuples(index=False, name=None)}
        merged = merge(held, fresh, BAR_VALUES, FIRST)
        assert {row[0]: row[1:] for row in merged.rows.itertuples(index=False, name=None)} == expected
        assert merged.added == len(expected) - len(held)
        changed = sum(expected[row[0]] != row[1:] for row in held.itertuples(index=False, name=None))
        assert len(merged.revisions) == changed


def test_merging_the_same_answer_again_changes_nothing() -> None:
    vix = BARS[["session", "ticker", *VIX_VALUES]]
    again = merge(vix, vix, VIX_VALUES, FIRST)
    assert (again.added, again.revisions, again.unanswered.size) == (0, (), 0)


def test_one_factor_over_several_closes_is_a_hidden_split() -> None:
    rebased = BARS.assign(close=np.round(BARS["close"] / 4, 2))
    assert rebasing_factor(BARS, rebased) == pytest.approx(0.25, rel=1e-3)
    half = rebased.copy()
    half.loc[6:, "close"] = BARS["close"].iloc[6:]
    assert rebasing_factor(BARS, half) == pytest.approx(0.25, rel=1e-3)


def test_a_few_corrections_are_no_hidden_split() -> None:
    corrected = BARS.copy()
    corrected.loc[[1, 4, 7, 8], "close"] += [0.10, -0.31, 0.55, 0.02]
    assert rebasing_factor(BARS, corrected) is None
    assert rebasing_factor(BARS, BARS) is None
    assert rebasing_factor(BARS.iloc[:0], BARS) is None


def test_a_split_told_at_a_corrected_date_moves() -> None:
    merged = merge_splits(splits(("2024-05-06", 4.0)), splits(("2024-05-07", 4.0)), FIRST, accept=False)
    assert merged.rows["session"].dt.strftime("%m-%d").tolist() == ["05-07"]
    assert merged.revisions[0].new == {}


def test_a_split_no_longer_told_of_stays_unless_the_answer_is_accepted() -> None:
    held = splits(("2023-01-05", 2.0), ("2024-05-06", 4.0))
    kept = merge_splits(held, splits(), FIRST, accept=False)
    assert len(kept.rows) == 2
    assert kept.unanswered.astype(str).tolist() == ["2024-05-06"]
    gone = merge_splits(held, splits(), FIRST, accept=True)
    assert gone.rows["split_ratio"].tolist() == [2.0]
    assert gone.unanswered.size == 0


def test_contradicting_splits_of_a_day_are_refused() -> None:
    same = splits(("2024-05-06", 4.0), ("2024-05-06", 4.0))
    assert len(one_per_session(same, ("split_ratio",), "the split")) == 1
    with pytest.raises(SourceError, match="AAA: the split of 2024-05-06 came as 4 and 2"):
        one_per_session(splits(("2024-05-06", 4.0), ("2024-05-06", 2.0)), ("split_ratio",), "the split")
