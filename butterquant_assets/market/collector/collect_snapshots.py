"""Collecting what can only be seen now: the clock's coins, instruments, tiers, the universe, order books.

What belongs here: the order of things. What does not: reading (`snapshots.py`, `universe.py`) and who ranks
(`rankings.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.answers import NO_INSTRUMENT, AccessError, UnknownSymbolError
from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, day_at, day_range, start_of
from butterquant_assets.market.collector.lives import Life, absent, dropped, resting, to_confirm
from butterquant_assets.market.collector.lives import followed as followed_on
from butterquant_assets.market.collector.questions import GRIDS
from butterquant_assets.market.collector.rankings import MakeClient, ranking
from butterquant_assets.market.collector.round import Listing, Round
from butterquant_assets.market.collector.snapshots import (
    DEEP_LEVELS,
    ends_of,
    listed_ms,
    read_book,
    read_instruments,
    read_tiers,
    states_of,
)
from butterquant_assets.market.collector.tables import DamagedAnswerError
from butterquant_assets.market.collector.universe import Member, choose, members_of, universe_rows
from butterquant_assets.market.crypto_coverage import NOT_OVER, Coverage, cover
from butterquant_assets.market.crypto_sources.store import contract_of

KEEP_DAYS = 30
"""A coin that fell out of the universe is followed for so long: positions in it may still be open."""

REGIME_COINS = ("BTC", "ETH", "SIMBTC", "SIMETH")
"""Followed whatever their rank: every factor of independence and the regime read them."""

SIMULATED = "SIM"
CONFIGURED, SIMULATION = "configured", "simulation"
UNRANKED = (CONFIGURED, SIMULATION)
"""Who chose where nobody ranked; such a universe is never taken for a ranking."""

FAMILIES = 5
"""Instrument families in one request for tiers."""

UNCLOSED_DAYS = 3
"""Of the stored days only the last before today can still be open; a few more cost nothing."""

CLOSED_BY_TIME = ("order_books", "order_book_levels", "instruments", "leverage_tiers", "crypto_universe")
"""Datasets nothing more can be asked for once the day is over."""


async def listed_now(work: Round) -> pd.DataFrame:
    """What trades now, in the columns of `instruments`, every coin with a live USDT swap.

    Besides, the collection learns which swaps are listed but do not trade, and when any will cease to.

    Raises
    ------
    SourceError
        if there is none.
    """
    rows = await work.client.agreed("public/instruments", {"instType": "SWAP"})
    live = read_instruments(rows, day_at(work.now))
    if live.empty:
        raise SourceError(
            f"the exchange lists {len(rows)} instruments, expected some linear USDT swaps that are live among them: "
            "check BUTTERQUANT_CRYPTO__EXCHANGE_URL"
        )
    work.states = states_of(rows)
    for coin, moment in ends_of(rows).items():
        work.progress.ends.pop(coin, None)
        if moment is not None:
            work.progress.ends[coin] = moment
    return live


async def follow(
    work: Round, live: pd.DataFrame, environment: Mapping[str, str], client: MakeClient | None = None
) -> None:
    """Decide which coins are followed, and store universe, instruments and tiers of today.

    Parameters
    ----------
    work
        gets its `listings`
    live
        what trades now
    environment
        holds the keys of the ranking services
    client
        makes their HTTP client; by default a real one

    Raises
    ------
    UnknownSymbolError
        if none of the coins named in the configuration is listed.
    SourceError
        if there is no ranking, now or from before.
    """
    today = day_at(work.now)
    listed = listed_ms(live)
    members, chosen_by, known = await _members(work, sorted(listed), environment, client)
    # Days of the calendar, not of the store, which gets today's only now: who leaves does so at midnight.
    recent = work.store.read("crypto_universe", day_range(earliest(today, KEEP_DAYS + 1), today), ["coin"])
    followed = {one.coin for one in members}
    if not work.config.symbols:
        followed |= set(recent["coin"]) | set(REGIME_COINS)
    for coin in sorted(set(recent["coin"]) - set(listed)):
        work.complain(_at_rest(coin, work.states))
    mine = live[live["coin"].isin(sorted(followed))]
    values = dict(zip(mine["coin"], mine["contract_value"], strict=True))
    # Whoever was followed at any time of the day stays in its instruments.
    noted = live[live["coin"].isin(followed | set(work.store.read("instruments", [today], ["coin"])["coin"]))]
    _live_on(work, listed, followed)
    work.listings = {coin: Listing(float(values[coin]), listed[coin]) for coin in sorted(values)} | _leaving(work, live)
    whole = Coverage(len(members), len(members), note=NOT_OVER)
    # Coins named for one collection do not replace the ranking of the day.
    if chosen_by not in UNRANKED or not _is_ranked(work.store.read("crypto_universe", [today])):
        work.write("crypto_universe", today, universe_rows(today, members, chosen_by, as_of_known=known), whole)
    work.write("instruments", today, noted, Coverage(len(noted), len(noted), note=NOT_OVER))


async def confirm_ends(work: Round) -> list[str]:
    """Ask for coins that have been absent for long whether they are gone; returns the days that this is news for."""
    found: set[str] = set()
    for coin, lives in work.progress.lives.items():
        if to_confirm(lives[-1], work.now) and await _denied(work, coin):
            work.progress.lives[coin] = (*lives[:-1], replace(lives[-1], denied=True))
            found.update(day_range(day_at(lives[-1].last_live), day_at(work.now)))
    return sorted(found)


async def _denied(work: Round, coin: str) -> bool:
    """Whether the exchange says that there is no such swap."""
    query = {"instId": f"{coin}-USDT-SWAP", "bar": "1H", "limit": "1"}
    try:
        await work.client.ask("market/candles", query, len)
    except UnknownSymbolError as error:
        return error.code == NO_INSTRUMENT
    except AccessError:
        raise
    except SourceError as error:
        work.complain(f"instruments: whether {coin} was delisted is not known: {error}")
    return False


def _live_on(work: Round, listed: Mapping[str, int], followed: AbstractSet[str]) -> None:
    """Note what the list of instruments says of the coins that are or were followed."""
    lives, ends = work.progress.lives, work.progress.ends
    if not lives:
        lives.update(_last_stored(work))
    for coin in sorted(lives.keys() | (followed & listed.keys())):
        before, end = lives.get(coin, ()), ends.get(coin)
        if coin in followed and coin in listed:
            lives[coin] = followed_on(before, listed[coin], work.now, end)
        elif coin in listed:
            lives[coin] = dropped(before, listed[coin], end)
        elif coin in work.states:
            lives[coin] = resting(before, work.now, end)
        else:
            lives[coin] = absent(before, work.now)


def _last_stored(work: Round) -> dict[str, tuple[Life, ...]]:
    """Coins of the last day that was stored, where nothing else is remembered of who was followed."""
    days = work.store.days("instruments")[-1:]
    begun = start_of(days[0]) if days else 0
    stored = listed_ms(work.store.read("instruments", days))
    ends = work.progress.ends
    return {coin: (Life(at, max(at, begun), max(at, begun), ends.get(coin)),) for coin, at in stored.items()}


def _leaving(work: Round, live: pd.DataFrame) -> dict[str, Listing]:
    """Coins that are followed no more, while their last days may still be corrected."""
    if work.config.symbols:
        return {}
    found = {}
    for coin, value, listed in zip(live["coin"], live["contract_value"], listed_ms(live).values(), strict=True):
        left = work.progress.lives[coin][-1].left if coin in work.progress.lives else None
        if left is not None and work.progress.unsettled(coin, GRIDS):
            found[str(coin)] = Listing(float(value), listed, left)
    return found


async def collect_tiers(work: Round) -> None:
    """Leverage tiers of isolated margin, once a day for each coin."""
    today = day_at(work.now)
    asked = work.progress.of("leverage_tiers", today)
    held = work.store.read("leverage_tiers", [today])
    coins = set(work.followed) - (set() if asked is None or work.full else set(held["coin"]))
    if not coins:
        return
    groups = [sorted(coins)[place : place + FAMILIES] for place in range(0, len(coins), FAMILIES)]
    found = await asyncio.gather(*(_tiers(work, group, today) for group in groups))
    parts = [part for part in (held, *found) if len(part)] or [held]
    rows = pd.concat(parts, ignore_index=True).drop_duplicates(["coin", "tier"], keep="last")
    lacking = {coin: (f"{today}T00:00",) for coin in work.followed if coin not in set(rows["coin"])}
    received = len(work.followed) - len(lacking)
    work.write("leverage_tiers", today, rows, Coverage(len(work.followed), received, lacking, note=NOT_OVER))
    work.progress.note("leverage_tiers", today, coins, work.now, answered=coins - lacking.keys())


async def collect_books(work: Round) -> None:
    """One book of every coin, now."""
    books = await asyncio.gather(*(_book(work, coin) for coin in work.followed))
    found = [part for part in books if part is not None]
    for place, dataset in enumerate(("order_books", "order_book_levels")):
        fresh = [parts[place] for parts in found]
        for day in sorted({day_at(work.now), *(day_at(_ms(part)) for part in fresh)}):
            mine = [part for part in fresh if day_at(_ms(part)) == day]
            _publish_books(work, dataset, day, mine)


def recount_books(work: Round, day: str) -> None:
    """Say anew what the stored books of a day lack."""
    for dataset in ("order_books", "order_book_levels"):
        if work.store.path(dataset, day).is_file():
            _publish_books(work, dataset, day, [])


def close_days(work: Round) -> None:
    """Say of days that are over what they are: complete, or not, for ever."""
    for dataset in CLOSED_BY_TIME:
        for day in work.store.days(dataset)[-UNCLOSED_DAYS:]:
            held = work.store.day(dataset, day)
            if held is None or not work.over(day) or NOT_OVER not in held.coverage.note:
                continue
            rows = work.store.read(dataset, [day])
            work.write(dataset, day, rows, _closed(work, dataset, day, rows, held.coverage))


def _closed(work: Round, dataset: str, day: str, rows: pd.DataFrame, before: Coverage) -> Coverage:
    """Coverage of a day that is over."""
    if dataset.startswith("order_book"):
        return _booked(work, dataset, day, rows)
    note = before.note.replace(NOT_OVER, "").strip("; ")
    return Coverage(before.expected, before.received, before.missing, complete=not before.missing, note=note)


async def _members(
    work: Round, listed: list[str], environment: Mapping[str, str], client: MakeClient | None
) -> tuple[tuple[Member, ...], str, bool]:
    config, today = work.config, day_at(work.now)
    nothing = float("nan")
    if config.symbols:
        unknown = [coin for coin in config.symbols if coin not in listed]
        for coin in unknown:
            work.complain(_no_swap(coin, listed, work.states))
        if len(unknown) == len(config.symbols):
            raise UnknownSymbolError(_no_swap(unknown[0], listed, work.states))
        return tuple(Member(coin, nothing) for coin in config.symbols if coin in listed), CONFIGURED, True
    if all(coin.startswith(SIMULATED) for coin in listed):
        return tuple(Member(coin, nothing) for coin in _simulated(listed)[: config.universe]), SIMULATION, True
    held = work.store.read("crypto_universe", [today])
    if _is_ranked(held) and bool(held["as_of_known"].all()) and not work.full:
        return members_of(held), str(held["chosen_by"].iloc[0]), True
    try:
        who, ranked, problems = await asyncio.to_thread(ranking, config, environment, client)
        for problem in problems:
            work.complain(problem)
        return choose(ranked, listed, config.universe), who, True
    except SourceError as error:
        days = work.store.days("crypto_universe")
        stored = ((day, work.store.read("crypto_universe", [day])) for day in reversed(days))
        last, before = next(((day, rows) for day, rows in stored if _is_ranked(rows)), ("", held))
        if not last:
            raise
        work.complain(f"crypto_universe: {error}; the ranking of {last} is used")
        still = tuple(one for one in members_of(before) if one.coin in listed)
        return still, str(before["chosen_by"].iloc[0]), False


def _is_ranked(universe: pd.DataFrame) -> bool:
    """Whether a day's universe was chosen by a ranking."""
    return len(universe) > 0 and not universe["chosen_by"].isin(UNRANKED).any()


