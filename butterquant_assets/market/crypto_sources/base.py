"""What a source of crypto market data is, and the one place that opens them by name.

What belongs here: what sources of this market share. What does not: any particular source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market import source
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_coverage import Coverage
from butterquant_assets.market.crypto_schemas import DELIVERED

DATASETS = tuple(DELIVERED)
"""What can be asked of a source."""

REJECTS = "crypto_rejects"
"""What was refused or noted of all datasets; it has fingerprints of its own."""

SOURCES = ("sample", "files", "okx")


@dataclass(frozen=True)
class Delivery(source.Delivery):
    """What a source delivered for some days of one dataset.

    Parameters
    ----------
    rows, rejects
        as in `source.Delivery`; rejects are those of `crypto_schemas.CRYPTO_REJECTS`
    coverage
        how complete each day is
    """

    coverage: Mapping[str, Coverage] = field(default_factory=dict)


class CryptoSource(source.Source[Delivery], Protocol):
    """A source of crypto bars and what goes with them, by UTC day; its span holds the days with bars."""


def open_crypto_source(config: CryptoConfig, home: Path, clock: Callable[[], datetime] | None = None) -> CryptoSource:
    """Open the source that the settings name.

    Parameters
    ----------
    config
        the crypto section
    home
        home directory, in which the collector's store lies unless `config` says otherwise
    clock
        tells the time: rows that lie in the future are refused until it has come; by default the time it is

    Raises
    ------
    ConfigError
        for source ``none``, or arguments the source cannot work with.
    SourceError
        if what it reads is not there.
    """
    told = () if clock is None else (clock,)
    if config.source == "sample":
        from butterquant_assets.market.crypto_sources.sample import SampleCryptoSource

        return SampleCryptoSource(config, *told)
    if config.source == "files":
        from butterquant_assets.market.crypto_sources.files import FilesCryptoSource

        return FilesCryptoSource(config, *told)
    if config.source == "okx":
        from butterquant_assets.market.crypto_sources.okx import OkxCryptoSource

        return OkxCryptoSource(config.store_in(home), *told)
    raise ConfigError(
        f"there is no crypto source {config.source!r}; set BUTTERQUANT_CRYPTO__SOURCE to one of {', '.join(SOURCES)}"
    )


def known_dataset(dataset: str) -> str:
    """Return `dataset`, or raise ConfigError when no source delivers it."""
    if dataset not in DELIVERED:
        raise ConfigError(f"unknown crypto dataset {dataset!r}; expected one of {', '.join(DATASETS)}")
    return dataset
