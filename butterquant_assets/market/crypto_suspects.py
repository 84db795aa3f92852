"""Which hourly bars are contradicted by something else that is known, so that they must not be believed.

A traded market opens where it closed: in 249,000 real hours of eleven perpetuals two bars opened more than 1 % off the
close before them, both within weeks of the listing. So a larger step inside the clock is a wrong bar or a rare jump,
and what follows tells which. A bar is judged by

- *yardsticks* of the same hour, where there are any: mark price, index price, the bars of another venue. They decide;
- the close of the last believed bar and the leaders' own step in the same hour;
- the open of the next bar, struck as the bar closes and known with the next bar: nothing later is used.

What is known when the bar closes makes it `suspect`. Where only the open of the next bar contradicts it, it is
`suspect_later`: nobody could know that when the bar closed, so it may not decide what was done then.

A step nobody shares makes a bar suspect until `CONFIRMED` bars in a row continue the new level. Nothing is judged
across a missing hour or an outage except by yardsticks and by a return, since a market may go anywhere unseen. A wick
that no yardstick contradicts is believed: real ones of a quarter of the price exist.

What belongs here: that judgement. What does not: impossible rows (`crypto_cleaning.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.market.crypto_cleaning import NOTED, PRICES, reject_rows
from butterquant_assets.market.crypto_coverage import HOUR, Stamps
from butterquant_assets.market.crypto_schemas import CRYPTO_BARS, CRYPTO_REJECTS, no_rows

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]

STEP = 0.02
"""Log distance between a close and the next open that no ordinary market makes."""

CONFIRMED = 3
LEADERS = ("BTC", "ETH", "SIMBTC", "SIMETH")
"""The only coins whose bars bear on another coin's: which others are there must change nothing."""


@dataclass(frozen=True)
class Yardstick:
    """Another measurement of the same hours.

    Parameters
    ----------
    name
        how a reader is told
    rows
        columns hour, coin, open, high, low, close
    close
        log distance of the closes (and opens) from which the bar is contradicted
    wick
        log distance by which a high or low may reach beyond the yardstick's, or None for any
    both_ways
        whether one that reaches less far by as much is contradicted too
    """

    name: str
    rows: pd.DataFrame
    close: float = STEP
    wick: float | None = None
    both_ways: bool = False


