"""What a source of crypto market data is, and the one place that opens them by name.

What belongs here: the protocol every source keeps. What does not: any particular source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_coverage import Coverage
from butterquant_assets.market.crypto_schemas import DELIVERED

DATASETS = tuple(DELIVERED)
"""What can be asked of a source."""

REJECTS = "crypto_rejects"
"""What was refused or noted of all datasets; it has fingerprints of its own."""

SOURCES = ("sample", "files", "okx")


@dataclass(frozen=True)
class Delivery:
    """What a source delivered for some days of one dataset.

    Parameters
    ----------
    rows
        cleaned rows in the columns, types and order of the dataset's contract
    rejects
        rows left out, blanked or noted, in those of `crypto_schemas.CRYPTO_REJECTS`
    coverage
        how complete each day is
    """

    rows: pd.DataFrame
    rejects: pd.DataFrame
    coverage: Mapping[str, Coverage] = field(default_factory=dict)


class CryptoSource(Protocol):
    """A source of crypto market data: cleaned UTC days on demand, and cheap fingerprints of what it holds now."""

    @property
    def name(self) -> str:
        """Name under which `open_crypto_source` opens it."""
        ...

    @property
    def simulated(self) -> bool:
        """True when the market is invented."""
        ...

    def describe(self) -> dict[str, str | int | float]:
        """What a reader of the data should know, for metadata."""
        ...

    def span(self) -> tuple[str, str]:
        """First and last UTC day with bars."""
        ...

    def keys_held(self, dataset: str) -> tuple[str, ...]:
        """Days with rows of a dataset, ascending."""
        ...

    def fingerprints(self, dataset: str, days: Sequence[str]) -> dict[str, str]:
        """Content hash of what the source would deliver for each day; equal only when the delivery is."""
        ...

    def fetch(self, dataset: str, days: Sequence[str]) -> Delivery:
        """Rows and rejects of `days`. A day gives the same rows whether fetched alone or with others."""
        ...


def open_crypto_source(config: CryptoConfig, home: Path) -> CryptoSource:
    """Open the source that the settings name.

    Parameters
    ----------
    config
        the crypto section
    home
        home directory, in which the collector's store lies unless `config` says otherwise

    Raises
    ------
    ConfigError
        for source ``none``, or arguments the source cannot work with.
    SourceError
        if what it reads is not there.
    """
    if config.source == "sample":
        from butterquant_assets.market.crypto_sources.sample import SampleCryptoSource

        return SampleCryptoSource(config)
    if config.source == "files":
        from butterquant_assets.market.crypto_sources.files import FilesCryptoSource

        return FilesCryptoSource(config)
    if config.source == "okx":
        from butterquant_assets.market.crypto_sources.okx import OkxCryptoSource

        return OkxCryptoSource(config.store_in(home))
    raise ConfigError(
        f"there is no crypto source {config.source!r}; set BUTTERQUANT_CRYPTO__SOURCE to one of {', '.join(SOURCES)}"
    )


def known_dataset(dataset: str) -> str:
    """Return `dataset`, or raise ConfigError when no source delivers it."""
    if dataset not in DELIVERED:
        raise ConfigError(f"unknown crypto dataset {dataset!r}; expected one of {', '.join(DATASETS)}")
    return dataset
