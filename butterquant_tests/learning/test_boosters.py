"""Boosted trees: what they start from, when they stop, what they add to, and that their ONNX form decides alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError, ModelStoreError
from butterquant_assets.learning.boosters import (
    LightgbmSettings,
    Segment,
    TreeKind,
    XgboostSettings,
    train_trees,
    tree_margins,
)
from butterquant_assets.learning.onnx_trees import read_lightgbm, read_xgboost, tree_attributes
from butterquant_assets.learning.probabilities import Rows, log_probabilities, mean_log_loss, softmax

SETTINGS: dict[str, Any] = {
    "xgboost": XgboostSettings(rounds=60, learning_rate=0.1, min_child_weight=5, patience=10),
    "lightgbm": LightgbmSettings(rounds=60, learning_rate=0.1, min_leaf_rows=20, patience=10),
}
KINDS: tuple[TreeKind, ...] = ("xgboost", "lightgbm")


def planted(n: int, seed: int, tilt: float = 1.5, missing: float = 0.1) -> Rows:
    """Labels from known base probabilities, tilted by the first two of five features."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 5)).astype(np.float32)
    base = random.dirichlet([4, 1, 1, 3], size=n)
    truth = softmax(np.log(base) + tilt * np.column_stack([X[:, 0], X[:, 1] > 0, np.zeros(n), -X[:, 0]]))
    labels = (random.random((n, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    X[random.random(X.shape) < missing] = np.nan
    return Rows(X, labels, log_probabilities(base))


def trained(kind: TreeKind, **changes: Any) -> Segment:
    return train_trees(kind, planted(800, 0), planted(300, 1), settings=replace(SETTINGS[kind], **changes), seed=3)


@pytest.fixture(scope="module", params=KINDS)
def both(request: pytest.FixtureRequest) -> tuple[TreeKind, Segment]:
    return request.param, trained(request.param)


def test_losses_are_those_of_the_margins_on_top_of_the_start(both: tuple[TreeKind, Segment]) -> None:
    """So the starting margins entered row by row and class by class, and the kept trees are those of the best round."""
    kind, segment = both
    held_out = planted(300, 1)
    assert segment.losses[0] == pytest.approx(mean_log_loss(held_out.margins, held_out.labels), abs=1e-12)
    margins = held_out.margins + tree_margins(kind, [segment.text], held_out.X, 4)
    assert segment.losses[segment.rounds] == pytest.approx(mean_log_loss(margins, held_out.labels), abs=1e-6)
    assert segment.losses[segment.rounds] == min(segment.losses)
    assert len(segment.losses) <= segment.rounds + 1 + SETTINGS[kind].patience


def test_what_the_start_does_not_know_is_learnt(both: tuple[TreeKind, Segment]) -> None:
    kind, segment = both
    fresh = planted(1000, 9)
    learnt = mean_log_loss(fresh.margins + tree_margins(kind, [segment.text], fresh.X, 4), fresh.labels)
    assert learnt < mean_log_loss(fresh.margins, fresh.labels) - 0.15


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_helps_nothing_is_kept(kind: TreeKind) -> None:
    train, held_out = planted(800, 0), planted(300, 1)
    opposite = replace(held_out, X=-held_out.X)  # what is learnt is wrong there
    segment = train_trees(kind, train, opposite, settings=SETTINGS[kind], seed=3)
    assert segment.rounds == 0
    assert not tree_margins(kind, [segment.text], held_out.X, 4).any()
    assert tree_attributes(kind, [segment.text], 4) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(kind: TreeKind) -> None:
    assert trained(kind).text == trained(kind).text
    other = train_trees(kind, planted(800, 0), planted(300, 1), settings=SETTINGS[kind], seed=4)
    assert other.text != trained(kind).text


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_weight_two_counts_like_two_rows(kind: TreeKind) -> None:
    train, held_out = planted(400, 0, missing=0.0), planted(200, 1)
    settings = replace(SETTINGS[kind], rounds=5, subsample=1.0, column_share=1.0, l2=1.0)
    if isinstance(settings, LightgbmSettings):
        settings = replace(settings, min_leaf_rows=1)
    else:
        settings = replace(settings, min_child_weight=0.0)
    twice = np.arange(400) < 100
    order = np.concatenate([np.arange(400), np.flatnonzero(twice)])
    repeated = Rows(train.X[order], train.labels[order], train.margins[order])
    weighted = replace(train, weight=1.0 + twice)
    first, second = (
        tree_margins(kind, [train_trees(kind, rows, held_out, settings=settings, seed=0).text], held_out.X, 4)
        for rows in (weighted, repeated)
    )
    # Both libraries place bins by rows or weights; the trees need not be the same, what they say must be close.
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.97
    unweighted = tree_margins(kind, [train_trees(kind, train, held_out, settings=settings, seed=0).text], held_out.X, 4)
    assert np.abs(first - second).mean() < np.abs(first - unweighted).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_segments_add_up(kind: TreeKind, both: tuple[TreeKind, Segment]) -> None:
    X = planted(50, 5).X
    segments = [trained(kind).text, trained(kind, rounds=3).text]
    parts = sum(tree_margins(kind, [text], X, 4) for text in segments)
    assert tree_margins(kind, segments, X, 4) == pytest.approx(parts, abs=1e-12)
    assert tree_margins(kind, segments, X[:0], 4).shape == (0, 4)


def walked(kind: str, text: bytes, X: np.ndarray) -> np.ndarray:
    """Plain second implementation: walk every tree for every row, as the ONNX operator is specified to."""
    margins = np.zeros((len(X), 4))
    for tree in (read_xgboost if kind == "xgboost" else read_lightgbm)(text):
        for row, x in enumerate(X):
            node = 0
            while tree.left[node] >= 0:
                value, threshold = x[tree.feature[node]], np.float32(tree.threshold[node])
                below = value < threshold if kind == "xgboost" else value <= threshold
                goes_left = tree.missing_left[node] if np.isnan(value) else below
                node = tree.left[node] if goes_left else tree.right[node]
            margins[row, tree.output] += tree.value[node]
    return margins


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_trees_read_decide_as_the_library_does_at_every_threshold(kind: TreeKind, missing: float) -> None:
    """Each threshold itself, its float32 neighbours, zero, and missing values, also where training saw none missing."""
    settings = replace(SETTINGS[kind], rounds=15)
    train, held_out = (planted(rows, seed, missing=missing) for rows, seed in ((800, 0), (300, 1)))
    text = train_trees(kind, train, held_out, settings=settings, seed=1).text
    read = (read_xgboost if kind == "xgboost" else read_lightgbm)(text)
    rows = [np.full(5, value, np.float32) for value in (np.nan, 0, -0.0, 1e-35, -1e-35, 2e-35, -2e-35, 1e-40, -1e-40)]
    background = np.random.default_rng(0).normal(size=5).astype(np.float32)
    for tree in read:
        for feature, threshold in zip(tree.feature, tree.threshold.astype(np.float32), strict=True):
            neighbours = (threshold, np.nextafter(threshold, np.float32(9)), np.nextafter(threshold, np.float32(-9)))
            for value in (*neighbours, np.float32(np.nan)) if feature >= 0 else ():
                rows.append(background.copy())
                rows[-1][feature] = value
    X = np.stack(rows[:9] + rows[9::3])
    assert len(X) > 100
    assert walked(kind, text, X) == pytest.approx(tree_margins(kind, [text], X, 4), abs=1e-6)


def test_text_of_no_library_is_refused() -> None:
    for kind in KINDS:
        with pytest.raises(ModelStoreError, match=r"no (XGBoost|LightGBM) model"):
            tree_margins(kind, [b"\xff not trees"], np.zeros((1, 5), np.float32), 4)
        with pytest.raises(ModelStoreError, match=f"no {kind} model"):
            tree_attributes(kind, [b"{}"], 4)


def test_settings_out_of_range_or_of_another_library_are_refused() -> None:
    with pytest.raises(ConfigError, match="subsample is 0"):
        trained("xgboost", subsample=0)
    with pytest.raises(ConfigError, match="patience is 0"):
        trained("lightgbm", patience=0)
    with pytest.raises(ValueError, match="does not go with"):
        train_trees("xgboost", planted(50, 0), planted(50, 1), settings=LightgbmSettings(), seed=0)
