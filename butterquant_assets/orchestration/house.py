"""The house: settings, storage, source and one asset graph of a home directory, as one object that runs are given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import pandas as pd

from butterquant_assets.foundation.code_version import code_version, package_stamp
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.foundation.freshness import Freshness, Node
from butterquant_assets.foundation.inventory import take_stock
from butterquant_assets.foundation.lake import Lake, combine
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.foundation.warehouse_receipts import held_receipts
from butterquant_assets.orchestration.axes import Axes
from butterquant_assets.orchestration.declaration import LakeAsset
from butterquant_assets.orchestration.reading import RecordingSource, Source

EQUITY, CRYPTO = "equity", "crypto"


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


class House:
    """One asset graph over one home directory, with everything a run needs.

    Parameters
    ----------
    settings
        all settings
    axes
        which months or days it covers, and how they grow
    declarations
        all assets, inputs before their readers
    open_source
        opens the market source; called at most once, when it is first needed
    clock
        tells the time, which a growing house does not outrun
    name
        of the house, where a home has several
    simulated
        whether the source is a simulation; shown with every asset
    landing
        folder where files land that are still being written when they are first seen; None for none
    """

    def __init__(
        self,
        settings: HomeSettings,
        axes: Axes,
        declarations: Sequence[LakeAsset],
        open_source: Callable[[], Source],
        *,
        clock: Callable[[], datetime] = utc_now,
        name: str = EQUITY,
        simulated: bool = False,
        landing: Path | None = None,
    ) -> None:
        self.settings = settings
        self.axes = axes
        self.name, self.simulated, self.landing = name, simulated, landing
        self.declarations = tuple(declaration.resolved(settings) for declaration in declarations)
        self.lake = Lake(settings.lake_location)
        self._open_source = open_source
        self._clock = clock
        self._looking = Lock()
        self._stamp = package_stamp()
        # Taken once: a process that goes on with the code it has loaded must not sign its results with later code.
        self._nodes = tuple(made for declaration in self.declarations for made in self._made(declaration))

    def now(self) -> datetime:
        """The time by the house's clock, with its zone."""
        return self._clock()

    def code_has_changed(self) -> bool:
        """Whether a first-party source file was edited after this process loaded it."""
        return package_stamp() != self._stamp

    @cached_property
    def source(self) -> RecordingSource:
        """The market source."""
        return RecordingSource(self._open_source())

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All assets as freshness sees them, with the months or days they cover now."""
        return tuple(node if axis is None else replace(node, keys=self.keys(axis)) for axis, node in self._nodes)

    @property
    def binding(self) -> Mapping[str, Any]:
        """Source and span the home is bound to, with the ends as they are now."""
        return self.axes.binding

    def partition_span(self) -> tuple[str, str | None]:
        """First and last month (day) that may ever be a partition; None for no end."""
        return self.axes.span()

    def keys(self, axis: str) -> tuple[str, ...]:
        """Months or days of an axis, ascending."""
        return self.axes.keys(axis)

    def declaration(self, name: str) -> LakeAsset:
        """The declaration that makes asset `name`."""
        return next(declaration for declaration in self.declarations if name in declaration.names)

    def contract(self, name: str) -> Contract:
        """The contract of asset `name`."""
        return next(contract for contract in self.declaration(name).contracts if contract.table == name)

    def freshness(self) -> Freshness:
        """Decisions against the lake, the source and the ledgers as they are now; the house may grow by it."""
        # The sensors of a code server share a house, and one of them looks in the background: what a look leaves in the
        # source and the axes belongs to one look at a time, and the next finds it done.
        with self._looking:
            return self._look()

    def _look(self) -> Freshness:
        self._grow()
        nodes = self.nodes
        source = {dataset: self.source.fingerprints(dataset, keys) for dataset, keys in self._source_keys().items()}
        ledgers = {dataset: contents(self.settings) for dataset, contents in self._ledgers().items()}
        writes = any(node.in_warehouse for node in nodes)
        receipts = held_receipts(self.settings.warehouse_location) if writes else {}
        snapshot = take_stock(self.lake, nodes, {**source, **ledgers}, self.settings.home, receipts)
        self.source.watch({dataset: snapshot.source[dataset] for dataset in source})
        return Freshness(nodes, snapshot)

    def _grow(self) -> None:
        if not self.axes.may_grow():
            return
        widest = (node.name for axis, node in self._nodes if axis == self.axes.widest)
        held = max((key for name in widest for key in self.lake.partitions(name)[-1:]), default=None)
        try:
            delivered = self.source.span()[1]
        except SourceError:
            if held or self.keys(self.axes.widest):
                raise
            return  # how a source that is being collected begins: it holds nothing, and the house covers nothing yet
        self.axes.grow(delivered, held, self._clock())

    def _source_keys(self) -> dict[str, tuple[str, ...]]:
        """Keys of each dataset to look at: the widest axis, or all the source holds for an unpartitioned reader."""
        everything, ledgers = self.keys(self.axes.widest), self._ledgers()
        wanted: dict[str, tuple[str, ...]] = {}
        for node in self.nodes:
            for window in node.reads:
                dataset = window.asset.removeprefix("source:")
                if window.asset.startswith("source:") and dataset not in ledgers:
                    wanted[dataset] = everything if node.keys is not None else tuple(self.source.keys_held(dataset))
        return dict(sorted(wanted.items()))

    def _ledgers(self) -> dict[str, Callable[[HomeSettings], Mapping[str, str]]]:
        return {
            dataset: contents for declaration in self.declarations for dataset, contents in declaration.ledgers.items()
        }

    def config(self, declaration: LakeAsset) -> Any:
        """What a declaration picks from the settings."""
        return declaration.config(self.settings)

    def _made(self, declaration: LakeAsset) -> Iterable[tuple[str | None, Node]]:
        modules = [part for part in declaration.code if isinstance(part, ModuleType)]
        functions = [part for part in declaration.code if not isinstance(part, ModuleType)]
        made = code_version(modules, [declaration.compute, *functions])
        code = combine([made, *(contract.fingerprint() for contract in declaration.contracts)])
        config = combine([json.dumps(_plain(self.config(declaration)), sort_keys=True)])
        keys = None if declaration.axis is None else self.keys(declaration.axis)
        for name in declaration.names:
            yield (
                declaration.axis,
                Node(name, keys, declaration.windows, code, config, self.axes.unit, declaration.in_warehouse),
            )


def joint_freshness(houses: Sequence[House]) -> Freshness:
    """Decisions over all partitions of several houses of one home."""
    return Freshness.joined([house.freshness() for house in houses])


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {type(value).__name__: {k: _plain(v) for k, v in asdict(value).items()}}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value
