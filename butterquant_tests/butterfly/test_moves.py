"""Models of moves: find what is there, claim nothing where there is nothing, and never look ahead."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import moves
from butterquant_assets.butterfly.moves import LEARNERS, POOLED, PREDICTORS, PRIMARY, TrainedMoves
from butterquant_assets.butterfly.moves_scores import DIRECTION, TASKS
from butterquant_assets.butterfly.short_term_schemas import evaluation_contract
from butterquant_assets.butterfly.short_term_training import ShortTermConfig, folds_of
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.foundation.model_content import canonical_json
from butterquant_assets.learning import metrics
from butterquant_tests.butterfly.short_term_cases import DATA_VERSIONS, SMALL, made_up_rows


def _train(rows: pd.DataFrame, task: str, config: ShortTermConfig = SMALL, *, spread: bool = False) -> TrainedMoves:
    return moves.train_and_judge(
        rows, task, config, spread_over_episodes=spread, data_versions=DATA_VERSIONS, code_version="c" * 16
    )


@lru_cache
def _trained(task: str, planted: bool = True) -> TrainedMoves:
    return _train(made_up_rows(planted), task)


def test_a_planted_tilt_of_the_direction_is_found_and_claimed() -> None:
    trained = _trained("direction")
    verdict = trained.training["verdict"]
    assert verdict["beats_baselines"]
    assert verdict["edge_claimed"]
    assert verdict["gain"] > 0.05
    assert trained.facts["verdict"] == verdict["sentence"]


@pytest.mark.parametrize("task", TASKS)
def test_where_nothing_is_planted_no_edge_is_claimed(task: str) -> None:
    verdict = _trained(task, planted=False).training["verdict"]
    assert not verdict["edge_claimed"]
    assert verdict["gain"] < 0.05


@pytest.mark.parametrize("task", TASKS)
def test_scores_are_those_of_the_probabilities_kept_beside_them(task: str) -> None:
    trained, k = _trained(task), TASKS[task].n_classes
    kept = trained.out_of_fold
    assert evaluation_contract(f"butterfly/{task}_model").validate(trained.evaluation).reasons() == []
    found = trained.evaluation.set_index(["predictor", "part", "metric"])["value"]
    truth = kept[TASKS[task].label].to_numpy().astype(np.int64)
    for name in PREDICTORS:
        p = kept[[f"p{number}_{name}" for number in range(k)]].to_numpy()
        expected = metrics.evaluate(p, truth, k)
        assert found[name, "all", "log_loss"] == pytest.approx(expected["log_loss"], rel=1e-12)
        if name == PRIMARY:
            assert trained.training["confusion_matrix"] == expected["confusion_matrix"]


def test_probabilities_of_a_fold_do_not_depend_on_anything_after_it() -> None:
    rows = made_up_rows()
    folds = folds_of(rows, SMALL)
    last = np.flatnonzero(folds[1].test).max()
    cut, whole = (moves.walk(part, DIRECTION, SMALL) for part in (rows.iloc[: last + 1], rows))
    early = folds[0].test[: last + 1] | folds[1].test[: last + 1]
    for name in PREDICTORS:
        assert cut.probabilities[name][early].tobytes() == whole.probabilities[name][: last + 1][early].tobytes()


def test_outcomes_of_tested_rows_do_not_reach_their_own_probabilities() -> None:
    rows = made_up_rows()
    fold = folds_of(rows, SMALL)[-1]
    changed = rows.copy()
    changed.loc[fold.test, "direction_7"] = 2.0 - changed.loc[fold.test, "direction_7"]
    changed.loc[fold.test, "return_7"] *= -1.0
    one, other = (moves.walk(part, DIRECTION, SMALL) for part in (rows, changed))
    for name in PREDICTORS:
        assert one.probabilities[name].tobytes() == other.probabilities[name].tobytes()


@pytest.mark.parametrize("task", TASKS)
def test_the_same_rows_and_seed_give_the_same_bytes(task: str) -> None:
    trained, again = _trained(task), _train(made_up_rows(), task)
    assert again.version == trained.version
    assert again.files == trained.files
    assert again.plots == trained.plots
    assert canonical_json(again.training) == canonical_json(trained.training)
    pd.testing.assert_frame_equal(again.evaluation, trained.evaluation, check_exact=True)


@pytest.mark.parametrize("task", TASKS)
def test_stored_models_say_what_the_trained_ones_do(task: str) -> None:
    trained, rows = _trained(task), made_up_rows()
    restored = moves.restore(trained.files)
    for kind in LEARNERS:
        one = moves.predict(trained.models[kind], rows, TASKS[task])
        assert one.tobytes() == moves.predict(restored[kind], rows, TASKS[task]).tobytes()
        np.testing.assert_allclose(one.sum(axis=1), 1.0, rtol=1e-9)


def test_another_seed_gives_another_version_and_on_sampled_rows_no_edge_is_claimed() -> None:
    other = _train(made_up_rows(), "direction", ShortTermConfig(400, 8, 400, seed=8), spread=True)
    assert other.version != _trained("direction").version
    assert other.training["verdict"]["beats_baselines"]
    assert not other.training["verdict"]["edge_claimed"]


@pytest.mark.parametrize("task", TASKS)
def test_the_blend_is_weighed_on_earlier_folds_whose_outcomes_were_known(task: str) -> None:
    rows, walked = made_up_rows(), moves.walk(made_up_rows(), TASKS[task], SMALL)
    folds, equal = folds_of(rows, SMALL), 1 / len(POOLED)
    used = [facts["weights"] for facts in walked.summary]
    assert used[0] == pytest.approx(dict.fromkeys(POOLED, equal))
    known = folds[0].test & (rows["target_session"] < pd.Timestamp(folds[1].boundary) - pd.Timedelta("5D")).to_numpy()
    assert SMALL.minimum_weighing_rows < known.sum() < folds[0].test.sum()
    assert moves.pool_weights(walked.probabilities, rows, known, TASKS[task], SMALL) == used[1]
    truth = TASKS[task].labels(rows)[known]

    def loss(weights: dict[str, float]) -> float:
        likelihood = sum(
            w * walked.probabilities[name][known][np.arange(len(truth)), truth] for name, w in weights.items()
        )
        prior = SMALL.prior_rows * sum(np.log(w) for w in weights.values()) / len(POOLED)
        return -float(np.log(likelihood).sum() + prior)

    for name in POOLED:  # no other weights nearby are better
        for step in (-0.02, 0.02):
            moved = {other: (w + step * (other == name)) / (1 + step) for other, w in used[1].items()}
            assert min(moved.values()) < 0 or loss(used[1]) < loss(moved)
    for number, fold in enumerate(folds):
        blended = sum(w * walked.probabilities[name][fold.test] for name, w in used[number].items())
        np.testing.assert_allclose(walked.probabilities[PRIMARY][fold.test], blended, atol=1e-12)
    assert _trained(task).weights == walked.weights == _trained(task).training["weights"]


def test_learners_gain_weight_where_they_know_more_than_the_baseline() -> None:
    planted, plain = _trained("direction").weights, _trained("direction", planted=False).weights
    assert planted["garch_normal"] < 0.1 < plain["garch_normal"]


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="no task"):
        _train(made_up_rows(), "loud")
    with pytest.raises(DataError, match="400 rows from 8 episodes are needed"):
        _train(made_up_rows().iloc[:300], "quiet")
