"""The registry: roles, history, and a pointer file that cannot disagree with the warehouse for long."""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from butterquant_assets.foundation.errors import ConfigError, ModelStoreError, WarehouseError
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.registry_events import ModelEvent
from butterquant_assets.foundation.sql_files import sql_folder
from butterquant_assets.foundation.warehouse import Warehouse

NAME = "success"
A, B, C, D = ("a" * 16, "b" * 16, "c" * 16, "d" * 16)
WHEN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
FOR, AGAINST = {"promoted": True, "difference": 0.02}, {"promoted": False, "difference": -0.01}
SESSION = pd.Timestamp("2018-01-02")
NIGHT = pd.Timestamp("2018-01-02 23:15:00.25")


def publish(store: ModelStore, version: str, name: str = NAME) -> dict[str, Any]:
    """A small published version; returns its card."""
    card = {
        "label": {"column": "label_mark"},
        "data_versions": {"butterfly/training_set": f"training of {version}", "butterfly/analyses": "an"},
        "code_version": "c1",
        "evaluation": {"validation": {"model": {"log_loss": 9.0}}, "test": {"model": {"log_loss": 1.2}}},
    }
    store.write_weights(name, version, {"w": np.arange(3.0)}, {"seed": 7}, {})
    store.publish(name, version, f"onnx of {version}".encode(), card)
    return store.load_card(name, version)


def ticking() -> Callable[[], datetime]:
    """A clock that moves on a minute at each look."""
    ticks = iter(range(10_000))
    return lambda: WHEN + timedelta(minutes=next(ticks))


def each_database(test: Any) -> Any:
    """Run a test on both databases; the others ask nothing of one that SQLite does not show."""
    test.dialects = ("sqlite", "postgresql")
    return test


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "dialect" in metafunc.fixturenames:
        metafunc.parametrize("dialect", getattr(metafunc.function, "dialects", ("sqlite",)))


