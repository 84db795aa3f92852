"""Windows of adjusted closes and volumes that end at an analysis date.

What belongs here: finding quoted bars, undoing splits inside a window, and saying why a row has no window. What does
not: anything computed from the values.

A *quoted bar* is a row of the bars with a positive close and a known, non-negative volume; other rows count as missing
sessions (a split on such a row still applies, from the next quoted bar on).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.calendar import session_number, sessions
from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Days = npt.NDArray[np.datetime64]

ANALYSIS_BARS = 505
MAX_MISSING_SESSIONS = 5
MAX_STEP = 4.0
VWAP_BARS = 20
CONCENTRATION_BARS = 5
_KEY_BASE = 1_000_000  # days since 1970 stay below it for the next 2,700 years


@dataclass(frozen=True)
class QuotedBars:
    """Quoted bars of all tickers, ordered by ticker and date, with the look-ups windows and labels need.

    Attributes
    ----------
    tickers
        position of each ticker
    keys
        ticker position x 1,000,000 + days since 1970, ascending, shape (m,)
    days
        datetime64[D], shape (m,)
    close, volume
        as quoted, shape (m,); volume in shares
    ratio
        split ratio effective between the previous quoted bar and this one (1 where none), shape (m,)
    """

    tickers: dict[str, int]
    keys: Ints
    days: Days
    close: Floats
    volume: Floats
    ratio: Floats

    def last(self, tickers: npt.ArrayLike, dates: npt.ArrayLike) -> Ints:
        """Position of the last quoted bar on or before each date, -1 where there is none; shape (n,) in and out."""
        code, asked = self._asked(tickers, dates)
        position = np.searchsorted(self.keys, asked, side="right") - 1
        found = (code >= 0) & (position >= self._first(code))
        return np.where(found, position, -1).astype(np.int64)

    def on(self, tickers: npt.ArrayLike, dates: npt.ArrayLike) -> Ints:
        """Position of the quoted bar of each date, -1 where there is none; shape (n,) in and out."""
        position = self.last(tickers, dates)
        wanted = np.asarray(dates, dtype="datetime64[D]")
        same = (position >= 0) & (self.days[position] == wanted) if self.days.size else np.zeros(position.shape, bool)
        return np.where(same, position, -1).astype(np.int64)

    def count_up_to(self, tickers: npt.ArrayLike, positions: Ints) -> Ints:
        """How many quoted bars a ticker has up to and including `positions` (0 where -1); shape (n,)."""
        first = self._first(self._codes(tickers))
        return np.where(positions >= 0, positions - first + 1, 0).astype(np.int64)

    def splits_between(self, after: Ints, up_to: Ints) -> Floats:
        """Product of the split ratios of the bars in (after, up_to], one pair of positions per row."""
        return np.array(
            [np.prod(self.ratio[start + 1 : stop + 1]) for start, stop in zip(after, up_to, strict=True)],
            dtype=np.float64,
        )

    def _codes(self, tickers: npt.ArrayLike) -> Ints:
        names = np.asarray(tickers, dtype=object)
        return np.fromiter((self.tickers.get(str(name), -1) for name in names), dtype=np.int64, count=len(names))

    def _asked(self, tickers: npt.ArrayLike, dates: npt.ArrayLike) -> tuple[Ints, Ints]:
        code = self._codes(tickers)
        return code, code * _KEY_BASE + np.asarray(dates, dtype="datetime64[D]").astype(np.int64)

    def _first(self, code: Ints) -> Ints:
        return np.searchsorted(self.keys, code * _KEY_BASE).astype(np.int64)


@dataclass(frozen=True)
class Windows:
    """One window per asked row; rows with a reason hold NaN.

    Attributes
    ----------
    closes, volumes
        shape (n, length), oldest first, adjusted to the last date of the window (closes divided, volumes multiplied
        by the splits that follow them inside the window)
    reasons
        short code, empty where the window stands, shape (n,)
    details
        one sentence with the offending value, empty where the window stands, shape (n,)
    days
        datetime64[D] of each bar, shape (n, length); NaT where there is no window
    """

    closes: Floats
    volumes: Floats
    reasons: npt.NDArray[np.object_]
    details: npt.NDArray[np.object_]
    days: Days


def quoted_bars(bars: pd.DataFrame) -> QuotedBars:
    """Index the quoted bars of a table.

    Parameters
    ----------
    bars
        columns session, ticker, close, volume, split_ratio, prices as quoted on the day, any order

    Raises
    ------
    DataError
        if a (session, ticker) occurs twice or a split ratio is not positive and finite.
    """
    names = sorted(str(name) for name in bars["ticker"].unique())
    tickers = {name: code for code, name in enumerate(names)}
    day = bars["session"].to_numpy().astype("datetime64[D]")
    code = bars["ticker"].map(tickers).to_numpy(dtype=np.int64)
    key: Ints = np.asarray(code * _KEY_BASE + day.astype(np.int64), dtype=np.int64)
    order = np.argsort(key, kind="stable")
    key, day = key[order], day[order]
    close, volume, ratio = (bars[name].to_numpy(dtype=np.float64)[order] for name in ("close", "volume", "split_ratio"))
    _refuse_bad_bars(names, key, day, ratio)
    quoted = np.isfinite(close) & (close > 0.0) & np.isfinite(volume) & (volume >= 0.0)
    ratio = _carry_splits(key, ratio, quoted)
    return QuotedBars(tickers, key[quoted], day[quoted], close[quoted], volume[quoted], ratio[quoted])


def _refuse_bad_bars(names: list[str], key: Ints, day: Days, ratio: Floats) -> None:
    twice = np.flatnonzero(key[1:] == key[:-1])
    if twice.size:
        where = int(twice[0])
        raise DataError(
            f"{names[int(key[where]) // _KEY_BASE]} has two bars on {day[where]} ({twice.size} such pairs); "
            "keep one bar per ticker and session"
        )
    bad = np.flatnonzero(~(np.isfinite(ratio) & (ratio > 0.0)))
    if bad.size:
        where = int(bad[0])
        raise DataError(
            f"{names[int(key[where]) // _KEY_BASE]} has split_ratio {ratio[where]} on {day[where]}; "
            "expected a positive number, 1 where there is no split"
        )


def _carry_splits(key: Ints, ratio: Floats, quoted: npt.NDArray[np.bool_]) -> Floats:
    """Move the split of a row that is not quoted to the ticker's next row."""
    carried = ratio.copy()
    for row in np.flatnonzero(~quoted):
        following = row + 1
        if carried[row] != 1.0 and following < key.size and key[following] // _KEY_BASE == key[row] // _KEY_BASE:
            carried[following] *= carried[row]
    return carried


