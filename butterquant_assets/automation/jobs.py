"""Jobs: those that bring a graph up to date."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from butterquant_assets.orchestration.assets import asset_key
from butterquant_assets.orchestration.house import EQUITY, House

REFRESH = "refresh"


def refresh_name(house: House) -> str:
    """Name of the job that brings a house up to date."""
    return REFRESH if house.name == EQUITY else f"{REFRESH}_{house.name}"


def build_refresh_job(house: House) -> UnresolvedAssetJobDefinition:
    """The job over all assets of a house; a run of it names those it is about."""
    return dg.define_asset_job(
        refresh_name(house),
        # What a home has besides, such as the inventory of failures, is a schedule's own and never out of date.
        selection=[asset_key(name) for declaration in house.declarations for name in declaration.names],
        description=f"Brings the {house.name} assets up to date: each rebuilds only its own stale partitions and rows.",
    )
