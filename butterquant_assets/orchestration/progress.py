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
    known = [key for key in keys if key is not None]
    what = "" if not known else known[0] if len(known) == 1 else f"{known[0]} .. {known[-1]}"
    count = f"{finished + len(keys)}/{total}" if known else ""
    logger.info("%-28s %-24s %s", asset, what, count)
