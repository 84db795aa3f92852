"""What an asset of the lake is: the declaration a line writes, and what its function is handed.

A line's `assets.py` decorates one function per asset with `lake_asset`. The function takes a `Work`, calls one pure
function and returns a frame (or a `Result`). Which partitions and rows it is asked for, splitting, checking, publishing
and provenance are the business of `rebuild`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd

from butterquant_assets.foundation.calendar import key_of
from butterquant_assets.foundation.contracts import Contract, Outcome
from butterquant_assets.foundation.freshness import PART_OF_A_FILE, Freshness, Key, Window
from butterquant_assets.foundation.settings import HomeSettings

if TYPE_CHECKING:
    from butterquant_assets.orchestration.house import House

Axis = Literal["market", "analysis", "scan", "days"]
"""Which partitions an asset covers: months of one of three kinds, or UTC days."""


@dataclass(frozen=True)
class Limit:
    """A share over all partitions that must not grow too large; an ERROR check that quarantines nothing.

    Parameters
    ----------
    description
        what is limited
    part, whole
        names of facts (counts) whose sums over all partitions give the share
    most
        the largest share allowed
    """

    description: str
    part: str
    whole: str
    most: float


@dataclass(frozen=True)
class Result:
    """What an asset function returns when a frame is not enough.

    Parameters
    ----------
    frames
        output name -> rows for all partitions that were asked for
    facts
        plain values per partition key, stored in the footers and shown in the UI
    faults
        outcomes of checks across tables, per partition key; a failed one quarantines the partition
    warnings
        check name -> sentence, per partition key; shown by a WARN check, never blocking
    plots
        name -> PNG bytes
    artifacts
        files the asset wrote outside the lake, path relative to the home -> sha256
    """

    frames: Mapping[str, pd.DataFrame]
    facts: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    faults: Mapping[Key, Mapping[str, Outcome]] = field(default_factory=dict)
    warnings: Mapping[Key, Mapping[str, str]] = field(default_factory=dict)
    plots: Mapping[str, bytes] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)


class Compute(Protocol):
    """An asset function."""

    __name__: str
    __doc__: str | None

    def __call__(self, work: Work, /) -> pd.DataFrame | Result:
        """Make the rows that `work` asks for."""


@dataclass(frozen=True)
class LakeAsset:
    """A declared asset: one function, one or more tables.

    Parameters
    ----------
    compute
        the function
    contracts
        contracts of its outputs; each names its asset key ``group/name``
    reads
        what it reads; a function of the settings where that depends on them (resolved when the house is built)
    code
        pure modules whose code decides the result, and helper functions beside the asset that do
    config
        picks from the settings the values that decide the result; they are all the function gets to see
    axis
        which months or days it covers, or None for an unpartitioned asset
    batch
        months (days) handed to the function at once; a killed run loses at most one batch
    group
        column whose groups are rebuilt apart (``ticker``), or None
    digest
        column whose groups get a content hash of their own in the footer: ``ticker``, or ``month`` or ``day`` (of the
        contract's time column or of ``session``)
    warns
        names and descriptions of WARN checks
    faults
        names and descriptions of checks across tables that the function makes itself
    summarise
        facts of one partition from its finished tables, by asset name; unlike the facts of a `Result` they count the
        rows that were kept as well
    limits
        shares that must stay small over all partitions, by check name
    ledgers
        what it reads besides the market source and other assets, by the dataset its window names (``source:dataset``):
        a function from the settings to the content hash of each of its parts now. Only an unpartitioned asset may
    in_warehouse
        whether it writes rows to the warehouse too, so that a database older than the home is noticed
    kinds, lineage, pool
        shown in, or used by, Dagster; `lineage`: output column -> (asset, column) it comes from
    """

    compute: Compute
    contracts: tuple[Contract, ...]
    reads: Sequence[Window] | Callable[[Any], Sequence[Window]]
    code: tuple[ModuleType | Callable[..., Any], ...]
    config: Callable[[Any], Any]
    axis: Axis | None
    batch: int = 12
    group: str | None = None
    digest: str | None = None
    warns: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    summarise: Callable[[Mapping[str, pd.DataFrame]], Mapping[str, Any]] = lambda frames: {}
    limits: Mapping[str, Limit] = field(default_factory=dict)
    ledgers: Mapping[str, Callable[[HomeSettings], Mapping[str, str]]] = field(default_factory=dict)
    in_warehouse: bool = False
    kinds: frozenset[str] = frozenset({"parquet"})
    lineage: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    pool: str | None = None

    def resolved(self, settings: Any) -> LakeAsset:
        """The same declaration with its windows fixed for these settings."""
        return replace(self, reads=tuple(self.reads(settings) if callable(self.reads) else self.reads))

    @property
    def windows(self) -> tuple[Window, ...]:
        """Its windows, once resolved."""
        if callable(self.reads):
            raise TypeError(f"{self.names[0]} has not been resolved against settings yet")
        return tuple(self.reads)

    @property
    def names(self) -> tuple[str, ...]:
        """Asset keys of its outputs, ``group/name``."""
        return tuple(contract.table for contract in self.contracts)


def lake_asset(
    *contracts: Contract,
    reads: Sequence[Window] | Callable[[Any], Sequence[Window]] = (),
    code: Sequence[ModuleType | Callable[..., Any]],
    config: Callable[[Any], Any] = lambda settings: None,
    axis: Axis | None,
    **options: Any,
) -> Callable[[Compute], LakeAsset]:
    """Declare an asset; see `LakeAsset` for the parameters."""

    def declare(compute: Compute) -> LakeAsset:
        return LakeAsset(
            compute=compute,
            contracts=contracts,
            reads=reads,
            code=tuple(code),
            config=config,
            axis=axis,
            **options,
        )

    return declare


@dataclass(frozen=True)
class Work:
    """One request to an asset function.

    Parameters
    ----------
    partitions
        what to make; ``(None,)`` for an unpartitioned asset
    groups
        groups of rows to make, or None for all
    config
        what the declaration's `config` picked from the settings
    """

    partitions: tuple[Key, ...]
    groups: frozenset[str] | None
    config: Any
    house: House
    freshness: Freshness
    declaration: LakeAsset

    @property
    def keys(self) -> tuple[str, ...]:
        """The months or days to make, ascending; none for an unpartitioned asset."""
        return tuple(key for key in self.partitions if key is not None)

    def read(self, asset: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """What this work's partitions read of `asset`: its window, only the columns and groups that are needed."""
        window = next((w for w in self.declaration.windows if w.asset == asset), None)
        if window is None:
            raise KeyError(f"{self.declaration.compute.__name__} does not declare that it reads {asset}")
        keys = sorted({key for own in self.partitions for key in self.freshness.window_keys(window, own)}, key=str)
        frame = self.read_keys(asset, keys, columns)
        if window.by in PART_OF_A_FILE:
            wanted: Iterable[str] = self.keys
            if window.by == "in_force":
                wanted = {read for own in self.keys for read in self.freshness.in_force(window, own)}
            unit = self.freshness.nodes[self.declaration.names[0]].unit
            frame = frame[np.isin(key_of(frame[self.house.contract(asset).time or "session"], unit), sorted(wanted))]
        group = self.declaration.group
        if self.groups is not None and group is not None and group in frame:
            frame = frame[frame[group].isin(self.groups)]
        return frame.reset_index(drop=True)

    def read_keys(self, asset: str, keys: Sequence[Key], columns: Sequence[str] | None = None) -> pd.DataFrame:
        """What given partitions of `asset` hold, ``[None]`` for its one file.

        Raises
        ------
        LakeError
            if one of them is not what it was when this work was planned. What is made is recorded as made of that: once
            the file is back as it was, nothing would ever show that it was made of something else.
        """
        found = ((key, self.freshness.snapshot.entry(asset, key).footer) for key in keys)
        contents = {key: footer.content for key, footer in found if footer is not None}
        partitions = None if list(keys) == [None] else [str(key) for key in keys]
        return self.house.lake.read(asset, partitions, columns, contents=contents)
