"""The success model against its baselines: probabilities, money, and one honest sentence.

Edge means beating the geometry baseline, which knows only the contract: strikes, expiry and implied volatilities.
Everything is judged on rows that the fold's vintage had not seen. What belongs here: baselines that need option
knowledge, the comparison, the decisions they lead to. What does not: training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.config import CostConfig
from butterquant_assets.butterfly.execution_threshold import ChosenThreshold, choose_threshold
from butterquant_assets.butterfly.geometry import N_CLASSES, aligned, geometry_probabilities
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning import baselines, metrics
from butterquant_assets.learning.evidence import episode_interval, metric_intervals
from butterquant_assets.learning.walk_forward import Fold, out_of_fold_before

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

CLASS_NAMES = ("roi < -10 %", "-10 % <= roi < 5 %", "5 % <= roi < 15 %", "roi >= 15 %")
MODEL, GEOMETRY = "model", "geometry"
POOLED = "walk_forward"
DOCUMENT_CLASS_VALUES = np.array([0.0, 0.05, 0.20, 0.40])
EXPECTED_ROI_THRESHOLD = 0.15
SCORE_EDGES = np.array([45.0, 60.0, 75.0])  # the document's AVOID, NEUTRAL, BUY, STRONG_BUY
# All k episodes may favour the model by luck with probability 2^-k: below 2.5 % only from 6 on.
MINIMUM_EPISODES = 6
RETURNS = ("roi_net", "roi_mark")


@dataclass(frozen=True)
class EdgeVerdict:
    """Whether the model beats the geometry baseline out of sample.

    Parameters
    ----------
    gain, low, high
        log-loss of the geometry baseline minus that of the model, nats a row, and its 95 % interval over episodes
        (infinite bounds from a single episode, which says nothing about the spread)
    rows, episodes
        met out of sample
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


def baseline_predictions(
    training_set: pd.DataFrame,
    analyses: pd.DataFrame,
    folds: Sequence[Fold],
    *,
    label: str,
    features: Sequence[str],
    costs: CostConfig | None = None,
) -> dict[str, Floats]:
    """Probabilities of every baseline for the rows that the folds test; each learns from its fold's training rows.

    Parameters
    ----------
    training_set
        session, ticker, the features and the label, one row per (session, ticker)
    analyses
        columns of `geometry_probabilities` and total_score, for at least these rows, in any order
    folds
        of `learning.walk_forward`, over the rows of `training_set`
    label
        label column to predict
    features
        feature columns
    costs
        as for `geometry_probabilities`

    Returns
    -------
    dict of predictor name to array of shape (n, 4), NaN for rows no fold tests: ``geometry``, ``logistic_regression``,
    ``total_score_rule``, ``class_prior``, ``majority_class``

    Raises
    ------
    DataError
        if an analysis of a row is missing.
    """
    state = aligned(training_set, analyses)
    X, y = training_set[list(features)].to_numpy(dtype=np.float64), training_set[label].to_numpy().astype(np.int64)
    score = state["total_score"].to_numpy(dtype=np.float64)
    names = (GEOMETRY, "logistic_regression", "total_score_rule", "class_prior", "majority_class")
    found = {name: np.full((len(y), N_CLASSES), np.nan) for name in names}
    for fold in folds:
        known, test, count = y[fold.train], fold.test, int(fold.test.sum())
        found[GEOMETRY][test] = geometry_probabilities(state[test], label, costs=costs)
        found["logistic_regression"][test] = baselines.logistic_regression(
            X[fold.train], known, X[test], features=features, n_classes=N_CLASSES
        )
        found["total_score_rule"][test] = total_score_rule_probabilities(score[fold.train], known, score[test])
        found["class_prior"][test] = baselines.class_prior(known, count, N_CLASSES)
        found["majority_class"][test] = baselines.majority_class(known, count, N_CLASSES)
    return found


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
    total, weight = np.zeros(len(p)), np.zeros(len(p))
    # A matrix product would round a row differently beside other rows; a decision must not depend on that.
    for k in np.flatnonzero(~np.isnan(v)):
        total, weight = total + p[:, k] * v[k], weight + p[:, k]
    expected: Floats = np.divide(total, weight, out=np.full(len(p), np.nan), where=weight > 0)
    return expected


