"""The document's score, term by term."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.butterfly import scoring


def _texts(*words: str) -> np.ndarray:
    return np.array(words, dtype=object)


def test_fit_is_100_for_the_matching_pairs_80_for_flat_50_otherwise_and_a_strong_cycle_adds_a_tenth() -> None:
    trend = _texts("UP", "DOWN", "FLAT", "UP", "DOWN", "FLAT", "UP", "UP")
    position = _texts("TROUGH", "PEAK", "PEAK", "PEAK", "TROUGH", "TROUGH", "PEAK", "TROUGH")
    strength = np.array([5.0, 5.0, 5.0, 5.0, 10.0, 11.0, 11.0, 11.0])
    assert scoring.fit_score(trend, position, strength) == pytest.approx([100, 100, 80, 50, 50, 88, 55, 100])


def test_the_total_score_of_a_worked_case() -> None:
    # aim 100 - 500 x 2/102 = 90.196; cheapness 500 x .05 + 50 = 75; stability 100 - 5 x 12 = 40; F 80; penalty 50 x .1
    found = scoring.total_score(*(np.array([value]) for value in (102.0, 100.0, 0.05, 12.0, 80.0, -0.1)))
    assert found[0] == pytest.approx(0.35 * (100 - 1000 / 102) + 0.3 * 75 + 0.2 * 40 + 0.15 * 80 - 5, rel=1e-14)


def test_every_term_of_the_score_is_bounded() -> None:
    best = scoring.total_score(*(np.array([value]) for value in (100.0, 100.0, 9.0, 0.0, 100.0, 0.0)))
    worst = scoring.total_score(*(np.array([value]) for value in (100.0, 500.0, -9.0, 900.0, 0.0, 7.0)))
    assert best[0] == pytest.approx(100.0)
    assert worst[0] == pytest.approx(-10.0)


def test_recommendations_need_score_and_ratio() -> None:
    score = np.array([75.0, 75.0, 75.0, 60.0, 60.0, 45.0, 44.9])
    ratio = np.array([2.1, 2.0, 1.5, 1.6, 1.5, 0.1, 9.0])
    expected = ["STRONG_BUY", "BUY", "NEUTRAL", "BUY", "NEUTRAL", "NEUTRAL", "AVOID"]
    assert scoring.recommendation(score, ratio).tolist() == expected
