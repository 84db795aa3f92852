"""The champion is followed; what cannot be loaded is left aside, counted, and taken up when it is mended."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.serving.telemetry import Telemetry
from butterquant_assets.serving.watcher import RETRY_SECONDS, ChampionWatcher
from butterquant_tests.serving import stores
from butterquant_tests.serving.conftest import House


class Watched:
    """A watcher with a clock that only the test moves."""

    def __init__(self, store: ModelStore) -> None:
        self.now = 0.0
        self.telemetry = Telemetry()
        self.watcher = ChampionWatcher(store, stores.NAME, self.telemetry, clock=lambda: self.now)

    @property
    def version(self) -> str | None:
        return self.watcher.current.version if self.watcher.current else None

    def count(self, name: str) -> float:
        value = self.telemetry.registry.get_sample_value(f"butterquant_model_{name}_total")
        assert value is not None
        return value


@pytest.fixture
def watched(house: House) -> Watched:
    return Watched(house.store)


def pointer(house: House) -> Path:
    return house.store.root / stores.NAME / "champion.json"


def onnx(house: House, version: str) -> Path:
    return house.store.directory(stores.NAME, version) / "model.onnx"


def test_the_champion_is_taken_and_a_promotion_followed(watched: Watched, house: House) -> None:
    assert watched.watcher.check()
    assert (watched.version, watched.watcher.problem) == (house.first, None)
    assert not watched.watcher.check()
    stores.promote(house.store, house.second)
    assert watched.watcher.check()
    assert watched.version == house.second
    assert (watched.count("swaps"), watched.count("refused")) == (2, 0)


def test_a_reference_taken_before_a_swap_keeps_answering_for_its_own_version(watched: Watched, house: House) -> None:
    watched.watcher.check()
    before = watched.watcher.current
    stores.promote(house.store, house.second)
    watched.watcher.check()
    assert before is not None
    assert before.version == house.first
    assert before.score(stores.rows(1).astype("float32")).probabilities.shape == (1, 4)


def test_without_a_champion_there_is_a_reason_and_no_model(watched: Watched, house: House) -> None:
    pointer(house).unlink()
    assert not watched.watcher.check()
    assert watched.version is None
    assert "no version of success is champion yet" in (watched.watcher.problem or "")
    assert watched.count("refused") == 0
    stores.promote(house.store, house.second)
    assert watched.watcher.check()
    assert (watched.version, watched.watcher.problem) == (house.second, None)


@pytest.mark.parametrize("harm", ["altered", "missing", "card missing"])
def test_a_damaged_version_is_refused_once_and_taken_when_mended(
    watched: Watched, house: House, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    watched.watcher.check()
    file = onnx(house, house.second)
    if harm == "card missing":
        file = file.with_name("card.json")
    content = file.read_bytes()
    file.unlink()
    if harm == "altered":
        file.write_bytes(content + b"x")
    stores.promote(house.store, house.second)
    with caplog.at_level(logging.ERROR, logger="butterquant.serving"):
        for _ in range(3):
            assert not watched.watcher.check()
    assert watched.version == house.first
    assert f"{house.first} stays in service" in (watched.watcher.problem or "")
    assert watched.count("refused") == 1
    assert [house.second in record.getMessage() for record in caplog.records] == [True]
    file.write_bytes(content)
    assert watched.watcher.check()
    assert (watched.version, watched.watcher.problem) == (house.second, None)


def test_a_served_version_whose_file_is_altered_later_stays_in_memory_and_is_reported(
    watched: Watched, house: House
) -> None:
    watched.watcher.check()
    content = onnx(house, house.first).read_bytes()
    onnx(house, house.first).write_bytes(b"x")
    assert not watched.watcher.check()
    assert (watched.version, watched.count("refused")) == (house.first, 1)
    assert "was altered" in (watched.watcher.problem or "")
    onnx(house, house.first).write_bytes(content)
    assert not watched.watcher.check()
    assert (watched.watcher.problem, watched.count("swaps")) == (None, 1)


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 5}', '{"version": "../../etc"}', "{}"])
def test_a_pointer_that_names_no_version_is_refused_and_the_old_one_stays(
    watched: Watched, house: House, content: str
) -> None:
    watched.watcher.check()
    pointer(house).write_text(content)
    watched.watcher.check()
    watched.watcher.check()
    assert (watched.version, watched.count("refused")) == (house.first, 1)
    stores.promote(house.store, house.second)
    assert watched.watcher.check()
    assert watched.watcher.problem is None


def test_a_pointer_that_is_removed_leaves_the_model_in_service(watched: Watched, house: House) -> None:
    watched.watcher.check()
    pointer(house).unlink()
    watched.watcher.check()
    assert watched.version == house.first
    assert "was removed" in (watched.watcher.problem or "")


def test_a_refused_version_is_tried_again_after_a_while_though_no_file_changed(
    watched: Watched, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", exhausted)
        watched.watcher.check()
    assert watched.version is None
    watched.now += RETRY_SECONDS - 1.0
    assert not watched.watcher.check()
    watched.now += 1.0
    assert watched.watcher.check()
    assert watched.version == house.first


def exhausted(path: Path) -> bytes:
    if path.name == "champion.json":
        with path.open("rb") as file:
            return file.read()
    raise OSError(24, "Too many open files")


def test_watching_survives_a_failure_nobody_foresaw(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked = 0
    whole = watched.watcher.check

    def failing_first() -> bool:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise ZeroDivisionError
        return whole()

    monkeypatch.setattr(watched.watcher, "check", failing_first)

    async def until_served() -> None:
        watching = asyncio.create_task(watched.watcher.watch(0.001))
        while watched.version is None:
            await asyncio.sleep(0.001)
        watching.cancel()

    asyncio.run(asyncio.wait_for(until_served(), 10.0))
    assert "failed unexpectedly" in caplog.text
