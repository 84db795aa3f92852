"""Intervals over episodes: against the plain bootstrap, against what they replace, and for their coverage."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning import metrics
from butterquant_assets.learning.evidence import (
    Interval,
    draw_episodes,
    episode_codes,
    episode_interval,
    expanded_interval,
    metric_intervals,
    paired_difference,
)


def clustered(seed: int, episodes: int, within: int = 12, shock: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows with mean 0 that share a shock of their episode; episodes differ in size."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 2 * within, episodes)
    episode = np.repeat(np.arange(episodes), sizes)
    return shock * random.normal(size=episodes)[episode] + random.normal(size=episode.size), episode


def predictions(seed: int = 0, n: int = 400, episodes: int = 23) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.dirichlet([2, 0.4, 0.3, 2], size=n)
    return p, random.choice(4, size=n, p=[0.4, 0.1, 0.05, 0.45]), random.integers(0, episodes, n)


def plain_bounds(found: list[float], episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    tail = norm.cdf(np.sqrt(episodes / (episodes - 1)) * student.ppf((1 - confidence) / 2, episodes - 1))
    return float(np.quantile(found, tail)), float(np.quantile(found, 1 - tail))


def test_the_interval_is_that_of_whole_episodes_drawn_one_by_one() -> None:
    values, episode = clustered(1, 9)
    found = episode_interval(values, episode, seed=3, draws=250, confidence=0.9)
    names = list(dict.fromkeys(episode.tolist()))
    means = []
    for picks in np.random.default_rng(3).integers(0, 9, size=(250, 9)):
        means.append(float(np.mean(np.concatenate([values[episode == names[pick]] for pick in picks]))))
    low, high = plain_bounds(means, 9, 0.9)
    assert found.episodes == 9
    assert found.mean == values.mean()
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_the_expanded_quantile_follows_from_the_printed_table_of_t() -> None:
    grid = np.arange(100_001) / 100_000  # its quantile of q is q
    for n, t in ((5, 2.776), (10, 2.262), (20, 2.093)):  # the 97.5 % points of 4, 9 and 19 degrees of freedom
        low, high = expanded_interval(grid, n)
        assert low == pytest.approx(NormalDist().cdf(-t * (n / (n - 1)) ** 0.5), abs=1e-5)
        assert high == pytest.approx(1 - low)


def test_one_episode_says_nothing_about_the_spread() -> None:
    found = episode_interval([1.0, 2.0, 4.0], ["a", "a", "a"], seed=1)
    assert found == Interval(7 / 3, -np.inf, np.inf, 1)
    assert found.to_json() == {"mean": 7 / 3, "low": None, "high": None, "episodes": 1}


def test_missing_values_are_left_out_with_episodes_that_have_no_other() -> None:
    values, episode = clustered(2, 8)
    holed, seen = np.concatenate([[np.nan, np.nan], values]), np.concatenate([[99, 3], episode])
    assert episode_interval(holed, seen, seed=1) == episode_interval(values, episode, seed=1)
    nothing = episode_interval([np.nan], ["a"], seed=1)
    assert nothing.episodes == 0
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()


def test_a_missing_episode_or_a_wrong_shape_is_refused() -> None:
    with pytest.raises(DataError, match="1 rows have no episode"):
        episode_interval([1.0, 2.0], ["a", None], seed=1)
    with pytest.raises(ValueError, match="expected"):
        episode_interval([1.0, 2.0], ["a"], seed=1)
    with pytest.raises(ConfigError, match="draws is 0"):
        episode_interval([1.0, 2.0], ["a", "b"], seed=1, draws=0)
    for confidence in (0.0, 1.0, 95.0):
        with pytest.raises(ConfigError, match="confidence"):
            episode_interval([1.0, 2.0], ["a", "b"], seed=1, confidence=confidence)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-5, 5), scale=st.floats(0.01, 100))
def test_shifting_and_scaling_values_shifts_and_scales_the_interval(seed: int, shift: float, scale: float) -> None:
    values, episode = clustered(seed, 7)
    plain = episode_interval(values, episode, seed=1, draws=200)
    moved = episode_interval(shift + scale * values, episode, seed=1, draws=200)
    assert plain.low <= plain.mean <= plain.high
    expected = (shift + scale * plain.low, shift + scale * plain.high)
    assert (moved.low, moved.high) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("episodes", "least"), [(6, 0.88), (15, 0.91), (60, 0.92)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(episodes: int, least: float) -> None:
    repeats, hits, naive = 400, 0, 0
    for seed in range(repeats):
        values, episode = clustered(seed, episodes)
        found = episode_interval(values, episode, seed=seed, draws=400)
        hits += found.low <= 0 <= found.high
        naive += abs(values.mean()) <= 1.96 * values.std() / np.sqrt(values.size)
    assert least <= hits / repeats <= 0.985
    # An interval that counts rows as independent is what this one protects from.
    assert naive / repeats < 0.75


def test_a_paired_difference_is_the_interval_of_the_differences() -> None:
    a, episode = clustered(4, 12)
    b = a - 0.3 + 0.1 * clustered(5, 12)[0].mean()
    found = paired_difference(a, b, episode, seed=2)
    assert found == episode_interval(a - b, episode, seed=2)
    assert found.low > 0
    assert paired_difference(b, a, episode, seed=2).high < 0


def test_a_predictor_cannot_skip_a_row_it_is_judged_on() -> None:
    with pytest.raises(DataError, match="1 of 3 rows have no finite loss, first row 1"):
        paired_difference([1.0, 2.0, 3.0], [1.0, np.nan, 3.0], [1, 2, 3], seed=1)
    with pytest.raises(DataError, match="first row 2"):
        paired_difference([1.0, 2.0, np.inf], [1.0, 2.0, 3.0], [1, 2, 3], seed=1)
    with pytest.raises(ValueError, match="expected the same"):
        paired_difference([1.0, 2.0], [1.0], [1, 2], seed=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_metric_intervals_are_those_of_metrics_computed_anew_in_every_draw(seed: int) -> None:
    p, y, episode = predictions(seed, n=150, episodes=8)
    table = metric_intervals(p, y, episode, seed=5, draws=120).set_index("metric")
    names = list(dict.fromkeys(episode.tolist()))
    drawn = []
    for picks in np.random.default_rng(5).integers(0, 8, size=(120, 8)):
        rows = np.concatenate([np.flatnonzero(episode == names[pick]) for pick in picks])
        drawn.append(metrics.evaluate(p[rows], y[rows]))
    whole = metrics.evaluate(p, y)
    assert tuple(table.index) == metrics.SCALARS
    for name in metrics.SCALARS:
        assert table.loc[name, "value"] == pytest.approx(whole[name], rel=1e-12)
        expected = plain_bounds([scores[name] for scores in drawn], 8)
        assert (table.loc[name, "low"], table.loc[name, "high"]) == pytest.approx(expected, rel=1e-9)


def test_metric_intervals_take_other_numbers_of_classes_and_a_class_never_seen() -> None:
    random = np.random.default_rng(0)
    p, y = random.dirichlet([1, 1], size=60), np.zeros(60, dtype=int)
    table = metric_intervals(p, y, random.integers(0, 6, 60), n_classes=2, seed=1).set_index("metric")
    assert table.loc["macro_f1", "value"] == pytest.approx(metrics.evaluate(p, y, 2)["macro_f1"])
    assert (table["low"] <= table["high"]).all()


def test_confidences_on_the_edge_of_a_bin_count_as_in_the_metrics() -> None:
    p, y = np.array([[0.5, 0.5], [0.5, 0.5], [0.45, 0.55], [0.42, 0.58], [1.0, 0.0]]), np.array([0, 0, 0, 0, 1])
    table = metric_intervals(p, y, [1, 1, 2, 2, 3], n_classes=2, seed=1).set_index("metric")
    assert table.loc["ece", "value"] == pytest.approx(metrics.expected_calibration_error(p, y), rel=1e-12)


def test_metrics_of_one_episode_have_no_interval() -> None:
    p, y, _ = predictions(n=30)
    table = metric_intervals(p, y, ["only"] * 30, seed=1)
    assert table["value"].notna().all()
    assert table[["low", "high"]].isna().all(axis=None)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    p, y, episode = predictions()
    first, again, other = (metric_intervals(p, y, episode, seed=seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_draws_in_which_a_statistic_does_not_exist_are_left_out() -> None:
    statistics = np.concatenate([np.arange(100.0), [np.nan] * 50])
    assert expanded_interval(statistics, 10) == expanded_interval(np.arange(100.0), 10)
    assert np.isnan(expanded_interval(np.full(3, np.nan), 10)).all()


def test_episodes_are_numbered_as_they_appear() -> None:
    assert episode_codes(np.array(["b", "a", "b", "c"]), 4).tolist() == [0, 1, 0, 2]
    assert draw_episodes(4, seed=1, draws=3).shape == (3, 4)