def _simulated(listed: list[str]) -> list[str]:
    first = [coin for coin in REGIME_COINS if coin in listed]
    return first + [coin for coin in listed if coin not in first]


def _at_rest(coin: str, states: Mapping[str, str]) -> str:
    """Why a coin that was followed is not asked for."""
    if coin in states:
        return (
            f"{coin}-USDT-SWAP is listed but does not trade now (state {states[coin]}): what was collected stays, and "
            "what is missing is asked for once it trades again"
        )
    return f"{coin}-USDT-SWAP is no longer listed: it was delisted; what was collected stays, nothing more is asked"


def _no_swap(coin: str, listed: list[str], states: Mapping[str, str]) -> str:
    if coin in states:
        return _at_rest(coin, states)
    return (
        f"{coin}: the exchange lists no live swap {coin}-USDT-SWAP, expected one of {', '.join(listed[:8])}, ...: it "
        "was delisted, or the name is wrong; correct BUTTERQUANT_CRYPTO__SYMBOLS"
    )


async def _tiers(work: Round, coins: list[str], day: str) -> pd.DataFrame:
    families = ",".join(f"{coin}-USDT" for coin in coins)
    try:
        asked = {"instType": "SWAP", "tdMode": "isolated", "instFamily": families}
        rows = await work.client.agreed("public/position-tiers", asked)
        return read_tiers(rows, day)
    except AccessError:
        raise
    except SourceError as error:
        work.complain(f"leverage_tiers: {error}")
        return read_tiers([], day)


