"""How the line did, month by month: win rate against predicted, cost against expected, result, Sharpe ratio.

What belongs here: figures of signals by the month of their entry, beside the document's success measures. What does
not: reports over the whole history (`calibration_report`, `cost_report`, `gate_report`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.learning.evidence import draw_episodes, expanded_interval
from butterquant_assets.signals.calibration_report import brier_word
from butterquant_assets.signals.gate_report import BAD_SHARE_TARGET, bad_share_among_rejected
from butterquant_assets.signals.versions import HOUR, picked, require_known, typed
from butterquant_assets.signals.weekly import week_codes, weekly_sums

Floats = npt.NDArray[np.float64]

ACCEPTED_TRACK, EVERY_SIGNAL = "accepted", "all"
TRACKS = (ACCEPTED_TRACK, EVERY_SIGNAL)
DAYS_A_YEAR = 365.0
DRAWS = 1000
TARGETS = {"win_rate_error_points": 5.0, "cost_error_bps": 2.0, "bad_share": BAD_SHARE_TARGET, "brier": 0.15}
"""The document's success measures: errors of at most 5 points and 2 bps, a share above .70, a Brier score below .15."""

PERFORMANCE_TYPES = {
    "month": "datetime64[us]",
    "track": "str",
    "complete": "bool",
    "signals": "int64",
    "trades": "int64",
    "not_ended": "int64",
    "win_rate": "float64",
    "predicted_win_rate": "float64",
    "win_rate_error_points": "float64",
    "brier": "float64",
    "brier_word": "str",
    "mean_cost_bps": "float64",
    "expected_cost_bps": "float64",
    "cost_error_bps": "float64",
    "bad_share": "float64",
    "mean_pnl_bps": "float64",
    "total_pnl_bps": "float64",
    "total_pnl_usd": "float64",
    "sharpe": "float64",
    "sharpe_low": "float64",
    "sharpe_high": "float64",
    "win_rate_met": "str",
    "cost_met": "str",
    "bad_share_met": "str",
    "brier_met": "str",
}