@pytest.fixture
def warehouse_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database; a PostgreSQL one takes half a second to make."""
    if dialect == "sqlite":
        return f"sqlite:///{tmp_path / 'warehouse' / 'warehouse.sqlite'}"
    lend: Callable[[str], str] = request.getfixturevalue
    return lend("new_postgres_url")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """Four published versions."""
    made = ModelStore(tmp_path / "models")
    for version in (A, B, C, D):
        publish(made, version)
    return made


@pytest.fixture
def registry(warehouse_url: str, store: ModelStore) -> Iterator[Registry]:
    with Registry(warehouse_url, store, clock=ticking()) as opened:
        for version in (A, B, C):
            opened.register(store.load_card(NAME, version))
        yield opened


def promote(registry: Registry, version: str, **changes: Any) -> ModelEvent:
    return registry.promote(NAME, version, **{"evidence": FOR, "actor": "anna", "reason": "better"} | changes)


def roles(registry: Registry) -> dict[str, str]:
    return {model.version[0]: model.role for model in registry.models(NAME)}


def acts(registry: Registry) -> list[str]:
    return [f"{event.action} {event.version[0]}" for event in registry.history(NAME)]


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


# -- a kill between warehouse and pointer


class Killed(BaseException):
    """What nothing catches."""


def die(*_: object) -> None:
    raise Killed


@pytest.mark.parametrize("act", ["promote", "rollback"])
@pytest.mark.parametrize("mender", ["champion", "reconcile", "repeat", "another process"])
def test_a_kill_between_warehouse_and_pointer_is_mended_at_the_next_call(
    registry: Registry,
    store: ModelStore,
    warehouse_url: str,
    monkeypatch: pytest.MonkeyPatch,
    act: str,
    mender: str,
) -> None:
    promote(registry, A)
    promote(registry, B)
    with monkeypatch.context() as patched:
        patched.setattr(store, "set_champion", die)
        with pytest.raises(Killed):
            promote(registry, C) if act == "promote" else registry.rollback(NAME, actor="anna", reason="x")
    decided = C if act == "promote" else A
    assert store.champion(NAME) == B  # what served goes on serving
    recorded = registry.history(NAME)
    if mender == "champion":
        registry.champion(NAME)
    elif mender == "reconcile":
        mended = registry.reconcile(NAME)
        assert mended is not None
        assert (mended.pointer, mended.champion) == (B, decided)
    elif mender == "repeat":
        promote(registry, decided)
    else:
        with Registry(warehouse_url, ModelStore(store.root)) as another:
            another.champion(NAME)
    assert store.champion(NAME) == decided
    assert registry.history(NAME) == recorded  # decided once
    assert registry.reconcile(NAME) is None


@each_database
def test_a_kill_before_the_warehouse_commits_leaves_everything_as_it_was(
    registry: Registry, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(registry, A)
    before = (registry.history(NAME), roles(registry))
    with monkeypatch.context() as patched:
        patched.setattr(Warehouse, "_run", die)
        with pytest.raises(Killed):
            promote(registry, B)
    assert (registry.history(NAME), roles(registry)) == before
    assert store.champion(NAME) == A


def test_registration_killed_between_row_and_event_is_completed_at_the_next_call(
    registry: Registry, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "_append", die)
        with pytest.raises(Killed):
            registry.register(store.load_card(NAME, D))
    assert acts(registry)[-1] == "registered c"
    registry.register(store.load_card(NAME, D))
    assert acts(registry)[-1] == "registered d"


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 7}'])
def test_a_pointer_file_that_cannot_be_read_is_written_anew(
    registry: Registry, store: ModelStore, content: bytes
) -> None:
    promote(registry, A)
    (store.root / NAME / "champion.json").write_bytes(content)
    mended = registry.reconcile(NAME)
    assert mended is not None
    assert (mended.pointer, store.champion(NAME)) == (None, A)


def test_a_pointer_somebody_else_wrote_follows_the_warehouse_again(registry: Registry, store: ModelStore) -> None:
    promote(registry, A)
    store.set_champion(NAME, B)
    mended = registry.reconcile(NAME)
    assert mended is not None
    assert f"named {B}, the warehouse {A}" in mended.sentence()
    assert store.champion(NAME) == A


def test_a_pointer_this_warehouse_knows_nothing_of_is_reported_and_left_alone(
    registry: Registry, store: ModelStore
) -> None:
    store.set_champion(NAME, B)
    mended = registry.reconcile(NAME)
    assert mended is not None
    assert "this warehouse never promoted a version" in mended.sentence()
    assert (store.champion(NAME), registry.champion(NAME)) == (B, None)
    promote(registry, A)
    assert store.champion(NAME) == A


# -- several at once


def _promote_when_told(
    url: str, root: Path, version: str, start: threading.Barrier, answers: multiprocessing.SimpleQueue[str]
) -> None:
    with Registry(url, ModelStore(root)) as registry:
        registry.history(NAME)
        start.wait(timeout=60)
        try:
            registry.promote(NAME, version, evidence=FOR, actor=version, reason="race", against=A)
            answers.put("promoted")
        except ModelStoreError as error:
            answers.put(str(error))


@each_database
def test_of_two_promotions_at_once_one_wins_and_the_other_learns_why(
    registry: Registry, store: ModelStore, warehouse_url: str
) -> None:
    promote(registry, A)
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(2), spawn.SimpleQueue()
    workers = [
        spawn.Process(target=_promote_when_told, args=(warehouse_url, store.root, version, start, answers))
        for version in (B, C)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    said = sorted((answers.get() for _ in workers), key=len)
    assert said[0] == "promoted"
    assert "was prepared against" in said[1]
    champion = registry.champion(NAME)
    assert champion is not None
    events = registry.history(NAME)
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert events[-1].version == champion.version == store.champion(NAME)
    assert events[-1].actor == champion.version


@each_database
def test_the_loser_of_a_number_changes_nothing_even_when_it_had_read_before_the_winner(
    registry: Registry, store: ModelStore, warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(registry, A)
    execute = Warehouse.execute

    def overtaken(self: Warehouse, name: str, params: Any = None) -> int:
        monkeypatch.setattr(Warehouse, "execute", execute)
        with Registry(warehouse_url, store) as another:
            promote(another, B)
        return execute(self, name, params)

    monkeypatch.setattr(Warehouse, "execute", overtaken)
    with pytest.raises(ModelStoreError, match=f"is {B} by now"):
        promote(registry, C)
    assert roles(registry) == {"a": "retired", "b": "champion", "c": "challenger"}
    assert store.champion(NAME) == B


@each_database
def test_a_registration_in_between_does_not_stop_a_promotion(
    registry: Registry, store: ModelStore, warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = Warehouse.execute

    def overtaken(self: Warehouse, name: str, params: Any = None) -> int:
        monkeypatch.setattr(Warehouse, "execute", execute)
        with Registry(warehouse_url, store) as another:
            another.register(store.load_card(NAME, D))
        return execute(self, name, params)

    monkeypatch.setattr(Warehouse, "execute", overtaken)
    promote(registry, B)
    assert acts(registry)[-2:] == ["registered d", "promoted b"]
    assert store.champion(NAME) == B


def test_a_slow_writer_does_not_put_an_old_champion_over_a_newer_one(
    registry: Registry, store: ModelStore, warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconcile = Registry.reconcile

    def late(self: Registry, name: str) -> object:
        monkeypatch.setattr(Registry, "reconcile", reconcile)
        with Registry(warehouse_url, store) as another:
            promote(another, B)
        return reconcile(self, name)

    monkeypatch.setattr(Registry, "reconcile", late)
    promote(registry, A)
    assert store.champion(NAME) == B


# -- history


@each_database
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE model_events SET reason = 'it was ordered' WHERE sequence = 2",
        "UPDATE model_events SET evidence = '{\"promoted\": true}' WHERE sequence = 2",
        "DELETE FROM model_events WHERE sequence = 2",
        "UPDATE model_events SET at = '2020-01-01 00:00:00.000000' WHERE sequence = 2",
    ],
)
def test_an_edited_history_is_noticed(
    registry: Registry, store: ModelStore, warehouse_url: str, tmp_path: Path, damage: str
) -> None:
    sql = Path(shutil.copytree(sql_folder(), tmp_path / "sql"))
    (sql / "queries" / "damage.sql").write_text(damage)
    with Warehouse(warehouse_url, sql) as warehouse:
        assert warehouse.execute("damage") == 1
    with pytest.raises(WarehouseError, match=r"event \d of model success is not as it was written"):
        registry.history(NAME)


def test_no_query_of_the_project_changes_or_deletes_an_event() -> None:
    texts = {path.name: path.read_text() for path in (sql_folder() / "queries").glob("*.sql")}
    assert any("INSERT INTO model_events" in text for text in texts.values())
    for name, text in texts.items():
        assert not re.search(r"(UPDATE|DELETE FROM|DROP TABLE|TRUNCATE)\s+model_events", text, re.IGNORECASE), name


@each_database
def test_the_time_of_an_event_is_utc_whatever_the_zone_of_the_clock(warehouse_url: str, store: ModelStore) -> None:
    shanghai = datetime(2026, 3, 2, 7, 30, 1, 2, tzinfo=timezone(timedelta(hours=8)))
    with Registry(warehouse_url, store, clock=lambda: shanghai) as registry:
        registry.register(store.load_card(NAME, A))
        assert registry.history(NAME)[0].at == datetime(2026, 3, 1, 23, 30, 1, 2)


@each_database
def test_rows_of_an_older_schema_are_kept_with_their_roles(
    warehouse_url: str, store: ModelStore, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(sql_folder(), tmp_path / "sql"))
    for migration in (old / "migrations").glob("*.sql"):
        if migration.name[:4] > "0002":
            migration.unlink()
    row = {
        "model": NAME,
        "version": A,
        "role": "champion",
        "label": "label_mark",
        "onnx_sha256": store.load_card(NAME, A)["files"]["model.onnx"],
        "training_content": "t",
        "code_version": "c",
        "metrics": json.dumps({"log_loss": 1.0}),
        "published_at": None,
    }
    with Warehouse(warehouse_url, old) as warehouse:
        warehouse.migrate()
        warehouse.execute("upsert_model", [row, row | {"version": B, "role": "refused"}])
    with Registry(warehouse_url, store) as registry:
        assert roles(registry) == {"a": "champion", "b": "refused"}
        registry.register(store.load_card(NAME, C))
        promote(registry, C)
        assert roles(registry) == {"a": "retired", "b": "refused", "c": "champion"}
        with pytest.raises(WarehouseError, match="upsert_model failed"):
            registry._warehouse.execute("upsert_model", row | {"version": D})  # still one champion at most


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


# -- decisions


def decisions(rows: int = 12) -> pd.DataFrame:
    """Decisions of four tickers on three tracks, with whatever may be missing missing somewhere."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "session": pd.Series([SESSION] * rows, dtype="datetime64[us]"),
            "ticker": pd.Series([f"SIM{n // 3:02d}" for n in range(rows)], dtype="str"),
            "track": pd.Series([("ai", "baseline", "blend")[n % 3] for n in range(rows)], dtype="str"),
            "route": pd.Series(["champion"] * rows, dtype="str"),
            "rank": pd.Series([None, *range(1, rows)], dtype="Int64"),
            "selected": pd.Series([n % 2 for n in range(rows)], dtype="Int64"),
            "passes_document_gate": pd.Series([None, *[1] * (rows - 1)], dtype="Int64"),
            "passes_gate": pd.Series([0] * rows, dtype="Int64"),
        }
    )
    numbers = [f"p{k}" for k in range(4)] + ["expected_roi_document", "expected_roi_training", "threshold_document"]
    for name in [*numbers, "threshold_chosen", "total_score", "blend_score"]:
        frame[name] = rng.normal(size=rows)
    frame.loc[0, ["p0", "threshold_chosen"]] = np.nan
    for name in ("model_version", "calibration_version", "training_content", "analysis_content", "bars_content"):
        values = [A if name == "model_version" else f"{name} {n}" for n in range(rows)]
        frame[name] = pd.Series(values, dtype="str").mask(frame["track"] == "baseline")
    frame["reason"] = pd.Series([f"rank {n}" for n in range(rows)], dtype="str")
    frame["decided_at"] = pd.Series([NIGHT] * rows, dtype="datetime64[us]")
    return frame.assign(timing=pd.Series(["in_time"] * rows, dtype="str"))


