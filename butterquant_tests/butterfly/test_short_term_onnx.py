"""The short-term models from their 28 inputs alone: natively as trained, and in ONNX as natively."""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np
import pytest

from butterquant_assets.butterfly import moves, volatility
from butterquant_assets.butterfly.moves_scores import TASKS, garch_normal_probabilities
from butterquant_assets.butterfly.short_term_onnx import (
    Served,
    ServedMoves,
    ServedVolatility,
    check_parity,
    moves_card,
    restore_moves,
    restore_volatility,
    rows_to_compare,
    volatility_card,
)
from butterquant_assets.butterfly.short_term_training import INPUTS, inputs_of, reference_medians
from butterquant_assets.butterfly.volatility import TrainedVolatility
from butterquant_assets.foundation.errors import DataError, ModelStoreError
from butterquant_assets.foundation.model_content import canonical_json
from butterquant_assets.learning.onnx_export import open_session, run_session
from butterquant_tests.butterfly.short_term_cases import DATA_VERSIONS, SMALL, made_up_rows

NAMES = ("volatility", "mlp", "direction", "quiet")
VERSIONS = {"data_versions": DATA_VERSIONS, "code_version": "c" * 16}


@lru_cache
def _volatility() -> TrainedVolatility:
    return volatility.train_and_judge(made_up_rows(), SMALL, **VERSIONS)


@lru_cache
def _moves(task: str) -> moves.TrainedMoves:
    return moves.train_and_judge(made_up_rows(), task, SMALL, **VERSIONS)


@lru_cache
def served(name: str) -> Served:
    if name in TASKS:
        return restore_moves(_moves(name).files, _moves(name).training)
    primary = restore_volatility(_volatility().files, _volatility().training)
    return ServedVolatility(_volatility().models["mlp"], primary.medians) if name == "mlp" else primary


@lru_cache
def exported(name: str) -> bytes:
    return served(name).export()


@lru_cache
def many_rows() -> np.ndarray:
    """10,000 rows of inputs as they occur, some far outside, one value in twenty missing, one row empty."""
    random = np.random.default_rng(3)
    known = inputs_of(made_up_rows())
    X = known[random.integers(0, len(known), 10_000)]
    X[:, :23] *= random.choice([1.0, 1.0, 1.0, 20.0], size=(10_000, 1))
    X = np.where(random.random(X.shape) < 0.05, np.nan, X)
    X[7] = np.nan
    return X


@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_rows_with_missing_values_get_the_native_answers_at_every_batch_size(name: str) -> None:
    report = check_parity(served(name), exported(name), many_rows())
    assert report["batch"].tolist() == [1, 2, 257, 10_000]
    assert (report["max_abs_difference"] <= 1e-5).all()
    answers = run_session(open_session(exported(name)), many_rows())
    assert np.isfinite(answers).all()
    if name in TASKS:
        assert answers.sum(axis=1) == pytest.approx(np.ones(10_000), abs=1e-6)
    assert np.ptp(answers, axis=0).min() > 0.05  # rows do get different answers


