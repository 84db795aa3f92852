"""Which versions are in service, as a look that changes nothing: what decides by them rests its freshness on it.

What does not belong here: changing roles, history and evidence (`registry`).
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.warehouse import Warehouse


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
    parsed = sa.make_url(warehouse_url)
    if parsed.get_backend_name() == "sqlite" and parsed.database and not Path(parsed.database).exists():
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
