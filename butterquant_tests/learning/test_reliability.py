"""Measures of calibration, against model-diagnostics, plain loops and the binomial distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_diagnostics.scoring import SquaredError, decompose
from scipy.stats import binom

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning import reliability
from butterquant_assets.learning.metrics import evaluate, expected_calibration_error
from butterquant_assets.learning.reliability import (
    brier_decomposition,
    calibration_guarantee,
    ece_by_chance_in_episodes,
    ece_under_perfect_calibration,
    reliability_table,
)


def sample(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels drawn from them."""
    random = np.random.default_rng(seed)
    p = random.dirichlet([2, 0.6, 0.4, 2], size=n)
    return p, (p.cumsum(axis=1) < random.random((n, 1))).sum(axis=1).clip(0, 3)


def test_the_limit_of_one_bin_is_a_binomial_quantile() -> None:
    p = np.tile([0.64, 0.36], (50, 1))
    hits = np.arange(51)
    gaps = np.abs(hits / 50 - 0.64)
    order = np.argsort(gaps)
    cumulative = np.cumsum(binom.pmf(hits, 50, 0.64)[order])
    exact = gaps[order][np.searchsorted(cumulative, 0.95)]
    assert ece_under_perfect_calibration(p, seed=1, draws=20_000) == pytest.approx(exact, abs=1e-12)


def test_the_limit_is_the_quantile_of_errors_of_simulated_labels() -> None:
    p, _ = sample(200)
    random = np.random.default_rng(2)
    errors = []
    for _ in range(3000):
        labels = (p.cumsum(axis=1) < random.random((200, 1))).sum(axis=1).clip(0, 3)
        errors.append(expected_calibration_error(p, labels))
    for quantile in (0.5, 0.95):
        found = ece_under_perfect_calibration(p, seed=3, draws=3000, quantile=quantile)
        assert found == pytest.approx(np.quantile(errors, quantile), rel=0.04)


def test_right_probabilities_stay_below_their_limit_19_times_in_20() -> None:
    below = []
    for seed in range(200):
        p, y = sample(300, seed)
        below.append(expected_calibration_error(p, y) <= ece_under_perfect_calibration(p, seed=seed, draws=200))
    assert 0.90 <= np.mean(below) <= 0.985


def test_right_probabilities_with_shared_luck_stay_below_the_limit_of_their_episodes() -> None:
    """Rows of an episode are drawn with one uniform number: chance alone is far larger than for independent rows."""
    below, independent = [], []
    for seed in range(100):
        p = np.repeat(sample(80, seed)[0], 10, axis=0)
        episode = np.repeat(np.arange(80), 10)
        uniform = np.random.default_rng([9, seed]).random(80)[episode][:, None]
        y = (p.cumsum(axis=1) < uniform).sum(axis=1).clip(0, 3)
        error = expected_calibration_error(p, y)
        below.append(error <= ece_by_chance_in_episodes(p, y, episode, seed=seed, draws=300))
        independent.append(error <= ece_under_perfect_calibration(p, seed=seed, draws=100))
    assert 0.88 <= np.mean(below) <= 1.0
    assert np.mean(independent) < 0.5


def test_a_systematic_fault_exceeds_the_limit_of_the_episodes() -> None:
    p, y = sample(2000, 3)
    wrong = p**3 / (p**3).sum(axis=1, keepdims=True)
    episode = np.repeat(np.arange(50), 40)
    assert expected_calibration_error(wrong, y) > ece_by_chance_in_episodes(wrong, y, episode, seed=1)


def test_the_limit_depends_on_the_seed_only_and_not_on_how_draws_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    p, _ = sample(100)
    whole = ece_under_perfect_calibration(p, seed=4, draws=100)
    assert whole == ece_under_perfect_calibration(p, seed=4, draws=100)
    assert whole != ece_under_perfect_calibration(p, seed=5, draws=100)
    monkeypatch.setattr(reliability, "UNIFORMS_PER_CHUNK", 700)
    assert whole == ece_under_perfect_calibration(p, seed=4, draws=100)


def test_more_rows_leave_less_to_chance() -> None:
    limits = [ece_under_perfect_calibration(sample(n)[0], seed=0, draws=300) for n in (100, 1000, 10_000)]
    assert limits[0] > 2 * limits[1] > 4 * limits[2]


def test_certain_predictions_leave_nothing_to_chance() -> None:
    assert ece_under_perfect_calibration(np.eye(4), seed=0, draws=10) == 0


def test_a_reliability_table_is_what_a_plain_loop_counts() -> None:
    p, y = sample(300)
    p[0] = [0.0, 0.2, 0.3, 0.5]
    table = reliability_table(p, y, bins=5)
    assert list(table.columns) == ["class", "bin", "lower", "upper", "count", "mean_predicted", "observed"]
    assert len(table) == 20
    for row in table.to_dict("records"):
        k = row["class"]
        inside = (p[:, k] > row["lower"]) & (p[:, k] <= row["upper"])
        inside |= (p[:, k] == 0) & (row["bin"] == 0)
        assert row["count"] == inside.sum()
        if inside.any():
            assert row["mean_predicted"] == pytest.approx(p[inside, k].mean(), rel=1e-12)
            assert row["observed"] == pytest.approx((y[inside] == k).mean(), rel=1e-12)


