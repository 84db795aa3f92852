from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from butterquant_assets.automation.jobs import REFRESH
from butterquant_assets.automation.requests import trained_families
from butterquant_assets.automation.retrain_runs import EVENT_TAG, FIGURES_TAG, KIND_TAG, REASONS_TAG
from butterquant_assets.automation.retrain_sensor import code_conditions
from butterquant_assets.automation.runs import process_tags
from butterquant_assets.definitions import Settings, build_house
from butterquant_assets.foundation import errors
from butterquant_assets.foundation.settings import load_settings
from butterquant_tests.automation import toys
from butterquant_tests.automation.retrain_team import (
    Measured,
    Team,
    begun,
    checked_total,
    correct,
    deliver,
    fail,
    fail_to_the_end,
    far_model,
    middle,
)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    """A built home whose record of retrains has begun."""
    return begun(Team(tmp_path))


def test_new_data_alone_retrains_nothing_and_is_said_to_wait(team: Team) -> None:
    correct(team, 2)
    assert (team.values("total"), team.values("model"), team.values("decision")) == ([1, 2, 1], [1, 1, 1], [1, 1, 1])
    assert team.fresh.tick() == []
    assert team.fresh.said == "everything is current; toy/export, toy/model, toy/quick wait for a retrain"
    assert team.retrain.tick() == []
    assert team.retrain.said == "nothing calls for a retrain"


def test_what_only_makes_sense_with_a_model_belongs_to_it_and_what_lives_on_does_not(team: Team) -> None:
    assert trained_families(team.house) == {
        "toy/model": {"toy/model", "toy/export"},
        "toy/quick": {"toy/quick"},
    }


def test_of_the_product_the_export_and_the_judgement_belong_to_the_model(tmp_path: Path) -> None:
    families = trained_families(build_house(load_settings(Settings, {"home": tmp_path}, {})))
    assert families["butterfly/success_model"] >= {"butterfly/success_onnx", "butterfly/success_champion"}
    assert families["butterfly/quiet_model"] >= {"butterfly/quiet_onnx"}
    living = {"butterfly/daily_scan", "butterfly/trade_decisions", "butterfly/training_set", "butterfly/roi_labels"}
    assert living.isdisjoint(set().union(*families.values()))


def test_a_model_that_is_lost_is_made_again_without_a_reason_to_retrain(team: Team) -> None:
    Path(team.house.lake.path("toy/model")).unlink()
    (request,) = team.fresh.tick()
    team.fresh.execute(request)
    assert team.values("model") == [1, 1, 1]
    assert len(team.events()) == 1


def test_drift_retrains_with_its_reason_and_figures_in_the_run_and_in_the_log(team: Team) -> None:
    correct(team, 2)
    team.conditions, team.feedback = [Measured()], 17
    (request,) = team.retrain.tick()
    event = team.events()[-1]
    assert (event.kind, event.outcome, event.rows_added) == ("full", "requested", 17)
    assert [(reason.name, reason.figures) for reason in event.reasons] == [("feature_drift", {"columns": 3.0})]
    assert request.tags[EVENT_TAG] == event.event_id
    assert (request.tags[KIND_TAG], request.tags[REASONS_TAG]) == ("full", "feature_drift")
    assert json.loads(request.tags[FIGURES_TAG]) == {"feature_drift": {"columns": 3.0}}
    assert request.run_key is None
    assert team.retrain.execute(request).success
    assert team.values("model") == team.values("export") == team.values("decision") == [1, 2, 1]
    assert team.retrain.tick() == []
    assert "is done" in team.retrain.said
    team.later(days=4)
    assert team.retrain.tick() == []  # the condition still holds, and has been acted on
    assert team.retrain.said == "nothing calls for a retrain"
    assert len(team.events()) == 2


def test_drift_without_anything_new_to_learn_from_is_recorded_as_such(team: Team) -> None:
    team.conditions = [Measured()]
    assert team.retrain.tick() == []
    assert team.retrain.said == "nothing new to learn from, though: 3 of 23 columns drifted"
    assert team.events()[-1].outcome == "nothing_new"
    assert team.retrain.tick() == []
    assert len(team.events()) == 2


