"""Collecting datasets with one row a coin and bar, and settlements: chunk by chunk, newest first.

A chunk is as many days as one page holds, of all coins that need them; its days are written when all its answers are
in, each whole. What a killed collection had not written is asked for again.

What belongs here: the order of things. What does not: requests (`questions.py`) and reading answers (`tables.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.answers import AccessError
from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, chunks, day_at, start_of
from butterquant_assets.market.collector.questions import FUNDING_RATES, Grid, question, windows
from butterquant_assets.market.collector.round import Round
from butterquant_assets.market.collector.settlements import LONGEST_HOURS, interval_hours, missing_settlements
from butterquant_assets.market.collector.snapshots import typed
from butterquant_assets.market.collector.tables import Points, as_stamps, as_times, frame_of, no_points, reader
from butterquant_assets.market.collector.tables import columns_of as points_columns
from butterquant_assets.market.crypto_cleaning import NOTED, join_rejects, reject_rows, screen
from butterquant_assets.market.crypto_coverage import Coverage, Stamps, cover
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS
from butterquant_assets.market.crypto_sources.store import REJECTS, columns_of, contract_of

FUNDING_KEPT_DAYS = 89
"""OKX keeps settlements for three months, of which the shortest are so long."""

REVISION_SLACK = 1e-9
CHUNKS_AT_ONCE = 2
"""While one chunk's last answers are awaited and written, the next one's requests keep the limiter busy."""


async def collect_grid(work: Round, grid: Grid, after: asyncio.Event | None = None) -> None:
    """Bring one dataset up to date.

    Parameters
    ----------
    work, grid
        collection and dataset
    after
        nothing is written before it is set, because it needs what another dataset writes

    Raises
    ------
    AccessError
        if the exchange does not serve us; anything else is noted as a problem, and the rest goes on.
    """
    needs = work.needs(grid.dataset, work.days(grid.reach_days))
    waiting = deque(reversed(chunks(needs, grid.chunk_days)))

    async def worker() -> None:
        while waiting:
            days = waiting.popleft()
            await _collect_chunk(work, grid, days, {day: needs[day] for day in days}, after)

    async with asyncio.TaskGroup() as group:
        for _ in range(CHUNKS_AT_ONCE):
            group.create_task(worker())


async def _collect_chunk(
    work: Round, grid: Grid, days: Sequence[str], needs: Mapping[str, frozenset[str]], after: asyncio.Event | None
) -> None:
    coins = sorted(frozenset().union(*needs.values()))
    answers = await asyncio.gather(*(_points_of(work, grid, coin, days) for coin in coins))
    fresh = {coin: points for coin, (points, _) in zip(coins, answers, strict=True)}
    heard = {coin for coin, (_, answered) in zip(coins, answers, strict=True) if answered}
    if after is not None:
        await after.wait()
    for day in days:
        _publish(work, grid, day, {coin: fresh[coin] for coin in needs[day]}, heard)
        held = work.store.day(grid.dataset, day)
        lacking = held.coverage.missing if held is not None else ()
        answered = needs[day] & heard
        if work.now < start_of(day) + DAY_MS + grid.trail:
            # What comes later may still tell that nothing is missing, so that this was no answer yet.
            answered -= frozenset(lacking)
        work.progress.note(grid.dataset, day, needs[day], work.now, answered=answered, lacking=lacking)
    work.progress.save()


async def _points_of(work: Round, grid: Grid, coin: str, days: Sequence[str]) -> tuple[Points, bool]:
    """What the exchange has for one coin in a chunk, as much as came, and whether every question got its rows."""
    found, answered = no_points(grid), True
    for window in windows(grid, days, work.listings[coin].listed, work.now):
        if work.rests(grid.dataset, coin):
            return found, False
        try:
            part = await _ask(work, grid, coin, window)
            found = part.over(found)
            if _lacks(grid, part, window):
                # Once more, because a page now and then lacks rows; what stays missing is asked for next time.
                found = (await _ask(work, grid, coin, window)).over(found)
            work.heard(grid.dataset, coin)
        except AccessError:
            raise
        except SourceError as error:
            work.unheard(grid.dataset, coin, error)
            answered = False
    return found, answered


async def _ask(work: Round, grid: Grid, coin: str, window: tuple[int, int]) -> Points:
    asked = question(grid, coin, window, work.now)
    return await work.client.ask(asked.path, asked.query(), reader(grid, window, work.now))


def _lacks(grid: Grid, part: Points, window: tuple[int, int]) -> bool:
    if grid.stamped:
        return len(part) < (window[1] - window[0]) // grid.bar
    return not len(part) or bool(len(missing_settlements(part.stamp, window[1], window[0])))


def _publish(work: Round, grid: Grid, day: str, fresh: Mapping[str, Points], heard: AbstractSet[str]) -> None:
    """Lay what came over what is held of a day, and write it; `heard` are the coins that were answered for."""
    stamp_name = contract_of(grid.dataset).time or ""
    start, end = start_of(day), start_of(day) + DAY_MS
    held = work.store.read(grid.dataset, [day])
    rows = frame_of(grid, stamp_name, [(coin, points.within(start, end)) for coin, points in sorted(fresh.items())])
    if not grid.stamped:
        rows = _with_intervals(rows, fresh)
        rows = _with_marks(work, day, rows)
    rows, refused = _believable(grid.dataset, rows)
    held, unbelieved = _believable(grid.dataset, held)
    _note(work, day, [unbelieved, refused, _revisions(grid, held, rows)])
    parts = [part for part in (held, rows) if len(part)] or [held]
    merged = pd.concat(parts, ignore_index=True).drop_duplicates(["coin", stamp_name], keep="last")
    merged = merged[columns_of(grid.dataset)]
    if grid.stamped:
        expected = work.owed(grid.dataset, day, grid.bar, merged, stamp_name)
        coverage = cover(merged, stamp_name, expected, over=work.over(day), note=work.ended(day))
    else:
        coverage = _settled(work, day, merged, fresh, heard, refused)
    work.write(grid.dataset, day, merged, coverage)


def _settled(
    work: Round,
    day: str,
    merged: pd.DataFrame,
    fresh: Mapping[str, Points],
    heard: AbstractSet[str],
    refused: pd.DataFrame,
) -> Coverage:
    """Coverage of a day of settlements."""
    held = work.store.day("funding_rates", day)
    before = work.store.read("funding_rates", [day], ["coin"])
    whole = set(before["coin"]) if held is not None and held.coverage.complete else set()
    unsure = fresh.keys() - heard - whole
    answered = {coin: fresh[coin] for coin in fresh.keys() & heard}
    expected = _settlements(work, day, merged, answered, unsure)
    for coin, rows in refused.groupby("coin"):
        # That there was a settlement is believed, its rate is not.
        stamps = rows["at"].to_numpy(dtype="datetime64[us]")
        expected[str(coin)] = np.union1d(stamps, expected.get(str(coin), stamps[:0]))
    notes = [work.ended(day), _out_of_reach(work, day, answered, cover(merged, "settled_at", expected, over=True))]
    if unsure:
        notes.append(f"the settlements of {', '.join(sorted(unsure))} got no answer")
    note = "; ".join(filter(None, notes))
    coverage = cover(merged, "settled_at", expected, over=work.over(day), note=note)
    # When a coin is settled only the exchange knows: without its answer nothing shows that none is missing.
    return replace(coverage, complete=coverage.complete and not unsure)


def _out_of_reach(work: Round, day: str, answered: Mapping[str, Points], coverage: Coverage) -> str:
    """Coins whose settlements the exchange no longer has, in words; "" for none."""
    if start_of(day) >= work.now - FUNDING_KEPT_DAYS * DAY_MS:
        return ""
    told = {coin: int(points.stamp[0]) for coin, points in answered.items() if len(points)}
    lost = {coin: start_of(stamps[0]) for coin, stamps in coverage.missing.items() if coin in answered}
    coins = sorted(coin for coin, moment in lost.items() if moment < told.get(coin, work.now))
    return f"settlements of {', '.join(coins)} lie beyond the exchange's reach" if coins else ""


def _believable(dataset: str, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that may be true, and the refusals of those that cannot; a repetition is left to the cleaning."""
    rejects = screen(dataset, rows).rejects
    refused = rejects[~rejects["reason"].isin(["duplicate", "revised"])].reset_index(drop=True)
    bad = pd.MultiIndex.from_frame(refused[["at", "coin"]])
    kept = ~pd.MultiIndex.from_frame(rows[[contract_of(dataset).time or "", "coin"]]).isin(bad)
    return rows[kept].reset_index(drop=True), refused


