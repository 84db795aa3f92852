"""The pool: weights against another optimiser, what a prior does, and that files bring the ensemble back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from butterquant_assets.foundation.errors import DataError, ModelStoreError
from butterquant_assets.learning.calibration import Calibrator, fit_calibrator
from butterquant_assets.learning.ensemble import Ensemble, fit_weights, from_files, to_files
from butterquant_assets.learning.members import TrainedMember, train_member
from butterquant_tests.learning.test_members import FEATURES, FRESH, HELD_OUT, SETTINGS, TRAIN, member


def forecasts(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Three forecasters that each see the truth through noise, and one that knows the frequencies only."""
    random = np.random.default_rng(seed)
    truth = random.dirichlet([2, 1, 1, 2], size=n)
    labels = (random.random((n, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    predictions = {"base": np.tile(truth.mean(axis=0), (n, 1))}
    for name, noise in (("a", 0.5), ("b", 0.8), ("c", 1.5)):
        powers = truth * np.exp(noise * random.normal(size=truth.shape))
        predictions[name] = powers / powers.sum(axis=1, keepdims=True)
    return predictions, labels


def objective(weights: np.ndarray, predictions: dict[str, np.ndarray], labels: np.ndarray) -> float:
    pooled = sum(w * p for w, p in zip(weights, predictions.values(), strict=True))
    return float(-np.log(np.asarray(pooled)[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_those_of_a_general_optimiser(seed: int) -> None:
    predictions, labels = forecasts(500, seed)
    ours = fit_weights(predictions, labels)
    found = minimize(
        objective, np.full(4, 0.25), args=(predictions, labels), method="SLSQP", bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, options={"ftol": 1e-12, "maxiter": 500},
    )  # fmt: skip
    assert sum(ours.values()) == pytest.approx(1, abs=1e-12)
    assert objective(np.array([ours[name] for name in predictions]), predictions, labels) <= found.fun + 1e-7
    assert np.array([ours[name] for name in predictions]) == pytest.approx(found.x, abs=5e-3)


@given(seed=st.integers(0, 10_000), n=st.integers(5, 60))
def test_no_other_weights_are_better(seed: int, n: int) -> None:
    predictions, labels = forecasts(n, seed)
    ours = fit_weights(predictions, labels)
    best = objective(np.array([ours[name] for name in predictions]), predictions, labels)
    for other in np.random.default_rng(seed).dirichlet(np.ones(4) * 0.5, size=20):
        assert best <= objective(other, predictions, labels) + 1e-5


def test_a_forecaster_who_knows_gets_everything_and_a_useless_one_nothing() -> None:
    predictions, labels = forecasts(400, 0)
    sure = np.full((400, 4), 0.01)
    sure[np.arange(400), labels] = 0.97
    weights = fit_weights(predictions | {"oracle": sure, "fool": sure[:, ::-1]}, labels)
    assert weights["oracle"] == pytest.approx(1, abs=1e-6)
    assert weights["fool"] == 0.0


def test_a_prior_pulls_towards_the_base_the_more_the_fewer_the_episodes() -> None:
    predictions, labels = forecasts(600, 1)
    episode = np.arange(600) // 30
    prior = {"base": 3.0}
    weights = [
        fit_weights(predictions, labels)["base"],
        fit_weights(predictions, labels, prior=prior)["base"],
        fit_weights(predictions, labels, groups=episode, prior=prior)["base"],
        fit_weights(predictions, labels, groups=episode // 4, prior=prior)["base"],
    ]
    assert weights == sorted(weights)
    assert weights[-1] > weights[0] + 0.2


def test_a_prior_is_a_number_of_rows_that_only_its_entry_explains() -> None:
    """MAP with pseudo-counts, by the general optimiser."""
    predictions, labels = forecasts(200, 2)
    ours = fit_weights(predictions, labels, prior={"base": 5.0, "c": 2.0})

    def penalised(w: np.ndarray) -> float:
        names = list(predictions)
        return 200 * objective(w, predictions, labels) - 5 * np.log(w[0]) - 2 * np.log(w[names.index("c")])

    found = minimize(
        penalised, np.full(4, 0.25), method="SLSQP", bounds=[(1e-9, 1)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, options={"ftol": 1e-12, "maxiter": 500},
    )  # fmt: skip
    assert np.array([ours[name] for name in predictions]) == pytest.approx(found.x, abs=5e-3)


def test_neither_the_order_of_entries_nor_groups_without_a_prior_change_anything() -> None:
    predictions, labels = forecasts(300, 3)
    weights = fit_weights(predictions, labels)
    assert fit_weights(dict(reversed(predictions.items())), labels) == weights
    assert fit_weights(predictions, labels, groups=np.arange(300) // 10) == weights


def test_unusable_predictions_and_priors_are_refused() -> None:
    predictions, labels = forecasts(50, 0)
    with pytest.raises(DataError, match="at least one"):
        fit_weights({}, labels)
    with pytest.raises(DataError, match="probabilities of a"):
        fit_weights(predictions | {"a": predictions["a"] * 2}, labels)
    for prior in ({"base": -1.0}, {"stranger": 1.0}, {"base": float("nan")}):
        with pytest.raises(DataError, match="the prior is"):
            fit_weights(predictions, labels, prior=prior)


@pytest.fixture(scope="module")
def base() -> TrainedMember:
    return train_member(
        "mlp", TRAIN.X, TRAIN.base, HELD_OUT.X, HELD_OUT.base, features=FEATURES, settings=SETTINGS, seed=0
    )


@pytest.fixture(scope="module")
def ensemble(base: TrainedMember) -> Ensemble:
    parts = {
        "lightgbm": member("lightgbm"),
        "logistic": member("logistic"),
        "alone": member("xgboost", with_base=False),
    }
    weights = {"base": 0.1, "lightgbm": 0.6, "logistic": 0.3, "alone": 0.0}
    uncalibrated = Ensemble(base, parts, weights, Calibrator("none"))
    blend = uncalibrated.blend(uncalibrated.predict_parts(HELD_OUT.X))
    return Ensemble(base, parts, weights, fit_calibrator("sigmoid", blend, HELD_OUT.y))


def test_a_prediction_is_the_calibrated_pool_of_its_parts(ensemble: Ensemble) -> None:
    parts = ensemble.predict_parts(FRESH.X)
    assert set(parts) == {"base", "lightgbm", "logistic"}  # the one without weight is not computed
    assert set(ensemble.predict_parts(FRESH.X, unused=True)) == {*parts, "alone"}
    pooled = 0.1 * parts["base"] + 0.6 * parts["lightgbm"] + 0.3 * parts["logistic"]
    assert ensemble.predict(FRESH.X) == pytest.approx(ensemble.calibrator.apply(pooled), abs=1e-12)
    assert ensemble.features == FEATURES
    assert ensemble.n_classes == 4


def test_files_bring_an_ensemble_back(ensemble: Ensemble) -> None:
    files = to_files(ensemble)
    assert {"ensemble.json", "calibrator.safetensors", "base/member.json", "members/lightgbm/trees_0.txt"} <= set(files)
    again = from_files(files | {"out_of_fold.parquet": b"not ours"})
    assert again.predict(FRESH.X).tolist() == ensemble.predict(FRESH.X).tolist()
    assert to_files(again) == files


def test_damaged_files_are_refused(ensemble: Ensemble) -> None:
    files = to_files(ensemble)
    for path in files:
        with pytest.raises(ModelStoreError, match="lacks"):
            from_files({name: content for name, content in files.items() if name != path})
    other = Ensemble(ensemble.base, ensemble.members, ensemble.weights, Calibrator("sigmoid", {
        "slope": np.ones(4), "intercept": np.zeros(4)}))  # fmt: skip
    with pytest.raises(ModelStoreError, match="the calibrator is"):
        from_files(files | {"calibrator.safetensors": to_files(other)["calibrator.safetensors"]})
    with pytest.raises(ModelStoreError, match="cannot be read"):
        from_files(files | {"ensemble.json": b"["})


def test_parts_that_do_not_fit_each_other_are_refused(ensemble: Ensemble, base: TrainedMember) -> None:
    parts, none = ensemble.members, Calibrator("none")
    with pytest.raises(DataError, match="shares that sum to 1"):
        Ensemble(base, parts, {"base": 0.5, "lightgbm": 0.4}, none)
    with pytest.raises(DataError, match="shares that sum to 1"):
        Ensemble(base, parts, {"base": 1.5, "lightgbm": -0.5}, none)
    with pytest.raises(DataError, match="shares that sum to 1"):
        Ensemble(base, parts, {"stranger": 1.0}, none)
    with pytest.raises(DataError, match="lightgbm, logistic learnt on base"):
        Ensemble(None, parts, {"lightgbm": 1.0}, none)
    with pytest.raises(DataError, match="the base itself needs"):
        Ensemble(parts["lightgbm"], {}, {"base": 1.0}, none)
    with pytest.raises(DataError, match="needs members"):
        Ensemble(None, {}, {}, none)
    narrow = train_member(
        "logistic", TRAIN.X[:, :2], TRAIN.y, HELD_OUT.X[:, :2], HELD_OUT.y, features=FEATURES[:2], settings=SETTINGS,
        seed=0,
    )  # fmt: skip
    with pytest.raises(DataError, match="differ in their features"):
        Ensemble(base, {"narrow": narrow}, {"base": 1.0}, none)
