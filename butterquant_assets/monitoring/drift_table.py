"""Drift of every column of a table, month by month, as rows with their reasons. Pure.

Every value becomes its normal score in the reference, and every session two figures a column: where its rows lie
(``shift``, the mean score, in standard deviations of the reference) and how far they spread about that (``spread``,
the log of the standard deviation of the scores). Tickers weigh as they do in the reference, so that scanning another
universe is no drift. `drift` says which of these stray too far. A month is compared with reference rows *before* it
only: rows of the month itself would hide its drift, and later ones nobody had. A month under way is judged together
with the last sessions before it: three sessions say little, and waiting for more hides a drift for a week.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.monitoring.drift import Comparison, Daily, DriftRules, compare

Floats = npt.NDArray[np.float64]

STRATA = ("low", "normal", "high")
KEYS = ("session", "ticker", "stratum")
MISSING_MARGIN = 0.1  # above the emptiest month of the reference
LEAST_CARRIED = 0.25
"""Share of the weight that the reference's sessions carry; at a quarter the luck of tickers is twice as large."""
SMALLEST_SPREAD = 1e-6  # a column that is the market's, such as the VIX, has none

DRIFT_TYPES = {
    "month": "datetime64[us]",
    "column": "str",
    "shift_sigma": "float64",
    "shift_error": "float64",
    "detectable_sigma": "float64",
    "spread_ratio": "float64",
    "statistic": "float64",
    "threshold": "float64",
    "missing_share": "float64",
    "missing_limit": "float64",
    "sessions": "int64",
    "rows": "int64",
    "reference_rows": "int64",
    "reference_months": "int64",
    "learnt": "bool",
    "judged": "bool",
    "alarm": "bool",
    "reason": "str",
}
"""Columns of a drift table in stored order with their types; `schemas` adds meaning."""


@dataclass(frozen=True, eq=False)
class SessionScores:
    """What turns rows into figures of sessions.

    Parameters
    ----------
    sorted
        known values of each column in the reference, ascending
    weight
        share of each ticker in the reference's rows, by ticker
    """

    sorted: tuple[Floats, ...]
    weight: pd.Series

    @classmethod
    def of(cls, reference: pd.DataFrame, columns: Sequence[str]) -> SessionScores:
        """Of a reference with session, ticker, stratum and the columns."""
        known = (np.sort(reference[name].dropna().to_numpy(dtype=np.float64)) for name in columns)
        return cls(tuple(known), reference["ticker"].value_counts(normalize=True).sort_index())

    def daily(self, rows: pd.DataFrame, columns: Sequence[str]) -> Daily:
        """Figures of the sessions in `rows` (session, ticker, stratum, columns): all shifts, then all spreads."""
        scores = np.column_stack([self._score(rows[name], k) for k, name in enumerate(columns)])
        known = np.isfinite(scores)
        weight = rows["ticker"].map(self.weight).fillna(0.0).to_numpy(dtype=np.float64)[:, None] * known
        code, days = pd.factorize(rows["session"], sort=True)
        totals, own, sums, squares = (np.zeros((len(days), len(columns))) for _ in range(4))
        filled = np.where(known, scores, 0.0)
        parts = ((totals, weight), (own, weight**2), (sums, weight * filled), (squares, weight * filled**2))
        for total, values in parts:
            np.add.at(total, code, values)
        shift = np.divide(sums, totals, out=np.full_like(sums, np.nan), where=totals > 0.0)
        # Bessel's correction for weights: few tickers must not look closer together than many.
        freedom = totals - np.divide(own, totals, out=np.zeros_like(own), where=totals > 0.0)
        centred = squares - totals * np.nan_to_num(shift) ** 2
        variance = np.divide(centred, freedom, out=np.zeros_like(sums), where=freedom > SMALLEST_SPREAD)
        spread = np.full_like(shift, np.nan)
        wide = variance > SMALLEST_SPREAD**2
        spread[wide] = 0.5 * np.log(variance[wide])
        stratum = rows.groupby("session", sort=True)["stratum"].first().map(STRATA.index).to_numpy(dtype=np.int64)
        return Daily(days.to_numpy().astype("datetime64[D]"), stratum, np.hstack([shift, spread]))

    def carried(self, rows: pd.DataFrame) -> float:
        """Weight of the tickers that a session of `rows` holds, on average."""
        weight = rows["ticker"].map(self.weight).fillna(0.0)
        return float(weight.groupby(rows["session"]).sum().mean())

    def _score(self, values: pd.Series, column: int) -> Floats:
        held, found = self.sorted[column], values.to_numpy(dtype=np.float64)
        if not held.size:
            return np.full(len(found), np.nan)
        place = np.searchsorted(held, found, "left") + np.searchsorted(held, found, "right")
        bound = 0.5 / held.size
        scores: Floats = ndtri(np.clip(place / (2.0 * held.size), bound, 1.0 - bound))
        scores[np.isnan(found)] = np.nan
        return scores


