"""The line through history: score with the tables in force, execute on paper, learn, put new tables in force.

What belongs here: the order of rounds, what each could know, and how a replay goes on where an earlier one ended. What
does not: what a round makes (`refresh`), and reading or storing anything: inputs come from a function of the caller's.

Rounds are held at midnight UTC, so that all signals of a day are judged by the same tables. A round knows the bars
closed by then and the settlements before then (one at that very instant comes too late, and so does the open that
contradicts the bar before it). What became of a trade that had ended by then never changes, so that every signal is
executed once; only trades still open at a round are marked for it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.gates import ACCEPTED, REJECTED, SIDES
from butterquant_assets.signals.membership import no_universe
from butterquant_assets.signals.paper import PATIENCE_HOURS, execute
from butterquant_assets.signals.refresh import Round, Rules, Tables, learn
from butterquant_assets.signals.report_schemas import LEARNING_ROUNDS
from butterquant_assets.signals.rounds import no_rows
from butterquant_assets.signals.schemas import BOOK_COSTS, EXIT_REASONS, PAPER_TRADES, SIGNAL_CARRIED, STATUSES
from butterquant_assets.signals.scored import score_signals
from butterquant_assets.signals.tracks import non_overlapping, positions_of, tracks
from butterquant_assets.signals.versions import HOUR, typed

DAY = pd.Timedelta(days=1)
# What learning never looks at, left out of the long table it is given.
_UNREAD = (
    *("signal_id", "score", "calibration_version", "cost_version", "threshold_version"),
    *("outcome", "track", "entry_price", "entry_fill", "exit_price", "exit_fill", "settlements_by_proxy"),
    *("p_stop", "p_timeout", "timeout_bps"),
)
_LEARNED_FROM = [name for name in PAPER_TRADES.columns if name not in _UNREAD]
# Rows are chosen many times: codes are chosen faster than texts.
_WORDS = {
    "side": pd.CategoricalDtype(list(SIDES)),
    "status": pd.CategoricalDtype(list(STATUSES)),
    "exit_reason": pd.CategoricalDtype(list(EXIT_REASONS)),
    "verdict": pd.CategoricalDtype([ACCEPTED, REJECTED]),
}


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the line reads of some stretch of time.

    Parameters
    ----------
    factors
        columns of `schemas.FACTORS`
    bars
        hour, coin, open, high, low, close; and suspect_later (bool) where bars were judged, as for `believed`
    funding
        settled_at, coin, rate, mark_price
    books
        columns of `schemas.BOOK_COSTS`
    universe
        columns of `membership.COLUMNS`; by default nothing is said of any day
    """

    factors: pd.DataFrame
    bars: pd.DataFrame
    funding: pd.DataFrame
    books: pd.DataFrame
    universe: pd.DataFrame = field(default_factory=no_universe)

    def before(self, end: pd.Timestamp) -> Inputs:
        """What was known at midnight `end`."""
        return Inputs(
            self.factors[self.factors["hour"] < end],
            self.bars[self.bars["hour"] < end],
            self.funding[self.funding["settled_at"] < end],
            self.books[self.books["hour"] < end],
            self.universe[self.universe["day"] < end],
        )


Reader = Callable[[pd.Timestamp, pd.Timestamp], Inputs]
"""Inputs from one midnight (included) to a time (excluded)."""


@dataclass(frozen=True, eq=False)
class Past:
    """Where an earlier replay of the same inputs ended: its rounds, and the positions it found open day by day."""

    rounds: Sequence[Round]
    records: pd.DataFrame
    positions: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Replayed:
    """What came of a replay.

    Parameters
    ----------
    rounds
        all of them, oldest first
    records
        columns of `report_schemas.LEARNING_ROUNDS` but inputs
    positions
        columns of `schemas.OPEN_POSITIONS`
    made
        rounds that were held now, not taken from an earlier replay
    """

    rounds: tuple[Round, ...]
    records: pd.DataFrame
    positions: pd.DataFrame
    made: int


