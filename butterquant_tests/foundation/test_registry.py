"""The registry: roles, their history, and the way back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ConfigError, ModelStoreError
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_tests.foundation.registry_team import (
    AGAINST,
    FOR,
    NAME,
    A,
    B,
    C,
    D,
    acts,
    each_database,
    promote,
    publish,
    roles,
)

# -- registering


@each_database
def test_a_registered_version_is_a_challenger_with_what_its_card_says(registry: Registry) -> None:
    found = registry.models(NAME)
    assert [model.version for model in found] == [C, B, A]  # newest first
    model = found[-1]
    assert (model.role, model.label, model.training_content) == ("challenger", "label_mark", f"training of {A}")
    assert model.metrics == {"log_loss": 1.2}
    assert model.published_at == datetime(2026, 3, 2, 9, 30)
    assert acts(registry) == ["registered a", "registered b", "registered c"]
    assert (registry.champion(NAME), registry.names(), registry.models("other")) == (None, [NAME], [])


@each_database
def test_registering_again_keeps_role_time_and_history(registry: Registry, store: ModelStore) -> None:
    promote(registry, A)
    before = (registry.models(NAME), registry.history(NAME))
    registry.register(store.load_card(NAME, A))
    assert (registry.models(NAME), registry.history(NAME)) == before


def test_a_card_that_is_not_the_published_one_is_refused(registry: Registry, store: ModelStore) -> None:
    card = store.load_card(NAME, D)
    with pytest.raises(ModelStoreError, match="is not the published one"):
        registry.register(card | {"files": card["files"] | {"model.onnx": "0" * 64}})
    with pytest.raises(ModelStoreError, match="is not published"):
        registry.register(card | {"version": "e" * 16})
    assert D not in [model.version for model in registry.models(NAME)]


def test_the_training_set_of_a_card_must_be_clear(registry: Registry, store: ModelStore) -> None:
    with pytest.raises(ModelStoreError, match="expected exactly one bars: pass training_set"):
        registry.register(store.load_card(NAME, D), training_set="bars")
    entered = registry.register(store.load_card(NAME, D), training_set="butterfly/analyses")
    assert entered.training_content == "an"


# -- promoting


@each_database
def test_promotion_changes_roles_pointer_and_history_together(registry: Registry, store: ModelStore) -> None:
    first = promote(registry, A)
    event = promote(registry, B, evidence={"promoted": True, "episodes": (1, 2)}, against=A)
    assert (first.previous_version, event.previous_version) == (None, A)
    assert roles(registry) == {"a": "retired", "b": "champion", "c": "challenger"}
    assert store.champion(NAME) == B
    champion = registry.champion(NAME)
    assert champion is not None
    assert champion.version == B
    last = registry.history(NAME)[-1]
    assert (last.sequence, last.actor, last.reason) == (5, "anna", "better")
    assert last.evidence == {"promoted": True, "episodes": [1, 2]}
    assert last.at == datetime(2026, 3, 2, 9, 37)  # three registrations of two looks each, one promotion before
    assert last == event


def test_promoting_the_champion_again_changes_nothing(registry: Registry) -> None:
    event = promote(registry, A)
    before = registry.history(NAME)
    assert promote(registry, A, reason="again") == event
    assert registry.history(NAME) == before


def test_models_have_roles_and_histories_of_their_own(registry: Registry, store: ModelStore) -> None:
    registry.register(publish(store, A, "volatility"))
    registry.promote("volatility", A, evidence={}, actor="anna", reason="first")
    promote(registry, B)
    assert (store.champion("volatility"), store.champion(NAME)) == (A, B)
    assert [event.sequence for event in registry.history("volatility")] == [1, 2]
    assert [(m.model, m.role) for m in registry.models()][-1] == ("volatility", "champion")


def test_an_unknown_version_is_named_with_those_there_are(registry: Registry) -> None:
    for act in (registry.promote, registry.refuse, registry.judged):
        with pytest.raises(ModelStoreError, match=f"success {D} is not registered; registered are: .*{A}"):
            act(NAME, D, evidence={}, actor="anna", reason="x")
    with pytest.raises(ModelStoreError, match="registered are: none"):
        registry.promote("other", D, evidence={}, actor="anna", reason="x")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "is not published"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"other"), r"model\.onnx was altered"),
        (lambda folder: (folder / "card.json").unlink(), "is not published"),
    ],
)
def test_a_version_that_was_lost_or_altered_is_not_promoted(
    registry: Registry, store: ModelStore, spoil: Callable[[Path], Any], message: str
) -> None:
    promote(registry, A)
    before = registry.history(NAME)
    spoil(store.directory(NAME, B))
    with pytest.raises(ModelStoreError, match=message):
        promote(registry, B)
    assert registry.history(NAME) == before
    assert store.champion(NAME) == A


def test_a_version_published_anew_with_other_bytes_is_not_the_registered_one(
    registry: Registry, store: ModelStore
) -> None:
    shutil.rmtree(store.directory(NAME, B))
    store.write_weights(NAME, B, {"w": np.arange(3.0)}, {"seed": 7}, {})
    store.publish(NAME, B, b"other onnx", {"label": {"column": "label_mark"}})
    with pytest.raises(ModelStoreError, match="is not the one that was registered"):
        promote(registry, B)


def test_evidence_against_a_champion_that_serves_no_more_does_not_promote(registry: Registry) -> None:
    promote(registry, A)
    promote(registry, B)
    with pytest.raises(ModelStoreError, match=f"is {B} by now, but the promotion of {C} was prepared against {A}"):
        promote(registry, C, against=A)
    assert roles(registry)["b"] == "champion"


@pytest.mark.parametrize("field", ["actor", "reason"])
def test_an_act_without_a_name_or_a_reason_is_refused(registry: Registry, field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} is empty"):
        promote(registry, A, **{field: " "})


def test_evidence_that_is_no_plain_value_is_refused_before_anything_changes(registry: Registry) -> None:
    with pytest.raises(ModelStoreError, match="cannot be stored as JSON"):
        promote(registry, A, evidence={"low": float("nan")})
    assert registry.champion(NAME) is None


# -- refusing and judging


@each_database
def test_a_refused_version_keeps_its_evidence_and_says_so_once(registry: Registry) -> None:
    promote(registry, A)
    event = registry.refuse(NAME, B, evidence=AGAINST, actor="judge", reason="no better")
    again = registry.refuse(NAME, B, evidence=AGAINST, actor="judge", reason="no better")
    assert again == event
    assert (event.previous_version, event.evidence) == (A, AGAINST)
    assert roles(registry) == {"a": "champion", "b": "refused", "c": "challenger"}
    later = registry.refuse(NAME, B, evidence=AGAINST | {"rows": 9}, actor="judge", reason="still no better")
    assert later.sequence == event.sequence + 1


def test_the_champion_cannot_be_refused(registry: Registry) -> None:
    promote(registry, A)
    with pytest.raises(ModelStoreError, match="is in service and cannot be refused"):
        registry.refuse(NAME, A, evidence=AGAINST, actor="judge", reason="worse")
    assert roles(registry)["a"] == "champion"


def test_judging_changes_no_role(registry: Registry) -> None:
    registry.judged(NAME, B, evidence=FOR, actor="judge", reason="better")
    assert roles(registry) == {"a": "challenger", "b": "challenger", "c": "challenger"}
    assert acts(registry)[-1] == "judged b"


def test_evidence_speaks_for_a_version_only_against_the_champion_of_today_and_as_the_last_word(
    registry: Registry,
) -> None:
    promote(registry, A)
    assert registry.evidence_in_favour(NAME, B) is None
    judged = registry.judged(NAME, B, evidence=FOR, actor="judge", reason="better than a")
    assert registry.evidence_in_favour(NAME, B) == judged
    promote(registry, C)  # another serves now
    assert registry.evidence_in_favour(NAME, B) is None
    registry.rollback(NAME, actor="anna", reason="c is slow")
    assert registry.evidence_in_favour(NAME, B) == judged
    assert registry.evidence_in_favour(NAME, C) is None  # promoted on evidence against A, but taken out since
    registry.refuse(NAME, B, evidence=AGAINST, actor="judge", reason="no better on new data")
    assert registry.evidence_in_favour(NAME, B) is None


# -- rolling back


@each_database
def test_rolling_back_walks_back_to_the_first_champion_and_then_refuses(registry: Registry, store: ModelStore) -> None:
    for version in (A, B, C):
        promote(registry, version)
    event = registry.rollback(NAME, actor="anna", reason="c misprices")
    assert (event.action, event.version, event.previous_version) == ("rolled_back", B, C)
    assert (store.champion(NAME), roles(registry)) == (B, {"a": "retired", "b": "champion", "c": "retired"})
    assert registry.rollback(NAME, actor="anna", reason="b too").version == A
    before = registry.history(NAME)
    with pytest.raises(ModelStoreError, match=f"nothing served before {A} that was not refused since"):
        registry.rollback(NAME, actor="anna", reason="a too")
    assert registry.history(NAME) == before
    assert store.champion(NAME) == A


def test_a_promotion_after_a_rollback_starts_from_there(registry: Registry) -> None:
    for version in (A, B):
        promote(registry, version)
    registry.rollback(NAME, actor="anna", reason="b misprices")
    promote(registry, C)
    assert registry.rollback(NAME, actor="anna", reason="c misprices").version == A


def test_a_version_refused_since_it_served_is_passed_over(registry: Registry) -> None:
    for version in (A, B, C):
        promote(registry, version)
    registry.refuse(NAME, B, evidence=AGAINST, actor="judge", reason="flawed data")
    assert registry.rollback(NAME, actor="anna", reason="c misprices").version == A
    with pytest.raises(ModelStoreError, match="nothing served before"):
        registry.rollback(NAME, actor="anna", reason="a too")


def test_the_same_version_promoted_twice_does_not_trap_the_way_back(registry: Registry) -> None:
    for version in (A, B, A, C):
        promote(registry, version)
    back = [registry.rollback(NAME, actor="anna", reason="worse").version for _ in range(3)]
    assert back == [A, B, A]
    with pytest.raises(ModelStoreError, match="cannot be rolled back"):
        registry.rollback(NAME, actor="anna", reason="worse")


def test_without_a_champion_there_is_nothing_to_roll_back(registry: Registry) -> None:
    with pytest.raises(ModelStoreError, match="no version serves; promote a version instead"):
        registry.rollback(NAME, actor="anna", reason="x")


def test_a_former_champion_that_was_lost_is_not_restored(registry: Registry, store: ModelStore) -> None:
    for version in (A, B):
        promote(registry, version)
    shutil.rmtree(store.directory(NAME, A))
    with pytest.raises(ModelStoreError, match="is not published"):
        registry.rollback(NAME, actor="anna", reason="x")
    assert (roles(registry)["b"], store.champion(NAME)) == ("champion", B)


# -- finding a version


def test_a_prefix_finds_the_one_version_it_can_mean(registry: Registry, store: ModelStore) -> None:
    assert registry.resolve("a").version == A
    assert registry.resolve(B.upper(), NAME).version == B
    registry.register(publish(store, "ab" * 8, "volatility"))
    with pytest.raises(ConfigError, match=f"'a' could be success {A}, volatility {'ab' * 8}; write more"):
        registry.resolve("a")
    assert registry.resolve("a", "volatility").model == "volatility"
    for nothing in ("f", ""):
        with pytest.raises(ConfigError, match="no registered version starts with"):
            registry.resolve(nothing)
