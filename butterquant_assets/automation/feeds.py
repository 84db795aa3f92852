"""The newest rows of the tables that should keep growing, read from the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from butterquant_assets.foundation.freshness import Freshness
from butterquant_assets.monitoring.behind import Feed
from butterquant_assets.orchestration.house import House


class Feeds:
    """What is followed, and what was last read of it; a file that has not changed is not read again.

    Parameters
    ----------
    houses
        of a home
    feeds
        by the name of a house; one that has an end is not followed, because it means to stop
    """

    def __init__(self, houses: Sequence[House], feeds: Mapping[str, Feed]) -> None:
        self.feeds = feeds
        self._houses = houses
        self._read: dict[str, tuple[str, np.datetime64]] = {}

    def newest(self, freshness: Freshness) -> dict[str, dict[str, np.datetime64]]:
        """Session or hour of the newest row, by house and asset, of those that hold any.

        Raises
        ------
        LakeError
            if a file cannot be read.
        """
        followed = [h for h in self._houses if h.name in self.feeds and h.partition_span()[1] is None]
        return {house.name: self._of_house(house, self.feeds[house.name], freshness) for house in followed}

    def _of_house(self, house: House, feed: Feed, freshness: Freshness) -> dict[str, np.datetime64]:
        found = {}
        for asset in (name for name in feed.assets if name in freshness.nodes):
            for key in reversed(freshness.nodes[asset].partitions()):
                footer = freshness.snapshot.entry(asset, key).footer
                if key is None or footer is None or not footer.rows:
                    continue  # a month, or day, of which nothing has come yet
                if self._read.get(asset, ("",))[0] != footer.content:
                    rows = house.lake.read(asset, [key], [feed.column])[feed.column]
                    self._read[asset] = footer.content, np.datetime64(rows.max(), "us")
                found[asset] = self._read[asset][1]
                break
        return found
