"""Members of every kind: what they learn beyond the base, what they keep, and that their files bring them back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError, ModelStoreError
from butterquant_assets.learning.boosters import LightgbmSettings, XgboostSettings
from butterquant_assets.learning.members import (
    KINDS,
    MemberNetworkSettings,
    MemberSettings,
    TrainedMember,
    from_files,
    predict_member,
    to_files,
    train_member,
    warm_start,
)
from butterquant_assets.learning.metrics import row_log_loss
from butterquant_assets.learning.probabilities import softmax

FEATURES = tuple("abcde")
SETTINGS = MemberSettings(
    mlp=MemberNetworkSettings(hidden=(16, 8), batch_size=128, max_epochs=15, patience=5, learning_rate=5e-3),
    xgboost=XgboostSettings(rounds=60, learning_rate=0.1, min_child_weight=5, patience=10),
    lightgbm=LightgbmSettings(rounds=60, learning_rate=0.1, min_leaf_rows=20, patience=10),
)


class Market:
    """Rows whose labels follow known base probabilities, tilted by two features; a tenth of all values is missing."""

    def __init__(self, n: int, seed: int, tilt: float = 1.5) -> None:
        random = np.random.default_rng(seed)
        z = random.normal(size=(n, 5))
        self.base = random.dirichlet([4, 1, 1, 3], size=n)
        truth = softmax(np.log(self.base) + tilt * np.column_stack([z[:, 0], z[:, 1] > 0, np.zeros(n), -z[:, 0]]))
        self.y = (random.random((n, 1)) > truth.cumsum(axis=1)).sum(axis=1)
        self.X = z * [1, 1, 1e3, 1, 1e-3] + [0, 0, 5e3, 0, 0]
        self.X[random.random(self.X.shape) < 0.1] = np.nan


TRAIN, HELD_OUT, FRESH = Market(900, 0), Market(300, 1), Market(600, 2)


def member(kind: str, *, with_base: bool = True, **options: Any) -> TrainedMember:
    given = {"base": TRAIN.base, "base_validation": HELD_OUT.base} if with_base else {}
    given |= {"settings": SETTINGS, "seed": 5} | options
    return train_member(kind, TRAIN.X, TRAIN.y, HELD_OUT.X, HELD_OUT.y, features=FEATURES, **given)


@pytest.fixture(scope="module")
def members() -> dict[str, TrainedMember]:
    return {kind: member(kind) for kind in KINDS}


def log_loss(probabilities: np.ndarray, y: np.ndarray) -> float:
    return float(row_log_loss(probabilities, y).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_what_the_base_does_not_know(members: dict[str, TrainedMember], kind: str) -> None:
    predicted = predict_member(members[kind], FRESH.X, FRESH.base)
    assert predicted.sum(axis=1) == pytest.approx(np.ones(600), abs=1e-12)
    assert log_loss(predicted, FRESH.y) < log_loss(FRESH.base, FRESH.y) - 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_base_it_starts_from_the_frequencies(kind: str) -> None:
    alone = member(kind, with_base=False)
    frequencies = np.bincount(TRAIN.y, minlength=4) / 900
    prior = log_loss(np.tile(frequencies, (600, 1)), FRESH.y)
    assert log_loss(predict_member(alone, FRESH.X), FRESH.y) < prior - 0.1


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm", "logistic"])
def test_a_member_that_learnt_nothing_is_the_base(kind: str) -> None:
    nothing = train_member(
        kind, TRAIN.X[:, :2], TRAIN.y, -HELD_OUT.X[:, :2], HELD_OUT.y, features=("a", "b"), settings=SETTINGS,
        base=TRAIN.base, base_validation=HELD_OUT.base, seed=5,
    )  # fmt: skip
    assert predict_member(nothing, FRESH.X[:, :2], FRESH.base) == pytest.approx(FRESH.base, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_files_bring_a_member_back_and_equal_trainings_give_equal_files(
    members: dict[str, TrainedMember], kind: str
) -> None:
    files = to_files(members[kind])
    assert {path.rsplit(".", 1)[1] for path in files} <= {"json", "txt", "safetensors"}
    again = from_files(files)
    assert predict_member(again, FRESH.X, FRESH.base).tolist() == (
        predict_member(members[kind], FRESH.X, FRESH.base).tolist()
    )
    assert to_files(again) == files == to_files(member(kind))
    assert to_files(member(kind, seed=6)) != files


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_rounded_to_float32_first(members: dict[str, TrainedMember], kind: str) -> None:
    rounded = FRESH.X.astype(np.float32).astype(np.float64)
    assert (rounded != FRESH.X)[~np.isnan(FRESH.X)].any()
    assert predict_member(members[kind], rounded, FRESH.base).tolist() == (
        predict_member(members[kind], FRESH.X, FRESH.base).tolist()
    )


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_a_warm_start_adds_a_few_trees_for_new_rows_and_leaves_the_old_ones(
    members: dict[str, TrainedMember], kind: str
) -> None:
    new, new_held = Market(600, 20, tilt=-1.5), Market(300, 21, tilt=-1.5)  # the market has turned
    old = members[kind]
    updated = warm_start(
        old, new.X, new.y, new_held.X, new_held.y, settings=SETTINGS, rounds=8, base=new.base,
        base_validation=new_held.base, seed=1,
    )  # fmt: skip
    assert updated.texts[0] == old.texts[0]
    assert updated.record["rounds"][0] == old.record["rounds"][0]
    assert 1 <= updated.record["rounds"][1] <= 8
    later = Market(600, 22, tilt=-1.5)
    before, after = (log_loss(predict_member(m, later.X, later.base), later.y) for m in (old, updated))
    assert after < before - 0.05
    again = from_files(to_files(updated))
    assert predict_member(again, later.X, later.base).tolist() == predict_member(updated, later.X, later.base).tolist()


def test_only_trees_can_be_warm_started(members: dict[str, TrainedMember]) -> None:
    with pytest.raises(ConfigError, match="has no trees"):
        warm_start(members["logistic"], TRAIN.X, TRAIN.y, TRAIN.X, TRAIN.y, settings=SETTINGS, seed=0)


def test_a_network_member_takes_probabilities_as_labels() -> None:
    student = train_member(
        "mlp", TRAIN.X, TRAIN.base, HELD_OUT.X, HELD_OUT.base, features=FEATURES, settings=SETTINGS, seed=0
    )
    assert predict_member(student, FRESH.X).mean(axis=0) == pytest.approx(TRAIN.base.mean(axis=0), abs=0.05)


def test_what_does_not_fit_is_refused(members: dict[str, TrainedMember]) -> None:
    with pytest.raises(ConfigError, match="'forest' is no kind"):
        member("forest")
    with pytest.raises(ValueError, match="either both parts"):
        member("xgboost", base_validation=None)
    with pytest.raises(ValueError, match="needs base"):
        predict_member(members["xgboost"], FRESH.X)
    with pytest.raises(ValueError, match="takes no base"):
        predict_member(member("logistic", with_base=False), FRESH.X, FRESH.base)
    with pytest.raises(DataError, match="feature a is infinite"):
        predict_member(members["xgboost"], np.full((1, 5), 1e39), FRESH.base[:1])
    with pytest.raises(DataError, match="nothing to tell apart"):
        train_member(
            "xgboost", TRAIN.X, np.zeros(900), HELD_OUT.X, HELD_OUT.y, features=FEATURES, settings=SETTINGS, seed=0
        )
    with pytest.raises(DataError, match="sample weights"):
        member("lightgbm", sample_weight=-np.ones(900))


def test_damaged_files_are_refused(members: dict[str, TrainedMember]) -> None:
    files = to_files(members["xgboost"])
    with pytest.raises(ModelStoreError, match=r"lacks 'trees_0\.json'"):
        from_files({path: content for path, content in files.items() if path != "trees_0.json"})
    with pytest.raises(ModelStoreError, match="cannot be read"):
        from_files(files | {"tensors.safetensors": b"\x80\x04."})
    with pytest.raises(ModelStoreError, match="cannot be read"):
        from_files(files | {"member.json": b"{"})
    broken = replace(from_files(files), texts=(b"{}",))
    with pytest.raises(ModelStoreError, match="no XGBoost model"):
        predict_member(broken, FRESH.X, FRESH.base)
