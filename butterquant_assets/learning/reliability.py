"""Whether probabilities mean what they say: reliability by class, the parts of the Brier score, what chance explains.

What belongs here: measures of calibration and the yardstick for them. What does not: changing probabilities
(`learning.calibration`) and drawing them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.learning import metrics
from butterquant_assets.learning.evidence import draw_episodes, episode_codes

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

DRAWS = 1000
QUANTILE = 0.95
UNIFORMS_PER_CHUNK = 1_000_000


@dataclass(frozen=True)
class CalibrationGuarantee:
    """Whether calibrated probabilities keep what calibration promises, on rows they were not fitted on.

    Parameters
    ----------
    ece, ece_uncalibrated
        expected calibration error after and before calibration
    ece_limit
        what a perfectly calibrated predictor of the same confidence stays below with the given probability
    log_loss, log_loss_uncalibrated
        nats a row
    rows
        number of rows
    calibrated
        whether ``ece`` is at most ``ece_limit``
    no_worse
        whether ``log_loss`` is at most ``log_loss_uncalibrated``
    """

    ece: float
    ece_uncalibrated: float
    ece_limit: float
    log_loss: float
    log_loss_uncalibrated: float
    rows: int
    calibrated: bool
    no_worse: bool

    @property
    def holds(self) -> bool:
        """Both promises are kept."""
        return self.calibrated and self.no_worse

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model card."""
        return asdict(self) | {"holds": self.holds}


def calibration_guarantee(
    calibrated: npt.ArrayLike,
    uncalibrated: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    seed: int,
    n_classes: int = 4,
    draws: int = DRAWS,
    quantile: float = QUANTILE,
    bins: int = metrics.ECE_BINS,
) -> CalibrationGuarantee:
    """Judge calibrated probabilities of held-out rows by chance and by what they were before.

    Parameters
    ----------
    calibrated, uncalibrated
        of the same rows, shape (n, n_classes); every row calibrated by a calibrator that had not seen it
    labels
        outcomes, shape (n,)
    seed, draws, quantile, bins
        as for `ece_under_perfect_calibration`
    n_classes
        number of classes, present or not

    Returns
    -------
    CalibrationGuarantee

    Raises
    ------
    DataError
        if there is no row, something is no probability distribution or no label.
    """
    p, y = metrics.check_predictions(calibrated, labels, n_classes)
    raw, _ = metrics.check_predictions(uncalibrated, labels, n_classes)
    ece = metrics.expected_calibration_error(p, y, bins)
    limit = ece_under_perfect_calibration(p, seed=seed, draws=draws, quantile=quantile, bins=bins)
    loss, raw_loss = (float(metrics.row_log_loss(values, y).mean()) for values in (p, raw))
    raw_ece = metrics.expected_calibration_error(raw, y, bins)
    return CalibrationGuarantee(ece, raw_ece, limit, loss, raw_loss, y.size, ece <= limit, loss <= raw_loss)


