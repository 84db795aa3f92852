"""The weekly round: score with the tables in force, execute on paper, learn, put new tables in force.

What belongs here: the order of these steps, and when a round is due. What does not: what each step does, and where its
results are stored. Every table is made of what was known before the first signal it judges.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.signals.calibration_ladder import CalibrationTable, Ladder, fit_calibration
from butterquant_assets.signals.calibration_report import judge_calibration
from butterquant_assets.signals.costs import CostTable, cost_report, cost_table, funding_cost_report
from butterquant_assets.signals.gate_report import gate_report
from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.paper import Execution, execute
from butterquant_assets.signals.performance import signal_performance
from butterquant_assets.signals.scored import score_signals
from butterquant_assets.signals.thresholds import Search, choose_thresholds
from butterquant_assets.signals.versions import HOUR

NEW_RESULTS = 300
WEEK = pd.Timedelta(days=7)


@dataclass(frozen=True, eq=False)
class Tables:
    """What judges signals: probabilities, costs and thresholds. The first ones come from no data."""

    calibration: CalibrationTable = field(default_factory=CalibrationTable)
    costs: CostTable = field(default_factory=CostTable)
    thresholds: Thresholds = field(default_factory=Thresholds)


@dataclass(frozen=True)
class Rules:
    """How signals are executed and what is learned from them."""

    execution: Execution = field(default_factory=Execution)
    ladder: Ladder = field(default_factory=Ladder)
    search: Search = field(default_factory=Search)

    def __post_init__(self) -> None:
        hours = {self.execution.timeout_hours, self.ladder.timeout_hours, self.search.timeout_hours}
        if len(hours) > 1:
            raise ConfigError(f"execution, ladder and search have different time-outs, {sorted(hours)} h; give one")


@dataclass(frozen=True, eq=False)
class Round:
    """What one round made: the tables in force from now on, and every table and report by its name."""

    tables: Tables
    frames: dict[str, pd.DataFrame]


def is_due(last: pd.Timestamp | None, now: pd.Timestamp, new_results: int) -> bool:
    """Whether a round is due: there was none, a week has passed, or 300 new results are in."""
    return last is None or now - last >= WEEK or new_results >= NEW_RESULTS


def learn(
    trades: pd.DataFrame, current: Tables, *, as_of: pd.Timestamp, seed: int, rules: Rules | None = None
) -> Round:
    """Make new tables and reports.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES`, executed as of `as_of`
    current
        in force until now
    as_of
        naive UTC
    seed
        of every bootstrap
    rules
        by default `Rules()`

    Returns
    -------
    Round
        frames by the names of their contracts in `report_schemas`

    Raises
    ------
    DataError
        if something was not known at `as_of`.
    """
    given = rules or Rules()
    calibration = fit_calibration(trades, as_of=as_of, ladder=given.ladder)
    costs = cost_table(trades, as_of=as_of)
    choice = choose_thresholds(trades, current.thresholds, as_of=as_of, seed=seed, search=given.search)
    hours = given.ladder.timeout_hours
    report = judge_calibration(trades, as_of=as_of, seed=seed, timeout_hours=hours)
    frames = {
        "calibration_table": calibration.to_frame(),
        "calibration_curve": report.curve,
        "calibration_report": report.figures,
        "gate_thresholds": choice.to_frame(as_of),
        "threshold_scan": choice.scan,
        "threshold_comparison": choice.comparison,
        "gate_report": gate_report(trades, seed=seed),
        "cost_table": costs,
        "cost_report": cost_report(trades),
        "funding_cost_report": funding_cost_report(trades),
        "signal_performance": signal_performance(trades, as_of=as_of, seed=seed, timeout_hours=hours),
    }
    return Round(Tables(calibration, CostTable.from_frame(costs), choice.thresholds), frames)


def replay(
    factors: pd.DataFrame,
    state: pd.DataFrame,
    bars: pd.DataFrame,
    funding: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    seed: int,
    books: pd.DataFrame | None = None,
    rules: Rules | None = None,
    every: pd.Timedelta = WEEK,
) -> tuple[pd.DataFrame, pd.DataFrame, list[Round]]:
    """Run the line through history, round by round, as it would have run then.

    Parameters
    ----------
    factors, state, bars, funding, books
        as for `scored.score_signals` and `paper.execute`
    as_of
        end of the replay, naive UTC
    seed, rules
        as for `learn`
    every
        between rounds

    Returns
    -------
    signals, trades, rounds
        all signals, each judged by the tables in force at its hour; their trades as of the end; and every round. A
        longer history changes no round that both have.
    """
    given, tables = rules or Rules(), Tables()
    judged: list[pd.DataFrame] = []
    rounds: list[Round] = []
    start = pd.Timestamp(factors["hour"].min())
    trades = pd.DataFrame()
    while True:
        end = min(start + every, as_of)
        # A bar closes an hour after its stamp, and the tables in force are those made by then.
        week = factors[(factors["hour"] + HOUR > start) & (factors["hour"] + HOUR <= end)]
        states = state[(state["hour"] + HOUR > start) & (state["hour"] + HOUR <= end)]
        judged.append(
            score_signals(
                week, states, calibration=tables.calibration, costs=tables.costs, thresholds=tables.thresholds
            )
        )
        signals = pd.concat(judged, ignore_index=True)
        trades = execute(signals, bars, funding, as_of=end, books=books, execution=given.execution)
        if end >= as_of:
            return signals, trades, rounds
        rounds.append(learn(trades, tables, as_of=end, seed=seed, rules=given))
        tables, start = rounds[-1].tables, end