@dataclass
class Replay:
    """One run through history.

    Parameters
    ----------
    read
        gives the inputs
    first
        midnight of the first day
    as_of
        end of the data: when its last bar closed
    seed, rules
        as for `refresh.learn`
    past
        rounds to go on from; they must be those this replay would hold
    """

    read: Reader
    first: pd.Timestamp
    as_of: pd.Timestamp
    seed: int
    rules: Rules = field(default_factory=Rules)
    past: Past | None = None

    def __post_init__(self) -> None:
        if self.first != self.first.floor("D") or not self.first < self.as_of:
            raise DataError(f"a replay from {self.first} to {self.as_of} must begin at midnight and end later")
        self.rounds = list(self.past.rounds) if self.past else []
        self._records: list[dict[Any, Any]] = self.past.records.to_dict("records") if self.past else []
        self._periods: dict[pd.Timestamp, pd.DataFrame] = {}
        self._from: pd.Timestamp | None = None
        self._settled: list[pd.DataFrame] = []
        self._unsettled = pd.DataFrame()
        self._gathered = 0
        self._reach = reach(self.rules)

    def run(self) -> Replayed:
        """Hold all rounds that were due."""
        made = 0
        while (due := self._next_due()) is not None:
            end, reason, results = due
            trades = self._known_at(end)
            current = self.rounds[-1].tables if self.rounds else self.rules.first_tables
            former = self.rounds[-1] if self.rounds else None
            held = learn(trades, current, as_of=end, seed=self.seed, rules=self.rules, former=former)
            counted = trades["status"].isin(["closed", "open"]) & trades["evidence"]
            self._records.append(
                {
                    "as_of": end,
                    "reason": reason,
                    "results": results,
                    "trades": int(counted.sum()),
                    "chosen_afterwards": int((counted & ~trades["member"]).sum()),
                    **versions_of(held.tables),
                }
            )
            self.rounds.append(held)
            made += 1
        return Replayed(tuple(self.rounds), self._record_frame(), self._positions(), made)

    def trades(self) -> pd.DataFrame:
        """Every signal of the whole history executed as of the end, columns of `schemas.PAPER_TRADES`."""
        parts = [self._period(place) for place in range(len(self.rounds) + 1)]
        whole = pd.concat(parts, ignore_index=True)
        return PAPER_TRADES.arrange(whole.assign(track=tracks(whole)))

    # -- periods: the time between two rounds, judged by the tables of the former

    def _start(self, place: int) -> pd.Timestamp:
        return self.rounds[place - 1].as_of if place else self.first

    def _end(self, place: int) -> pd.Timestamp:
        """End of a period; of the current one the latest it can have."""
        if place < len(self.rounds):
            return self.rounds[place].as_of
        return min(self._start(place) + pd.Timedelta(days=self.rules.cadence.days), self.as_of)

    def _tables(self, place: int) -> Tables:
        return self.rounds[place - 1].tables if place else self.rules.first_tables

    def _period(self, place: int) -> pd.DataFrame:
        """Signals of a period and what has become of them by the end of the data."""
        start = self._start(place)
        held = self._periods.get(start)
        if held is None:
            held = self._periods[start] = self._executed(start, self._end(place), self._tables(place))
        end = self._end(place)
        return held if not len(held) or held["hour"].iloc[-1] < end else held[held["hour"] < end]

    def _executed(self, start: pd.Timestamp, end: pd.Timestamp, tables: Tables) -> pd.DataFrame:
        inputs = self._inputs(start, end + self._reach)
        part = inputs.factors[inputs.factors["hour"] < end]
        signals = score_signals(
            part,
            part,
            calibration=tables.calibration,
            costs=tables.costs,
            thresholds=tables.thresholds,
            universe=inputs.universe,
        )
        as_of = min(self.as_of, end + self._reach)
        prices = believed(inputs.bars)
        return execute(signals, prices, inputs.funding, as_of=as_of, books=inputs.books, execution=self.rules.execution)

    def _anchor(self) -> pd.Timestamp:
        """Day from which positions are found anew: trades of earlier signals had all ended at the last known round."""
        if not self.past or not self.past.rounds:
            return self.first
        return max(self.first, self.past.rounds[-1].as_of - self._reach)

    def _inputs(self, start: pd.Timestamp, end: pd.Timestamp) -> Inputs:
        """Inputs of a stretch. What was read once is kept; going further back than that reads everything."""
        if self._from is None or start < self._from:
            self._from = min(start, self._anchor()) if self._from is None else self.first
            self._held = self.read(self._from, self.as_of)
        held = self._held.before(min(end, self.as_of))
        return Inputs(
            held.factors[held.factors["hour"] >= start],
            held.bars[held.bars["hour"] >= start],
            held.funding[held.funding["settled_at"] >= start - DAY],
            held.books[held.books["hour"] >= start],
            held.universe[held.universe["day"] >= start],
        )

    # -- rounds

    def _next_due(self) -> tuple[pd.Timestamp, str, int] | None:
        """When the next round is due by now, why, and how many results are new then."""
        place = len(self.rounds)
        start = self._start(place)
        last = (self._end(place)).floor("D")
        if last <= start:
            return None
        trades = self._period(place)
        # What is not learned from brings no round forward either: a coin that comes later moves no round before it.
        ended = trades[trades["status"].isin(["closed", "open"]) & trades["gate_data"] & trades["evidence"]]
        ended = ended[non_overlapping(ended) & (ended["status"] == "closed")]
        known = np.sort(ended["known_at"].to_numpy())
        for day in pd.date_range(start + DAY, last, freq="D"):
            results = int(np.searchsorted(known, np.datetime64(day), side="left"))
            if reason := self.rules.cadence.reason(start, day, results):
                return day, reason, results
        return None

    def _known_at(self, end: pd.Timestamp) -> pd.DataFrame:
        """All trades as they were known at a round, one row a signal, columns of `_LEARNED_FROM`."""
        # The period that ends with this round is not cut yet: the round is not among the rounds.
        for place in range(self._gathered, len(self.rounds) + 1):
            part = self._period(place)
            self._unsettled = pd.concat([self._unsettled, part[part["hour"] < end]], ignore_index=True)
        self._gathered = len(self.rounds) + 1
        done = self._unsettled["known_at"] < end
        self._settled.append(typed(self._unsettled.loc[done, _LEARNED_FROM], _WORDS))
        self._unsettled = self._unsettled[~done].reset_index(drop=True)
        again = self._marked(self._unsettled, end)
        whole = pd.concat([*self._settled, typed(again[_LEARNED_FROM], _WORDS)], ignore_index=True)
        whole = whole.sort_values(["hour", "coin"], kind="stable").reset_index(drop=True)
        self._settled = [pd.concat(self._settled, ignore_index=True)]
        return whole.assign(track=tracks(whole))

    def _marked(self, trades: pd.DataFrame, end: pd.Timestamp) -> pd.DataFrame:
        """Trades that had not ended, executed once more with what was known at `end`."""
        start = trades["hour"].min() if len(trades) else end - HOUR
        inputs = self._inputs(pd.Timestamp(start).floor("D"), end)
        signals = trades[["signal_id", *SIGNAL_CARRIED]]
        prices = believed(inputs.bars, end)
        return execute(signals, prices, inputs.funding, as_of=end, books=inputs.books, execution=self.rules.execution)

    # -- what later assets read

    def _record_frame(self) -> pd.DataFrame:
        columns = [name for name in LEARNING_ROUNDS.columns if name != "inputs"]
        types = {name: str(LEARNING_ROUNDS.schema.dtypes[name]) for name in columns}
        return typed(pd.DataFrame(self._records, columns=columns), types)

    def _positions(self) -> pd.DataFrame:
        """Open positions at the start of each day; of days long past those found then."""
        start, former = self._anchor(), None
        if self.past is not None and start > self.first:
            former = self.past.positions[self.past.positions["day"] <= start]
        part = self._trades_from(start)
        opening = None if former is None else former[former["day"] == start]
        part = part.assign(track=tracks(part, opening))
        days = pd.date_range(start, self.as_of - HOUR, freq="D", normalize=True)
        later = positions_of(part, days[0 if former is None else 1 :])
        return later if former is None else pd.concat([former, later], ignore_index=True)

    def _trades_from(self, start: pd.Timestamp) -> pd.DataFrame:
        """Trades of all signals from a day on; periods begun earlier are executed from that day only."""
        parts = []
        for place in range(len(self.rounds) + 1):
            end = self._end(place) if place < len(self.rounds) else self.as_of
            if end <= start or self._start(place) >= self.as_of:
                continue
            if self._start(place) >= start or self._start(place) in self._periods:
                part = self._period(place)
                parts.append(part[part["hour"] >= start])
            else:
                parts.append(self._executed(start, end, self._tables(place)))
        return pd.concat(parts, ignore_index=True)


