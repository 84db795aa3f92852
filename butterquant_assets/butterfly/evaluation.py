"""The success model against its baselines: probabilities, money, and one honest sentence.

Edge means beating the geometry baseline, which knows only the contract: strikes, expiry and implied volatilities. On a
fair market nothing can beat it, so whatever a model gains there it gains from geometry. What belongs here: baselines
that need option knowledge, the comparison, the decisions they lead to. What does not: training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr, ndtri, stdtrit

from butterquant_assets.butterfly import pricing
from butterquant_assets.butterfly.config import CostConfig
from butterquant_assets.butterfly.iv_proxy import leg_vols_of
from butterquant_assets.butterfly.strikes import strikes_of
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning import baselines, metrics
from butterquant_assets.learning.splits import TimeSplit

Floats = npt.NDArray[np.float64]

N_CLASSES = 4
CLASS_NAMES = ("roi < -10 %", "-10 % <= roi < 5 %", "5 % <= roi < 15 %", "roi >= 15 %")
MODEL, GEOMETRY = "model", "geometry"
JUDGED_PARTS = ("validation", "test")
QUADRATURE_POINTS = 2001
ROWS_PER_CHUNK = 64
DOCUMENT_CLASS_VALUES = np.array([0.0, 0.05, 0.20, 0.40])
EXPECTED_ROI_THRESHOLD = 0.15
SCORE_EDGES = np.array([45.0, 60.0, 75.0])  # the document's AVOID, NEUTRAL, BUY, STRONG_BUY
CONFIDENCE = 0.95
# All k episodes may favour the model by luck with probability 2^-k: below 2.5 % only from 6 on.
MINIMUM_EPISODES = 6


@dataclass(frozen=True)
class EdgeVerdict:
    """Whether the model beats the geometry baseline on the test part.

    Parameters
    ----------
    gain, low, high
        log-loss of the geometry baseline minus that of the model, nats a row, and its 95 % interval over episodes
        (infinite bounds from a single episode, which says nothing about the spread)
    rows, episodes
        of the test part
    beats_geometry
        True only if the interval lies above 0 and there are at least six episodes
    sentence
        the same in words
    """

    gain: float
    low: float
    high: float
    rows: int
    episodes: int
    beats_geometry: bool
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model card; bounds that do not exist (one episode) are None."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {name: values[name] if np.isfinite(values[name]) else None for name in ("low", "high")}


def geometry_probabilities(
    analyses: pd.DataFrame, label: str, *, costs: CostConfig | None = None, points: int = QUADRATURE_POINTS
) -> Floats:
    """Class probabilities of a market without edge, from the as-of state alone.

    At the evaluation session the spot is lognormal with drift `rate` and the entry volatility of the centre strike;
    each leg keeps its entry volatility. The ROI of `label` is computed at `points` equally likely spots (midpoints of
    the quantiles), so the result is deterministic.

    Parameters
    ----------
    analyses
        columns session, evaluation_session, spot, lower_strike, center_strike, upper_strike, width, days_left, rate,
        iv_lower, iv_center, iv_upper, debit, and for ``label_net`` entry_cost; no missing values
    label
        ``label_tent``, ``label_expiry``, ``label_mark`` or ``label_net``
    costs
        of the exit, for ``label_net``; by default no commission
    points
        number of quantiles

    Returns
    -------
    array of shape (n, 4)
        (count + 1) / (points + 4): a class that no quantile reaches keeps a small probability, since no market is
        exactly lognormal; this only makes the baseline harder to beat.

    Raises
    ------
    ConfigError
        if `label` is none of the four.
    DataError
        if a value is missing or an evaluation precedes its entry.

    Notes
    -----
    Source: REFERENCE, section 1, baselines. ROI definitions are those of `butterfly.pricing`.
    """
    if label not in ("label_tent", "label_expiry", "label_mark", "label_net"):
        raise ConfigError(f"{label!r} is no label; use label_tent, label_expiry, label_mark or label_net")
    held = _years_held(analyses)
    needed = ["spot", "lower_strike", "center_strike", "upper_strike", "width", "days_left", "rate", "debit"]
    needed += ["iv_lower", "iv_center", "iv_upper"] + (["entry_cost"] if label == "label_net" else [])
    table = {name: _complete(analyses, name)[:, None] for name in needed} | {"held": held[:, None]}
    normal = ndtri((np.arange(points) + 0.5) / points)[None, :]
    counts = np.empty((len(held), N_CLASSES))
    for start in range(0, len(held), ROWS_PER_CHUNK):
        part = {name: column[start : start + ROWS_PER_CHUNK] for name, column in table.items()}
        classes = pricing.label_of(_roi(part, label, _no_edge_spot(part, normal), costs or CostConfig()))
        counts[start : start + ROWS_PER_CHUNK] = np.stack(
            [(classes == k).sum(axis=1) for k in range(N_CLASSES)], axis=1
        )
    probabilities: Floats = (counts + 1.0) / (points + N_CLASSES)
    return probabilities


def total_score_rule_probabilities(
    train_scores: npt.ArrayLike, train_labels: npt.ArrayLike, scores: npt.ArrayLike
) -> Floats:
    """The total_score rule as a predictor: class frequencies of the training rows with the same verdict.

    Scores fall into the document's bands, cut at 45, 60 and 75. The frequencies of a band are shrunk to those of all
    training rows with the weight of four rows, so an empty band gives the overall frequencies.

    Parameters
    ----------
    train_scores, train_labels
        of the training part, shape (n,), 0 .. 100 and 0 .. 3
    scores
        to predict for, shape (m,)

    Returns
    -------
    array of shape (m, 4)

    Raises
    ------
    DataError
        if a score is missing.
    """
    known, asked = np.asarray(train_scores, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if np.isnan(known).any() or np.isnan(asked).any():
        raise DataError("a total_score is missing; every accepted analysis has one")
    band, labels = np.digitize(known, SCORE_EDGES), np.asarray(train_labels, dtype=np.int64)
    pairs = np.bincount(band * N_CLASSES + labels, minlength=(len(SCORE_EDGES) + 1) * N_CLASSES)
    counts = pairs.reshape(-1, N_CLASSES) + N_CLASSES * baselines.smoothed_frequencies(labels, N_CLASSES)
    frequencies = counts / counts.sum(axis=1, keepdims=True)
    chosen: Floats = frequencies[np.digitize(asked, SCORE_EDGES)]
    return chosen


def predict_all(
    training_set: pd.DataFrame,
    analyses: pd.DataFrame,
    split: TimeSplit,
    model_probabilities: npt.ArrayLike,
    *,
    label: str,
    features: Sequence[str],
    costs: CostConfig | None = None,
) -> dict[str, Floats]:
    """Probabilities of the model and of every baseline for all rows; baselines learn from the training part only.

    Parameters
    ----------
    training_set
        session, ticker, the features and the label, one row per (session, ticker)
    analyses
        columns of `geometry_probabilities` and total_score, for at least these rows, in any order
    split
        masks over the rows of `training_set`
    model_probabilities
        of all rows, shape (n, 4)
    label
        label column to predict
    features
        feature columns
    costs
        as for `geometry_probabilities`

    Returns
    -------
    dict of predictor name to array of shape (n, 4): ``model``, ``geometry``, ``logistic_regression``,
    ``total_score_rule``, ``class_prior``, ``majority_class``

    Raises
    ------
    DataError
        if an analysis of a row is missing.
    """
    state = _aligned(training_set, analyses)
    X, y = training_set[list(features)].to_numpy(dtype=np.float64), training_set[label].to_numpy().astype(np.int64)
    known, score = y[split.train], state["total_score"].to_numpy(dtype=np.float64)
    return {
        MODEL: np.asarray(model_probabilities, dtype=np.float64),
        GEOMETRY: geometry_probabilities(state, label, costs=costs),
        "logistic_regression": baselines.logistic_regression(
            X[split.train], known, X, features=features, n_classes=N_CLASSES
        ),
        "total_score_rule": total_score_rule_probabilities(score[split.train], known, score),
        "class_prior": baselines.class_prior(known, len(y), N_CLASSES),
        "majority_class": baselines.majority_class(known, len(y), N_CLASSES),
    }


def class_values(labels: npt.ArrayLike, roi_net: npt.ArrayLike) -> Floats:
    """Mean roi_net of each class over training rows, shape (4,); NaN for a class without rows."""
    y, roi = np.asarray(labels, dtype=np.int64), np.asarray(roi_net, dtype=np.float64)
    if np.isnan(roi).any():
        raise DataError(f"{np.isnan(roi).sum()} labelled rows lack roi_net; drop rows without a label first")
    counts = np.bincount(y, minlength=N_CLASSES).astype(np.float64)
    totals = np.bincount(y, weights=roi, minlength=N_CLASSES)
    values: Floats = np.divide(totals, counts, out=np.full(N_CLASSES, np.nan), where=counts > 0)
    return values


def expected_roi(probabilities: npt.ArrayLike, values: npt.ArrayLike) -> Floats:
    """E = sum of p_k v_k, shape (n, 4) and (4,) in, (n,) out.

    A class without a value (no training row) is left out and the other probabilities are scaled to sum to 1; with no
    value at all E is NaN.
    """
    p, v = np.asarray(probabilities, dtype=np.float64), np.asarray(values, dtype=np.float64)
    known = ~np.isnan(v)
    weight = p[:, known].sum(axis=1)
    expected: Floats = np.divide(p[:, known] @ v[known], weight, out=np.full(len(p), np.nan), where=weight > 0)
    return expected


def evaluate_all(
    predictions: Mapping[str, Floats], training_set: pd.DataFrame, split: TimeSplit, *, label: str
) -> pd.DataFrame:
    """Scores and decisions of every predictor on validation and test.

    Parameters
    ----------
    predictions
        as `predict_all` gives them
    training_set
        columns episode, roi_net, roi_mark and the label
    split
        masks over its rows
    label
        label column predicted

    Returns
    -------
    DataFrame
        columns ``predictor``, ``part``, ``metric``, ``value`` (float64). Scores: those of `learning.metrics.evaluate`
        without the confusion matrix. Decisions, for ``document_gate`` (class values 0, .05, .20, .40) and ``our_gate``
        (mean roi_net of each class on training rows): ``*_rows`` with expected ROI above .15, and their
        ``*_mean_roi_net`` and ``*_mean_roi_mark`` (before costs), NaN when no row passes. Under predictor ``all_rows``:
        ``rows``, ``episodes``, ``mean_roi_net``, ``mean_roi_mark`` of the part, taking every trade.
    """
    y = training_set[label].to_numpy().astype(np.int64)
    returns = {name: training_set[name].to_numpy(dtype=np.float64) for name in ("roi_net", "roi_mark")}
    ours = class_values(y[split.train], returns["roi_net"][split.train])
    gates = {"document_gate": DOCUMENT_CLASS_VALUES, "our_gate": ours}
    records: list[tuple[str, str, str, float]] = []
    for part in JUDGED_PARTS:
        mask = split.parts()[part]
        facts = {"rows": float(mask.sum()), "episodes": float(training_set.loc[mask, "episode"].nunique())}
        facts |= {f"mean_{name}": _mean(values[mask]) for name, values in returns.items()}
        records += [("all_rows", part, metric, value) for metric, value in facts.items()]
        for predictor, probabilities in predictions.items():
            scores = metrics.evaluate(probabilities[mask], y[mask], N_CLASSES)
            records += [(predictor, part, metric, scores[metric]) for metric in metrics.SCALARS]
            for gate, values in gates.items():
                taken = mask & (expected_roi(probabilities, values) > EXPECTED_ROI_THRESHOLD)
                records.append((predictor, part, f"{gate}_rows", float(taken.sum())))
                records += [
                    (predictor, part, f"{gate}_mean_{name}", _mean(roi[taken])) for name, roi in returns.items()
                ]
    return pd.DataFrame(records, columns=["predictor", "part", "metric", "value"]).astype({"value": "float64"})


def verdict(
    predictions: Mapping[str, Floats],
    training_set: pd.DataFrame,
    split: TimeSplit,
    *,
    label: str,
    seed: int,
    draws: int = 1000,
    vols_are_proxy: bool = False,
) -> EdgeVerdict:
    """Judge whether the model beats the geometry baseline on the test part.

    Parameters
    ----------
    predictions
        with ``model`` and ``geometry``, shape (n, 4) each
    training_set
        columns episode and the label
    split
        masks over its rows
    label
        label column predicted
    seed, draws
        of the bootstrap
    vols_are_proxy
        whether option prices rest on realised volatility, which manufactures edge; then a claim says so

    Returns
    -------
    EdgeVerdict

    Notes
    -----
    Rows of one episode share the market they saw, so whole episodes are resampled. Percentile intervals of few
    clusters are too narrow; the quantile is widened by Student's t and sqrt(k / (k - 1)) (the expanded percentile
    interval of T. Hesterberg, *What Teachers Should Know About the Bootstrap*, The American Statistician 69, 2015).
    """
    y = training_set.loc[split.test, label].to_numpy().astype(np.int64)
    losses = {name: metrics.row_log_loss(predictions[name][split.test], y) for name in (GEOMETRY, MODEL)}
    gains = losses[GEOMETRY] - losses[MODEL]
    low, high, episodes = _episode_interval(gains, training_set.loc[split.test, "episode"].to_numpy(), seed, draws)
    beats = bool(low > 0 and episodes >= MINIMUM_EPISODES)
    gain = float(gains.mean())
    ours, theirs = losses[MODEL].mean(), losses[GEOMETRY].mean()
    facts = (
        f"On {len(y):,} test rows from {episodes} {'episode' if episodes == 1 else 'episodes'} the model's log-loss is "
        f"{ours:.3f} nats and the geometry baseline's {theirs:.3f}, a gain of {gain:+.3f}"
    )
    if episodes > 1:
        facts += f" (95 % interval over episodes {low:+.3f} .. {high:+.3f})"
    sentence = f"{facts}: {_conclusion(low, high, episodes, beats, vols_are_proxy)}"
    return EdgeVerdict(gain, low, high, len(y), episodes, beats, sentence)


def _conclusion(low: float, high: float, episodes: int, beats: bool, vols_are_proxy: bool) -> str:
    if beats and vols_are_proxy:
        return (
            "it beats the geometry baseline, but under volatilities that are a proxy, which can manufacture edge, so "
            "this stands only once published volatilities confirm it."
        )
    if beats:
        return "it beats the geometry baseline."
    if high < 0:
        return "it is worse than the geometry baseline."
    if episodes < MINIMUM_EPISODES:
        return f"fewer than {MINIMUM_EPISODES} episodes cannot show an edge, so none is claimed."
    return "no edge over the geometry baseline is shown."


def _episode_interval(gains: Floats, episode: npt.NDArray[Any], seed: int, draws: int) -> tuple[float, float, int]:
    codes, _ = pd.factorize(episode)
    sums, counts = np.bincount(codes, weights=gains), np.bincount(codes)
    k = len(counts)
    if k == 1:
        return -np.inf, np.inf, 1
    picks = np.random.default_rng(seed).integers(0, k, size=(draws, k))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    widened = float(ndtr(np.sqrt(k / (k - 1)) * stdtrit(k - 1, tail)))
    low, high = np.quantile(means, [widened, 1 - widened])
    return float(low), float(high), k


def _no_edge_spot(part: Mapping[str, Floats], normal: Floats) -> Floats:
    vol, held = part["iv_center"], part["held"]
    spot: Floats = part["spot"] * np.exp((part["rate"] - 0.5 * vol**2) * held + vol * np.sqrt(held) * normal)
    return spot


def _roi(part: Mapping[str, Floats], label: str, exit_spot: Floats, costs: CostConfig) -> Floats:
    strikes, vols = strikes_of(part), leg_vols_of(part)
    debit = part["debit"]
    if label == "label_tent":
        return pricing.roi_tent(exit_spot, strikes, debit)
    if label == "label_expiry":
        return pricing.roi_expiry(exit_spot, strikes, debit)
    mark = pricing.value(exit_spot, strikes, part["days_left"], part["rate"], vols)
    if label == "label_mark":
        return pricing.roi_mark(mark, debit)
    exit_cost = pricing.trade_cost(exit_spot, strikes, part["days_left"], part["rate"], vols, costs)
    return pricing.roi_net(mark, exit_cost, debit, part["entry_cost"])


def _years_held(analyses: pd.DataFrame) -> Floats:
    """(evaluation_session - session) / 365, shape (n,)."""
    entry, exit_ = (analyses[name].to_numpy().astype("datetime64[D]") for name in ("session", "evaluation_session"))
    days: Floats = (exit_ - entry).astype(np.float64)
    wrong = np.flatnonzero(~(days > 0))
    if wrong.size:
        raise DataError(
            f"{wrong.size} evaluation sessions do not follow their entry, for instance {entry[wrong[0]]} -> "
            f"{exit_[wrong[0]]}; build the analyses again"
        )
    years: Floats = days / pricing.DAYS_PER_YEAR
    return years


def _complete(frame: pd.DataFrame, name: str) -> Floats:
    values = frame[name].to_numpy(dtype=np.float64)
    if np.isnan(values).any():
        raise DataError(f"{np.isnan(values).sum()} analyses lack {name}; an accepted analysis has every field")
    return values


def _aligned(training_set: pd.DataFrame, analyses: pd.DataFrame) -> pd.DataFrame:
    keys = ["session", "ticker"]
    wanted = pd.MultiIndex.from_frame(training_set[keys])
    found = analyses.set_index(keys)
    absent = ~wanted.isin(found.index)
    if absent.any():
        raise DataError(
            f"{absent.sum()} training rows have no analysis, for instance {wanted[absent][0]}; rebuild both"
        )
    return found.loc[wanted].reset_index()


def _mean(values: Floats) -> float:
    """Mean, or NaN where there is nothing to average."""
    return float(values.mean()) if values.size else float("nan")