@dataclass(frozen=True, eq=False)
class Gates:
    """Which out-of-sample rows each gate would have executed on one predictor's probabilities.

    Parameters
    ----------
    taken
        gate -> mask of shape (n,): ``document_gate`` (class values 0, .05, .20, .40, above .15), ``our_gate`` (mean
        roi_net of each class on the fold's training rows, above .15), ``chosen_gate`` (the same values, above the
        threshold chosen on the earlier folds)
    expected
        by the training rows' class values, shape (n,), NaN for rows no fold tests
    thresholds
        the chosen threshold by fold, the first month of its boundary -> choice
    """

    taken: dict[str, Mask]
    expected: Floats
    thresholds: dict[str, ChosenThreshold]


def decide_walk(
    probabilities: Floats, training_set: pd.DataFrame, folds: Sequence[Fold], *, label: str, seed: int
) -> Gates:
    """Apply every gate fold by fold, with what was known at the fold's boundary.

    Parameters
    ----------
    probabilities
        out of sample, shape (n, 4), NaN for rows no fold tests
    training_set
        columns session, episode, roi_net and the label
    folds
        over its rows
    label
        label column predicted
    seed
        of the bootstrap behind the chosen threshold
    """
    y = training_set[label].to_numpy().astype(np.int64)
    net = training_set["roi_net"].to_numpy(dtype=np.float64)
    episode, session = training_set["episode"].to_numpy(), training_set["session"].to_numpy()
    expected = np.full(len(y), np.nan)
    taken = {gate: np.zeros(len(y), dtype=np.bool_) for gate in ("document_gate", "our_gate", "chosen_gate")}
    thresholds = {}
    for number, fold in enumerate(folds):
        test = np.flatnonzero(fold.test)
        expected[test] = expected_roi(probabilities[test], class_values(y[fold.train], net[fold.train]))
        document = expected_roi(probabilities[test], DOCUMENT_CLASS_VALUES)
        taken["document_gate"][test] = document > EXPECTED_ROI_THRESHOLD
        taken["our_gate"][test] = expected[test] > EXPECTED_ROI_THRESHOLD
        known = out_of_fold_before(folds, number)
        chosen = choose_threshold(expected[known], net[known], episode[known], seed=seed, session=session[known])
        thresholds[str(fold.boundary.astype("datetime64[M]"))] = chosen
        if chosen.threshold is not None:
            taken["chosen_gate"][test] = expected[test] > chosen.threshold
    return Gates(taken, expected, thresholds)


def evaluate_walk(
    predictions: Mapping[str, Floats],
    gates: Mapping[str, Gates],
    training_set: pd.DataFrame,
    folds: Sequence[Fold],
    *,
    label: str,
    seed: int,
) -> pd.DataFrame:
    """Scores and decisions of every predictor, over all folds together and fold by fold.

    Parameters
    ----------
    predictions
        by predictor, shape (n, 4), NaN for rows no fold tests
    gates
        by predictor, for those whose decisions are wanted
    training_set
        columns session, episode, roi_net, roi_mark and the label
    folds
        over its rows
    label
        label column predicted
    seed
        of the bootstrap over episodes

    Returns
    -------
    DataFrame
        columns ``predictor``, ``part`` (``walk_forward``: all folds; or a fold's first month), ``metric``, ``value``,
        ``low``, ``high`` (95 %, only over all folds: of scores over episodes, of returns over `outcome_blocks`). Scores
        are those of `learning.metrics.evaluate` without the confusion matrix; decisions are ``<gate>_rows``,
        ``<gate>_episodes``, ``<gate>_mean_roi_net`` and, before costs, ``<gate>_mean_roi_mark``, NaN where no row
        passes. Predictor ``all_rows`` takes every trade.
    """
    y, episode = training_set[label].to_numpy().astype(np.int64), training_set["episode"].to_numpy()
    returns = {name: training_set[name].to_numpy(dtype=np.float64) for name in RETURNS}
    blocks, tested = outcome_blocks(training_set["session"]), tested_rows(folds)
    tables = []
    for predictor, probabilities in predictions.items():
        scores = metric_intervals(probabilities[tested], y[tested], episode[tested], n_classes=N_CLASSES, seed=seed)
        tables.append(scores.assign(predictor=predictor, part=POOLED))
        for fold in folds:
            found = metrics.evaluate(probabilities[fold.test], y[fold.test], N_CLASSES)
            rows = [(predictor, _month(fold), metric, found[metric]) for metric in metrics.SCALARS]
            tables.append(pd.DataFrame(rows, columns=["predictor", "part", "metric", "value"]))
    taken = {("all_rows", ""): tested} | {
        (name, f"{gate}_"): mask for name, found in gates.items() for gate, mask in found.taken.items()
    }
    for (predictor, prefix), mask in taken.items():
        records: list[tuple[str, float, float, float]] = [(f"{prefix}rows", float(mask.sum()), np.nan, np.nan)]
        for name, roi in returns.items():
            interval = episode_interval(roi[mask], blocks[mask], seed=seed)
            records.append((f"{prefix}mean_{name}", interval.mean, interval.low, interval.high))
        records.append((f"{prefix}episodes", float(len(set(episode[mask]))), np.nan, np.nan))
        table = pd.DataFrame(records, columns=["metric", "value", "low", "high"])
        tables.append(table.assign(predictor=predictor, part=POOLED))
    columns = ["predictor", "part", "metric", "value", "low", "high"]
    whole = pd.concat([table.reindex(columns=columns) for table in tables], ignore_index=True)
    bounds = whole[["value", "low", "high"]].astype(np.float64)
    return whole.assign(**bounds.where(np.isfinite(bounds)))