def current_sessions(rows: pd.DataFrame, month: str, at_least: int) -> pd.DataFrame:
    """Rows of a month, and of as many sessions of the month before as are wanting to `at_least`.

    None where the month has none. What lies further back is not looked at, whatever `rows` hold.

    Parameters
    ----------
    rows
        with a column session
    month
        ``YYYY-MM``
    at_least
        sessions to judge, as far as there are so many
    """
    start, one_month = pd.Timestamp(month), pd.DateOffset(months=1)
    until = rows[rows["session"].between(start - one_month, start + one_month, inclusive="left")]
    days = np.unique(until["session"].to_numpy())
    own = int((days >= start.to_datetime64()).sum())
    if not own:
        return rows.iloc[:0]
    kept: pd.DataFrame = until[until["session"] >= days[-max(own, at_least) :][0]]
    return kept


def drift_by_month(
    reference: pd.DataFrame,
    rows: pd.DataFrame,
    columns: Sequence[str],
    months: Sequence[str],
    rules: DriftRules,
    *,
    learnt_until: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """Drift of each column in each month that has rows.

    Parameters
    ----------
    reference
        session, ticker, stratum (``low``, ``normal``, ``high``) and the columns: what the model has learnt from
    rows
        the same columns of what it is applied to
    columns
        numeric columns to compare; missing values are left out, and their share judged by itself
    months
        ``YYYY-MM``, those of `rows` to judge
    rules
        when there is an alarm
    learnt_until
        last session the model has learnt from; by default the last of the reference

    Returns
    -------
    DataFrame
        columns of `DRIFT_TYPES`, one row a month and column, ascending by both. ``learnt``: the model has learnt from
        sessions that are judged or later ones. Not ``judged``: too few sessions or too few reference months before
        them; ``reason`` then says which, and there is no alarm.

    Raises
    ------
    DataError
        if a session has several strata, or an unknown one.
    """
    for name, frame in (("reference", reference), ("month", rows)):
        _check(name, frame)
    parts = []
    latest = reference["session"].max() if learnt_until is None else learnt_until
    for month in months:
        inside = current_sessions(rows, month, rules.sessions)
        if len(inside):
            first = inside["session"].min()
            before = reference[reference["session"] < first.to_period("M").start_time]
            found = _month(before, inside, columns, rules)
            parts.append(found.assign(month=pd.Timestamp(month), learnt=bool(latest >= first)))
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in DRIFT_TYPES.items()})
    table = pd.concat(parts, ignore_index=True)[list(DRIFT_TYPES)].astype(DRIFT_TYPES)
    return table.sort_values(["month", "column"], kind="stable").reset_index(drop=True)


