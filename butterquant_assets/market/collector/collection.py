"""One collection: ask an exchange for everything that is new, missing or may have changed, and store it.

First the exchange's clock and what it lists, then which coins are followed, then every dataset side by side within one
limiter. A coin or dataset that is refused stays as it was and the others go on; an exchange that does not serve us at
all is left alone until the next collection. Each day's file appears whole, so that a killed collection loses only what
it had not yet written.

What belongs here: the order of things. What does not: how each dataset is collected (`collect_*.py`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from butterquant_assets.foundation.errors import ConfigError, SourceError
from butterquant_assets.foundation.files import locked
from butterquant_assets.market.collector.client import ExchangeClient
from butterquant_assets.market.collector.collect_grid import collect_grid
from butterquant_assets.market.collector.collect_snapshots import (
    close_days,
    collect_books,
    collect_tiers,
    confirm_ends,
    earliest,
    follow,
    listed_now,
    recount_books,
)
from butterquant_assets.market.collector.collect_trades import collect_trades, recount_trades
from butterquant_assets.market.collector.days import day_at
from butterquant_assets.market.collector.limiter import PERMITTED
from butterquant_assets.market.collector.progress import Progress
from butterquant_assets.market.collector.questions import (
    CRYPTO_BARS,
    FUNDING_RATES,
    GRIDS,
    INDEX_PRICES,
    MARK_PRICES,
    MINUTE_BARS,
    OPEN_INTEREST,
    TAKER_VOLUME,
    Grid,
)
from butterquant_assets.market.collector.rankings import MakeClient
from butterquant_assets.market.collector.round import Round
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_sources.store import CryptoStore

LOCK = ".collect.lock"

COLLECTED = (*GRIDS, "trade_flow", "order_books", "leverage_tiers")
"""What can be chosen to be collected; universe and instruments always are."""


@dataclass(frozen=True)
class CryptoCollection:
    """What a collection did.

    Parameters
    ----------
    at
        exchange's time when it began, ISO format, UTC
    coins
        that are followed
    changed
        files written, by dataset
    incomplete
        days of the span that are over and not complete, by dataset; the last of each
    incomplete_days
        number of such days
    requests, retried
        requests sent, and those sent again among them
    problems
        sentences
    """

    at: str
    coins: tuple[str, ...]
    changed: Mapping[str, int]
    incomplete: Mapping[str, str]
    incomplete_days: int
    requests: int
    retried: int
    problems: tuple[str, ...]


def collect_crypto(
    config: CryptoConfig,
    folder: Path,
    *,
    full: bool = False,
    datasets: tuple[str, ...] = COLLECTED,
    make_client: Callable[[CryptoConfig], ExchangeClient] = ExchangeClient,
    environment: Mapping[str, str] | None = None,
    ranking_client: MakeClient | None = None,
) -> CryptoCollection:
    """Bring a store up to the last closed hour.

    Parameters
    ----------
    config
        crypto section of the settings
    folder
        the store
    full
        ask for everything in reach again, for late corrections
    datasets
        some of `COLLECTED`
    make_client
        makes what asks the exchange
    environment
        holds the keys of the ranking services; by default the process's own
    ranking_client
        makes the HTTP client of the ranking services; by default a real one

    Raises
    ------
    ConfigError
        for an unknown dataset.
    SourceError
        if another collection is at work on the store, or the exchange does not serve us.
    """
    if strangers := [name for name in datasets if name not in COLLECTED]:
        raise ConfigError(f"cannot collect {', '.join(strangers)}; expected some of {', '.join(COLLECTED)}")
    keys = os.environ if environment is None else environment
    try:
        with locked(folder / LOCK, wait=False):
            return asyncio.run(_collect(config, folder, full, frozenset(datasets), make_client, keys, ranking_client))
    except BlockingIOError as error:
        raise SourceError(
            f"another collection is at work on {folder}, expected to be alone: wait until it has ended"
        ) from error


async def _collect(
    config: CryptoConfig,
    folder: Path,
    full: bool,
    datasets: frozenset[str],
    make_client: Callable[[CryptoConfig], ExchangeClient],
    environment: Mapping[str, str],
    ranking_client: MakeClient | None,
) -> CryptoCollection:
    store = CryptoStore(folder)
    store.sweep()
    client = make_client(config)
    try:
        now = await client.time()
        today = day_at(now)
        first = config.start or earliest(today, config.history_days)
        last = min(config.end or today, today)
        if first > last:
            raise ConfigError(f"crypto start {first} lies after {last}, the last day there is: choose an earlier one")
        work = Round(config, store, Progress(folder), client, now, first, last, full)
        await follow(work, await listed_now(work), environment, ranking_client)
        for day in await confirm_ends(work):
            work.progress.reopen(day)
            recount_books(work, day)
            recount_trades(work, day)
        close_days(work)
        await _side_by_side(*_tasks(work, datasets))
        work.progress.save()
        return _report(work, datasets)
    finally:
        await client.close()


def _tasks(work: Round, datasets: frozenset[str]) -> list[Awaitable[None]]:
    marked = asyncio.Event()

    async def grid(dataset: Grid, after: asyncio.Event | None = None) -> None:
        if dataset.dataset in datasets:
            await collect_grid(work, dataset, after)

    async def bars_and_trades() -> None:
        await grid(CRYPTO_BARS)
        # The volume of trades is compared with the bars'.
        if "trade_flow" in datasets:
            await collect_trades(work)

    async def marks() -> None:
        await grid(MARK_PRICES)
        marked.set()

    # The narrowest lanes first: they take longest, and whatever is asked before them delays all of their windows.
    found: list[Awaitable[None]] = [grid(INDEX_PRICES), marks(), bars_and_trades()]
    found += [collect_books(work)] if "order_books" in datasets else []
    found += [collect_tiers(work)] if "leverage_tiers" in datasets else []
    # A settlement is paid at the mark, so that it is written after the marks.
    found += [grid(FUNDING_RATES, marked), grid(OPEN_INTEREST), grid(TAKER_VOLUME)]
    found += [grid(MINUTE_BARS)] if work.config.bar == "1m" else []
    return found


async def _side_by_side(*steps: Awaitable[None]) -> None:
    """All of them at once; the first error ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(_awaited(step))
    except BaseExceptionGroup as several:
        raise _first(several) from several


