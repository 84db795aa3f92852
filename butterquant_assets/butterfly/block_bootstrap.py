"""Means of overlapping trades with intervals over blocks of calendar months.

What belongs here: resampling whole, consecutive months. Trades are held for up to 40 days, so those entered in one
month share the market with those of the next; drawing single trades, or single months, would give too narrow an
interval. What does not: clusters without order (`learning.evidence`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.learning.evidence import DRAWS, expanded_interval

Floats = npt.NDArray[np.float64]
Months = npt.NDArray[np.int64]

BLOCK_MONTHS = 2


@dataclass(frozen=True)
class BlockInterval:
    """A mean, or a difference of means, with its 95 % interval over blocks of months.

    Parameters
    ----------
    value
        NaN without rows
    low, high
        infinite where fewer than two blocks say nothing about the spread, NaN without rows
    rows, months
        trades, and calendar months in which they were entered, behind it
    """

    value: float
    low: float
    high: float
    rows: int
    months: int


def month_numbers(sessions: npt.ArrayLike) -> Months:
    """Calendar month of each date, counted from 1970-01, shape (n,)."""
    return np.asarray(sessions).astype("datetime64[M]").astype(np.int64)


def block_picks(months: int, *, block: int, seed: int, draws: int = DRAWS) -> Months:
    """Numbers of the months in each draw of the circular block bootstrap, shape (draws, months).

    Blocks of `block` consecutive months start anywhere and wrap around at the end (Politis and Romano, *A Circular
    Block-Resampling Procedure for Stationary Data*, 1992); the last block of a draw is cut to fit. With blocks of one
    month this is `learning.evidence.draw_episodes`.

    Raises
    ------
    ConfigError
        if `block` or `draws` is below 1.
    """
    if block < 1 or draws < 1:
        raise ConfigError(f"block_months is {block} and draws {draws}; both must be 1 or more")
    starts = np.random.default_rng(seed).integers(0, months, size=(draws, -(-months // block)))
    picks = (starts[:, :, None] + np.arange(block)) % months
    return picks.reshape(draws, -1)[:, :months]


def mean_over_months(
    values: npt.ArrayLike, month: npt.ArrayLike, *, seed: int, draws: int = DRAWS, block: int = BLOCK_MONTHS
) -> BlockInterval:
    """Mean over trades with its interval over blocks of months.

    Parameters
    ----------
    values
        one a trade, shape (n,); NaN is left out
    month
        of each trade as `month_numbers` gives it, shape (n,); months without a trade do not count
    seed, draws, block
        of the bootstrap; `block` in months

    Returns
    -------
    BlockInterval

    Notes
    -----
    The expanded percentile interval of `learning.evidence`, with blocks for clusters.
    """
    found, codes = _known(values, month)
    if not found.size:
        return BlockInterval(np.nan, np.nan, np.nan, 0, 0)
    present = np.unique(codes)
    sums, counts = _by_month(found, codes, present)
    picks = block_picks(len(present), block=block, seed=seed, draws=draws)
    low, high = expanded_interval(_means(sums, counts, picks), -(-len(present) // block))
    return BlockInterval(float(found.mean()), low, high, len(found), len(present))


def difference_over_months(
    ours: npt.ArrayLike,
    our_month: npt.ArrayLike,
    theirs: npt.ArrayLike,
    their_month: npt.ArrayLike,
    *,
    seed: int,
    draws: int = DRAWS,
    block: int = BLOCK_MONTHS,
) -> BlockInterval:
    """Mean of `ours` minus mean of `theirs`, both drawn by the same months.

    Parameters
    ----------
    ours, theirs
        one a trade, shapes (n,) and (m,); NaN is left out
    our_month, their_month
        as for `mean_over_months`
    seed, draws, block
        of the bootstrap; a draw in which a side has no trade is left out

    Returns
    -------
    BlockInterval
        rows of both sides together; NaN where one side has none
    """
    sides = [_known(ours, our_month), _known(theirs, their_month)]
    rows = sum(len(values) for values, _ in sides)
    present = np.unique(np.concatenate([codes for _, codes in sides]))
    if not all(len(values) for values, _ in sides):
        return BlockInterval(np.nan, np.nan, np.nan, rows, len(present))
    picks = block_picks(len(present), block=block, seed=seed, draws=draws)
    drawn = [_means(*_by_month(values, codes, present), picks) for values, codes in sides]
    low, high = expanded_interval(drawn[0] - drawn[1], -(-len(present) // block))
    return BlockInterval(float(sides[0][0].mean() - sides[1][0].mean()), low, high, rows, len(present))


def _known(values: npt.ArrayLike, month: npt.ArrayLike) -> tuple[Floats, Months]:
    found, codes = np.asarray(values, dtype=np.float64), np.asarray(month, dtype=np.int64)
    if found.shape != codes.shape:
        raise ValueError(f"values and months have shapes {found.shape} and {codes.shape}; expected the same (n,)")
    keep = ~np.isnan(found)
    return found[keep], codes[keep]


def _by_month(values: Floats, codes: Months, present: Months) -> tuple[Floats, Floats]:
    """Sum and count of each month in `present`, also of those without a value."""
    place, size = np.searchsorted(present, codes), len(present)
    sums: Any = np.bincount(place, weights=values, minlength=size)
    return sums, np.bincount(place, minlength=size).astype(np.float64)


def _means(sums: Floats, counts: Floats, picks: Months) -> Floats:
    total, count = sums[picks].sum(axis=1), counts[picks].sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(picks), np.nan), where=count > 0))
