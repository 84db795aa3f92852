"""Baselines of moves against scipy and plain loops, and verdicts that claim only what is shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from butterquant_assets.butterfly import moves_scores as scores
from butterquant_assets.butterfly.moves_scores import BASELINES, DIRECTION, QUIET
from butterquant_assets.butterfly.short_term import direction_of, quiet_of
from butterquant_assets.butterfly.short_term_schemas import evaluation_contract
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.learning import metrics
from butterquant_tests.butterfly.short_term_cases import made_up_rows

BOUNDARIES = ("2014-01-01", "2015-01-01")


def _case(
    edge: float, episodes: int = 24, seed: int = 0, tilt: float = 0.0
) -> tuple[pd.DataFrame, np.ndarray, dict[str, np.ndarray]]:
    """A fair market in which a learner knows the direction with weight `edge`; `tilt` is knowledge that is false."""
    random = np.random.default_rng(seed)
    rows = 480
    vol = 0.3 * np.exp(0.4 * random.standard_normal(rows))
    moved = vol * np.sqrt(7 / 252) * random.standard_normal(rows)
    frame = pd.DataFrame(
        {
            "session": pd.to_datetime("2014-01-02") + pd.to_timedelta(np.arange(rows) // 4, unit="D"),
            "episode": [f"e{k * episodes // rows}" for k in range(rows)],
            "garch_vol_7": vol,
            "return_7": moved,
            "direction_7": direction_of(moved),
            "quiet_7": quiet_of(moved),
        }
    )
    made = scores.baseline_probabilities(frame.iloc[:240], frame, DIRECTION)
    noise = np.zeros((rows, 3))
    noise[:, 0], noise[:, 2] = tilt, -tilt
    known = edge * np.eye(3)[DIRECTION.labels(frame)] + noise * random.choice([-1, 1], rows)[:, None]
    logits = np.log(made["garch_normal"]) + known
    made["learner"] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return frame, np.repeat([0, 1], rows // 2), made


def test_garch_normal_probabilities_are_those_of_scipy() -> None:
    rows = made_up_rows()
    sd = rows["garch_vol_7"].to_numpy() * np.sqrt(7 / 252)
    three = scores.garch_normal_probabilities(rows, DIRECTION)
    np.testing.assert_allclose(three[:, 0], stats.norm.cdf(-0.02, scale=sd), rtol=1e-12)
    np.testing.assert_allclose(three[:, 2], stats.norm.sf(0.02, scale=sd), rtol=1e-12)
    two = scores.garch_normal_probabilities(rows, QUIET)
    np.testing.assert_allclose(two[:, 1], three[:, 1], rtol=1e-12)
    np.testing.assert_allclose(two.sum(axis=1), 1.0, rtol=1e-12)


def test_filtered_historical_probabilities_are_smoothed_counts() -> None:
    rows = made_up_rows()
    train, test = rows.iloc[:200], rows.iloc[200:240]
    found = scores.garch_historical_probabilities(train, test, DIRECTION)
    for row, p in zip(test.itertuples(), found, strict=True):
        scaled = train["return_7"] / train["garch_vol_7"] * row.garch_vol_7
        below, above = (scaled < -0.02 * (1 + 1e-12)).sum(), (scaled > 0.02 * (1 + 1e-12)).sum()
        assert p.tolist() == pytest.approx([(below + 1) / 203, (200 - below - above + 1) / 203, (above + 1) / 203])
    two = scores.garch_historical_probabilities(train, test, QUIET)
    np.testing.assert_allclose(two[:, 1], found[:, 1], rtol=1e-12)


def test_on_a_fair_market_the_normal_is_calibrated() -> None:
    frame, fold, made = _case(0.0)
    table = scores.evaluate(frame, fold, BOUNDARIES, made, DIRECTION, seed=1)
    chosen = table[(table["predictor"] == "garch_normal") & (table["part"] == "all")].set_index("metric")["value"]
    expected = -(made["garch_normal"] * np.log(made["garch_normal"])).sum(axis=1).mean()
    assert chosen["log_loss"] == pytest.approx(expected, abs=0.05)


def test_every_figure_is_that_of_the_metrics() -> None:
    frame, fold, made = _case(0.5)
    table = scores.evaluate(frame, fold, BOUNDARIES, made, DIRECTION, seed=1)
    assert evaluation_contract("butterfly/direction_model").validate(table).reasons() == []
    found = table.set_index(["predictor", "part", "metric"])["value"]
    truth = DIRECTION.labels(frame)
    for part, mask in {"2014-01-01": fold == 0, "2015-01-01": fold == 1, "all": fold >= 0}.items():
        for name, p in made.items():
            expected = metrics.evaluate(p[mask], truth[mask], 3)
            for metric in metrics.SCALARS:
                assert found[name, part, metric] == pytest.approx(expected[metric], rel=1e-12)
        assert found["all_rows", part, "share_1"] == pytest.approx((truth[mask] == 1).mean())
    losses = {name: metrics.row_log_loss(p, truth).mean() for name, p in made.items()}
    assert found["learner", "all", "gain"] == pytest.approx(losses["garch_normal"] - losses["learner"], rel=1e-9)
    assert found["learner", "all", "gain_low"] < found["learner", "all", "gain"] < found["learner", "all", "gain_high"]
    assert found["all_rows", "all", "episodes"] == 24


def test_knowledge_is_claimed_only_on_rows_whose_choice_does_not_look_ahead() -> None:
    frame, fold, made = _case(0.8)
    free = scores.verdict(frame, fold, made, "learner", DIRECTION, seed=1, spread_over_episodes=False)
    assert free.beats_garch_normal
    assert free.beats_baselines
    assert free.edge_claimed
    assert free.sentence.endswith("it beats every baseline.")
    sampled = scores.verdict(frame, fold, made, "learner", DIRECTION, seed=1)
    assert sampled.beats_baselines
    assert not sampled.edge_claimed
    assert sampled.sentence.endswith("knows some of the future; no edge is claimed.")


def test_false_knowledge_is_worse_than_the_baseline() -> None:
    frame, fold, made = _case(0.0, tilt=1.0)
    verdict = scores.verdict(frame, fold, made, "learner", DIRECTION, seed=1, spread_over_episodes=False)
    assert verdict.high < 0
    assert verdict.sentence.endswith("it is worse than GARCH-normal probabilities.")


def test_a_learner_that_adds_nothing_claims_nothing() -> None:
    frame, fold, made = _case(0.0)
    verdict = scores.verdict(frame, fold, made, "learner", DIRECTION, seed=1, spread_over_episodes=False)
    assert verdict.gain == pytest.approx(0.0, abs=1e-12)
    assert not verdict.beats_garch_normal
    assert "no edge over GARCH-normal probabilities is shown" in verdict.sentence


def test_few_episodes_show_nothing_and_one_has_no_interval() -> None:
    frame, fold, made = _case(0.8, episodes=5)
    verdict = scores.verdict(frame, fold, made, "learner", DIRECTION, seed=1, spread_over_episodes=False)
    assert not verdict.beats_garch_normal
    assert "fewer than 6 episodes" in verdict.sentence
    frame, fold, made = _case(0.8, episodes=1)
    one = scores.verdict(frame, fold, made, "learner", DIRECTION, seed=1)
    assert one.to_json()["low"] is None


def test_baselines_learn_from_training_rows_alone() -> None:
    rows = made_up_rows()
    train, test = rows.iloc[:400], rows.iloc[400:600]
    changed = test.assign(return_7=-test["return_7"], direction_7=0.0, quiet_7=0.0)
    for task in (DIRECTION, QUIET):
        one, other = (scores.baseline_probabilities(train, part, task) for part in (test, changed))
        assert set(one) == set(BASELINES)
        for name in BASELINES:
            assert one[name].tobytes() == other[name].tobytes()
            np.testing.assert_allclose(one[name].sum(axis=1), 1.0, rtol=1e-12)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="'loud' is no task; use one of direction, quiet"):
        scores.task_of("loud")