def signal_performance(
    trades: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    seed: int,
    timeout_hours: float = 72.0,
    former: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Figures of each month and track.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES`, executed as of `as_of` or earlier
    as_of
        naive UTC
    seed
        of the bootstrap over weeks
    timeout_hours
        longest holding
    former
        what this function returned for the same history as of an earlier time, with the same seed: its complete months
        are taken over, since nothing about them can change

    Returns
    -------
    DataFrame
        columns of `PERFORMANCE_TYPES`, one row per month of entry and track (``accepted``, one trade at a time for each
        coin; ``all``, every executed signal). ``complete``: every trade of the month has ended. ``win_rate`` is the
        share of trades older than the time-out that reached the target, as predicted by ``predicted_win_rate``; results
        count for the day of entry and take open trades at their mark; the Sharpe ratio is that of the month's days
        from the first on which any signal of the history could be entered and up to `as_of`, those without a trade
        counting as 0; bad_share is that of the rejected signals of the
        month; each ``_met`` is yes, no, or empty where the figure is missing

    Raises
    ------
    DataError
        if columns are missing or something was not known at `as_of`.
    """
    columns = ("hour", "track", "status", "known_at", "exit_at", "exit_reason", "p_target", "pnl_bps", "pnl_usd")
    trades = picked(trades, (*columns, "paid_cost_bps", "cost_bps", "verdict", "entry_at"), "trades")
    known = trades[trades["status"].isin(["closed", "open"])]
    require_known(known["known_at"], as_of, "trades")
    month = trades["entry_at"].to_numpy().astype("datetime64[M]")
    rows: list[dict[Any, Any]] = []
    done = _complete_months(former)
    # Days before the history began, and one that only begins at `as_of`, are not days without result.
    begun, ended = (trades["hour"].min() + HOUR).floor("D"), as_of.ceil("D")
    for place, start in enumerate(np.unique(month[~np.isnat(month)])):
        if start in done:
            rows.extend(done[start])
            continue
        monthly = trades[month == start]
        end = pd.Timestamp(start + np.timedelta64(1, "M"))
        complete = bool(end + pd.Timedelta(hours=timeout_hours) <= as_of) and not (monthly["status"] == "open").any()
        bad = bad_share_among_rejected(monthly)
        days = pd.date_range(max(pd.Timestamp(start), begun), min(end, ended), inclusive="left")
        for track in TRACKS:
            part = monthly if track == EVERY_SIGNAL else monthly[monthly["track"] == track]
            head = {"month": pd.Timestamp(start), "track": track, "complete": complete, "bad_share": bad}
            rows.append(head | _figures(part, days, as_of - pd.Timedelta(hours=timeout_hours), seed + place))
    return _with_targets(pd.DataFrame(rows))


def _complete_months(former: pd.DataFrame | None) -> dict[np.datetime64, list[dict[Any, Any]]]:
    """Rows of both tracks by complete month."""
    if former is None:
        return {}
    complete = former[former["complete"]]
    months = complete["month"].to_numpy().astype("datetime64[M]")
    rows = complete[list(PERFORMANCE_TYPES)].to_dict("records")
    return {month: [row for row, own in zip(rows, months, strict=True) if own == month] for month in np.unique(months)}


def sharpe_ratio(daily: pd.Series, *, seed: int, draws: int = DRAWS) -> tuple[float, float, float]:
    """Annualised Sharpe ratio of daily results, and its 95 % interval from drawing whole weeks.

    Parameters
    ----------
    daily
        results by day, its index; days without a trade are among them as 0
    seed, draws
        of the bootstrap

    Returns
    -------
    ratio, low, high; NaN where the days do not vary or are fewer than 5, and no bounds (NaN) where all results are of a
    single week

    Notes
    -----
    Days are not drawn one by one: a trade lasts up to three of them and coins move together, so neighbouring days share
    their luck, and single days would give an interval that is too narrow.
    """
    values = daily.to_numpy(dtype=np.float64)
    if values.size < 5 or not values.std() > 0:
        return float("nan"), float("nan"), float("nan")
    weeks, count = week_codes(daily.index.to_series())
    every = np.ones(values.size, dtype=np.bool_)
    sums, days = weekly_sums(values, weeks, count, every)
    # Around the mean of all days, so that the squares lose no digits.
    centre = values.mean()
    squares, _ = weekly_sums((values - centre) ** 2, weeks, count, every)
    picks = draw_episodes(count, seed=seed, draws=draws)
    drawn = days[picks].sum(axis=1)
    mean = sums[picks].sum(axis=1) / drawn
    variance = (squares[picks].sum(axis=1) - drawn * (mean - centre) ** 2) / np.maximum(drawn - 1, 1)
    varied = variance > np.finfo(np.float64).eps * values.var()
    # A draw without any result earns nothing; left out, the rest would be those with the few trades there are.
    ratios = np.where(mean == 0, 0.0, np.nan)
    ratios[varied] = mean[varied] / np.sqrt(variance[varied])
    traded = len(np.unique(weeks[values != 0]))
    low, high = expanded_interval(ratios, count) if traded > 1 else (float("nan"), float("nan"))
    year = np.sqrt(DAYS_A_YEAR)
    return float(year * centre / values.std(ddof=1)), float(year * low), float(year * high)


def _figures(part: pd.DataFrame, days: pd.DatetimeIndex, last_entry: pd.Timestamp, seed: int) -> dict[str, Any]:
    filled = part[part["status"].isin(["closed", "open"])]
    # Of the younger ones those that ended are mostly stops, so none of them is judged yet.
    ended = filled[(filled["status"] == "closed") & (filled["entry_at"] <= last_entry)]
    hit = (ended["exit_reason"] == "target").to_numpy(dtype=np.float64)
    p = ended["p_target"].to_numpy(dtype=np.float64)
    entered = filled["entry_at"].dt.floor("D")
    daily = filled.groupby(entered)["pnl_bps"].sum().reindex(days, fill_value=0.0)
    ratio, low, high = sharpe_ratio(daily, seed=seed)
    brier = _mean((p - hit) ** 2)
    return {
        "signals": len(part),
        "trades": len(ended),
        "not_ended": len(filled) - len(ended),
        "win_rate": _mean(hit),
        "predicted_win_rate": _mean(p),
        "win_rate_error_points": 100 * (_mean(hit) - _mean(p)),
        "brier": brier,
        "brier_word": brier_word(brier) if brier == brier else "",
        "mean_cost_bps": _mean(ended["paid_cost_bps"].to_numpy()),
        "expected_cost_bps": _mean(ended["cost_bps"].to_numpy()),
        "cost_error_bps": _mean((ended["paid_cost_bps"] - ended["cost_bps"]).to_numpy()),
        "mean_pnl_bps": _mean(filled["pnl_bps"].to_numpy()),
        "total_pnl_bps": float(filled["pnl_bps"].sum()),
        "total_pnl_usd": float(filled["pnl_usd"].sum()),
        "sharpe": ratio,
        "sharpe_low": low,
        "sharpe_high": high,
    }


def _with_targets(rows: pd.DataFrame) -> pd.DataFrame:
    if rows.empty:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in PERFORMANCE_TYPES.items()})
    verdicts = {
        "win_rate_met": (rows["win_rate_error_points"].abs(), "<=", TARGETS["win_rate_error_points"]),
        "cost_met": (rows["cost_error_bps"].abs(), "<=", TARGETS["cost_error_bps"]),
        "bad_share_met": (rows["bad_share"], ">", TARGETS["bad_share"]),
        "brier_met": (rows["brier"], "<", TARGETS["brier"]),
    }
    for name, (values, how, limit) in verdicts.items():
        met = {"<=": values <= limit, ">": values > limit, "<": values < limit}[how]
        rows[name] = np.where(values.isna(), "", np.where(met, "yes", "no"))
    return typed(rows[list(PERFORMANCE_TYPES)], PERFORMANCE_TYPES)


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")
