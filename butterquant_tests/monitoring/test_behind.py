"""When data have stopped coming, and when they merely have not come yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.monitoring.alert_state import AlertState, Known, observe
from butterquant_assets.monitoring.alerts import Alert, Kind, Phase
from butterquant_assets.monitoring.behind import (
    CRYPTO_FEED,
    EQUITY_FEED,
    Feed,
    behind_alert,
    missing_since,
    newest_closed,
)

BARS, VIX, SCAN = EQUITY_FEED.assets
# Thanksgiving of 2026 is Thursday, 26 November; the Friday after it closes at 13:00 in New York.
FRIDAY_EVENING = datetime(2026, 11, 27, 18, 31, tzinfo=UTC)
ALLOWED = {"session": 2, "hour": 6}
NOTHING: Mapping[str, Known] = {}


def looked(
    newest: dict[str, str], now: datetime, feed: Feed = EQUITY_FEED, known: Mapping[str, Known] = NOTHING
) -> Alert | None:
    times = {asset: np.datetime64(day, "us") for asset, day in newest.items()}
    return behind_alert("home", feed, times, now=now, allowed=ALLOWED[feed.unit], known=known, ui_url="http://ui")


@pytest.mark.parametrize(
    ("now", "closed"),
    [
        ("2026-11-25T21:29", "2026-11-24"),  # the close is to have settled
        ("2026-11-25T21:31", "2026-11-25"),
        ("2026-11-26T23:00", "2026-11-25"),
        ("2026-11-27T18:31", "2026-11-27"),
        ("2026-11-29T12:00", "2026-11-27"),
    ],
)
def test_the_newest_closed_session_knows_weekends_holidays_and_half_days(now: str, closed: str) -> None:
    assert newest_closed("session", datetime.fromisoformat(now).replace(tzinfo=UTC)) == np.datetime64(closed)


def test_an_hour_is_closed_when_the_next_begins() -> None:
    assert newest_closed("hour", datetime(2026, 3, 1, 0, 0, tzinfo=UTC)) == np.datetime64("2026-02-28T23")
    assert newest_closed("hour", datetime(2026, 3, 1, 0, 59, tzinfo=UTC)) == np.datetime64("2026-02-28T23")


def test_sessions_are_counted_not_days() -> None:
    assert missing_since("session", np.datetime64("2026-11-25", "us"), np.datetime64("2026-11-27")) == 1
    assert missing_since("session", np.datetime64("2026-11-27", "us"), np.datetime64("2026-11-25")) == 0


def test_up_to_the_allowed_sessions_may_be_missing() -> None:
    assert looked({BARS: "2026-11-24", VIX: "2026-11-27"}, FRIDAY_EVENING) is None
    alert = looked({BARS: "2026-11-23", VIX: "2026-11-27", SCAN: "2026-11-23"}, FRIDAY_EVENING)
    assert alert is not None
    assert (alert.kind, alert.subject, alert.lasting) == (Kind.BEHIND, "home", True)
    assert [item.line for item in alert.items] == [
        f"{BARS}: 3 sessions missing, the newest is 2026-11-23",
        f"{SCAN}: 3 sessions missing, the newest is 2026-11-23",
    ]
    assert alert.link == f"http://ui/assets/{BARS}"


def test_hours_of_the_collector_are_told_alike() -> None:
    now = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    asset = CRYPTO_FEED.assets[0]
    assert looked({asset: "2026-03-01T05"}, now, CRYPTO_FEED) is None
    alert = looked({asset: "2026-03-01T04"}, now, CRYPTO_FEED)
    assert alert is not None
    assert alert.items[0].line == f"{asset}: 7 hours missing, the newest is 2026-03-01T04"


def test_a_home_that_holds_nothing_yet_is_not_behind() -> None:
    assert looked({}, FRIDAY_EVENING) is None


def test_a_history_is_not_behind_but_what_stopped_coming_stays_so_for_ever() -> None:
    assert looked({BARS: "2018-12-31"}, FRIDAY_EVENING) is None
    begun = looked({BARS: "2026-11-20"}, FRIDAY_EVENING)
    assert begun is not None
    later = looked({BARS: "2026-11-20"}, FRIDAY_EVENING + timedelta(days=400), known=remembered(begun))
    assert later is not None


def remembered(alert: Alert) -> Mapping[str, Known]:
    state = observe(
        AlertState(), [alert], now=FRIDAY_EVENING, repeat=timedelta(days=30), channels=("x",), seen=frozenset(Kind)
    )
    return state.conditions


def test_a_history_stays_one_while_another_table_of_the_house_is_behind_and_after() -> None:
    tables = {BARS: "2026-11-20", VIX: "2018-12-31"}
    begun = looked(tables, FRIDAY_EVENING)
    assert begun is not None
    assert [item.identity for item in begun.items] == [BARS]
    lasting = looked(tables, FRIDAY_EVENING + timedelta(days=3), known=remembered(begun))
    assert lasting is not None
    assert [item.identity for item in lasting.items] == [BARS]
    assert looked(tables | {BARS: "2026-11-27"}, FRIDAY_EVENING, known=remembered(begun)) is None


def test_one_occasion_is_told_when_it_begins_with_the_usual_repeat_and_when_it_is_over() -> None:
    state, told = AlertState(), []
    for hour in range(24 * 10):
        now = FRIDAY_EVENING + timedelta(hours=hour)
        newest = "2026-11-24" if hour < 24 * 9 else "2026-12-04"
        alert = looked({BARS: newest, VIX: newest}, now, known=state.conditions)
        state = observe(
            state, [alert] if alert else [], now=now, repeat=timedelta(days=30), channels=("x",), seen=frozenset(Kind)
        )
        told = [w.message.phase for w in state.outbox]
    assert told == [Phase.NEW, Phase.RESOLVED]


def test_a_clock_beyond_the_calendar_is_an_error_and_no_alert() -> None:
    with pytest.raises(ConfigError, match="set the clock"):
        looked({BARS: "2026-11-24"}, datetime(2040, 1, 1, tzinfo=UTC))
