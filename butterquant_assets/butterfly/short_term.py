"""The next seven sessions of each analysed row: what was known before them, and what came.

What belongs here: as-of references for volatility (realised variances for HAR, a GARCH forecast), read from closes up
to the session only, and targets, read from the seven sessions after it and nothing later. What does not: models. A row
depends on the bars of its own ticker alone, bit for bit, so that months and tickers can be rebuilt apart.

Closes are as quoted and restated for splits; dividends are not added back, as nowhere in this line.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import windows
from butterquant_assets.butterfly.frames import arranged
from butterquant_assets.butterfly.iv_proxy import SESSIONS_PER_YEAR, log_returns
from butterquant_assets.foundation.calendar import session_number, sessions
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.quant import garch_batch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Days = npt.NDArray[np.datetime64]
Texts = npt.NDArray[np.object_]

HORIZON = 7
MOVE = 0.02
REALISED_SESSIONS = (1, 5, 22)
DOWN, FLAT, UP = 0, 1, 2

REFERENCES = (*(f"rv_{count}" for count in REALISED_SESSIONS), "garch_vol_7")
"""Columns known at the close of the session."""
TARGETS = ("realised_vol_7", "return_7", "direction_7", "quiet_7")
"""Columns known at the close of `target_session`."""
MISSING_REASONS = ("", "after_data_end", "no_bar_on_target", "missing_bar", "unexplained_jump")

SHORT_TERM_TYPES: dict[str, str] = {
    "session": "datetime64[us]",
    "ticker": "str",
    **dict.fromkeys(REFERENCES, "float64"),
    "target_session": "datetime64[us]",
    **dict.fromkeys(TARGETS, "float64"),
    "missing_reason": "str",
}
"""Columns in stored order with their types; `short_term_schemas.SHORT_TERM` adds meaning, units and ranges."""

_CLOSES = ("analyses.session", "analyses.ticker", "equity_bars.close", "equity_bars.split_ratio")
SHORT_TERM_SOURCES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(REFERENCES, _CLOSES),
    "target_session": ("analyses.session",),
    **dict.fromkeys(TARGETS, _CLOSES),
}
"""Columns, as table.column, that each column is computed from."""


def short_term_rows(analyses: pd.DataFrame, bars: pd.DataFrame, last_session: str | pd.Timestamp) -> pd.DataFrame:
    """References as of each analysed session, and what its next seven sessions brought.

    Parameters
    ----------
    analyses
        columns session, ticker; one row per (session, ticker)
    bars
        session, ticker, close, volume, split_ratio, as quoted; they must reach 510 sessions back
    last_session
        last session the data reaches; later targets are not known yet

    Returns
    -------
    DataFrame
        columns of `short_term_schemas.SHORT_TERM`, one row per analysis, sorted by (session, ticker). References, never
        missing: ``rv_h``, the annualised realised variance 252/h x sum of the last h squared daily log returns, and
        ``garch_vol_7``, the annualised root mean of the conditional variances 1 .. 7 sessions ahead of a GARCH(1,1) on
        the 504 returns of the analysis. Targets: ``realised_vol_7`` = sqrt(252/7 x sum of squared log returns), mean
        taken as zero; ``return_7``, simple; ``direction_7``, 0 below -2 %, 2 above +2 %, else 1; ``quiet_7``, 1 where
        abs(return_7) < 2 %, else 0 (classes are float64 so that missing ones stay NaN through Parquet). A row without
        targets has NaN in all four and a ``missing_reason``: ``after_data_end``; ``no_bar_on_target`` (halted, delisted
        or missing); ``missing_bar`` (on a session between); ``unexplained_jump`` (a step beyond `windows.MAX_STEP`
        that no split explains).

    Raises
    ------
    DataError
        if bars are unusable as a whole, or an analysed row has no window or no GARCH fit in them (the analysis would
        have rejected it, so analyses and bars do not belong together).

    Notes
    -----
    Sources: REFERENCE, section 1 (other tasks); F. Corsi, *A Simple Approximate Long-Memory Model of Realized
    Volatility*, Journal of Financial Econometrics 7 (2009), for the three horizons.
    """
    quoted = windows.quoted_bars(bars)
    tickers = analyses["ticker"].to_numpy(dtype=object)
    session = analyses["session"].to_numpy().astype("datetime64[D]")
    found = analyses[["session", "ticker"]].assign(**_references(tickers, session, quoted))
    ahead = _sessions_ahead(session)
    found["target_session"] = ahead[:, -1].astype("datetime64[us]")
    targets, reasons = _targets(tickers, session, ahead, quoted, np.datetime64(pd.Timestamp(last_session), "D"))
    return arranged(found.assign(**targets, missing_reason=reasons), SHORT_TERM_TYPES)


def direction_of(returns: npt.ArrayLike) -> Floats:
    """0 for a return below -2 %, 2 above +2 %, else 1, NaN for NaN; shape (n,) in and out."""
    moved = np.asarray(returns, dtype=np.float64)
    return np.where(np.isnan(moved), np.nan, np.where(moved < -MOVE, DOWN, np.where(moved > MOVE, UP, FLAT)))


def quiet_of(returns: npt.ArrayLike) -> Floats:
    """1 for a return of less than 2 % either way, else 0, NaN for NaN; shape (n,) in and out."""
    moved = np.abs(np.asarray(returns, dtype=np.float64))
    return np.where(np.isnan(moved), np.nan, (moved < MOVE).astype(np.float64))


def _references(tickers: Texts, session: Days, quoted: windows.QuotedBars) -> dict[str, Floats]:
    window = windows.build(tickers, session, quoted)
    _refuse_unanalysed(tickers, session, window.details)
    returns = log_returns(window.closes)
    fits = garch_batch.fit_forecast_batch(100.0 * returns, HORIZON)
    _refuse_unanalysed(tickers, session, np.array([fits.reason(row) for row in range(len(session))], dtype=object))
    realised = {f"rv_{count}": _annual_variance(returns[:, -count:]) for count in REALISED_SESSIONS}
    garch = np.sqrt(SESSIONS_PER_YEAR * np.mean(fits.daily_vol**2, axis=1)) / 100.0
    return realised | {"garch_vol_7": garch}


def _refuse_unanalysed(tickers: Texts, session: Days, details: Texts) -> None:
    bad = np.flatnonzero(details != "")
    if bad.size:
        row = int(bad[0])
        raise DataError(
            f"{bad.size} analysed rows cannot be followed from these bars, for instance {tickers[row]} on "
            f"{session[row]}: {details[row]}; give bars from {windows.ANALYSIS_BARS + windows.MAX_MISSING_SESSIONS} "
            "sessions before the first row on, the ones the analyses were made from"
        )


def _annual_variance(returns: Floats) -> Floats:
    """252 x mean squared return of each row; columns are added one by one, so a row's bits depend on itself alone."""
    total = np.zeros(len(returns))
    for column in range(returns.shape[1]):
        total += returns[:, column] ** 2
    return np.asarray(total * (SESSIONS_PER_YEAR / returns.shape[1]))


