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
    """Whether settlements are known over each [first, until]: no silence is longer than `silence`, and none is lost.

    Looked at are those from `silence` before `first` on and up to `until`, so that later ones change nothing.
    """
    known = np.zeros(first.size, dtype=np.bool_)
    for k in range(first.size):
        i = np.searchsorted(settled, first[k] - silence)
        before, good = first[k], i < settled.size and settled[i] <= until[k]
        while good and i < settled.size and settled[i] <= until[k]:
            good = settled[i] - before <= silence and not (lost[i] and settled[i] >= first[k])
            before = settled[i]
            i += 1
        known[k] = good and until[k] - before <= silence
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
