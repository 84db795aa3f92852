"""Contracts of signals and of what became of them.

What belongs here: columns and rules that a frame alone can be judged by. What does not: the tables learned from them
and the reports (`report_schemas`). Hours are the open of a closed hourly bar, naive UTC; bps are of the notional.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from butterquant_assets.foundation.contracts import Contract, Rule
from butterquant_assets.signals.columns import BOOL, DATE, FLOAT, TEXT, column, count, number, table
from butterquant_assets.signals.gates import ACCEPTED, GATES, REJECTED, SIDES

KEYS = ("hour", "coin")
TRACKS = ("accepted", "busy", "rejected")
STATUSES = ("closed", "open", "pending", "not_filled")
EXIT_REASONS = ("target", "stop", "timeout", "open", "pending", "not_filled")
OUTCOMES = ("win", "loss", "breakeven", "open", "none")
TOLERANCE = 1e-9

_IDENTITY = {
    "hour": column(DATE, "open of the last closed bar; the signal is known an hour later"),
    "coin": column(TEXT, "coin as the source names it"),
    "signal_id": column(TEXT, "coin@hour"),
    "side": column(TEXT, "direction", one_of=SIDES),
}
_SCORE = {
    "score": column(FLOAT, "W, renormalised over the factors that are there", "points", low=-100.0, high=100.0),
    "confidence": column(FLOAT, "|W|", "points", above=0.0, high=100.0),
    "f_directional": number("F in the direction of the signal", "points", low=-100.0, high=100.0),
    "I": number("independence of BTC", "points", low=0.0, high=100.0),
    "market_regime": number(".7 T(BTC) + .3 T(ETH)", "points", low=-100.0, high=100.0),
    "closed_bars": count("closed bars of the coin, counted over the window of the factors", "bars"),
    "defect": column(BOOL, "a data defect lies in the window of the factors"),
    "weight_present": column(FLOAT, "share of the score's weight that has a factor", "0 .. 1", above=0.0, high=1.0),
}
_EXPECTED = {
    "stop_bps": number("distance of the stop, 2.5 ATR14", "bps", above=0.0),
    "target_bps": number("distance of the target, twice the stop's", "bps", above=0.0),
    "p_target": number("probability that the target is reached first", "0 .. 1", low=0.0, high=1.0),
    "p_stop": number("probability that the stop is", "0 .. 1", low=0.0, high=1.0),
    "p_timeout": number("probability that neither is in time", "0 .. 1", low=0.0, high=1.0),
    "timeout_bps": column(FLOAT, "mean move of trades that timed out", "bps"),
    "cost_bps": column(FLOAT, "expected fees, half-spreads and slippage of both sides", "bps", low=0.0),
    "funding_bps": number("expected funding, positive is paid", "bps"),
    "ev_bps": number("expected value after costs", "bps"),
    "calibrated": column(BOOL, "probabilities come from a calibration; otherwise from the barriers, paper only"),
}
_VERDICT = {
    **{f"gate_{gate}": column(BOOL, f"the {gate} gate lets it pass") for gate in GATES},
    "verdict": column(TEXT, "accepted by every gate or not", one_of=(ACCEPTED, REJECTED)),
}
_STANDING = {
    "member": column(BOOL, "its coin is in the universe of the day, as that was known on the day"),
    "evidence": column(BOOL, "learned from: of a coin of the day's universe, known then or chosen afterwards"),
}
_VERSIONS = {
    "calibration_version": column(TEXT, "calibration table that gave the probabilities"),
    "cost_version": column(TEXT, "cost table that gave the cost"),
    "threshold_version": column(TEXT, "thresholds that judged it"),
}
SIGNAL_CARRIED = tuple(
    name for name in (*_IDENTITY, *_SCORE, *_EXPECTED, *_VERDICT, *_STANDING, *_VERSIONS) if name != "signal_id"
)


def _series(frame: pd.DataFrame, good: object) -> pd.Series:
    return pd.Series(np.asarray(good, dtype=bool), index=frame.index)


def _side_fits(frame: pd.DataFrame) -> pd.Series:
    words = np.where(frame["score"] > 0, "long", "short")
    return _series(
        frame, (words == frame["side"].to_numpy(dtype=object)) & (frame["score"].abs() == frame["confidence"])
    )


def _probabilities_sum(frame: pd.DataFrame) -> pd.Series:
    p = frame[["p_target", "p_stop", "p_timeout"]]
    return p.isna().all(axis=1) | ((p.sum(axis=1, skipna=False) - 1.0).abs() <= TOLERANCE)


def _verdict_fits(frame: pd.DataFrame) -> pd.Series:
    accepted = frame[[f"gate_{gate}" for gate in GATES]].all(axis=1)
    return _series(frame, accepted == (frame["verdict"] == ACCEPTED))


def _full_hour(frame: pd.DataFrame) -> pd.Series:
    return _series(frame, frame["hour"] == frame["hour"].dt.floor("h"))


_SIDE = Rule("side_follows_score", "the side is the sign of the score, the confidence its size", _side_fits)
_SUM = Rule(
    "probabilities_sum_to_one", "target, stop and time-out sum to 1, or are missing together", _probabilities_sum
)
_FOLLOWS = Rule("verdict_follows_gates", "accepted if and only if every gate lets it pass", _verdict_fits)
_HOURS = Rule("full_hours", "every hour is a full one", _full_hour)


def _reason_fits(frame: pd.DataFrame) -> pd.Series:
    return (frame["reason"] == "") == (frame["verdict"] == ACCEPTED)


def _filled_is_whole(frame: pd.DataFrame) -> pd.Series:
    filled = frame["status"].isin(["closed", "open"])
    money = frame[["entry_at", "exit_at", "entry_fill", "exit_fill", "pnl_bps", "paid_cost_bps", "paid_funding_bps"]]
    return _series(frame, np.where(filled, money.notna().all(axis=1), money.isna().all(axis=1)))


def _money_adds_up(frame: pd.DataFrame) -> pd.Series:
    rest = frame["gross_bps"] - frame["paid_cost_bps"] - frame["paid_funding_bps"] - frame["pnl_bps"]
    return rest.isna() | (rest.abs() <= 1e-6 * np.maximum(1.0, frame["gross_bps"].abs()))


def _in_order(frame: pd.DataFrame) -> pd.Series:
    filled = frame["entry_at"].notna()
    entered = frame["entry_at"] == frame["hour"] + pd.Timedelta(hours=1)
    good = entered & (frame["exit_at"] >= frame["entry_at"]) & (frame["exit_at"] <= frame["known_at"])
    return ~filled | good


SCORED_SIGNALS = Contract(
    "signals/scored_signals",
    table(
        {
            **_IDENTITY,
            **{name: number(f"factor {name}", "points", low=-100.0, high=100.0) for name in "TMCVOBF"},
            **_SCORE,
            "flags": column(TEXT, "words on proxies and missing factors, separated by commas"),
            "close": number("close of the bar", "USD"),
            "atr14": number("average true range of 14 bars", "USD"),
            "funding_8h": number("funding a long pays per 8 h, as last known", "ratio"),
            **_EXPECTED,
            **_VERDICT,
            "reason": column(TEXT, "why the first gate that rejects does; empty for an accepted signal"),
            **{f"gate_{gate}_reason": column(TEXT, f"what the {gate} gate found") for gate in GATES},
            **_STANDING,
            **_VERSIONS,
        }
    ),
    KEYS,
    time="hour",
    rules=(
        _SIDE,
        _SUM,
        _FOLLOWS,
        Rule("reasons_fit", "a rejected signal has a reason, an accepted one none", _reason_fits),
        _HOURS,
    ),
)

PAPER_TRADES = Contract(
    "signals/paper_trades",
    table(
        {
            **_IDENTITY,
            "track": column(
                TEXT, "accepted (one at a time for each coin), busy (accepted meanwhile), rejected", one_of=TRACKS
            ),
            "status": column(TEXT, "what became of it so far", one_of=STATUSES),
            "exit_reason": column(TEXT, "what ended it", one_of=EXIT_REASONS),
            "outcome": column(TEXT, "sign of pnl_bps of a closed trade", one_of=OUTCOMES),
            "entry_at": column(DATE, "open of the bar after the signal's", nullable=True),
            "exit_at": column(DATE, "end of the trade, or time of the mark of an open one", nullable=True),
            "known_at": column(DATE, "when this was known: close of the last bar, or when the table was made"),
            "entry_price": number("open of the bar of entry", "USD", above=0.0),
            "entry_fill": number("price paid or got, half-spread and slippage included", "USD", above=0.0),
            "exit_price": number("barrier, open or close that ended it; mark of an open one", "USD", above=0.0),
            "exit_fill": number("price got or paid", "USD", above=0.0),
            "held_hours": number("from entry to exit", "h", low=0.0),
            "gross_bps": number("move from entry_price to exit_price in its direction", "bps"),
            "gap_bps": number("how much worse than at the stop it ended", "bps", low=-1e-6),
            "spread_bps": number("half-spreads of both sides", "bps", low=0.0),
            "spread_known": column(BOOL, "both come from books"),
            "slippage_bps": number("slippage of both sides", "bps", low=0.0),
            "slippage_known": column(BOOL, "both come from books that hold the order"),
            "fee_bps": number("fees of both sides", "bps", low=0.0),
            "paid_cost_bps": number("gross less funding less pnl: fees, spreads and slippage", "bps"),
            "paid_funding_bps": number("funding paid, negative is received", "bps"),
            "settlements": count("settlements within the holding", "settlements"),
            "settlements_by_proxy": count("of them, those without a mark price", "settlements"),
            "funding_known": column(BOOL, "no settlement of the holding is missing, by the coin's rhythm"),
            "pnl_bps": number("result after costs and funding", "bps"),
            "pnl_usd": number("the same for the configured notional", "USD"),
            **_SCORE,
            **_EXPECTED,
            **_VERDICT,
            **_STANDING,
            **_VERSIONS,
        }
    ),
    KEYS,
    time="hour",
    rules=(
        _SIDE,
        _FOLLOWS,
        _HOURS,
        Rule("filled_trades_are_whole", "a filled trade has all its figures, another none", _filled_is_whole),
        Rule("money_adds_up", "gross = pnl + cost + funding", _money_adds_up),
        Rule("times_in_order", "signal, entry, exit and knowledge follow each other", _in_order),
    ),
)

OPEN_POSITIONS = Contract(
    "signals/open_positions",
    table(
        {
            "day": column(DATE, "UTC day"),
            "coin": column(TEXT, "coin as the source names it"),
            "signal_id": column(TEXT, "signal whose accepted paper trade holds the coin when the day begins"),
            "entry_at": column(DATE, "when the trade began"),
            "free_at": column(DATE, "when it ended; missing while it is open", nullable=True),
        }
    ),
    ("day", "coin"),
    time="day",
)

RECORDED = Contract(
    "signals/recorded",
    table(
        {
            "day": column(DATE, "UTC day of the signals"),
            "signals": count("signals in the warehouse", "signals"),
            "trades": count("executions and results in the warehouse", "trades"),
            "signals_removed": count("signals recorded before that are no longer there", "signals"),
            "trades_removed": count("trades recorded before that are no longer there", "trades"),
        }
    ),
    ("day",),
    time="day",
)

BOOK_COSTS = Contract(
    "signals/book_costs",
    table(
        {
            "hour": column(DATE, "hour at whose open the costs hold"),
            "coin": column(TEXT, "coin as the source names it"),
            "half_spread_bps": column(FLOAT, "half the distance of the best prices", "bps", low=0.0),
            "slippage_bps": number("fill beyond the best price, walking the book, mean of both sides", "bps", low=0.0),
            "holds_order": column(BOOL, "the levels kept hold the order; else slippage_bps is the least it can be"),
        }
    ),
    KEYS,
    time="hour",
    rules=(_HOURS,),
)

FACTORS = Contract(
    "signals/factors",
    table(
        {
            "hour": column(DATE, "open of the closed bar"),
            "coin": column(TEXT, "coin as the source names it"),
            **{name: number(f"factor {name}", "points", low=-100.0, high=100.0) for name in "TMCVOBF"},
            "I": number("independence of the leader", "points", low=0.0, high=100.0),
            "market_regime": number(".7 T of the leader + .3 T of the second", "points", low=-100.0, high=100.0),
            "flags": column(TEXT, "words on what stands in for what, separated by commas"),
            "close": number("close of the bar; missing where it is not to be believed", "USD", above=0.0),
            "atr14": number("average true range of 14 bars", "USD", low=0.0),
            "closed_bars": count("closed bars among the last 888 hours", "bars"),
            "defect": column(BOOL, "one of the last 336 hours is defective or lacks its bar"),
            "funding_8h": number("funding a long pays per 8 h, as last settled", "ratio"),
        }
    ),
    KEYS,
    time="hour",
    rules=(_HOURS,),
)
