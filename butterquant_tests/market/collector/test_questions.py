"""Every window fits a page, windows tile what is asked for, and days come in runs that a page holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.collection import GRIDS
from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, chunks, day_at, day_range, start_of
from butterquant_assets.market.collector.progress import FILE, MOST_TRIES, SETTLE_MS, Asked, Progress, needed
from butterquant_assets.market.collector.questions import CRYPTO_BARS, FUNDING_RATES, INDEX_PRICES, question, windows

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
        covered += [
            stamp for begin, end in found for stamp in range(begin, end, grid.bar) if stamp >= start_of(days[0])
        ]
    assert covered == list(range(start_of(DAYS[0]), start_of(DAYS[-1]) + DAY_MS, grid.bar))


def test_windows_begin_with_the_listing_and_end_with_the_last_closed_bar() -> None:
    day, start = "2024-03-01", start_of("2024-03-01")
    (window,) = windows(CRYPTO_BARS, [day], start + 5 * HOUR_MS + 1, start + 9 * HOUR_MS + 59 * 60_000)
    assert window == (start + 6 * HOUR_MS, start + 9 * HOUR_MS)
    assert list(windows(CRYPTO_BARS, [day], start + DAY_MS, NOW)) == []


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
        (Asked(SETTLED - 1, 0, ("BTC", "ETH")), frozenset(), {"BTC", "ETH"}),
        (Asked(SETTLED, 0, ("BTC", "ETH")), frozenset(), set()),
        (Asked(SETTLED, 0, ("BTC", "ETH")), None, {"BTC", "ETH"}),
        (Asked(SETTLED, 0, ("BTC",)), frozenset(), {"ETH"}),
        (Asked(SETTLED, 1, ("BTC", "ETH")), frozenset({"ETH", "GONE"}), {"ETH"}),
        (Asked(SETTLED, MOST_TRIES, ("BTC", "ETH")), frozenset({"ETH"}), set()),
    ],
)
def test_a_day_is_asked_for_until_it_is_settled_whole_and_for_every_coin(
    asked: Asked | None, gaps: frozenset[str] | None, expected: set[str]
) -> None:
    assert needed(DAY, ("BTC", "ETH"), asked, gaps) == expected
    assert needed(DAY, ("BTC", "ETH"), asked, gaps, full=True) == {"BTC", "ETH"}


def test_the_memory_survives_being_written(tmp_path: Path) -> None:
    memory = Progress(tmp_path)
    memory.note("crypto_bars", DAY, ("ETH",), SETTLED, missing=True)
    memory.note("crypto_bars", DAY, ("BTC",), SETTLED + 1, missing=True)
    memory.note("crypto_bars", "2024-03-02", ("BTC",), SETTLED, missing=True)
    memory.save()
    back = Progress(tmp_path)
    assert back.of("crypto_bars", DAY) == Asked(SETTLED + 1, 2, ("BTC", "ETH"))
    assert back.of("crypto_bars", "2024-03-02") == Asked(SETTLED, 0, ("BTC",))
    assert back.of("crypto_bars", "2024-03-03") is None


def test_who_was_asked_for_before_the_day_was_settled_is_asked_for_again(tmp_path: Path) -> None:
    memory = Progress(tmp_path)
    memory.note("crypto_bars", DAY, ("BTC", "ETH"), SETTLED - 1, missing=False)
    memory.note("crypto_bars", DAY, ("BTC",), SETTLED, missing=False)
    asked = memory.of("crypto_bars", DAY)
    assert needed(DAY, ("BTC", "ETH"), asked, ()) == {"ETH"}


def test_a_damaged_memory_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"format": 1, "days": 3}')
    with pytest.raises(SourceError, match="delete it, and everything is asked for again"):
        Progress(tmp_path)
