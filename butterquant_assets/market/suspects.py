"""Bars that are wrong only beside their neighbours: absurd jumps and stale prices.

What belongs here: rules that look along one ticker's series. What does not: rules about a single row, and what becomes
of a row that breaks one (`market/cleaning.py`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.calendar import session_number

JUMP = float(np.log(4.0))
"""A close further than a factor 4 from its neighbours is absurd."""

AGREEMENT = float(np.log(2.0))
"""The levels before and after an absurd bar agree when they are within a factor 2 of each other."""

NEIGHBOURS = 11
"""Bars on each side whose median is the level: a majority of them stays good around up to five bad bars in a row."""

MINIMUM_NEIGHBOURS = 3

STALE_BARS = 5
"""Zero-volume bars in a row that repeat the bar before; from this one on they are no quotes."""

GAP_SESSIONS = 5
"""Missing sessions in a row that are worth a note."""

Flags = npt.NDArray[np.bool_]


def absurd_bars(ticker: npt.NDArray[np.int64], close: npt.NDArray[np.float64]) -> Flags:
    """Isolated bars far away from a level that holds before and after them.

    A bar is absurd when its close differs by more than a factor 4, in the same direction, from the median of up to 11
    closes before and of up to 11 after it (at least 3 each), and those two medians agree within a factor 2. A step to
    a new level is therefore never absurd, and a jump on the newest bars is not judged until the price has come back:
    **this rule needs up to 11 later bars**, so a bar can be rejected that long after it arrived.

    Parameters
    ----------
    ticker
        integer code of each row's ticker, shape (n,); rows are grouped by ticker and ascend by session
    close
        closes on a scale without split jumps, positive, shape (n,)

    Returns
    -------
    bool array, shape (n,)
    """
    suspects = np.isin(ticker, ticker[1:][_moves(ticker, close) > JUMP])
    absurd = np.zeros(len(close), dtype=bool)
    if not suspects.any():
        return absurd
    level = pd.Series(np.log(close[suspects]))
    codes = pd.Series(ticker[suspects])
    before = _median_before(level, codes)
    after = _median_before(level[::-1], codes[::-1])[::-1]
    up, down = level - before, level - after
    far = (np.minimum(up.abs(), down.abs()) > JUMP) & (np.sign(up) == np.sign(down))
    absurd[suspects] = (far & ((before - after).abs() < AGREEMENT)).to_numpy()
    return absurd


def stale_bars(
    ticker: npt.NDArray[np.int64], prices: npt.NDArray[np.float64], volume: npt.NDArray[np.float64]
) -> Flags:
    """Bars that only repeat: from the fifth in a row without volume whose four prices are those of the bar before.

    Looks back only, so later data never changes the answer; the first four repetitions stay, since a thinly traded
    share has such days.

    Parameters
    ----------
    ticker
        as in `absurd_bars`
    prices
        open, high, low, close, shape (n, 4)
    volume
        shape (n,)

    Returns
    -------
    bool array, shape (n,)
    """
    repeats = np.zeros(len(ticker), dtype=bool)
    same = (prices[1:] == prices[:-1]).all(axis=1)
    repeats[1:] = same & (ticker[1:] == ticker[:-1]) & (volume[1:] == 0)
    position = np.arange(len(ticker))
    last_fresh = np.maximum.accumulate(np.where(repeats, -1, position)) if len(ticker) else position
    flags: Flags = position - last_fresh >= STALE_BARS
    return flags


def unexplained_jumps(ticker: npt.NDArray[np.int64], close: npt.NDArray[np.float64]) -> Flags:
    """First bars after a move by more than a factor 4 that no known split explains.

    Parameters
    ----------
    ticker, close
        as in `absurd_bars`, the bars that are left

    Returns
    -------
    bool array, shape (n,)
    """
    flags = np.zeros(len(close), dtype=bool)
    flags[1:] = _moves(ticker, close) > JUMP
    return flags


def missing_before(ticker: npt.NDArray[np.int64], session: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Exchange sessions missing between each bar and the ticker's bar before.

    Parameters
    ----------
    ticker, session
        shape (n,); rows are grouped by ticker and ascend by session

    Returns
    -------
    int64 array, shape (n,); 0 for a ticker's first bar
    """
    missing = np.zeros(len(ticker), dtype=np.int64)
    between = np.diff(session_number(session)) - 1
    missing[1:] = np.where(ticker[1:] == ticker[:-1], between, 0)
    return missing


def _moves(ticker: npt.NDArray[np.int64], close: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    moves: npt.NDArray[np.float64] = np.where(ticker[1:] == ticker[:-1], np.abs(np.diff(np.log(close))), 0.0)
    return moves


def _median_before(level: pd.Series, codes: pd.Series) -> pd.Series:
    medians = level.groupby(codes).rolling(NEIGHBOURS, min_periods=MINIMUM_NEIGHBOURS).median()
    return medians.droplevel(0).reindex(level.index).groupby(codes).shift(1)
