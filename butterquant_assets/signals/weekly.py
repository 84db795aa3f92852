"""Means over trades whose luck is shared within a week.

What belongs here: sums by week and bounds from drawing whole weeks. What does not: what is decided from them. Coins
rise and fall together and a trade lasts up to three days, so a week's trades are one piece of evidence.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri, stdtrit

from butterquant_assets.learning.evidence import draw_episodes, expanded_interval

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DRAWS = 1000


def week_codes(entry_at: pd.Series) -> tuple[Integers, int]:
    """Number of each trade's week among those that hold a trade, by time, shape (n,), and how many there are."""
    found, codes = np.unique(entry_at.to_numpy().astype("datetime64[W]"), return_inverse=True)
    return codes.astype(np.int64), len(found)


def weekly_sums(values: Floats, weeks: Integers, count: int, kept: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Sum and number of the kept values of each week, shape (count,) each."""
    sums = np.bincount(weeks[kept], weights=values[kept], minlength=count).astype(np.float64)
    return sums, np.bincount(weeks[kept], minlength=count).astype(np.float64)


def weekly_interval(
    values: Floats, entry_at: pd.Series, *, seed: int, draws: int = DRAWS
) -> tuple[float, float, float]:
    """Mean and its 95 % interval over weeks: NaN without values, infinite bounds from one week."""
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    weeks, count = week_codes(entry_at)
    sums, rows = weekly_sums(values, weeks, count, np.ones(len(values), dtype=np.bool_))
    picks = draw_episodes(count, seed=seed, draws=draws)
    low, high = expanded_interval(sums[picks].sum(axis=1) / rows[picks].sum(axis=1), count)
    return float(values.mean()), low, high


def gain_bounds(
    new: tuple[Floats, Floats], old: tuple[Floats, Floats], *, level: float, seed: int, draws: int = DRAWS
) -> tuple[Floats, Floats]:
    """How much higher the mean of each of several selections is than that of one, and lower bounds that hold together.

    Parameters
    ----------
    new
        sums and numbers by selection and week, shape (m, weeks) each
    old
        those of the selection they are compared with, shape (weeks,) each
    level
        probability with which all bounds hold, one-sided
    seed, draws
        of the bootstrap over whole weeks

    Returns
    -------
    gain and bound, shape (m,) each: NaN where a selection is empty; the bound is minus infinity from fewer than two
    weeks, and equals the gain where nothing changes

    Notes
    -----
    bound = gain - c s, s the bootstrap standard error and c the quantile of the largest studentised deviation over the
    selections (White, *A Reality Check for Data Snooping*, Econometrica 68, 2000; studentised as by Romano and Wolf,
    Econometrica 73, 2005), widened for few weeks by sqrt(k / (k - 1)) and by Student's t over the normal quantile.
    """
    sums, counts = new
    weeks, tried = sums.shape[1], np.flatnonzero((counts.sum(axis=1) > 0) & (old[1].sum() > 0))
    gain, bound = np.full(len(sums), np.nan), np.full(len(sums), np.nan)
    if not tried.size:
        return gain, bound
    base = old[0].sum() / old[1].sum()
    gain[tried] = sums[tried].sum(axis=1) / counts[tried].sum(axis=1) - base
    if weeks < 2:
        bound[tried] = -np.inf
        return gain, bound
    picks = draw_episodes(weeks, seed=seed, draws=draws)
    reference = _ratio(old[0][picks].sum(axis=1), old[1][picks].sum(axis=1), base)
    drawn = np.stack(
        [_ratio(sums[k][picks].sum(axis=1), counts[k][picks].sum(axis=1), base + gain[k]) - reference for k in tried]
    )
    deviation = drawn - gain[tried, None]
    error = np.sqrt((deviation**2).mean(axis=1))
    largest = np.divide(deviation, error[:, None], out=np.zeros_like(deviation), where=error[:, None] > 0).max(axis=0)
    widened = np.sqrt(weeks / (weeks - 1)) * stdtrit(weeks - 1, level) / ndtri(level)
    bound[tried] = gain[tried] - float(np.quantile(largest, level)) * widened * error
    return gain, bound


def _ratio(total: Floats, number: Floats, otherwise: float) -> Floats:
    """Total over number; a draw without trades says nothing and keeps the value of all weeks."""
    return np.asarray(np.divide(total, number, out=np.full(len(total), otherwise), where=number > 0))
