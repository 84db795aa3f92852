"""Predictors a model has to beat before anyone looks at it.

Each takes what it may know (training rows) and returns probabilities of shape (n, n_classes). Baselines that need a
line's own knowledge, such as option geometry, live in that line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.scaling import check_inputs, fit_scaler

Floats = npt.NDArray[np.float64]


def smoothed_frequencies(labels: npt.ArrayLike, n_classes: int = 4) -> Floats:
    """Laplace-smoothed class frequencies (count + 1) / (n + n_classes), shape (n_classes,); never 0."""
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=n_classes)
    frequencies: Floats = (counts + 1.0) / (counts.sum() + n_classes)
    return frequencies


def class_prior(train_labels: npt.ArrayLike, rows: int, n_classes: int = 4) -> Floats:
    """The smoothed class frequencies of the training part, the same for each of `rows` rows."""
    return np.tile(smoothed_frequencies(train_labels, n_classes), (rows, 1))


def majority_class(train_labels: npt.ArrayLike, rows: int, n_classes: int = 4) -> Floats:
    """Always the most frequent training class, with its smoothed frequency; the rest is shared equally.

    Certainty would make the log-loss infinite at the first miss. Of all distributions that know only how often the
    majority occurs, this one has the largest entropy. Ties go to the lower class.
    """
    frequencies = smoothed_frequencies(train_labels, n_classes)
    winner = int(frequencies.argmax())
    row = np.full(n_classes, (1 - frequencies[winner]) / (n_classes - 1))
    row[winner] = frequencies[winner]
    return np.tile(row, (rows, 1))


def logistic_regression(
    X_train: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    X: npt.ArrayLike,
    *,
    features: Sequence[str],
    n_classes: int = 4,
    inverse_penalty: float = 1.0,
) -> Floats:
    """Multinomial logistic regression with an L2 penalty on standardised inputs.

    Parameters
    ----------
    X_train, train_labels
        training rows, shapes (n, d) and (n,); NaN is imputed by the training median
    X
        rows to predict, shape (m, d)
    features
        column names, length d
    n_classes
        number of classes
    inverse_penalty
        scikit-learn's ``C``

    Returns
    -------
    array of shape (m, n_classes)
        A class absent from training gets the smoothed frequency 1 / (n + n_classes); the others are scaled to fit.

    Raises
    ------
    DataError
        if the training labels hold a single class, or an input is infinite.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    y = np.asarray(train_labels, dtype=np.int64)
    present = np.unique(y)
    if present.size < 2:
        raise DataError(f"all {y.size} training rows have class {present.tolist()}; there is nothing to tell apart")
    scaler = fit_scaler(X_train, features)
    model = LogisticRegression(C=inverse_penalty, max_iter=5000)
    with threadpool_limits(limits=1):  # sums in one order, so that equal inputs give equal bytes
        model.fit(scaler.apply(X_train), y)
        fitted = model.predict_proba(scaler.apply(check_inputs(X, features)))
    absent = n_classes - present.size
    rare = 1.0 / (y.size + n_classes)
    probabilities = np.full((len(fitted), n_classes), rare)
    probabilities[:, present] = fitted * (1 - absent * rare)
    return probabilities
