"""The simulated crypto market as a source; needs no network.

Every coin is named SIM.... Fingerprints come from the parameters alone: nothing is generated for them.

What belongs here: what the simulated market holds, and what decides it. What does not: its frames (`simulated.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from importlib.metadata import version

import numpy as np
import pandas as pd

from butterquant_assets.foundation.lake import combine
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_coverage import DAY, NOT_HELD, Coverage
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS, no_rows
from butterquant_assets.market.crypto_simulator import CryptoMarket
from butterquant_assets.market.crypto_sources.cleaned import CleanedSource, utc_now
from butterquant_assets.market.crypto_sources.simulated import simulated_frame
from butterquant_assets.market.crypto_state import FIRST_DAY, HOURS, CryptoMarketConfig
from butterquant_assets.market.crypto_traits import draw_traits

REVISION = 1
"""Raised whenever the same parameters give other rows, which their fingerprints could not see otherwise."""

HOURLY = (
    "crypto_bars",
    "mark_prices",
    "index_prices",
    "open_interest",
    "taker_volume",
    "order_books",
    "trade_flow",
)


class SampleCryptoSource(CleanedSource):
    """The embedded default.

    Parameters
    ----------
    config
        seed, edge, coins, days, bar and large_trade_usd are read
    clock
        see `CleanedSource`

    Raises
    ------
    ConfigError
        for parameters the simulator refuses.
    """

    def __init__(self, config: CryptoConfig, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(SimulatedTables(config), clock)


class SimulatedTables:
    """Raw tables of a simulated market."""

    name = "sample"
    simulated = True

    def __init__(self, config: CryptoConfig) -> None:
        self.config = config
        self._market = CryptoMarketConfig(seed=config.seed, edge=config.edge, coins=config.coins)
        self._first = np.datetime64(FIRST_DAY, "D")
        self._traits = draw_traits(config.seed, config.coins)
        causes = {"seed": config.seed, "edge": config.edge, "coins": config.coins}
        versions = {"numpy": version("numpy"), "revision": REVISION}
        self._causes = json.dumps(causes | versions, sort_keys=True)

    def describe(self) -> dict[str, str | int | float]:
        """That all of it is simulated, and with which parameters."""
        return {
            "source": self.name,
            "simulated": "everything (SIM coins)",
            "coins": self.config.coins,
            "seed": self.config.seed,
            "edge": self.config.edge,
        }

    def refresh(self) -> None:
        """Nothing changes."""

    def days(self, dataset: str) -> tuple[str, ...]:
        """All days of the history; none for minute bars unless they are kept."""
        if dataset == "crypto_minute_bars" and self.config.bar != "1m":
            return ()
        return tuple(str(self._first + count * DAY) for count in range(self.config.days))

    def read(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        """Rows of `days`; days outside the history have none."""
        held = [day for day in days if self._held(dataset, day)]
        return simulated_frame(self._simulation, dataset, held, self.config.large_trade_usd)

    def digest(self, dataset: str, day: str) -> str:
        """Hash of what determines a day."""
        if not self._held(dataset, day):
            return ""
        return combine(
            [dataset, day, self._causes, str(self.config.large_trade_usd) if dataset == "trade_flow" else ""]
        )

    def opening(self, day: str) -> str:
        """Hash of what determines the first hour of a day."""
        return self.digest("crypto_bars", day)

    def coverage(self, dataset: str, day: str) -> Coverage:
        """A simulated day is complete."""
        if not self._held(dataset, day):
            return NOT_HELD
        place = int((np.datetime64(day, "D") - self._first) / DAY)
        alive = int(((self._traits.listed_day <= place) & (place < self._traits.delisted_day)).sum())
        expected = alive * HOURS if dataset in HOURLY else 0
        return Coverage(expected, expected, complete=True)

    def other_venue(self, days: Sequence[str]) -> pd.DataFrame | None:
        """There is only one."""
        return None

    def other_digest(self, day: str) -> str:
        """There is only one venue."""
        return ""

    def rejects(self, dataset: str, days: Sequence[str]) -> pd.DataFrame:
        """Nothing is refused while simulating."""
        return no_rows(CRYPTO_REJECTS)

    @cached_property
    def _simulation(self) -> CryptoMarket:
        return CryptoMarket(self._market)

    def _held(self, dataset: str, day: str) -> bool:
        if dataset == "crypto_minute_bars" and self.config.bar != "1m":
            return False
        return 0 <= int((np.datetime64(day, "D") - self._first) / DAY) < self.config.days
