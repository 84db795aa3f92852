"""The threshold's scan by brute force, its false positives where nothing is to be earned, and what it finds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm, t

from butterquant_assets.butterfly.execution_threshold import choose_threshold
from butterquant_assets.foundation.errors import ConfigError, DataError

Case = tuple[np.ndarray, np.ndarray, np.ndarray]


def rows_of(seed: int, edge: float, episodes: int = 40, per_episode: int = 40) -> Case:
    """Expected ROI, realised ROI of mean `edge` x (expected - .05), with a shock of its own in each episode."""
    random = np.random.default_rng(seed)
    episode = np.repeat(np.arange(episodes), per_episode)
    expected = random.normal(0.05, 0.15, episode.size) + random.normal(0, 0.05, episodes)[episode]
    noise = random.normal(0, 0.1, episodes)[episode] + random.normal(0, 0.6, episode.size)
    return expected, edge * (expected - 0.05) + noise, episode


def test_the_scan_counts_what_each_threshold_takes() -> None:
    expected, roi, episode = rows_of(0, 0.5)
    expected[::50] = np.nan
    grid = [0.2, -0.1, 0.1, 0.9]
    scan = choose_threshold(expected, roi, episode, seed=1, grid=grid, minimum_rows=30).scan
    assert list(scan["threshold"]) == sorted(grid)
    for row in scan.itertuples():
        taken = [k for k, value in enumerate(expected) if value > row.threshold]
        assert row.rows == len(taken)
        assert row.episodes == len({episode[k] for k in taken})
        assert row.mean_roi_net == pytest.approx(np.mean([roi[k] for k in taken]) if taken else np.nan, nan_ok=True)
        assert row.eligible == (len(taken) >= 30)
    assert scan.loc[scan["eligible"], ["low", "high"]].notna().all(axis=None)
    assert np.isnan(scan["low"].iloc[-1])


def test_an_expected_return_at_the_threshold_is_not_taken() -> None:
    scan = choose_threshold([0.1, 0.2, 0.3], [1.0, 2.0, 3.0], [0, 1, 2], seed=1, grid=[0.2]).scan
    assert (scan["rows"].iloc[0], scan["mean_roi_net"].iloc[0]) == (1, 3.0)


def test_only_the_best_of_a_session_count_where_sessions_are_given() -> None:
    expected, roi, episode = rows_of(1, 0.5)
    session = np.arange(expected.size) // 8
    scan = choose_threshold(expected, roi, episode, seed=1, grid=[0.0], session=session, places=2).scan
    taken = []
    for number in range(session[-1] + 1):
        rows = np.flatnonzero((session == number) & (expected > 0.0))
        taken += list(rows[np.argsort(-expected[rows])][:2])
    assert scan["rows"].iloc[0] == len(taken)
    assert scan["mean_roi_net"].iloc[0] == pytest.approx(roi[taken].mean())


def test_the_bounds_of_a_single_threshold_match_a_plain_bootstrap() -> None:
    expected, roi, episode = rows_of(2, 0.5, episodes=12)
    scan = choose_threshold(expected, roi, episode, seed=5, grid=[0.1], draws=400).scan.iloc[0]
    taken = expected > 0.1
    mean, drawn = roi[taken].mean(), []
    for picks in np.random.default_rng(5).integers(0, 12, size=(400, 12)):
        rows = np.concatenate([roi[taken & (episode == pick)] for pick in picks])
        drawn.append(rows.mean() - mean)
    error = np.sqrt(np.mean(np.square(drawn)))
    critical = np.quantile(np.abs(drawn) / error, 0.95)
    width = critical * error * np.sqrt(12 / 11) * t.ppf(0.975, 11) / norm.ppf(0.975)
    assert scan["low"] == pytest.approx(mean - width, rel=1e-9)
    assert scan["high"] == pytest.approx(mean + width, rel=1e-9)


def test_where_nothing_is_to_be_earned_a_threshold_is_rarely_claimed() -> None:
    # 2.5 % are nominal; 15 or more of 200 would come with a true rate of 4 % in 1.5 % of cases.
    claims = [choose_threshold(*rows_of(seed, 0.0), seed=1, draws=300).threshold for seed in range(200)]
    assert sum(claim is not None for claim in claims) < 15


def test_a_planted_edge_is_found_near_where_it_begins_to_pay() -> None:
    found = [choose_threshold(*rows_of(seed, 1.5, episodes=100), seed=1, draws=300).threshold for seed in range(20)]
    assert all(threshold is not None for threshold in found)
    assert -0.05 <= np.median(np.array(found, dtype=float)) <= 0.2  # rows with E > .05 pay
    far = choose_threshold(*rows_of(0, 1.5, episodes=100), seed=1, criterion="per_trade").threshold
    assert far is not None
    assert far > float(np.median(np.array(found, dtype=float)))


def test_a_scan_without_profit_takes_nothing_and_says_so() -> None:
    expected, roi, episode = rows_of(3, 0.0)
    chosen = choose_threshold(expected, roi - 0.3, episode, seed=1)
    assert chosen.threshold is None
    assert chosen.reason.startswith("no threshold is shown to earn anything; at best, E > ")
    anyway = choose_threshold(expected, roi - 0.3, episode, seed=1, require_profit=False)
    best = anyway.scan[anyway.scan["eligible"]]
    assert anyway.threshold == best.loc[best["low"].idxmax(), "threshold"]


def test_too_few_rows_or_episodes_take_nothing() -> None:
    expected, roi, episode = rows_of(3, 5.0, episodes=5)
    chosen = choose_threshold(expected, roi, episode, seed=1)
    assert chosen.threshold is None
    assert "no threshold takes 50 rows of 6 episodes; at most" in chosen.reason
    none = choose_threshold([], [], [], seed=1)
    assert none.threshold is None
    assert json.loads(json.dumps(none.to_json()))["scan"][0]["mean_roi_net"] is None


def test_of_thresholds_that_took_the_same_the_highest_is_chosen() -> None:
    expected, roi, episode = rows_of(4, 0.0)
    chosen = choose_threshold(np.where(expected > 0.05, 0.3, -0.3), roi + 0.5, episode, seed=1, grid=[-0.2, 0.1, 0.2])
    assert chosen.threshold == 0.2


def test_the_same_rows_give_the_same_choice() -> None:
    case = rows_of(6, 1.0)
    first, second = (choose_threshold(*case, seed=1).to_json() for _ in range(2))
    assert first == second


def test_what_cannot_be_scanned_is_refused() -> None:
    expected, roi, episode = rows_of(0, 0.0)
    with pytest.raises(DataError, match="1 rows have no roi_net"):
        choose_threshold(expected, np.append(roi[1:], np.nan), episode, seed=1)
    with pytest.raises(ConfigError, match="grid of thresholds is empty"):
        choose_threshold(expected, roi, episode, seed=1, grid=[])
    with pytest.raises(ConfigError, match="minimum_episodes 1"):
        choose_threshold(expected, roi, episode, seed=1, minimum_episodes=1)
    with pytest.raises(ValueError, match="expected one"):
        choose_threshold(expected[:5], roi, episode, seed=1)
