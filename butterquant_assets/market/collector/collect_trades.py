"""Collecting trades, hour by hour, newest first, and keeping what they make of an hour.

An hour counts only when every trade of it was seen: pages are followed backwards by trade number until one lies before
the hour, and their volume is compared with the bar's. Until there is a bar the hour waits, and one that is no longer
near its bar is asked for again. How far back the exchange answers is found by asking; how much is asked in one
collection is bounded, because a busy hour of one coin takes hundreds of pages.

What belongs here: the order of things. What does not: counting (`flow.py`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.answers import AccessError
from butterquant_assets.market.collector.days import HOUR_MS, day_at, start_of
from butterquant_assets.market.collector.flow import (
    VOLUME_DOUBT,
    VOLUME_SLACK,
    Trades,
    flow,
    no_trades,
    off_by,
    read_trades,
    same,
)
from butterquant_assets.market.collector.round import Round
from butterquant_assets.market.collector.snapshots import typed
from butterquant_assets.market.collector.tables import as_stamps, as_times
from butterquant_assets.market.crypto_coverage import cover
from butterquant_assets.market.crypto_schemas import TRADE_FLOW

DATASET = "trade_flow"
NEWEST, HISTORY = "market/trades", "market/history-trades"
NEWEST_MOST, HISTORY_MOST = 500, 100

REACH_DAYS = 3
"""Days back that are tried. OKX would go back three months, but at its rate that takes longer than they last."""

MOST_REQUESTS = 4_000
"""Pages in one collection: about seven minutes."""


class _BeyondReachError(SourceError):
    """The exchange has no trades so far back."""


@dataclass
class _Tally:
    """What became of the questions of one collection.

    Parameters
    ----------
    beyond
        coins of which the exchange has nothing earlier
    silent
        days and coins of which some hour got no answer, or was not asked for
    barless
        hours without a bar, by coin
    """

    beyond: set[str] = field(default_factory=set)
    silent: set[tuple[str, str]] = field(default_factory=set)
    barless: Counter[str] = field(default_factory=Counter)


async def collect_trades(work: Round) -> None:
    """Bring `trade_flow` up to date as far as one collection may.

    Raises
    ------
    AccessError
        if the exchange does not serve us; anything else is noted as a problem, and the rest goes on.
    """
    wanted = _hours(work, work.days(REACH_DAYS))
    tally = _Tally()
    done: dict[str, list[dict[str, Any]]] = {}
    asked: set[str] = set()
    for hour in sorted(wanted, reverse=True):
        day = day_at(hour)
        if _requests(work) >= MOST_REQUESTS:
            work.complain(
                f"{DATASET}: {MOST_REQUESTS} pages were asked for, hours before {np.datetime64(hour, 'ms')} are left "
                "for the next collection"
            )
            # What was not asked for for want of requests was not asked for in vain.
            tally.silent |= {(day_at(left), coin) for left in wanted if left <= hour for coin in wanted[left]}
            break
        volumes = _volumes(work, day).get(hour, {})
        for coin in wanted[hour] - volumes.keys():
            tally.barless[coin] += 1
            tally.silent.add((day, coin))
        coins = sorted((wanted[hour] & volumes.keys()) - tally.beyond)
        tally.silent |= {(day, coin) for coin in coins if work.rests(DATASET, coin)}
        coins = [coin for coin in coins if not work.rests(DATASET, coin)]
        found = await asyncio.gather(*(_row(work, coin, hour, volumes[coin], tally) for coin in coins))
        done.setdefault(day, []).extend(row for row in found if row is not None)
        asked.add(day)
        if hour == start_of(day) or hour == min(wanted):
            _publish(work, day, done.pop(day))
    for day, several in done.items():
        _publish(work, day, several)
    if tally.barless:
        work.complain(
            f"{DATASET}: {tally.barless.total()} hours of {', '.join(sorted(tally.barless))} have no bar in crypto_bars"
            " to compare their volume with: their trades are asked for once it has come"
        )
    for day in asked:
        followed = work.wanted(day)
        heard = {coin for coin in followed if (day, coin) not in tally.silent}
        work.progress.note(DATASET, day, followed, work.now, answered=heard, lacking=work.lacking(DATASET, day))
    work.progress.save()


def _hours(work: Round, days: list[str]) -> dict[int, set[str]]:
    """Coins whose trades of an hour are not held yet, by hour (ms)."""
    wanted: dict[int, set[str]] = {}
    for day in days:
        asked = work.progress.of(DATASET, day)
        held = _near_bars(work, day, work.store.read(DATASET, [day]))
        known = set() if work.full else set(zip(as_stamps(held["hour"]).tolist(), held["coin"], strict=True))
        for coin, stamps in work.expected(day, HOUR_MS).items():
            if asked is not None and asked.gives_up(coin) and not work.full:
                continue
            for hour in stamps.astype("datetime64[ms]").astype(np.int64).tolist():
                if (hour, coin) not in known:
                    wanted.setdefault(hour, set()).add(coin)
    return wanted


def _near_bars(work: Round, day: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a day that have a bar and are no further from it than is ever accepted.

    Where one is further off, the bar was corrected since, or trades lack; one without a bar was compared with nothing.
    """
    volumes = _volumes(work, day)
    hours = zip(as_stamps(rows["hour"]).tolist(), rows["coin"], strict=True)
    volume = np.array([volumes.get(hour, {}).get(coin, np.nan) for hour, coin in hours], dtype=float)
    traded = (rows["buy_volume"] + rows["sell_volume"]).to_numpy(dtype=float)
    near = np.abs(traded - volume) <= VOLUME_DOUBT * np.maximum(traded, volume)
    kept: pd.DataFrame = rows[near].reset_index(drop=True)
    return kept


