"""Receipts in the warehouse: which published partitions of the lake its rows belong to.

Rows in the warehouse lie apart from the file that says they are current. Where a database is replaced by an older one,
or by an empty one, the files alone would never show it. So each asset that writes there leaves a receipt beside its
rows, which is taken away before they change and given back once the file is published. An edge: it does I/O and knows
no Dagster. What does not belong here: what a missing receipt means (`freshness`), and when one is written (`rebuild`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.lake import Footer, combine
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_assets.foundation.warehouse_url import sqlite_file

Key = str | None

_WITHOUT_TABLE = re.compile("no such table|UndefinedTable")


def receipt_of(footer: Footer) -> str:
    """Hash of what a partition was made from and by. Its content alone would not do: it need not show every row."""
    inputs = sorted(f"{name}={content}" for name, content in footer.inputs.items())
    return combine([footer.content, footer.code, footer.config, *inputs])


def held_receipts(warehouse_url: str) -> dict[str, dict[Key, str]]:
    """Receipts by asset and partition (None: an asset without any).

    Creates no database where there is none.

    Parameters
    ----------
    warehouse_url
        as for `Warehouse`

    Raises
    ------
    WarehouseError
        if the database cannot be read.
    """
    file = sqlite_file(warehouse_url)
    if file is not None and not file.exists():
        return {}
    with Warehouse(warehouse_url) as warehouse:
        try:
            rows = warehouse.fetch("warehouse_receipts")
        except WarehouseError as error:
            if not _WITHOUT_TABLE.search(str(error)):
                raise
            # A database of an earlier version. Migrating first would lock it at every look.
            warehouse.migrate()
            rows = warehouse.fetch("warehouse_receipts")
    held: dict[str, dict[Key, str]] = {}
    for asset, key, content in rows.itertuples(index=False):
        held.setdefault(asset, {})[key or None] = content
    return held


def forget_receipts(warehouse_url: str, partitions: Iterable[tuple[str, Key]]) -> None:
    """Take receipts away, because the rows they stand for are about to change.

    Parameters
    ----------
    warehouse_url
        as for `Warehouse`
    partitions
        asset and month or day

    Raises
    ------
    WarehouseError
        if the database refuses.
    """
    with Warehouse(warehouse_url) as warehouse:
        warehouse.migrate()
        warehouse.execute("forget_warehouse_receipt", [_named(asset, key) for asset, key in partitions])


def give_receipts(warehouse_url: str, published: Mapping[tuple[str, Key], Footer]) -> None:
    """Write receipts of partitions whose rows the warehouse holds.

    Parameters
    ----------
    warehouse_url
        as for `Warehouse`
    published
        footers by asset and month or day

    Raises
    ------
    WarehouseError
        if the database refuses.
    """
    rows = [_named(asset, key) | {"content": receipt_of(footer)} for (asset, key), footer in published.items()]
    with Warehouse(warehouse_url) as warehouse:
        warehouse.execute("upsert_warehouse_receipt", rows)


def _named(asset: str, key: Key) -> dict[str, str]:
    return {"asset": asset, "partition_key": key or ""}
