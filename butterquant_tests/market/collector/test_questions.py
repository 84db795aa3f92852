"""Every window fits a page, windows tile what is asked for, and days come in runs that a page holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, chunks, day_at, day_range, start_of
from butterquant_assets.market.collector.progress import FILE, MOST_TRIES, SETTLE_MS, Asked, Progress, needed
from butterquant_assets.market.collector.questions import (
    CRYPTO_BARS,
    FUNDING_RATES,
    GRIDS,
    INDEX_PRICES,
    question,
    windows,
)

DAYS = day_range("2024-02-20", "2024-03-10")
NOW = start_of("2024-06-01")


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_windows_tile_the_days_and_fit_a_page(name: str) -> None:
    grid = GRIDS[name]
    covered: list[int] = []
    for days in chunks(DAYS, grid.chunk_days):
        found = list(windows(grid, days, 0, NOW))
        assert all(end - begin <= grid.page * grid.bar for begin, end in found)
        assert found[0][0] == start_of(days[0]) - grid.margin
        assert found[-1][1] == start_of(days[-1]) + DAY_MS + grid.trail
        own = range(start_of(days[0]), start_of(days[-1]) + DAY_MS)
        covered += [stamp for begin, end in found for stamp in range(begin, end, grid.bar) if stamp in own]
    assert covered == list(range(start_of(DAYS[0]), start_of(DAYS[-1]) + DAY_MS, grid.bar))


def test_windows_begin_with_the_listing_and_end_with_the_last_closed_bar() -> None:
    day, start = "2024-03-01", start_of("2024-03-01")
    (window,) = windows(CRYPTO_BARS, [day], start + 5 * HOUR_MS + 1, start + 9 * HOUR_MS + 59 * 60_000)
    assert window == (start + 6 * HOUR_MS, start + 9 * HOUR_MS)
    assert list(windows(CRYPTO_BARS, [day], start + DAY_MS, NOW)) == []


def test_what_comes_after_the_days_is_asked_for_as_far_as_it_is_there() -> None:
    over = start_of("2024-03-02")
    (window,) = windows(FUNDING_RATES, ["2024-03-01"], 0, NOW)
    assert window == (over - 2 * DAY_MS, over + 16 * HOUR_MS)
    (window,) = windows(FUNDING_RATES, ["2024-03-01"], 0, over + 2 * 60_000)
    assert window[1] == over + 2 * 60_000


def test_a_question_names_both_ends_exclusively_and_the_endpoint_that_reaches_there() -> None:
    start = start_of("2024-03-01")
    asked = question(CRYPTO_BARS, "BTC", (start, start + DAY_MS), start + 2 * DAY_MS)
    assert asked.path == "market/candles"
    expected = {"instId": "BTC-USDT-SWAP", "bar": "1H", "limit": "300"}
    assert asked.query() == expected | {"before": str(start - 1), "after": str(start + DAY_MS)}
    assert question(CRYPTO_BARS, "BTC", (start, start + DAY_MS), start + 61 * DAY_MS).path == "market/history-candles"
    assert question(INDEX_PRICES, "BTC", (start, start + DAY_MS), NOW).query()["instId"] == "BTC-USDT"


def test_the_recent_endpoint_is_asked_for_no_bar_it_may_have_dropped() -> None:
    now = start_of("2024-03-01") + 25 * 60_000
    oldest = now // HOUR_MS * HOUR_MS - 1_439 * HOUR_MS
    assert question(CRYPTO_BARS, "BTC", (oldest, oldest + HOUR_MS), now).path == "market/candles"
    assert question(CRYPTO_BARS, "BTC", (oldest - HOUR_MS, oldest), now).path == "market/history-candles"


def test_runs_of_days_break_at_gaps_and_at_the_most() -> None:
    days = ["2024-02-28", "2024-02-29", "2024-03-01", "2024-03-03", "2023-12-31"]
    assert chunks(days, 2) == [["2023-12-31"], ["2024-02-28", "2024-02-29"], ["2024-03-01"], ["2024-03-03"]]
    assert day_at(start_of("2024-02-29") + DAY_MS - 1) == "2024-02-29"
    assert FUNDING_RATES.chunk_days == 15


DAY = "2024-03-01"
SETTLED = start_of(DAY) + DAY_MS + SETTLE_MS


@pytest.mark.parametrize(
    ("asked", "gaps", "expected"),
    [
        (None, None, {"BTC", "ETH"}),
        (Asked(SETTLED - 1, ("BTC", "ETH")), frozenset(), {"BTC", "ETH"}),
        (Asked(SETTLED, ("BTC", "ETH")), frozenset(), set()),
        (Asked(SETTLED, ("BTC", "ETH")), None, {"BTC", "ETH"}),
        (Asked(SETTLED, ("BTC",)), frozenset(), {"ETH"}),
        (Asked(SETTLED), frozenset({"BTC"}), {"BTC", "ETH"}),
        (Asked(SETTLED, ("BTC", "ETH"), {"ETH": 1}), frozenset({"ETH", "GONE"}), {"ETH"}),
        (Asked(SETTLED, ("BTC", "ETH"), {"ETH": MOST_TRIES}), frozenset({"ETH"}), set()),
        (Asked(SETTLED, ("BTC", "ETH"), {"ETH": MOST_TRIES, "BTC": 1}), frozenset({"BTC", "ETH"}), {"BTC"}),
        (Asked(SETTLED, ("ETH",), {"ETH": MOST_TRIES}), frozenset({"ETH"}), {"BTC"}),
    ],
)
def test_a_day_is_asked_for_until_it_is_settled_whole_and_for_every_coin(
    asked: Asked | None, gaps: frozenset[str] | None, expected: set[str]
) -> None:
    assert needed(DAY, ("BTC", "ETH"), asked, gaps) == expected
    assert needed(DAY, ("BTC", "ETH"), asked, gaps, full=True) == {"BTC", "ETH"}


def test_the_memory_survives_being_written(tmp_path: Path) -> None:
    memory = Progress(tmp_path)
    memory.note("crypto_bars", DAY, ("ETH",), SETTLED, answered=("ETH",), lacking=("ETH", "BTC"))
    memory.note("crypto_bars", DAY, ("BTC", "ETH"), SETTLED + 1, answered=("BTC", "ETH"), lacking=("ETH",))
    memory.note("crypto_bars", "2024-03-02", ("BTC",), SETTLED, answered=("BTC",), lacking=("BTC",))
    memory.ends["ETH"] = SETTLED
    memory.save()
    back = Progress(tmp_path)
    assert back.of("crypto_bars", DAY) == Asked(SETTLED + 1, ("BTC", "ETH"), {"ETH": 2})
    assert back.of("crypto_bars", "2024-03-02") == Asked(SETTLED, ("BTC",))
    assert back.of("crypto_bars", "2024-03-03") is None
    assert back.ends == {"ETH": SETTLED}


def test_only_an_answer_is_a_try_and_one_that_lacks_nothing_ends_the_count(tmp_path: Path) -> None:
    memory = Progress(tmp_path)
    for turn in range(MOST_TRIES + 3):
        memory.note("crypto_bars", DAY, ("BTC", "ETH"), SETTLED + turn, answered=("BTC",), lacking=("BTC", "ETH"))
    asked = memory.of("crypto_bars", DAY)
    assert asked is not None
    assert asked.tries == {"BTC": MOST_TRIES + 3}
    assert needed(DAY, ("BTC", "ETH"), asked, ("BTC", "ETH")) == {"ETH"}
    memory.note("crypto_bars", DAY, ("BTC",), SETTLED + 9, answered=("BTC",))
    assert memory.of("crypto_bars", DAY) == Asked(SETTLED + 9, ("BTC",))


def test_who_was_asked_for_again_in_vain_is_asked_for_until_there_is_an_answer(tmp_path: Path) -> None:
    memory = Progress(tmp_path)
    memory.note("crypto_bars", DAY, ("BTC", "ETH"), SETTLED, answered=("BTC", "ETH"))
    memory.note("crypto_bars", DAY, ("BTC", "ETH"), SETTLED + 1, answered=("ETH",))
    assert needed(DAY, ("BTC", "ETH"), memory.of("crypto_bars", DAY), ()) == {"BTC"}


def test_who_was_asked_for_before_the_day_was_settled_is_asked_for_again(tmp_path: Path) -> None:
    memory = Progress(tmp_path)
    memory.note("crypto_bars", DAY, ("BTC", "ETH"), SETTLED - 1, answered=("BTC", "ETH"))
    memory.note("crypto_bars", DAY, ("BTC",), SETTLED, answered=("BTC",))
    asked = memory.of("crypto_bars", DAY)
    assert needed(DAY, ("BTC", "ETH"), asked, ()) == {"ETH"}


@pytest.mark.parametrize("text", ['{"format": 2, "days": 3}', '{"format": 99}', "[]"])
def test_a_damaged_memory_says_what_to_do(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(SourceError, match=r"delete it.* everything is asked for again"):
        Progress(tmp_path)


def test_a_memory_that_took_silence_for_an_answer_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(
        f'{{"format": 1, "coins": [["BTC"]], "days": {{"a": {{"{DAY}": [{SETTLED}, 5, 0]}}}}}}'
    )
    assert Progress(tmp_path).of("a", DAY) is None
