from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.monitoring.alert_state import (
    MAX_WAITING,
    AlertState,
    Message,
    delivered,
    failed,
    observe,
)
from butterquant_assets.monitoring.alerts import Alert, Item, Kind, Level, Phase, blind_alert
from butterquant_assets.monitoring.run_failures import Failing

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
CHANNELS = ("slack", "e-mail")


def condition(*items: str, kind: Kind = Kind.QUARANTINED, patience: timedelta = timedelta(0), **rest: object) -> Alert:
    parts = tuple(Item(item, item) for item in items)
    return Alert(kind, "toy/bars", "bad", "http://ui", Level.ERROR, f"{kind}", True, parts, patience=patience, **rest)


def event(name: str) -> Alert:
    return Alert(Kind.RUN_FAILED, name, "it broke", None, Level.ERROR, name, lasting=False)


def look(state: AlertState, *alerts: Alert, at: datetime = NOON, seen: frozenset[Kind] = frozenset(Kind)) -> AlertState:
    """A look through the JSON a restart would read, so that every test is a test of restarts."""
    restored = AlertState.from_json(state.to_json())
    assert restored == state
    return observe(restored, alerts, now=at, repeat=DAY, channels=CHANNELS, seen=seen)


def sent(state: AlertState) -> list[Message]:
    return [waiting.message for waiting in state.outbox]


def emptied(state: AlertState) -> AlertState:
    for message in sent(state):
        for channel in CHANNELS:
            state = delivered(state, message, channel)
    return state


def phases(state: AlertState) -> list[Phase]:
    return [message.phase for message in sent(state)]


def test_a_condition_is_told_once_again_after_the_repeat_and_once_when_it_ends() -> None:
    state, told = AlertState(), []
    for minutes in range(0, 60 * 50, 10):
        state = look(state, condition("2026-01: low"), at=NOON + timedelta(minutes=minutes))
        told += phases(state)
        state = emptied(state)
    assert told == [Phase.NEW, Phase.AGAIN, Phase.AGAIN]
    state = look(state, at=NOON + timedelta(hours=50))
    (message,) = sent(state)
    assert (message.phase, message.text, message.link) == (Phase.RESOLVED, "over after 2 days", "http://ui")
    assert phases(look(emptied(state), at=NOON + timedelta(hours=51))) == []


def test_another_partition_or_another_reason_is_news_and_one_that_went_is_not() -> None:
    state = emptied(look(AlertState(), condition("2026-01: low")))
    state = look(state, condition("2026-01: low", "2026-02: low"))
    (message,) = sent(state)
    assert (message.phase, message.lines) == (Phase.MORE, ("2026-02: low",))
    state = emptied(state)
    state = look(state, condition("2026-01: low"))
    assert phases(state) == []
    assert sent(look(state, condition("2026-01: high")))[0].lines == ("2026-01: high",)
    assert phases(look(state, condition("2026-01: low", "2026-02: low"))) == [Phase.MORE]


def test_what_nobody_looked_at_is_neither_ended_nor_told_again() -> None:
    state = emptied(look(AlertState(), condition("2026-01: low")))
    unseen = frozenset(Kind) - {Kind.QUARANTINED}
    state = look(state, at=NOON + 3 * DAY, seen=unseen)
    assert phases(state) == []
    assert phases(look(state, at=NOON + 3 * DAY)) == [Phase.RESOLVED]


def stale(*months: str) -> Alert:
    return condition(kind=Kind.STALE, patience=timedelta(hours=2), witnesses=months)


def test_staleness_is_told_only_once_it_has_lasted() -> None:
    state = look(AlertState(), stale("2026-01"))
    state = look(state, stale("2026-01", "2026-02"), at=NOON + timedelta(minutes=119))
    assert phases(state) == []
    state = look(state, stale("2026-01"), at=NOON + timedelta(minutes=120))
    assert [m.text for m in sent(state)] == ["bad for 2 h"]


def test_an_asset_that_is_always_stale_for_something_else_is_on_its_way() -> None:
    state = AlertState()
    for hour in range(12):
        state = look(state, stale(f"2026-{hour + 1:02}", f"2026-{hour + 2:02}"), at=NOON + timedelta(hours=hour))
        assert phases(state) == []


def test_staleness_that_ends_in_time_is_never_mentioned() -> None:
    state = look(AlertState(), stale("2026-01"))
    assert sent(look(state, at=NOON + timedelta(hours=1))) == []


