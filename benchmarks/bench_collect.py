"""Collecting 50 coins through ccxt from the local exchange, which counts requests against OKX's limits.

*A year of backfill* is bound by the permitted rate, by design: mark and index candles come 100 a page. A stretch of it
is measured at the exchange, once every dataset has reached the endpoints of history, and the share of the permitted
rate is that of the endpoint used least. The whole year takes as long as the slowest endpoint's requests at that share:
4,550 pages of index candles at 5 a second, a quarter of an hour.

*One new hour* is measured whole, from the first request to the last file, every dataset included. The limiter cannot
let it take less than the longest of the lanes that follow each other: clock, list of instruments, then 50 mark or index
candles. What comes after the last answer is the reading of 38 days of tables and the factors of the hour.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from benchmarks.collected_store import fill_store
from benchmarks.exchange_process import HOUR_MS, ROOT, ExchangeProcess, exchange_process
from benchmarks.harness import Result, compare
from butterquant_assets.market.collector.client import ExchangeClient
from butterquant_assets.market.collector.collection import collect_crypto
from butterquant_assets.market.collector.days import DAY_MS, day_at, day_range, start_of
from butterquant_assets.market.collector.limiter import PERMITTED
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_sources.okx import OkxCryptoSource
from butterquant_assets.market.crypto_sources.store import CryptoStore
from butterquant_assets.signals.alignment import MarketTables, panel_of
from butterquant_assets.signals.factors import FactorPanels, compute_factors

T = TypeVar("T")

COINS, YEAR_DAYS, HOUR_DAYS, MINUTES = 50, 366, 45, 25
SETTLING_SECONDS, STRETCH_SECONDS = 8.0, 30.0
LOOK_BACK_DAYS = 38
SHARE_TARGET, HOUR_TARGET, COMPUTING_SECONDS = 0.9, 1 / 1.1, 2.0
HISTORY = ("market/history-candles", "market/history-mark-price-candles", "market/history-index-candles")
DATASETS = ("crypto_bars", "mark_prices", "index_prices")
RECENT_DAYS = 61
MOST_OUTAGES = 0.2
"""Share of coins that may lack a trend because trading stood still in the hours before."""
PROGRAM = """
import json, sys
from pathlib import Path
from butterquant_assets.market.collector.collection import collect_crypto
from butterquant_assets.market.crypto_config import CryptoConfig
url, folder, start, end = sys.argv[1:5]
config = CryptoConfig(source="okx", exchange_url=url, start=start, end=end)
collect_crypto(config, Path(folder), datasets=tuple(sys.argv[5:]))
"""
FIRST_DAY = "2023-01-01"


def benchmarks() -> list[Result]:
    """Share of the permitted rate in a backfill; one new hour against the limiter's own time; computing after it."""
    with tempfile.TemporaryDirectory() as folder:
        with exchange_process(COINS, YEAR_DAYS, MINUTES) as exchange:
            year = _backfill(exchange, Path(folder) / "year", _today(YEAR_DAYS))
        with exchange_process(COINS, HOUR_DAYS, MINUTES) as exchange:
            return [year, *_new_hour(exchange, Path(folder) / "hour", _today(HOUR_DAYS))]


def _today(days: int) -> str:
    return day_at(start_of(FIRST_DAY) + days * DAY_MS)


def _backfill(exchange: ExchangeProcess, folder: Path, today: str) -> Result:
    exchange.limit()
    start, end = FIRST_DAY, day_at(start_of(today) - RECENT_DAYS * DAY_MS)
    command = [sys.executable, "-c", PROGRAM, exchange.url, str(folder), start, end, *DATASETS]
    with subprocess.Popen(command, cwd=ROOT) as collector:
        try:
            _until_asked(exchange, collector)
            time.sleep(SETTLING_SECONDS)
            _, _, begun = exchange.report()
            time.sleep(STRETCH_SECONDS)
            asked, refused, ended = exchange.report()
        finally:
            os.kill(collector.pid, signal.SIGKILL)
    if refused:
        raise ValueError(f"the exchange turned {refused} requests down: more was asked than is permitted")
    rates = {path: asked[path] / (ended - begun) for path in HISTORY}
    permitted = {path: PERMITTED[path].requests / PERMITTED[path].seconds for path in HISTORY}
    least = min(HISTORY, key=lambda path: rates[path] / permitted[path])
    name = "collect.year_of_50_coins.share_of_permitted_rate"
    return compare(name, rates[least], permitted[least], "requests/s", target=SHARE_TARGET, better="higher")