def standing(frame: pd.DataFrame) -> pd.DataFrame:
    """The same decisions as the database gives them back while nothing has changed them."""
    never = pd.Series([pd.NaT] * len(frame), dtype="datetime64[us]")
    return frame.assign(
        first_selected=frame["selected"],
        revised_at=never,
        withdrawn_at=never,
        withdrawn_reason=pd.Series([None] * len(frame), dtype="str"),
    )


def outcomes() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "session": pd.Series([SESSION] * 2, dtype="datetime64[us]"),
            "ticker": pd.Series(["SIM00", "SIM01"], dtype="str"),
            "evaluation_session": pd.to_datetime(["2018-02-01", "2018-02-05"]).astype("datetime64[us]"),
            "roi_mark": [0.1, np.nan],
            "roi_net": [0.05, -0.2],
            "label": pd.Series([1, None], dtype="Int64"),
        }
    )


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Warehouse]:
    with Warehouse(warehouse_url) as opened:
        opened.migrate()
        yield opened


SPAN = {"first": SESSION, "last": SESSION}


@each_database
def test_decisions_come_back_as_they_were_written_and_a_second_write_changes_nothing(warehouse: Warehouse) -> None:
    frame = decisions()
    for _ in range(2):
        assert warehouse.upsert_frame("upsert_trade_decisions", frame) == len(frame)
        assert_frame_equal(warehouse.fetch("trade_decisions", SPAN), standing(frame), check_exact=True)
    assert warehouse.fetch(
        "trade_decisions", {"first": SESSION + pd.Timedelta(days=1), "last": pd.Timestamp("2019-01-01")}
    ).empty


