"""The numbers each calibration method learns: temperature, Platt's sigmoid, isotonic regression, Venn-Abers.

What belongs here: from predicted probabilities and outcomes to the tables of one method. What does not: what the tables
mean for a new prediction and which method is used (`learning.calibration`).

All but the temperature are fitted class by class, one against the rest. A class that occurs in no row, or in all of
them, shows nothing about the shape of its curve: rows of one episode repeat each other, so 300 rows without it are no
evidence for 1 in 302. Such a class keeps its probabilities, exactly or as closely as the form of the table can hold.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Tables = dict[str, Floats]

# Probabilities reach the tables in float32 when a model is served; nearer to 1 than this they would become 1.
CLIP = 1e-7
TEMPERATURE_BOUNDS = (0.1, 10.0)
MAXIMUM_THRESHOLDS = 256


def clipped(probabilities: Floats) -> Floats:
    """Probabilities bounded to [1e-7, 1 - 1e-7], where their log and log-odds are finite in float32."""
    bounded: Floats = np.clip(probabilities, CLIP, 1 - CLIP)
    return bounded


def log_odds(probabilities: Floats) -> Floats:
    """log(p / (1 - p)) of the clipped probabilities."""
    p = clipped(probabilities)
    odds: Floats = np.log(p) - np.log1p(-p)
    return odds


def temperature_tables(probabilities: Floats, labels: Labels) -> Tables:
    """The temperature T that minimises the log-loss of softmax(log p / T).

    Parameters
    ----------
    probabilities, labels
        shapes (n, k) and (n,), n at least 1

    Returns
    -------
    dict
        ``temperature``, shape (1,), within 0.1 .. 10 (rows predicted without an error have no finite optimum), and 1
        where every row is uniform, so that no temperature changes anything

    Notes
    -----
    The loss is convex in 1 / T, so its slope has one root. Source: Guo, Pleiss, Sun, Weinberger, *On Calibration of
    Modern Neural Networks*, ICML 2017, section 4.2.
    """
    from scipy.optimize import brentq

    logits = np.log(clipped(probabilities))
    logits -= logits.max(axis=1, keepdims=True)
    if logits.min() > -1e-12:
        return {"temperature": np.ones(1)}
    observed = logits[np.arange(labels.size), labels].mean()

    def slope(temperature: float) -> float:
        weights = np.exp(logits / temperature)
        return float(((weights * logits).sum(axis=1) / weights.sum(axis=1)).mean() - observed)

    low, high = TEMPERATURE_BOUNDS
    if slope(low) <= 0:
        return {"temperature": np.array([low])}
    if slope(high) >= 0:
        return {"temperature": np.array([high])}
    return {"temperature": np.array([brentq(slope, low, high, xtol=1e-12, rtol=1e-12)])}


def sigmoid_tables(probabilities: Floats, labels: Labels) -> Tables:
    """Slope and intercept of a logistic regression on the log-odds of each class against the rest.

    Parameters
    ----------
    probabilities, labels
        shapes (n, k) and (n,), n at least 1

    Returns
    -------
    dict
        ``slope`` and ``intercept``, shape (k,); 1 and 0 for a class that cannot be calibrated

    Notes
    -----
    Targets are smoothed to (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), which keeps both finite on separable rows. Sources:
    Platt, *Probabilistic Outputs for Support Vector Machines* (1999), section 2.2; on log-odds it is the logistic
    calibration of Kull, Silva Filho, Flach, *Beyond sigmoids* (2017), section 2.2.
    """
    slope, intercept = np.ones(probabilities.shape[1]), np.zeros(probabilities.shape[1])
    scores = log_odds(probabilities)
    for k in _calibratable(probabilities, labels):
        slope[k], intercept[k] = _platt(scores[:, k], labels == k)
    return {"slope": slope, "intercept": intercept}


def isotonic_tables(probabilities: Floats, labels: Labels) -> Tables:
    """Knots and values of the isotonic regression of each class against the rest.

    Parameters
    ----------
    probabilities, labels
        shapes (n, k) and (n,), n at least 1

    Returns
    -------
    dict
        ``knots`` and ``values``, shape (k, m), rows padded by their last entry; values lie within
        [1 / (n + 2), 1 - 1 / (n + 2)], since no finite sample shows certainty. A class that cannot be calibrated gets
        the identity between these bounds.

    Notes
    -----
    Equal scores are pooled; scores are rounded to float32, in which they are served, so that distinct knots stay
    distinct. Source: Zadrozny, Elkan, *Transforming classifier scores into accurate multiclass probability estimates*,
    KDD 2002.
    """
    from scipy.optimize import isotonic_regression

    bound = 1.0 / (labels.size + 2)
    ends = np.array([bound, 1 - bound])
    curves = [(ends, ends)] * probabilities.shape[1]
    scores = _float32_scores(probabilities)
    for k in _calibratable(probabilities, labels):
        knots, counts, hits = _pooled(scores[:, k], labels == k)
        values = isotonic_regression(hits / counts, weights=counts).x
        flat = np.zeros(knots.size, dtype=np.bool_)
        flat[1:-1] = (values[1:-1] == values[:-2]) & (values[1:-1] == values[2:])
        curves[k] = (knots[~flat], np.clip(values[~flat], bound, 1 - bound))
    return {"knots": _padded([x for x, _ in curves]), "values": _padded([y for _, y in curves])}


def venn_abers_tables(probabilities: Floats, labels: Labels) -> Tables:
    """Thresholds and values of the inductive Venn-Abers predictor of each class against the rest.

    Parameters
    ----------
    probabilities, labels
        shapes (n, k) and (n,), n at least 1

    Returns
    -------
    dict
        ``thresholds``, shape (k, m) with m at most 256, and ``values``, shape (k, m + 1), rows padded by their last
        entry: a score at or above j thresholds gets value j, which is p1 / (1 - p0 + p1). A class that cannot be
        calibrated gets the mean score of each cell.

    Notes
    -----
    The score is the number of the cell it falls into. On up to 257 distinct scores every score has its own cell; on
    more, cells hold about equally many rows. p0 and p1 are exact on that grid: the isotonic regression of the rows and
    the new one with label 0 resp. 1, at the new one. Thresholds lie halfway between scores, so that rounding a score
    to float32 does not move it to another cell. Sources: Vovk, Petej, *Venn-Abers predictors*, UAI 2014; Vovk, Petej,
    Fedorova, *Large-scale probabilistic predictors with and without guarantees of validity*, NIPS 2015, algorithms 1
    and 2, and section 4 for the merged probability (log loss).
    """
    calibratable = set(_calibratable(probabilities, labels))
    scores = _float32_scores(probabilities)
    rows: list[tuple[Floats, Floats]] = []
    for k in range(probabilities.shape[1]):
        thresholds = _thresholds(scores[:, k])
        cell = np.searchsorted(thresholds, scores[:, k], side="right")
        counts = np.bincount(cell)
        if k in calibratable:
            values = _venn_abers(counts, np.bincount(cell, weights=labels == k).astype(np.int64))
        else:
            values = np.bincount(cell, weights=scores[:, k]) / counts
        if not thresholds.size:  # one score only: a threshold that no clipped probability reaches
            thresholds, values = np.ones(1), np.repeat(values, 2)
        rows.append((thresholds, values))
    return {"thresholds": _padded([x for x, _ in rows]), "values": _padded([y for _, y in rows])}


FITS: dict[str, Callable[[Floats, Labels], Tables]] = {
    "temperature": temperature_tables,
    "sigmoid": sigmoid_tables,
    "isotonic": isotonic_tables,
    "venn_abers": venn_abers_tables,
}


def _calibratable(probabilities: Floats, labels: Labels) -> list[int]:
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    return [int(k) for k in np.flatnonzero((counts > 0) & (counts < labels.size))]


def _float32_scores(probabilities: Floats) -> Floats:
    scores: Floats = clipped(probabilities).astype(np.float32).astype(np.float64)
    return scores


def _platt(scores: Floats, hits: npt.NDArray[np.bool_]) -> tuple[float, float]:
    from scipy.optimize import minimize
    from scipy.special import expit

    positive = int(hits.sum())
    negative = hits.size - positive
    target = np.where(hits, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss_and_gradient(parameters: Floats) -> tuple[float, Floats]:
        logit = parameters[0] * scores + parameters[1]
        excess = expit(logit) - target
        loss = (np.logaddexp(0, logit) - target * logit).mean()
        return float(loss), np.array([(excess * scores).mean(), excess.mean()])

    def curvature(parameters: Floats) -> Floats:
        p = expit(parameters[0] * scores + parameters[1])
        weight = p * (1 - p)
        cross = (weight * scores).mean()
        return np.array([[(weight * scores**2).mean(), cross], [cross, weight.mean()]])

    # Platt's own start: the slope of no information, the intercept of the smoothed frequency.
    start = np.array([0.0, np.log((positive + 1) / (negative + 1))])
    found = minimize(loss_and_gradient, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-10})
    return float(found.x[0]), float(found.x[1])


def _pooled(scores: Floats, hits: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Distinct scores in order, how many rows have each, and how many of these are hits."""
    distinct, group = np.unique(scores, return_inverse=True)
    return distinct, np.bincount(group).astype(np.float64), np.bincount(group, weights=hits).astype(np.float64)


