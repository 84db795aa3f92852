"""What feeds the crypto house, and how it is collected.

What belongs here: the settings section and its checks. What does not: opening a source (`crypto_sources/base.py`) or
asking an exchange (`collector/`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from butterquant_assets.foundation.errors import ConfigError

RECORDINGS = ("okx", "perp")


@dataclass(frozen=True)
class CryptoConfig:
    """Settings of the crypto house.

    Parameters
    ----------
    source
        ``sample`` (a simulated market, no network), ``files`` (a folder of recordings), ``okx`` (what the collector has
        stored), or ``none`` (no crypto house)
    data_dir
        folder of the recordings (``files`` only, and needed there)
    recording
        which set of files: ``okx`` (39 OKX swaps with mark prices and funding) or ``perp`` (hourly perpetuals with
        funding and open interest); ``files`` only
    bars_dataset
        other file of bars in that folder, in place of the recording's; ``files`` only
    start, end
        first and last UTC day, ``YYYY-MM-DD``; by default all the source holds
    coins
        number of simulated coins; ``sample`` only
    days
        length of the simulated history; ``sample`` only
    seed
        of the simulated market
    edge
        of the simulated market: 0 is a fair market in which there is nothing to find
    bar
        ``1h``, or ``1m`` to keep minute bars beside the hourly ones
    large_trade_usd
        a trade of at least this value counts as large
    exchange_url
        where the exchange speaks OKX's v5 REST; None: OKX itself
    store
        folder of the collector; None: ``<home>/collected/crypto``
    universe
        how many coins the collector follows, by market capitalisation
    symbols
        coins to follow in place of that ranking, such as BTC
    history_days
        days of bars, mark and index prices and funding the collector fills backwards at the first start
    concurrency
        requests in flight at once
    attempts
        times a request is sent before it is given up
    timeout_seconds
        patience with one request
    coingecko_url, coinmarketcap_url
        where the rankings come from; CoinMarketCap only where CoinGecko does not answer and its key is given in the
        environment

    Raises
    ------
    ConfigError
        for values outside their range, or that contradict the source.
    """

    source: Literal["sample", "files", "okx", "none"] = "sample"
    data_dir: Path | None = None
    recording: Literal["okx", "perp"] = "perp"
    bars_dataset: str | None = None
    start: str | None = None
    end: str | None = None
    coins: int = 12
    days: int = 60
    seed: int = 7
    edge: float = 0.0
    bar: Literal["1h", "1m"] = "1h"
    large_trade_usd: float = 100_000.0
    exchange_url: str | None = None
    store: Path | None = None
    universe: int = 50
    symbols: tuple[str, ...] = ()
    history_days: int = 365
    concurrency: int = 8
    attempts: int = 6
    timeout_seconds: float = 10.0
    coingecko_url: str = "https://api.coingecko.com/api/v3"
    coinmarketcap_url: str = "https://pro-api.coinmarketcap.com/v1"

    def __post_init__(self) -> None:
        if self.source == "files" and self.data_dir is None:
            raise ConfigError(
                "crypto source 'files' needs the folder to read: set BUTTERQUANT_CRYPTO__DATA_DIR to it, or choose "
                "another source"
            )
        if self.source != "files" and (self.data_dir is not None or self.bars_dataset is not None):
            raise ConfigError(
                f"crypto source {self.source!r} reads no folder, but data_dir is {self.data_dir} and bars_dataset "
                f"{self.bars_dataset}: set BUTTERQUANT_CRYPTO__SOURCE=files, or leave them out"
            )
        for name in ("start", "end"):
            _require_day(name, getattr(self, name))
        if self.start and self.end and self.start > self.end:
            raise ConfigError(f"crypto start {self.start} lies after end {self.end}: swap them")
        floors = {
            "coins": 2,
            "days": 1,
            "seed": 0,
            "large_trade_usd": 0,
            "universe": 1,
            "history_days": 1,
            "concurrency": 1,
            "attempts": 1,
        }
        for name, floor in floors.items():
            if not getattr(self, name) >= floor:
                raise ConfigError(f"crypto {name} is {getattr(self, name)}, expected at least {floor}: correct it")
        if not self.timeout_seconds > 0 or not 0 <= self.edge <= 1:
            raise ConfigError(
                f"crypto timeout_seconds is {self.timeout_seconds} and edge {self.edge}, expected more than 0 and "
                "0 .. 1: correct them"
            )

    def store_in(self, home: Path) -> Path:
        """Folder of the collector's store for a home directory."""
        return (self.store if self.store is not None else home / "collected" / "crypto").expanduser().absolute()


def _require_day(name: str, value: str | None) -> None:
    if value is None:
        return
    try:
        good = str(np.datetime64(value, "D")) == value
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"crypto {name} is {value!r}, expected a UTC day such as 2024-01-31: correct it")