def outcome_blocks(session: pd.Series) -> npt.NDArray[np.int64]:
    """Block of each trade's outcome, shape (n,): the quarter of the year it was entered in.

    Episodes are weeks long and trades are held for up to 40 days, so those of neighbouring episodes are open together
    and share what the market then does: intervals of a mean return over episodes are too narrow (over 40 simulated
    markets without edge 8 of 80 left out 0, over quarters 4). Log-losses are compared on the same rows, where most of
    what is shared cancels.
    """
    return session.to_numpy().astype("datetime64[M]").astype(np.int64) // 3


def verdict(
    predictions: Mapping[str, Floats],
    training_set: pd.DataFrame,
    tested: Mask,
    *,
    label: str,
    seed: int,
    draws: int = 1000,
    vols_are_proxy: bool = False,
) -> EdgeVerdict:
    """Judge whether the model beats the geometry baseline out of sample.

    Parameters
    ----------
    predictions
        with ``model`` and ``geometry``, shape (n, 4) each
    training_set
        columns episode and the label
    tested
        rows to judge on, shape (n,)
    label
        label column predicted
    seed, draws
        of the bootstrap
    vols_are_proxy
        whether option prices rest on realised volatility, which manufactures edge; then a claim says so

    Returns
    -------
    EdgeVerdict
    """
    y = training_set.loc[tested, label].to_numpy().astype(np.int64)
    losses = {name: metrics.row_log_loss(predictions[name][tested], y) for name in (GEOMETRY, MODEL)}
    found = episode_interval(
        losses[GEOMETRY] - losses[MODEL], training_set.loc[tested, "episode"].to_numpy(), seed=seed, draws=draws
    )
    beats = bool(found.low > 0 and found.episodes >= MINIMUM_EPISODES)
    ours, theirs = losses[MODEL].mean(), losses[GEOMETRY].mean()
    facts = (
        f"On {len(y):,} rows out of sample from {found.episodes} {'episode' if found.episodes == 1 else 'episodes'} "
        f"the model's log-loss is {ours:.3f} nats and the geometry baseline's {theirs:.3f}, a gain of {found.mean:+.3f}"
    )
    if found.episodes > 1:
        facts += f" (95 % interval over episodes {found.low:+.3f} .. {found.high:+.3f})"
    sentence = f"{facts}: {_conclusion(found.low, found.high, found.episodes, beats, vols_are_proxy)}"
    return EdgeVerdict(found.mean, found.low, found.high, len(y), found.episodes, beats, sentence)


def tested_rows(folds: Sequence[Fold]) -> Mask:
    """Rows that some fold tests, shape (n,)."""
    tested: Mask = np.logical_or.reduce([fold.test for fold in folds])
    return tested


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


def _month(fold: Fold) -> str:
    return str(fold.boundary.astype("datetime64[M]"))
