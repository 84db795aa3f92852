"""From a model card back to the data it was trained on, as far as the lake still holds them.

Reads footers of the lake only. What belongs here: walking from table to table. What does not: deciding what is stale
(`freshness`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from butterquant_assets.foundation.lake import Footer, Lake, combine

SOURCE = "source:"


@dataclass(frozen=True)
class TracedTable:
    """One table on the way from a model to its source.

    Parameters
    ----------
    asset
        ``group/name``, or ``source:dataset`` for what was fetched
    partitions
        number of files in the lake now
    first, last
        their first and last month; None for an unpartitioned table
    rows
        in all of them
    content
        hash over their contents now; None for a source, and where the lake holds none
    recorded
        the hash on the model card; None where the card names only what was made from this table
    reads
        the tables it was made from
    """

    asset: str
    partitions: int
    first: str | None
    last: str | None
    rows: int
    content: str | None
    recorded: str | None
    reads: tuple[str, ...]

    @property
    def state(self) -> str:
        """``unchanged`` since the model was trained, ``changed``, ``missing``, or ``upstream`` of one of these."""
        if self.recorded is None:
            return "upstream"
        if self.content is None:
            return "missing"
        return "unchanged" if self.content == self.recorded else "changed"


def trace_data(lake: Lake, data_versions: Mapping[str, str]) -> list[TracedTable]:
    """Every table behind a model, those on its card first, then what these were made from, back to the sources.

    Parameters
    ----------
    lake
        of the home the model was trained in
    data_versions
        of the card: table -> content hash

    Raises
    ------
    LakeError
        if a file is there but cannot be read.
    """
    waiting, traced = list(data_versions), dict[str, TracedTable]()
    while waiting:
        asset = waiting.pop(0)
        if asset in traced:
            continue
        traced[asset] = _traced(lake, asset, data_versions.get(asset))
        waiting += traced[asset].reads
    return list(traced.values())


def _traced(lake: Lake, asset: str, recorded: str | None) -> TracedTable:
    if asset.startswith(SOURCE):
        return TracedTable(asset, 0, None, None, 0, None, recorded, ())
    single = lake.exists(asset)
    keys: list[str | None] = [None] if single else list(lake.partitions(asset))
    footers = {key: footer for key in keys if (footer := lake.footer(asset, key))}
    months = [key for key in footers if key is not None]
    return TracedTable(
        asset=asset,
        partitions=len(footers),
        first=months[0] if months else None,
        last=months[-1] if months else None,
        rows=sum(footer.rows for footer in footers.values()),
        content=_content(footers) if footers else None,
        recorded=recorded,
        # An input that is followed row by row appears as asset|group.
        reads=tuple(dict.fromkeys(name.split("|")[0] for footer in footers.values() for name in footer.inputs)),
    )


def _content(footers: Mapping[str | None, Footer]) -> str:
    """As `freshness.Freshness.inputs` hashes what a reader of all partitions reads."""
    return combine(f"{key}={footer.content}" for key, footer in footers.items())
