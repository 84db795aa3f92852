"""What each analysed butterfly returned: exit prices, ROI by four definitions, and their classes.

What belongs here: reading the world at the evaluation date. Bars and volatilities after it are never read, and a
ticker that stopped trading before it has no label: its last price is not an exit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import iv_level, iv_proxy, pricing, windows
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.frames import arranged
from butterquant_assets.butterfly.implied_vols import iv_table
from butterquant_assets.butterfly.pricing import label_of
from butterquant_assets.butterfly.strikes import Strikes, strikes_of
from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]

__all__ = ["EXIT_VOL_BARS", "LABEL_SOURCES", "LABEL_TYPES", "ROI_KINDS", "label_of", "label_trades"]

ROI_KINDS: tuple[str, ...] = ("tent", "expiry", "mark", "net")
EXIT_VOL_BARS = iv_proxy.REALISED_RETURNS + 1

LABEL_TYPES: dict[str, str] = {
    "session": "datetime64[us]",
    "ticker": "str",
    "evaluation_session": "datetime64[us]",
    "days_left": "int64",
    **dict.fromkeys(("exit_spot", "exit_iv_lower", "exit_iv_center", "exit_iv_upper", "exit_cost"), "float64"),
    **dict.fromkeys([f"roi_{kind}" for kind in ROI_KINDS], "float64"),
    **dict.fromkeys([f"label_{kind}" for kind in ROI_KINDS], "float64"),
    "missing_reason": "str",
}
"""Columns of the labels in stored order with their types; `schemas.ROI_LABELS` adds meaning, units and ranges."""

_STRIKE_COLUMNS = ("analyses.lower_strike", "analyses.center_strike", "analyses.upper_strike")
_EXIT_SPOT = ("analyses.evaluation_session", "equity_bars.close", "equity_bars.split_ratio")
_EXIT_IV = (*_EXIT_SPOT, "analyses.iv_source", "implied_vols.iv", "vix.close")
_SOURCES: dict[str, tuple[str, ...]] = {
    "evaluation_session": ("analyses.evaluation_session",),
    "days_left": ("analyses.days_left",),
    "exit_spot": _EXIT_SPOT,
    "exit_iv_lower": (*_EXIT_IV, "analyses.lower_strike"),
    "exit_iv_center": (*_EXIT_IV, "analyses.center_strike"),
    "exit_iv_upper": (*_EXIT_IV, "analyses.upper_strike"),
    "exit_cost": (*_EXIT_IV, *_STRIKE_COLUMNS, "analyses.days_left", "analyses.rate"),
    "roi_tent": (*_EXIT_SPOT, *_STRIKE_COLUMNS, "analyses.debit"),
    "roi_expiry": (*_EXIT_SPOT, *_STRIKE_COLUMNS, "analyses.debit"),
    "roi_mark": (*_EXIT_IV, *_STRIKE_COLUMNS, "analyses.debit", "analyses.days_left", "analyses.rate"),
    "roi_net": (
        *_EXIT_IV,
        *_STRIKE_COLUMNS,
        "analyses.debit",
        "analyses.days_left",
        "analyses.rate",
        "analyses.entry_cost",
    ),
}
LABEL_SOURCES: dict[str, tuple[str, ...]] = _SOURCES | {f"label_{kind}": _SOURCES[f"roi_{kind}"] for kind in ROI_KINDS}
"""Columns, as table.column, that each column of the labels is computed from."""


def label_trades(
    analyses: pd.DataFrame,
    bars: pd.DataFrame,
    implied_vols: pd.DataFrame,
    last_session: str | pd.Timestamp,
    config: AnalysisConfig,
    costs: CostConfig,
    vix: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Evaluate every analysed butterfly on its evaluation session.

    Parameters
    ----------
    analyses
        columns of `schemas.ANALYSES`
    bars
        session, ticker, close, volume, split_ratio, as quoted; they must reach back to the entry and, for the
        volatility at exit, 36 sessions before the evaluation where ``iv_source`` is ``realised``, 510 where ``fitted``
    implied_vols
        session, ticker, days, iv; read for rows whose ``iv_source`` is ``published``
    last_session
        last session the data reaches; later evaluation dates have no label yet
    config
        the smile is read, the same as at entry
    costs
        for the exit; those of the entry are in the analyses
    vix
        session, close (points), up to the evaluations and 510 sessions back; needed, and read, only for rows whose
        ``iv_source`` is ``fitted``

    Returns
    -------
    DataFrame
        columns of `schemas.ROI_LABELS`, one row per analysis, sorted by (session, ticker). Classes are float64 (0.0 ..
        3.0) so that missing ones stay NaN through Parquet. Where there is no label every exit, ROI and label column
        is NaN, and ``missing_reason`` says why: ``after_data_end``; ``no_bar_on_evaluation`` (halted, delisted or
        missing); ``too_short_for_exit_iv`` (too few quoted bars for the volatility at exit, 31 or 505, or no usable
        window of them); ``no_exit_iv`` (none published at that tenor, no VIX, or prices that did not move).

    Notes
    -----
    ``exit_spot`` is the quoted close times the splits since entry, so it compares with the strikes. Volatility at exit
    comes from the same kind of source as at entry, as of the evaluation date, at moneyness K / exit_spot.

    Raises
    ------
    DataError
        if bars or implied volatilities are unusable as a whole, or the bars lack the entry session of a row.
    """
    quoted = windows.quoted_bars(bars)
    tickers = analyses["ticker"].to_numpy(dtype=object)
    evaluation = analyses["evaluation_session"].to_numpy().astype("datetime64[D]")
    reasons = np.full(len(analyses), "", dtype=object)
    _mark_missing(reasons, evaluation > np.datetime64(pd.Timestamp(last_session), "D"), "after_data_end")
    exit_bar = quoted.on(tickers, evaluation)
    _mark_missing(reasons, exit_bar < 0, "no_bar_on_evaluation")
    exit_spot = _exit_spot(analyses, quoted, exit_bar, reasons)
    exit_iv = _exit_level(analyses, quoted, implied_vols, vix, reasons)
    present = reasons == ""
    exit_spot, exit_iv = np.where(present, exit_spot, np.nan), np.where(present, exit_iv, np.nan)
    labels = _returns(analyses, exit_spot, exit_iv, config, costs)
    labels["missing_reason"] = reasons
    return arranged(labels, LABEL_TYPES)


