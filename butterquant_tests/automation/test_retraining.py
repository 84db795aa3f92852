from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from butterquant_assets.automation.retraining import RetrainConfig, decide
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.retrain_log import Kind, Outcome, Reason, RetrainEvent, new_event

NOW = datetime(2018, 6, 20, 12)
CONFIG = RetrainConfig(minimum_hours=48, update_days=7, full_days=30)


@dataclass(frozen=True)
class Measured:
    name: str = "feature_drift"
    month: str = "2018-06"
    fired: bool = True
    figures: Mapping[str, float] = field(default_factory=lambda: {"columns": 3.0})
    text: str = "3 of 23 columns drifted"


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