def test_the_forecast_from_inputs_is_the_one_that_was_judged() -> None:
    rows, trained = made_up_rows(), _volatility()
    for name, kind in (("volatility", volatility.PRIMARY), ("mlp", "mlp")):
        expected = trained.models[kind].forecast(rows).volatility
        np.testing.assert_allclose(served(name).predict(inputs_of(rows))[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_probabilities_from_inputs_are_the_blend_that_was_judged(name: str) -> None:
    rows, trained, task = made_up_rows(), _moves(name), TASKS[name]
    expected = trained.weights[moves.GARCH_NORMAL] * garch_normal_probabilities(rows, task)
    for kind in moves.LEARNERS:
        expected = expected + trained.weights[kind] * moves.predict(trained.models[kind], rows, task)
    np.testing.assert_allclose(served(name).predict(inputs_of(rows)), expected, atol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_a_blend_of_the_baseline_alone_is_the_normal_law_at_any_volatility(name: str) -> None:
    learnt = served(name)
    assert isinstance(learnt, ServedMoves)
    weights = dict.fromkeys(moves.POOLED, 0.0) | {moves.GARCH_NORMAL: 1.0}
    alone = ServedMoves(learnt.task, learnt.members, weights, learnt.medians)
    X = np.zeros((5, len(INPUTS)))
    annual = np.array([0.01, 0.08, 0.2, 0.6, 3.0])
    X[:, INPUTS.index("log_garch_variance_7")] = np.log(annual**2)
    tail = np.array([NormalDist(0.0, vol * (7 / 252) ** 0.5).cdf(-0.02) for vol in annual])
    expected = [tail, 1 - 2 * tail, tail] if name == "direction" else [2 * tail, 1 - 2 * tail]
    for answer in (alone.predict(X), run_session(open_session(alone.export()), X)):
        np.testing.assert_allclose(answer, np.column_stack(expected), atol=2e-7)


@pytest.mark.parametrize("name", ["volatility", "direction"])
def test_a_missing_log_variance_counts_as_the_median_of_the_training_rows_in_anchor_and_base(name: str) -> None:
    medians = reference_medians(made_up_rows())
    assert list(medians) == list(INPUTS[23:])
    assert served(name).medians.tolist() == list(medians.values())
    model = served(name)
    X = inputs_of(made_up_rows())[:50]
    holed, filled = X.copy(), X.copy()
    for column, value in medians.items():
        holed[:, INPUTS.index(column)], filled[:, INPUTS.index(column)] = np.nan, value
    if isinstance(model, ServedMoves):
        weights = dict.fromkeys(moves.POOLED, 0.0) | {moves.GARCH_NORMAL: 1.0}
        model = ServedMoves(model.task, model.members, weights, model.medians)
        np.testing.assert_allclose(model.predict(holed), model.predict(filled), atol=1e-7)
    else:  # trees route what is missing their own way, so only the anchor is compared
        seen = [model.predict(values)[:, 0] for values in (holed, filled)]
        missed = [_residual(model, values) for values in (holed, filled)]
        np.testing.assert_allclose(seen[0] / np.exp(missed[0] / 2), seen[1] / np.exp(missed[1] / 2), rtol=1e-6)


def _residual(model: ServedVolatility, X: np.ndarray) -> np.ndarray:
    return volatility.regression.predict_regressor(model.model.regressor, X)


@pytest.mark.parametrize("name", NAMES)
def test_equal_models_give_equal_bytes(name: str) -> None:
    assert served(name).export() == exported(name)


def test_another_models_file_is_refused() -> None:
    with pytest.raises(ModelStoreError, match="differ by"):
        check_parity(served("volatility"), exported("mlp"), many_rows()[:10])
    with pytest.raises(ModelStoreError, match="returns shape"):
        check_parity(served("quiet"), exported("direction"), many_rows()[:10])
    with pytest.raises(DataError, match="no row to compare"):
        check_parity(served("quiet"), exported("quiet"), many_rows()[:0])


def test_rows_to_compare_are_real_inputs_with_holes() -> None:
    rows = made_up_rows()
    compared = rows_to_compare(rows)
    assert compared.shape == (len(rows), len(INPUTS))
    assert 0.08 < np.isnan(compared).mean() < 0.13
    known = inputs_of(rows)
    kept = ~np.isnan(compared)
    np.testing.assert_array_equal(compared[kept], known[kept])
    assert np.isnan(rows_to_compare(rows, seed=1)).tolist() != np.isnan(compared).tolist()


def test_cards_say_what_comes_out_and_how_the_export_compares() -> None:
    X = many_rows()[:100]
    parity = check_parity(served("volatility"), exported("volatility"), X)
    card = volatility_card(_volatility().training, _volatility().evaluation, parity)
    assert card["output"] == {"name": "prediction", "type": "float32", "unit": "volatility, per year"}
    assert card["input"]["features"] == list(INPUTS)
    assert card["evaluation"]["all"]["lightgbm"]["rmse_over_garch"] < 1
    assert max(card["onnx_parity"].values()) <= 1e-5
    other = moves_card(
        _moves("quiet").training, _moves("quiet").evaluation, check_parity(served("quiet"), exported("quiet"), X)
    )
    assert other["output"]["classes"] == list(TASKS["quiet"].class_names)
    assert other["architecture"]["weights"] == _moves("quiet").weights
    for made in (card, other):
        assert canonical_json(made)
        assert made["data_versions"] == DATA_VERSIONS
