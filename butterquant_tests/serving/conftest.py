"""One store with two real versions for the whole package; tests that change files copy it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from butterquant_assets.foundation.model_store import ModelStore
from butterquant_tests.serving import stores


@dataclass(frozen=True)
class House:
    home: Path
    store: ModelStore
    first: str
    second: str


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Two published versions, no champion. Read only."""
    home = tmp_path_factory.mktemp("served")
    store = stores.new_store(home)
    return House(home, store, stores.publish(store, 1), stores.publish(store, 2))


@pytest.fixture
def house(master: House, tmp_path: Path) -> House:
    """A copy with the first version as champion."""
    shutil.copytree(master.home, tmp_path / "home")
    store = stores.new_store(tmp_path / "home")
    stores.promote(store, master.first)
    return House(tmp_path / "home", store, master.first, master.second)
