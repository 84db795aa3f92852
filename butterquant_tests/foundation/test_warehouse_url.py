"""URLs of warehouses: where the file of one lies, without opening it."""

from __future__ import annotations

from pathlib import Path

import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.registry_roles import versions_in_service
from butterquant_assets.foundation.warehouse_url import sqlite_file


def test_only_an_sqlite_warehouse_is_a_file() -> None:
    assert sqlite_file("sqlite:////data/warehouse.sqlite") == Path("/data/warehouse.sqlite")
    assert sqlite_file("postgresql://me:secret@host:5432/quant") is None


def test_an_unknown_url_is_refused_by_the_looks_that_open_nothing_and_shows_no_password() -> None:
    for look in (sqlite_file, versions_in_service):
        with pytest.raises(ConfigError, match="expected sqlite:///") as refused:
            look("mysql://me:secret@host/quant")
        assert "secret" not in str(refused.value)


def test_a_look_at_the_roles_creates_no_database(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.sqlite"
    assert versions_in_service(f"sqlite:///{file}") == {}
    assert not file.exists()
