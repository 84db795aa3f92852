"""Promotion: refused without evidence, given with it, and wrong about as rarely as the interval says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.evidence import paired_difference
from butterquant_assets.learning.metrics import expected_calibration_error, row_log_loss
from butterquant_assets.learning.promotion import Evidence, judge_challenger, judge_first


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


class Market:
    """Labels drawn from known probabilities; a predictor's logits are the true ones plus noise shared by an episode."""

    def __init__(self, seed: int, episodes: int = 20, within: int = 30) -> None:
        self.random = np.random.default_rng(seed)
        self.episode = np.repeat(np.arange(episodes), within)
        self.logits = self.random.normal(size=(self.episode.size, 4))
        reached = softmax(self.logits).cumsum(axis=1)[:, :3]
        self.labels = (self.random.random(self.episode.size)[:, None] > reached).sum(axis=1)

    def predictor(self, noise: float, sharpness: float = 1.0) -> np.ndarray:
        shared = self.random.normal(size=(self.episode.max() + 1, 4))[self.episode]
        own = self.random.normal(size=self.logits.shape)
        return softmax(sharpness * (self.logits + noise * (shared + own) / np.sqrt(2)))


def judge(market: Market, champion: np.ndarray, challenger: np.ndarray, **changes: Any) -> Evidence:
    asked: dict[str, Any] = {"ece_percentile": 0.2, "seed": 1, "draws": 400} | changes
    return judge_challenger(
        champion,
        challenger,
        market.labels,
        market.episode,
        **({"champion_version": "aaaa", "challenger_version": "bbbb"} | asked),
    )


def test_a_better_challenger_replaces_the_champion_and_the_evidence_holds_the_figures() -> None:
    market = Market(0)
    champion, challenger = market.predictor(1.5), market.predictor(0.2)
    found = judge(market, champion, challenger)
    gain = paired_difference(
        row_log_loss(champion, market.labels),
        row_log_loss(challenger, market.labels),
        market.episode,
        seed=1,
        draws=400,
    )
    assert found.promoted
    assert (found.difference, found.low, found.high, found.episodes) == (gain.mean, gain.low, gain.high, 20)
    assert (found.rows, found.champion, found.challenger) == (600, "aaaa", "bbbb")
    assert found.ece_champion == expected_calibration_error(champion, market.labels)
    assert found.ece_challenger == expected_calibration_error(challenger, market.labels)
    assert found.ece_limit == max(found.ece_champion, 0.2)
    assert found.beats_geometry is None
    assert found.reason.startswith("bbbb replaces aaaa: on 600 rows from 20 episodes its gain in log-loss is +")


def test_a_worse_challenger_is_refused_in_words() -> None:
    market = Market(0)
    found = judge(market, market.predictor(0.2), market.predictor(1.5))
    assert not found.promoted
    assert found.high < 0
    assert found.reason.startswith("aaaa stays: bbbb is refused because it is worse; on 600 rows")


def test_no_difference_promotes_nothing() -> None:
    market = Market(3)
    champion = market.predictor(0.5)
    found = judge(market, champion, champion.copy())
    assert not found.promoted
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert "no difference in its favour is shown" in found.reason


@pytest.mark.parametrize(("episodes", "promoted"), [(1, False), (5, False), (6, True)])
def test_fewer_than_six_episodes_promote_nothing(episodes: int, promoted: bool) -> None:
    market = Market(4, episodes=episodes, within=200)
    found = judge(market, market.predictor(3.0), market.predictor(0.0))
    assert found.difference > 0
    assert found.promoted is promoted
    if not promoted:
        noun = "1 episode" if episodes == 1 else "5 episodes"
        assert f"{noun} cannot show a difference, at least 6 are needed" in found.reason
        assert ("interval" in found.reason) is (episodes > 1)


def test_a_gain_bought_with_calibration_is_refused() -> None:
    market = Market(5, episodes=40)
    # A champion that knows little is nearly calibrated; a challenger that knows more overstates it.
    champion, challenger = market.predictor(0.0, sharpness=0.35), market.predictor(0.0, sharpness=1.4)
    limit = expected_calibration_error(challenger, market.labels)
    strict = judge(market, champion, challenger, ece_percentile=0.0)
    generous = judge(market, champion, challenger, ece_percentile=limit)
    assert strict.low > 0
    assert generous.promoted
    assert generous.ece_limit >= limit
    # Against its own percentile alone, where the champion is calibrated, the same challenger is refused.
    flat = np.tile(np.bincount(market.labels, minlength=4) / market.labels.size, (market.labels.size, 1))
    refused = judge(market, flat, challenger, ece_percentile=0.001)
    assert refused.low > 0
    assert refused.ece_champion < 0.001 < refused.ece_challenger
    assert not refused.promoted
    assert f"its calibration error of {refused.ece_challenger:.4f} is above the limit of 0.0010" in refused.reason


