"""One trade at a time for each coin: which accepted trades are held, and which signals found their coin busy.

What belongs here: taking trades in turn, and the positions that are open when a day begins. What does not: how a trade
is executed (`paper`) or judged (`gates`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.signals.gates import ACCEPTED, REJECTED
from butterquant_assets.signals.schemas import OPEN_POSITIONS
from butterquant_assets.signals.versions import typed

BUSY = "busy"
_NEVER = np.iinfo(np.int64).max


def non_overlapping(trades: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which filled trades remain when each coin holds one at a time, first come first served, shape (n,).

    Parameters
    ----------
    trades
        columns coin, entry_at, exit_at, status; an open trade keeps its coin busy

    Returns
    -------
    bool array aligned with `trades`

    Notes
    -----
    The first, not the shortest: taking those that ended soonest would take too many that were stopped out.
    """
    return _in_turn(trades, trades["status"].isin(["closed", "open"]).to_numpy())


def tracks(trades: pd.DataFrame, positions: pd.DataFrame | None = None, *, each_day: bool = False) -> pd.Series:
    """Track of each trade: accepted ones of a coin one at a time, those meanwhile are busy, the others rejected.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES` but track
    positions
        columns of `schemas.OPEN_POSITIONS`: trades that hold their coin when the first of these begin
    each_day
        positions are given for each UTC day of signals: each day starts from its own, and knows of no other day

    Returns
    -------
    Series
        ``accepted``, ``busy`` or ``rejected``, aligned with `trades`
    """
    accepted = (trades["verdict"] == ACCEPTED).to_numpy()
    filled = trades["status"].isin(["closed", "open"]).to_numpy()
    waits = accepted & filled & ~_in_turn(trades, accepted & filled, positions, each_day)
    words = np.where(waits, BUSY, np.where(accepted, ACCEPTED, REJECTED))
    return pd.Series(words, index=trades.index, dtype="str")


def positions_of(trades: pd.DataFrame, days: npt.ArrayLike) -> pd.DataFrame:
    """Which accepted trade holds a coin at the start of each day.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES`
    days
        UTC midnights, datetime64

    Returns
    -------
    DataFrame
        columns of `schemas.OPEN_POSITIONS`, one row per day and coin that is held by a trade whose signal came before
        that day; free_at is missing while the trade is open
    """
    held = trades[(trades["track"] == ACCEPTED) & trades["status"].isin(["closed", "open"])]
    held = held.assign(free_at=held["exit_at"].where(held["status"] == "closed"))
    starts = np.sort(np.asarray(days, dtype="datetime64[us]").astype(np.int64))
    first = np.searchsorted(starts, _microseconds(held["hour"]), side="right")
    free = np.where(held["free_at"].isna().to_numpy(), _NEVER, _microseconds(held["free_at"]))
    count = np.maximum(np.searchsorted(starts, free, side="left") - first, 0)
    row = np.repeat(np.arange(len(held)), count)
    place = np.repeat(first - (np.cumsum(count) - count), count) + np.arange(count.sum())
    found = held.iloc[row].assign(day=starts[place].astype("datetime64[us]"))
    return OPEN_POSITIONS.arrange(typed(found, {"day": "datetime64[us]", "free_at": "datetime64[us]"}))


def _in_turn(
    trades: pd.DataFrame,
    wanted: npt.NDArray[np.bool_],
    positions: pd.DataFrame | None = None,
    each_day: bool = False,
) -> npt.NDArray[np.bool_]:
    from butterquant_assets.signals.paper_kernel import taken_in_turn

    entry = _microseconds(trades["entry_at"])
    end = np.where((trades["status"] == "closed").to_numpy(), _microseconds(trades["exit_at"]), _NEVER)
    owners = pd.Index(trades["coin"])
    held = pd.Index([]) if positions is None else pd.Index(positions["coin"])
    if each_day:
        owners = pd.MultiIndex.from_arrays([trades["hour"].dt.floor("D"), owners])
        held = pd.MultiIndex.from_arrays([positions["day"], held]) if positions is not None else held
    codes, names = pd.factorize(owners)
    free = np.full(len(names), np.iinfo(np.int64).min, dtype=np.int64)
    if positions is not None and len(positions) and len(names):
        place = names.get_indexer(held)
        until = np.where(positions["free_at"].isna().to_numpy(), _NEVER, _microseconds(positions["free_at"]))
        free[place[place >= 0]] = until[place >= 0]
    order = np.argsort(entry, kind="stable")
    taken = np.zeros(len(trades), dtype=np.bool_)
    taken[order] = taken_in_turn(codes.astype(np.int64)[order], entry[order], end[order], wanted[order], free)
    return taken


def _microseconds(stamps: pd.Series) -> npt.NDArray[np.int64]:
    return stamps.to_numpy().astype("datetime64[us]").astype(np.int64)
