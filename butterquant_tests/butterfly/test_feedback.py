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
from butterquant_assets.butterfly.feedback import (
    FEEDBACK_TYPES,
    LEDGER_TYPES,
    FeedbackConfig,
    Taking,
    complete_until,
    feedback_rows,
    take,
)
from butterquant_assets.butterfly.feedback_schemas import FEEDBACK_UNUSED
from butterquant_assets.butterfly.pricing import label_of
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
LATE = pd.Timestamp("2016-12-30")


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


REJECTS = SCAN[KEYS].iloc[:0].assign(reason=pd.Series(dtype="str"))


def taking(
    outcomes: pd.DataFrame | None = None,
    sampled: pd.DataFrame = NONE,
    ledger: pd.DataFrame = NONE,
    *,
    after: pd.Timestamp | None = None,
    as_of: pd.Timestamp = LATE,
    decisions: pd.DataFrame = DECISIONS,
) -> Taking:
    outcomes = labels() if outcomes is None else outcomes
    return take(decisions, outcomes, sampled, ledger, after=after, as_of=as_of)


def made(config: FeedbackConfig | None = None, **changed: pd.DataFrame):
    given = {"ledger": taking().rows, "outcomes": labels(), "features": features(), "rejects": REJECTS, "sampled": NONE}
    return feedback_rows(**(given | changed), config=config or FeedbackConfig())


# ------------------------------------------------------------------------------------------------ taking


def test_trades_taken_enter_once_with_their_tracks_route_and_model() -> None:
    found = taking().rows
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == LEDGER_TYPES
    chosen = DECISIONS[DECISIONS["selected"]]
    tracks = chosen.groupby(KEYS)["track"].agg(lambda names: ",".join(sorted(names)))
    assert found.set_index(KEYS)["tracks"].to_dict() == tracks.to_dict()
    first = chosen.drop_duplicates(KEYS).set_index(KEYS)
    for column in ("route", "model_version"):
        assert found.set_index(KEYS)[column].to_dict() == first[column].to_dict()
    assert set(found["model_version"]) == {"champion-1", "challenger-1"}
    truth = labels().set_index(KEYS).loc[found.set_index(KEYS).index, "roi_net"]
    np.testing.assert_array_equal(found["roi_net"], truth)


@settings(max_examples=15)
@given(
    sampled=st.lists(st.integers(0, len(SCAN) - 1), max_size=60),
    held=st.lists(st.integers(0, len(SCAN) - 1), max_size=60),
    gone=st.lists(st.integers(0, len(SCAN) - 1), max_size=60),
    day=st.sampled_from(["2016-03-04", "2016-05-06", "2016-12-30"]),
    after=st.sampled_from([None, "2016-04-29", "2016-06-15"]),
)
def test_no_trade_enters_twice_and_every_trade_is_accounted_for(
    sampled: list[int], held: list[int], gone: list[int], day: str, after: str | None
) -> None:
    as_of, settled = pd.Timestamp(day), None if after is None else pd.Timestamp(after)
    outcomes = lost(labels(), np.array(gone, dtype=int))
    here, there = SCAN[KEYS].iloc[sampled], SCAN[KEYS].iloc[held]
    found = taking(outcomes, here, there, after=settled, as_of=as_of)
    assert (found.rows["evaluation_session"] <= as_of).all()
    assert settled is None or (found.rows["evaluation_session"] > settled).all()
    before = pd.concat([here, there]).drop_duplicates()
    assert not pd.concat([before, found.rows[KEYS]]).duplicated().any()
    facts = found.facts
    entered = DECISIONS[DECISIONS["selected"] & (DECISIONS["session"] <= as_of)][KEYS].drop_duplicates()
    counted = sum(facts[name] for name in ("added", "in_ledger", "in_training_set", "settled"))
    assert counted + sum(facts["unlabelled"].values()) == facts["trades"] == len(entered)
    again = taking(outcomes, here, pd.concat([there, found.rows[KEYS]]), after=as_of, as_of=as_of)
    assert again.rows.empty


def test_taking_step_by_step_gives_what_taking_at_once_gives() -> None:
    ledger, after = NONE, None
    for day in pd.to_datetime(["2016-04-15", "2016-05-06", "2016-05-06", LATE]):
        ledger = pd.concat([ledger, taking(ledger=ledger, after=after, as_of=day).rows], ignore_index=True)
        after = day
    whole = taking().rows
    assert len(whole) > 20
    pd.testing.assert_frame_equal(ledger.sort_values(KEYS).reset_index(drop=True)[whole.columns], whole)


def test_what_a_later_model_would_have_done_on_settled_days_does_not_enter() -> None:
    day = pd.Timestamp("2016-05-06")
    first = taking(as_of=day).rows
    other = decide(SCAN, model(len(SCAN), 9, "champion-2", 0.0), challenger=None, rules=DecisionRules())
    later = taking(ledger=first, after=day, decisions=other)
    assert (later.rows["evaluation_session"] > day).all()
    assert later.facts["settled"] > 0
    assert set(later.rows["model_version"]) == {"champion-2"}


def test_outcomes_evaluated_later_change_nothing() -> None:
    day, outcomes = pd.Timestamp("2016-05-06"), labels()
    later = outcomes["evaluation_session"] > day
    changed = outcomes.copy()
    changed.loc[later, [name for name in outcomes if name.startswith("roi_")]] = 5.0
    first, second = (taking(table, as_of=day) for table in (outcomes, changed))
    assert len(first.rows) > 0
    pd.testing.assert_frame_equal(first.rows, second.rows, check_exact=True)
    assert first.facts == second.facts


