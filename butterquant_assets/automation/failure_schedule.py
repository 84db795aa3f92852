"""The daily inventory of failed partitions: a job and its schedule."""

from __future__ import annotations

import dagster as dg

from butterquant_assets.monitoring.failed_partitions import NAME
from butterquant_assets.orchestration.assets import asset_key

JOB = "failed_partitions"
CRON = "30 5 * * *"

failed_partitions_job = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.assets(asset_key(NAME)),
    description="Takes stock of partitions that are quarantined, or whose runs failed too often.",
)

failure_schedule = dg.ScheduleDefinition(
    name="failed_partitions_daily",
    job=failed_partitions_job,
    cron_schedule=CRON,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every morning: which partitions nobody will make without help.",
)