def _sessions_ahead(session: Days) -> Days:
    """The next seven sessions of each row, shape (n, 7)."""
    days, number = sessions(), session_number(session)
    if number.size and number.max() + HORIZON >= days.size:
        raise DataError(
            f"{session.max()} lies within {HORIZON} sessions of {days[-1]}, the last one known; use earlier dates"
        )
    return np.asarray(days[number[:, None] + np.arange(1, HORIZON + 1)])


def _targets(
    tickers: Texts, session: Days, ahead: Days, quoted: windows.QuotedBars, last: np.datetime64
) -> tuple[dict[str, Floats], Texts]:
    """Targets of each row, NaN where there is a reason."""
    position = np.column_stack([quoted.on(tickers, day) for day in (session, *ahead.T)])
    reasons = np.full(len(session), "", dtype=object)
    late: npt.NDArray[np.bool_] = np.greater(ahead[:, -1], last)
    _mark(reasons, late, "after_data_end")
    absent: npt.NDArray[np.bool_] = np.less(position, 0)
    _mark(reasons, absent[:, -1], "no_bar_on_target")
    _mark(reasons, np.asarray(absent.any(axis=1)), "missing_bar")
    steps = np.full((len(session), HORIZON), np.nan)
    rows = np.flatnonzero(reasons == "")
    at = position[rows]
    steps[rows] = quoted.close[at[:, 1:]] * quoted.ratio[at[:, 1:]] / quoted.close[at[:, :-1]]
    jump = np.zeros(len(session), dtype=bool)
    jump[rows] = (np.maximum(steps[rows], 1.0 / steps[rows]) > windows.MAX_STEP).any(axis=1)
    _mark(reasons, jump, "unexplained_jump")
    steps[reasons != ""] = np.nan
    moved = _product(steps) - 1.0
    targets = {
        "realised_vol_7": np.sqrt(_annual_variance(np.log(steps))),
        "return_7": moved,
        "direction_7": direction_of(moved),
        "quiet_7": quiet_of(moved),
    }
    return targets, reasons


def _product(steps: Floats) -> Floats:
    product = np.ones(len(steps))
    for column in range(steps.shape[1]):
        product *= steps[:, column]
    return product


def _mark(reasons: Texts, missing: npt.NDArray[np.bool_], reason: str) -> None:
    """The first reason of a row stands."""
    reasons[missing & (reasons == "")] = reason
