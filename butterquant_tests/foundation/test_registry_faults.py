"""The registry under kills, edits and several writers: a pointer file cannot disagree with the warehouse for long."""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from butterquant_assets.foundation.errors import ModelStoreError, WarehouseError
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.sql_files import sql_folder
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_tests.foundation.registry_team import (
    FOR,
    NAME,
    A,
    B,
    C,
    D,
    acts,
    each_database,
    promote,
    roles,
)

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
    database_url: str,
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
        with Registry(database_url, ModelStore(store.root)) as another:
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
    registry: Registry, store: ModelStore, database_url: str
) -> None:
    promote(registry, A)
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(2), spawn.SimpleQueue()
    workers = [
        spawn.Process(target=_promote_when_told, args=(database_url, store.root, version, start, answers))
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
    registry: Registry, store: ModelStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(registry, A)
    execute = Warehouse.execute

    def overtaken(self: Warehouse, name: str, params: Any = None) -> int:
        monkeypatch.setattr(Warehouse, "execute", execute)
        with Registry(database_url, store) as another:
            promote(another, B)
        return execute(self, name, params)

    monkeypatch.setattr(Warehouse, "execute", overtaken)
    with pytest.raises(ModelStoreError, match=f"is {B} by now"):
        promote(registry, C)
    assert roles(registry) == {"a": "retired", "b": "champion", "c": "challenger"}
    assert store.champion(NAME) == B


@each_database
def test_a_registration_in_between_does_not_stop_a_promotion(
    registry: Registry, store: ModelStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = Warehouse.execute

    def overtaken(self: Warehouse, name: str, params: Any = None) -> int:
        monkeypatch.setattr(Warehouse, "execute", execute)
        with Registry(database_url, store) as another:
            another.register(store.load_card(NAME, D))
        return execute(self, name, params)

    monkeypatch.setattr(Warehouse, "execute", overtaken)
    promote(registry, B)
    assert acts(registry)[-2:] == ["registered d", "promoted b"]
    assert store.champion(NAME) == B


def test_a_slow_writer_does_not_put_an_old_champion_over_a_newer_one(
    registry: Registry, store: ModelStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconcile = Registry.reconcile

    def late(self: Registry, name: str) -> object:
        monkeypatch.setattr(Registry, "reconcile", reconcile)
        with Registry(database_url, store) as another:
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
    registry: Registry, store: ModelStore, database_url: str, tmp_path: Path, damage: str
) -> None:
    sql = Path(shutil.copytree(sql_folder(), tmp_path / "sql"))
    (sql / "queries" / "damage.sql").write_text(damage)
    with Warehouse(database_url, sql) as warehouse:
        assert warehouse.execute("damage") == 1
    with pytest.raises(WarehouseError, match=r"event \d of model success is not as it was written"):
        registry.history(NAME)


def test_no_query_of_the_project_changes_or_deletes_an_event() -> None:
    texts = {path.name: path.read_text() for path in (sql_folder() / "queries").glob("*.sql")}
    assert any("INSERT INTO model_events" in text for text in texts.values())
    for name, text in texts.items():
        assert not re.search(r"(UPDATE|DELETE FROM|DROP TABLE|TRUNCATE)\s+model_events", text, re.IGNORECASE), name


@each_database
def test_the_time_of_an_event_is_utc_whatever_the_zone_of_the_clock(database_url: str, store: ModelStore) -> None:
    shanghai = datetime(2026, 3, 2, 7, 30, 1, 2, tzinfo=timezone(timedelta(hours=8)))
    with Registry(database_url, store, clock=lambda: shanghai) as registry:
        registry.register(store.load_card(NAME, A))
        assert registry.history(NAME)[0].at == datetime(2026, 3, 1, 23, 30, 1, 2)


@each_database
def test_rows_of_an_older_schema_are_kept_with_their_roles(
    database_url: str, store: ModelStore, tmp_path: Path
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
    with Warehouse(database_url, old) as warehouse:
        warehouse.migrate()
        warehouse.execute("upsert_model", [row, row | {"version": B, "role": "refused"}])
    with Registry(database_url, store) as registry:
        assert roles(registry) == {"a": "champion", "b": "refused"}
        registry.register(store.load_card(NAME, C))
        promote(registry, C)
        assert roles(registry) == {"a": "retired", "b": "refused", "c": "champion"}
        with pytest.raises(WarehouseError, match="upsert_model failed"):
            registry._warehouse.execute("upsert_model", row | {"version": D})  # still one champion at most