def build(
    tickers: npt.ArrayLike,
    dates: npt.ArrayLike,
    bars: QuotedBars,
    length: int = ANALYSIS_BARS,
    max_missing: int = MAX_MISSING_SESSIONS,
) -> Windows:
    """The last `length` quoted bars up to and including each date.

    Parameters
    ----------
    tickers, dates
        one row each, shape (n,)
    bars
        from `quoted_bars`; bars after a row's date are never read for it
    length
        bars of a window
    max_missing
        exchange sessions that may lack a quoted bar between the first and the last bar of a window. Five is one
        trading week: a longer hole means a halt or a reused ticker, across which returns have no meaning.

    Returns
    -------
    Windows
        reasons are ``no_bar_on_date``, ``too_short``, ``missing_sessions`` and ``unexplained_jump``, tested in this
        order
    """
    asked_days = np.asarray(dates, dtype="datetime64[D]")
    position = bars.on(tickers, asked_days)
    reasons = np.full(position.shape, "", dtype=object)
    details = np.full(position.shape, "", dtype=object)
    for row in np.flatnonzero(position < 0):
        reasons[row] = "no_bar_on_date"
        details[row] = f"no quoted bar (positive close, known volume) on {asked_days[row]}"
    _refuse_short(bars, asked_days, position, length, max_missing, reasons, details)
    closes, volumes = (np.full((position.size, length), np.nan) for _ in range(2))
    usable = np.flatnonzero(reasons == "")
    closes[usable], volumes[usable] = _adjusted(bars, position[usable], length)
    _refuse_jumps(closes, volumes, reasons, details)
    days = np.full(closes.shape, np.datetime64("NaT"), dtype="datetime64[D]")
    usable = np.flatnonzero(reasons == "")
    days[usable] = bars.days[position[usable, None] + np.arange(1 - length, 1)]
    return Windows(closes, volumes, reasons, details, days)