def test_the_same_failure_of_runs_is_one_event_until_the_repeat() -> None:
    state = look(AlertState(), event("a"), event("a"), event("b"))
    assert [m.subject for m in sent(state)] == ["a", "b"]
    state = look(emptied(state), event("a"), at=NOON + timedelta(hours=23))
    assert sent(state) == []
    assert [m.subject for m in sent(look(state, event("a"), at=NOON + DAY))] == ["a"]
    assert look(state, at=NOON + 2 * DAY).events == {}


def test_each_channel_has_its_own_copy() -> None:
    state = look(AlertState(), event("a"))
    (message,) = sent(state)
    state = delivered(state, message, "slack")
    state = failed(state, "e-mail", "HTTP 500", NOON)
    state = failed(state, "e-mail", "HTTP 500", NOON)
    assert [w.channels for w in state.outbox] == [("e-mail",)]
    assert state.troubles["e-mail"].failures == 2
    state = delivered(AlertState.from_json(state.to_json()), message, "e-mail")
    assert (state.outbox, state.troubles) == ((), {})


def test_what_waits_for_a_channel_that_was_taken_away_is_given_up() -> None:
    state = delivered(look(AlertState(), event("a")), sent(look(AlertState(), event("a")))[0], "slack")
    state = observe(state, [], now=NOON, repeat=DAY, channels=("slack",), seen=frozenset(Kind))
    assert state.outbox == ()


def test_a_backlog_is_bounded_and_says_how_much_it_left_out() -> None:
    state, count = AlertState(), MAX_WAITING + 30
    for first in range(0, count, 10):
        state = look(state, *(event(f"run {number}") for number in range(first, first + 10)))
    assert len(state.outbox) == MAX_WAITING
    summary = sent(state)[0]
    assert summary.text.startswith("31 older messages could not be delivered")
    assert summary.lines == ("31 failed run, event",)
    assert sent(state)[-1].subject == f"run {count - 1}"


def test_many_partitions_make_one_message_of_bounded_length() -> None:
    (message,) = sent(look(AlertState(), condition(*(f"item {n}" for n in range(240)))))
    assert len(message.lines) == 11
    assert message.lines[-1] == "and 230 more"


def test_a_clock_that_is_set_back_neither_repeats_nor_ends_anything() -> None:
    state = emptied(look(AlertState(), condition("2026-01: low"), event("a")))
    assert sent(look(state, condition("2026-01: low"), event("a"), at=NOON - 3 * DAY)) == []


def test_one_look_by_a_clock_that_was_ahead_mutes_nothing_afterwards() -> None:
    year = timedelta(days=365)
    state = look(AlertState(), stale("2026-01"), condition("2026-01: low"), event("a"), at=NOON + year)
    state, told = emptied(state), []
    for hours in range(49):
        state = look(state, stale("2026-01"), condition("2026-01: low"), event("a"), at=NOON + timedelta(hours=hours))
        told += [(hours, m.kind, m.phase) for m in sent(state)]
        assert all(m.at <= NOON + timedelta(hours=hours) for m in sent(state))
        state = emptied(state)
    assert (2, Kind.STALE, Phase.NEW) in told
    assert (24, Kind.QUARANTINED, Phase.AGAIN) in told
    assert (24, Kind.RUN_FAILED, Phase.EVENT) in told


def test_what_waits_since_a_clock_was_ahead_is_given_its_right_time() -> None:
    state = look(AlertState(), event("a"), at=NOON + timedelta(days=365))
    assert [m.at for m in sent(look(state, at=NOON))] == [NOON]


def test_what_a_later_version_has_added_is_passed_over() -> None:
    failing = Failing("refresh", ("raw",), "no answer", "r1", 7, NOON, NOON, NOON)
    state = replace(look(AlertState(), stale("2026-01"), event("a")), failing={"f": failing}, run_mark=3)
    state = failed(state, "slack", "HTTP 500", NOON)
    data = json.loads(state.to_json())
    for entry in (data, data["conditions"]["stale"], data["failing"]["f"], data["troubles"]["slack"]):
        entry["invented"] = 1
    data["outbox"][0]["message"]["invented"] = 1
    assert AlertState.from_json(json.dumps(data)) == state
    del data["failing"]
    assert AlertState.from_json(json.dumps(data)) == replace(state, failing={})


def test_a_short_blindness_is_not_told() -> None:
    state = look(AlertState(), blind_alert("assets", "SourceError: half a file"))
    assert sent(state) == []
    state = look(state, blind_alert("assets", "SourceError: half a file"), at=NOON + timedelta(minutes=5))
    assert phases(state) == [Phase.NEW]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 99}', '{"version": 1}', "null"])
def test_a_state_of_another_version_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not readable"):
        AlertState.from_json(text)
