"""The house: settings, storage, source and asset graph of one home directory, as one object that runs are given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from types import ModuleType
from typing import Any

import pandas as pd

from butterquant_assets.foundation.calendar import month_range
from butterquant_assets.foundation.code_version import code_version, package_stamp
from butterquant_assets.foundation.freshness import Freshness, Node
from butterquant_assets.foundation.inventory import take_stock
from butterquant_assets.foundation.lake import Lake, combine
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.orchestration.declaration import LakeAsset
from butterquant_assets.orchestration.reading import RecordingSource, Source
from butterquant_assets.orchestration.span import GROWS_TO, grown, may_grow


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


class House:
    """One home directory with everything a run needs.

    Parameters
    ----------
    settings
        all settings, sections of the lines included
    binding
        source and span the home is bound to; its ends move forward with the source where it may grow (`span`)
    declarations
        all assets, inputs before their readers
    open_source
        opens the market source; called at most once, when it is first needed
    recent_months
        further axes by name: the last so many analysis months
    clock
        tells the current month, which a growing home does not outrun
    """

    def __init__(
        self,
        settings: HomeSettings,
        binding: Mapping[str, Any],
        declarations: Sequence[LakeAsset],
        open_source: Callable[[], Source],
        recent_months: Mapping[str, int] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.settings = settings
        self.binding = dict(binding)
        self.declarations = tuple(declaration.resolved(settings) for declaration in declarations)
        self.lake = Lake(settings.lake_location)
        self._open_source = open_source
        self._recent_months = dict(recent_months or {})
        self._clock = clock
        self._stamp = package_stamp()
        # Taken once: a process that goes on with the code it has loaded must not sign its results with later code.
        self._nodes = tuple(made for declaration in self.declarations for made in self._made(declaration))

    def code_has_changed(self) -> bool:
        """Whether a first-party source file was edited after this process loaded it."""
        return package_stamp() != self._stamp

    @cached_property
    def source(self) -> RecordingSource:
        """The market source."""
        return RecordingSource(self._open_source())

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All assets as freshness sees them, with the months they cover now."""
        return tuple(node if axis is None else replace(node, months=self.months(axis)) for axis, node in self._nodes)

    def partition_span(self) -> tuple[str, str | None]:
        """First and last month that may ever be a partition; None for no end."""
        return self.binding["market_start"], self.binding.get(GROWS_TO, self.binding["market_end"])

    def months(self, axis: str) -> tuple[str, ...]:
        """Months of the ``market`` axis, the ``analysis`` axis, or one of its recent parts."""
        if axis in self._recent_months:
            return self.months("analysis")[-self._recent_months[axis] :]
        prefix = "market_" if axis == "market" else ""
        return tuple(month_range(self.binding[f"{prefix}start"], self.binding[f"{prefix}end"]))

    def declaration(self, name: str) -> LakeAsset:
        """The declaration that makes asset `name`."""
        return next(declaration for declaration in self.declarations if name in declaration.names)

    def freshness(self) -> Freshness:
        """Decisions against the lake, the source and the ledgers as they are now, months gained by then included."""
        self._grow()
        nodes = self.nodes
        source = {
            dataset: self.source.fingerprints(dataset, months) for dataset, months in self._source_months().items()
        }
        ledgers = {dataset: contents(self.settings) for dataset, contents in self._ledgers().items()}
        snapshot = take_stock(self.lake, nodes, {**source, **ledgers}, self.settings.home)
        self.source.watch({dataset: snapshot.source[dataset] for dataset in source})
        return Freshness(nodes, snapshot)

    def _grow(self) -> None:
        if not may_grow(self.binding):
            return
        on_market = (node.name for axis, node in self._nodes if axis == "market")
        held = max((month for name in on_market for month in self.lake.partitions(name)[-1:]), default=None)
        delivered, this_month = self.source.span()[1], self._clock().strftime("%Y-%m")
        self.binding = self.binding | grown(self.binding, delivered, held, this_month)

    def _source_months(self) -> dict[str, tuple[str, ...]]:
        """Months of each dataset to look at: the market axis, or all the source holds for an unpartitioned reader."""
        market, ledgers = self.months("market"), self._ledgers()
        wanted: dict[str, tuple[str, ...]] = {}
        for node in self.nodes:
            for window in node.reads:
                dataset = window.asset.removeprefix("source:")
                if window.asset.startswith("source:") and dataset not in ledgers:
                    wanted[dataset] = market if node.months is not None else tuple(self.source.months_held(dataset))
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
        months = None if declaration.months is None else self.months(declaration.months)
        for name in declaration.names:
            yield declaration.months, Node(name, months, declaration.windows, code, config)


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