def _refuse_short(
    bars: QuotedBars,
    dates: Days,
    position: Ints,
    length: int,
    max_missing: int,
    reasons: npt.NDArray[np.object_],
    details: npt.NDArray[np.object_],
) -> None:
    """Reject rows with too few bars among the last `length` + `max_missing` sessions.

    Only that span is counted: how much further back the given bars reach depends on what else was asked for, and a
    row's result must not.
    """
    span = length + max_missing
    rows = np.flatnonzero(reasons == "")
    oldest = sessions()[np.maximum(session_number(dates[rows]) - span + 1, 0)]
    first = np.searchsorted(bars.keys, bars.keys[position[rows]] - (dates[rows] - oldest).astype(np.int64), side="left")
    inside = position[rows] - first + 1
    late = session_number(bars.days[first]) - session_number(oldest)
    for row, count, start, delay in zip(rows, inside, oldest, late, strict=True):
        if count >= length:
            continue
        if delay > max_missing:
            reasons[row] = "too_short"
            details[row] = f"{count} quoted bars up to {dates[row]} ({span} sessions counted), {length} are needed"
        else:
            reasons[row] = "missing_sessions"
            details[row] = (
                f"{span - count} exchange sessions between {start} and {dates[row]} have no quoted bar, "
                f"at most {max_missing} may be missing"
            )


def _refuse_jumps(
    closes: Floats, volumes: Floats, reasons: npt.NDArray[np.object_], details: npt.NDArray[np.object_]
) -> None:
    """Reject windows across a step that no known split explains: two instruments under one ticker, most often."""
    usable = np.flatnonzero(reasons == "")
    steps = closes[usable, 1:] / closes[usable, :-1]
    largest = np.maximum(steps, 1.0 / steps)
    for row, step in zip(usable, largest.max(axis=1, initial=1.0), strict=True):
        if step > MAX_STEP:
            reasons[row] = "unexplained_jump"
            details[row] = (
                f"the close moves by a factor of {step:.3g} from one bar to the next and no split explains it, "
                f"at most {MAX_STEP:g} is believed"
            )
            closes[row] = volumes[row] = np.nan


def _adjusted(bars: QuotedBars, last: Ints, length: int) -> tuple[Floats, Floats]:
    """Gather windows and restate their history in shares of the last date."""
    gathered = last[:, None] + np.arange(1 - length, 1, dtype=np.int64)
    later = np.ones(gathered.shape)
    # factor of bar i = product of the ratios of bars i+1 .. end; the first bar's own split lies before the window
    later[:, :-1] = np.cumprod(bars.ratio[gathered[:, :0:-1]], axis=1)[:, ::-1]
    return bars.close[gathered] / later, bars.volume[gathered] * later


def volume_defects(volumes: Floats) -> npt.NDArray[np.object_]:
    """Why the volumes of a window cannot carry a VWAP or a concentration, in one sentence; empty where they can.

    Parameters
    ----------
    volumes
        shape (n, length), length at least 20, oldest first

    Returns
    -------
    object array of str, shape (n,): 20 bars in a row, or the last 5, without any volume are a defect
    """
    traded = np.cumsum(np.pad((volumes > 0.0).astype(np.int64), ((0, 0), (1, 0))), axis=1)
    dry = (traded[:, VWAP_BARS:] - traded[:, :-VWAP_BARS] == 0).any(axis=1)
    dry_end = traded[:, -1] - traded[:, -1 - CONCENTRATION_BARS] == 0
    sentences = np.full(len(volumes), "", dtype=object)
    sentences[dry_end] = f"no volume in the last {CONCENTRATION_BARS} bars, its concentration is undefined"
    sentences[dry] = f"{VWAP_BARS} bars in a row without volume, their VWAP is undefined"
    return sentences
