"""What a study of members minimises, checked on members simple enough to compute by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.foundation.study_store import open_journal
from butterquant_assets.learning.members import MemberSettings
from butterquant_assets.learning.tuning import Parameter, run_study
from butterquant_assets.learning.tuning_objective import (
    FoldData,
    Part,
    member_objective,
    member_space,
    with_parameters,
)


@dataclass(frozen=True)
class Trees:
    depth: int = 3
    rate: float = 0.1


@dataclass(frozen=True)
class Settings:
    shrink: float = 0.5
    trees: Trees = field(default_factory=Trees)


def part(rows: int, seed: int, classes: int = 4) -> Part:
    rng = np.random.default_rng(seed)
    base = rng.dirichlet(np.ones(classes), rows)
    return Part(rng.normal(size=(rows, 2)), rng.integers(0, classes, rows), base, rng.random(rows))


def folds(judged: bool = True) -> list[FoldData]:
    return [FoldData(part(40, k), part(20, 10 + k), part(15, 20 + k) if judged else None) for k in range(3)]


calls: list[dict[str, Any]] = []


def train(kind: str, X: Any, y: Any, X_val: Any, y_val: Any, **options: Any) -> dict[str, Any]:
    """A member that mixes the base with the training frequencies."""
    calls.append({"kind": kind, "X": X, "y": y, "X_val": X_val, "y_val": y_val} | options)
    return {"prior": (np.bincount(y, minlength=4) + 1) / (len(y) + 4), "shrink": options["settings"].shrink}


def predict(member: dict[str, Any], X: Any, base: Any = None) -> Any:
    return member["shrink"] * member["prior"] + (1 - member["shrink"]) * base


def objective_of(data: list[FoldData]) -> Any:
    calls.clear()
    options: dict[str, Any] = {"features": ["a", "b"], "settings": Settings(), "seed": 3}
    return member_objective(data, kind="logistic", train=train, predict=predict, **options)


def plain_losses(data: list[FoldData], shrink: float) -> list[float]:
    losses = []
    for fold in data:
        prior = [(sum(fold.train.labels == k) + 1) / (len(fold.train.labels) + 4) for k in range(4)]
        judged = fold.judged or fold.validation
        assert judged.base is not None
        chosen = [shrink * prior[y] + (1 - shrink) * row[y] for y, row in zip(judged.labels, judged.base, strict=True)]
        losses.append(-sum(np.log(p) for p in chosen) / len(chosen))
    return losses


@pytest.mark.parametrize("judged", [True, False])
def test_the_objective_is_the_mean_loss_of_the_folds_and_reports_it_from_the_second_on(judged: bool) -> None:
    data, reported = folds(judged), {}
    value = objective_of(data)({"shrink": 0.3}, reported.__setitem__)
    losses = plain_losses(data, 0.3)
    assert value == pytest.approx(np.mean(losses), abs=1e-12)
    assert reported == pytest.approx({1: np.mean(losses[:2]), 2: np.mean(losses)}, abs=1e-12)


def test_a_member_learns_from_its_own_part_only_and_every_trial_has_the_same_seed() -> None:
    data = folds()
    objective = objective_of(data)
    for shrink in (0.2, 0.8):
        objective({"shrink": shrink, "trees.depth": 5}, lambda step, value: None)
    assert len(calls) == 6
    for call, fold in zip(calls, data * 2, strict=True):
        assert call["X"] is fold.train.X
        assert call["y"] is fold.train.labels
        assert call["base"] is fold.train.base
        assert call["sample_weight"] is fold.train.weight
        assert call["X_val"] is fold.validation.X
        assert call["y_val"] is fold.validation.labels
        assert call["base_validation"] is fold.validation.base
        assert (call["seed"], call["features"], call["n_classes"]) == (3, ["a", "b"], 4)
    assert [call["settings"] for call in calls[::3]] == [Settings(0.2, Trees(5)), Settings(0.8, Trees(5))]


def test_a_study_over_folds_finds_the_shrinkage_a_grid_finds(tmp_path: Path) -> None:
    data = folds()
    grid = np.linspace(0, 1, 201)
    best = min(grid, key=lambda shrink: np.mean(plain_losses(data, float(shrink))))
    with open_journal(tmp_path / "study.jsonl") as storage:
        found = run_study(
            objective_of(data), [Parameter("shrink", "float", 0, 1)], name="s", storage=storage, trials=40, seed=1
        )
    assert found.best.parameters["shrink"] == pytest.approx(best, abs=0.05)
    assert found.best.value == pytest.approx(np.mean(plain_losses(data, float(best))), abs=1e-3)


def test_parameters_enter_nested_settings_and_leave_the_rest() -> None:
    settings = Settings()
    changed = with_parameters(settings, {"trees.depth": 7, "shrink": 0.9, "trees.rate": 0.2})
    assert changed == Settings(0.9, Trees(7, 0.2))
    assert settings == Settings()
    assert with_parameters(settings, {"trees": Trees(1), "trees.rate": 0.3}) == Settings(trees=Trees(1, 0.3))


@pytest.mark.parametrize("name", ["dept", "trees.dept", "shrink.depth", ""])
def test_a_parameter_without_a_field_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="has no field"):
        with_parameters(Settings(), {name: 1})


def test_nothing_to_be_scored_on_is_refused() -> None:
    with pytest.raises(DataError, match="no fold to tune on"):
        objective_of([])
    with pytest.raises(DataError, match="no rows to be scored on"):
        objective_of([FoldData(part(5, 0), part(5, 1), part(0, 2))])


@pytest.mark.parametrize("kind", ["mlp", "xgboost", "lightgbm"])
def test_every_corner_of_a_default_space_is_a_setting_that_holds_the_default_inside(kind: str) -> None:
    space = member_space(kind)
    for parameter in space:
        own, name = parameter.name.split(".")
        assert own == kind
        default = getattr(getattr(MemberSettings(), kind), name)
        for value in parameter.choices or (parameter.low, parameter.high):
            changed = with_parameters(MemberSettings(), {parameter.name: value})
            assert getattr(getattr(changed, kind), name) == value
        if parameter.kind == "categorical":
            assert default in parameter.choices
        else:
            assert parameter.low is not None
            assert parameter.high is not None
            assert parameter.low <= default <= parameter.high


def test_there_is_nothing_to_search_for_a_logistic_regression() -> None:
    with pytest.raises(ConfigError, match="nothing to search for 'logistic'"):
        member_space("logistic")


@pytest.mark.parametrize("kind", ["mlp", "xgboost", "lightgbm"])
def test_a_study_of_real_members_beats_their_base_and_repeats_itself(tmp_path: Path, kind: str) -> None:
    data = [FoldData(signal(300, k), signal(150, 10 + k), signal(200, 20 + k)) for k in range(2)]
    short = {"mlp.max_epochs": 15, "xgboost.rounds": 40, "lightgbm.rounds": 40, "xgboost.min_child_weight": 5.0}
    settings = with_parameters(MemberSettings(), short | {"lightgbm.min_leaf_rows": 20, "mlp.batch_size": 64})
    objective = member_objective(data, kind=kind, features=["a", "b"], settings=settings, seed=3)
    space = [parameter for parameter in member_space(kind) if "min_" not in parameter.name]

    def search(folder: Path) -> Any:
        with open_journal(folder / "study.jsonl") as storage:
            return run_study(objective, space, name=kind, storage=storage, trials=3, seed=1)

    found = search(tmp_path / "first")
    assert found.best.value is not None
    assert found.best.value < np.log(4) - 0.02
    assert search(tmp_path / "second") == found


def signal(rows: int, seed: int) -> Part:
    """Classes by the quartile of a noisy first feature, which the uniform base does not know."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 2))
    labels = np.digitize(X[:, 0] + rng.normal(size=rows), (-0.95, 0.0, 0.95))
    return Part(X, labels, np.full((rows, 4), 0.25))
