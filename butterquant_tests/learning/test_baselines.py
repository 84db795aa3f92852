"""Baselines every model is judged beside."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.baselines import class_prior, logistic_regression, majority_class
from butterquant_assets.learning.metrics import evaluate

NAMES = ["a", "b", "c"]


def test_the_class_prior_is_smoothed_by_one_row_a_class() -> None:
    assert class_prior([0, 0, 3], 2).tolist() == [[3 / 7, 1 / 7, 1 / 7, 2 / 7]] * 2


def test_the_majority_class_spreads_the_rest_evenly() -> None:
    p = majority_class([3, 3, 3, 0], 2)
    assert p[0].tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert evaluate(p, [3, 0])["accuracy"] == 0.5


def planted(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 3)) * [1, 1000, 1e-3]
    return X, np.digitize(X[:, 1] / 1000 + 0.3 * random.normal(size=n), [-0.7, 0, 0.7])


def test_logistic_regression_learns_a_linear_signal_on_any_scale() -> None:
    (X, y), (X_new, y_new) = planted(600, 0), planted(300, 1)
    fitted = logistic_regression(X, y, X_new, features=NAMES)
    assert evaluate(fitted, y_new)["log_loss"] < 0.6 * evaluate(class_prior(y, 300), y_new)["log_loss"]


def test_logistic_regression_ignores_the_rows_it_predicts() -> None:
    (X, y), (X_new, _) = planted(200, 0), planted(50, 1)
    alone = logistic_regression(X, y, X_new[:1], features=NAMES)
    together = logistic_regression(X, y, np.vstack([X_new[:1], 1e3 * X_new]), features=NAMES)
    assert together[0] == pytest.approx(alone[0], rel=1e-12)


def test_missing_values_count_as_the_training_median() -> None:
    X, y = planted(200, 0)
    medians = np.median(X, axis=0)
    missing, filled = (logistic_regression(X, y, row, features=NAMES) for row in ([[np.nan] * 3], [medians]))
    assert missing.tolist() == filled.tolist()


def test_a_class_absent_from_training_keeps_a_small_probability() -> None:
    X, y = planted(96, 0)
    p = logistic_regression(X, np.where(y == 1, 0, y), X, features=NAMES)
    assert p[:, 1].tolist() == [0.01] * 96
    assert p.sum(axis=1) == pytest.approx(np.ones(96))


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"all 3 training rows have class \[2\]"):
        logistic_regression(np.zeros((3, 3)), [2, 2, 2], np.zeros((1, 3)), features=NAMES)
