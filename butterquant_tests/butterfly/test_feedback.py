"""Trades taken as training rows: never twice, never before their outcome, and every one accounted for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from butterquant_assets.butterfly.decision_schemas import FEEDBACK
from butterquant_assets.butterfly.decisions import DecisionRules, decide
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.feedback import FEEDBACK_TYPES, FeedbackRules, feedback_rows, with_feedback
from butterquant_assets.butterfly.pricing import label_of
from butterquant_assets.butterfly.schemas import TRAINING_SET
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_tests.butterfly.decision_cases import model, outcomes_of, scan_of, session_days

KEYS = ["session", "ticker"]
SCAN = scan_of(session_days("2016-03-01", 15, 5), 12, 0)
DECISIONS = decide(
    SCAN,
    model(len(SCAN), 1, threshold=0.0),
    challenger=model(len(SCAN), 2, "challenger-1", 0.0),
    rules=DecisionRules(challenger_share=0.5),
)
LATE = "2016-12-30"


def labels() -> pd.DataFrame:
    roi = np.random.default_rng(3).uniform(-0.9, 1.0, len(SCAN))
    frame = outcomes_of(SCAN, roi).assign(roi_tent=-1.0, roi_expiry=-1.0)
    return frame.assign(**{f"label_{k}": label_of(frame[f"roi_{k}"]).astype(float) for k in ("tent", "expiry", "net")})


def features() -> pd.DataFrame:
    """Every feature at a value its contract allows."""
    values = dict.fromkeys(FEATURES, 0.1) | {"dominant_period": 30.0, "vol_concentration": 1.0, "vix_level": 16.0}
    return SCAN[KEYS].assign(stratum="normal", episode="normal-1", **values)


def lost(outcomes: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    columns = [name for name in outcomes if name.startswith(("roi_", "label_"))]
    outcomes = outcomes.copy()
    outcomes.loc[rows, columns] = np.nan
    outcomes.loc[rows, "missing_reason"] = "no_exit_iv"
    return outcomes


NONE = SCAN[KEYS].iloc[:0]


def test_trades_taken_become_rows_once_with_their_tracks() -> None:
    found = feedback_rows(DECISIONS, labels(), features(), NONE, as_of=LATE)
    taken = DECISIONS[DECISIONS["selected"]].groupby(KEYS)["track"].agg(lambda tracks: ",".join(sorted(tracks)))
    assert found.rows.set_index(KEYS)["tracks"].to_dict() == taken.to_dict()
    assert (found.rows["kind"] == "feedback").all()
    assert {name: str(dtype) for name, dtype in found.rows.dtypes.items()} == FEEDBACK_TYPES
    assert FEEDBACK.validate(found.rows).reasons() == []
    truth = labels().set_index(KEYS).loc[found.rows.set_index(KEYS).index, "roi_net"]
    np.testing.assert_array_equal(found.rows["roi_net"], truth)
    challenged = DECISIONS[DECISIONS["route"] == "challenger"]["ticker"].unique()
    assert set(found.rows.loc[found.rows["route"] == "challenger", "ticker"]) <= set(challenged)
    assert (found.rows["route"] == "challenger").any()


@settings(max_examples=15)
@given(
    held=st.lists(st.integers(0, len(SCAN) - 1), max_size=60),
    gone=st.lists(st.integers(0, len(SCAN) - 1), max_size=60),
    bare=st.lists(st.integers(0, len(SCAN) - 1), max_size=30),
    day=st.sampled_from(["2016-03-04", "2016-05-06", LATE]),
)
def test_no_row_is_added_twice_and_every_trade_is_accounted_for(
    held: list[int], gone: list[int], bare: list[int], day: str
) -> None:
    already = SCAN[KEYS].iloc[held]
    outcomes = lost(labels(), np.array(gone, dtype=int))
    found = feedback_rows(DECISIONS, outcomes, features().drop(index=bare), already, as_of=day)
    assert (found.rows["evaluation_session"] <= day).all()
    together = pd.concat([already.drop_duplicates(), found.rows[KEYS]])
    assert not together.duplicated().any()
    facts = found.facts
    entered = DECISIONS[DECISIONS["selected"] & (DECISIONS["session"] <= day)][KEYS].drop_duplicates()
    counted = facts["added"] + facts["already"] + facts["without_features"] + sum(facts["unlabelled"].values())
    assert counted == facts["taken"] == len(entered)
    again = feedback_rows(DECISIONS, outcomes, features(), together, as_of=day)
    assert not again.rows.merge(together, on=KEYS).size


def test_outcomes_evaluated_later_change_nothing() -> None:
    day, outcomes = "2016-05-06", labels()
    later = outcomes["evaluation_session"] > day
    changed = outcomes.copy()
    changed.loc[later, [name for name in outcomes if name.startswith("roi_")]] = 5.0
    first, second = (feedback_rows(DECISIONS, table, features(), NONE, as_of=day) for table in (outcomes, changed))
    assert len(first.rows) > 0
    pd.testing.assert_frame_equal(first.rows, second.rows, check_exact=True)
    assert first.facts == second.facts


def test_weights_choose_tracks_and_the_switch_turns_it_off() -> None:
    rules = FeedbackRules(weights={"ai": 0.5, "baseline": 2.0, "blend": 0.0})
    rows = feedback_rows(DECISIONS, labels(), features(), NONE, as_of=LATE, rules=rules).rows
    assert set(rows["tracks"]) == {"ai", "baseline", "ai,baseline"}
    assert (rows["weight"] == np.where(rows["tracks"].str.contains("baseline"), 2.0, 0.5)).all()
    off = feedback_rows(DECISIONS, labels(), features(), NONE, as_of=LATE, rules=FeedbackRules(enabled=False))
    assert off.rows.empty
    assert off.facts["taken"] == 0
    assert FEEDBACK.validate(off.rows).reasons() == []


def test_feedback_joins_the_training_set_by_kind_and_weight() -> None:
    found = feedback_rows(DECISIONS, labels(), features(), NONE, as_of=LATE).rows
    training = found[TRAINING_SET.columns].iloc[::2]
    fresh = feedback_rows(DECISIONS, labels(), features(), training, as_of=LATE).rows
    together = with_feedback(training, fresh)
    assert list(together.columns) == [*TRAINING_SET.columns, "kind", "weight"]
    assert together["kind"].value_counts().to_dict() == {"sample": len(training), "feedback": len(fresh)}
    assert together[KEYS].equals(found[KEYS])
    with pytest.raises(DataError, match="feedback rows are in the training set already"):
        with_feedback(training, found)


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="name ia; the tracks are ai, baseline, blend"):
        FeedbackRules(weights={"ia": 1.0})
    with pytest.raises(ConfigError, match="must be a number of 0 or more"):
        FeedbackRules(weights={"ai": -1.0})
    with pytest.raises(DataError, match="known outcomes lack a ROI or label"):
        feedback_rows(DECISIONS, labels().assign(roi_tent=np.nan), features(), NONE, as_of=LATE)
    with pytest.raises(DataError, match="1 feature rows are repeated"):
        feedback_rows(DECISIONS, labels(), pd.concat([features(), features().iloc[:1]]), NONE, as_of=LATE)
