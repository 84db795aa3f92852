"""The signal line as assets: factors -> learned tables -> scored signals -> paper trades -> the recorder.

The loop of scoring, executing and learning is no loop of assets: `learned` replays it from the factors and bars alone,
and keeps every version of its tables. What comes after it scores each day with the tables in force then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation import signal_plots, signal_recorder
from butterquant_assets.foundation.freshness import Window
from butterquant_assets.foundation.lake import combine, content_hash
from butterquant_assets.orchestration.declaration import LakeAsset, Limit, Result, Work, lake_asset
from butterquant_assets.signals import (
    at_close,
    learned_facts,
    membership,
    paper,
    replay,
    report_schemas,
    rounds,
    schemas,
    scored,
    tracks,
)
from butterquant_assets.signals import book_costs as book_module
from butterquant_assets.signals.alignment import BAR_COLUMNS, MarketTables
from butterquant_assets.signals.config import SIMULATED
from butterquant_assets.signals.refresh import Rules, Tables
from butterquant_assets.signals.versions import HOUR

BARS, MARKS, INDEXES = "market/crypto_bars", "market/mark_prices", "market/index_prices"
TAKER, INTEREST, FUNDING = "market/taker_volume", "market/open_interest", "market/funding_rates"
BOOKS, LEVELS, UNIVERSE = "market/order_books", "market/order_book_levels", "market/crypto_universe"
FACTORS, BOOK_COSTS = schemas.FACTORS.table, schemas.BOOK_COSTS.table
POSITIONS, SCORED, TRADES = schemas.OPEN_POSITIONS.table, schemas.SCORED_SIGNALS.table, schemas.PAPER_TRADES.table
JUDGING = tuple(f"signals/{name}" for name in rounds.JUDGING)
LEARNED_FROM = (FACTORS, BARS, FUNDING, BOOK_COSTS, UNIVERSE)
LOOK_BACK = -37  # days: the 888 hours before the first of a day
MAX_NOT_FILLED = 0.1
DOUBTS = ("outage", "suspect")
PRICE_COLUMNS = ["hour", "coin", "open", "high", "low", "close", *DOUBTS, "suspect_later"]
LEARNED = (*report_schemas.REPORTS, report_schemas.LEARNING_ROUNDS, schemas.OPEN_POSITIONS)


def _leaders(settings: Any) -> tuple[str, str]:
    found: tuple[str, str] = settings.signals.leaders(simulated=settings.crypto.source == "sample")
    return found


def _traded_leaders(leaders: tuple[str, str], coins: pd.Series) -> tuple[str, str]:
    """The leaders as the market names them: a simulated exchange is asked, or recorded, as if it were a real one."""
    leader, second = leaders
    if not (coins == leader).any() and (coins == SIMULATED + leader).any():
        return SIMULATED + leader, SIMULATED + second
    return leaders


def _midnight(day: str) -> pd.Timestamp:
    return pd.Timestamp(day).as_unit("us")


def _of_days(frame: pd.DataFrame, days: tuple[str, ...]) -> pd.DataFrame:
    """Rows whose hour lies on one of some days."""
    wanted = np.array(days, dtype="datetime64[D]")
    return frame[np.isin(frame["hour"].to_numpy().astype("datetime64[D]"), wanted)]


def _regime_gaps(frame: pd.DataFrame, days: tuple[str, ...]) -> dict[str | None, dict[str, str]]:
    """Days with bars of which no hour has a state of the market."""
    known = frame["market_regime"].notna().groupby(frame["hour"].dt.strftime("%Y-%m-%d")).any()
    return {day: {"regime": "no hour has the trend of both leaders"} for day in days if not known.get(day, True)}


def _factor_counts(frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    rows = frames[FACTORS]
    return {
        "coins": int(rows["coin"].nunique()),
        "rows": len(rows),
        "rows with T": int(rows["T"].notna().sum()),
        "defective windows": int(rows["defect"].sum()),
        "stand-ins": int((rows["flags"] != "").sum()),
    }


@lake_asset(
    schemas.FACTORS,
    reads=[Window(asset, LOOK_BACK, 0) for asset in (BARS, MARKS, INDEXES, TAKER, INTEREST, FUNDING)],
    code=[at_close, _traded_leaders, _of_days, _regime_gaps, _factor_counts],
    config=_leaders,
    axis="days",
    batch=366,
    summarise=_factor_counts,
    warns={"regime": "the two leaders of the market have bars, so that its state is known"},
)
def factors(work: Work) -> Result:
    """T M C V O B F I and the market's regime of every coin and hour that has a bar, from the 888 hours up to it."""
    bars = work.read(BARS, [*BAR_COLUMNS])
    tables = MarketTables(
        bars,
        mark=work.read(MARKS, ["hour", "coin", "close"]),
        index=work.read(INDEXES, ["hour", "coin", "close"]),
        taker=work.read(TAKER, ["hour", "coin", "buy_volume"]),
        interest=work.read(INTEREST, ["hour", "coin", "open_interest"]),
        funding=work.read(FUNDING, ["settled_at", "coin", "funding_rate"]),
    )
    first = _midnight(work.keys[0]) + pd.Timedelta(days=LOOK_BACK)
    last = _midnight(work.keys[-1]) + pd.Timedelta(hours=23)
    leaders = _traded_leaders(work.config, bars["coin"])
    wanted = 24 * (1 + (last - first).days + LOOK_BACK)
    found = _of_days(at_close.factors_at_close(tables, first, last, leaders, wanted), work.keys)
    found = found.merge(bars[["hour", "coin"]], on=["hour", "coin"]).astype({"closed_bars": "int64", "coin": "str"})
    return Result({"factors": found}, warnings=_regime_gaps(found, work.keys))