@each_database
def test_booleans_and_floats_of_a_frame_are_written_as_flags_and_ranks(warehouse: Warehouse) -> None:
    frame = decisions().astype({"selected": bool, "passes_gate": bool, "rank": "float64"})
    warehouse.upsert_frame("upsert_trade_decisions", frame)
    assert_frame_equal(warehouse.fetch("trade_decisions", SPAN), standing(decisions()), check_exact=True)


@each_database
def test_a_repeated_decision_is_refused_also_where_no_model_took_part(warehouse: Warehouse) -> None:
    for position in (0, 1):  # by a model, and by the baseline
        twice = pd.concat([decisions(), decisions().iloc[[position]]], ignore_index=True)
        with pytest.raises(WarehouseError, match="1 rows repeat a key of upsert_trade_decisions"):
            warehouse.upsert_frame("upsert_trade_decisions", twice)
    assert warehouse.fetch("trade_decisions", SPAN).empty


@each_database
def test_decisions_of_two_model_versions_stand_side_by_side_and_a_correction_replaces_its_own(
    warehouse: Warehouse,
) -> None:
    frame = decisions()
    other = frame[frame["track"] == "ai"].assign(model_version=B, reason="by b")
    for part in (frame, other, frame.assign(reason="corrected")):
        warehouse.upsert_frame("upsert_trade_decisions", part)
    found = warehouse.fetch("trade_decisions", SPAN)
    assert len(found) == len(frame) + len(other)
    assert set(found.loc[found["model_version"] == B, "reason"]) == {"by b"}
    assert set(found.loc[found["model_version"] != B, "reason"]) == {"corrected"}


