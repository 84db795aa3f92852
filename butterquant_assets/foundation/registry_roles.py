"""Which versions are in service, as a look that changes nothing: what decides by them rests its freshness on it.

What does not belong here: changing roles, history and evidence (`registry`).
"""

from __future__ import annotations

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_assets.foundation.warehouse_url import sqlite_file


def versions_in_service(warehouse_url: str) -> dict[str, str]:
    """Version in service by model; empty where nothing was ever promoted.

    Creates no database where there is none, and mends nothing.

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
    warehouse = Warehouse(warehouse_url)
    try:
        rows = _fetched(warehouse)
    finally:
        warehouse.close()
    return {str(model): str(version) for model, version in rows}


def _fetched(warehouse: Warehouse) -> list[tuple[str, str]]:
    try:
        found = warehouse.fetch("champions")
    except WarehouseError:
        # A database without the tables yet. Migrating first would lock it at every look.
        warehouse.migrate()
        found = warehouse.fetch("champions")
    return list(zip(found["model"], found["version"], strict=True))
