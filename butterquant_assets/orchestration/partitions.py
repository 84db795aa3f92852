"""Partition definitions and mappings, made from months and windows."""

from __future__ import annotations

import warnings

import dagster as dg

from butterquant_assets.foundation.calendar import shift_month
from butterquant_assets.foundation.freshness import Window

MONTH_FORMAT = "%Y-%m"


def monthly(first: str, last: str | None) -> dg.TimeWindowPartitionsDefinition:
    """Months as Dagster partitions.

    Parameters
    ----------
    first, last
        both included, ``YYYY-MM``; without a last one the months go on to the current one, and Dagster sees each new
        month without the definitions being loaded again
    """
    return dg.TimeWindowPartitionsDefinition(
        start=first,
        end=None if last is None else shift_month(last, 1),
        end_offset=1,
        fmt=MONTH_FORMAT,
        cron_schedule="0 0 1 * *",
        timezone="UTC",
    )


def mapping_of(window: Window, *, reader_partitioned: bool, read_partitioned: bool) -> dg.PartitionMapping | None:
    """The Dagster mapping that shows a window in the lineage; None where Dagster's default is right."""
    if reader_partitioned and read_partitioned:
        with warnings.catch_warnings():
            # Months before the first bar do not exist; the option that says so is in beta, and pinned by the lock.
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.TimeWindowPartitionMapping(
                start_offset=window.first, end_offset=window.last, allow_nonexistent_upstream_partitions=True
            )
    if read_partitioned:
        return dg.AllPartitionMapping()
    return None
