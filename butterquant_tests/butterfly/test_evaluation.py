"""Baselines, gates and scores of the success model against plain computations; what a verdict may claim."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import evaluation
from butterquant_assets.butterfly.evaluation import (
    baseline_predictions,
    class_values,
    decide_walk,
    evaluate_walk,
    expected_roi,
    total_score_rule_probabilities,
    verdict,
)
from butterquant_assets.butterfly.execution_threshold import choose_threshold
from butterquant_assets.butterfly.geometry import geometry_probabilities
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.metrics import row_log_loss
from butterquant_assets.learning.walk_forward import Fold, walk_forward
from butterquant_tests.butterfly.market_cases import calm, knows_the_calm, market, simulate_exit, training_rows

FEATURES = ("current_iv", "profit_ratio", "delta")
EMBARGO = 5


def folds_of(rows: pd.DataFrame, minimum_rows: int = 90, step_rows: int = 60) -> list[Fold]:
    return walk_forward(
        rows["session"].to_numpy(),
        rows["evaluation_session"].to_numpy(),
        minimum_train_rows=minimum_rows,
        minimum_train_episodes=2,
        step_rows=step_rows,
        embargo_days=EMBARGO,
        episode=rows["episode"].to_numpy(),
    )


def fair_case(n: int = 300) -> tuple[pd.DataFrame, pd.DataFrame, list[Fold]]:
    analyses = market(n)
    rows = training_rows(analyses, simulate_exit(analyses, 1))
    return analyses, rows, folds_of(rows)


def test_the_total_score_rule_gives_the_frequencies_of_the_band() -> None:
    scores, labels = [40.0] * 96 + [80.0] * 4, [0] * 96 + [3] * 4
    p = total_score_rule_probabilities(scores, labels, [44.9, 45.0, 80.0])
    overall = np.array([97, 1, 1, 5]) / 104
    assert p[0] == pytest.approx((np.array([96, 0, 0, 0]) + 4 * overall) / 100)
    assert p[1] == pytest.approx(overall)  # no training row in 45 .. 60
    assert p[2] == pytest.approx((np.array([0, 0, 0, 4]) + 4 * overall) / 8)
    with pytest.raises(DataError, match="total_score is missing"):
        total_score_rule_probabilities(scores, labels, [np.nan])


def test_expected_roi_uses_class_means_and_leaves_out_classes_without_rows() -> None:
    values = class_values([0, 0, 3, 2], [-0.5, -0.7, 0.9, 0.1])
    assert values == pytest.approx([-0.6, np.nan, 0.1, 0.9], nan_ok=True)
    assert expected_roi([[0.25, 0.5, 0.0, 0.25]], values) == pytest.approx([(0.25 * -0.6 + 0.25 * 0.9) / 0.5])
    assert np.isnan(expected_roi([[0.25] * 4], [np.nan] * 4)).all()
    with pytest.raises(DataError, match="1 labelled rows lack roi_net"):
        class_values([0, 1], [0.1, np.nan])


def test_baselines_are_given_for_tested_rows_only_and_match_analyses_by_key() -> None:
    analyses, rows, folds = fair_case()
    # Analyses in another order, with rows nobody asked for.
    shuffled = pd.concat([market(330), analyses]).drop_duplicates(["session", "ticker"], keep="last")
    shuffled = shuffled.sample(frac=1, random_state=0)
    found = baseline_predictions(rows, shuffled, folds, label="label_mark", features=FEATURES)
    tested = evaluation.tested_rows(folds)
    assert 0 < tested.sum() < len(rows)
    assert list(found) == ["geometry", "logistic_regression", "total_score_rule", "class_prior", "majority_class"]
    for probabilities in found.values():
        assert np.isnan(probabilities[~tested]).all()
        assert probabilities[tested].sum(axis=1) == pytest.approx(np.ones(tested.sum()))
    assert found["geometry"][tested].tolist() == geometry_probabilities(analyses, "label_mark")[tested].tolist()
    for fold in folds:
        counts = np.bincount(rows.loc[fold.train, "label_mark"].astype(int), minlength=4)
        expected = np.tile((counts + 1) / (counts.sum() + 4), (fold.test.sum(), 1))
        assert found["class_prior"][fold.test] == pytest.approx(expected)


def test_baselines_of_a_fold_learn_from_its_training_rows_only() -> None:
    analyses, rows, folds = fair_case(240)
    options = {"label": "label_mark", "features": FEATURES}
    first = baseline_predictions(rows, analyses, folds, **options)
    for fold in folds:
        other = rows.copy()
        other.loc[~fold.train, "label_mark"] = 3 - other.loc[~fold.train, "label_mark"]
        second = baseline_predictions(other, analyses, folds, **options)
        assert all(np.array_equal(first[name][fold.test], second[name][fold.test]) for name in first)
    # Folds that learn from more rows say something else, so the labels do count.
    assert first["class_prior"][folds[0].test][0].tolist() != first["class_prior"][folds[-1].test][0].tolist()


def test_a_training_row_without_analysis_is_refused() -> None:
    analyses, rows, folds = fair_case(150)
    with pytest.raises(DataError, match="1 training rows have no analysis"):
        baseline_predictions(rows, analyses.iloc[1:], folds, label="label_mark", features=FEATURES)


def random_probabilities(n: int, seed: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([2.0, 1.0, 1.0, 2.0], size=n)


def test_gates_equal_a_plain_computation_fold_by_fold() -> None:
    _, rows, folds = fair_case(600)
    p = random_probabilities(len(rows))
    gates = decide_walk(p, rows, folds, label="label_mark", seed=7)
    y, net = rows["label_mark"].to_numpy().astype(int), rows["roi_net"].to_numpy()
    boundaries = [fold.boundary for fold in folds]
    expected, ours, document = np.full(len(rows), np.nan), np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for row in range(len(rows)):
        entered = np.datetime64(rows["session"][row], "D")
        passed = [boundary for boundary in boundaries if boundary <= entered]
        if not passed:
            continue
        left = rows["evaluation_session"].to_numpy().astype("datetime64[D]")
        known = left < passed[-1] - np.timedelta64(EMBARGO, "D")
        expected[row] = sum(p[row, k] * net[known & (y == k)].mean() for k in range(4))
        ours[row] = expected[row] > 0.15
        document[row] = 0.05 * p[row, 1] + 0.20 * p[row, 2] + 0.40 * p[row, 3] > 0.15
    np.testing.assert_allclose(gates.expected, expected, rtol=1e-12)
    assert gates.taken["our_gate"].tolist() == ours.tolist()
    assert gates.taken["document_gate"].tolist() == document.tolist()
    assert 0 < ours.sum() < np.isfinite(expected).sum()
    assert 0 < document.sum() < np.isfinite(expected).sum()


def test_the_threshold_of_a_fold_is_chosen_on_outcomes_of_earlier_folds_known_at_its_boundary() -> None:
    _, rows, folds = fair_case(900)
    folds = folds_of(rows, step_rows=180)
    # A predictor that knows the future finds a threshold as soon as it may look at enough rows.
    y = rows["label_mark"].to_numpy().astype(int)
    p = 0.1 + 0.6 * np.eye(4)[y]
    gates = decide_walk(p, rows, folds, label="label_mark", seed=7)
    assert gates.thresholds[str(folds[0].boundary)[:7]].threshold is None  # there is no earlier fold
    left = rows["evaluation_session"].to_numpy().astype("datetime64[D]")
    entered = rows["session"].to_numpy().astype("datetime64[D]")
    found = []
    for fold in folds[1:]:
        known = (entered >= folds[0].boundary) & (left < fold.boundary - np.timedelta64(EMBARGO, "D"))
        plain = choose_threshold(
            gates.expected[known],
            rows.loc[known, "roi_net"],
            rows.loc[known, "episode"],
            seed=7,
            session=rows.loc[known, "session"].to_numpy(),
        )
        chosen = gates.thresholds[str(fold.boundary)[:7]]
        assert chosen.to_json() == plain.to_json()
        assert chosen.threshold is not None
        assert gates.taken["chosen_gate"][fold.test].tolist() == (gates.expected[fold.test] > chosen.threshold).tolist()
        found.append(gates.taken["chosen_gate"][fold.test].any())
    assert any(found)
    assert not gates.taken["chosen_gate"][folds[0].test].any()


def test_returns_not_known_at_a_boundary_change_no_decision_after_it() -> None:
    _, rows, _ = fair_case(900)
    folds = folds_of(rows, step_rows=180)
    p = 0.1 + 0.6 * np.eye(4)[rows["label_mark"].to_numpy().astype(int)]
    before = decide_walk(p, rows, folds, label="label_mark", seed=7)
    fold = folds[-1]
    other = rows.copy()
    other.loc[~fold.train, ["roi_net", "roi_mark"]] = -1.0
    other.loc[~fold.train, "label_mark"] = 0.0
    after = decide_walk(p, other, folds, label="label_mark", seed=7)
    until = rows["session"].to_numpy().astype("datetime64[D]") >= folds[0].boundary
    assert np.array_equal(before.expected[until], after.expected[until])
    for gate, mask in before.taken.items():
        assert mask.tolist() == after.taken[gate].tolist()
    assert {k: v.threshold for k, v in before.thresholds.items()} == {
        k: v.threshold for k, v in after.thresholds.items()
    }
    # What was known does count: the same change made to the training rows moves the expected returns.
    known = rows.copy()
    known.loc[fold.train, "roi_net"] -= 0.5
    assert not np.allclose(
        decide_walk(p, known, folds, label="label_mark", seed=7).expected[fold.test], before.expected[fold.test]
    )


def test_the_evaluation_equals_a_plain_computation() -> None:
    _, rows, folds = fair_case(400)
    tested = evaluation.tested_rows(folds)
    p = random_probabilities(len(rows))
    p[~tested] = np.nan
    sure = np.where(tested[:, None], [0.1, 0.1, 0.1, 0.7], np.nan)
    gates = {"model": decide_walk(sure, rows, folds, label="label_mark", seed=7)}
    table = evaluate_walk({"model": sure, "noise": p}, gates, rows, folds, label="label_mark", seed=7)
    assert not table.duplicated(["predictor", "part", "metric"]).any()
    cell = table.set_index(["predictor", "part", "metric"])["value"]
    months = [str(fold.boundary)[:7] for fold in folds]
    assert set(table["part"]) == {"walk_forward", *months}
    parts = {"walk_forward": tested} | dict(zip(months, (fold.test for fold in folds), strict=True))
    for part, mask in parts.items():
        y = rows.loc[mask, "label_mark"].to_numpy().astype(int)
        for name, probabilities in (("model", sure), ("noise", p)):
            guess = probabilities[mask]
            assert cell[name, part, "log_loss"] == pytest.approx(-np.log(guess[np.arange(len(y)), y]).mean())
            assert cell[name, part, "accuracy"] == pytest.approx((guess.argmax(axis=1) == y).mean())
            assert cell[name, part, "brier"] == pytest.approx(((guess - np.eye(4)[y]) ** 2).sum(axis=1).mean())
    assert cell["all_rows", "walk_forward", "rows"] == tested.sum()
    assert cell["all_rows", "walk_forward", "episodes"] == rows.loc[tested, "episode"].nunique()
    assert cell["all_rows", "walk_forward", "mean_roi_mark"] == pytest.approx(rows.loc[tested, "roi_mark"].mean())
    # .1 x .05 + .1 x .20 + .7 x .40 = .305 > .15: the document's gate takes every row of this model.
    assert cell["model", "walk_forward", "document_gate_rows"] == tested.sum()
    assert cell["model", "walk_forward", "document_gate_mean_roi_net"] == pytest.approx(
        rows.loc[tested, "roi_net"].mean()
    )
    ours = gates["model"].taken["our_gate"]
    assert cell["model", "walk_forward", "our_gate_rows"] == ours.sum()
    assert cell["model", "walk_forward", "our_gate_mean_roi_net"] == pytest.approx(
        rows.loc[ours, "roi_net"].mean(), nan_ok=True
    )


def test_bounds_hold_the_value_and_a_gate_that_takes_nothing_has_no_mean() -> None:
    _, rows, folds = fair_case()
    tested = evaluation.tested_rows(folds)
    timid = np.where(tested[:, None], [0.97, 0.01, 0.01, 0.01], np.nan)
    gates = {"model": decide_walk(timid, rows, folds, label="label_mark", seed=7)}
    table = evaluate_walk({"model": timid}, gates, rows, folds, label="label_mark", seed=7)
    found = table.set_index(["predictor", "part", "metric"])
    assert found.loc[("model", "walk_forward", "document_gate_rows"), "value"] == 0
    assert found.loc[("model", "walk_forward", "document_gate_mean_roi_net")].isna().all()
    whole = found.loc[("model", "walk_forward", "log_loss")]
    assert whole["low"] < whole["value"] < whole["high"]
    every = found.loc[("all_rows", "walk_forward", "mean_roi_net")]
    assert every["low"] < every["value"] < every["high"]
    assert not np.isinf(table[["value", "low", "high"]].to_numpy()).any()


def later_part(rows: pd.DataFrame) -> np.ndarray:
    """The last 40 % of the sessions."""
    return (rows["session"].rank(method="dense", pct=True) > 0.6).to_numpy()


def judged(
    n: int, seed: int, vol_ratio: object, model: object, sessions_per_episode: int = 3
) -> evaluation.EdgeVerdict:
    analyses = market(n, seed)
    ratio = vol_ratio(len(analyses)) if callable(vol_ratio) else vol_ratio
    rows = training_rows(analyses, simulate_exit(analyses, seed + 1, ratio), sessions_per_episode)
    geometry = geometry_probabilities(analyses, "label_mark", points=501)
    predictions = {"geometry": geometry, "model": model(analyses, geometry)}
    return verdict(predictions, rows, later_part(rows), label="label_mark", seed=7)


def knowing(analyses: pd.DataFrame, geometry: np.ndarray) -> np.ndarray:
    return knows_the_calm(analyses)


def overfitted(analyses: pd.DataFrame, geometry: np.ndarray) -> np.ndarray:
    noisy = geometry * np.exp(np.random.default_rng(0).normal(0, 0.5, geometry.shape))
    return noisy / noisy.sum(axis=1, keepdims=True)


def test_a_real_edge_is_claimed() -> None:
    found = judged(900, 0, calm, knowing)
    assert found.beats_geometry
    assert 0 < found.low < found.gain < found.high
    assert found.sentence.endswith("it beats the geometry baseline.")


def test_an_edge_under_proxy_volatilities_is_claimed_with_its_condition() -> None:
    analyses = market(900, 0)
    rows = training_rows(analyses, simulate_exit(analyses, 1, calm(len(analyses))))
    geometry = geometry_probabilities(analyses, "label_mark", points=501)
    predictions = {"geometry": geometry, "model": knows_the_calm(analyses)}
    found = verdict(predictions, rows, later_part(rows), label="label_mark", seed=7, vols_are_proxy=True)
    assert found.beats_geometry
    assert "published volatilities" in found.sentence


def test_pure_noise_on_a_fair_market_is_not_claimed_as_edge() -> None:
    """Forty fair markets: by luck about one 95 % interval lies above 0 for a model no better than geometry."""

    def slightly_noisy(analyses: pd.DataFrame, geometry: np.ndarray) -> np.ndarray:
        noisy = geometry * np.exp(np.random.default_rng(1).normal(0, 0.02, geometry.shape))
        return noisy / noisy.sum(axis=1, keepdims=True)

    claims = [judged(240, seed, 1.0, slightly_noisy).beats_geometry for seed in range(40)]
    assert sum(claims) <= 4  # binomial(40, .025) exceeds 4 with probability .002


def test_an_overfitted_model_is_said_to_be_worse() -> None:
    found = judged(900, 0, 1.0, overfitted)
    assert not found.beats_geometry
    assert found.sentence.endswith("it is worse than the geometry baseline.")


def test_few_episodes_claim_nothing_however_large_the_gain() -> None:
    found = judged(900, 0, calm, knowing, sessions_per_episode=40)
    assert found.gain > 0
    assert found.episodes < 6
    assert not found.beats_geometry
    assert "fewer than 6 episodes" in found.sentence
    single = judged(900, 0, calm, knowing, sessions_per_episode=1000)
    assert single.to_json()["low"] is None
    assert "1 episode the" in single.sentence


def test_the_verdict_is_the_same_each_time() -> None:
    assert judged(240, 3, 1.0, overfitted) == judged(240, 3, 1.0, overfitted)


def test_the_verdict_is_the_plain_difference_of_mean_log_losses_over_the_tested_rows() -> None:
    analyses = market(240)
    rows = training_rows(analyses, simulate_exit(analyses, 1))
    tested = later_part(rows)
    y = rows.loc[tested, "label_mark"].to_numpy().astype(int)
    predictions = {"geometry": random_probabilities(len(rows), 1), "model": random_probabilities(len(rows), 2)}
    losses = {name: -np.log(p[tested][np.arange(len(y)), y]).mean() for name, p in predictions.items()}
    # Rows that are not judged may lack a prediction.
    predictions["model"][~tested] = np.nan
    found = verdict(predictions, rows, tested, label="label_mark", seed=7)
    assert found.gain == pytest.approx(losses["geometry"] - losses["model"])
    assert (found.rows, found.episodes) == (tested.sum(), rows.loc[tested, "episode"].nunique())
    assert f"{losses['model']:.3f} nats" in found.sentence
    assert row_log_loss(predictions["model"][tested], y).mean() == pytest.approx(losses["model"])


def test_trades_entered_in_one_quarter_share_their_outcome() -> None:
    sessions = pd.Series(pd.to_datetime(["2015-12-31", "2016-01-04", "2016-03-31", "2016-04-01"]))
    blocks = evaluation.outcome_blocks(sessions)
    assert (np.diff(blocks) == [1, 0, 1]).all()