def test_two_models_that_decided_about_one_trade_are_refused() -> None:
    doubtful = DECISIONS.assign(model_version=[f"m{number}" for number in range(len(DECISIONS))])
    with pytest.raises(DataError, match=r"several models decided about SIM.. on 2016-"):
        taking(decisions=doubtful)


def test_a_take_goes_no_further_than_decisions_and_outcomes_are_complete() -> None:
    outcomes = labels()
    assert complete_until(DECISIONS, outcomes, LATE) == LATE
    late = outcomes["evaluation_session"] >= "2016-06-01"
    first = outcomes.loc[late, "evaluation_session"].min()
    old = outcomes.assign(missing_reason=np.where(late, "after_data_end", ""))
    assert complete_until(DECISIONS, old, LATE) == first - pd.Timedelta(days=1)
    assert complete_until(DECISIONS, old, pd.Timestamp("2016-05-06")) == pd.Timestamp("2016-05-06")
    last = DECISIONS["session"].max()
    undecided = outcomes[outcomes["session"] == last]["evaluation_session"].min()
    assert complete_until(DECISIONS[DECISIONS["session"] < last], outcomes, LATE) == undecided - pd.Timedelta(days=1)
    none = complete_until(DECISIONS.iloc[:0], outcomes, LATE)
    assert none < outcomes["evaluation_session"].min()


# ------------------------------------------------------------------------------------------------ rows of training


def test_trades_of_the_ledger_become_rows_with_their_outcome() -> None:
    found = made()
    assert {name: str(dtype) for name, dtype in found.rows.dtypes.items()} == FEEDBACK_TYPES
    assert FEEDBACK.validate(found.rows).reasons() == []
    assert found.unused.empty
    assert (found.rows["kind"] == "feedback").all()
    pd.testing.assert_frame_equal(found.rows[KEYS], taking().rows[KEYS])
    truth = labels().set_index(KEYS).loc[found.rows.set_index(KEYS).index, "roi_net"]
    np.testing.assert_array_equal(found.rows["roi_net"], truth)


def test_every_trade_of_the_ledger_is_a_row_or_has_a_reason_why_not() -> None:
    ledger = taking().rows
    keys = [ledger[KEYS].iloc[[place]] for place in range(4)]
    place = {tuple(key.iloc[0]): number for number, key in enumerate(keys)}
    outcomes = labels()
    position = pd.MultiIndex.from_frame(outcomes[KEYS]).get_indexer(pd.MultiIndex.from_frame(keys[0]))
    outcomes = lost(outcomes, position)
    analysed = ~pd.MultiIndex.from_frame(features()[KEYS]).isin(pd.MultiIndex.from_frame(pd.concat(keys[1:3])))
    found = made(
        outcomes=outcomes[analysed],
        features=features()[analysed],
        rejects=keys[1].assign(reason="garch_failed"),
        sampled=keys[3],
    )
    assert FEEDBACK_UNUSED.validate(found.unused).reasons() == []
    reasons = {place[(row.session, row.ticker)]: row.reason for row in found.unused.itertuples()}
    assert reasons == {
        0: "unlabelled: no_exit_iv",
        1: "rejected: garch_failed",
        2: "not_analysed",
        3: "in_training_set",
    }
    assert len(found.rows) + len(found.unused) == len(ledger)
    together = pd.concat([found.rows[KEYS], found.unused[KEYS]]).sort_values(KEYS).reset_index(drop=True)
    pd.testing.assert_frame_equal(together, ledger[KEYS])


def test_weights_go_by_track_and_the_largest_counts() -> None:
    found = made(FeedbackConfig(ai_weight=0.5, baseline_weight=2.0, blend_weight=0.0))
    rows = found.rows
    assert set(rows["tracks"]) >= {"ai", "baseline"}
    assert (rows["weight"] == np.where(rows["tracks"].str.contains("baseline"), 2.0, 0.5)).all()
    assert set(found.unused["tracks"]) == {"blend"}
    assert set(found.unused["reason"]) == {"no_weight"}


def test_the_switch_turns_every_row_off_and_on_again() -> None:
    off = made(FeedbackConfig(enabled=False))
    assert off.rows.empty
    assert FEEDBACK.validate(off.rows).reasons() == []
    assert set(off.unused["reason"]) == {"switched_off"}
    assert len(off.unused) == len(taking().rows)
    assert len(made(FeedbackConfig(enabled=True)).rows) == len(off.unused)


def test_an_empty_ledger_gives_tables_without_rows() -> None:
    found = made(ledger=taking().rows.iloc[:0])
    assert FEEDBACK.validate(found.rows).reasons() == []
    assert FEEDBACK_UNUSED.validate(found.unused).reasons() == []
    assert len(found.rows) + len(found.unused) == 0


def test_what_contradicts_itself_is_refused() -> None:
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="must be a number of 0 or more"):
            FeedbackConfig(ai_weight=weight)
    with pytest.raises(DataError, match="known outcomes lack a ROI or label"):
        made(outcomes=labels().assign(roi_tent=np.nan))
    with pytest.raises(DataError, match="1 features are repeated"):
        made(features=pd.concat([features(), features().iloc[:1]]))
    with pytest.raises(DataError, match="the ledger names the tracks gut; there are ai, baseline, blend"):
        made(ledger=taking().rows.assign(tracks="gut"))
