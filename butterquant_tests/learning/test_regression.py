"""Regression: what it learns, that it falls back on the mean, and that ONNX and files say the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError, ModelStoreError
from butterquant_assets.learning.boosters import LightgbmSettings
from butterquant_assets.learning.mlp_network import MlpSettings
from butterquant_assets.learning.onnx_export import open_session, run_session
from butterquant_assets.learning.onnx_graph import GraphBuilder
from butterquant_assets.learning.regression import (
    KINDS,
    OUTPUT,
    TrainedRegressor,
    from_files,
    predict_regressor,
    regressor_outputs,
    to_files,
    train_regressor,
)

FEATURES = tuple("abcd")
SETTINGS: dict[str, Any] = {
    "lightgbm": LightgbmSettings(rounds=100, learning_rate=0.1, min_leaf_rows=20, patience=10),
    "mlp": MlpSettings(hidden=(16, 8), dropout=0.0, batch_size=128, max_epochs=30, patience=8, learning_rate=1e-2),
}


def planted(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 4))
    y = -3 + 0.7 * X[:, 0] + 0.3 * np.abs(X[:, 1]) + 0.2 * random.normal(size=n)
    X[random.random(X.shape) < 0.05] = np.nan
    return X, y


def trained(kind: str, **options: Any) -> TrainedRegressor:
    X, y = planted(900, 0)
    X_held, y_held = planted(300, 1)
    options = {"settings": SETTINGS[kind], "seed": 3} | options
    return train_regressor(kind, X, y, X_held, y_held, features=FEATURES, **options)


def export(model: TrainedRegressor) -> bytes:
    """The regression as an ONNX file of its own; the product puts its outputs into a larger graph."""
    graph = GraphBuilder()
    return graph.finish(regressor_outputs(graph, model), len(model.features), OUTPUT, 1)


def onnx_answers(exported: bytes, X: np.ndarray) -> np.ndarray:
    """What onnxruntime makes of the file, shape (n,)."""
    return run_session(open_session(exported), X)[:, 0]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> TrainedRegressor:
    return trained(request.param)


def test_a_planted_signal_is_learnt(model: TrainedRegressor) -> None:
    X, y = planted(500, 2)
    rmse = np.sqrt(np.mean((predict_regressor(model, X) - y) ** 2))
    assert rmse < 0.5 * y.std()


def test_the_recorded_losses_are_those_of_the_standardised_target(model: TrainedRegressor) -> None:
    X, y = planted(300, 1)
    scale = model.tensors["target"][1]
    kept = np.mean((predict_regressor(model, X) - y) ** 2) / scale**2
    assert kept == pytest.approx(min(model.record["validation_losses"]), rel=1e-4)
    start = np.mean((model.tensors["target"][0] - y) ** 2) / scale**2
    assert model.record["validation_losses"][0] == pytest.approx(start, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_helps_the_mean_of_training_is_predicted(kind: str) -> None:
    X, y = planted(400, 0)
    X_held, y_held = planted(200, 1)
    settings = SETTINGS[kind] if kind == "lightgbm" else replace(SETTINGS[kind], max_epochs=2, learning_rate=5.0)
    opposite = train_regressor(kind, X, y, X_held, 2 * y.mean() - y_held, features=FEATURES, settings=settings, seed=0)
    assert predict_regressor(opposite, X) == pytest.approx(np.full(400, y.mean()), abs=1e-6)
    assert onnx_answers(export(opposite), X) == pytest.approx(predict_regressor(opposite, X), abs=1e-5)


def test_onnx_answers_as_natively(model: TrainedRegressor) -> None:
    X, _ = planted(3000, 5)
    X[::50] *= 20
    X[0] = np.nan
    exported, scale = export(model), model.tensors["target"][1]
    for batch in (1, 2, 257, 3000):
        difference = onnx_answers(exported, X[:batch]) - predict_regressor(model, X[:batch])
        assert np.abs(difference).max() <= 1e-5 * scale
    assert export(from_files(to_files(model))) == exported


def test_files_bring_it_back_and_equal_trainings_give_equal_files(model: TrainedRegressor) -> None:
    X, _ = planted(100, 5)
    files = to_files(model)
    assert predict_regressor(from_files(files), X).tolist() == predict_regressor(model, X).tolist()
    assert to_files(trained(model.kind)) == files
    with pytest.raises(ModelStoreError, match="lacks"):
        from_files({"regressor.json": files["regressor.json"]})
    with pytest.raises(ModelStoreError, match="cannot be read"):
        from_files(files | {"tensors.safetensors": b"\x80\x04."})


def test_a_target_in_another_unit_gives_the_same_model_in_that_unit(model: TrainedRegressor) -> None:
    X, y = planted(900, 0)
    X_held, y_held = planted(300, 1)
    percent = train_regressor(
        model.kind, X, 100 * y, X_held, 100 * y_held, features=FEATURES, settings=SETTINGS[model.kind], seed=3
    )
    assert predict_regressor(percent, X_held) == pytest.approx(100 * predict_regressor(model, X_held), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_weight_teach_nothing(kind: str) -> None:
    X, y = planted(900, 0)
    wrong = np.arange(900) % 3 == 0
    confused = np.where(wrong, -6 - y, y)
    X_held, y_held = planted(300, 1)
    options = {"features": FEATURES, "settings": SETTINGS[kind], "seed": 0}
    weighted = train_regressor(kind, X, confused, X_held, y_held, sample_weight=~wrong, **options)
    plain = train_regressor(kind, X, confused, X_held, y_held, **options)
    X_new, y_new = planted(500, 9)
    errors = [np.mean((predict_regressor(m, X_new) - y_new) ** 2) for m in (weighted, plain)]
    assert errors[0] < 0.5 * errors[1]


def test_unusable_input_is_refused() -> None:
    X, y = planted(50, 0)
    with pytest.raises(ConfigError, match="'tree' is no kind"):
        train_regressor("tree", X, y, X, y, features=FEATURES, seed=0)
    with pytest.raises(ConfigError, match="does not take"):
        trained("mlp", settings=LightgbmSettings())
    with pytest.raises(DataError, match="nothing to learn"):
        train_regressor("lightgbm", X, np.ones(50), X, y, features=FEATURES, seed=0)
    with pytest.raises(DataError, match="1 without target"):
        train_regressor("lightgbm", X, np.where(np.arange(50) == 3, np.nan, y), X, y, features=FEATURES, seed=0)