def _revisions(grid: Grid, held: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """What was told otherwise before; the newer word counts."""
    stamp_name, names = contract_of(grid.dataset).time or "", list(points_columns(grid))
    both = held.merge(rows, on=[stamp_name, "coin"], suffixes=("_old", "_new"))
    old, new = (both[[f"{name}_{age}" for name in names]].to_numpy(dtype=float) for age in ("old", "new"))
    differs = ~np.isclose(old, new, rtol=REVISION_SLACK, atol=0.0, equal_nan=True)
    places = np.flatnonzero(differs.any(axis=1)).tolist()
    told = [
        ", ".join(f"{names[n]} {old[row, n]:.10g} -> {new[row, n]:.10g}" for n in np.flatnonzero(differs[row]))
        for row in places
    ]
    at = both[stamp_name].to_numpy(dtype="datetime64[us]")[places]
    return reject_rows(grid.dataset, at, both["coin"].iloc[places].tolist(), "revised", told, NOTED)


def _note(work: Round, day: str, rejects: Sequence[pd.DataFrame]) -> None:
    """Record what was refused or revised."""
    fresh = join_rejects(rejects)
    if fresh.empty:
        return
    known = join_rejects([work.store.read(REJECTS, [day]), typed(CRYPTO_REJECTS, fresh)])
    unique = known.drop_duplicates(list(CRYPTO_REJECTS.keys), keep="last")
    work.write(REJECTS, day, unique, Coverage(0, 0, complete=True))


def _with_intervals(rows: pd.DataFrame, fresh: Mapping[str, Points]) -> pd.DataFrame:
    hours = np.full(len(rows), np.nan)
    for coin, points in fresh.items():
        mine = (rows["coin"] == coin).to_numpy()
        if mine.any():
            known = dict(zip(points.stamp.tolist(), interval_hours(points.stamp).tolist(), strict=True))
            hours[mine] = [known[stamp] for stamp in as_stamps(rows.loc[mine, "settled_at"]).tolist()]
    return rows.assign(interval_hours=hours)


def _with_marks(work: Round, day: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The mark price at a settlement on the hour is the open of that hour's mark bar."""
    marks = work.store.read("mark_prices", [day], ["hour", "coin", "open"])
    named = marks.rename(columns={"hour": "settled_at", "open": "mark_price"})
    return rows.merge(named, on=["settled_at", "coin"], how="left").astype({"mark_price": "float64"})


def _settlements(
    work: Round, day: str, merged: pd.DataFrame, fresh: Mapping[str, Points], unsure: AbstractSet[str]
) -> dict[str, Stamps]:
    """Settlements that should be there: those that are, and those whose neighbours say that they are missing.

    Parameters
    ----------
    fresh
        what came of coins that were answered for, all of it: what lies after the day tells how it ended
    unsure
        coins that were asked for in vain and not known to be whole
    """
    start, over = start_of(day), start_of(day) + DAY_MS
    known_until = min(over + FUNDING_RATES.trail, work.now)
    expected: dict[str, Stamps] = {}
    before, wanted = work.lacking("funding_rates", day), work.wanted(day)
    beside = work.store.read("funding_rates", [day_at(start - DAY_MS), day_at(over)], ["settled_at", "coin"])
    owing = {coin for coin, _ in work.progress.owing(day)}
    for coin in sorted(wanted | owing | set(merged["coin"])):
        settled = merged.loc[merged["coin"] == coin, "settled_at"]
        mine = settled.to_numpy(dtype="datetime64[us]")
        lost = before.get(coin, mine[:0])
        gone = work.gone(coin, day)
        if coin in fresh:
            listed, reach = work.listings[coin].listed, start - FUNDING_RATES.margin
            stamps = missing_settlements(
                fresh[coin].stamp, known_until, max(listed, reach), gone, listed=listed > reach
            )
            lost = as_times(stamps[(stamps >= start) & (stamps < over)])
        elif coin not in wanted or coin in unsure:
            # Not asked for now, or in vain, it may have traded on: what its own rhythm lets expect until the end is
            # missing, or until the next one that is stored; its interval may have been lengthened meanwhile.
            known = np.sort(np.append(as_stamps(settled), as_stamps(beside.loc[beside["coin"] == coin, "settled_at"])))
            end = min(over, work.now, *([] if gone is None else [gone]))
            life = work.progress.life(coin, day)
            begun, reach = 0 if life is None else life.since, start - LONGEST_HOURS * HOUR_MS
            since = start if life is None else max(reach, begun)
            stamps = missing_settlements(known, end + LONGEST_HOURS * HOUR_MS, since, gone, listed=begun > reach)
            stamps = stamps[(stamps >= start) & (stamps < end)]
            lost = np.union1d(lost[lost < np.datetime64(end, "ms")], as_times(stamps))
        expected[coin] = np.union1d(mine, lost)
    return expected
