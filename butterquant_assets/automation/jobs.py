"""Jobs: the one that brings the graph up to date."""

from __future__ import annotations

import dagster as dg

REFRESH = "refresh"

refresh_job = dg.define_asset_job(
    REFRESH,
    # The inventory of failures is a schedule's own: it looks at the state of affairs, so it is never out of date.
    # By substring, since a graph without the inventory is no error.
    selection=dg.AssetSelection.all() - dg.AssetSelection.key_substring("monitoring/failed_partitions"),
    description="Brings assets up to date: each rebuilds only its own stale partitions and rows.",
)
