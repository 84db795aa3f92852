"""Calibration error of one probability, and how much of it chance explains.

What belongs here: the error over bins of the probability itself. What does not: that of the most probable class
(`learning.reliability`), which with two classes folds p and 1 - p into one bin: a miss at .42 would cancel the same
miss at .58.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from butterquant_assets.learning.evidence import episode_codes
from butterquant_assets.learning.metrics import ECE_BINS
from butterquant_assets.learning.reliability import DRAWS, QUANTILE, UNIFORMS_PER_CHUNK

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def target_error(p: Floats, hit: Labels) -> float:
    """Mean gap between predicted and observed over ten equal-width bins of p, weighted by rows, 0 .. 1.

    Parameters
    ----------
    p, hit
        predicted probability and whether it came (0, 1), shape (n,) each, n at least 1
    """
    return float(np.abs(np.bincount(_bins(p), weights=p - hit)).sum() / p.size)


def error_by_chance(p: Floats, *, seed: int) -> float:
    """What `target_error` stays below by chance, at 95 %, if every probability is right and every row independent.

    As `learning.reliability.ece_under_perfect_calibration`, where the source is named.
    """
    p = np.sort(p)
    starts = np.flatnonzero(np.diff(_bins(p), prepend=-1))
    expected = np.add.reduceat(p, starts)
    random, chunk, errors = np.random.default_rng(seed), max(1, UNIFORMS_PER_CHUNK // p.size), []
    for first in range(0, DRAWS, chunk):
        drawn = random.random((min(chunk, DRAWS - first), p.size)) < p
        hits = np.add.reduceat(drawn, starts, axis=1, dtype=np.int64)
        errors.append(np.abs(expected - hits).sum(axis=1) / p.size)
    return float(np.quantile(np.concatenate(errors), QUANTILE))


def error_by_chance_in_weeks(p: Floats, hit: Labels, weeks: Labels, *, seed: int) -> float:
    """What `target_error` stays below by chance, at 95 %, if the rows of a week share their luck.

    As `learning.reliability.ece_by_chance_in_episodes`, where the source is named.
    """
    codes = episode_codes(weeks, p.size)
    sums = np.zeros((int(codes.max()) + 1, ECE_BINS))
    np.add.at(sums, (codes, _bins(p)), p - hit)
    signs = np.random.default_rng(seed).integers(0, 2, size=(DRAWS, len(sums))) * 2.0 - 1.0
    # einsum rather than a matrix product: the sum's order must not depend on the number of BLAS threads.
    drawn = np.abs(np.einsum("de,eb->db", signs, sums)).sum(axis=1) / p.size
    return float(np.quantile(drawn, QUANTILE))


def _bins(p: Floats) -> Labels:
    """Bin of each probability, closed on the right, as `learning.reliability.reliability_table` counts them."""
    return np.clip(np.ceil(p * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
