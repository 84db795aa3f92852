"""The network: what it learns, what lies inside its graph, and that equal seeds give equal bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.baselines import class_prior
from butterquant_assets.learning.metrics import evaluate
from butterquant_assets.learning.mlp import (
    MlpSettings,
    TrainedMlp,
    class_weights,
    predict,
    predict_logits,
    train_mlp,
)
from butterquant_assets.learning.probabilities import log_probabilities, softmax

FEATURES = tuple(f"f{i}" for i in range(6))
FAST = MlpSettings(hidden=(16, 8), max_epochs=30, patience=8, learning_rate=5e-3)


def planted(n: int, seed: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Two features decide the class, on scales far apart; a tenth of all values is missing."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(n, len(FEATURES)))
    y = np.digitize(z[:, 0] - z[:, 1] + noise * random.normal(size=n), [-0.6, -0.3, 0.0])
    X = z * [1, 1e3, 1, 1, 1e-3, 1] + [0, 5e3, 0, 0, 0, -2]
    X[random.random(X.shape) < 0.1] = np.nan
    return X, y


def trained_on(seed: int = 0, settings: MlpSettings = FAST) -> TrainedMlp:
    (X, y), (X_held, y_held) = planted(600, seed), planted(200, seed + 1)
    return train_mlp(X, y, X_held, y_held, features=FEATURES, settings=settings)


@pytest.fixture(scope="module")
def trained() -> TrainedMlp:
    return trained_on()


def test_a_planted_signal_is_learnt(trained: TrainedMlp) -> None:
    X, y = planted(1000, 5)
    prior = evaluate(class_prior(planted(600, 0)[1], len(y)), y)["log_loss"]
    assert evaluate(predict(trained, X), y)["log_loss"] < prior - 0.3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_in_two_processes() -> None:
    script = (
        "import hashlib; from butterquant_tests.learning.test_mlp import trained_on; "
        "from butterquant_tests.learning.network_onnx import export_onnx; t = trained_on(); "
        "print(hashlib.sha256(b''.join(t.state[n].tobytes() for n in sorted(t.state))).hexdigest(), "
        "hashlib.sha256(export_onnx(t)).hexdigest())"
    )
    # The second process uses other thread and hash settings, which must not matter.
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ) | extra
        ).stdout
        for extra in ({"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "1"}, {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "2"})
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].split()) == 2


def test_the_same_seed_gives_the_same_weights_twice(trained: TrainedMlp) -> None:
    again = trained_on()
    assert {name: tensor.tobytes() for name, tensor in again.state.items()} == {
        name: tensor.tobytes() for name, tensor in trained.state.items()
    }
    assert again.history.equals(trained.history)


def test_another_seed_gives_other_weights(trained: TrainedMlp) -> None:
    other = trained_on(settings=replace(FAST, seed=8))
    assert not np.array_equal(other.state["layers.0.weight"], trained.state["layers.0.weight"])


def test_training_and_predicting_leave_the_process_as_they_found_it(trained: TrainedMlp) -> None:
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    before = torch.get_rng_state()
    trained_on()
    predict(trained, np.zeros((3, len(FEATURES))))
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() is deterministic
    assert torch.equal(torch.get_rng_state(), before)


def test_a_missing_value_is_the_training_median_inside_the_graph(trained: TrainedMlp) -> None:
    X, _ = planted(600, 0)
    row = X[~np.isnan(X).any(axis=1)][:1]
    missing, filled = row.copy(), row.copy()
    missing[0, 1], filled[0, 1] = np.nan, np.nanmedian(X[:, 1])
    assert predict(trained, missing).tolist() == predict(trained, filled).tolist()
    assert predict(trained, missing).tolist() != predict(trained, row).tolist()


def test_the_scaler_sees_the_training_part_only(trained: TrainedMlp) -> None:
    X, y = planted(600, 0)
    X_held, y_held = planted(200, 1)
    shifted = train_mlp(X, y, X_held + 1e3, y_held, features=FEATURES, settings=replace(FAST, max_epochs=1))
    for name in ("input_median", "input_mean", "input_scale"):
        assert shifted.state[name].tolist() == trained.state[name].tolist()


def test_a_constant_feature_changes_nothing() -> None:
    X, y = planted(300, 0)
    X[:, 3] = 0.1
    fitted = train_mlp(X[:200], y[:200], X[200:], y[200:], features=FEATURES, settings=replace(FAST, max_epochs=2))
    assert fitted.state["input_scale"][3] == 1.0
    assert np.isfinite(predict(fitted, X)).all()


def test_probabilities_refer_to_natural_frequencies_despite_class_weights() -> None:
    """Features that say nothing: the best forecast is the class frequencies, which weights alone would distort."""
    random = np.random.default_rng(0)
    frequencies = np.array([0.6, 0.05, 0.05, 0.3])
    y = random.choice(4, p=frequencies, size=4000)
    X = random.normal(size=(4000, 2))
    settings = replace(FAST, hidden=(4,), max_epochs=15)
    fitted = train_mlp(X[:3000], y[:3000], X[3000:], y[3000:], features=("a", "b"), settings=settings)
    corrected = predict(fitted, X)
    assert corrected.mean(axis=0) == pytest.approx(frequencies, abs=0.03)
    uncorrected = corrected * np.exp(fitted.state["log_class_weights"])
    uncorrected /= uncorrected.sum(axis=1, keepdims=True)
    assert uncorrected.mean(axis=0) == pytest.approx(np.full(4, 0.25), abs=0.05)


def test_history_holds_the_log_loss_a_report_would_show(trained: TrainedMlp) -> None:
    X, y = planted(200, 1)
    kept = trained.history[trained.history["epoch"] == trained.best_epoch]["validation_loss"].item()
    assert kept == pytest.approx(evaluate(predict(trained, X), y)["log_loss"], rel=1e-5)
    assert kept == trained.history["validation_loss"].min()
    assert len(trained.history) <= trained.best_epoch + FAST.patience


def test_class_weights_are_inverse_frequencies_and_one_for_an_absent_class() -> None:
    weights = class_weights([0, 0, 0, 0, 0, 0, 1, 1, 3])
    assert weights.tolist() == [0.5, 1.5, 1.0, 3.0]
    assert weights[[0] * 6 + [1, 1, 3]].mean() == 1.0


def test_a_class_absent_from_training_does_not_break_it() -> None:
    X, y = planted(300, 0)
    y = np.where(y == 1, 0, y)
    fitted = train_mlp(X[:200], y[:200], X[200:], y[200:], features=FEATURES, settings=replace(FAST, max_epochs=3))
    assert predict(fitted, X).sum(axis=1) == pytest.approx(np.ones(300), abs=1e-6)


@pytest.mark.parametrize("rows", [2, 65, 129])
def test_no_row_count_leaves_a_batch_too_small_for_normalisation(rows: int) -> None:
    X, y = planted(rows, 0)
    X, y = np.nan_to_num(X), np.arange(rows) % 4
    fitted = train_mlp(X, y, X, y, features=FEATURES, settings=replace(FAST, max_epochs=1))
    assert len(fitted.history) == 1


def test_unusable_input_is_refused() -> None:
    X, y = planted(50, 0)
    with pytest.raises(DataError, match="all 50 training rows have class 3"):
        train_mlp(X, np.full(50, 3), X, y, features=FEATURES, settings=FAST)
    with pytest.raises(DataError, match="validation part has no rows"):
        train_mlp(X, y, X[:0], y[:0], features=FEATURES, settings=FAST)
    with pytest.raises(DataError, match="1 training labels are no class"):
        train_mlp(X, np.where(np.arange(50) == 7, np.nan, y), X, y, features=FEATURES, settings=FAST)
    with pytest.raises(ConfigError, match="dropout is 1"):
        train_mlp(X, y, X, y, features=FEATURES, settings=replace(FAST, dropout=1.0))


def with_base(settings: MlpSettings, labels_say_more: bool) -> tuple[TrainedMlp, np.ndarray, np.ndarray, np.ndarray]:
    """Labels drawn from known base probabilities, or from these tilted by the first feature."""
    random = np.random.default_rng(11)
    X = random.normal(size=(1500, len(FEATURES)))
    base = random.dirichlet([6, 1, 1, 4], size=1500)
    tilt = 1.5 * X[:, [0]] * [1, 0, 0, -1] * labels_say_more
    truth = softmax(np.log(base) + tilt)
    y = (random.random((1500, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    fit, held = slice(0, 900), slice(900, 1200)
    trained = train_mlp(
        X[fit], y[fit], X[held], y[held], features=FEATURES, settings=settings, base=base[fit],
        base_validation=base[held],
    )  # fmt: skip
    return trained, X[1200:], base[1200:], y[1200:]


def test_a_network_with_a_base_learns_what_the_base_does_not_know() -> None:
    trained, X, base, y = with_base(replace(FAST, batch_size=128), labels_say_more=True)
    assert evaluate(predict(trained, X, base), y)["log_loss"] < evaluate(base, y)["log_loss"] - 0.1
    assert trained.architecture()["with_base"] is True


@pytest.mark.parametrize("weighted", [True, False])
def test_the_untrained_network_is_the_base_and_is_kept_where_nothing_is_to_learn(weighted: bool) -> None:
    settings = replace(FAST, max_epochs=3, learning_rate=5.0, class_weighted=weighted)  # steps that cannot help
    trained, X, base, _ = with_base(settings, labels_say_more=False)
    assert trained.history["epoch"].tolist() == [0, 1, 2, 3]
    assert trained.best_epoch == 0
    assert predict(trained, X, base) == pytest.approx(base, abs=1e-6)
    assert not predict_logits(trained, X).any()


def test_the_logits_and_the_base_make_the_probabilities() -> None:
    trained, X, base, _ = with_base(replace(FAST, max_epochs=5), labels_say_more=True)
    assert softmax(log_probabilities(base) + predict_logits(trained, X)) == pytest.approx(
        predict(trained, X, base), abs=1e-6
    )
    plain = trained_on(settings=replace(FAST, max_epochs=2))
    assert softmax(predict_logits(plain, X)) == pytest.approx(predict(plain, X), abs=1e-6)


def test_base_probabilities_are_asked_for_where_needed_and_refused_where_not(trained: TrainedMlp) -> None:
    residual, X, base, y = with_base(replace(FAST, max_epochs=1), labels_say_more=True)
    with pytest.raises(ValueError, match="needs base"):
        predict(residual, X)
    with pytest.raises(ValueError, match="takes no base"):
        predict(trained, X, base)
    with pytest.raises(ValueError, match="either both parts"):
        train_mlp(X, y, X, y, features=FEATURES, settings=FAST, base=base)
    with pytest.raises(DataError, match="sum to 1"):
        train_mlp(X, y, X, y, features=FEATURES, settings=FAST, base=base * 2, base_validation=base)


def test_soft_labels_are_imitated_better_than_the_labels_drawn_from_them() -> None:
    random = np.random.default_rng(3)
    X = random.normal(size=(1200, 3))
    target = softmax(np.column_stack([X, np.zeros(1200)]))
    drawn = (random.random((1200, 1)) > target.cumsum(axis=1)).sum(axis=1)
    settings = replace(FAST, class_weighted=True, dropout=0.0, batch_size=64, max_epochs=40)
    errors = []
    for labels in (target, drawn):
        student = train_mlp(
            X[:800], labels[:800], X[800:1000], labels[800:1000], features=("a", "b", "c"), settings=settings
        )
        errors.append(np.abs(predict(student, X[1000:]) - target[1000:]).mean())
        if labels is target:
            assert not student.state["log_class_weights"].any()  # class weights are off
    assert errors[0] < 0.03
    assert errors[0] < errors[1] / 1.5


def test_rows_without_weight_teach_nothing() -> None:
    X, y = planted(900, 0)
    X_held, y_held = planted(300, 1)
    wrong = np.arange(900) % 3 == 0
    confused = np.where(wrong, 3 - y, y)
    losses = [
        train_mlp(X, confused, X_held, y_held, features=FEATURES, settings=FAST, sample_weight=weight)
        .history["validation_loss"]
        .min()
        for weight in (~wrong, None)
    ]
    assert losses[0] < losses[1] - 0.1


def test_only_the_ratio_of_weights_matters() -> None:
    X, y = planted(200, 0)
    once, twice = (
        train_mlp(
            X, y, X, y, features=FEATURES, settings=replace(FAST, max_epochs=2), sample_weight=np.full(200, weight)
        )
        for weight in (1.0, 4.0)
    )
    assert all(once.state[name].tobytes() == twice.state[name].tobytes() for name in once.state)


def test_class_weights_can_be_left_out() -> None:
    X, y = planted(200, 0)
    fitted = train_mlp(X, y, X, y, features=FEATURES, settings=replace(FAST, max_epochs=1, class_weighted=False))
    assert not fitted.state["log_class_weights"].any()


def test_the_automatic_device_trains() -> None:
    import torch

    X, y = planted(200, 0)
    settings = replace(FAST, max_epochs=2)
    found = train_mlp(X, y, X, y, features=FEATURES, settings=settings, device="auto")
    if not torch.cuda.is_available():
        on_cpu = train_mlp(X, y, X, y, features=FEATURES, settings=settings, device="cpu")
        assert all(found.state[name].tobytes() == on_cpu.state[name].tobytes() for name in on_cpu.state)
    assert np.isfinite(predict(found, X)).all()
