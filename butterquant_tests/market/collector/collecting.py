"""Collects from the local exchange over loopback, with a clock that only moves when something waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.market.collector.client import ExchangeClient
from butterquant_assets.market.collector.collection import COLLECTED, CryptoCollection, collect_crypto
from butterquant_assets.market.collector.limiter import Limiter
from butterquant_assets.market.collector.rankings import MakeClient
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_schemas import DELIVERED
from butterquant_assets.market.crypto_sources.store import CryptoStore
from butterquant_assets.market.exchange.app import ExchangeApp
from butterquant_assets.market.exchange.bar_sizes import Bars
from butterquant_assets.market.exchange.clock import SteppedClock
from butterquant_assets.market.exchange.faults import FaultKind, Faults
from butterquant_assets.market.exchange.server import running_exchange
from butterquant_assets.market.exchange.simulated_venue import SimulatedVenue
from butterquant_assets.market.exchange.venue import Instrument, Kind
from butterquant_tests.market.exchange.asking import HOUR_MS, MARKET, NOW

DAY_MS = 24 * HOUR_MS
TODAY = str(np.datetime64(NOW, "ms").astype("datetime64[D]"))


def day_before(days: int, today: str = TODAY) -> str:
    return str(np.datetime64(today, "D") - days)


class Waiting:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.time = 0.0
        self.waited: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)

    def client(self, config: CryptoConfig) -> ExchangeClient:
        limiter = Limiter(now=self.now, sleep=self.sleep)
        return ExchangeClient(config, limiter, now=self.now, sleep=self.sleep)


class Lacking(SimulatedVenue):
    """The simulated market, some of whose coins are no longer listed, and some of whose candles are not shown."""

    def __init__(self) -> None:
        super().__init__(MARKET)
        self.gone: set[str] = set()
        self.hidden: set[tuple[str, int]] = set()

    def bars(self, kind: Kind, base: str, *window: Any) -> Bars:
        found = super().bars(kind, base, *window)
        return found.take(np.array([(base, stamp) not in self.hidden for stamp in found.stamp.tolist()], bool))

    def instruments(self, now: int) -> tuple[Instrument, ...]:
        return tuple(one for one in super().instruments(now) if one.base not in self.gone)


class RealNames(SimulatedVenue):
    """The simulated market under names that a ranking could know: BTC, ETH, C03, ..."""

    def __init__(self) -> None:
        super().__init__(MARKET)

    def instruments(self, now: int) -> tuple[Instrument, ...]:
        return tuple(replace(one, base=one.base.removeprefix("SIM")) for one in super().instruments(now))

    def _coin(self, base: str) -> int:
        return super()._coin(f"SIM{base}")


class Watched(Faults):
    """Faults that also remember which endpoints they hit."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.endpoints: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    def choose(self, path: str, query: str) -> tuple[FaultKind, np.random.Generator] | None:
        hit = super().choose(path, query)
        self.asked[path] += 1
        self.endpoints[path] += hit is not None
        return hit


class Desk:
    """A local exchange and a store that is filled from it."""

    def __init__(self, url: str, app: ExchangeApp, clock: SteppedClock, folder: Path) -> None:
        self.url, self.app, self.clock, self.folder = url, app, clock, folder
        self.waiting = Waiting()
        self.make_client: Callable[[CryptoConfig], ExchangeClient] = self.waiting.client

    def config(self, **changes: Any) -> CryptoConfig:
        chosen: dict[str, Any] = {"universe": 2, "start": day_before(1)} | changes
        return CryptoConfig(source="okx", exchange_url=self.url, timeout_seconds=5.0, **chosen)

    def collect(
        self,
        *,
        full: bool = False,
        datasets: tuple[str, ...] = COLLECTED,
        ranking_client: MakeClient | None = None,
        **changes: Any,
    ) -> CryptoCollection:
        return collect_crypto(
            self.config(**changes),
            self.folder,
            full=full,
            datasets=datasets,
            make_client=self.make_client,
            environment={},
            ranking_client=ranking_client,
        )

    @property
    def store(self) -> CryptoStore:
        return CryptoStore(self.folder)


async def no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


@contextmanager
def desk(folder: Path, *, faults: Faults | None = None, now: int = NOW, venue: Any = None) -> Iterator[Desk]:
    """A running exchange and an empty store."""
    clock = SteppedClock(now)
    app = ExchangeApp(venue or SimulatedVenue(MARKET), clock, faults=faults, sleep=no_wait)
    with running_exchange(app) as url:
        yield Desk(url, app, clock, folder)


def contents(store: CryptoStore) -> dict[tuple[str, str], str]:
    """Content hash of every file, coverage included; what was taken back on the way left out."""
    return {(dataset, day): store.fingerprint(dataset, day) for dataset in DELIVERED for day in store.days(dataset)}


def bars(store: CryptoStore, dataset: str = "crypto_bars") -> pd.DataFrame:
    """Everything stored of a dataset."""
    return store.read(dataset, store.days(dataset))
