from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from butterquant_assets.automation.retraining import RetrainConfig, decide
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.retrain_log import Kind, Outcome, Reason, RetrainEvent, new_event
from butterquant_tests.automation.retrain_team import Measured

NOW = datetime(2018, 6, 20, 12)
CONFIG = RetrainConfig(minimum_hours=48, update_days=7, full_days=30)


def given_up(days_ago: float, after_hours: float = 1.5, kind: Kind = "full", *reasons: Reason) -> RetrainEvent:
    """A retrain of which every attempt failed."""
    asked = event(days_ago, kind, "requested", *reasons)
    return replace(asked, failed_at=asked.at + timedelta(hours=after_hours))


def event(days_ago: float, kind: Kind = "full", outcome: Outcome = "requested", *reasons: Reason) -> RetrainEvent:
    given = reasons or (Reason("monthly", "2018-05-01", {}, "a month is over"),)
    return new_event(NOW - timedelta(days=days_ago), kind, outcome, 0, given)


def test_without_a_reason_nothing_happens() -> None:
    made = decide(NOW, [event(3)], [Measured(fired=False)], CONFIG)
    assert (made.action, made.reasons) == ("none", ())


def test_drift_calls_for_a_full_retrain_and_brings_its_figures() -> None:
    made = decide(NOW, [event(3)], [Measured()], CONFIG)
    assert made.action == "full"
    assert made.reasons == (Reason("feature_drift", "2018-06", {"columns": 3.0}, "3 of 23 columns drifted"),)
    assert made.text == "3 of 23 columns drifted"


def test_a_condition_acts_once_per_month() -> None:
    acted = event(3, "full", "nothing_new", Reason("feature_drift", "2018-06", {}, "drifted"))
    assert decide(NOW, [acted], [Measured()], CONFIG).action == "none"
    assert decide(NOW, [acted], [Measured(month="2018-07")], CONFIG).action == "full"
    assert decide(NOW, [acted], [Measured(name="calibration_decay")], CONFIG).action == "full"


def test_what_a_retrain_was_given_up_over_calls_for_one_again_after_the_minimum_interval() -> None:
    reason = Reason("feature_drift", "2018-06", {}, "drifted")
    history = [event(5), given_up(1.9, 1.5, "full", reason)]
    assert decide(NOW, history, [Measured()], CONFIG).action == "wait"
    renewed = decide(NOW + timedelta(hours=3), history, [Measured()], CONFIG)
    assert (renewed.action, [reason.name for reason in renewed.reasons]) == ("full", ["feature_drift"])
    again = [*history, event(0, "full", "requested", reason)]
    assert decide(NOW + timedelta(days=3), again, [Measured()], CONFIG).action == "none"


def test_a_period_is_not_over_because_of_a_retrain_that_was_given_up() -> None:
    history = [event(40), given_up(4)]
    assert [r.name for r in decide(NOW, history, [], CONFIG).reasons] == ["monthly"]
    assert [r.name for r in decide(NOW, [event(8), given_up(4)], [], CONFIG).reasons] == ["weekly"]
    assert decide(NOW, [event(40), event(4)], [], CONFIG).action == "none"


