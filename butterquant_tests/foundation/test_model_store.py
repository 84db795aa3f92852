"""The model store: content versions, atomic and idempotent writes, detection of every altered bit."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.foundation.model_content import canonical_json, content_version, files_under, weights_bytes
from butterquant_assets.foundation.model_store import ModelStore

TENSORS = {
    "layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "batches": np.array(3, dtype=np.int64),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}
FACTS = {"features": ["a", "b"], "training_set": "abc", "config": {"seed": 7}}
VERSION = content_version(weights_bytes(TENSORS), FACTS)
CARD = {"metrics": {"log_loss": 1.2}}


def published(root: Path) -> ModelStore:
    store = ModelStore(root)
    store.write_weights("success", VERSION, TENSORS, {"seed": 7}, {"curves": b"png bytes"})
    store.publish("success", VERSION, b"onnx bytes", CARD)
    return store


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    store = published(tmp_path / "models")
    stored = store.load_weights("success", VERSION)
    assert stored.training == {"seed": 7}
    for name, tensor in TENSORS.items():
        assert stored.tensors[name].dtype == tensor.dtype
        assert stored.tensors[name].shape == tensor.shape
        assert np.array_equal(stored.tensors[name], tensor)
    card = store.verify("success", VERSION)
    assert card["metrics"] == CARD["metrics"]
    assert set(card["files"]) == {"weights.safetensors", "training.json", "plots/curves.png", "model.onnx"}
    assert store.onnx_path("success", VERSION).read_bytes() == b"onnx bytes"
    assert store.versions("success") == [VERSION]


def test_the_version_follows_the_content() -> None:
    assert content_version(weights_bytes(dict(reversed(TENSORS.items()))), dict(reversed(FACTS.items()))) == VERSION
    assert content_version(weights_bytes(TENSORS), FACTS | {"training_set": "abd"}) != VERSION
    moved = TENSORS | {"batches": np.array(4, dtype=np.int64)}
    assert content_version(weights_bytes(moved), FACTS) != VERSION


def test_two_stores_built_from_the_same_inputs_are_identical(tmp_path: Path) -> None:
    published(tmp_path / "a")
    published(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_writing_the_same_again_touches_nothing(tmp_path: Path) -> None:
    store = published(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    published(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    store.verify("success", VERSION)


def test_other_content_under_the_same_version_is_refused(tmp_path: Path) -> None:
    store = published(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ModelStoreError, match=r"weights\.safetensors exists with other content"):
        store.write_weights("success", VERSION, {"x": np.zeros(1)}, {"seed": 7}, {})
    with pytest.raises(ModelStoreError, match=r"model\.onnx exists with other content"):
        store.publish("success", VERSION, b"other", CARD)
    with pytest.raises(ModelStoreError, match=r"card\.json exists with other content"):
        store.publish("success", VERSION, b"onnx bytes", {"metrics": {"log_loss": 0.1}})
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "training.json", "plots/curves.png", "model.onnx", "card.json"]
)
def test_one_flipped_bit_anywhere_is_found_and_named(tmp_path: Path, name: str) -> None:
    store = published(tmp_path)
    path = store.directory("success", VERSION) / name
    original = path.read_bytes()
    for position in range(0, len(original), max(1, len(original) // 40)):
        altered = bytearray(original)
        altered[position] ^= 1
        path.write_bytes(bytes(altered))
        with pytest.raises(ModelStoreError, match=name):
            store.verify("success", VERSION)
    path.write_bytes(original)
    store.verify("success", VERSION)


def test_a_missing_and_a_foreign_file_are_named(tmp_path: Path) -> None:
    store = published(tmp_path)
    stranger = store.directory("success", VERSION) / "notes.txt"
    stranger.write_text("hello")
    with pytest.raises(ModelStoreError, match=r"notes\.txt is not on the card"):
        store.verify("success", VERSION)
    stranger.unlink()
    (store.directory("success", VERSION) / "plots" / "curves.png").unlink()
    with pytest.raises(ModelStoreError, match=r"curves\.png is missing"):
        store.verify("success", VERSION)


def test_a_version_without_card_is_not_published(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.write_weights("success", VERSION, TENSORS, {}, {})
    assert store.versions("success") == []
    assert not store.is_published("success", VERSION)
    with pytest.raises(ModelStoreError, match="is not published"):
        store.onnx_path("success", VERSION)
    assert set(store.load_weights("success", VERSION).tensors) == set(TENSORS)


def test_publishing_needs_the_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelStoreError, match="has no weights"):
        ModelStore(tmp_path).publish("success", VERSION, b"onnx", CARD)


@pytest.mark.parametrize("writes_before_death", range(6))
def test_a_writer_killed_at_any_file_is_resumed_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes_before_death: int
) -> None:
    undisturbed = tmp_path / "undisturbed"
    published(undisturbed)
    real, done = os.replace, []

    def dying_replace(source: str, target: str) -> None:
        if len(done) == writes_before_death:
            raise KeyboardInterrupt
        done.append(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", dying_replace)
    if writes_before_death < 5:
        with pytest.raises(KeyboardInterrupt):
            published(tmp_path / "killed")
    else:
        published(tmp_path / "killed")
    card = tmp_path / "killed" / "success" / VERSION / "card.json"
    assert card.exists() == (writes_before_death == 5)
    monkeypatch.setattr(os, "replace", real)
    published(tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(undisturbed)


def test_loading_never_runs_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    store = ModelStore(tmp_path / "models")
    folder = store.directory("success", VERSION)
    folder.mkdir(parents=True)
    payload = pickle.dumps(Evil())
    (folder / "weights.safetensors").write_bytes(payload)
    import hashlib

    listing = {"files": {"weights.safetensors": hashlib.sha256(payload).hexdigest()}, "training": {}}
    (folder / "training.json").write_bytes(canonical_json(listing))
    with pytest.raises(ModelStoreError, match="no safetensors file"):
        store.load_weights("success", VERSION)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "version"), [("../x", VERSION), ("Success", VERSION), ("success", "latest"), ("", "")]
)
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, name: str, version: str) -> None:
    with pytest.raises(ModelStoreError, match="is no model"):
        ModelStore(tmp_path).directory(name, version)


def test_reserved_card_entries_and_plot_paths_are_refused(tmp_path: Path) -> None:
    store = published(tmp_path)
    with pytest.raises(ModelStoreError, match="files, which the store writes itself"):
        store.publish("success", VERSION, b"onnx bytes", CARD | {"files": {}})
    with pytest.raises(ModelStoreError, match="is no plot name"):
        store.write_weights("success", VERSION, TENSORS, {}, {"../evil": b""})


def test_values_that_are_no_json_are_refused_with_what_to_do() -> None:
    for value in (float("nan"), np.float32(1), {1, 2}):
        with pytest.raises(ModelStoreError, match="None for what is missing"):
            canonical_json({"value": value})


def test_a_card_moved_to_another_version_is_refused(tmp_path: Path) -> None:
    store = published(tmp_path)
    other = "0" * 16
    store.directory("success", VERSION).rename(store.directory("success", other))
    with pytest.raises(ModelStoreError, match="it was moved"):
        store.load_card("success", other)


FILES = {"members/xgboost/trees_0.json": b"{}", "out_of_fold.parquet": b"PAR1"}


def with_files(root: Path) -> ModelStore:
    store = ModelStore(root)
    store.write_weights("success", VERSION, TENSORS, {"seed": 7}, {"curves": b"png bytes"}, FILES)
    store.publish("success", VERSION, b"onnx bytes", CARD)
    return store


def test_further_files_are_hashed_and_read_back(tmp_path: Path) -> None:
    store = with_files(tmp_path)
    assert {path: store.read_file("success", VERSION, path) for path in FILES} == FILES
    assert store.files("success", VERSION) == sorted([*FILES, "plots/curves.png", "weights.safetensors"])
    assert set(FILES) <= set(store.verify("success", VERSION)["files"])


def test_an_altered_further_file_is_found_by_reading_and_by_verifying(tmp_path: Path) -> None:
    store = with_files(tmp_path)
    (store.directory("success", VERSION) / "members" / "xgboost" / "trees_0.json").write_bytes(b"[]")
    with pytest.raises(ModelStoreError, match=r"trees_0\.json was altered"):
        store.read_file("success", VERSION, "members/xgboost/trees_0.json")
    with pytest.raises(ModelStoreError, match=r"trees_0\.json was altered"):
        store.verify("success", VERSION)
    assert store.read_file("success", VERSION, "out_of_fold.parquet") == b"PAR1"


@pytest.mark.parametrize(
    "path",
    ["../evil.json", "/etc/passwd.txt", "a/../b.json", "model.pkl", "Weights.json", "a//b.json", ".hidden.json", "x",
     "training.json", "card.json", "weights.safetensors", "plots/more.png"],
)  # fmt: skip
def test_paths_that_leave_the_folder_run_code_or_are_taken_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ModelStoreError, match=r"no path for a further file|a name the store uses itself"):
        ModelStore(tmp_path).write_weights("success", VERSION, TENSORS, {}, {}, {path: b"x"})
    assert contents(tmp_path) == {}


def test_a_file_the_training_did_not_record_is_not_read(tmp_path: Path) -> None:
    store = with_files(tmp_path)
    for path in ("card.json", "model.onnx", "../../secret.json"):
        with pytest.raises(ModelStoreError, match="has no file"):
            store.read_file("success", VERSION, path)


def test_there_is_no_champion_before_the_first_promotion(tmp_path: Path) -> None:
    assert ModelStore(tmp_path).champion("success") is None
    assert published(tmp_path).champion("success") is None


def test_the_champion_is_the_version_set_last(tmp_path: Path) -> None:
    store = published(tmp_path)
    other = "0123456789abcdef"
    store.write_weights("success", other, TENSORS, {}, {})
    store.publish("success", other, b"other onnx", CARD)
    for version in (VERSION, other, other):
        pointer = store.set_champion("success", version)
        assert store.champion("success") == version
        assert pointer == tmp_path / "success" / "champion.json"
    assert [path.name for path in (tmp_path / "success").iterdir() if path.is_file()] == ["champion.json"]
    assert store.versions("success") == sorted([VERSION, other])
    store.verify("success", other)


def test_an_unpublished_or_altered_version_never_becomes_champion(tmp_path: Path) -> None:
    store = published(tmp_path)
    store.set_champion("success", VERSION)
    unpublished = "0123456789abcdef"
    store.write_weights("success", unpublished, TENSORS, {}, {})
    with pytest.raises(ModelStoreError, match="is not published"):
        store.set_champion("success", unpublished)
    store.publish("success", unpublished, b"other onnx", CARD)
    (store.directory("success", unpublished) / "model.onnx").write_bytes(b"altered")
    with pytest.raises(ModelStoreError, match=r"model\.onnx was altered"):
        store.set_champion("success", unpublished)
    assert store.champion("success") == VERSION


def test_a_writer_killed_while_promoting_leaves_the_old_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = published(tmp_path)
    store.set_champion("success", VERSION)
    other = "0123456789abcdef"
    store.write_weights("success", other, TENSORS, {}, {})
    store.publish("success", other, b"other onnx", CARD)

    def dying(source: str, target: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            store.set_champion("success", other)
    assert store.champion("success") == VERSION


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": "../../x"}', b'{"version": 3}', b"{}"])
def test_a_pointer_that_names_no_version_is_refused(tmp_path: Path, content: bytes) -> None:
    store = published(tmp_path)
    (tmp_path / "success" / "champion.json").write_bytes(content)
    with pytest.raises(ModelStoreError, match=r"champion\.json"):
        store.champion("success")


def test_the_files_of_a_folder_are_those_below_it_and_no_namesake() -> None:
    files = {"members/a/x.json": b"1", "members/a/b/y.json": b"2", "members/ab/x.json": b"3", "a/x.json": b"4"}
    assert files_under("members/a", files) == {"x.json": b"1", "b/y.json": b"2"}
    assert files_under("members/none", files) == {}