@lake_asset(
    schemas.BOOK_COSTS,
    reads=[Window(BOOKS, -1, 0), Window(LEVELS, -1, 0)],
    code=[book_module, _of_days],
    config=lambda settings: settings.signals.execution.notional_usd,
    axis="days",
    batch=31,
)
def book_costs(work: Work) -> pd.DataFrame:
    """Half-spread, and slippage for the configured notional, at the open of each hour before which a book was taken."""
    books = work.read(BOOKS, ["taken_at", "coin", "best_bid", "best_ask"])
    return _of_days(book_module.book_costs(books, work.read(LEVELS), work.config), work.keys)


class _History:
    """What `learned` reads of the lake, stretch by stretch."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.days = [str(day) for day in work.freshness.window_keys(Window(FACTORS), None)]
        self._contents = {
            asset: {
                day: footer.content
                for day in self.days
                if (footer := work.freshness.snapshot.entry(asset, day).footer) is not None
            }
            for asset in LEARNED_FROM
        }

    def end(self) -> pd.Timestamp | None:
        """When the last bar closed, or the newest day began where that is later; None without any bar."""
        for day in reversed(self.days):
            hours = self._work.read_keys(BARS, [day], ["hour"])["hour"]
            if len(hours):
                return max(pd.Timestamp(hours.max()) + HOUR, _midnight(self.days[-1]))
        return None

    def inputs(self, first: pd.Timestamp, last: pd.Timestamp) -> replay.Inputs:
        """Everything from one midnight on and before a time."""
        days = [day for day in self.days if f"{first:%Y-%m-%d}" <= day <= f"{last:%Y-%m-%d}"]
        funding = self._work.read_keys(FUNDING, days, ["settled_at", "coin", "funding_rate", "mark_price"])
        return replay.Inputs(
            self._work.read_keys(FACTORS, days),
            _prices(self._work.read_keys(BARS, days, PRICE_COLUMNS)),
            funding.rename(columns={"funding_rate": "rate"}),
            self._work.read_keys(BOOK_COSTS, days),
            self._work.read_keys(UNIVERSE, days, [*membership.COLUMNS]),
        )

    def hashes(self, times: list[pd.Timestamp]) -> list[str]:
        """For each of some midnights a hash of everything before it."""
        found, made, start = [], "", 0
        for time in times:
            stop = sum(day < f"{time:%Y-%m-%d}" for day in self.days)
            parts = [f"{asset}|{day}={self._contents[asset].get(day, '')}"
                     for day in self.days[start:stop] for asset in LEARNED_FROM]  # fmt: skip
            made, start = combine([made, *parts]), stop
            found.append(made)
        return found


def _prices(bars: pd.DataFrame) -> pd.DataFrame:
    """Bars that nothing known at their close contradicts, with whether the next open does (`replay.believed`)."""
    return bars[~bars[[*DOUBTS]].any(axis=1)].drop(columns=[*DOUBTS])


def _past(work: Work, history: _History) -> replay.Past | None:
    """Rounds of the stored tables whose inputs are what they were; None where code or configuration changed."""
    stored: dict[str, pd.DataFrame] = {}
    for contract in LEARNED:
        footer, node = work.freshness.snapshot.entry(contract.table, None).footer, work.freshness.nodes[contract.table]
        if footer is None or (footer.code, footer.config) != (node.code, node.config):
            return None
        frame = work.house.lake.read(contract.table, None)
        if content_hash(frame) != footer.content:
            return None
        stored[contract.table.split("/")[1]] = frame
    records, positions = stored.pop("learning_rounds"), stored.pop("open_positions")
    same = records["inputs"].to_numpy() == np.array(history.hashes(list(records["as_of"])), dtype=object)
    kept = int(np.argmin(same)) if not same.all() else len(same)
    records = records.iloc[:kept].drop(columns="inputs")
    held = rounds.taken_out(stored, list(records["as_of"]), work.config[0].fallback_bps)
    return replay.Past(held, records, positions) if kept else None


@lake_asset(
    *LEARNED,
    reads=[Window(asset) for asset in LEARNED_FROM],
    code=[replay, rounds, learned_facts, _History, _prices, _past],
    config=lambda settings: (settings.signals.rules(), settings.signals.seed),
    axis=None,
    digest="day",
    warns=learned_facts.WARNS,
)
def learned(work: Work) -> Result:
    """Calibration, thresholds, costs and their reports, version by version, as a replay of the line learns them.

    Rounds whose inputs are those of the stored ones are taken from there: a new day costs its own week at most.
    """
    rules, seed = work.config
    history = _History(work)
    end = history.end()
    if end is None:
        nothing = {"learning_rounds": report_schemas.LEARNING_ROUNDS, "open_positions": schemas.OPEN_POSITIONS}
        return Result(rounds.stacked([]) | {name: rounds.no_rows(contract) for name, contract in nothing.items()})
    past = _past(work, history)
    done = replay.Replay(history.inputs, _midnight(history.days[0]), end, seed, rules, past).run()
    records = done.records.assign(inputs=pd.Series(history.hashes(list(done.records["as_of"])), dtype="str"))
    frames = rounds.stacked(done.rounds) | {"learning_rounds": records, "open_positions": done.positions}
    newest = done.rounds[-1].frames if done.rounds else {}
    return Result(
        frames,
        facts={None: learned_facts.facts(records, newest) | {"rounds held now": done.made}},
        warnings={None: learned_facts.warnings(done.records, newest)},
        plots=signal_plots.learned_plots(newest),
    )


def _in_force(work: Work, rules: Rules) -> dict[str, Tables]:
    """Tables that judge the signals of each day."""
    judging = {name: work.read(asset) for name, asset in zip(rounds.JUDGING, JUDGING, strict=True)}
    return {day: rounds.in_force(judging, _midnight(day), rules.first_tables) for day in work.keys}


def _verdicts(frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    rows = frames[SCORED]
    return {"signals": len(rows), "accepted": int((rows["verdict"] == "accepted").sum()),
            "calibrated": int(rows["calibrated"].sum())}  # fmt: skip


@lake_asset(
    schemas.SCORED_SIGNALS,
    reads=[Window(FACTORS), Window(UNIVERSE), *(Window(asset, by="in_force") for asset in JUDGING)],
    code=[scored, rounds, _in_force, _verdicts],
    config=lambda settings: settings.signals.rules(),
    axis="days",
    batch=92,
    summarise=_verdicts,
)
def scored_signals(work: Work) -> pd.DataFrame:
    """Signals of every coin and hour with direction, barriers, probabilities, EV and the verdict of each gate.

    Each day is judged by the tables of the last round before it; rejected signals are kept, with their reasons.
    """
    rows, universe = work.read(FACTORS), work.read(UNIVERSE, [*membership.COLUMNS])
    by_tables: dict[str, list[str]] = {}
    found = _in_force(work, work.config)
    for day, tables in found.items():
        by_tables.setdefault("|".join(tables.versions), []).append(day)
    parts = []
    for days in by_tables.values():
        tables, part = found[days[0]], _of_days(rows, tuple(days))
        parts.append(
            scored.score_signals(
                part,
                part,
                calibration=tables.calibration,
                costs=tables.costs,
                thresholds=tables.thresholds,
                universe=universe,
            )
        )
    return pd.concat(parts, ignore_index=True)


def _ahead(settings: Any) -> int:
    """Days after that of its signal that decide a trade."""
    return replay.reach(settings.signals.rules()).days


def _trade_reads(settings: Any) -> list[Window]:
    ahead = _ahead(settings)
    return [
        Window(SCORED),
        # One day more than decides a trade: that it has begun says that those before it are over (`_known_until`).
        Window(BARS, 0, ahead + 1),
        Window(FUNDING, -1, ahead),
        Window(BOOK_COSTS, 0, ahead),
        Window(POSITIONS, by="partition"),
    ]


def _trade_counts(frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    rows = frames[TRADES]
    counts = rows["track"].value_counts()
    return {
        "signals": len(rows),
        "not filled": int((rows["status"] == "not_filled").sum()),
        "open": int((rows["status"] == "open").sum()),
        **{f"track {track}": int(counts.get(track, 0)) for track in schemas.TRACKS},
    }


def _known_until(work: Work, bars: pd.DataFrame, ahead: int) -> pd.Timestamp:
    """What trades are executed as of: the end of the days that decide them, or of what there is where that is earlier.

    A day that has begun ends the one before it, with bars or without: where the whole market stands still, a trade
    waits for a price no longer than beside other coins that trade on. Only days that freshness counts among what is
    read decide, so that a trade left open is looked at again when a later day begins.
    """
    last = _midnight(work.keys[-1]) + pd.Timedelta(days=ahead + 1)
    begun = _midnight((work.freshness.nodes[BARS].keys or work.keys)[-1])
    closed = bars["hour"].max() + HOUR if len(bars) else begun
    return min(last, max(begun, closed))


@lake_asset(
    schemas.PAPER_TRADES,
    reads=_trade_reads,
    code=[paper, tracks, replay, _prices, _known_until, _trade_counts],
    config=lambda settings: (settings.signals.execution, _ahead(settings)),
    axis="days",
    batch=92,
    summarise=_trade_counts,
    limits={
        "filled": Limit(
            f"at most {MAX_NOT_FILLED:.0%} of all signals found no price to enter at",
            "not filled",
            "signals",
            MAX_NOT_FILLED,
        )
    },
)
def paper_trades(work: Work) -> pd.DataFrame:
    """What became of each signal on the bars that followed it, rejected ones too; open trades at their mark."""
    execution, ahead = work.config
    bars = work.read(BARS, PRICE_COLUMNS)
    funding = work.read(FUNDING, ["settled_at", "coin", "funding_rate", "mark_price"])
    trades = paper.execute(
        work.read(SCORED),
        replay.believed(_prices(bars)),
        funding.rename(columns={"funding_rate": "rate"}),
        as_of=_known_until(work, bars, ahead),
        books=work.read(BOOK_COSTS),
        execution=execution,
    )
    return trades.assign(track=tracks.tracks(trades, work.read(POSITIONS), each_day=True))


@lake_asset(
    schemas.RECORDED,
    reads=[Window(SCORED), Window(TRADES), *(Window(asset, by="in_force") for asset in JUDGING)],
    code=[signal_recorder, rounds, _in_force],
    config=lambda settings: settings.signals.rules(),
    axis="days",
    batch=31,
    in_warehouse=True,
    kinds=frozenset({"parquet", "sql"}),
)
def recorded(work: Work) -> pd.DataFrame:
    """Signals, executions and results in the warehouse's tables signal_snapshots, execution_records, trade_results.

    A day is written as a whole: a signal that a correction took away goes from there too, unless it was traded live.
    The tables that judged it are kept beside it for good, version by version.
    """
    signals, trades = work.read(SCORED), work.read(TRADES)
    judging = {tables.versions: tables for tables in _in_force(work, work.config).values()}
    rows = []
    with signal_recorder.SignalRecorder(work.house.settings.warehouse_location) as recorder:
        recorder.migrate()
        for tables in judging.values():
            recorder.keep_versions(rounds.kept_tables(tables))
        for day in work.keys:
            rows.append(
                {"day": _midnight(day)}
                | recorder.record_day(_midnight(day), _of_days(signals, (day,)), _of_days(trades, (day,)))
            )
    types = {name: str(kind) for name, kind in schemas.RECORDED.schema.dtypes.items()}
    return pd.DataFrame(rows).astype(types)


ASSETS: tuple[LakeAsset, ...] = (factors, book_costs, learned, scored_signals, paper_trades, recorded)