def _mark_missing(reasons: Texts, missing: npt.NDArray[np.bool_], reason: str) -> None:
    """The first reason of a row stands."""
    reasons[missing & (reasons == "")] = reason


def _exit_spot(
    analyses: pd.DataFrame, quoted: windows.QuotedBars, exit_bar: npt.NDArray[np.int64], reasons: Texts
) -> Floats:
    exit_spot = np.full(len(analyses), np.nan)
    rows = np.flatnonzero(reasons == "")
    tickers, entry = analyses["ticker"].to_numpy(dtype=object), analyses["session"].to_numpy()
    entry_bar = quoted.on(tickers[rows], entry[rows])
    if (entry_bar < 0).any():
        row = rows[np.flatnonzero(entry_bar < 0)[0]]
        raise DataError(
            f"the bars lack {tickers[row]} on {entry[row].astype('datetime64[D]')}, when its butterfly was opened, so "
            "splits since then are unknown; give bars from before the entry on"
        )
    exit_spot[rows] = quoted.close[exit_bar[rows]] * quoted.splits_between(entry_bar, exit_bar[rows])
    return exit_spot


def _exit_level(
    analyses: pd.DataFrame,
    quoted: windows.QuotedBars,
    implied_vols: pd.DataFrame,
    vix: pd.DataFrame | None,
    reasons: Texts,
) -> Floats:
    """At-the-money implied volatility as of the evaluation date; adds reasons where there is none."""
    level = np.full(len(analyses), np.nan)
    source = analyses["iv_source"].to_numpy(dtype=object)
    tickers = analyses["ticker"].to_numpy(dtype=object)
    evaluation = analyses["evaluation_session"].to_numpy()
    rows = np.flatnonzero((reasons == "") & (source == "published"))
    if rows.size:
        left = analyses["days_left"].to_numpy()
        level[rows] = iv_table(implied_vols).at(tickers[rows], evaluation[rows], left[rows])
    for kind, bars in (("realised", EXIT_VOL_BARS), ("fitted", iv_level.LEVEL_BARS)):
        rows = np.flatnonzero((reasons == "") & (source == kind))
        if not rows.size:
            continue
        window = windows.build(tickers[rows], evaluation[rows], quoted, bars)
        usable = window.reasons == ""
        reasons[rows[~usable]] = "too_short_for_exit_iv"
        closes, days = window.closes[usable], window.days[usable]
        level[rows[usable]] = _realised_level(closes) if kind == "realised" else _fitted_level(closes, days, vix)
    _mark_missing(reasons, np.isnan(level), "no_exit_iv")
    return level


def _realised_level(closes: Floats) -> Floats:
    hv = iv_proxy.realised_vol(iv_proxy.log_returns(closes))[:, 0]
    return np.where(hv > iv_proxy.MINIMUM_VOL, iv_proxy.ATM_MULTIPLE * hv, np.nan)


def _fitted_level(closes: Floats, days: npt.NDArray[np.datetime64], vix: pd.DataFrame | None) -> Floats:
    values, _ = iv_level.vix_windows(days, iv_level.required_vix(vix))
    return iv_level.level(closes, values)


def _returns(
    analyses: pd.DataFrame, exit_spot: Floats, exit_iv: Floats, config: AnalysisConfig, costs: CostConfig
) -> pd.DataFrame:
    strikes = strikes_of(analyses)
    vols = iv_proxy.leg_vols(exit_iv, strikes, exit_spot, config.smile)
    debit, rate, left = (analyses[name].to_numpy(dtype=np.float64) for name in ("debit", "rate", "days_left"))
    mark = pricing.value(exit_spot, strikes, left, rate, vols)
    exit_cost = pricing.trade_cost(exit_spot, strikes, left, rate, vols, costs)
    labels = analyses[["session", "ticker", "evaluation_session", "days_left"]].copy()
    labels["exit_spot"] = exit_spot
    labels["exit_iv_lower"], labels["exit_iv_center"], labels["exit_iv_upper"] = vols.lower, vols.center, vols.upper
    labels["exit_cost"] = exit_cost
    entry_cost = analyses["entry_cost"].to_numpy(dtype=np.float64)
    labels = labels.assign(**_rois(exit_spot, strikes, mark, debit, entry_cost, exit_cost))
    return labels.assign(**{f"label_{kind}": label_of(labels[f"roi_{kind}"]) for kind in ROI_KINDS})


def _rois(
    exit_spot: Floats, strikes: Strikes, mark: Floats, debit: Floats, entry_cost: Floats, exit_cost: Floats
) -> dict[str, Floats]:
    return {
        "roi_tent": pricing.roi_tent(exit_spot, strikes, debit),
        "roi_expiry": pricing.roi_expiry(exit_spot, strikes, debit),
        "roi_mark": pricing.roi_mark(mark, debit),
        "roi_net": pricing.roi_net(mark, exit_cost, debit, entry_cost),
    }
