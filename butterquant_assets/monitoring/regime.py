"""The market's regime month by month, beside the months before it: an alarm of its own. Pure.

Drift of features is judged at the month's own VIX strata, so that a stormy month is no drift for being stormy. That it
is stormy is said here: the level of the VIX, how far single stocks move, how much they move together, and whether the
VIX lies in a stratum that was never met. A regime change is a fact to know, not by itself a reason to retrain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.sampling import HIGH_ABOVE, LOW_BELOW
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.monitoring.drift import Daily, DriftRules, compare

Floats = npt.NDArray[np.float64]

SESSIONS_A_YEAR = 252
METRICS = ("vix_level", "realised_vol", "correlation")
UNSEEN = "unseen_stratum"
UNSEEN_SHARE = 0.5
MINIMUM_TICKERS = 5

REGIME_TYPES = {
    "month": "datetime64[us]",
    "metric": "str",
    "value": "float64",
    "reference": "float64",
    "statistic": "float64",
    "threshold": "float64",
    "sessions": "int64",
    "reference_sessions": "int64",
    "judged": "bool",
    "alarm": "bool",
    "reason": "str",
}
"""Columns of the regime table in stored order with their types; `schemas` adds meaning."""

_TOLD = {
    "vix_level": "VIX {value:.1f} against {reference:.1f}",
    "realised_vol": "single stocks move at {value:.0%} a year against {reference:.0%}",
    "correlation": "stocks move together by {value:.2f} against {reference:.2f}",
    UNSEEN: "{value:.0%} of the sessions lie in a VIX stratum the reference never met",
}


def session_figures(vix: pd.DataFrame, bars: pd.DataFrame) -> pd.DataFrame:
    """Regime of each session.

    Parameters
    ----------
    vix
        session, close (points)
    bars
        session, ticker, close (as quoted), split_ratio

    Returns
    -------
    DataFrame
        session, ascending; ``vix_close``; ``stock_move``, root mean square over tickers of the log return since each
        one's previous bar; ``together``, the share of it that the equal-weight market makes, 0 .. 1. The last two are
        missing where fewer than five tickers have a return, and ``together`` where nothing moved.
    """
    ordered = bars.sort_values(["ticker", "session"], kind="stable")
    previous = ordered.groupby("ticker")["close"].shift()
    moves = pd.DataFrame(
        {"session": ordered["session"], "move": np.log(ordered["close"] * ordered["split_ratio"] / previous)}
    ).dropna()
    by_session = moves.assign(square=moves["move"] ** 2).groupby("session")
    figures = by_session.agg(market=("move", "mean"), square=("square", "mean"), tickers=("move", "size"))
    figures = figures[figures["tickers"] >= MINIMUM_TICKERS]
    moved = figures["square"].where(figures["square"] > 0.0)
    made = pd.DataFrame({"stock_move": np.sqrt(moved), "together": figures["market"] ** 2 / moved}).reset_index()
    closes = vix.loc[vix["close"].notna(), ["session", "close"]].rename(columns={"close": "vix_close"})
    if not (closes["vix_close"] > 0.0).all() or closes["session"].duplicated().any():
        raise DataError("the VIX has a close that is not positive, or a session twice; give one positive close each")
    return closes.merge(made, on="session", how="left").sort_values("session").reset_index(drop=True)


def regime_by_month(
    figures: pd.DataFrame, months: Sequence[str], first: pd.Timestamp, rules: DriftRules
) -> pd.DataFrame:
    """Regime of each month against all sessions from `first` until that month begins.

    Parameters
    ----------
    figures
        columns of `session_figures`
    months
        ``YYYY-MM`` to judge
    first
        first session of the reference, that of the model's training set
    rules
        when there is an alarm; all metrics of a month together

    Returns
    -------
    DataFrame
        columns of `REGIME_TYPES`, ascending by month and metric; months without sessions are left out
    """
    parts = []
    for month in months:
        start = pd.Timestamp(month)
        end = start + pd.DateOffset(months=1)
        inside = figures[(figures["session"] >= start) & (figures["session"] < end)]
        before = figures[(figures["session"] >= first) & (figures["session"] < start)]
        if len(inside):
            parts.append(_month(before, inside, rules).assign(month=start))
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in REGIME_TYPES.items()})
    table = pd.concat(parts, ignore_index=True)[list(REGIME_TYPES)].astype(REGIME_TYPES)
    return table.sort_values(["month", "metric"], kind="stable").reset_index(drop=True)


def _month(before: pd.DataFrame, inside: pd.DataFrame, rules: DriftRules) -> pd.DataFrame:
    months = int(before["session"].dt.strftime("%Y-%m").nunique())
    judged = months >= rules.minimum_months and len(inside) >= rules.minimum_sessions
    statistic, threshold = np.full(len(METRICS), np.nan), np.nan
    if judged:
        found = compare(_daily(before), _daily(inside), rules)
        statistic, threshold = found.statistic, found.threshold
    unseen = float((~np.isin(_stratum(inside), _stratum(before))).mean()) if len(before) else np.nan
    table = pd.DataFrame(
        {
            "metric": [*METRICS, UNSEEN],
            "value": [*_typical(inside), unseen],
            "reference": [*_typical(before), 0.0],
            "statistic": [*statistic, unseen],
            "threshold": [*np.full(len(METRICS), threshold), UNSEEN_SHARE],
            "sessions": len(inside),
            "reference_sessions": len(before),
            "judged": judged,
        }
    )
    table["alarm"] = judged & (table["statistic"] > table["threshold"])
    not_judged = "" if judged else f"not judged: {months} months and {len(inside)} sessions are too few"
    table["reason"] = [
        _TOLD[str(row["metric"])].format_map(row) if row["alarm"] else not_judged for row in table.to_dict("records")
    ]
    return table


def _daily(figures: pd.DataFrame) -> Daily:
    """Figures whose differences mean the same at any level: logs of the VIX and of the moves, and the share."""
    values = np.column_stack(
        [np.log(figures[["vix_close", "stock_move"]].to_numpy(dtype=np.float64)), figures["together"]]
    )
    day = figures["session"].to_numpy().astype("datetime64[D]")
    return Daily(day, np.zeros(len(day), dtype=np.int64), values)


def _typical(figures: pd.DataFrame) -> tuple[float, float, float]:
    """Typical VIX (points) and stock move (a year), and the mean share; NaN where nothing is known."""
    if not len(figures):
        return np.nan, np.nan, np.nan
    vix, move = (float(np.exp(np.log(figures[name]).mean())) for name in ("vix_close", "stock_move"))
    return vix, move * float(np.sqrt(SESSIONS_A_YEAR)), float(figures["together"].mean())


def _stratum(figures: pd.DataFrame) -> npt.NDArray[np.int64]:
    close = figures["vix_close"].to_numpy(dtype=np.float64)
    return np.where(close < LOW_BELOW, 0, np.where(close > HIGH_ABOVE, 2, 1)).astype(np.int64)