def ece_under_perfect_calibration(
    probabilities: npt.ArrayLike,
    *,
    seed: int,
    draws: int = DRAWS,
    quantile: float = QUANTILE,
    bins: int = metrics.ECE_BINS,
) -> float:
    """What the expected calibration error would be by chance alone if the probabilities were exactly right.

    Labels are drawn from the probabilities themselves, and the error of each draw is measured as in
    `metrics.expected_calibration_error`: it is never 0, and the larger, the fewer the rows.

    Parameters
    ----------
    probabilities
        shape (n, k), rows sum to 1
    seed
        of the draws
    draws
        number of simulated label sets, at least 1
    quantile
        of the simulated errors, within 0 .. 1
    bins
        number of equal-width bins on (0, 1], closed on the right

    Returns
    -------
    float in 0 .. 1

    Raises
    ------
    ConfigError
        if a number makes no sense.
    DataError
        if there is no row, or a row is no probability distribution.

    Notes
    -----
    Labels are drawn independently. Rows that share a market vary together, so on these the limit is too low rather
    than too high: a predictor that stays below it is calibrated, one slightly above it may be. Source: consistency
    resampling, Broecker and Smith, *Increasing the Reliability of Reliability Diagrams*, Weather and Forecasting 22,
    2007; for this error Vaicenavicius et al., *Evaluating model calibration in classification*, AISTATS 2019.
    """
    if draws < 1 or not 0 <= quantile <= 1:
        raise ConfigError(f"draws {draws} must be at least 1, and quantile {quantile} within 0 .. 1")
    given = np.asarray(probabilities, dtype=np.float64)
    classes = given.shape[1] if given.ndim == 2 else 0
    p, _ = metrics.check_predictions(given, np.zeros(len(given), dtype=np.int64), classes)
    # Only whether the most probable class comes true enters the error, and it does with its own probability.
    confidence = np.sort(p.max(axis=1))
    bucket = _bins_of(confidence, bins)
    starts = np.flatnonzero(np.diff(bucket, prepend=-1))
    expected = np.add.reduceat(confidence, starts)
    random = np.random.default_rng(seed)
    chunk = max(1, UNIFORMS_PER_CHUNK // confidence.size)
    errors = np.empty(draws)
    for first in range(0, draws, chunk):
        correct = random.random((min(chunk, draws - first), confidence.size)) < confidence
        hits = np.add.reduceat(correct, starts, axis=1, dtype=np.int64)
        errors[first : first + chunk] = np.abs(expected - hits).sum(axis=1) / confidence.size
    return float(np.quantile(errors, quantile))


def ece_by_chance_in_episodes(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    episode: npt.ArrayLike,
    *,
    seed: int,
    draws: int = DRAWS,
    quantile: float = QUANTILE,
    bins: int = metrics.ECE_BINS,
) -> float:
    """What the calibration error stays below by chance alone, rows of one episode sharing their luck.

    `ece_under_perfect_calibration` draws every row for itself. Rows of one episode rise and fall together, so even
    true probabilities miss by more than that. Here each episode's misses, taken together, are given a random sign:
    without a systematic fault either sign was as likely.

    Parameters
    ----------
    probabilities, labels
        shape (n, k) and (n,)
    episode
        of each row, shape (n,)
    seed, draws, quantile, bins
        as for `ece_under_perfect_calibration`

    Returns
    -------
    float in 0 .. 1

    Notes
    -----
    The wild cluster bootstrap with Rademacher weights (Cameron, Gelbach, Miller, *Bootstrap-based improvements for
    inference with clustered errors*, Review of Economics and Statistics 90, 2008).
    """
    p, y = metrics.check_predictions(probabilities, labels, np.asarray(probabilities).shape[1])
    codes = episode_codes(episode, y.size)
    confidence = p.max(axis=1)
    misses = confidence - (p.argmax(axis=1) == y)
    bucket = _bins_of(confidence, bins)
    count = int(codes.max()) + 1
    sums = np.bincount(codes * bins + bucket, weights=misses, minlength=count * bins).reshape(count, bins)
    signs = np.random.default_rng(seed).integers(0, 2, size=(draws, count)) * 2.0 - 1.0
    # einsum rather than a matrix product: the sum's order must not depend on the number of BLAS threads.
    drawn = np.abs(np.einsum("de,eb->db", signs, sums)).sum(axis=1) / y.size
    return float(np.quantile(drawn, quantile))


def ece_difference_error(
    probabilities: npt.ArrayLike,
    rival: npt.ArrayLike,
    labels: npt.ArrayLike,
    episode: npt.ArrayLike,
    *,
    seed: int,
    draws: int = DRAWS,
) -> float:
    """Standard error of the difference between two calibration errors on the same rows, over episodes.

    Parameters
    ----------
    probabilities, rival
        shape (n, k) each
    labels, episode
        shape (n,)
    seed, draws
        of the bootstrap over whole episodes

    Returns
    -------
    float, 0 from a single episode
    """
    codes = episode_codes(episode, np.asarray(labels).size)
    count = int(codes.max()) + 1
    picks = draw_episodes(count, seed=seed, draws=draws)
    drawn = []
    for given in (probabilities, rival):
        p, y = metrics.check_predictions(given, labels, np.asarray(given).shape[1])
        confidence = p.max(axis=1)
        bucket = _bins_of(confidence, metrics.ECE_BINS)
        misses = confidence - (p.argmax(axis=1) == y)
        cells = codes * metrics.ECE_BINS + bucket
        sums = np.bincount(cells, weights=misses, minlength=count * metrics.ECE_BINS).reshape(count, -1)
        rows = np.bincount(codes, minlength=count)
        drawn.append(np.abs(sums[picks].sum(axis=1)).sum(axis=1) / rows[picks].sum(axis=1))
    return float((drawn[0] - drawn[1]).std())


def reliability_table(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, n_classes: int = 4, bins: int = metrics.ECE_BINS
) -> pd.DataFrame:
    """Predicted probability against observed frequency, class by class and bin by bin.

    Parameters
    ----------
    probabilities, labels
        shapes (n, n_classes) and (n,)
    n_classes
        number of classes, present or not
    bins
        number of equal-width bins on (0, 1], closed on the right; 0 belongs to the first

    Returns
    -------
    DataFrame
        ``n_classes * bins`` rows: ``class``, ``bin`` (0 .. bins - 1), ``lower``, ``upper``, ``count``,
        ``mean_predicted`` and ``observed`` (NaN in an empty bin)

    Raises
    ------
    DataError
        if there is no row, something is no probability distribution or no label.
    """
    p, y = metrics.check_predictions(probabilities, labels, n_classes)
    tables = []
    for k in range(n_classes):
        count, predicted, observed = _bin_means(p[:, k], y == k, bins)
        edges = np.arange(bins + 1) / bins
        columns = {"lower": edges[:-1], "upper": edges[1:], "count": count}
        columns |= {"mean_predicted": predicted, "observed": observed}
        tables.append(pd.DataFrame({"class": k, "bin": np.arange(bins), **columns}))
    return pd.concat(tables, ignore_index=True)


def brier_decomposition(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, n_classes: int = 4, bins: int = metrics.ECE_BINS
) -> dict[str, float]:
    """The Brier score in parts: ``brier = reliability - resolution + uncertainty + within_bin``.

    Parameters
    ----------
    probabilities, labels
        shapes (n, n_classes) and (n,)
    n_classes
        number of classes, present or not
    bins
        number of equal-width bins on (0, 1] of each class's probability

    Returns
    -------
    dict
        each summed over classes: ``brier``, 0 .. 2; ``reliability``, the mean squared gap between predicted and
        observed (0 is best); ``resolution``, how far the bins' frequencies lie from the overall one (more is better);
        ``uncertainty``, the score of the overall frequencies; ``within_bin``, variance of the predictions within bins
        minus twice their covariance with the outcomes (0 if every bin holds one value; negative if predictions tell
        outcomes apart within a bin)

    Raises
    ------
    DataError
        if there is no row, something is no probability distribution or no label.

    Notes
    -----
    Sources: Murphy, *A New Vector Partition of the Probability Score*, Journal of Applied Meteorology 12, 1973;
    Stephenson, Coelho, Jolliffe, *Two Extra Components in the Brier Score Decomposition*, Weather and Forecasting 23,
    2008, equation 9.
    """
    p, y = metrics.check_predictions(probabilities, labels, n_classes)
    parts = dict.fromkeys(("brier", "reliability", "resolution", "uncertainty", "within_bin"), 0.0)
    for k in range(n_classes):
        hits = (y == k).astype(np.float64)
        count, predicted, observed = _bin_means(p[:, k], y == k, bins)
        filled = count > 0
        weight, gap = count[filled] / y.size, predicted[filled] - observed[filled]
        bucket, overall = _bins_of(p[:, k], bins), hits.mean()
        spread, surprise = p[:, k] - predicted[bucket], hits - observed[bucket]
        parts["brier"] += float(((p[:, k] - hits) ** 2).mean())
        parts["reliability"] += float((weight * gap**2).sum())
        parts["resolution"] += float((weight * (observed[filled] - overall) ** 2).sum())
        parts["uncertainty"] += float(overall * (1 - overall))
        parts["within_bin"] += float((spread**2 - 2 * spread * surprise).mean())
    return parts


def _bins_of(values: Floats, bins: int) -> Labels:
    """Number of the bin of each value, as `metrics.expected_calibration_error` counts them."""
    if bins < 1:
        raise ConfigError(f"bins is {bins}; it must be 1 or more")
    return np.clip(np.ceil(values * bins).astype(np.int64) - 1, 0, bins - 1)


def _bin_means(values: Floats, hits: npt.NDArray[np.bool_], bins: int) -> tuple[Labels, Floats, Floats]:
    """Rows, mean value and share of hits of each bin; NaN for the means of an empty one."""
    bucket = _bins_of(values, bins)
    count = np.bincount(bucket, minlength=bins).astype(np.int64)
    sums = [np.bincount(bucket, weights=weights, minlength=bins) for weights in (values, hits)]
    predicted, observed = (np.divide(total, count, out=np.full(bins, np.nan), where=count > 0) for total in sums)
    return count, predicted, observed
