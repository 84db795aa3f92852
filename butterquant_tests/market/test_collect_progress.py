from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.collect_progress import (
    CollectConfig,
    Progress,
    complete_through,
    last_closed_session,
    pending,
    read_symbols,
    silence,
    window_to_ask,
)
from butterquant_tests.market.fake_services import truth

D = np.datetime64
NEVER = np.array([], dtype="datetime64[D]")
BARS = truth("AAA", 20, "2024-05-01")  # to 2024-05-29; the 27th is a holiday


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "session"),
    [
        ("2024-05-14T20:29:59", "2024-05-13"),
        ("2024-05-14T20:30:00", "2024-05-14"),
        ("2024-05-12T12:00:00", "2024-05-10"),  # a Sunday
        ("2024-05-27T23:00:00", "2024-05-24"),  # Memorial Day
        ("2024-01-16T21:29:00", "2024-01-12"),  # winter: the close is an hour later in UTC
        ("2024-01-16T21:30:00", "2024-01-16"),
        ("2024-11-29T18:30:00", "2024-11-29"),  # half a day: closes at 13:00 in New York
    ],
)
def test_a_session_has_closed_half_an_hour_after_its_own_close(now: str, session: str) -> None:
    assert str(last_closed_session(utc(now), 30)) == session


@pytest.mark.parametrize("now", ["1970-01-01T00:05:00", "2099-01-01T00:00:00"])
def test_an_impossible_clock_is_refused(now: str) -> None:
    with pytest.raises(ConfigError, match="set the clock"):
        last_closed_session(utc(now), 30)


def test_everything_is_asked_at_first_then_what_overlaps_then_everything_again_after_a_while() -> None:
    config = CollectConfig(start="2020-01-01", overlap_sessions=3, full_every_days=7)
    now, closed = utc("2024-05-15T22:00:00"), D("2024-05-15")
    assert window_to_ask(Progress(), config, closed, now, full=False).full
    known = Progress(since="2020-01-01", complete_through="2024-05-14", full_at="2024-05-10T22:00:00+00:00")
    window = window_to_ask(known, config, closed, now, full=False)
    assert (str(window.first), window.full) == ("2024-05-10", False)
    assert window_to_ask(known, config, closed, utc("2024-05-17T22:00:00"), full=False).full
    assert window_to_ask(known, config, closed, now, full=True).full
    earlier = CollectConfig(start="2010-01-01")
    assert str(window_to_ask(known, earlier, closed, now, full=False).first) == "2010-01-01"


def test_a_session_is_complete_when_landed_or_when_nobody_waits_for_it_any_more() -> None:
    closed, listed = D("2024-05-29"), D("2024-05-01")
    assert complete_through(BARS, NEVER, closed, listed) == "2024-05-29"
    assert complete_through(BARS.drop(19), NEVER, closed, listed) == "2024-05-28"
    assert complete_through(BARS.drop(17), NEVER, closed, listed) == "2024-05-23"
    assert complete_through(BARS.drop(3), NEVER, closed, listed) == "2024-05-29", "an old gap of the service"


def test_a_refused_session_is_awaited_however_old() -> None:
    refused = np.array(["2024-05-06"], dtype="datetime64[D]")
    assert complete_through(BARS.drop(3), refused, D("2024-05-29"), D("2024-05-01")) == "2024-05-03"
    assert complete_through(BARS, refused, D("2024-05-29"), D("2024-05-01")) == "2024-05-29", "landed before"


def test_nothing_is_complete_without_rows_and_a_halted_ticker_does_not_start_over() -> None:
    assert complete_through(BARS.iloc[:0], NEVER, D("2024-05-29"), D("NaT")) == ""
    assert complete_through(BARS.iloc[:0], NEVER, D("2024-05-29"), D("2020-01-02")) == "2024-05-21"


def test_a_ticker_listed_in_the_window_is_complete_from_its_first_session() -> None:
    assert complete_through(BARS.iloc[18:], NEVER, D("2024-05-29"), D("2024-05-28")) == "2024-05-29"


def test_pending_are_those_not_complete_through_the_session() -> None:
    progress = {"AAA": Progress(complete_through="2024-05-29"), "BBB": Progress(complete_through="2024-05-28")}
    assert pending(progress, ["CCC", "BBB", "AAA"], D("2024-05-29")) == ("CCC", "BBB")


def test_silence_is_told() -> None:
    assert silence(Progress(last_session="2024-05-29"), "AAA", D("2024-05-29")) == ""
    assert "2024-05-28, expected 2024-05-29" in silence(Progress(last_session="2024-05-28"), "AAA", D("2024-05-29"))
    assert "check the symbol" in silence(Progress(), "AAA", D("2024-05-29"))


def test_symbols_are_read_from_lines_with_comments() -> None:
    assert read_symbols(["aapl, MSFT # two", "", "# none", "brk.b BF-B AAPL"]) == ("AAPL", "MSFT", "BRK.B", "BF-B")


@pytest.mark.parametrize("word", ["../etc", "A/B", "^VIX", "-A", "Ä"])
def test_what_is_no_ticker_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="is no ticker"):
        read_symbols([word])


@pytest.mark.parametrize(
    "bad",
    [
        {"start": "yesterday"},
        {"start": "NaT"},
        {"start": "1950-01-01"},
        {"overlap_sessions": 0},
        {"attempts": 0},
        {"clock_minutes": 0},
    ],
)
def test_bad_configuration_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="correct"):
        CollectConfig(**bad)  # type: ignore[arg-type]