def _until_asked(exchange: ExchangeProcess, collector: subprocess.Popen[bytes]) -> None:
    while not exchange.report()[0].get(HISTORY[-1]):
        if collector.poll() is not None:
            raise ValueError("the collector ended before the backfill began; see its message above")
        time.sleep(0.2)


class _Timed(ExchangeClient):
    """Remembers when the last answer came."""

    answered = 0.0

    async def ask(self, path: str, query: Mapping[str, str], read: Callable[[list[Any]], T]) -> T:
        found = await super().ask(path, query, read)
        _Timed.answered = time.perf_counter()
        return found


def _new_hour(exchange: ExchangeProcess, folder: Path, today: str) -> list[Result]:
    first = day_at(start_of(today) - LOOK_BACK_DAYS * DAY_MS)
    config = CryptoConfig(source="okx", exchange_url=exchange.url, start=today, concurrency=16)
    collect_crypto(config, folder)  # of the day so far: what is asked once a day only
    fill_store(CryptoStore(folder), COINS, HOUR_DAYS, day_range(first, day_at(start_of(today) - 1)))
    _factors(folder, first, day_at(start_of(today) - 1))  # loads and compiles what a running process has at hand
    exchange.limit()
    exchange.advance(HOUR_MS)
    exchange.report()
    begun = time.perf_counter()
    done = collect_crypto(config, folder, make_client=_Timed)
    collected = time.perf_counter() - begun
    if done.problems or len(done.coins) != COINS:
        raise ValueError(f"the hour was not collected whole: {len(done.coins)} coins, {done.problems[:3]}")
    asked, _, _ = exchange.report()
    factors = _factors(folder, first, today)
    computed = time.perf_counter() - _Timed.answered
    _check(factors, pd.Timestamp(start_of(today), unit="ms"))
    return [
        compare("collect.one_new_hour.seconds", collected, _imposed(asked), "s", target=HOUR_TARGET, better="lower"),
        compare("collect.one_new_hour.after_last_answer", computed, COMPUTING_SECONDS, "s", target=1.0, better="lower"),
    ]


def _imposed(asked: Mapping[str, int]) -> float:
    """Seconds that the permitted rates make the requests take: what comes first, then the longest lane."""
    seconds = {}
    for path, count in asked.items():
        permitted = PERMITTED[path]
        lanes = COINS if permitted.per == "instId" else 1
        seconds[path] = count / lanes * permitted.seconds / permitted.requests
    before = ("public/time", "public/instruments")
    return sum(seconds.pop(path) for path in before) + max(seconds.values())


def _factors(folder: Path, first: str, today: str) -> FactorPanels:
    source, days = OkxCryptoSource(folder), day_range(first, today)
    names = ("crypto_bars", "mark_prices", "index_prices", "taker_volume", "open_interest", "funding_rates")
    tables = MarketTables(*(source.fetch(name, days).rows for name in names))
    last = pd.Timestamp(start_of(today), unit="ms")
    panel = panel_of(tables, pd.Timestamp(first), last, ("SIMBTC", "SIMETH"))
    return compute_factors(panel, "SIMBTC", "SIMETH").last(1)


def _check(factors: FactorPanels, hour: pd.Timestamp) -> None:
    rows = factors.frame()
    lacking = int(rows["T"].isna().sum())
    if len(rows) != COINS or set(rows["hour"]) != {hour} or lacking > MOST_OUTAGES * COINS:
        raise ValueError(f"{len(rows)} rows of factors, {lacking} of them without T, expected {COINS} of {hour}")