async def _row(work: Round, coin: str, hour: int, volume: float, tally: _Tally) -> dict[str, Any] | None:
    """The hour's row of one coin; None where not every trade could be had."""
    value = work.listings[coin].contract_value
    try:
        trades = await _trades(work, coin, hour)
        work.heard(DATASET, coin)
        off = off_by(trades, value, volume)
        if off > VOLUME_SLACK:
            # Either a page lacked trades or the bar counts otherwise: a second look that agrees decides.
            again = await _trades(work, coin, hour)
            agreed, trades = same(trades, again), trades.joined(again)
            off = off_by(trades, value, volume)
            if off > VOLUME_DOUBT or (off > VOLUME_SLACK and not agreed):
                work.complain(
                    f"{DATASET}: {coin} {np.datetime64(hour, 'ms')}: the trades' volume is {off:.2%} off the bar's, "
                    f"expected the same: the hour is not written; it is asked for again"
                )
                return None
    except _BeyondReachError:
        tally.beyond.add(coin)
        return None
    except AccessError:
        raise
    except SourceError as error:
        work.unheard(DATASET, coin, error)
        tally.silent.add((day_at(hour), coin))
        return None
    stamp = as_times(np.array([hour], np.int64))[0]
    return {"hour": stamp, "coin": coin, **flow(trades, value, work.config.large_trade_usd)}


async def _trades(work: Round, coin: str, hour: int) -> Trades:
    """Every trade of an hour.

    Raises
    ------
    SourceError
        if the exchange does not have them all.
    """
    end = hour + HOUR_MS
    found = no_trades()
    if end + HOUR_MS > work.now:
        found = await _page(work, NEWEST, coin, NEWEST_MOST)
    if not len(found) or int(found.time[0]) >= end:
        found = await _page(work, HISTORY, coin, HISTORY_MOST, type="2", after=str(end))
    if not len(found):
        raise _BeyondReachError(f"{coin}: no trades before {np.datetime64(end, 'ms')}, expected some")
    while int(found.time[0]) >= hour:
        earlier = await _page(work, HISTORY, coin, HISTORY_MOST, type="1", after=str(int(found.identity[0])))
        fresh = ~np.isin(earlier.identity, found.identity)
        if not fresh.any():
            if work.listings[coin].listed >= hour:
                break
            raise _BeyondReachError(f"{coin}: no trades before {np.datetime64(int(found.time[0]), 'ms')}")
        found = found.joined(earlier)
    return found.within(hour, end)


async def _page(work: Round, path: str, coin: str, most: int, **marks: str) -> Trades:
    """One page; an empty one is believed only when it comes twice."""
    query = {"instId": f"{coin}-USDT-SWAP", "limit": str(most), **marks}
    found = await work.client.ask(path, query, read_trades)
    return found if len(found) else await work.client.ask(path, query, read_trades)


def _volumes(work: Round, day: str) -> dict[int, dict[str, float]]:
    """Volume of the bars of a day, coins, by hour (ms) and coin."""
    bars = work.store.read("crypto_bars", [day], ["hour", "coin", "volume"])
    found: dict[int, dict[str, float]] = {}
    for hour, coin, volume in zip(as_stamps(bars["hour"]).tolist(), bars["coin"], bars["volume"].tolist(), strict=True):
        found.setdefault(hour, {})[coin] = volume
    return found


def recount_trades(work: Round, day: str) -> None:
    """Say anew what the stored hours of a day lack."""
    if work.store.path(DATASET, day).is_file():
        _publish(work, day, [])


def _publish(work: Round, day: str, rows: list[dict[str, Any]]) -> None:
    held = _near_bars(work, day, work.store.read(DATASET, [day]))
    fresh = typed(TRADE_FLOW, pd.DataFrame(rows, columns=TRADE_FLOW.columns))
    parts = [part for part in (held, fresh) if len(part)] or [held]
    merged = pd.concat(parts, ignore_index=True).drop_duplicates(["hour", "coin"], keep="last")
    expected = work.owed(DATASET, day, HOUR_MS, merged, "hour")
    work.write(DATASET, day, merged, cover(merged, "hour", expected, over=work.over(day), note=work.ended(day)))


def _requests(work: Round) -> int:
    sent = work.client.limiter.sent
    return sent[NEWEST] + sent[HISTORY]