def flag_bars(
    bars: pd.DataFrame, days: Sequence[str], yardsticks: Sequence[Yardstick] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Flag outages and suspect bars of some days.

    Parameters
    ----------
    bars
        screened raw bars of `days`, of the day before each and of the first hour after each; more rows change nothing
    days
        UTC days to judge
    yardsticks
        whatever there is

    Returns
    -------
    rows, notes
        rows of `days` in the columns of the contract; one note in the columns of `CRYPTO_REJECTS` for each bar that is
        suspect, at its close or later
    """
    if bars.empty:
        return no_rows(CRYPTO_BARS), no_rows(CRYPTO_REJECTS)
    bars = bars.sort_values(["coin", "hour"], kind="stable").reset_index(drop=True)
    hour, coin = bars["hour"].to_numpy(dtype="datetime64[us]"), bars["coin"].to_numpy(dtype=object)
    log = {name: np.log(bars[name].to_numpy(dtype=np.float64)) for name in PRICES}
    still = (log["high"] == log["low"]) & (bars["volume"].to_numpy() == 0)
    moved_unpaid = (bars["volume"].to_numpy() == 0) & ~still
    said, agreed = _against(bars, log, yardsticks)
    said[moved_unpaid & (said == "")] = "moved_without_volume: prices moved but nothing was traded"
    said[still] = ""
    follows = np.zeros(len(bars), dtype=bool)
    follows[1:] = (coin[1:] == coin[:-1]) & (hour[1:] - hour[:-1] == HOUR) & ~still[1:] & ~still[:-1]
    step = np.zeros(len(bars))
    step[1:] = np.where(follows[1:], log["open"][1:] - log["close"][:-1], 0.0)
    extreme = (log["close"] == log["high"]) | (log["close"] == log["low"])
    chain = _Chain(log["open"], log["close"], extreme, step, follows, still, said != "", agreed)
    day = hour.astype("datetime64[D]")
    wanted = np.isin(day, np.array(list(days), dtype="datetime64[D]"))
    broken = np.flatnonzero(np.abs(step) > STEP)
    shared = _shared(hour, coin, step, broken)
    later = np.zeros(len(bars), dtype=bool)
    doubtful = np.flatnonzero((np.abs(step) > STEP) | chain.refuted)
    for first, start, end in _windows(hour, coin, doubtful, wanted):
        for place, reason, at_close in _walk(chain, first, end, shared):
            if place >= start and said[place] == "":
                said[place], later[place] = reason, not at_close
    rows = bars.assign(outage=still, suspect=(said != "") & ~later, suspect_later=later)[wanted]
    doubted = np.flatnonzero((said != "") & wanted)
    reasons, values = ([text.split(": ", 1)[part] for text in said[doubted]] for part in (0, 1))
    notes = reject_rows("crypto_bars", hour[doubted], coin[doubted].tolist(), reasons, values, NOTED)
    return CRYPTO_BARS.arrange(rows), notes


@dataclass(frozen=True)
class _Chain:
    """Bars in order of coin and hour; prices as logs, shape (n,).

    `extreme`: whether the close is the bar's high or low; `step`: open over the close before it, 0 where the bar does
    not directly follow another; `follows`: whether it does; `still`: outage; `refuted`, `agreed`: what yardsticks say.
    """

    open: Floats
    close: Floats
    extreme: Flags
    step: Floats
    follows: Flags
    still: Flags
    refuted: Flags
    agreed: Flags


def _against(
    bars: pd.DataFrame, log: dict[str, Floats], yardsticks: Sequence[Yardstick]
) -> tuple[npt.NDArray[np.object_], Flags]:
    """For each bar, how a yardstick refutes it ("" where none does), and whether one bears it out."""
    said = np.full(len(bars), "", dtype=object)
    agreed = np.zeros(len(bars), dtype=bool)
    for yardstick in yardsticks:
        other = bars[["hour", "coin"]].merge(yardstick.rows, on=["hour", "coin"], how="left", validate="one_to_one")
        beside = {name: np.log(other[name].to_numpy(dtype=np.float64)) for name in PRICES}
        known = ~np.isnan(beside["close"])
        fine = known.copy()
        for name in PRICES:
            off = log[name] - beside[name]
            if name in ("open", "close"):
                bad = known & (np.abs(off) > yardstick.close)
            elif yardstick.wick is None:
                continue
            else:
                beyond = off if name == "high" else -off
                bad = known & ((np.abs(off) if yardstick.both_ways else beyond) > yardstick.wick)
            fine &= ~bad
            for place in np.flatnonzero(bad & (said == "")):
                said[place] = (
                    f"off_{yardstick.name}: {name} {np.exp(log[name][place]):.10g}, {yardstick.name} "
                    f"{np.exp(beside[name][place]):.10g}"
                )
        agreed |= fine
    return said, agreed & (said == "")


def _shared(hour: Stamps, coin: npt.NDArray[np.object_], step: Floats, broken: Ints) -> Flags:
    """Which steps a leader other than the coin itself made too, at least half as far, in the same hour."""
    shared = np.zeros(len(hour), dtype=bool)
    leaders = np.flatnonzero(np.isin(coin, np.array(LEADERS, dtype=object)))
    for place in broken:
        beside = leaders[(hour[leaders] == hour[place]) & (coin[leaders] != coin[place])]
        shared[place] = bool((step[beside] * np.sign(step[place]) > np.abs(step[place]) / 2).any())
    return shared


def _windows(
    hour: Stamps, coin: npt.NDArray[np.object_], doubtful: Ints, wanted: Flags
) -> Iterator[tuple[int, int, int]]:
    """Days of a coin that must be walked: (first row of the day before, first row of the day, end).

    Those with a step or a refuted bar on the day or the day before, or a step at the midnight that ends it. Elsewhere
    a walk doubts nothing, so that leaving it out changes no flag.
    """
    day, number = hour.astype("datetime64[D]").astype(np.int64), np.zeros(len(coin), dtype=np.int64)
    number[1:] = np.cumsum(coin[1:] != coin[:-1])
    # Rows ascend by coin and day, and so does this code of both.
    days = number * (int(day.max()) + 3) + day
    at_midnight = doubtful[hour[doubtful] == hour[doubtful].astype("datetime64[D]")]
    codes = np.unique(np.concatenate((days[doubtful], days[doubtful] + 1, days[at_midnight] - 1)))
    for code in codes:
        first, start, end = np.searchsorted(days, (code - 1, code, code + 1)).tolist()
        if start < end and wanted[start]:
            yield first, start, end


def _walk(chain: _Chain, first: int, end: int, shared: Flags) -> Iterator[tuple[int, str, bool]]:
    """Rows first .. end - 1 of one coin in turn, against the last believed close.

    Yields place and reason of each doubted row, and whether it is doubted by what was known when it closed.
    """
    anchor: float | None = None
    pending = 0
    for place in range(first, end):
        if chain.still[place] or chain.refuted[place]:
            continue
        opened, closed = chain.open[place], chain.close[place]
        if anchor is None or chain.agreed[place]:
            anchor, pending = closed, 0
            continue
        ahead = place + 1 < len(chain.open) and chain.follows[place + 1]
        following = chain.open[place + 1] if ahead else closed
        leaves, returns = opened - anchor, following - closed
        shifted = chain.follows[place] and min(abs(leaves), abs(returns)) > STEP and abs(leaves + returns) <= STEP
        # A wrong close stretches its bar: one inside the range that was traded is the better witness of the two.
        nearer = chain.extreme[place] and abs(returns) > STEP and abs(following - anchor) < abs(closed - anchor)
        if not chain.follows[place] or abs(leaves) <= STEP or (shared[place] and not pending):
            at_close = ""
        elif abs(closed - anchor) < abs(leaves) / 2:
            at_close = f"open_contradicted: open {np.exp(opened):.10g}, close before {np.exp(anchor):.10g}"
        elif pending and abs(chain.step[place]) <= STEP and pending >= CONFIRMED:
            at_close = ""
        else:
            at_close = f"unconfirmed_step: open {np.exp(opened):.10g}, last believed close {np.exp(anchor):.10g}"
        if shifted or nearer:
            said = f"close_contradicted: close {np.exp(closed):.10g}, next open {np.exp(following):.10g}"
            yield place, said, at_close != ""
            anchor, pending = following, 0
        elif at_close.startswith("unconfirmed_step"):
            pending = pending + 1 if pending and abs(chain.step[place]) <= STEP else 1
            yield place, at_close, True
        else:
            if at_close:
                yield place, at_close, True
            anchor, pending = closed, 0
