"""Compiled walks over bars: where a trade ends, what funding it paid, which trades leave a coin free.

What belongs here: loops over bars, settlements and trades. What does not: frames, costs and words (`paper`). numba is
imported at module level, so this module is imported only inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Function = TypeVar("Function", bound=Callable[..., object])

OPEN, TARGET, STOP, TIMEOUT = 0, 1, 2, 3
# Intervals of one rhythm differ by less (15 minutes in microseconds); a lost settlement adds an hour or more.
JITTER = 900_000_000


def compiled(function: Function) -> Function:
    """Compile on first call, cached on disk; no rearranged arithmetic (`fastmath`)."""
    return cast("Function", numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@compiled
def walk(
    bars: Floats, entry: Integers, direction: Floats, stop: Floats, target: Floats, timeout: int, patience: int
) -> tuple[Integers, Integers, Floats, Bools, Integers]:
    """End of each trade of one coin.

    Parameters
    ----------
    bars
        open, high, low, close by row, shape (4, n); a bar without a price is NaN in all four and is passed over
    entry
        bar at whose open each trade begins, shape (m,); that bar has a price
    direction, stop, target
        +1 or -1, and distances as ratios of the entry price, shape (m,)
    timeout
        bars a trade is held at most
    patience
        further bars in which a price is waited for; without one the trade ended at its last close

    Returns
    -------
    last bar of the trade, kind of its end, price level of its end (of an open trade the last close), whether it ended
    at the open of that bar, and the bar after which that was known; shape (m,) each
    """
    last, kind = np.empty(entry.size, dtype=np.int64), np.zeros(entry.size, dtype=np.int64)
    level, at_open = np.empty(entry.size), np.zeros(entry.size, dtype=np.bool_)
    known = np.empty(entry.size, dtype=np.int64)
    for k in range(entry.size):
        first, d = entry[k], direction[k]
        end = first + timeout + patience
        price = bars[0, first]
        stop_price, target_price = price * (1.0 - d * stop[k]), price * (1.0 + d * target[k])
        last[k], level[k] = first, price
        for i in range(first, min(bars.shape[1], end)):
            opened, close = bars[0, i], bars[3, i]
            if np.isnan(opened):
                continue
            last[k] = i
            if i >= first + timeout:
                kind[k], level[k], at_open[k] = TIMEOUT, opened, True
                break
            worst, best = (bars[2, i], bars[1, i]) if d > 0 else (bars[1, i], bars[2, i])
            if d * (worst - stop_price) <= 0.0:
                kind[k] = STOP
                at_open[k] = d * (opened - stop_price) <= 0.0
                level[k] = opened if at_open[k] else stop_price
                break
            if d * (best - target_price) >= 0.0:
                kind[k], level[k] = TARGET, target_price
                break
            level[k] = close
            if i == first + timeout - 1:
                kind[k] = TIMEOUT
                break
        known[k] = last[k]
        if kind[k] == OPEN and end <= bars.shape[1]:
            kind[k], known[k] = TIMEOUT, end - 1
    return last, kind, level, at_open, known


@compiled
def funding(
    settled: Integers, cash: Floats, proxy: Bools, first: Integers, until: Integers
) -> tuple[Floats, Integers, Integers]:
    """Sum of `cash` over settlements within [first, until], both included; how many, and how many of them by proxy.

    `settled` ascends; sums run in order of time.
    """
    total, count = np.zeros(first.size), np.zeros(first.size, dtype=np.int64)
    proxies = np.zeros(first.size, dtype=np.int64)
    for k in range(first.size):
        i = np.searchsorted(settled, first[k])
        while i < settled.size and settled[i] <= until[k]:
            total[k] += cash[i]
            count[k] += 1
            proxies[k] += proxy[i]
            i += 1
    return total, count, proxies


@compiled
def funding_known(settled: Integers, lost: Bools, first: Integers, until: Integers, silence: int) -> Bools:
    """Whether settlements are known over each [first, until], by the rhythm of those that came.

    Parameters
    ----------
    settled
        microseconds, ascending, shape (n,)
    lost
        settlements whose value is not known, shape (n,)
    first, until
        holdings, microseconds, shape (m,)
    silence
        microseconds that no interval between settlements is longer than

    Returns
    -------
    False where no settlement is near, one within the holding is lost, or a time without any that reaches into the
    holding is longer than `silence` or than both those beside it; shape (m,). Beside its ends there is only one: what
    is longer than that may be an interval that was lengthened, but only the settlements after it would tell.

    Notes
    -----
    Looked at are settlements from twice `silence` before `first` on and up to `until`, so that later ones change
    nothing. Two equal longer intervals in a row count as lengthened, as in the market tables.
    """
    known = np.zeros(first.size, dtype=np.bool_)
    for k in range(first.size):
        begin = np.searchsorted(settled, first[k] - 2 * silence)
        end = np.searchsorted(settled, until[k], side="right")
        good = begin < end
        # Silence i lies before settlement i; the first and the last are those from the entry, and up to the end.
        for i in range(begin, end + 1):
            start = settled[i - 1] if i > begin else first[k]
            stop = settled[i] if i < end else until[k]
            if i < end and lost[i] and stop >= first[k]:
                good = False
            if stop <= first[k]:
                continue
            before = settled[i - 1] - settled[i - 2] if i - 2 >= begin else 0
            after = settled[i + 1] - settled[i] if i + 1 < end else 0
            # What is longer than any interval is none, and says nothing of the rhythm.
            usual = max(before if before <= silence else 0, after if after <= silence else 0)
            if stop - start > silence or (usual > 0 and stop - start > usual + JITTER):
                good = False
        known[k] = good
    return known


@compiled
def taken_in_turn(group: Integers, entry: Integers, end: Integers, wanted: Bools, free: Integers) -> Bools:
    """Which wanted trades find their group free: those of a group, given by rising entry, one at a time.

    A trade that begins at or after the end of the one before finds it free. `free` holds since when each group is, and
    is brought forward.
    """
    taken = np.zeros(group.size, dtype=np.bool_)
    for k in range(group.size):
        if wanted[k] and entry[k] >= free[group[k]]:
            taken[k] = True
            free[group[k]] = end[k]
    return taken
