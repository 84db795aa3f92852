"""Progress lines while assets are rebuilt, through the logger ``butterquant.progress``.

The command line shows them on standard error; in Dagster they stay silent, because its event log tells the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from butterquant_assets.foundation.freshness import Key

logger = logging.getLogger("butterquant.progress")


def report_progress(asset: str, keys: Sequence[Key], finished: int, total: int) -> None:
    """Say that `keys` of `asset` are being rebuilt, `finished` of `total` partitions being done."""
    months = [key for key in keys if key is not None]
    what = "" if not months else months[0] if len(months) == 1 else f"{months[0]} .. {months[-1]}"
    count = f"{finished + len(keys)}/{total}" if months else ""
    logger.info("%-28s %-20s %s", asset, what, count)