def test_a_calibration_no_worse_than_the_champions_is_accepted_above_the_percentile() -> None:
    market = Market(6)
    champion, challenger = market.predictor(1.5, sharpness=2.0), market.predictor(0.2)
    found = judge(market, champion, challenger, ece_percentile=0.0)
    assert found.ece_champion > found.ece_challenger > 0
    assert found.ece_limit == found.ece_champion
    assert found.promoted


def test_the_champion_is_not_promoted_over_itself() -> None:
    market = Market(0)
    found = judge(market, market.predictor(1.5), market.predictor(0.2), challenger_version="aaaa")
    assert not found.promoted
    assert found.reason == "Version aaaa is the champion already, so there is nothing to promote."


def test_of_challengers_no_better_about_one_in_forty_is_promoted() -> None:
    repeats = 300
    promoted = 0
    for seed in range(repeats):
        market = Market(seed, episodes=25, within=8)
        promoted += judge(market, market.predictor(0.8), market.predictor(0.8), seed=seed, ece_percentile=1.0).promoted
    assert promoted / repeats <= 0.05


def test_a_real_improvement_is_usually_found() -> None:
    promoted = 0
    for seed in range(60):
        market = Market(seed, episodes=25, within=20)
        promoted += judge(market, market.predictor(1.2), market.predictor(0.5), seed=seed).promoted
    assert promoted >= 48


def first(market: Market, geometry: np.ndarray, challenger: np.ndarray, **changes: Any) -> Evidence:
    asked: dict[str, Any] = {"ece_percentile": 0.2, "seed": 1, "draws": 400, "challenger_version": "bbbb"} | changes
    return judge_first(geometry, challenger, market.labels, market.episode, **asked)


def test_the_first_model_is_installed_and_the_evidence_says_that_it_beats_geometry() -> None:
    market = Market(7)
    found = first(market, market.predictor(1.5), market.predictor(0.2))
    assert found.promoted
    assert found.beats_geometry is True
    assert found.champion is None
    assert "so it beats the baseline, and its calibration error" in found.reason


def test_a_first_model_that_equals_geometry_is_installed_without_a_claim() -> None:
    market = Market(8)
    geometry = market.predictor(0.5)
    found = first(market, geometry, geometry.copy())
    assert found.promoted
    assert found.beats_geometry is False
    assert "is not shown to beat the baseline" in found.reason


def test_a_first_model_worse_by_no_more_than_chance_is_installed() -> None:
    market = Market(8)
    found = first(market, market.predictor(0.5), market.predictor(0.52))
    assert found.low < found.difference < 0 < found.high
    assert found.promoted
    assert found.beats_geometry is False


def test_a_first_model_worse_than_geometry_is_refused() -> None:
    market = Market(9)
    found = first(market, market.predictor(0.2), market.predictor(1.5))
    assert not found.promoted
    assert found.beats_geometry is False
    assert found.reason.startswith(
        "bbbb is refused and no model is in service, because it is worse than the geometry baseline; against the"
    )


def test_a_first_model_with_unacceptable_calibration_is_refused_even_if_it_beats_geometry() -> None:
    market = Market(5, episodes=40)
    flat = np.tile(np.bincount(market.labels, minlength=4) / market.labels.size, (market.labels.size, 1))
    found = first(market, flat, market.predictor(0.0, sharpness=1.4), ece_percentile=0.001)
    assert found.beats_geometry is True
    assert not found.promoted
    assert "because its calibration error of" in found.reason


def test_few_episodes_install_a_first_model_without_a_claim() -> None:
    market = Market(10, episodes=4, within=200)
    found = first(market, market.predictor(3.0), market.predictor(0.0))
    assert found.low > 0
    assert found.promoted
    assert found.beats_geometry is False
    assert "looks better, but 4 episodes cannot show that it is" in found.reason


def test_evidence_is_plain_json() -> None:
    market = Market(11, episodes=1)
    found = judge(market, market.predictor(1.0), market.predictor(0.5))
    stored = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert stored["low"] is None
    assert stored["high"] is None
    assert stored["promoted"] is False
    assert stored["reason"] == found.reason
    assert set(stored) == set(Evidence.__dataclass_fields__)


def test_unusable_predictions_and_settings_are_refused() -> None:
    market = Market(12)
    champion, challenger = market.predictor(1.0), market.predictor(0.5)
    holed = challenger.copy()
    holed[3, 0] = np.nan
    with pytest.raises(DataError, match="no probability distribution, for instance row 3"):
        judge(market, champion, holed)
    with pytest.raises(DataError, match="no probability distribution"):
        judge(market, champion * 2, challenger)
    with pytest.raises(ConfigError, match="ece_percentile is 95"):
        judge(market, champion, challenger, ece_percentile=95)
    with pytest.raises(ConfigError, match="minimum_episodes is 1"):
        judge(market, champion, challenger, minimum_episodes=1)
