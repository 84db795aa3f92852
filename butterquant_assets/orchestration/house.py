"""The house: settings, storage, source and asset graph of one home directory, as one object that runs are given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, Protocol

import pandas as pd

from butterquant_assets.foundation.calendar import month_range
from butterquant_assets.foundation.code_version import code_version, package_stamp
from butterquant_assets.foundation.freshness import Freshness, Node
from butterquant_assets.foundation.inventory import take_stock
from butterquant_assets.foundation.lake import Lake, combine
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.orchestration.declaration import LakeAsset


class Source(Protocol):
    """What the house needs of a market source."""

    def fingerprints(self, dataset: str, months: Sequence[str]) -> Mapping[str, str]:
        """Content hash per month of what the source holds now."""

    def months_held(self, dataset: str) -> Sequence[str]:
        """Months for which the source has rows of a dataset."""

    def fetch(self, dataset: str, months: Sequence[str]) -> Any:
        """Rows and rejects of those months."""

    def describe(self) -> Mapping[str, Any]:
        """What it is, for metadata."""


class House:
    """One home directory with everything a run needs.

    Parameters
    ----------
    settings
        all settings, sections of the lines included
    binding
        source and span the home is bound to
    declarations
        all assets, inputs before their readers
    open_source
        opens the market source; called at most once, when it is first needed
    recent_months
        further axes by name: the last so many analysis months
    """

    def __init__(
        self,
        settings: HomeSettings,
        binding: Mapping[str, Any],
        declarations: Sequence[LakeAsset],
        open_source: Callable[[], Source],
        recent_months: Mapping[str, int] | None = None,
    ) -> None:
        self.settings = settings
        self.binding = dict(binding)
        self.declarations = tuple(declaration.resolved(settings) for declaration in declarations)
        self.lake = Lake(settings.lake_location)
        self._open_source = open_source
        self._recent_months = dict(recent_months or {})
        self._stamp = package_stamp()
        # Taken once: a process that goes on with the code it has loaded must not sign its results with later code.
        self.nodes = tuple(node for declaration in self.declarations for node in self._nodes(declaration))

    def code_has_changed(self) -> bool:
        """Whether a first-party source file was edited after this process loaded it."""
        return package_stamp() != self._stamp

    @cached_property
    def source(self) -> Source:
        """The market source."""
        return self._open_source()

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
        """Decisions against the lake and the source as they are now."""
        source = {
            dataset: self.source.fingerprints(dataset, months) for dataset, months in self._source_months().items()
        }
        return Freshness(self.nodes, take_stock(self.lake, self.nodes, source, self.settings.home))

    def _source_months(self) -> dict[str, tuple[str, ...]]:
        """Months of each dataset to look at: the market axis, or all the source holds for an unpartitioned reader."""
        market = self.months("market")
        wanted: dict[str, tuple[str, ...]] = {}
        for node in self.nodes:
            for window in node.reads:
                if window.asset.startswith("source:"):
                    dataset = window.asset.removeprefix("source:")
                    wanted[dataset] = market if node.months is not None else tuple(self.source.months_held(dataset))
        return dict(sorted(wanted.items()))

    def config(self, declaration: LakeAsset) -> Any:
        """What a declaration picks from the settings."""
        return declaration.config(self.settings)

    def _nodes(self, declaration: LakeAsset) -> Iterable[Node]:
        modules = [part for part in declaration.code if isinstance(part, ModuleType)]
        functions = [part for part in declaration.code if not isinstance(part, ModuleType)]
        made = code_version(modules, [declaration.compute, *functions])
        code = combine([made, *(contract.fingerprint() for contract in declaration.contracts)])
        config = combine([json.dumps(_plain(self.config(declaration)), sort_keys=True)])
        months = None if declaration.months is None else self.months(declaration.months)
        for name in declaration.names:
            yield Node(name, months, declaration.windows, code, config)


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
