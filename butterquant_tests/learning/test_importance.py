"""Permutation importance: known answers, a plain second implementation, and nothing for what is not used."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning import importance
from butterquant_assets.learning.evidence import episode_interval
from butterquant_assets.learning.importance import importance_table, permutation_importance, permutation_increases
from butterquant_assets.learning.metrics import row_log_loss

FEATURES = ("strong", "weak", "unused")


def softmax_predictor(X: np.ndarray) -> np.ndarray:
    """Three classes from the first two columns alone."""
    logits = np.stack([2.0 * X[:, 0], 0.5 * X[:, 1], np.zeros(len(X))], axis=1)
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def drawn(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features, and labels drawn from what the predictor says."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 3))
    reached = softmax_predictor(X).cumsum(axis=1)
    return X, (random.random(n)[:, None] > reached).sum(axis=1)


def test_features_rank_by_what_the_model_takes_from_them() -> None:
    X, y = drawn()
    table = permutation_importance(softmax_predictor, X, y, features=FEATURES, seed=1)
    assert table["feature"].tolist() == list(FEATURES)
    strong, weak, unused = table["increase"]
    assert strong > 5 * weak > 0
    assert unused == 0
    assert table.loc[2, ["low", "high"]].tolist() == [0, 0]
    assert (table["low"] <= table["increase"]).all()
    assert (table["increase"] <= table["high"]).all()


def test_the_increase_is_that_of_exchanged_pairs_by_hand() -> None:
    # Two groups of two rows: within a group a permutation either keeps the pair or exchanges it.
    p_of = {0.0: [0.9, 0.1], 1.0: [0.2, 0.8]}

    def predict(X: np.ndarray) -> np.ndarray:
        return np.array([p_of[value] for value in X[:, 0]])

    X, y = np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([0, 1, 0, 1])
    wrong, right = -np.log([0.2, 0.1]), -np.log([0.9, 0.8])
    exchanged = wrong - right
    seen = set()
    for seed in range(12):
        increases = permutation_increases(
            predict, X, y, features=["x"], groups=["a", "a", "b", "b"], seed=seed, repeats=1
        )
        for pair in (increases[:2, 0], increases[2:, 0]):
            swapped = bool(pair.any())
            assert pair == pytest.approx(exchanged if swapped else [0, 0], abs=1e-12)
            seen.add(swapped)
    assert seen == {True, False}


def test_values_are_exchanged_within_their_group_only() -> None:
    random = np.random.default_rng(3)
    groups = random.permutation(np.repeat([5, 1, 3], [20, 30, 1]))
    X = (groups * 1000 + np.arange(51)).astype(float)[:, None]
    asked: list[np.ndarray] = []

    def predict(values: np.ndarray) -> np.ndarray:
        asked.append(values[:, 0].copy())
        return np.full((len(values), 2), 0.5)

    permutation_increases(predict, X, np.zeros(51, dtype=int), features=["x"], groups=groups, seed=1, repeats=3)
    original, *permuted = asked
    assert (original == X[:, 0]).all()
    assert len(permuted) == 3
    for values in permuted:
        assert (values // 1000 == groups).all()
        assert sorted(values) == sorted(X[:, 0])
        assert not (values == X[:, 0]).all()
    assert not (permuted[0] == permuted[1]).all()


@pytest.mark.parametrize("rows_per_call", [1, 250, 100_000])
def test_stacked_predictions_are_those_made_one_feature_at_a_time(
    monkeypatch: pytest.MonkeyPatch, rows_per_call: int
) -> None:
    monkeypatch.setattr(importance, "ROWS_PER_CALL", rows_per_call)
    X, y = drawn(100)
    codes = np.arange(100) % 4
    found = permutation_increases(softmax_predictor, X, y, features=FEATURES, groups=codes, seed=9, repeats=2)
    before, expected = row_log_loss(softmax_predictor(X), y), np.zeros((100, 3))
    for repeat in range(2):
        key = np.random.default_rng([9, repeat]).random(100)
        for column in range(3):
            permuted = X.copy()
            for code in range(4):
                inside = np.flatnonzero(codes == code)
                permuted[inside, column] = X[inside[np.argsort(key[inside])], column]
            expected[:, column] += (row_log_loss(softmax_predictor(permuted), y) - before) / 2
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_the_interval_is_over_episodes() -> None:
    X, y = drawn(200)
    episode = np.repeat(np.arange(10), 20)
    increases = permutation_increases(softmax_predictor, X, y, features=FEATURES, seed=4)
    table = permutation_importance(softmax_predictor, X, y, features=FEATURES, episode=episode, seed=4)
    expected = episode_interval(increases[:, 0], episode, seed=4)
    assert table.loc[0, ["increase", "low", "high"]].tolist() == [expected.mean, expected.low, expected.high]


def test_folds_with_models_of_their_own_are_stacked() -> None:
    X, y = drawn(120)
    parts = [
        permutation_increases(softmax_predictor, X[rows], y[rows], features=FEATURES, seed=2)
        for rows in (slice(0, 50), slice(50, 120))
    ]
    table = importance_table(np.concatenate(parts), features=FEATURES, seed=2)
    assert table.loc[0, "increase"] == pytest.approx(np.concatenate(parts)[:, 0].mean())
    assert table["feature"].tolist() == list(FEATURES)


def test_another_feature_changes_nothing_for_the_others_and_inputs_stay_as_they_are() -> None:
    X, y = drawn(150)
    wider = np.column_stack([X, np.arange(150.0)])
    kept = X.copy()
    three = permutation_increases(softmax_predictor, X, y, features=FEATURES, seed=1)
    four = permutation_increases(softmax_predictor, wider, y, features=(*FEATURES, "new"), seed=1)
    assert (three == four[:, :3]).all()
    np.testing.assert_array_equal(X, kept)


def test_missing_values_are_permuted_like_others() -> None:
    X, y = drawn(80)
    X[::7, 2] = np.nan
    table = permutation_importance(softmax_predictor, X, y, features=FEATURES, seed=1)
    assert table["increase"].notna().all()


def test_unusable_questions_are_refused() -> None:
    X, y = drawn(20)
    with pytest.raises(ConfigError, match="repeats is 0"):
        permutation_importance(softmax_predictor, X, y, features=FEATURES, seed=1, repeats=0)
    with pytest.raises(DataError, match="no held-out rows"):
        permutation_importance(softmax_predictor, X[:0], y[:0], features=FEATURES, seed=1)
    with pytest.raises(DataError, match="labels are no class"):
        permutation_importance(softmax_predictor, X, y + 1, features=FEATURES, seed=1)
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        permutation_importance(softmax_predictor, X, y, features=FEATURES[:2], seed=1)
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        importance_table(X, features=FEATURES[:2], seed=1)
