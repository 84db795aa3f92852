"""Logistic regression with starting margins, against scikit-learn where it can say something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.logistic import LogisticSettings, train_logistic
from butterquant_assets.learning.probabilities import Rows, softmax
from butterquant_tests.learning.test_boosters import planted

FEATURES = tuple("abcde")


def one(inverse_penalty: float) -> LogisticSettings:
    return LogisticSettings((inverse_penalty,))


def test_without_a_start_it_is_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    train, held_out = planted(600, 0), planted(300, 1)
    blank, blank_held = (replace(rows, margins=np.zeros((len(rows.X), 4))) for rows in (train, held_out))
    fit = train_logistic(blank, blank_held, features=FEATURES, settings=one(0.3))
    reference = LogisticRegression(C=0.3, max_iter=5000, tol=1e-10).fit(fit.scaler.apply(train.X), train.labels)
    ours = softmax(fit.margins(held_out.X))
    assert ours == pytest.approx(reference.predict_proba(fit.scaler.apply(held_out.X)), abs=1e-5)
    assert fit.coefficients == pytest.approx(reference.coef_.T, abs=1e-4)


def test_a_start_in_the_span_of_the_features_is_undone_by_the_coefficients() -> None:
    """Without a penalty, an offset that the features can express only moves the coefficients."""
    train, held_out = planted(600, 0, missing=0.0), planted(300, 1, missing=0.0)
    shift = np.random.default_rng(0).normal(size=(5, 4))
    with_shift, held_shift = (replace(r, margins=r.X.astype(np.float64) @ shift) for r in (train, held_out))
    without, held_without = (replace(r, margins=np.zeros((len(r.X), 4))) for r in (train, held_out))
    answers = [
        softmax(held.margins + train_logistic(fit, held, features=FEATURES, settings=one(1e6)).margins(held.X))
        for fit, held in ((with_shift, held_shift), (without, held_without))
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-4)


def test_a_row_of_weight_two_counts_like_two_rows() -> None:
    train, held_out = planted(300, 0, missing=0.0), planted(300, 1, missing=0.0)
    weight = np.where(np.arange(300) < 100, 3.0, 1.0)
    thrice = np.concatenate([np.arange(300), np.arange(100), np.arange(100)])
    repeated = Rows(train.X[thrice], train.labels[thrice], train.margins[thrice])
    weighted = train_logistic(replace(train, weight=weight), held_out, features=FEATURES, settings=one(1e5))
    copied = train_logistic(repeated, held_out, features=FEATURES, settings=one(1e5))
    assert weighted.margins(held_out.X) == pytest.approx(copied.margins(held_out.X), abs=2e-3)


def test_the_penalty_of_the_lowest_validation_loss_is_kept() -> None:
    fit = train_logistic(planted(600, 0), planted(300, 1), features=FEATURES, settings=LogisticSettings())
    candidates = LogisticSettings().inverse_penalties
    assert fit.inverse_penalty == candidates[int(np.argmin(fit.losses[1:]))]
    assert min(fit.losses) < fit.losses[0]


def test_where_nothing_helps_the_start_is_kept() -> None:
    held_out = planted(300, 1)
    fit = train_logistic(
        planted(600, 0), replace(held_out, X=-held_out.X), features=FEATURES, settings=LogisticSettings((1.0,))
    )
    assert fit.inverse_penalty is None
    assert not fit.margins(held_out.X).any()


def test_unusable_candidates_and_columns_are_refused() -> None:
    for candidates in ((), (0.0, 1.0), (1.0, 0.1), (0.1, 0.1)):
        with pytest.raises(ConfigError, match="inverse_penalties"):
            train_logistic(planted(50, 0), planted(50, 1), features=FEATURES, settings=LogisticSettings(candidates))
    empty = planted(50, 0)
    empty.X[:, 2] = np.nan
    with pytest.raises(DataError, match="feature c is missing"):
        train_logistic(empty, planted(50, 1), features=FEATURES, settings=LogisticSettings())
