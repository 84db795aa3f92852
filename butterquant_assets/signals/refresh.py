"""One round of learning: from trades to the tables that judge the next signals, and the reports beside them.

What belongs here: what a round makes, what it needs to know, and when one is due. What does not: what each step does,
the order of rounds through history (`replay`), and how they are stored (`rounds`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import pandas as pd

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.signals.calibration_ladder import FIRST_METHODS, CalibrationTable, Ladder, fit_calibration
from butterquant_assets.signals.calibration_report import judge_calibration
from butterquant_assets.signals.costs import (
    CONSTANTS,
    Constant,
    CostTable,
    cost_report,
    cost_table,
    funding_cost_report,
)
from butterquant_assets.signals.gate_report import gate_report
from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.paper import Execution
from butterquant_assets.signals.performance import signal_performance
from butterquant_assets.signals.report_schemas import REPORTS, RESULTS_IN, WEEK_PASSED
from butterquant_assets.signals.thresholds import Search, choose_thresholds
from butterquant_assets.signals.versions import typed

CONTRACTS = {contract.table.split("/")[1]: contract for contract in REPORTS}
"""What a round makes, by name."""


@dataclass(frozen=True, eq=False)
class Tables:
    """What judges signals: probabilities, costs and thresholds. The first ones come from no data."""

    calibration: CalibrationTable = field(default_factory=CalibrationTable)
    costs: CostTable = field(default_factory=CostTable)
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def versions(self) -> tuple[str, str, str]:
        """Content versions of calibration, costs and thresholds."""
        return self.calibration.version, self.costs.version, self.thresholds.version()


@dataclass(frozen=True)
class Cadence:
    """When a round is due.

    Parameters
    ----------
    days
        since the round before
    results
        or so many ended trades of signals since then, one at a time for each coin
    """

    days: int = 7
    results: int = 300

    def __post_init__(self) -> None:
        if self.days < 1 or self.results < 1:
            raise ConfigError(f"a round every {self.days} days or {self.results} results: both must be 1 or more")

    def reason(self, last: pd.Timestamp, now: pd.Timestamp, results: int) -> str:
        """Why a round is due at `now`; empty where none is."""
        if now - last >= pd.Timedelta(days=self.days):
            return WEEK_PASSED
        return RESULTS_IN if results >= self.results else ""


@dataclass(frozen=True)
class Rules:
    """How signals are executed and what is learned from them.

    Parameters
    ----------
    execution, ladder, search, cadence
        settings of each
    thresholds
        in force before the first round
    cost_constant
        expected cost of a coin with few executions: ``fees``, two taker fees with spread and slippage, or ``document``,
        its constant, which is less than the fees
    """

    execution: Execution = field(default_factory=Execution)
    ladder: Ladder = field(default_factory=Ladder)
    search: Search = field(default_factory=Search)
    cadence: Cadence = field(default_factory=Cadence)
    thresholds: Thresholds = field(default_factory=Thresholds)
    cost_constant: Constant = "fees"

    @property
    def fallback_bps(self) -> float:
        """Expected cost of a coin with few executions, bps."""
        return CONSTANTS[self.cost_constant]

    @property
    def first_tables(self) -> Tables:
        """What judges before the first round."""
        calibration = CalibrationTable(FIRST_METHODS[self.ladder.bootstrap])
        return Tables(calibration, CostTable(fallback_bps=self.fallback_bps), self.thresholds)

    def __post_init__(self) -> None:
        if self.cost_constant not in CONSTANTS:
            raise ConfigError(f"cost_constant is {self.cost_constant!r}; use one of {', '.join(CONSTANTS)}")
        if self.thresholds.as_of is not None:
            raise ConfigError(f"the first thresholds come from no data, but carry the time {self.thresholds.as_of}")
        hours = {self.execution.timeout_hours, self.ladder.timeout_hours, self.search.timeout_hours}
        if len(hours) > 1:
            raise ConfigError(f"execution, ladder and search have different time-outs, {sorted(hours)} h; give one")


@dataclass(frozen=True, eq=False)
class Round:
    """What one round made: the tables in force from `as_of` on, and every table and report by its name."""

    as_of: pd.Timestamp
    tables: Tables
    frames: dict[str, pd.DataFrame]


def learn(
    trades: pd.DataFrame,
    current: Tables,
    *,
    as_of: pd.Timestamp,
    seed: int,
    rules: Rules | None = None,
    former: Round | None = None,
) -> Round:
    """Make new tables and reports.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES`, executed as of `as_of`; tables and reports know those that are evidence
    current
        in force until now
    as_of
        naive UTC
    seed
        of every bootstrap
    rules
        by default `Rules()`
    former
        the round before, of the same history: reports of months that were over by then are taken from it

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
    if not trades["evidence"].all():
        trades = trades[trades["evidence"]]
    calibration = fit_calibration(trades, as_of=as_of, ladder=given.ladder)
    costs = cost_table(trades, as_of=as_of, fallback_bps=given.fallback_bps)
    choice = choose_thresholds(trades, current.thresholds, as_of=as_of, seed=seed, search=given.search)
    hours = given.ladder.timeout_hours
    report = judge_calibration(trades, as_of=as_of, seed=seed, timeout_hours=hours)
    reports = {
        "calibration_table": calibration.to_frame(),
        "calibration_curve": report.curve,
        "calibration_report": report.figures.assign(word=report.words()),
        "gate_thresholds": choice.to_frame(as_of),
        "threshold_scan": choice.scan,
        "threshold_comparison": choice.comparison,
        "gate_report": gate_report(trades, seed=seed),
        "cost_table": costs,
        "cost_report": cost_report(trades),
        "funding_cost_report": funding_cost_report(trades),
        "signal_performance": signal_performance(
            trades,
            as_of=as_of,
            seed=seed,
            timeout_hours=hours,
            former=former.frames["signal_performance"] if former else None,
        ),
    }
    frames = {name: stamped(name, frame, as_of) for name, frame in reports.items()}
    expected = CostTable.from_frame(costs, given.fallback_bps)
    return Round(as_of, Tables(calibration, expected, choice.thresholds), frames)


def stamped(name: str, frame: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """A frame of a round as its contract wants it, with the time of the round."""
    contract = CONTRACTS[name]
    whole = frame.assign(as_of=pd.Timestamp(as_of).as_unit("us"))
    return contract.arrange(typed(whole, _types(name)))


@cache
def _types(name: str) -> dict[str, str]:
    """Types by column; kept, since the contract works them out anew each time it is asked."""
    return {column: str(kind) for column, kind in CONTRACTS[name].schema.dtypes.items()}
