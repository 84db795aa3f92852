"""Jobs: the one that brings the graph up to date."""

from __future__ import annotations

import dagster as dg

REFRESH = "refresh"

refresh_job = dg.define_asset_job(
    REFRESH,
    selection=dg.AssetSelection.all(),
    description="Brings assets up to date: each rebuilds only its own stale partitions and rows.",
)