def _thresholds(scores: Floats) -> Floats:
    """At most 256 cuts between distinct scores, into cells of about equally many rows, none of them empty."""
    distinct, counts = np.unique(scores, return_counts=True)
    starts = np.arange(1, distinct.size)
    if starts.size > MAXIMUM_THRESHOLDS:
        rows_before = np.cumsum(counts)
        wanted = np.arange(1, MAXIMUM_THRESHOLDS + 1) * scores.size / (MAXIMUM_THRESHOLDS + 1)
        starts = np.unique(np.searchsorted(rows_before, wanted)) + 1
        starts = starts[starts < distinct.size]
    below, above = distinct[starts - 1], distinct[starts]
    middle = (0.5 * (below + above)).astype(np.float32).astype(np.float64)
    cuts: Floats = np.where(middle > below, middle, above)
    return cuts


def _venn_abers(counts: npt.NDArray[np.int64], hits: npt.NDArray[np.int64]) -> Floats:
    p1 = _value_with_a_hit(counts, hits)
    # With label 0 it is the same question about the misses, read from the other end.
    p0 = 1 - _value_with_a_hit(counts[::-1], (counts - hits)[::-1])[::-1]
    merged: Floats = p1 / (1 - p0 + p1)
    return merged


def _value_with_a_hit(counts: npt.NDArray[np.int64], hits: npt.NDArray[np.int64]) -> Floats:
    """Isotonic regression at each cell after one more row with label 1 has been put there, shape (cells,).

    The regression is the slope of the greatest convex minorant of the cumulative sums (rows, hits). A hit sorts before
    the rows of its own cell without changing the fit, so it starts at the far left and moves one cell at a time.
    Integers keep every turn exact.
    """
    x, y = np.concatenate([[0], np.cumsum(counts)]).tolist(), np.concatenate([[0], np.cumsum(hits)]).tolist()
    points = list(zip(x, y, strict=True))
    corners: list[tuple[int, int]] = [(-1, -1)]
    for point in points:
        while len(corners) > 1 and not _turns_left(corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    corners.reverse()
    moved = (-1, -1)
    slopes = np.empty(len(points) - 1)
    for cell in range(1, len(points)):
        (left_x, left_y), (right_x, right_y) = corners[-1], corners[-2]
        slopes[cell - 1] = (right_y - left_y) / (right_x - left_x)
        moved = (moved[0] + x[cell] - x[cell - 1], moved[1] + y[cell] - y[cell - 1])
        if not _turns_left(corners[-1], moved, corners[-2]):
            continue
        corners.pop()
        while len(corners) > 1 and not _turns_left(moved, corners[-1], corners[-2]):
            corners.pop()
        corners.append(moved)
    return slopes


def _turns_left(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    """Whether the path a, b, c bends upwards at b, that is, b lies below the line from a to c."""
    return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]) > 0


def _padded(rows: list[Floats]) -> Floats:
    width = max(row.size for row in rows)
    return np.stack([np.pad(row, (0, width - row.size), mode="edge") for row in rows])