def test_a_week_updates_the_cheap_members_only_and_takes_no_feedback(team: Team) -> None:
    correct(team, 2)
    taken = len(team.taken)
    team.later(days=5)
    (request,) = team.retrain.tick()
    assert (request.tags[KIND_TAG], request.tags[REASONS_TAG]) == ("update", "weekly")
    team.retrain.execute(request)
    assert (team.values("quick"), team.values("model")) == ([1, 2, 1], [1, 1, 1])
    assert len(team.taken) == taken


def test_a_month_retrains_everything(team: Team) -> None:
    correct(team, 2)
    team.later(days=28)
    (request,) = team.retrain.tick()
    assert (request.tags[KIND_TAG], request.tags[REASONS_TAG]) == ("full", "monthly")
    team.retrain.execute(request)
    assert team.values("quick") == team.values("model") == [1, 2, 1]


def test_changed_code_is_a_reason_of_its_own_and_acts_once(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_conditions(team.house) == ()
    changed = tuple(
        (axis, vars(node) and type(node)(node.name, node.keys, node.reads, "edited code", node.config))
        if node.name == "toy/model"
        else (axis, node)
        for axis, node in team.house._nodes
    )
    monkeypatch.setattr(team.house, "_nodes", changed)
    assert team.fresh.tick() == []
    (request,) = team.retrain.tick()
    assert request.tags[REASONS_TAG] == "code"
    assert team.events()[-1].reasons[0].text == "the code of toy/model has changed"
    team.retrain.execute(request)
    assert code_conditions(team.house) == ()


def test_a_retrain_that_failed_is_tried_again_a_bounded_number_of_times(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct(team, 2)
    team.conditions = [Measured()]
    (request,) = team.retrain.tick()

    def broken(self: object, *arguments: object, **options: object) -> None:
        raise errors.LakeError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("butterquant_assets.foundation.lake.Lake.write", broken)
        assert not team.retrain.execute(request).success
        team.retrain.now = datetime.now(UTC).timestamp()
        assert team.retrain.tick(after=10) == []
        assert "attempt 1 of 2" in team.retrain.said
        (again,) = team.retrain.tick(after=60)
        assert again.tags[EVENT_TAG] == request.tags[EVENT_TAG]
        assert not team.retrain.execute(again).success
    assert team.retrain.tick(after=3600) == []
    assert "failed 2 times" in team.retrain.said
    assert team.retrain.tick() == []
    assert len(team.events()) == 2


def test_a_daemon_that_died_after_recording_requests_the_run_and_no_second_one(team: Team) -> None:
    correct(team, 2)
    team.conditions = [Measured()]
    (lost,) = team.retrain.tick()  # the event is written; the answer never reached the daemon
    revived = team.new_daemon()
    revived.now = team.retrain.now
    (request,) = revived.tick()
    assert request.tags[EVENT_TAG] == lost.tags[EVENT_TAG]
    revived.execute(request)
    once_more = team.new_daemon()
    once_more.now = revived.now
    assert once_more.tick() == []
    assert len(team.events()) == 2


def test_a_daemon_that_was_down_over_a_weekend_still_asks_for_what_it_had_recorded(team: Team) -> None:
    correct(team, 2)
    team.conditions = [Measured()]
    (lost,) = team.retrain.tick()
    team.later(days=4)
    (request,) = team.retrain.tick()
    assert request.tags[EVENT_TAG] == lost.tags[EVENT_TAG]


def test_a_retrain_whose_runs_were_pruned_long_ago_is_not_asked_for_again(team: Team) -> None:
    correct(team, 2)
    team.conditions = [Measured()]
    (lost,) = team.retrain.tick()
    team.later(days=team.house.settings.prune_after_days + 1)
    (request,) = team.retrain.tick()
    assert request.tags[EVENT_TAG] != lost.tags[EVENT_TAG]
    assert request.tags[REASONS_TAG] == "monthly"


def test_the_occasion_of_a_retrain_that_was_given_up_fires_again_and_not_at_once(team: Team) -> None:
    correct(team, 2)
    team.conditions = [Measured()]
    (request,) = team.retrain.tick()
    fail_to_the_end(team, request)
    failed = team.events()[-1]
    assert (failed.event_id, failed.outcome) == (request.tags[EVENT_TAG], "requested")
    assert failed.failed_at is not None
    assert team.retrain.tick() == []
    assert "this waits: 3 of 23 columns drifted" in team.retrain.said
    team.later(days=2)
    (renewed,) = team.retrain.tick()
    assert renewed.tags[EVENT_TAG] != request.tags[EVENT_TAG]
    assert renewed.tags[REASONS_TAG] == "feature_drift"
    assert team.retrain.execute(renewed).success
    assert team.values("model") == [1, 2, 1]
    assert team.retrain.tick() == []
    team.later(days=3)
    assert team.retrain.tick() == []
    assert team.retrain.said == "nothing calls for a retrain"
    assert len(team.events()) == 3


def test_a_retry_waits_for_the_run_that_is_under_way(team: Team) -> None:
    correct(team, 2)
    team.conditions = [Measured()]
    (request,) = team.retrain.tick()
    fail(team, request)
    job = team.retrain.definitions().resolve_job_def(REFRESH)
    busy = team.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=process_tags())
    assert team.retrain.tick(after=3600) == []
    assert "a run is under way" in team.retrain.said
    team.instance.report_run_canceled(busy)
    assert len(team.retrain.tick()) == 1


def test_one_run_at_a_time_and_the_reason_is_kept(team: Team) -> None:
    correct(team, 2)
    team.conditions = [Measured()]
    busy = team.instance.create_run_for_job(
        team.retrain.definitions().resolve_job_def(REFRESH), status=dg.DagsterRunStatus.STARTED, tags=process_tags()
    )
    assert team.retrain.tick() == []
    assert "a run is under way, so this waits: 3 of 23" in team.retrain.said
    team.instance.report_run_canceled(busy)
    assert len(team.retrain.tick()) == 1


def test_retrains_in_quick_succession_are_held_apart(team: Team) -> None:
    for number, month in enumerate(("2018-03", "2018-04")):
        correct(team, 2 + number)
        team.conditions = [Measured(month=month)]
        asked = team.retrain.tick()
        if number == 0:
            team.retrain.execute(asked[0])
            team.retrain.tick()
    assert asked == []
    assert "this waits: 3 of 23 columns drifted" in team.retrain.said
    team.later(days=2)
    assert len(team.retrain.tick()) == 1


def test_what_cannot_be_read_is_told_and_nothing_is_recorded(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(dataset: str, months: object) -> dict[str, str]:
        raise errors.SourceError("the source does not answer")

    correct(team, 2)
    team.conditions = [Measured()]
    monkeypatch.setattr(team.source, "fingerprints", broken)
    assert team.retrain.tick() == []
    assert team.retrain.said == "the source does not answer"
    assert len(team.events()) == 1


def test_rows_that_were_taken_while_a_retrain_was_held_up_are_told_by_its_event_and_by_no_later_one(
    tmp_path: Path,
) -> None:
    team = begun(Team(tmp_path, (toys.raw, checked_total, middle, far_model)))
    deliver(team, 9)
    team.conditions = [Measured()]
    for taken in (7, 2):
        team.feedback = taken
        assert team.retrain.tick() == []
        assert "until then this waits" in team.retrain.said
    team.feedback = 0
    deliver(team, 3)
    team.retrain = team.new_daemon(team.retrain.cursor)
    team.later(days=3, hours=1)
    (request,) = team.retrain.tick()
    assert [(event.outcome, event.rows_added) for event in team.events()[1:]] == [("requested", 9)]
    assert team.retrain.execute(request).success
    assert team.retrain.tick() == []
    team.conditions = [Measured(month="2018-07")]
    team.later(days=4)
    team.feedback = 1
    team.retrain.tick()
    assert [event.rows_added for event in team.events()[1:]] == [9, 1]
