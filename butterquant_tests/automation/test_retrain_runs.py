"""What a retrain still has to do: which ones are open, and that one held up by quarantined rows is not done."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from butterquant_assets.automation.retrain_runs import EVENT_TAG, HELD_UP_TAG, KIND_TAG, REASONS_TAG, open_retrains
from butterquant_assets.foundation.retrain_log import Kind, Outcome, Reason, RetrainEvent, new_event
from butterquant_tests.automation import toys
from butterquant_tests.automation.retrain_team import (
    Measured,
    Team,
    begun,
    checked_total,
    correct,
    deliver,
    fail,
    far_model,
    free_quick,
    middle,
)

NOW = datetime(2018, 6, 20, 12)
AGE = timedelta(days=90)


def event(days_ago: float, kind: Kind = "full", outcome: Outcome = "requested") -> RetrainEvent:
    return new_event(NOW - timedelta(days=days_ago), kind, outcome, 0, (Reason("code", "abc", {}, "code"),))


def test_a_full_retrain_takes_the_place_of_all_before_it() -> None:
    newest = event(3)
    assert open_retrains([event(9), event(5, "update"), newest], NOW, AGE) == (newest,)


def test_an_update_leaves_the_full_retrain_before_it_open() -> None:
    full, newest = event(9), event(1, "update")
    assert open_retrains([full, event(5, "update"), newest], NOW, AGE) == (full, newest)


def test_what_has_ended_asked_for_nothing_or_is_too_old_is_not_open() -> None:
    failed, done = replace(event(8), failed_at=NOW - timedelta(days=7)), event(3)
    assert open_retrains([event(91), failed, event(2, "full", "nothing_new")], NOW, AGE) == ()
    assert open_retrains([failed, done], NOW, AGE, closed=[done.event_id]) == ()


def test_an_event_from_the_future_hides_none_before_it() -> None:
    full, ahead = event(1), event(-10)
    assert open_retrains([full, ahead], NOW, AGE) == (full, ahead)
    assert open_retrains([full, event(-1000)], NOW, AGE) == (full,)


def test_rows_quarantined_between_a_failure_and_its_retry_do_not_end_the_retrain(tmp_path: Path) -> None:
    assets = (toys.raw, checked_total, toys.model, toys.quick, toys.export, toys.decision)
    team = begun(Team(tmp_path, assets))
    correct(team, 2)
    team.conditions = [Measured()]
    (request,) = team.retrain.tick()
    fail(team, request)
    deliver(team, 9)
    assert team.retrain.tick(after=3600) == []
    assert f"retrain {request.tags[EVENT_TAG][:8]} is not done: toy/model waits for toy/total" in team.retrain.said
    assert "nothing calls for a retrain" in team.retrain.said
    correct(team, 3)
    (again,) = team.retrain.tick()
    assert again.tags[EVENT_TAG] == request.tags[EVENT_TAG]
    assert team.retrain.execute(again).success
    assert team.values("model") == team.values("quick") == [1, 3, 1]
    assert team.retrain.tick() == []
    assert "is done" in team.retrain.said


def test_a_model_that_is_held_up_is_trained_for_the_same_occasion_once_it_can_be(tmp_path: Path) -> None:
    team = begun(Team(tmp_path, (toys.raw, checked_total, toys.model, free_quick, toys.export, toys.decision)))
    deliver(team, 9)
    team.conditions = [Measured()]
    (first,) = team.retrain.tick()
    assert first.tags[HELD_UP_TAG] == "toy/model"
    assert team.retrain.execute(first).success
    assert (team.values("quick"), team.values("model")) == ([1, 9, 1], [1, 1, 1])
    assert team.retrain.tick() == []
    assert "is not done: toy/model waits for toy/total (quarantined)" in team.retrain.said
    correct(team, 3)
    (second,) = team.retrain.tick()
    assert (second.tags[EVENT_TAG], second.tags[REASONS_TAG]) == (first.tags[EVENT_TAG], "feature_drift")
    assert HELD_UP_TAG not in second.tags
    assert team.retrain.execute(second).success
    assert team.values("model") == team.values("export") == [1, 3, 1]
    assert team.values("quick") == [1, 9, 1]  # has had its turn
    assert team.retrain.tick() == []
    assert "is done" in team.retrain.said
    assert len(team.events()) == 2


def test_a_model_held_up_does_not_keep_the_others_from_their_weekly_update(tmp_path: Path) -> None:
    team = begun(Team(tmp_path, (toys.raw, checked_total, toys.model, free_quick, toys.export, toys.decision)))
    deliver(team, 9)
    team.conditions = [Measured()]
    (first,) = team.retrain.tick()
    team.retrain.execute(first)
    team.source.values["2018-03"] = 4
    deliver(team, 9)
    team.later(days=8)
    (weekly,) = team.retrain.tick()
    assert (weekly.tags[KIND_TAG], weekly.tags[REASONS_TAG]) == ("update", "weekly")
    team.retrain.execute(weekly)
    assert team.values("quick") == [1, 9, 4]
    team.retrain.tick()
    deliver(team, 3)
    (late,) = team.retrain.tick()
    assert late.tags[EVENT_TAG] == first.tags[EVENT_TAG]
    team.retrain.execute(late)
    assert team.values("model") == [1, 3, 4]


def test_what_is_quarantined_within_the_retrains_own_run_leaves_it_open(tmp_path: Path) -> None:
    team = begun(Team(tmp_path, (toys.raw, checked_total, toys.model, free_quick, toys.export, toys.decision)))
    team.source.values["2018-02"] = 9  # the freshness sensor has not looked yet
    team.conditions = [Measured()]
    (first,) = team.retrain.tick()
    assert HELD_UP_TAG not in first.tags
    assert team.retrain.execute(first).success
    assert team.values("model") == [1, 1, 1]
    assert team.retrain.tick() == []
    assert "is not done: toy/model waits for toy/total (quarantined)" in team.retrain.said
    correct(team, 3)
    (second,) = team.retrain.tick()
    assert second.tags[EVENT_TAG] == first.tags[EVENT_TAG]
    team.retrain.execute(second)
    assert team.values("model") == [1, 3, 1]


def test_with_rows_in_quarantine_further_up_there_is_not_nothing_new(tmp_path: Path) -> None:
    team = begun(Team(tmp_path, (toys.raw, checked_total, middle, far_model)))
    deliver(team, 9)
    team.conditions = [Measured()]
    assert team.retrain.tick() == []
    waits = "toy/model waits for toy/total (quarantined); until then this waits: 3 of 23 columns drifted"
    assert team.retrain.said == waits
    assert len(team.events()) == 1
    correct(team, 3)
    (request,) = team.retrain.tick()
    team.retrain.execute(request)
    assert team.values("model") == [1, 3, 1]