async def _book(work: Round, coin: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    query = {"instId": f"{coin}-USDT-SWAP", "sz": str(DEEP_LEVELS)}
    value = work.listings[coin].contract_value

    def read(rows: list[Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
        if len(rows) > 1 and any(row != rows[0] for row in rows):
            raise DamagedAnswerError(f"{coin}: {len(rows)} different books came, expected one")
        return read_book(rows, coin, value)

    try:
        return await work.client.ask("market/books", query, read)
    except AccessError:
        raise
    except SourceError as error:
        work.complain(f"order_books: {error}")
        return None


def _publish_books(work: Round, dataset: str, day: str, fresh: list[pd.DataFrame]) -> None:
    held = work.store.read(dataset, [day])
    keys = list(contract_of(dataset).keys)
    parts = [part for part in (held, *fresh) if len(part)] or [held]
    rows = pd.concat(parts, ignore_index=True).drop_duplicates(keys, keep="last")
    work.write(dataset, day, rows, _booked(work, dataset, day, rows))


def _booked(work: Round, dataset: str, day: str, rows: pd.DataFrame) -> Coverage:
    """Hours of a day with a book, against all hours of the coins that were followed on that day."""
    listed = listed_ms(work.store.read("instruments", [day])) or None
    hours = rows[["taken_at", "coin"]].assign(hour=rows["taken_at"].dt.floor("h")).drop_duplicates(["hour", "coin"])
    expected = work.owed(dataset, day, HOUR_MS, hours, "hour", listed)
    return cover(hours, "hour", expected, over=work.over(day), note=work.ended(day))


def _ms(part: pd.DataFrame) -> int:
    return int(part["taken_at"].to_numpy("datetime64[ms]").astype(np.int64)[0])


def earliest(today: str, days: int) -> str:
    """First of so many days that end with today."""
    return day_at(start_of(today) - (days - 1) * DAY_MS)