def _month(before: pd.DataFrame, inside: pd.DataFrame, columns: Sequence[str], rules: DriftRules) -> pd.DataFrame:
    """Rows of one month, without the month itself."""
    k, months = len(columns), before["session"].dt.strftime("%Y-%m")
    unknown = np.full(2 * k, np.nan)
    found = Comparison(unknown, unknown, float("nan"), np.empty(0), 0)
    carried = float("nan")
    if len(before):
        scores = SessionScores.of(before, columns)
        carried = scores.carried(inside) / scores.carried(before)
        found = compare(scores.daily(before, columns), scores.daily(inside, columns), rules)
    missing = inside[list(columns)].isna().mean().to_numpy(dtype=np.float64)
    limit = np.full(k, np.nan)
    if len(before):
        worst = before[list(columns)].isna().groupby(months).mean().max().to_numpy(dtype=np.float64)
        limit = np.minimum(worst + MISSING_MARGIN, 1.0)
    shift, spread = (found.statistic[part] for part in (slice(k), slice(k, None)))
    statistic = np.fmax(shift, spread)
    month_lacks = _not_judged(found, months.nunique(), inside["session"].nunique(), carried, rules)
    emptied = (missing > limit) & (month_lacks == "")
    lacks = [month_lacks or _column_lacks(*each) for each in zip(statistic, found.difference[:k], emptied, strict=True)]
    judged = np.array([why_not == "" for why_not in lacks])
    table = pd.DataFrame(
        {
            "column": list(columns),
            "shift_sigma": found.difference[:k],
            "shift_error": found.error[:k],
            "detectable_sigma": found.threshold * found.error[:k],
            "spread_ratio": np.exp(found.difference[k:]),
            "statistic": statistic,
            "threshold": found.threshold,
            "missing_share": missing,
            "missing_limit": limit,
            "sessions": int(inside["session"].nunique()),
            "rows": len(inside),
            "reference_rows": len(before),
            "reference_months": int(months.nunique()),
            "judged": judged,
            "alarm": judged & ((statistic > found.threshold) | emptied),
        }
    )
    over = np.stack([shift > found.threshold, spread > found.threshold, emptied], axis=1)
    told = zip(lacks, _records(table), over, strict=True)
    table["reason"] = [why_not or _reason(row, marks) for why_not, row, marks in told]
    return table


def _not_judged(found: Comparison, months: int, sessions: int, carried: float, rules: DriftRules) -> str:
    """Why a month has no verdict; empty if it has one."""
    if months < rules.minimum_months:
        return f"not judged: the reference holds {months} months before this one, {rules.minimum_months} are needed"
    if sessions < rules.minimum_sessions:
        return f"not judged: {sessions} sessions, {rules.minimum_sessions} are needed"
    if np.isnan(found.threshold):
        return f"not judged: {found.covered} of {sessions} sessions lie in a VIX stratum that the reference has"
    if carried < LEAST_CARRIED:
        return (
            f"not judged: its sessions carry {carried:.0%} of the weight of tickers that those of the reference do, "
            f"{LEAST_CARRIED:.0%} is needed"
        )
    return ""


def _column_lacks(statistic: float, difference: float, emptied: bool) -> str:
    """Why a column of a month with a verdict has none; empty if it has one."""
    if emptied or np.isfinite(statistic):
        return ""
    if np.isnan(difference):
        return "not judged: it has no value on one of the two sides"
    return "not judged: it never varies in the reference, so that nothing says what is luck"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _reason(row: dict[str, Any], over: npt.NDArray[np.bool_]) -> str:
    """The alarm of one column in words with its figures; empty without one."""
    told = [
        "shifted by {shift_sigma:+.2f} sigma ({detectable_sigma:.2f} is more than luck)",
        "spread is {spread_ratio:.2f} times the reference's (statistic {statistic:.1f}, threshold {threshold:.1f})",
        "{missing_share:.0%} missing, at most {missing_limit:.0%} expected",
    ]
    return "; ".join(text.format(**row) for text, mark in zip(told, over, strict=True) if mark)


def _check(name: str, frame: pd.DataFrame) -> None:
    strange = sorted(set(frame["stratum"].unique()) - set(STRATA))
    if strange:
        raise DataError(f"rows of the {name} have stratum {strange[0]!r}; use one of {', '.join(STRATA)}")
    if frame[["session", "stratum"]].drop_duplicates()["session"].duplicated().any():
        raise DataError(f"a session of the {name} lies in several VIX strata; every session has one")
