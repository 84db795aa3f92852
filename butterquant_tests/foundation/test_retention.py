"""Retention: what goes, and each thing that never does."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from butterquant_assets.foundation.contracts import Outcome, Verdict
from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.foundation.freshness import Freshness, Held, Node, Snapshot
from butterquant_assets.foundation.lake import Footer, Lake, content_hash
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.retention import (
    Pruned,
    Report,
    prune_lake,
    prune_models,
    prune_temporaries,
    referenced_versions,
)
from butterquant_assets.foundation.sql_files import read_query, sql_folder
from butterquant_assets.foundation.warehouse import Warehouse

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BEFORE = NOW - timedelta(days=30)
OLD = (NOW - timedelta(days=90)).timestamp()
YOUNG = (NOW - timedelta(days=3)).timestamp()
VERSIONS = [f"{number:016x}" for number in range(0xA0, 0xB0)]
KEPT, OTHER, THIRD = VERSIONS[:3]


def age(path: Path, when: float = OLD) -> None:
    """Let a file, or a folder with all it holds, be as old as that."""
    for each in [*path.rglob("*"), path]:
        os.utime(each, (when, when))


def stored(store: ModelStore, version: str, *, name: str = "success", when: float = OLD, **training: object) -> None:
    store.write_weights(name, version, {}, training, {})
    store.publish(name, version, b"onnx of " + version.encode(), {"metrics": {}})
    age(store.directory(name, version), when)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def warehouse(warehouse_url: str) -> Iterator[Warehouse]:
    with Warehouse(warehouse_url) as opened:
        opened.migrate()
        yield opened


def left(store: ModelStore) -> set[str]:
    return {one.version for one in store.stored()}


def empty() -> Freshness:
    return Freshness([], Snapshot())


def models_pruned(store: ModelStore, warehouse: Warehouse, freshness: Freshness | None = None) -> Pruned:
    world = freshness or empty()
    return prune_models(store, lambda: referenced_versions(warehouse, store, world), before=BEFORE)


# -- models: what never goes


def register(warehouse: Warehouse, version: str, role: str) -> None:
    row = {"model": "success", "version": version, "role": role, "label": "label_mark", "onnx_sha256": "ab"}
    row |= {"training_content": "t", "code_version": "c", "metrics": "{}", "published_at": None}
    warehouse.execute("upsert_model", row)


def decide(warehouse: Warehouse, version: str) -> None:
    query = read_query(sql_folder(), "upsert_trade_decisions", warehouse.dialect)
    row: dict[str, object] = dict.fromkeys(query.parameters)
    row |= {"session": pd.Timestamp("2018-01-02"), "ticker": "SIM01", "track": "ai", "route": "champion"}
    row |= {"selected": 1, "reason": "x", "model_version": f"{version}@2018-01"}
    warehouse.execute("upsert_trade_decisions", row)


def measure(warehouse: Warehouse, version: str) -> None:
    query = read_query(sql_folder(), "upsert_daily_metrics", warehouse.dialect)
    row: dict[str, object] = dict.fromkeys(query.parameters)
    row |= {"time": pd.Timestamp("2018-01-02"), "ticker": "SIM01", "model_version": version}
    warehouse.execute("upsert_daily_metrics", row)


def feed_back(warehouse: Warehouse, version: str) -> None:
    row = {"session": pd.Timestamp("2018-01-02"), "ticker": "SIM01", "take": 1, "taken_at": pd.Timestamp("2018-03-01")}
    row |= {"known_until": pd.Timestamp("2018-02-28"), "evaluation_session": pd.Timestamp("2018-02-01")}
    row |= {"tracks": "ai", "route": "champion", "model_version": version, "roi_net": 0.1, "content": "c"}
    warehouse.execute("insert_feedback", row)


def judged_against(warehouse: Warehouse, version: str) -> None:
    register(warehouse, THIRD, "refused")
    event = {"model": "success", "sequence": 1, "at": pd.Timestamp("2018-03-01"), "version": THIRD}
    event |= {"action": "refused", "previous_version": None, "actor": "a", "reason": "r", "event_id": "e"}
    warehouse.execute("insert_model_event", event | {"evidence": json.dumps({"champion": version})})


NAMED_BY: list[Callable[[Warehouse, str], None]] = [decide, measure, feed_back, judged_against]


@pytest.mark.parametrize("refer", NAMED_BY)
def test_a_version_that_the_warehouse_names_is_never_removed(
    store: ModelStore, warehouse: Warehouse, refer: Callable[[Warehouse, str], None]
) -> None:
    stored(store, KEPT)
    stored(store, OTHER)
    refer(warehouse, KEPT)
    done = models_pruned(store, warehouse)
    assert left(store) == {KEPT}
    assert [(removal.kind, removal.what) for removal in done.removed] == [("model", f"success {OTHER}")]
    store.verify("success", KEPT)


@pytest.mark.parametrize("role", ["champion", "challenger", "retired", "refused"])
def test_a_registered_version_is_never_removed_in_whatever_role(
    store: ModelStore, warehouse: Warehouse, role: str
) -> None:
    stored(store, KEPT)
    stored(store, OTHER)
    register(warehouse, KEPT, role)
    models_pruned(store, warehouse)
    assert left(store) == {KEPT}


def test_the_version_that_the_pointer_file_names_is_never_removed(store: ModelStore, warehouse: Warehouse) -> None:
    stored(store, KEPT)
    stored(store, OTHER)
    store.set_champion("success", KEPT)
    models_pruned(store, warehouse)
    assert left(store) == {KEPT}
    with pytest.raises(ModelStoreError, match=f"success {KEPT} serves and cannot be removed"):
        store.remove("success", KEPT)


def test_a_pointer_that_cannot_be_read_stops_it_before_anything_goes(store: ModelStore, warehouse: Warehouse) -> None:
    stored(store, OTHER)
    (store.root / "success" / "champion.json").write_text("half")
    with pytest.raises(ModelStoreError):
        models_pruned(store, warehouse)
    assert left(store) == {OTHER}


def test_what_an_update_came_from_is_kept_with_it_over_any_number_of_steps(
    store: ModelStore, warehouse: Warehouse
) -> None:
    grandparent, parent, child, stranger = VERSIONS[3:7]
    stored(store, grandparent)
    stored(store, parent, update={"parent": grandparent})
    stored(store, child, update={"parent": parent})
    stored(store, stranger, update={"parent": grandparent})
    register(warehouse, child, "challenger")
    done = models_pruned(store, warehouse)
    assert left(store) == {grandparent, parent, child}
    assert done.kept["model: named by a version that is kept"] == 2


def test_what_a_young_training_came_from_is_kept_although_nothing_names_it_yet(
    store: ModelStore, warehouse: Warehouse
) -> None:
    stored(store, KEPT)
    stored(store, OTHER, when=YOUNG, update={"parent": KEPT})
    assert models_pruned(store, warehouse).removed == ()
    assert left(store) == {KEPT, OTHER}


@pytest.mark.parametrize("how", ["artifact", "fact", "quarantine"])
def test_a_version_that_a_file_of_the_lake_names_is_never_removed(
    store: ModelStore, warehouse: Warehouse, how: str
) -> None:
    stored(store, KEPT, name="volatility")
    stored(store, OTHER, name="volatility")
    artifacts = {f"models/volatility/{KEPT}/model.onnx": "ab"} if how == "artifact" else {}
    facts = {} if how == "artifact" else {"version": KEPT}
    footer = Footer("c", {}, "", "", Verdict({}), 1, artifacts=artifacts, facts=facts)
    held = Held(quarantine=footer) if how == "quarantine" else Held(footer)
    world = Freshness([], Snapshot(held={"butterfly/volatility_onnx": {None: held}}))
    models_pruned(store, warehouse, world)
    assert left(store) == {KEPT}


def test_an_unpublished_training_goes_once_it_is_old_and_a_dry_run_only_says_so(
    store: ModelStore, warehouse: Warehouse
) -> None:
    store.write_weights("success", OTHER, {}, {}, {})
    store.write_weights("success", THIRD, {}, {}, {})
    age(store.directory("success", OTHER))
    age(store.directory("success", THIRD), YOUNG)
    asked = lambda: referenced_versions(warehouse, store, empty())  # noqa: E731
    listed = prune_models(store, asked, before=BEFORE, dry_run=True)
    assert left(store) == {OTHER, THIRD}
    done = prune_models(store, asked, before=BEFORE)
    assert left(store) == {THIRD}
    assert listed == done
    assert "never published" in done.removed[0].why
    assert done.removed[0].bytes > 0
    assert done.kept == {"model: too young": 1}


# Versions of code, and of tables of the signal line, which are no models.
NO_MODELS = ("calibration_versions", "cost_versions", "threshold_versions")  # versions of tables that judge signals
NO_MODEL = ("code_version", "calibration_version", "threshold_version", "cost_version")


def test_the_query_of_references_reads_every_column_that_names_a_version(warehouse: Warehouse) -> None:
    text = (sql_folder() / "queries" / "model_references.sql").read_text()
    read = set(re.findall(r"SELECT '[^']*'(?: AS source)?, (\w+)(?: AS mention)? FROM (\w+)", text))
    engine = sa.create_engine(warehouse._url)
    inspector = sa.inspect(engine)
    named = {
        (column["name"], table)
        for table in inspector.get_table_names()
        if table not in NO_MODELS
        for column in inspector.get_columns(table)
        if "version" in column["name"] and column["name"] not in NO_MODEL
    }
    engine.dispose()
    assert len(named) >= 5
    assert named <= read


def test_half_a_removal_leaves_a_version_that_is_not_published(store: ModelStore) -> None:
    stored(store, OTHER)
    (store.directory("success", OTHER) / "card.json").unlink()
    assert store.versions("success") == []
    store.remove("success", OTHER)
    assert store.stored() == []


# -- lake

NODES = [
    Node("m/bars", ("2018-01", "2018-02", "2018-03"), (), "code", "config"),
    Node("b/scan", ("2018-03",), (), "code", "config"),
]
SPAN = {"month": ("2018-01", "2018-03")}


def put(lake: Lake, asset: str, key: str | None, *, bad: bool = False, code: str = "code", when: float = OLD) -> None:
    frame = pd.DataFrame({"x": [1.0]})
    verdict = Verdict({"schema": Outcome(not bad)})
    footer = Footer(content_hash(frame), {}, code, "config", verdict, 1)
    (lake.quarantine if bad else lake.write)(asset, key, frame, footer)
    os.utime(lake.path(asset, key, quarantine=bad), (when, when))


def lake_pruned(lake: Lake, *, dry_run: bool = False) -> Pruned:
    held: dict[str, dict[str | None, Held]] = {}
    for node in NODES:
        keys = {*lake.partitions(node.name), *lake.partitions(node.name, quarantine=True)}
        held[node.name] = {
            key: Held(lake.footer(node.name, key), lake.footer(node.name, key, quarantine=True)) for key in keys
        }
    return prune_lake(lake, Freshness(NODES, Snapshot(held)), SPAN, before=BEFORE, dry_run=dry_run)


def found(lake: Lake) -> set[tuple[str, str, str | None]]:
    return {(file.area, file.asset, file.partition) for file in lake.files()}


def test_partitions_outside_the_span_go_and_those_an_asset_left_behind_within_it_stay(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for key in ("2017-12", "2018-01", "2018-04"):
        put(lake, "m/bars", key)
        put(lake, "b/scan", key)
    put(lake, "m/bars", "2018-05", when=YOUNG)
    done = lake_pruned(lake)
    assert found(lake) == {("", "m/bars", "2018-01"), ("", "b/scan", "2018-01"), ("", "m/bars", "2018-05")}
    assert {removal.kind for removal in done.removed} == {"partition"}
    assert len(done.removed) == 4
    assert done.kept == {"partition: too young": 1}


def test_a_file_of_an_asset_that_was_one_table_and_is_made_by_month_now_goes(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    put(lake, "m/bars", None)
    put(lake, "m/bars", "2018-02")
    (removal,) = lake_pruned(lake).removed
    assert (removal.kind, removal.why) == ("partition", "an older version divided this asset otherwise")
    assert found(lake) == {("", "m/bars", "2018-02")}


def test_a_quarantined_frame_that_still_holds_its_partition_back_stays_and_a_superseded_one_goes(
    tmp_path: Path,
) -> None:
    lake = Lake(tmp_path)
    put(lake, "m/bars", "2018-01", bad=True)
    put(lake, "m/bars", "2018-02", bad=True, code="former code")
    put(lake, "m/bars", "2018-03", bad=True, code="former code", when=YOUNG)
    done = lake_pruned(lake)
    assert found(lake) == {("_quarantine", "m/bars", "2018-01"), ("_quarantine", "m/bars", "2018-03")}
    assert [removal.kind for removal in done.removed] == ["quarantine"]


def test_damaged_and_unfinished_files_go_once_they_are_old_and_unknown_assets_stay(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    put(lake, "m/bars", "2018-01")
    put(lake, "x/unknown", "2018-01")
    (tmp_path / "notes.txt").write_text("mine")
    for name in ("_damaged/m/bars/2018-02.parquet", "m/bars/.2018-03.parquet.1.ab.tmp", "m/bars/.x.parquet.2.ab.tmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
        age(tmp_path / name, YOUNG if ".x." in name else OLD)
    age(tmp_path / "notes.txt")
    listed = lake_pruned(lake, dry_run=True)
    assert len(lake.files()) == 6
    done = lake_pruned(lake)
    assert done == listed
    assert sorted(removal.kind for removal in done.removed) == ["damaged", "temporary"]
    assert found(lake) == {("", "m/bars", "2018-01"), ("", "x/unknown", "2018-01"), ("", "", None)}
    assert done.kept["lake: asset that this version does not know"] == 1


def test_unfinished_files_of_local_folders_go_once_they_are_old(tmp_path: Path) -> None:
    for name, when in ((".a.png.1.ab.tmp", OLD), (".b.png.1.ab.tmp", YOUNG), ("c.png", OLD)):
        (tmp_path / name).write_bytes(b"1234")
        os.utime(tmp_path / name, (when, when))
    done = prune_temporaries([tmp_path, tmp_path / "none"], before=BEFORE)
    assert [Path(removal.what).name for removal in done.removed] == [".a.png.1.ab.tmp"]
    assert {path.name for path in tmp_path.iterdir()} == {".b.png.1.ab.tmp", "c.png"}


def test_a_file_that_its_writer_finishes_meanwhile_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".a.png.1.ab.tmp", ".b.png.1.ab.tmp"):
        (tmp_path / name).write_bytes(b"1234")
        os.utime(tmp_path / name, (OLD, OLD))
    look = Path.stat

    def renamed_meanwhile(path: Path, **options: bool) -> os.stat_result:
        if path.name == ".a.png.1.ab.tmp":
            raise FileNotFoundError(path)
        return look(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", renamed_meanwhile)
        done = prune_temporaries([tmp_path], before=BEFORE)
    assert [Path(removal.what).name for removal in done.removed] == [".b.png.1.ab.tmp"]


def test_a_report_adds_up_by_kind(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    put(lake, "m/bars", "2017-12")
    put(lake, "m/bars", "2017-11")
    twice = lake_pruned(lake, dry_run=True)
    said = Report(30, True, twice + Pruned(kept={"model: too young": 2})).to_json()
    assert said["counts"] == {"partition": 2}
    assert said["bytes"] == {"partition": sum(file.bytes for file in lake.files())}
    assert said["kept"] == {"model: too young": 2}
    assert json.loads(json.dumps(said)) == said