@each_database
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("track", "human"),
        ("route", "both"),
        ("selected", 2),
        ("rank", 0),
        ("reason", None),
        ("timing", "soon"),
        ("timing", None),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_whole(warehouse: Warehouse, column: str, value: object) -> None:
    frame = decisions()
    frame.loc[5, column] = value
    with pytest.raises(WarehouseError, match="upsert_trade_decisions failed"):
        warehouse.upsert_frame("upsert_trade_decisions", frame)
    assert warehouse.fetch("trade_decisions", SPAN).empty


@each_database
def test_outcomes_come_back_only_when_they_were_known(warehouse: Warehouse) -> None:
    frame = outcomes()
    for _ in range(2):
        warehouse.upsert_frame("upsert_decision_outcomes", frame)
        found = warehouse.fetch("decision_outcomes", SPAN | {"known_by": pd.Timestamp("2018-02-05")})
        assert_frame_equal(found, frame, check_exact=True)
    known = warehouse.fetch("decision_outcomes", SPAN | {"known_by": pd.Timestamp("2018-02-04")})
    assert known["ticker"].tolist() == ["SIM00"]


@each_database
def test_an_outcome_known_before_the_decision_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="upsert_decision_outcomes failed"):
        warehouse.upsert_frame("upsert_decision_outcomes", outcomes().assign(evaluation_session=SESSION))


@each_database
def test_a_decision_is_traced_to_its_model_its_data_and_its_outcome(
    registry: Registry, warehouse: Warehouse, store: ModelStore
) -> None:
    promoted = promote(registry, A)
    promote(registry, B)
    registry.rollback(NAME, actor="anna", reason="x")
    warehouse.upsert_frame("upsert_trade_decisions", decisions())
    warehouse.upsert_frame("upsert_decision_outcomes", outcomes())
    trace = warehouse.fetch("decision_trace", {"session": SESSION, "ticker": "SIM00"}).set_index("track")
    assert trace.index.tolist() == ["ai", "baseline", "blend"]
    ai = trace.loc["ai"]
    assert (ai["model"], ai["model_version"], ai["role"]) == (NAME, A, "champion")
    assert ai["onnx_sha256"] == store.load_card(NAME, A)["files"]["model.onnx"]
    assert (ai["training_content"], ai["registered_training_content"]) == ("training_content 0", f"training of {A}")
    assert (ai["analysis_content"], ai["bars_content"]) == ("analysis_content 0", "bars_content 0")
    assert ai["in_service_since"] == pd.Timestamp(promoted.at)
    assert (ai["evaluation_session"], ai["roi_net"], ai["label"]) == (pd.Timestamp("2018-02-01"), 0.05, 1)
    assert (ai["decided_at"], ai["timing"], ai["first_selected"]) == (NIGHT, "in_time", 0)
    assert ai[["revised_at", "withdrawn_at", "withdrawn_reason"]].isna().all()
    assert trace.loc["baseline", ["model", "model_version", "role", "in_service_since"]].isna().all()
    vintage = decisions().assign(model_version=lambda rows: rows["model_version"] + "@2017-06")
    warehouse.upsert_frame("upsert_trade_decisions", vintage[vintage["ticker"] == "SIM02"])
    of_vintage = warehouse.fetch("decision_trace", {"session": SESSION, "ticker": "SIM02"})
    of_vintage = of_vintage[of_vintage["model_version"] == f"{A}@2017-06"]
    assert of_vintage["track"].tolist() == ["ai", "blend"]
    assert set(of_vintage["role"]) == {"champion"}
    assert of_vintage["onnx_sha256"].isna().all()  # that file is not what decided
    open_trade = warehouse.fetch("decision_trace", {"session": SESSION, "ticker": "SIM03"})
    assert open_trade["evaluation_session"].isna().all()
    assert len(open_trade) == 3
