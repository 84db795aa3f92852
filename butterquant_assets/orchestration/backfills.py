"""Asking Dagster's daemon for a backfill of months or days: the same request that its UI makes, from the command line.

The daemon cuts it into runs (`executors.backfill_policy_of`), launches each when what it reads is there, and shows its
progress. Nothing here schedules anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import dagster as dg

from butterquant_assets.foundation.calendar import parse_key, shift_key
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.orchestration.house import House

Span = tuple[str, str]
REASON = {"butterquant/reason": "a backfill that was asked for on the command line"}


def keys_to_fill(
    house: House, assets: Collection[str], start: str, end: str, *, look_back: int, look_ahead: int
) -> dict[str, Span | None]:
    """First and last month (day) to fill, by asset; None for an unpartitioned asset.

    Parameters
    ----------
    house
        whose assets they are
    assets
        names ``group/name``; what an asset makes together with one of them comes along
    start, end
        analysis months ``YYYY-MM``, or days ``YYYY-MM-DD`` of a house by day; both included
    look_back, look_ahead
        market months that are read before and after them

    Raises
    ------
    ConfigError
        when the months (days) or the assets leave nothing to fill.
    """
    unit = house.axes.unit
    start, end = parse_key(start, unit), parse_key(end, unit)
    found: dict[str, Span | None] = {}
    for declaration in house.declarations:
        if not set(declaration.names) & set(assets):
            continue
        if declaration.axis is None:
            found |= dict.fromkeys(declaration.names)
            continue
        wider = declaration.axis == "market"
        first, last = (shift_key(start, -look_back, unit), shift_key(end, look_ahead, unit)) if wider else (start, end)
        if covered := [key for key in house.keys(declaration.axis) if first <= key <= last]:
            found |= dict.fromkeys(declaration.names, (covered[0], covered[-1]))
    if not any(found.values()):
        keys = house.keys("analysis" if unit == "month" else house.axes.widest)
        covers = f"covers {keys[0]} .. {keys[-1]}" if keys else f"covers no {unit} yet"
        raise ConfigError(
            f"no partition of the chosen assets lies in {start} .. {end}; the home {covers}: "
            f"choose {unit}s within that, and at least one asset that is partitioned by {unit}"
        )
    return found


def request_backfill(
    instance: dg.DagsterInstance, definitions: dg.Definitions, keys: Mapping[str, Span | None], now: datetime
) -> str:
    """Store the request for a backfill; returns its id.

    Parameters
    ----------
    instance
        whose daemon shall do it
    definitions
        what the daemon's code location serves
    keys
        from `keys_to_fill`
    now
        time of the request, with its time zone
    """
    from dagster._core.definitions.selector import PartitionRangeSelector, PartitionsByAssetSelector, PartitionsSelector
    from dagster._core.execution.backfill import PartitionBackfill
    from dagster._core.utils import make_new_backfill_id

    selectors = [
        PartitionsByAssetSelector(
            asset_key=dg.AssetKey(name.split("/")),
            partitions=PartitionsSelector([PartitionRangeSelector(*span)]) if span else None,
        )
        for name, span in keys.items()
    ]
    backfill: PartitionBackfill = PartitionBackfill.from_partitions_by_assets(
        backfill_id=make_new_backfill_id(),
        asset_graph=definitions.resolve_asset_graph(),
        backfill_timestamp=now.timestamp(),
        tags=REASON,
        dynamic_partitions_store=instance,
        partitions_by_assets=selectors,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return str(backfill.backfill_id)
