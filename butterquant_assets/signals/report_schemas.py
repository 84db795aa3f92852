"""Contracts of what is learned from signals, and of the reports.

What belongs here: columns and rules that a frame alone can be judged by. What does not: signals and trades (`schemas`).
Probabilities are of the target coming first, 0 .. 1; bps are of the notional.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from butterquant_assets.foundation.contracts import Contract, Rule
from butterquant_assets.signals.calibration_ladder import LEVELS, METHODS
from butterquant_assets.signals.calibration_report import BESIDE, FIGURES, POOR, WORDS
from butterquant_assets.signals.columns import BOOL, DATE, FLOAT, INT, TEXT, column, count, number, table
from butterquant_assets.signals.costs import ALL, BUCKETS
from butterquant_assets.signals.gate_report import ANY, NONE
from butterquant_assets.signals.gates import GATES
from butterquant_assets.signals.performance import TRACKS
from butterquant_assets.signals.thresholds import CHOSEN, CONFIRMED

_MADE = {"as_of": column(DATE, "round that made it, midnight UTC: nothing known later enters, its signals come later")}
_VERSION = {"version": column(TEXT, "content version, which signals judged by it record")}
_YES_NO = ("yes", "no", "")
WEEK_PASSED, RESULTS_IN = "week", "results"
REASONS = (WEEK_PASSED, RESULTS_IN)
"""Why a round was held: a week had passed, or enough new results were in."""
BRIER_WORDS = (*(word for _, word in WORDS), POOR, "")
SIDES_COMPARED = ("in_force", "proposed", "applied")


def _series(frame: pd.DataFrame, good: object) -> pd.Series:
    return pd.Series(np.asarray(good, dtype=bool), index=frame.index)


def _rising(frame: pd.DataFrame) -> pd.Series:
    """Within an isotonic table the probability does not fall with confidence."""
    step = frame.sort_values(["as_of", "place"]).groupby("version")["p_target"].diff().fillna(0.0)
    return _series(frame, (frame["method"] != "isotonic") | (step.reindex(frame.index) >= 0))


def _bounds_hold(frame: pd.DataFrame, low: str, high: str) -> pd.Series:
    return _series(frame, ~(frame[low] > frame[high]))


CALIBRATION_TABLE = Contract(
    "signals/calibration_table",
    table(
        {
            "lower": column(
                FLOAT, "confidence from which the row holds, or of the knot", "points", low=0.0, high=100.0
            ),
            "upper": column(FLOAT, "confidence up to which it holds", "points", low=0.0, high=100.0),
            "trades": count("non-overlapping trades behind it", "trades"),
            "hits": column(FLOAT, "of them, those that reached the target; open ones in parts", "trades", low=0.0),
            "p_target": column(FLOAT, "probability of the target", "0 .. 1", low=0.0, high=1.0),
            "level": column(TEXT, "how far it can be trusted: high from 100 trades", one_of=LEVELS),
            "place": count("order of the row in its table", "rows"),
            "method": column(TEXT, "rung of the ladder", one_of=METHODS),
            "p_timeout": column(FLOAT, "probability of a time-out", "0 .. 1", low=0.0, high=1.0),
            "timeout_bps": column(FLOAT, "mean move of time-outs, shrunk", "bps"),
            "prior": column(FLOAT, "probability that buckets shrink to", "0 .. 1", low=0.0, high=1.0),
            "all_trades": count("non-overlapping trades in all", "trades"),
            "open_trades": count("of them, open ones at their mark", "trades"),
            **_MADE,
            **_VERSION,
        }
    ),
    ("as_of", "place"),
    time="as_of",
    rules=(Rule("isotonic_rises", "an isotonic curve does not fall", _rising),),
)

_BIN = {
    "trades": count("non-overlapping trades, each older than the time-out", "trades"),
    "mean_predicted": number("mean predicted probability", "0 .. 1", low=0.0, high=1.0),
    "observed": number("share that reached the target", "0 .. 1", low=0.0, high=1.0),
    "low": number("lower bound of its 95 % Jeffreys interval", "0 .. 1", low=0.0, high=1.0),
    "high": number("upper bound", "0 .. 1", low=0.0, high=1.0),
    "inside": column(BOOL, "the prediction lies within the interval"),
}
_ACCEPTED_BIN = {
    "trades": count("the same of accepted signals alone: non-overlapping trades", "trades"),
    "mean_predicted": number("mean predicted probability of these", "0 .. 1", low=0.0, high=1.0),
    "observed": number("share of these that reached the target", "0 .. 1", low=0.0, high=1.0),
    "low": number("lower bound of its 95 % Jeffreys interval", "0 .. 1", low=0.0, high=1.0),
    "high": number("upper bound", "0 .. 1", low=0.0, high=1.0),
    "inside": column(BOOL, "the prediction lies within the interval"),
}

CALIBRATION_CURVE = Contract(
    "signals/calibration_curve",
    table(
        {
            **_MADE,
            "bin": column(INT, "tenth of the predicted probability", low=0, high=9),
            "lower": column(FLOAT, "its lower bound", "0 .. 1"),
            "upper": column(FLOAT, "its upper bound", "0 .. 1"),
            **_BIN,
            **{f"{BESIDE}{name}": described for name, described in _ACCEPTED_BIN.items()},
        }
    ),
    ("as_of", "bin"),
    time="as_of",
    rules=(
        Rule("intervals_hold", "no lower bound above the upper", lambda frame: _bounds_hold(frame, "low", "high")),
        Rule(
            "intervals_of_accepted_hold",
            "no lower bound above the upper among accepted signals",
            lambda frame: _bounds_hold(frame, f"{BESIDE}low", f"{BESIDE}high"),
        ),
    ),
)

CALIBRATION_REPORT = Contract(
    "signals/calibration_report",
    table(
        {
            **_MADE,
            "metric": column(TEXT, "the figure", one_of=FIGURES),
            "value": number("its value; missing without trades", "count, nats or 0 .. 1"),
            "word": column(TEXT, "the document's word, of Brier scores", one_of=BRIER_WORDS),
        }
    ),
    ("as_of", "metric"),
    time="as_of",
)

THRESHOLD_SCAN = Contract(
    "signals/threshold_scan",
    table(
        {
            **_MADE,
            "gate": column(TEXT, "gate", one_of=GATES),
            "period": column(TEXT, "period it was tried on", one_of=(CHOSEN, CONFIRMED)),
            "threshold": column(FLOAT, "threshold tried", "bars, points or bps"),
            "trades": count("trades it keeps", "trades"),
            "weeks": count("weeks they come from", "weeks"),
            "win_rate": number("share with a result above 0", "0 .. 1", low=0.0, high=1.0),
            "mean_pnl_bps": number("mean result of the kept", "bps"),
            "ev_trades": count("of these, with a known expected value", "trades"),
            "mean_ev_bps": number("mean expected value of those", "bps"),
            "ev_mean_pnl_bps": number("mean result of the same trades", "bps"),
            "score": number("what is maximised, mean x sqrt(n)", "bps"),
            "gain_bps": number("mean of the kept less that of the threshold in force", "bps"),
            "gain_low_bps": number("its lower bound over weeks, which pays for the number tried", "bps"),
            "eligible": column(BOOL, "enough trades of enough weeks"),
            "in_force": column(BOOL, "the threshold in force"),
            "chosen": column(BOOL, "the proposal of the first period"),
        }
    ),
    ("as_of", "gate", "period", "threshold"),
    time="as_of",
)

GATE_THRESHOLDS = Contract(
    "signals/gate_thresholds",
    table(
        {
            "gate": column(TEXT, "gate", one_of=GATES),
            "in_force": column(FLOAT, "threshold until now", "bars, points or bps"),
            "proposed": column(FLOAT, "best on the first period", "bars, points or bps"),
            "applied": column(FLOAT, "threshold from now on", "bars, points or bps"),
            "changed": column(BOOL, "the proposal survived the second period"),
            "reason": column(TEXT, "why, in words with the figures"),
            "regime": column(FLOAT, "how far the market must lean to count as adverse", "points", low=0.0),
            "since": column(
                DATE, "when the thresholds from now on came into force; missing: from the start", nullable=True
            ),
            **_MADE,
            **_VERSION,
        }
    ),
    ("as_of", "gate"),
    time="as_of",
    rules=(
        Rule(
            "applied_is_one_of_two",
            "what is applied is the threshold in force, or the proposal where it changed",
            lambda frame: _series(
                frame, frame["applied"] == np.where(frame["changed"], frame["proposed"], frame["in_force"])
            ),
        ),
    ),
)

THRESHOLD_COMPARISON = Contract(
    "signals/threshold_comparison",
    table(
        {
            **_MADE,
            "side": column(TEXT, "which thresholds", one_of=SIDES_COMPARED),
            "version": column(TEXT, "their content version"),
            "trades": count("trades of the second period that all four gates keep", "trades"),
            "mean_pnl_bps": number("their mean result", "bps"),
            "total_pnl_bps": column(FLOAT, "their result in all", "bps"),
            "win_rate": number("share of them with a result above 0", "0 .. 1", low=0.0, high=1.0),
            "rejected": count("trades they would have kept out", "trades"),
            "rejected_mean_pnl_bps": number("mean result of those", "bps"),
        }
    ),
    ("as_of", "side"),
    time="as_of",
)

GATE_REPORT = Contract(
    "signals/gate_report",
    table(
        {
            **_MADE,
            "gate": column(TEXT, "gate, any of them, or the accepted ones", one_of=(*GATES, ANY, NONE)),
            "signals": count("signals it rejected", "signals"),
            "share": number("their share of all signals", "0 .. 1", low=0.0, high=1.0),
            "rejected_alone": count("of them, those no other gate rejected", "signals"),
            "executed": count("of them, those executed on paper", "trades"),
            "open": count("of these, open ones at their mark", "trades"),
            "bad_share": number("share of the executed with a result of 0 or less", "0 .. 1", low=0.0, high=1.0),
            "mean_pnl_bps": number("mean result of the executed", "bps"),
            "low_bps": number("lower bound of its 95 % interval over weeks", "bps"),
            "high_bps": number("upper bound", "bps"),
            "target_share": number("share that reached the target", "0 .. 1", low=0.0, high=1.0),
            "alone_mean_pnl_bps": number("mean result of those no other gate rejected", "bps"),
        }
    ),
    ("as_of", "gate"),
    time="as_of",
    rules=(
        Rule(
            "intervals_hold", "no lower bound above the upper", lambda frame: _bounds_hold(frame, "low_bps", "high_bps")
        ),
    ),
)

COST_TABLE = Contract(
    "signals/cost_table",
    table(
        {
            "coin": column(TEXT, "coin as the source names it"),
            "executions": count("closed trades", "trades"),
            "median_bps": column(FLOAT, "median realised cost of both sides", "bps"),
            "p95_bps": column(FLOAT, "95th percentile", "bps"),
            "used_bps": column(FLOAT, "what gate 4 reads", "bps", low=0.0),
            "source": column(TEXT, "measured, or the constant", one_of=("measured", "constant")),
            "holding_hours": column(FLOAT, "mean holding of all closed trades", "h", above=0.0),
            "fallback_bps": column(FLOAT, "the constant", "bps", above=0.0),
            **_MADE,
            **_VERSION,
        }
    ),
    ("as_of", "coin"),
    time="as_of",
)

COST_REPORT = Contract(
    "signals/cost_report",
    table(
        {
            **_MADE,
            "coin": column(TEXT, f"coin, or {ALL}"),
            "trades": count("closed trades", "trades"),
            "mean_expected_bps": number("mean expected cost", "bps"),
            "mean_paid_bps": number("mean realised cost", "bps"),
            "error_bps": number("realised less expected", "bps"),
            "median_bps": number("median realised cost", "bps"),
            "p95_bps": number("95th percentile", "bps"),
            "mean_spread_bps": number("half-spreads of both sides", "bps"),
            "mean_slippage_bps": number("slippage of both sides", "bps"),
            "mean_fee_bps": number("fees of both sides", "bps"),
            "mean_gap_bps": number("what stops slipped through gaps, part of the result", "bps"),
            "spread_known": number("share whose spreads come from books", "0 .. 1"),
            "slippage_known": number("share whose slippage comes from books that hold the order", "0 .. 1"),
        }
    ),
    ("as_of", "coin"),
    time="as_of",
)

FUNDING_COST_REPORT = Contract(
    "signals/funding_cost_report",
    table(
        {
            **_MADE,
            "holding": column(TEXT, "time held", one_of=(*BUCKETS, ALL)),
            "trades": count("closed trades", "trades"),
            "mean_bps": number("mean funding paid", "bps"),
            "median_bps": number("median funding paid", "bps"),
            "p95_bps": number("95th percentile", "bps"),
            "mean_expected_bps": number("mean expected funding", "bps"),
            "mean_settlements": number("mean number of settlements", "settlements"),
            "funding_known": number("share of trades whose settlements are all known", "0 .. 1"),
        }
    ),
    ("as_of", "holding"),
    time="as_of",
)

SIGNAL_PERFORMANCE = Contract(
    "signals/signal_performance",
    table(
        {
            **_MADE,
            "month": column(DATE, "month of entry"),
            "track": column(TEXT, "accepted trades, or every executed signal", one_of=TRACKS),
            "complete": column(BOOL, "every trade of the month has ended"),
            "signals": count("signals", "signals"),
            "trades": count("trades older than the time-out that have ended", "trades"),
            "not_ended": count("trades too young to be judged, or open", "trades"),
            "win_rate": number("share that reached the target", "0 .. 1", low=0.0, high=1.0),
            "predicted_win_rate": number("mean predicted probability", "0 .. 1", low=0.0, high=1.0),
            "win_rate_error_points": number("observed less predicted; aim: within 5", "points"),
            "brier": number("of the predicted probability; aim: below .15", "0 .. 1", low=0.0, high=1.0),
            "brier_word": column(TEXT, "the document's word", one_of=BRIER_WORDS),
            "mean_cost_bps": number("realised cost", "bps"),
            "expected_cost_bps": number("expected cost", "bps"),
            "cost_error_bps": number("realised less expected; aim: within 2", "bps"),
            "bad_share": number("bad ones among the rejected of the month; aim: above .7", "0 .. 1", low=0.0, high=1.0),
            "mean_pnl_bps": number("mean result, open trades at their mark", "bps"),
            "total_pnl_bps": column(FLOAT, "result in all", "bps"),
            "total_pnl_usd": column(FLOAT, "result for the configured notional", "USD"),
            "sharpe": number("annualised Sharpe ratio of the days of entry", "per sqrt(year)"),
            "sharpe_low": number("lower bound of its 95 % interval over weeks", "per sqrt(year)"),
            "sharpe_high": number("upper bound", "per sqrt(year)"),
            "win_rate_met": column(TEXT, "aim met", one_of=_YES_NO),
            "cost_met": column(TEXT, "aim met", one_of=_YES_NO),
            "bad_share_met": column(TEXT, "aim met", one_of=_YES_NO),
            "brier_met": column(TEXT, "aim met", one_of=_YES_NO),
        }
    ),
    ("as_of", "month", "track"),
    time="as_of",
)

LEARNING_ROUNDS = Contract(
    "signals/learning_rounds",
    table(
        {
            "as_of": column(DATE, "when the round was held, naive UTC midnight; its tables judge the signals after it"),
            "reason": column(TEXT, "what made it due", one_of=REASONS),
            "results": count("ended trades of signals since the round before, one at a time for each coin"),
            "trades": count("signals executed on paper so far and learned from", "trades"),
            "chosen_afterwards": count("of them, those of coins that were not known to be in that day's universe"),
            "calibration_version": column(TEXT, "calibration table it put in force"),
            "cost_version": column(TEXT, "cost table it put in force"),
            "threshold_version": column(TEXT, "thresholds in force after it"),
            "inputs": column(TEXT, "hash of everything it was made from"),
        }
    ),
    ("as_of",),
    time="as_of",
)

REPORTS = (
    CALIBRATION_TABLE,
    CALIBRATION_CURVE,
    CALIBRATION_REPORT,
    THRESHOLD_SCAN,
    GATE_THRESHOLDS,
    THRESHOLD_COMPARISON,
    GATE_REPORT,
    COST_TABLE,
    COST_REPORT,
    FUNDING_COST_REPORT,
    SIGNAL_PERFORMANCE,
)
