"""Scores of class probabilities, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.metrics import evaluate, expected_calibration_error


def sample(n: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.dirichlet([2, 0.4, 0.3, 2], size=n), random.choice(4, size=n, p=[0.4, 0.1, 0.05, 0.45])


def test_scores_are_those_of_scikit_learn() -> None:
    p, y = sample()
    ours, predicted, classes = evaluate(p, y), p.argmax(axis=1), list(range(4))
    assert ours["accuracy"] == reference.accuracy_score(y, predicted)
    assert ours["macro_f1"] == pytest.approx(
        reference.f1_score(y, predicted, labels=classes, average="macro"), rel=1e-12
    )
    assert ours["log_loss"] == pytest.approx(reference.log_loss(y, p, labels=classes), rel=1e-12)
    theirs = reference.brier_score_loss(y, p, labels=classes, scale_by_half=False)
    assert ours["brier"] == pytest.approx(theirs, rel=1e-12)
    assert ours["confusion_matrix"] == reference.confusion_matrix(y, predicted, labels=classes).tolist()


def test_a_class_never_seen_nor_predicted_counts_zero_in_the_macro_f1() -> None:
    p, y = np.eye(4)[[0, 3, 3]], np.array([0, 3, 0])
    theirs = reference.f1_score(y, p.argmax(axis=1), labels=range(4), average="macro", zero_division=0)
    assert evaluate(p, y)["macro_f1"] == pytest.approx(theirs)


def test_calibration_error_matches_a_plain_loop() -> None:
    p, y = sample(seed=3)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    total = 0.0
    for k in range(10):
        inside = (confidence > k / 10) & (confidence <= (k + 1) / 10)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    assert expected_calibration_error(p, y) == pytest.approx(total, rel=1e-12)


def test_a_certain_and_wrong_forecast_has_a_large_but_finite_log_loss() -> None:
    assert evaluate(np.eye(4)[[0]], [1])["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        (np.empty((0, 4)), [], "no rows"),
        ([[0.5, 0.5, 0.5, 0.5]], [0], "no probability distribution"),
        ([[np.nan, 0.5, 0.25, 0.25]], [0], "no probability distribution"),
        ([[0.25] * 4], [4], "no class 0 .. 3"),
        ([[0.25] * 4], [np.nan], "no class 0 .. 3"),
    ],
)
def test_what_cannot_be_scored_is_refused(p: object, y: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(np.asarray(p), np.asarray(y))
