"""Partition definitions and mappings, made from keys and windows; and frames split by key."""

from __future__ import annotations

import warnings

import dagster as dg
import numpy as np
import pandas as pd

from butterquant_assets.foundation.calendar import KEY_FORMATS, Unit, key_of, shift_key
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.freshness import Window

_CRON: dict[Unit, str] = {"month": "0 0 1 * *", "day": "0 0 * * *"}


def partitions_of(unit: Unit, first: str, last: str | None) -> dg.TimeWindowPartitionsDefinition:
    """Months or UTC days as Dagster partitions.

    Parameters
    ----------
    unit
        of the keys
    first, last
        both included; without a last one they go on to the current month (day), and Dagster sees each new one without
        the definitions being loaded again
    """
    return dg.TimeWindowPartitionsDefinition(
        start=first,
        end=None if last is None else shift_key(last, 1, unit),
        end_offset=1,
        fmt=KEY_FORMATS[unit],
        cron_schedule=_CRON[unit],
        timezone="UTC",
    )


def monthly(first: str, last: str | None) -> dg.TimeWindowPartitionsDefinition:
    """Months, ``YYYY-MM``; see `partitions_of`."""
    return partitions_of("month", first, last)


def daily(first: str, last: str | None) -> dg.TimeWindowPartitionsDefinition:
    """UTC days, ``YYYY-MM-DD``; see `partitions_of`."""
    return partitions_of("day", first, last)


def unit_of(partitions: dg.PartitionsDefinition) -> Unit:
    """The unit of partitions that were made here.

    Raises
    ------
    ConfigError
        for any others.
    """
    written = getattr(partitions, "fmt", None)
    for unit, format_ in KEY_FORMATS.items():
        if written == format_:
            return unit
    raise ConfigError(f"the lake is partitioned by month or by UTC day, not by {partitions}: use `monthly` or `daily`")


def split_by_key(frame: pd.DataFrame, time: str, unit: Unit) -> dict[str, pd.DataFrame]:
    """The rows of each key of column `time`, in the frame's order; a missing time comes as ``NaT``."""
    keys, codes = np.unique(key_of(frame[time], unit), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(keys) + 1))
    return {str(key): frame.iloc[order[bounds[i] : bounds[i + 1]]] for i, key in enumerate(keys)}


def mapping_of(window: Window, *, reader_partitioned: bool, read_partitioned: bool) -> dg.PartitionMapping | None:
    """The Dagster mapping that shows a window in the lineage; None where Dagster's default is right."""
    if reader_partitioned and read_partitioned:
        with warnings.catch_warnings():
            # What lies before the first bar does not exist; the option that says so is in beta, pinned by the lock.
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.TimeWindowPartitionMapping(
                start_offset=window.first, end_offset=window.last, allow_nonexistent_upstream_partitions=True
            )
    if read_partitioned:
        return dg.AllPartitionMapping()
    return None
