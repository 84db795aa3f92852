"""What a model relies on: how much worse it predicts when one feature no longer says anything.

What belongs here: importances measured on held-out rows through predictions alone, the same for every kind of model.
What does not: importances a learner reports about its own training rows, which flatter what it overfitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning import metrics
from butterquant_assets.learning.evidence import DRAWS, episode_codes, episode_interval

Floats = npt.NDArray[np.float64]
Predictor = Callable[[Floats], Floats]

ROWS_PER_CALL = 100_000


def permutation_importance(
    predict: Predictor,
    X: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    features: Sequence[str],
    groups: npt.ArrayLike | None = None,
    episode: npt.ArrayLike | None = None,
    seed: int,
    repeats: int = 5,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Mean increase of log-loss on held-out rows when one feature is permuted.

    Parameters
    ----------
    predict
        features of shape (m, d) to class probabilities of shape (m, k), row by row
    X, labels
        held-out rows, shape (n, d), NaN where the model takes missing values, and their classes, shape (n,)
    features
        names of the d columns
    groups
        values are exchanged only between rows of one group, for instance of one fold, shape (n,); by default any
    episode
        episode of each row, shape (n,), for the interval; by default every row counts as its own
    seed
        of the permutations and of the bootstrap
    repeats
        permutations averaged over
    draws
        of the bootstrap

    Returns
    -------
    DataFrame
        columns ``feature``, ``increase`` (nats a row), ``low``, ``high`` (95 % interval over episodes), by falling
        increase, ties in the order of `features`. An increase around 0 means the feature is not used, or that another
        one says the same.

    Raises
    ------
    ConfigError
        if there are fewer than one repeat.
    DataError
        if there are no rows, or the predictions or labels are unusable.

    Notes
    -----
    L. Breiman, *Random Forests*, Machine Learning 45 (2001), section 10; for any model A. Fisher, C. Rudin and F.
    Dominici, Journal of Machine Learning Research 20 (2019).
    """
    increases = permutation_increases(predict, X, labels, features=features, groups=groups, seed=seed, repeats=repeats)
    return importance_table(increases, features=features, episode=episode, seed=seed, draws=draws)


def permutation_increases(
    predict: Predictor,
    X: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    features: Sequence[str],
    groups: npt.ArrayLike | None = None,
    seed: int,
    repeats: int = 5,
) -> Floats:
    """Increase of each row's log-loss for each permuted feature, mean over repeats, shape (n, d), in nats.

    Where every fold has its own model, call this once a fold and give the stacked rows to `importance_table`. All
    features of a repeat share one permutation of the rows, so a further feature changes nothing for the others.
    Parameters and errors are those of `permutation_importance`.
    """
    if repeats < 1:
        raise ConfigError(f"repeats is {repeats}; it must be 1 or more")
    values = np.array(X, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(features):
        raise ValueError(f"X has shape {values.shape}; expected (n, {len(features)})")
    n = len(values)
    if not n:
        raise DataError("there are no held-out rows to permute; the part is empty")
    codes = np.zeros(n, dtype=np.int64) if groups is None else episode_codes(groups, n)
    unpermuted = predict(values)
    _, y = metrics.check_predictions(unpermuted, labels, unpermuted.shape[1])
    before = metrics.row_log_loss(unpermuted, y)[:, None]
    total = np.zeros(values.shape)
    for repeat in range(repeats):
        source = _permutation(codes, np.random.default_rng([seed, repeat]))
        # Differences first: a feature the model does not use then has an increase of exactly 0.
        total += _permuted_losses(predict, values, y, source) - before
    increases: Floats = total / repeats
    return increases


def importance_table(
    increases: npt.ArrayLike,
    *,
    features: Sequence[str],
    episode: npt.ArrayLike | None = None,
    seed: int,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Mean of each column of `permutation_increases` with its interval; see `permutation_importance`."""
    rows = np.asarray(increases, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(features):
        raise ValueError(f"increases have shape {rows.shape}; expected (n, {len(features)})")
    clusters = np.arange(len(rows)) if episode is None else np.asarray(episode)
    found = [episode_interval(column, clusters, seed=seed, draws=draws) for column in rows.T]
    table = pd.DataFrame(
        {
            "feature": list(features),
            "increase": [interval.mean for interval in found],
            "low": [interval.low for interval in found],
            "high": [interval.high for interval in found],
        }
    )
    return table.sort_values("increase", ascending=False, kind="stable").reset_index(drop=True)


def _permutation(codes: npt.NDArray[np.int64], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """For each row the row it takes its value from, within its group."""
    source = np.empty(codes.size, dtype=np.int64)
    source[np.argsort(codes, kind="stable")] = np.lexsort((random.random(codes.size), codes))
    return source


def _permuted_losses(
    predict: Predictor, values: Floats, y: npt.NDArray[np.int64], source: npt.NDArray[np.int64]
) -> Floats:
    """Log-loss of each row with each column permuted, shape (n, d)."""
    n, d = values.shape
    at_once = max(1, ROWS_PER_CALL // n)
    losses = np.empty((n, d))
    for start in range(0, d, at_once):
        columns = range(start, min(start + at_once, d))
        stacked = np.tile(values, (len(columns), 1, 1))
        for place, column in enumerate(columns):
            stacked[place, :, column] = values[source, column]
        probabilities = predict(stacked.reshape(-1, d))
        losses[:, start : start + len(columns)] = (
            metrics.row_log_loss(probabilities, np.tile(y, len(columns))).reshape(len(columns), n).T
        )
    return losses
