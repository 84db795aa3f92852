"""How good the volatility proxies are: levels against published volatilities, smiles against real option chains.

What belongs here: the long table of the comparison and the frames its plots draw. What does not: fitting (`iv_fit`) and
reading chains (`iv_chains`). Anyone can rerun it: it takes tables and no constants but the coefficients in use.

Comparisons, each figure with the number of rows it rests on:

================== ====================================================================================
level              errors of every level on 2015-2019, in all, by year and by ticker. An error is ln(model / published)
level_other_stocks half of the stocks fitted on 2010-2014, the other half judged on 2015-2019, every way to split
level_choice       errors inside 2010-2014 by which the terms were chosen (`iv_fit.validation_errors`)
level_limits       what is left of the fitted level's error once the median of each ticker, each session, or both is
                   taken out, and how far the published volatility moves in a day
smile              implied volatility at a moneyness over that at the money, chains and proxies
debit              error of the debit of at-the-money butterflies, proxy / mid - 1, given the chain's own level; and
                   the half-spread of the butterfly over its debit, below which no error can be told
debit_of_level     error of the debit from a level off by each model's median error, under the chain's own smile
================== ====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import iv_chains, iv_fit, iv_level, iv_proxy, pricing
from butterquant_assets.butterfly.config import Smile
from butterquant_assets.butterfly.iv_fit import PublishedRows
from butterquant_assets.butterfly.strikes import strikes_of
from butterquant_assets.foundation import iv_plots
from butterquant_assets.quant.garch_batch import fit_forecast_batch

Floats = npt.NDArray[np.float64]

ROW_TYPES = {
    "comparison": "str", "model": "str", "metric": "str", "group": "str", "value": "float64", "n": "int64",
}  # fmt: skip
"""Columns of the report with their types; (comparison, model, metric, group) identifies a row."""

ALL = "all"
SMILES: tuple[Smile, ...] = get_args(Smile)
DEBIT_METRICS = ("median_absolute_error", "half_spread_over_debit")
MONEYNESS = (0.9, 0.95, 0.98, 1.02, 1.05, 1.1)
CURVE_POINTS = np.linspace(-0.15, 0.15, 121)
PLAIN_HORIZONS = (10, 20, 60, 120, 250, 480)
SCATTER_POINTS = 3000
VALIDATION_YEARS = 3
VALIDATION_SPLITS = 16
CHOICES: dict[str, tuple[str, ...]] = {
    "realised": ("realised_20", "realised_60", "realised_120", "realised_250", "realised_480"),
    "+ VIX trend": ("vix_trend",),
    "+ VIX correlation": ("vix_correlation_480",),
    "+ drawdown": ("drawdown_60",),
    "+ mean absolute return": ("absolute_480",),
    "+ rise": ("rise_180",),
    "+ clipped returns": ("clipped_40",),
}
"""The order in which the terms of the level were chosen."""


@dataclass(frozen=True)
class IvReport:
    """The report's table and what its plots draw.

    Attributes
    ----------
    table
        columns of `ROW_TYPES`, sorted
    errors
        model, year, ticker, error (ln), one row per judged row and model; empty without published volatilities
    scatter
        ticker, predicted, published (per year), every k-th row; empty likewise
    curves
        ticker, model (``chain`` or a smile), log_moneyness, ratio; empty without chains
    """

    table: pd.DataFrame
    errors: pd.DataFrame
    scatter: pd.DataFrame
    curves: pd.DataFrame


def build(fitting: PublishedRows, judged: PublishedRows, chains: pd.DataFrame, rate: float) -> IvReport:
    """Compare the proxies with what was published and quoted.

    Parameters
    ----------
    fitting, judged
        of `iv_fit.published_rows` over `FIT_SPAN` and `JUDGE_SPAN`; where one is too small, what needs it is left out
    chains
        columns of `market.schemas.OPTION_CHAINS`; may be empty
    rate
        continuously compounded, per year

    Returns
    -------
    IvReport
    """
    fittable = _can_be_validated(fitting)
    parts: list[pd.DataFrame] = []
    errors = pd.DataFrame(columns=["model", "year", "ticker", "error"])
    scatter = pd.DataFrame(columns=["ticker", "predicted", "published"])
    if len(judged.iv):
        made = _level_errors(fitting if fittable else None, judged)
        parts += [_level_table(made, judged), _limits(made["fitted"], judged)]
        errors, scatter = _errors_frame(made, judged), _scatter(made["fitted"], judged)
        if fittable:
            parts.append(_other_stocks(fitting, judged))
    if fittable:
        parts.append(_choice(fitting))
    curves = _curves(iv_chains.smiles(chains, rate))
    if len(curves):
        trades = iv_chains.butterflies(chains, rate)
        parts += [_smile_table(curves), _debit_table(trades, rate)]
        if len(errors):
            parts.append(_debit_of_level(trades, errors, rate))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(ROW_TYPES))
    keys = ["comparison", "model", "metric", "group"]
    table = table[list(ROW_TYPES)].astype(ROW_TYPES).sort_values(keys, kind="stable").reset_index(drop=True)
    return IvReport(table, errors, scatter, curves)


def _can_be_validated(rows: PublishedRows) -> bool:
    """Whether each half of the stocks has rows enough to fit in every year: validation leaves years and stocks out."""
    years, counts = np.unique(rows.years, return_counts=True)
    enough = np.sort(counts)[:2].sum() >= 2 * iv_fit.MINIMUM_ROWS
    return bool(len(years) >= VALIDATION_YEARS and enough and len(set(rows.tickers)) >= 2)


def _rows(comparison: str, figures: list[tuple[str, str, str, float, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(figures, columns=["model", "metric", "group", "value", "n"])
    return frame.assign(comparison=comparison)


def _level_errors(fitting: PublishedRows | None, judged: PublishedRows) -> dict[str, Floats]:
    """ln(model / published) of every judged row, NaN where a model has no level."""
    published = np.log(judged.iv)
    returns = np.diff(np.log(judged.closes), axis=1)
    made: dict[str, Floats] = {}
    for sessions in (20, 30, 60):
        vol = returns[:, -sessions:].std(axis=1, ddof=1) * np.sqrt(iv_proxy.SESSIONS_PER_YEAR)
        made[f"1.15 x HV{sessions}"] = _log(iv_proxy.ATM_MULTIPLE * vol) - published
    if fitting is not None:
        intercept, weights = _least_squares(_plain(fitting), fitting.target)
        made["plain regression"] = _plain(judged) @ weights + intercept - judged.target
    made["fitted"] = _log(iv_level.level(judged.closes, judged.vix)) - published
    made["rank level"] = _log(iv_level.rank_history(judged.closes, judged.vix)[:, -1]) - published
    return made


def _log(vol: Floats) -> Floats:
    return np.asarray(np.log(np.where(vol > iv_proxy.MINIMUM_VOL, vol, np.nan)))


def _plain(rows: PublishedRows) -> Floats:
    """The first regression anyone would try: log realised volatilities of 10 .. 480 sessions and log VIX."""
    names = tuple(f"realised_{sessions}" for sessions in PLAIN_HORIZONS)
    log_vix = np.log(rows.vix[:, -1] / iv_level.VIX_POINTS)
    columns = [term + log_vix for term in iv_level.terms(rows.closes, rows.vix, names).values()]
    return np.column_stack([*columns, log_vix])


def _least_squares(X: Floats, y: Floats) -> tuple[float, Floats]:
    known = np.isfinite(X).all(axis=1)
    design = np.column_stack([np.ones(known.sum()), X[known]])
    found = np.linalg.lstsq(design, y[known], rcond=None)[0]
    return float(found[0]), np.asarray(found[1:])


def _level_table(made: dict[str, Floats], judged: PublishedRows) -> pd.DataFrame:
    groups = [(ALL, np.ones(len(judged.iv), dtype=bool))]
    groups += [(str(year), judged.years == year) for year in sorted(set(judged.years.tolist()))]
    groups += [(name, judged.tickers == name) for name in sorted(set(judged.tickers.tolist()))]
    figures = []
    for model, errors in made.items():
        for group, inside in groups:
            known = errors[inside & np.isfinite(errors)]
            if known.size:
                figures += [
                    (model, "median_absolute_error", group, float(np.median(np.abs(known))), known.size),
                    (model, "median_error", group, float(np.median(known)), known.size),
                    (model, "p90_absolute_error", group, float(np.quantile(np.abs(known), 0.9)), known.size),
                ]
    return _rows("level", figures)


def _limits(errors: Floats, judged: PublishedRows) -> pd.DataFrame:
    """How much of the error belongs to a ticker, or to a day, as a whole."""
    frame = pd.DataFrame({"ticker": judged.tickers, "session": judged.sessions, "error": errors}).dropna()
    by_ticker = frame["error"] - frame.groupby("ticker")["error"].transform("median")
    by_day = frame["error"] - frame.groupby("session")["error"].transform("median")
    both = by_ticker - by_ticker.groupby(frame["session"]).transform("median")
    moves = pd.Series(np.log(judged.iv)).groupby(judged.tickers).diff().abs().dropna()
    left = {"each ticker's median known": by_ticker, "each session's median known": by_day, "both known": both}
    figures = [("fitted", "median_absolute_error", group, float(e.abs().median()), len(e)) for group, e in left.items()]
    figures.append(("published", "median_daily_move", ALL, float(moves.median()), len(moves)))
    return _rows("level_limits", figures)


def _term_matrix(rows: PublishedRows) -> Floats:
    return np.column_stack(list(iv_level.terms(rows.closes, rows.vix).values()))


def _whole(X: Floats, rows: PublishedRows) -> tuple[Floats, PublishedRows]:
    known = np.asarray(np.isfinite(X).all(axis=1), dtype=bool)
    return X[known], rows.where(known)


def _other_stocks(fitting: PublishedRows, judged: PublishedRows) -> pd.DataFrame:
    figures = []
    models: tuple[tuple[str, Callable[[PublishedRows], Floats], iv_fit.FitTerms], ...] = (
        # The target is a ratio to the VIX; with the VIX among the terms least squares are the same either way.
        ("plain regression", _plain, _least_squares),
        ("fitted", _term_matrix, iv_fit.regress),
    )
    for model, matrix, fit_terms in models:
        fitted_on, judged_on = _whole(matrix(fitting), fitting), _whole(matrix(judged), judged)
        errors = iv_fit.other_half_errors(*fitted_on, *judged_on, fit_terms)
        medians = [float(np.median(part)) for part in errors if part.size]
        figures += [
            (model, "median_absolute_error", ALL, float(np.median(np.concatenate(errors))), len(errors)),
            (model, "median_absolute_error", "mean of splits", float(np.mean(medians)), len(errors)),
            (model, "median_absolute_error", "worst tenth of splits", float(np.quantile(medians, 0.9)), len(errors)),
        ]
    return _rows("level_other_stocks", figures)


def _choice(fitting: PublishedRows) -> pd.DataFrame:
    """Validation errors as the terms are added one by one, and with a GARCH forecast on top of them all."""
    every = iv_level.terms(fitting.closes, fitting.vix)
    chosen: list[str] = []
    splits = iv_fit.half_splits(fitting.tickers)
    splits = splits[:: max(1, len(splits) // VALIDATION_SPLITS)]
    figures = []
    for model, names in (*CHOICES.items(), ("+ GARCH forecast", ("garch",))):
        if names == ("garch",):
            every["garch"] = _garch_term(fitting)
        chosen += names
        X, rows = _whole(np.column_stack([every[name] for name in chosen]), fitting)
        found = iv_fit.validation_errors(X, rows, splits)
        figures += [(f"{len(chosen):02d} {model}", "median_absolute_error", k, v, len(X)) for k, v in found.items()]
    return _rows("level_choice", figures)


def _garch_term(rows: PublishedRows) -> Floats:
    """ln(GARCH forecast of 30 sessions / VIX), NaN where there is no fit."""
    vol = fit_forecast_batch(100.0 * np.diff(np.log(rows.closes), axis=1)).annualised_vol
    return np.asarray(_log(vol) - np.log(rows.vix[:, -1] / iv_level.VIX_POINTS))


def _errors_frame(made: dict[str, Floats], judged: PublishedRows) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"model": model, "year": judged.years, "ticker": judged.tickers, "error": errors})
        for model, errors in made.items()
    ]
    return pd.concat(parts, ignore_index=True).dropna()


def _scatter(errors: Floats, judged: PublishedRows) -> pd.DataFrame:
    step = max(1, len(judged.iv) // SCATTER_POINTS)
    frame = pd.DataFrame(
        {"ticker": judged.tickers, "predicted": judged.iv * np.exp(errors), "published": judged.iv},
    )
    return frame[::step].dropna().reset_index(drop=True)


def _curves(smiles: pd.DataFrame) -> pd.DataFrame:
    """Median smile of each underlying where at least half of its expiries quote, and the proxies beside it."""
    parts: list[pd.DataFrame] = []
    for ticker, quotes in smiles.groupby("ticker", sort=True):
        found = [_on_grid(curve) for _, curve in quotes.groupby(["quoted_at", "expiry"], sort=True)]
        ratios = np.vstack(found)
        quoted = np.isfinite(ratios).mean(axis=0) >= 0.5
        ratio = np.full(len(CURVE_POINTS), np.nan)
        ratio[quoted] = np.nanmedian(ratios[:, quoted], axis=0)
        models = {"chain": ratio} | {
            smile: iv_proxy.smile_multiple(np.exp(CURVE_POINTS), 1.0, smile) for smile in SMILES
        }
        parts += [
            pd.DataFrame({"ticker": ticker, "model": model, "log_moneyness": CURVE_POINTS, "ratio": values})
            for model, values in models.items()
        ]
    columns = ["ticker", "model", "log_moneyness", "ratio"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _on_grid(curve: pd.DataFrame) -> Floats:
    moneyness = curve["log_moneyness"].to_numpy(dtype=np.float64)
    ratio = (curve["iv"] / curve["atm"]).to_numpy(dtype=np.float64)
    return np.asarray(np.interp(CURVE_POINTS, moneyness, ratio, left=np.nan, right=np.nan))


def _smile_table(curves: pd.DataFrame) -> pd.DataFrame:
    figures = []
    for (ticker, model), curve in curves.groupby(["ticker", "model"], sort=True):
        known = curve.dropna()
        for moneyness in MONEYNESS:
            m = np.log(moneyness)
            if known["log_moneyness"].min() <= m <= known["log_moneyness"].max():
                value = float(np.interp(m, known["log_moneyness"], known["ratio"]))
                if model != "chain":
                    value = float(iv_proxy.smile_multiple(moneyness, 1.0, cast(Smile, model)))
                figures.append((str(model), "iv_over_atm", f"{ticker} | {moneyness:g}", value, len(known)))
    return _rows("smile", figures)


def _proxy_debit(trades: pd.DataFrame, vols: iv_proxy.LegVols, rate: float) -> Floats:
    return pricing.value(trades["carried"].to_numpy(), strikes_of(_named(trades)), trades["days"], rate, vols)


def _named(trades: pd.DataFrame) -> pd.DataFrame:
    names = {"lower": "lower_strike", "center": "center_strike", "upper": "upper_strike"}
    return trades.rename(columns=names)


def _debit_table(trades: pd.DataFrame, rate: float) -> pd.DataFrame:
    """Errors by underlying and wing; ``all`` is the mean over underlyings, so that a long file does not outvote."""
    spread = (trades["half_spread"] / trades["debit"]).to_numpy()
    figures = _by_wing(trades, "quotes", "half_spread_over_debit", spread)
    for smile in SMILES:
        strikes = strikes_of(_named(trades))
        vols = iv_proxy.leg_vols(trades["atm"].to_numpy(), strikes, trades["spot"].to_numpy(), smile)
        error = _proxy_debit(trades, vols, rate) / trades["debit"].to_numpy() - 1.0
        figures += _by_wing(trades, smile, "median_absolute_error", np.abs(error))
        figures += _by_wing(trades, smile, "median_error", error)
    return _rows("debit", figures)


def _by_wing(trades: pd.DataFrame, model: str, metric: str, values: Floats) -> list[tuple[str, str, str, float, int]]:
    frame = trades[["ticker", "wing"]].assign(value=values)
    figures = []
    for wing, trades_of_wing in frame.groupby("wing", sort=True):
        medians: list[float] = []
        for ticker, values_of_ticker in trades_of_wing.groupby("ticker", sort=True)["value"]:
            medians.append(float(values_of_ticker.median()))
            figures.append((model, metric, f"{ticker} | {wing}", medians[-1], len(values_of_ticker)))
        figures.append((model, metric, f"{ALL} | {wing}", float(np.mean(medians)), len(trades_of_wing)))
    return figures


def _debit_of_level(trades: pd.DataFrame, errors: pd.DataFrame, rate: float) -> pd.DataFrame:
    figures = []
    legs = [trades[name].to_numpy() for name in ("iv_lower", "iv_center", "iv_upper")]
    exact = _proxy_debit(trades, iv_proxy.LegVols(*legs), rate)
    for model, size in errors["error"].abs().groupby(errors["model"]).median().items():
        moved = [
            np.abs(
                _proxy_debit(trades, iv_proxy.LegVols(*(leg * np.exp(sign * size) for leg in legs)), rate) / exact - 1
            )
            for sign in (-1.0, 1.0)
        ]
        figures += _by_wing(trades, str(model), "median_absolute_error", np.mean(moved, axis=0))
    return _rows("debit_of_level", figures)


def plots_of(report: IvReport) -> dict[str, bytes]:
    """PNG plots of a report, by title; those without data are left out.

    Returns
    -------
    dict
        ``level error by model and year``, ``fitted against published``, ``smiles``, ``debit errors``
    """
    drawn: dict[str, bytes] = {}
    if len(report.errors):
        drawn["level error by model and year"] = iv_plots.level_errors_by_year(report.errors)
        drawn["fitted against published"] = iv_plots.level_scatter(report.scatter)
    if len(report.curves):
        table = report.table
        shown = (table["comparison"] == "debit") & table["metric"].isin(DEBIT_METRICS)
        drawn["smiles"] = iv_plots.smile_curves(report.curves)
        drawn["debit errors"] = iv_plots.debit_errors(table[shown], SMILES)
    return drawn
