"""Compiled trailing median and spread of one series, by one sorted window that is kept up as it moves.

What belongs here: the loops. What does not: what is scored and what a score means (`scaling`, `factors`). Imports
numba at module level, so it is imported only inside the functions that need it.

The window is a sorted array: each hour one value leaves and one enters, and what lies between the two places shifts by
one. The k values nearest to the median are neighbours in it, so the median absolute deviation is found by moving the
first of them from where it was an hour ago. Where it ends does not depend on where it started: a result depends on the
values in the window alone, and a history that begins later gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isnan, nan, tanh
from typing import TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile on first call, cached on disk, holding no lock while it runs; no rearranged arithmetic (`fastmath`)."""
    return cast("Function", numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@compiled
def _place(ordered: Floats, count: int, value: float) -> int:
    """How many of the first `count` values are smaller; without branches, since none of them could be predicted."""
    if count == 0:
        return 0
    base, size = 0, count
    while size > 1:
        half = size // 2
        base += half * (ordered[base + half - 1] < value)
        size -= half
    return base + (1 if ordered[base] < value else 0)


@compiled
def _shift_up(part: Floats, value: float) -> None:
    """Put a value first and move all others one place up; the last one drops out."""
    # Carrying the value that was overwritten, instead of moving from the end, is what the compiler makes fast.
    carried = value
    for i in range(part.size):
        overwritten = part[i]
        part[i] = carried
        carried = overwritten


@compiled
def _shift_down(part: Floats, value: float) -> None:
    """Put a value last and move all others one place down; the first one drops out."""
    for i in range(part.size - 1):
        part[i] = part[i + 1]
    part[part.size - 1] = value


@compiled
def _replace(ordered: Floats, count: int, old: float, new: float) -> None:
    """Take one value out and put another in, moving only what lies between them."""
    leaves, enters = _place(ordered, count, old), _place(ordered, count, new)
    if enters > leaves:
        _shift_down(ordered[leaves:enters], new)
    else:
        _shift_up(ordered[enters : leaves + 1], new)


@compiled
def _nearest(ordered: Floats, count: int, k: int, median: float, first: int) -> int:
    """First of the k neighbours whose right end lies at least as far from the median as their left end.

    The distance of the right end grows with the place, that of the left end falls: `first` is only where to start.
    """
    first = min(first, count - k)
    while first > 0 and ordered[first + k - 2] - median >= median - ordered[first - 1]:
        first -= 1
    while ordered[first + k - 1] - median < median - ordered[first]:
        first += 1
    return first


@compiled
def _median_deviation(ordered: Floats, count: int, k: int, median: float, first: int) -> float:
    """Median absolute deviation, `first` as found by `_nearest` for k = (count + 1) // 2."""
    kth: float = ordered[first + k - 1] - median
    # One place further left the left end is the farther one.
    if first > 0 and median - ordered[first - 1] < kth:
        first -= 1
        kth = median - ordered[first]
    if count % 2:
        return kth
    following = inf
    if first > 0:
        following = median - ordered[first - 1]
    if first + k < count:
        following = min(following, ordered[first + k] - median)
    # Among equal distances a nearer value may lie outside of these k: then the following one equals the k-th.
    return (kth + max(kth, following)) / 2.0


@compiled
def _mean_deviation(ordered: Floats, count: int, median: float) -> float:
    """Mean absolute deviation from the median, summed from the outside in; the values that equal it add nothing."""
    total: float = 0.0
    i = 0
    while i < count and ordered[i] < median:
        total += median - ordered[i]
        i += 1
    i = count - 1
    while i >= 0 and ordered[i] > median:
        total += ordered[i] - median
        i -= 1
    mean: float = total / count
    return mean


@compiled
def trailing_spread(
    values: Floats, window: int, minimum: int, to_sigma: float, mean_to_sigma: float, centre: Floats, scale: Floats
) -> None:
    """Write median and scaled deviation of the `window` values before each one; NaN where fewer than `minimum`."""
    ordered = np.empty(window + 1)
    count, first = 0, 0
    for t in range(values.size):
        # Adding zero turns -0.0 into 0.0: which of the two equals stands first must not depend on the past.
        new = values[t - 1] + 0.0 if t > 0 else nan
        old = values[t - window - 1] + 0.0 if t > window else nan
        if new == old and count >= minimum:
            # Funding repeats itself: the same values are in the window as an hour ago.
            centre[t], scale[t] = centre[t - 1], scale[t - 1]
            continue
        if not isnan(new) and not isnan(old):
            _replace(ordered, count, old, new)
        elif not isnan(new):
            _shift_up(ordered[_place(ordered, count, new) : count + 1], new)
            count += 1
        elif not isnan(old):
            _shift_down(ordered[_place(ordered, count, old) : count], nan)
            count -= 1
        if count < minimum:
            centre[t], scale[t] = nan, nan
            continue
        median = ordered[count // 2]
        if count % 2 == 0:
            median = (ordered[count // 2 - 1] + median) / 2.0
        k = (count + 1) // 2
        first = _nearest(ordered, count, k, median, first)
        spread = to_sigma * _median_deviation(ordered, count, k, median, first)
        centre[t] = median
        scale[t] = spread if spread > 0.0 else mean_to_sigma * _mean_deviation(ordered, count, median)


@compiled
def squash(values: Floats, centre: Floats, scale: Floats, limit: float, scores: Floats) -> None:
    """Write 100 tanh(z / 2), within the limit; 0 where nothing ever deviated, NaN where something is missing."""
    for t in range(values.size):
        if isnan(values[t]) or isnan(centre[t]):
            scores[t] = nan
        elif scale[t] == 0.0:
            scores[t] = 0.0
        else:
            score = 100.0 * tanh((values[t] - centre[t]) / scale[t] / 2.0)
            scores[t] = min(max(score, -limit), limit)
