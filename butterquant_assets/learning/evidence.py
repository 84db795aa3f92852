"""How much a figure can be trusted: intervals over episodes.

Rows of one episode saw the same market, so an interval that counts rows as independent is too narrow by far; here whole
episodes are drawn. What belongs here: bootstrap intervals of means, of paired differences and of classification
metrics over clusters of any kind. What does not: what is decided from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr, stdtrit

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning import metrics

Floats = npt.NDArray[np.float64]
Picks = npt.NDArray[np.int64]

CONFIDENCE = 0.95
DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """A mean over rows with its interval over episodes.

    Parameters
    ----------
    mean
        over rows; NaN without rows
    low, high
        bounds; infinite from a single episode, which says nothing about the spread, and NaN without rows
    episodes
        number of episodes behind it
    """

    mean: float
    low: float
    high: float
    episodes: int

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model card; a value that does not exist is None."""
        values = {"mean": self.mean, "low": self.low, "high": self.high}
        finite = {name: value if np.isfinite(value) else None for name, value in values.items()}
        return finite | {"episodes": self.episodes}


def episode_interval(
    values: npt.ArrayLike,
    episode: npt.ArrayLike,
    *,
    seed: int,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Mean over rows with its bootstrap interval over whole episodes.

    Parameters
    ----------
    values
        one a row, shape (n,), any unit; NaN is left out
    episode
        identifier of each row's episode (or of another cluster, such as its month), shape (n,), no missing values
    seed, draws
        of the bootstrap
    confidence
        of the interval, between 0 and 1

    Returns
    -------
    Interval

    Raises
    ------
    ConfigError
        if the confidence or the number of draws makes no sense.
    DataError
        if an episode is missing.

    Notes
    -----
    See `expanded_interval`. Episodes are numbered in order of appearance, so the same rows in another order give
    other draws, and the same interval up to their noise.
    """
    found = np.asarray(values, dtype=np.float64)
    codes = episode_codes(episode, found.size)
    known = ~np.isnan(found)
    if not known.any():
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    found, codes = found[known], pd.factorize(codes[known])[0]
    sums, counts = np.bincount(codes, weights=found), np.bincount(codes)
    picks = draw_episodes(len(counts), seed=seed, draws=draws)
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = expanded_interval(means, len(counts), confidence)
    return Interval(float(found.mean()), low, high, len(counts))


def paired_difference(
    loss_a: npt.ArrayLike,
    loss_b: npt.ArrayLike,
    episode: npt.ArrayLike,
    *,
    seed: int,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Mean of ``loss_a - loss_b`` over the same rows, with its interval over episodes: above 0, b is the better.

    Parameters
    ----------
    loss_a, loss_b
        losses of the same rows, shape (n,), same unit
    episode, seed, draws, confidence
        as for `episode_interval`

    Returns
    -------
    Interval

    Raises
    ------
    DataError
        if a loss is missing or infinite: leaving the row out would let a predictor choose what it is judged on.
    """
    a, b = np.asarray(loss_a, dtype=np.float64), np.asarray(loss_b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"losses have shapes {a.shape} and {b.shape}; expected the same (n,)")
    unusable = ~(np.isfinite(a) & np.isfinite(b))
    if unusable.any():
        raise DataError(
            f"{unusable.sum()} of {a.size} rows have no finite loss, first row {int(np.flatnonzero(unusable)[0])}; "
            "both predictors must be judged on every row"
        )
    return episode_interval(a - b, episode, seed=seed, draws=draws, confidence=confidence)


def metric_intervals(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    episode: npt.ArrayLike,
    *,
    n_classes: int = 4,
    seed: int,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Metrics of `learning.metrics.evaluate` with intervals over episodes.

    Parameters
    ----------
    probabilities, labels
        shape (n, n_classes) and (n,), no missing values
    episode, seed, draws, confidence
        as for `episode_interval`
    n_classes
        number of classes, present or not

    Returns
    -------
    DataFrame
        columns ``metric`` (accuracy, macro_f1, log_loss, brier, ece, in this order), ``value``, ``low``, ``high``; the
        bounds are NaN from a single episode

    Raises
    ------
    DataError
        if there is no row, something is no probability distribution or no label, or an episode is missing.

    Notes
    -----
    Every metric is a function of sums over episodes, so a draw costs one weighted sum and no pass over the rows.
    Resampling adds noise to the calibration error, which cannot fall below 0: its interval lies somewhat high, and is
    to be compared with other intervals of the same kind, never with 0.
    """
    p, y = metrics.check_predictions(probabilities, labels, n_classes)
    codes = episode_codes(episode, y.size)
    count = int(codes.max()) + 1
    per_episode = _sums_by_code(_row_statistics(p, y, n_classes), codes, count)
    value = _metrics_of(per_episode.sum(axis=0, keepdims=True), n_classes)
    weights = _multiplicities(draw_episodes(count, seed=seed, draws=draws), count)
    # einsum rather than a matrix product: the sum's order must not depend on the number of BLAS threads.
    drawn = _metrics_of(np.einsum("de,es->ds", weights, per_episode), n_classes)
    bounds = {name: expanded_interval(drawn[name], count, confidence) for name in metrics.SCALARS}
    table = pd.DataFrame(
        [(name, float(value[name][0]), *bounds[name]) for name in metrics.SCALARS],
        columns=["metric", "value", "low", "high"],
    )
    if count == 1:
        table[["low", "high"]] = np.nan
    return table


def draw_episodes(episodes: int, *, seed: int, draws: int = DRAWS) -> Picks:
    """Numbers of the episodes in each bootstrap draw, shape (draws, episodes), drawn with replacement."""
    if draws < 1:
        raise ConfigError(f"draws is {draws}; it must be 1 or more")
    return np.random.default_rng(seed).integers(0, episodes, size=(draws, episodes))


def expanded_interval(statistics: Floats, episodes: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Expanded percentile interval of a statistic over bootstrap draws of whole episodes.

    Parameters
    ----------
    statistics
        its value in each draw, shape (draws,); a draw in which it does not exist is NaN and left out
    episodes
        number of episodes drawn from
    confidence
        of the interval, between 0 and 1

    Returns
    -------
    low, high
        infinite from a single episode; NaN if the statistic exists in no draw

    Notes
    -----
    Percentile intervals of few clusters are too narrow; the quantile is widened by Student's t and sqrt(k / (k - 1))
    (the expanded percentile interval of T. Hesterberg, *What Teachers Should Know About the Bootstrap*, The American
    Statistician 69, 2015).
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; it must be between 0 and 1")
    if episodes < 2:
        return -np.inf, np.inf
    found = statistics[~np.isnan(statistics)]
    if not found.size:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    widened = float(ndtr(np.sqrt(episodes / (episodes - 1)) * stdtrit(episodes - 1, tail)))
    low, high = np.quantile(found, [widened, 1 - widened])
    return float(low), float(high)


def episode_codes(episode: npt.ArrayLike, rows: int) -> npt.NDArray[np.int64]:
    """Number of each row's episode, 0, 1, ... in order of appearance, shape (rows,).

    Raises
    ------
    DataError
        if an episode is missing.
    """
    identifiers = np.asarray(episode)
    if identifiers.shape != (rows,):
        raise ValueError(f"episode has shape {identifiers.shape}; expected ({rows},)")
    codes, _ = pd.factorize(identifiers)
    missing = int((codes < 0).sum())
    if missing:
        raise DataError(f"{missing} rows have no episode; every sampled day belongs to one")
    return codes.astype(np.int64)


def _row_statistics(p: Floats, y: npt.NDArray[np.int64], n_classes: int) -> Floats:
    """What the metrics are made of, shape (n, 3 + n_classes ** 2 + bins): 1, log-loss, Brier, confusion, gap by bin."""
    rows, predicted = np.arange(y.size), p.argmax(axis=1)
    confusion = np.zeros((y.size, n_classes**2))
    confusion[rows, y * n_classes + predicted] = 1.0
    confidence = p[rows, predicted]
    bucket = np.clip(np.ceil(confidence * metrics.ECE_BINS).astype(np.int64) - 1, 0, metrics.ECE_BINS - 1)
    gaps = np.zeros((y.size, metrics.ECE_BINS))
    gaps[rows, bucket] = confidence - (predicted == y)
    brier = ((p - np.eye(n_classes)[y]) ** 2).sum(axis=1)
    return np.column_stack([np.ones(y.size), metrics.row_log_loss(p, y), brier, confusion, gaps])


def _sums_by_code(statistics: Floats, codes: npt.NDArray[np.int64], count: int) -> Floats:
    columns = [np.bincount(codes, weights=column, minlength=count) for column in statistics.T]
    return np.column_stack(columns)


def _multiplicities(picks: Picks, count: int) -> Floats:
    """How often each draw holds each episode, shape (draws, count)."""
    cells = np.arange(len(picks))[:, None] * count + picks
    return np.bincount(cells.ravel(), minlength=picks.size).reshape(picks.shape).astype(np.float64)


def _metrics_of(sums: Floats, n_classes: int) -> dict[str, Floats]:
    """The metrics from sums of `_row_statistics`, shape (m, s) in, (m,) each out."""
    rows = sums[:, 0]
    matrix = sums[:, 3 : 3 + n_classes**2].reshape(-1, n_classes, n_classes)
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    total = matrix.sum(axis=1) + matrix.sum(axis=2)
    f1 = np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0)
    return {
        "accuracy": hits.sum(axis=1) / rows,
        "macro_f1": f1.mean(axis=1),
        "log_loss": sums[:, 1] / rows,
        "brier": sums[:, 2] / rows,
        "ece": np.abs(sums[:, 3 + n_classes**2 :]).sum(axis=1) / rows,
    }