def believed(bars: pd.DataFrame, end: pd.Timestamp | None = None) -> pd.DataFrame:
    """Bars whose prices trades may be filled at: none that the next open contradicts, if that came before `end`.

    Parameters
    ----------
    bars
        as for `Inputs`; all are believed where nothing is said of them
    end
        of what is known: the bar that closed then is believed, whatever its next open said; None: all is known
    """
    if "suspect_later" not in bars:
        return bars
    doubted = bars["suspect_later"] if end is None else bars["suspect_later"] & (bars["hour"] + HOUR < end)
    return bars[~doubted]


def reach(rules: Rules) -> pd.Timedelta:
    """How many days after that of its signal a trade has surely ended: time-out, and waiting for a price."""
    return pd.Timedelta(hours=rules.execution.timeout_hours + PATIENCE_HOURS).ceil("D")


def replay(
    factors: pd.DataFrame,
    bars: pd.DataFrame,
    funding: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    seed: int,
    books: pd.DataFrame | None = None,
    universe: pd.DataFrame | None = None,
    rules: Rules | None = None,
) -> tuple[pd.DataFrame, Replayed]:
    """Run the line through a history held in memory.

    Parameters
    ----------
    factors, bars, funding, books, universe
        as for `Inputs`
    as_of
        end of the replay, naive UTC
    seed, rules
        as for `refresh.learn`

    Returns
    -------
    trades, replayed
        all signals and their trades as of the end, each judged by the tables in force at its hour; and the rounds. A
        longer history changes no round that both have.
    """
    given = no_rows(BOOK_COSTS) if books is None else books
    whole = Inputs(factors, bars, funding, given, no_universe() if universe is None else universe)
    run = Replay(
        lambda first, last: whole.before(last),
        pd.Timestamp(factors["hour"].min()).floor("D"),
        as_of,
        seed,
        rules or Rules(),
    )
    replayed = run.run()
    return run.trades(), replayed


def versions_of(tables: Tables) -> dict[str, str]:
    """Versions of the tables that judge a signal, by the columns in which the signal records them."""
    names = ("calibration_version", "cost_version", "threshold_version")
    return dict(zip(names, tables.versions, strict=True))