async def _awaited(step: Awaitable[None]) -> None:
    await step


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = several
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _report(work: Round, datasets: frozenset[str]) -> CryptoCollection:
    incomplete: dict[str, str] = {}
    count = 0
    for dataset in sorted(datasets & GRIDS.keys()):
        if dataset == MINUTE_BARS.dataset and work.config.bar != "1m":
            continue
        days = [day for day in work.days(GRIDS[dataset].reach_days) if work.over(day) and work.wanted(day)]
        lacking = [day for day in days if not _complete(work, dataset, day)]
        count += len(lacking)
        if lacking:
            held = work.store.day(dataset, lacking[-1])
            incomplete[dataset] = f"{lacking[-1]}: {held.coverage.sentence() if held else 'nothing is stored'}"
    sent = work.client.limiter.sent
    return CryptoCollection(
        at=f"{day_at(work.now)}T{_clock(work.now)}",
        coins=work.followed,
        changed={dataset: work.changed[dataset] for dataset in sorted(work.changed)},
        incomplete=incomplete,
        incomplete_days=count,
        requests=sum(sent[path] for path in PERMITTED),
        retried=work.client.retried,
        problems=tuple(work.problems),
    )


def _complete(work: Round, dataset: str, day: str) -> bool:
    held = work.store.day(dataset, day)
    return held is not None and held.coverage.complete


def _clock(moment: int) -> str:
    seconds = moment // 1000 % 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