def test_an_empty_bin_has_no_mean_rather_than_a_zero() -> None:
    table = reliability_table(np.tile([0.1, 0.9], (3, 1)), [1, 1, 0], n_classes=2)
    filled = table[table["count"] > 0]
    assert filled[["class", "bin", "count"]].to_numpy().tolist() == [[0, 0, 3], [1, 8, 3]]
    assert filled["observed"].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert table.loc[table["count"] == 0, ["mean_predicted", "observed"]].isna().all(axis=None)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 1000))
def test_the_parts_of_the_brier_score_add_up(n: int, bins: int, seed: int) -> None:
    p, y = sample(n, seed)
    parts = brier_decomposition(p, y, bins=bins)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bin"]
    assert parts["brier"] == pytest.approx(evaluate(p, y)["brier"], abs=1e-12)
    assert total == pytest.approx(parts["brier"], abs=1e-12)
    assert min(parts["reliability"], parts["resolution"], parts["uncertainty"]) >= 0


def test_the_parts_are_those_of_a_plain_computation() -> None:
    p, y = sample(400, seed=6)
    expected = dict.fromkeys(("reliability", "resolution", "uncertainty", "within_bin"), 0.0)
    for k in range(4):
        f, o = p[:, k], (y == k).astype(float)
        expected["uncertainty"] += o.mean() * (1 - o.mean())
        for b in range(10):
            inside = (f > b / 10) & (f <= (b + 1) / 10)
            if inside.any():
                share, fb, ob = inside.mean(), f[inside].mean(), o[inside].mean()
                expected["reliability"] += share * (fb - ob) ** 2
                expected["resolution"] += share * (ob - o.mean()) ** 2
                variance = ((f[inside] - fb) ** 2).mean()
                covariance = ((f[inside] - fb) * (o[inside] - ob)).mean()
                expected["within_bin"] += share * (variance - 2 * covariance)
    found = brier_decomposition(p, y)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12)


def test_the_parts_are_those_of_model_diagnostics_where_both_recalibrate_alike() -> None:
    """It recalibrates by isotonic regression: the same as bins where each holds one value and frequencies ascend."""
    counts, hits = np.array([40, 60, 50, 30]), np.array([3, 14, 28, 25])
    f = np.repeat([0.05, 0.35, 0.65, 0.95], counts)
    y = np.concatenate([np.arange(n) < h for n, h in zip(counts, hits, strict=True)]).astype(np.int64)
    parts = brier_decomposition(np.column_stack([1 - f, f]), y, n_classes=2)
    theirs = decompose(y, f, scoring_function=SquaredError()).row(0, named=True)
    assert parts["within_bin"] == pytest.approx(0, abs=1e-15)
    names = {"reliability": "miscalibration", "resolution": "discrimination"}
    names |= {"uncertainty": "uncertainty", "brier": "score"}
    for ours, their in names.items():
        # Two classes mirror each other, so each part counts twice.
        assert parts[ours] == pytest.approx(2 * theirs[their], rel=1e-9)


def test_a_guarantee_holds_for_right_probabilities_and_fails_for_worse_ones() -> None:
    p, y = sample(1000, seed=7)
    sharp = p**2 / (p**2).sum(axis=1, keepdims=True)
    kept, broken = calibration_guarantee(p, sharp, y, seed=0), calibration_guarantee(sharp, p, y, seed=0)
    assert kept.holds
    assert not broken.calibrated
    assert not broken.no_worse
    assert not broken.holds
    assert kept.ece_uncalibrated == broken.ece == evaluate(sharp, y)["ece"]
    assert kept.log_loss == broken.log_loss_uncalibrated == pytest.approx(evaluate(p, y)["log_loss"])
    assert kept.ece_limit == ece_under_perfect_calibration(p, seed=0)
    assert kept.to_json()["holds"] is True
    assert kept.rows == 1000
    same = calibration_guarantee(p, p, y, seed=0)
    assert same.no_worse


def test_what_cannot_be_measured_is_refused() -> None:
    p, y = sample(10)
    for options in ({"draws": 0}, {"quantile": 1.5}, {"bins": 0}):
        with pytest.raises(ConfigError):
            ece_under_perfect_calibration(p, seed=0, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="bins is 0"):
        reliability_table(p, y, bins=0)
    with pytest.raises(DataError, match="no rows"):
        ece_under_perfect_calibration(np.empty((0, 4)), seed=0)
    with pytest.raises(DataError, match="no probability distribution"):
        brier_decomposition(p * 0.5, y)
    with pytest.raises(ValueError, match="shape"):
        ece_under_perfect_calibration([0.5, 0.5], seed=0)
