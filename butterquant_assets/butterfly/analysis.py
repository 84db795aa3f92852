"""As-of analysis: from the bars up to a date to one fully specified butterfly, or a reason why there is none.

What belongs here: the order of the steps, and which row is rejected at which of them. The steps themselves lie in
`windows`, `iv_proxy`, `strikes`, `pricing`, `scoring` and in `quant`. Cheap steps come first: a row that is rejected
costs no fit. A row's result depends on its own window alone, bit for bit, whatever other rows are in the batch.

Source: REFERENCE section 1; its document is seed 001.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import iv_level, iv_proxy, pricing, profit_probability, scoring, strikes, windows
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.frames import Rows, arranged, details_of, empty
from butterquant_assets.butterfly.implied_vols import iv_table
from butterquant_assets.foundation.errors import ArbitrageError, DataError, FitError, InsufficientHistoryError
from butterquant_assets.quant import arima_batch, garch_batch, spectrum

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FORECAST_STEPS = 30
ARIMA_CLOSES = 120
MAX_FORECAST_MOVE = 0.15
SKEW_RETURNS = 60
MOMENTUM_BARS = 7

_FLOAT, _INT, _TEXT, _DATE = "float64", "int64", "str", "datetime64[us]"
ANALYSIS_TYPES: dict[str, str] = {
    "session": _DATE,
    "ticker": _TEXT,
    "stratum": _TEXT,
    "episode": _TEXT,
    **dict.fromkeys(("vix_close", "spot", "hv", "predicted_vol", "current_iv", "iv_percentile"), _FLOAT),
    "vol_mispricing": _FLOAT,
    "iv_source": _TEXT,
    **dict.fromkeys(("forecast_price", "band_pct"), _FLOAT),
    "arima_order": _TEXT,
    **dict.fromkeys(("trend_slope", "dominant_period", "period_strength"), _FLOAT),
    **dict.fromkeys(("trend_direction", "cycle_position", "butterfly_type"), _TEXT),
    **dict.fromkeys(("lower_strike", "center_strike", "upper_strike", "width"), _FLOAT),
    "dte": _INT,
    "expiry": _DATE,
    **dict.fromkeys(("rate", "iv_lower", "iv_center", "iv_upper", "debit", "credit", "max_profit", "max_loss"), _FLOAT),
    **dict.fromkeys(("profit_ratio", "entry_cost", "delta", "gamma", "vega", "theta", "prob_profit"), _FLOAT),
    **dict.fromkeys(("price_stability", "momentum_7d", "vol_concentration", "return_skew"), _FLOAT),
    "evaluation_session": _DATE,
    "days_left": _INT,
    "total_score": _FLOAT,
    "recommendation": _TEXT,
}
"""Columns of the analyses in stored order with their types; `schemas.ANALYSES` adds meaning, units and ranges."""

REJECT_TYPES: dict[str, str] = {"session": _DATE, "ticker": _TEXT, "reason": _TEXT, "detail": _TEXT}
"""Columns of the rejects."""

_ROW_COLUMNS = tuple(name for name in ANALYSIS_TYPES if name not in ("stratum", "episode"))
_SHORT_HISTORY = ("no_bar_on_date", "too_short", "missing_sessions")
_ERROR_OF_REASON: dict[str, type[DataError]] = {
    **dict.fromkeys(_SHORT_HISTORY, InsufficientHistoryError),
    "garch_failed": FitError,
    "arima_failed": FitError,
    "debit_out_of_bounds": ArbitrageError,
}


@dataclass(frozen=True)
class AnalysisResult:
    """Analyses and rejects; every sampled row is in exactly one of the two.

    Attributes
    ----------
    analyses
        columns of `schemas.ANALYSES`, sorted by (session, ticker)
    rejects
        columns of `schemas.ANALYSIS_REJECTS`, sorted by (session, ticker)
    """

    analyses: pd.DataFrame
    rejects: pd.DataFrame


def analyse(
    samples: pd.DataFrame,
    bars: pd.DataFrame,
    implied_vols: pd.DataFrame,
    config: AnalysisConfig,
    costs: CostConfig | None = None,
    vix: pd.DataFrame | None = None,
) -> AnalysisResult:
    """Analyse every sampled (session, ticker) as of its session.

    Parameters
    ----------
    samples
        session, ticker, stratum, vix_close, episode; one row per (session, ticker)
    bars
        session, ticker, close, volume, split_ratio (others ignored), prices as quoted; bars after a row's session
        are never read for it
    implied_vols
        session, ticker, days, iv (per year); may be empty; read only for ``config.iv_level == "published"``
    config
        levels, smile, strike and expiry rules, rate
    costs
        for ``entry_cost``; the default is `CostConfig()`
    vix
        session, close (points), of every session of the windows; needed, and read, only for
        ``config.iv_level == "fitted"``

    Returns
    -------
    AnalysisResult
        Reasons of rejects, in the order they are tested: ``no_bar_on_date``, ``too_short``, ``missing_sessions``,
        ``zero_volume``, ``zero_volatility``, ``no_vix_history``, ``no_fitted_iv``, ``no_published_iv``,
        ``garch_failed``, ``arima_failed``, ``forecast_out_of_range``, ``strikes_not_positive``,
        ``debit_out_of_bounds``. In the analyses
        ``iv_percentile`` is NaN where fewer than 126 of the previous 252 values are published, ``return_skew`` where
        the last 60 closes are all equal, ``credit`` unless the type is IRON; nothing else is ever missing.

    Raises
    ------
    DataError
        if bars or implied volatilities are unusable as a whole (duplicates, non-positive split ratios or volatilities).
    """
    rows = _analyse_rows(samples, bars, implied_vols, config, costs or CostConfig(), vix)
    found = pd.DataFrame(rows.columns)
    for name in ("stratum", "episode"):
        found[name] = samples[name].to_numpy()[rows["row"]]
    rejects = pd.concat([part for part in rows.rejected if len(part)] or [empty(REJECT_TYPES)])
    return AnalysisResult(arranged(found, ANALYSIS_TYPES), arranged(rejects, REJECT_TYPES))


def analyse_one(
    ticker: str,
    session: str | pd.Timestamp,
    bars: pd.DataFrame,
    implied_vols: pd.DataFrame,
    vix_close: float,
    config: AnalysisConfig,
    costs: CostConfig | None = None,
    vix: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """One full as-of analysis in plain values.

    Parameters
    ----------
    ticker, session
        which row; the session may be written YYYY-MM-DD
    bars, implied_vols, config, costs, vix
        as in `analyse`
    vix_close
        VIX close of the session, in points; NaN where unknown

    Returns
    -------
    dict
        the columns of `schemas.ANALYSES` except stratum and episode, which belong to a sample; dates as YYYY-MM-DD,
        missing numbers as None: ready for JSON. `features.features_of` maps it to the 23 features.

    Raises
    ------
    InsufficientHistoryError
        if there is no bar on the date, or the window before it is too short or has too many holes.
    FitError, ArbitrageError, DataError
        if the row is rejected for another reason; the message gives reason and value.
    """
    row = pd.DataFrame({"session": [pd.Timestamp(session)], "ticker": [ticker], "vix_close": [float(vix_close)]})
    rows = _analyse_rows(row, bars[bars["ticker"] == ticker], implied_vols, config, costs or CostConfig(), vix)
    for part in rows.rejected:
        for reason, detail in zip(part["reason"], part["detail"], strict=True):
            error = _ERROR_OF_REASON.get(str(reason), DataError)
            raise error(f"{ticker} cannot be analysed on {pd.Timestamp(session):%Y-%m-%d} ({reason}): {detail}")
    return {name: _plain(rows[name][0]) for name in _ROW_COLUMNS}


def _plain(value: Any) -> Any:
    if isinstance(value, np.datetime64):
        return f"{pd.Timestamp(value):%Y-%m-%d}"
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value


def _analyse_rows(
    samples: pd.DataFrame,
    bars: pd.DataFrame,
    implied_vols: pd.DataFrame,
    config: AnalysisConfig,
    costs: CostConfig,
    vix: pd.DataFrame | None,
) -> Rows:
    rows = Rows(
        {
            "row": np.arange(len(samples)),
            "session": samples["session"].to_numpy().astype("datetime64[us]"),
            "ticker": samples["ticker"].to_numpy(dtype=object),
            "vix_close": samples["vix_close"].to_numpy(dtype=np.float64),
        }
    )
    _add_windows(rows, bars)
    _add_realised(rows, config)
    _add_spectrum(rows, config)
    if config.iv_level == "fitted":
        _add_fitted_level(rows, vix)
    else:
        _add_level(rows, implied_vols, config)
    rows.add(iv_source=np.full(len(rows["row"]), config.iv_level, dtype=object))
    _add_garch(rows)
    _add_forecast(rows)
    _add_butterfly(rows, config)
    _add_prices(rows, config, costs)
    _add_verdict(rows)
    return rows


def _add_windows(rows: Rows, bars: pd.DataFrame) -> None:
    found = windows.build(rows["ticker"], rows["session"], windows.quoted_bars(bars))
    rows.add(closes=found.closes, volumes=found.volumes, days=found.days)
    rows.reject(found.reasons, found.details)
    rows.reject("zero_volume", windows.volume_defects(rows["volumes"]))
    rows.add(spot=rows["closes"][:, -1].copy())


def _add_realised(rows: Rows, config: AnalysisConfig) -> None:
    closes, volumes = rows["closes"], rows["volumes"]
    returns = iv_proxy.log_returns(closes)
    vols = iv_proxy.realised_vol(returns, iv_proxy.PERCENTILE_SESSIONS + 1)
    momentum = closes[:, -1] / closes[:, -1 - MOMENTUM_BARS] - 1.0
    recent = np.ascontiguousarray(volumes[:, -windows.CONCENTRATION_BARS :])
    rows.add(
        returns=returns,
        hv_history=vols[:, :-1],
        hv=vols[:, -1].copy(),
        momentum_7d=np.clip(momentum, -1.0, 1.0),
        vol_concentration=np.clip(recent.max(axis=1) / recent.mean(axis=1), 0.5, 10.0),
        return_skew=_skewness(np.ascontiguousarray(returns[:, -SKEW_RETURNS:])),
    )
    if config.iv_level == "realised":
        rows.reject("zero_volatility", _still_prices(rows["hv"]))


def _still_prices(hv: Floats) -> npt.NDArray[np.object_]:
    days = iv_proxy.REALISED_RETURNS
    return details_of(
        ~(hv > iv_proxy.MINIMUM_VOL),
        lambda row: f"realised volatility of the last {days} returns is {hv[row]:.3g}, not positive",
    )


def _skewness(values: Floats) -> Floats:
    """Moment ratio m3 / m2^(3/2) without small-sample correction, shape (n, m) in, (n,) out; NaN for equal values."""
    centred = values - values.mean(axis=1, keepdims=True)
    m2, m3 = (centred**2).mean(axis=1), (centred**3).mean(axis=1)
    moving = np.sqrt(m2) * np.sqrt(iv_proxy.SESSIONS_PER_YEAR) > iv_proxy.MINIMUM_VOL
    return np.where(moving, m3 / np.where(moving, m2, 1.0) ** 1.5, np.nan)


def _add_spectrum(rows: Rows, config: AnalysisConfig) -> None:
    found = spectrum.decompose(rows["closes"], rows["volumes"])
    slope = spectrum.trend_slope(found.trend, rows["closes"])
    direction, position = strikes.trend_direction(slope), strikes.cycle_position(found.cycle)
    rows.add(
        trend_slope=slope,
        dominant_period=found.dominant_period,
        period_strength=found.period_strength,
        trend_direction=direction,
        cycle_position=position,
        butterfly_type=strikes.butterfly_type(direction, position),
        dte=strikes.days_to_expiry(found.dominant_period, config.dte_rule),
    )


def _add_level(rows: Rows, implied_vols: pd.DataFrame, config: AnalysisConfig) -> None:
    if config.iv_level == "realised":
        rows.add(
            current_iv=iv_proxy.ATM_MULTIPLE * rows["hv"],
            iv_percentile=iv_proxy.percentile(rows["hv_history"], rows["hv"]),
        )
    else:
        table, key = iv_table(implied_vols), (rows["ticker"], rows["session"], rows["dte"])
        current = table.at(*key)
        rows.add(current_iv=current, iv_percentile=iv_proxy.percentile(table.history(*key), current))
        dte, session = rows["dte"], rows["session"].astype("datetime64[D]")
        rows.reject(
            "no_published_iv",
            details_of(
                np.isnan(current),
                lambda row: (
                    f"no implied volatility published on {session[row]} for {dte[row]} days, nor for shorter "
                    "and longer tenors to interpolate between"
                ),
            ),
        )


def _add_fitted_level(rows: Rows, vix: pd.DataFrame | None) -> None:
    values, lacking = iv_level.vix_windows(rows["days"], iv_level.required_vix(vix))
    rows.add(vix=values)
    rows.reject("no_vix_history", lacking)
    found = iv_level.fitted_level(rows["closes"], rows["vix"])
    rows.add(current_iv=found.level, iv_percentile=found.percentile)
    rows.reject(
        "no_fitted_iv",
        details_of(
            np.isnan(found.level),
            lambda _: "a term of the fitted level is undefined: the price or the VIX hardly moved over its horizon",
        ),
    )
    del rows.columns["vix"]


def _add_garch(rows: Rows) -> None:
    fits = garch_batch.fit_forecast_batch(100.0 * rows["returns"], FORECAST_STEPS)
    rows.add(predicted_vol=fits.annualised_vol)
    rows.reject("garch_failed", np.array([fits.reason(row) for row in range(len(fits.status))], dtype=object))


def _add_forecast(rows: Rows) -> None:
    # Relative to spot, so that neither optimiser nor result depends on the unit of prices.
    fits = arima_batch.choose_and_forecast_batch(
        rows["closes"][:, -ARIMA_CLOSES:] / rows["spot"][:, None], FORECAST_STEPS
    )
    mean = fits.mean.mean(axis=1)
    rows.add(
        forecast_price=mean * rows["spot"],
        band_pct=100.0 * (fits.upper.max(axis=1) - fits.lower.min(axis=1)) / mean,
        arima_order=np.array([",".join(str(term) for term in order) for order in fits.order], dtype=object),
    )
    details = np.array([fits.reason(row) if code else "" for row, code in enumerate(fits.status)], dtype=object)
    rows.reject("arima_failed", details)
    forecast, spot = rows["forecast_price"], rows["spot"]
    rows.reject(
        "forecast_out_of_range",
        details_of(
            ~(np.abs(forecast / spot - 1.0) <= MAX_FORECAST_MOVE),
            lambda row: (
                f"forecast {forecast[row]:.6g} lies {100 * (forecast[row] / spot[row] - 1):+.1f} % from spot "
                f"{spot[row]:g}, at most {100 * MAX_FORECAST_MOVE:g} % is believed"
            ),
        ),
    )


def _add_butterfly(rows: Rows, config: AnalysisConfig) -> None:
    chosen = strikes.choose_strikes(
        rows["spot"],
        rows["forecast_price"],
        rows["predicted_vol"],
        rows["dte"],
        rows["band_pct"],
        rows["dominant_period"],
        config.strike_rule,
    )
    session = rows["session"].astype("datetime64[D]")
    evaluation, left = strikes.evaluation_dates(session, rows["dte"])
    rows.add(
        lower_strike=chosen.lower,
        center_strike=chosen.center,
        upper_strike=chosen.upper,
        width=chosen.width,
        expiry=(session + rows["dte"].astype("timedelta64[D]")).astype("datetime64[us]"),
        evaluation_session=evaluation.astype("datetime64[us]"),
        days_left=left,
        days_held=rows["dte"] - left,
        rate=np.full(len(session), config.rate),
    )
    lower, width = rows["lower_strike"], rows["width"]
    rows.reject(
        "strikes_not_positive",
        details_of(
            ~(lower > 0.0),
            lambda row: f"lower strike {lower[row]:g} of a butterfly {width[row]:g} wide is not positive",
        ),
    )


def _add_prices(rows: Rows, config: AnalysisConfig, costs: CostConfig) -> None:
    chosen = strikes.strikes_of(rows.columns)
    vols = iv_proxy.leg_vols(rows["current_iv"], chosen, rows["spot"], config.smile)
    rows.add(iv_lower=vols.lower, iv_center=vols.center, iv_upper=vols.upper)
    rows.add(debit=pricing.value_by_type(rows["butterfly_type"], rows["spot"], chosen, rows["dte"], rows["rate"], vols))
    rows.reject("debit_out_of_bounds", pricing.debit_defects(rows["debit"], rows["width"], rows["spot"]))
    chosen, vols = strikes.strikes_of(rows.columns), iv_proxy.leg_vols_of(rows.columns)
    debit, width, rate, dte = rows["debit"], rows["width"], rows["rate"], rows["dte"]
    greeks = pricing.greeks_by_type(rows["butterfly_type"], rows["spot"], chosen, dte, rate, vols)
    credit = width * np.exp(-rate * dte / pricing.DAYS_PER_YEAR) - debit
    low, high = profit_probability.break_evens(chosen, rows["days_left"], rate, vols, debit)
    rows.add(
        credit=np.where(rows["butterfly_type"] == "IRON", credit, np.nan),
        max_profit=width - debit,
        max_loss=debit,
        profit_ratio=(width - debit) / debit,
        entry_cost=pricing.trade_cost(rows["spot"], chosen, dte, rate, vols, costs),
        delta=greeks.delta,
        gamma=greeks.gamma,
        vega=greeks.vega,
        theta=greeks.theta,
        prob_profit=profit_probability.profit_probability(
            rows["spot"], rows["predicted_vol"], rows["days_held"], low, high
        ),
    )


def _add_verdict(rows: Rows) -> None:
    mispricing = (rows["current_iv"] - rows["predicted_vol"]) / rows["current_iv"]
    fit = scoring.fit_score(rows["trend_direction"], rows["cycle_position"], rows["period_strength"])
    score = scoring.total_score(
        rows["forecast_price"], rows["center_strike"], mispricing, rows["band_pct"], fit, rows["delta"]
    )
    rows.add(
        vol_mispricing=mispricing,
        price_stability=np.clip(1.0 / (rows["band_pct"] / 100.0 + 1e-6), 0.0, 100.0),
        total_score=score,
        recommendation=scoring.recommendation(score, rows["profit_ratio"]),
    )
    for wide in ("closes", "volumes", "days", "returns", "hv_history"):
        del rows.columns[wide]
