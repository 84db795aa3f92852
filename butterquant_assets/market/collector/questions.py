"""What is asked for each dataset that comes as one row a coin and bar: endpoints, windows, parameters.

Every request names both ends of a window that holds at most a page. OKX answers a window that is too wide with its
newest rows and drops the rest without a word; a window that fits has nothing to drop, in whichever direction it is
walked, and what should lie in it is known before it is asked.

What belongs here: pure arithmetic of windows. What does not: asking (`client.py`) and reading answers (`tables.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, start_of

MINUTE_MS = 60_000
RECENT_BARS = 1_439
"""Bars back to which the endpoints without "history" in their name reach, the open one left out."""

FUNDING_DAYS = 92
STATISTIC_DAYS = 59
"""1,440 hourly points are 60 days; the oldest one may go while we ask."""


@dataclass(frozen=True)
class Question:
    """One request: an endpoint and its parameters."""

    path: str
    parameters: tuple[tuple[str, str], ...]

    def query(self) -> dict[str, str]:
        """The parameters as a mapping."""
        return dict(self.parameters)


@dataclass(frozen=True)
class Grid:
    """A dataset with a row for each coin and bar.

    Parameters
    ----------
    dataset
        name in the store
    bar
        ms between stamps
    recent, history
        endpoints for the latest bars and for all; the same where there is only one
    page
        most rows of an answer
    marks
        names of the parameters for the exclusive ends of a window: later than, earlier than
    fixed
        further parameters
    by_family
        the instrument is named without -SWAP
    reach_days
        days the exchange keeps; None: all
    stamped
        whether the stamps are known beforehand; those of settlements are not
    margin
        ms asked before the first day of a chunk: a settlement's interval begins at the one before it
    trail
        ms asked after the last day of a chunk: whether the last settlements of a day are missing, later ones tell
    """

    dataset: str
    bar: int
    recent: str
    history: str
    page: int
    marks: tuple[str, str]
    fixed: tuple[tuple[str, str], ...]
    by_family: bool = False
    reach_days: int | None = None
    stamped: bool = True
    margin: int = 0
    trail: int = 0

    @property
    def chunk_days(self) -> int:
        """Days asked for together: as many as a page holds, at least one."""
        return max((self.page * self.bar - self.margin - self.trail) // DAY_MS, 1)


_CANDLES = ("before", "after")
_STATISTICS = ("begin", "end")
_HOURLY = (("bar", "1H"),)

CRYPTO_BARS = Grid("crypto_bars", HOUR_MS, "market/candles", "market/history-candles", 300, _CANDLES, _HOURLY)
MINUTE_BARS = Grid(
    "crypto_minute_bars", MINUTE_MS, "market/candles", "market/history-candles", 300, _CANDLES, (("bar", "1m"),)
)
MARK_PRICES = Grid(
    *("mark_prices", HOUR_MS, "market/mark-price-candles", "market/history-mark-price-candles", 100, _CANDLES, _HOURLY)
)
INDEX_PRICES = Grid(
    *("index_prices", HOUR_MS, "market/index-candles", "market/history-index-candles", 100, _CANDLES, _HOURLY),
    by_family=True,
)
# A statistic bears the time at which its period opens, as candles do: the row of T is filed under the hour that begins
# at T and used from its end on. OKX does not say so in so many words. If it should mean the value at T itself, what is
# stored is an hour old; nothing is ever known too early.
OPEN_INTEREST = Grid(
    "open_interest",
    HOUR_MS,
    "rubik/stat/contracts/open-interest-history",
    "rubik/stat/contracts/open-interest-history",
    100,
    _STATISTICS,
    (("period", "1H"),),
    reach_days=STATISTIC_DAYS,
)
TAKER_VOLUME = Grid(
    "taker_volume",
    HOUR_MS,
    "rubik/stat/taker-volume-contract",
    "rubik/stat/taker-volume-contract",
    100,
    _STATISTICS,
    (("period", "1H"), ("unit", "0")),
    reach_days=STATISTIC_DAYS,
)
FUNDING_RATES = Grid(
    "funding_rates",
    HOUR_MS,
    "public/funding-rate-history",
    "public/funding-rate-history",
    400,
    _CANDLES,
    (),
    reach_days=FUNDING_DAYS,
    stamped=False,
    margin=DAY_MS,
    trail=16 * HOUR_MS,  # two of the longest intervals: a longer one is told from a hole by the interval after it
)
GRIDS: Mapping[str, Grid] = {
    grid.dataset: grid
    for grid in (CRYPTO_BARS, MINUTE_BARS, MARK_PRICES, INDEX_PRICES, FUNDING_RATES, OPEN_INTEREST, TAKER_VOLUME)
}
"""All of them, by dataset."""


def windows(grid: Grid, days: Sequence[str], first: int, end: int) -> Iterator[tuple[int, int]]:
    """Windows [from, to) in the store's time that cover the days of one chunk and its margins, oldest first.

    Parameters
    ----------
    grid
        dataset
    days
        consecutive UTC days
    first
        ms: nothing before it exists
    end
        ms: nothing from it on has closed
    """
    start, step = start_of(days[0]) - grid.margin, grid.page * grid.bar
    low = max(start, -(-first // grid.bar) * grid.bar)
    high = min(start_of(days[-1]) + DAY_MS + grid.trail, end // grid.bar * grid.bar if grid.stamped else end)
    while low < high:
        # Counted from the chunk's own start, so that a window is the same whenever the coin was listed.
        top = min(start + ((low - start) // step + 1) * step, high)
        yield low, top
        low = top


def question(grid: Grid, coin: str, window: tuple[int, int], now: int) -> Question:
    """The request for one window of one coin.

    Parameters
    ----------
    window
        ms in the store's time, as `windows` gives it
    now
        exchange's time, ms
    """
    low, high = window
    recent = low >= now // grid.bar * grid.bar - RECENT_BARS * grid.bar
    named = f"{coin}-USDT" if grid.by_family else f"{coin}-USDT-SWAP"
    marks = ((grid.marks[0], str(low - 1)), (grid.marks[1], str(high)))
    return Question(
        grid.recent if recent else grid.history,
        (("instId", named), *grid.fixed, *marks, ("limit", str(grid.page))),
    )