def left_alone(days: int, conditions: Callable[[int], list[Measured]]) -> tuple[list[int], list[RetrainEvent]]:
    """Days on which a retrain is asked for, each of which is given up within half an hour; and the history."""
    hasty, history, asked = RetrainConfig(minimum_hours=0), [event(40)], []
    for hour in range(days * 24):
        now = NOW + timedelta(hours=hour)
        made = decide(now, history, conditions(hour // 24), hasty)
        if made.action == "full":
            asked.append(hour // 24)
            wanted = new_event(now, "full", "requested", 0, made.reasons)
            history.append(replace(wanted, failed_at=now + timedelta(minutes=30)))
        else:
            assert made.action == "wait"
    return asked, history


def test_a_cause_that_lasts_is_met_ever_more_seldom_down_to_once_in_eight_days() -> None:
    asked, history = left_alone(36, lambda day: [Measured()])
    assert asked == [0, 1, 3, 7, 15, 23, 31]
    held = decide(NOW + timedelta(days=31, hours=20), history, [Measured()], CONFIG)
    assert "the last retrain was given up at 2018-07-21 18:30, as were the 6 before it; until 2018-07-29" in held.text
    after_one_that_worked = [*history, replace(history[-1], at=NOW + timedelta(days=45), failed_at=None)]
    given = replace(history[-1], at=NOW + timedelta(days=48), failed_at=NOW + timedelta(days=48, hours=1))
    again = decide(
        NOW + timedelta(days=50, hours=2), [*after_one_that_worked, given], [Measured(month="2018-08")], CONFIG
    )
    assert again.action == "full"


def test_a_home_that_has_failed_for_years_is_still_decided_on() -> None:
    history = [given_up(9 + 2 * n, 1, "full", Reason("feature_drift", "2018-06", {}, "x")) for n in range(200, -1, -1)]
    assert decide(NOW, history, [Measured()], CONFIG).action == "full"
    assert decide(NOW - timedelta(days=2), history, [Measured()], CONFIG).action == "wait"


def test_code_that_was_not_tried_yet_waits_a_day_only() -> None:
    def changed(day: int) -> list[Measured]:
        return [Measured("code", "old" if day < 20 else "new", text="code changed")]

    asked, _ = left_alone(40, changed)
    assert asked == [0, 1, 3, 7, 15, 20, 28, 36]


def test_conditions_that_fire_together_make_one_retrain() -> None:
    made = decide(NOW, [event(3)], [Measured(), Measured("decision_decay", text="ROI fell")], CONFIG)
    assert [reason.name for reason in made.reasons] == ["feature_drift", "decision_decay"]


def test_a_storm_is_held_back_by_the_minimum_interval_and_nothing_is_forgotten() -> None:
    held = decide(NOW, [event(1)], [Measured()], CONFIG)
    assert held.action == "wait"
    assert "until 2018-06-21 12:00" in held.text
    assert decide(NOW + timedelta(days=1), [event(1)], [Measured()], CONFIG).action == "full"


def test_an_event_that_led_to_no_run_holds_nothing_back() -> None:
    nothing = event(0.5, "full", "nothing_new")
    assert decide(NOW, [event(5), nothing], [Measured()], CONFIG).action == "full"


def test_one_retrain_at_a_time() -> None:
    assert decide(NOW, [event(3)], [Measured()], CONFIG, in_flight=True).action == "wait"
    assert decide(NOW, [event(3)], [], CONFIG, in_flight=True).action == "none"


def test_a_week_calls_for_an_update_and_a_month_for_the_full_study() -> None:
    weekly = decide(NOW, [event(7.5)], [], CONFIG)
    assert (weekly.action, [reason.name for reason in weekly.reasons]) == ("update", ["weekly"])
    assert weekly.reasons[0].figures == {"days_since_last": 7.5, "days_allowed": 7.0}
    monthly = decide(NOW, [event(31), event(3, "update")], [], CONFIG)
    assert (monthly.action, [reason.name for reason in monthly.reasons]) == ("full", ["monthly"])
    assert decide(NOW, [event(29), event(3, "update")], [], CONFIG).action == "none"


def test_a_daemon_that_was_down_for_months_catches_up_once() -> None:
    late = event(200)
    assert decide(NOW, [late], [], CONFIG).action == "full"
    assert decide(NOW + timedelta(minutes=1), [late, event(0)], [], CONFIG).action == "none"


def test_a_home_without_a_record_begins_one() -> None:
    made = decide(NOW, [], [], CONFIG)
    assert made.action == "full"
    assert made.text == "no monthly retrain is on record"


def test_an_event_from_the_future_neither_blocks_nor_postpones() -> None:
    future = event(-4000)
    assert decide(NOW, [event(3), future], [Measured()], CONFIG).action == "full"
    assert decide(NOW, [event(40), future], [], CONFIG).action == "full"


def test_a_figure_that_could_not_be_measured_is_missing() -> None:
    made = decide(NOW, [event(3)], [Measured(figures={"ece": float("nan"), "rows": 12})], CONFIG)
    assert made.reasons[0].figures == {"ece": None, "rows": 12.0}


def test_switched_off_it_stays_off() -> None:
    assert decide(NOW, [], [Measured()], RetrainConfig(enabled=False)).action == "none"


@pytest.mark.parametrize("bad", [{"minimum_hours": -1.0}, {"minimum_hours": 200.0}, {"update_days": 40.0}])
def test_periods_that_contradict_each_other_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be 0 or more and grow in this order"):
        RetrainConfig(**bad)
