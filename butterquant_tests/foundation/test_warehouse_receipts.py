from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from butterquant_assets.foundation.contracts import Verdict
from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.lake import Footer
from butterquant_assets.foundation.sql_files import sql_folder
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_assets.foundation.warehouse_receipts import (
    forget_receipts,
    give_receipts,
    held_receipts,
    receipt_of,
)

FOOTER = Footer("content", {"a": "1", "b": "2"}, "code", "config", Verdict({}), 3)


def test_receipts_are_held_until_they_are_taken_away(warehouse_url: str) -> None:
    march, april, whole = ("line/rows", "2018-03"), ("line/rows", "2018-04"), ("line/table", None)
    forget_receipts(warehouse_url, [march])
    give_receipts(warehouse_url, {march: FOOTER, april: FOOTER, whole: FOOTER})
    new = replace(FOOTER, inputs={"a": "1", "b": "3"})
    forget_receipts(warehouse_url, [april])
    give_receipts(warehouse_url, {march: new})
    assert held_receipts(warehouse_url) == {
        "line/rows": {"2018-03": receipt_of(new)},
        "line/table": {None: receipt_of(FOOTER)},
    }


@pytest.mark.parametrize(
    "change",
    [{"content": "x"}, {"inputs": {"a": "1"}}, {"inputs": {"a": "2", "b": "1"}}, {"code": "x"}, {"config": "x"}],
)
def test_a_receipt_is_of_what_a_partition_was_made_from_and_by(change: dict[str, object]) -> None:
    assert receipt_of(replace(FOOTER, **change)) != receipt_of(FOOTER)  # type: ignore[arg-type]
    assert receipt_of(replace(FOOTER, rows=9, facts={"n": 1}, artifacts={"p": "q"})) == receipt_of(FOOTER)


def test_looking_makes_no_database_and_brings_an_earlier_one_up_to_date(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.sqlite"
    assert held_receipts(f"sqlite:///{file}") == {}
    assert not file.exists()
    file.touch()
    assert held_receipts(f"sqlite:///{file}") == {}
    with Warehouse(f"sqlite:///{file}") as warehouse:
        assert warehouse.migrate() == []


def test_a_database_of_an_earlier_version_holds_no_receipts(warehouse_url: str, tmp_path: Path) -> None:
    earlier = Path(shutil.copytree(sql_folder(), tmp_path / "sql"))
    (earlier / "migrations" / "0013_warehouse_receipts.sql").unlink()
    with Warehouse(warehouse_url, earlier) as warehouse:
        warehouse.migrate()
    assert held_receipts(warehouse_url) == {}


def test_a_database_that_cannot_be_reached_is_no_database_without_receipts() -> None:
    with pytest.raises(WarehouseError, match="warehouse_receipts failed on"):
        held_receipts("postgresql://nobody@127.0.0.1:1/x")
