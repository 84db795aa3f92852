"""Contracts of the butterfly line's tables: the single truth on what columns mean, their units and their ranges.

What belongs here: columns and rules that a frame alone can be judged by. Order and types of analyses and labels are
those the pure functions deliver; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from butterquant_assets.butterfly.analysis import MAX_FORECAST_MOVE
from butterquant_assets.butterfly.features import FEATURES as FEATURE_NAMES
from butterquant_assets.butterfly.labels import ROI_KINDS
from butterquant_assets.butterfly.pricing import label_of
from butterquant_assets.foundation.calendar import is_session
from butterquant_assets.foundation.contracts import Contract, Rule

KEYS = ("session", "ticker")
STRATA = ("low", "normal", "high")
TOLERANCE = 1e-9
_DATE, _TEXT, _FLOAT, _INT = "datetime64[us]", "str", "float64", "int64"


def _column(
    dtype: str,
    description: str,
    unit: str | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    one_of: Iterable[str] | None = None,
    nullable: bool = False,
) -> pa.Column:
    checks = []
    if low is not None:
        checks.append(pa.Check.ge(low))
    if above is not None:
        checks.append(pa.Check.gt(above))
    if high is not None:
        checks.append(pa.Check.le(high))
    if one_of is not None:
        checks.append(pa.Check.isin(list(one_of)))
    if dtype == _FLOAT:
        checks.append(pa.Check(_finite, name="finite", error="finite"))
    metadata = {"unit": unit} if unit else None
    return pa.Column(dtype, checks, nullable=nullable, description=description, metadata=metadata)


def _finite(values: pd.Series) -> pd.Series:
    return ~pd.Series(np.isinf(values.to_numpy(dtype=np.float64)), index=values.index)


def _table(columns: dict[str, pa.Column]) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(columns, strict=True, ordered=True)


def _key_columns() -> dict[str, pa.Column]:
    return {
        "session": _column(_DATE, "session of the analysis, a date label"),
        "ticker": _column(_TEXT, "ticker as the source names it"),
    }


def _sample_columns() -> dict[str, pa.Column]:
    return {
        "stratum": _column(_TEXT, "VIX stratum: low < 15 <= normal <= 25 < high", one_of=STRATA),
        "episode": _column(_TEXT, "maximal run of sessions in one stratum that this one belongs to"),
    }


# ---------------------------------------------------------------------------------------------------------- rules


def _series(frame: pd.DataFrame, good: Any) -> pd.Series:
    return pd.Series(np.asarray(good, dtype=bool), index=frame.index)


def _close(left: pd.Series, right: pd.Series | float, scale: pd.Series | float = 1.0) -> pd.Series:
    return (left - right).abs() <= TOLERANCE * np.maximum(np.abs(right), scale)


def sessions_rule(*columns: str) -> Rule:
    """Every date in `columns` is a session of the exchange."""
    return Rule(
        "_and_".join(columns) + "_on_exchange_calendar",
        f"{' and '.join(columns)} are sessions of the exchange calendar",
        lambda frame: _series(frame, np.all([is_session(frame[column].to_numpy()) for column in columns], axis=0)),
    )


def no_label_after(last_session: str | pd.Timestamp) -> Rule:
    """No row has a label whose evaluation session lies after `last_session`.

    A frame alone does not know how far the data reaches, so the caller who does adds this rule to `ROI_LABELS`.
    """
    last = pd.Timestamp(last_session)
    return Rule(
        "no_label_from_the_future",
        "a row evaluated after the last session of the data has no label",
        lambda frame: (frame["evaluation_session"] <= last) | (frame["missing_reason"] == "after_data_end"),
    )


def _stratum_fits(frame: pd.DataFrame) -> pd.Series:
    vix = frame["vix_close"]
    words = np.where(vix < 15.0, "low", np.where(vix <= 25.0, "normal", "high"))
    return _series(frame, words == frame["stratum"].to_numpy(dtype=object))


def _strikes_fit(frame: pd.DataFrame) -> pd.Series:
    below, above = frame["center_strike"] - frame["lower_strike"], frame["upper_strike"] - frame["center_strike"]
    price = frame["center_strike"]
    return (below > 0.0) & _close(below, frame["width"], price) & _close(above, frame["width"], price)


def _profit_and_loss_fit(frame: pd.DataFrame) -> pd.Series:
    sums = _close(frame["max_profit"] + frame["debit"], frame["width"])
    return (
        sums
        & (frame["max_loss"] == frame["debit"])
        & _close(frame["profit_ratio"], frame["max_profit"] / frame["debit"])
    )


def _dates_fit(frame: pd.DataFrame) -> pd.Series:
    life = pd.to_timedelta(frame["dte"], unit="D")
    left = pd.to_timedelta(frame["days_left"], unit="D")
    return (
        (frame["session"] + life == frame["expiry"])
        & (frame["evaluation_session"] + left == frame["expiry"])
        & (frame["evaluation_session"] > frame["session"])
    )


def _credit_fits(frame: pd.DataFrame) -> pd.Series:
    return frame["credit"].notna() == (frame["butterfly_type"] == "IRON")


def _type_fits(frame: pd.DataFrame) -> pd.Series:
    put = (frame["trend_direction"] == "DOWN") & (frame["cycle_position"] == "PEAK")
    wanted = np.where(frame["trend_direction"] == "FLAT", "IRON", np.where(put, "PUT", "CALL"))
    return _series(frame, wanted == frame["butterfly_type"].to_numpy(dtype=object))


def _forecast_near_spot(frame: pd.DataFrame) -> pd.Series:
    return (frame["forecast_price"] / frame["spot"] - 1.0).abs() <= MAX_FORECAST_MOVE + TOLERANCE


_EXIT_COLUMNS = ("exit_spot", "exit_iv_lower", "exit_iv_center", "exit_iv_upper", "exit_cost")
_ROI_COLUMNS = tuple(f"roi_{kind}" for kind in ROI_KINDS)
_LABEL_COLUMNS = tuple(f"label_{kind}" for kind in ROI_KINDS)
MISSING_REASONS = ("", "after_data_end", "no_bar_on_evaluation", "too_short_for_exit_iv", "no_exit_iv")


def _all_or_nothing(frame: pd.DataFrame) -> pd.Series:
    known = frame[[*_EXIT_COLUMNS, *_ROI_COLUMNS, *_LABEL_COLUMNS]].notna()
    labelled = frame["missing_reason"] == ""
    return (labelled & known.all(axis=1)) | (~labelled & ~known.any(axis=1))


def _labels_agree(frame: pd.DataFrame) -> pd.Series:
    good = np.ones(len(frame), dtype=bool)
    for roi, label in zip(_ROI_COLUMNS, _LABEL_COLUMNS, strict=True):
        stored = frame[label].to_numpy(dtype=np.float64)
        good &= np.equal(label_of(frame[roi]), stored) | (np.isnan(stored) & frame[roi].isna().to_numpy())
    return _series(frame, good)


def _definitions_agree(frame: pd.DataFrame) -> pd.Series:
    """The tent is -1 outside the wings and at least the expiry value inside, where the latter exceeds -1."""
    tent, expiry = frame["roi_tent"], frame["roi_expiry"]
    outside = (tent + 1.0).abs() <= TOLERANCE
    inside = (tent >= -TOLERANCE) & (tent >= expiry - TOLERANCE)
    return tent.isna() | (outside & (expiry <= -1.0 + TOLERANCE)) | inside


def _evaluated_later(frame: pd.DataFrame) -> pd.Series:
    return (frame["evaluation_session"] > frame["session"]) & (frame["days_left"] >= 0)


_LABELS_AGREE = Rule("labels_agree_with_roi", "each class is that of its ROI", _labels_agree)
_TENT_BOUNDS = Rule(
    "tent_and_expiry_agree", "roi_tent is -1 outside the wings and not below roi_expiry inside", _definitions_agree
)

# -------------------------------------------------------------------------------------------------------- contracts

VIX_SAMPLES = Contract(
    "butterfly/vix_samples",
    _table(
        _key_columns()
        | {
            "stratum": _sample_columns()["stratum"],
            "vix_close": _column(_FLOAT, "VIX close of the session", "points", above=0.0, high=200.0),
            "episode": _sample_columns()["episode"],
        }
    ),
    KEYS,
    time=None,
    rules=(
        Rule("stratum_fits_vix", "the stratum is that of the VIX close", _stratum_fits),
        sessions_rule("session"),
    ),
)

ANALYSES = Contract(
    "butterfly/analyses",
    _table(
        _key_columns()
        | _sample_columns()
        | {
            "vix_close": _column(_FLOAT, "VIX close of the session", "points", above=0.0, high=200.0),
            "spot": _column(_FLOAT, "close as quoted on the session", "USD", above=0.0),
            "hv": _column(
                _FLOAT, "realised volatility of the last 30 daily log returns", "per year", low=0.0, high=20.0
            ),
            "predicted_vol": _column(
                _FLOAT, "mean of the 30-step GARCH(1,1) volatility forecasts", "per year", above=0.0, high=20.0
            ),
            "current_iv": _column(_FLOAT, "at-the-money implied volatility", "per year", above=0.0, high=25.0),
            "iv_percentile": _column(
                _FLOAT,
                "share of the previous 252 values of current_iv below today's; missing where fewer than 126 are known",
                "0 .. 1",
                low=0.0,
                high=1.0,
                nullable=True,
            ),
            "vol_mispricing": _column(
                _FLOAT, "(current_iv - predicted_vol) / current_iv; high where options look dear", "ratio", high=1.0
            ),
            "iv_source": _column(
                _TEXT,
                "where implied volatility comes from: a proxy on realised volatility, or published values",
                one_of=("realised", "fitted", "published"),
            ),
            "forecast_price": _column(_FLOAT, "mean of the 30-step ARIMA forecasts", "USD", above=0.0),
            "band_pct": _column(_FLOAT, "95 % band of the forecast in percent of its mean", "%", above=0.0),
            "arima_order": _column(_TEXT, "order (p,d,q) with the lowest AIC"),
            "trend_slope": _column(_FLOAT, "slope of the spectral trend over its last 20 values", "% per session"),
            "dominant_period": _column(_FLOAT, "strongest period between 7 and 180", "sessions", low=7.0, high=180.0),
            "period_strength": _column(_FLOAT, "its share of the spectrum's power", "%", low=0.0, high=100.0),
            "trend_direction": _column(_TEXT, "slope beyond +-0.15, else FLAT", one_of=("UP", "DOWN", "FLAT")),
            "cycle_position": _column(_TEXT, "sign of the mean of the cycle's last ten", one_of=("PEAK", "TROUGH")),
            "butterfly_type": _column(_TEXT, "from trend and cycle", one_of=("CALL", "PUT", "IRON")),
            "lower_strike": _column(_FLOAT, "strike bought below, in shares of the session", "USD", above=0.0),
            "center_strike": _column(_FLOAT, "strike sold twice", "USD", above=0.0),
            "upper_strike": _column(_FLOAT, "strike bought above", "USD", above=0.0),
            "width": _column(_FLOAT, "distance of neighbouring strikes", "USD", above=0.0),
            "dte": _column(_INT, "days from session to expiry", "calendar days", low=1),
            "expiry": _column(_DATE, "session + dte calendar days"),
            "rate": _column(_FLOAT, "continuously compounded, Actual/365", "per year"),
            "iv_lower": _column(_FLOAT, "implied volatility at the lower strike", "per year", above=0.0),
            "iv_center": _column(_FLOAT, "implied volatility at the center strike", "per year", above=0.0),
            "iv_upper": _column(_FLOAT, "implied volatility at the upper strike", "per year", above=0.0),
            "debit": _column(_FLOAT, "Black-Scholes price of the spread +1/-2/+1", "USD per share", above=0.0),
            "credit": _column(
                _FLOAT,
                "width x exp(-rate dte/365) - debit, what the iron butterfly pays; missing for other types",
                "USD per share",
                above=0.0,
                nullable=True,
            ),
            "max_profit": _column(_FLOAT, "width - debit, at expiry at the center", "USD per share", above=0.0),
            "max_loss": _column(_FLOAT, "the debit", "USD per share", above=0.0),
            "profit_ratio": _column(_FLOAT, "max_profit / max_loss", "ratio", above=0.0),
            "entry_cost": _column(_FLOAT, "half-spreads and commission of opening", "USD per share", above=0.0),
            "delta": _column(_FLOAT, "change of the spread per dollar of spot", "USD per USD"),
            "gamma": _column(_FLOAT, "change of delta per dollar of spot", "per USD"),
            "vega": _column(_FLOAT, "change of the spread per volatility point", "USD per point"),
            "theta": _column(_FLOAT, "change of the spread per calendar day", "USD per day"),
            "prob_profit": _column(
                _FLOAT,
                "P(mark at evaluation > debit) of a driftless lognormal with predicted_vol; marks at entry IVs",
                "0 .. 1",
                low=0.0,
                high=1.0,
            ),
            "price_stability": _column(_FLOAT, "1 / (band_pct / 100 + 1e-6), clipped", "ratio", low=0.0, high=100.0),
            "momentum_7d": _column(_FLOAT, "close over the close 7 bars before, minus 1, clipped", low=-1.0, high=1.0),
            "vol_concentration": _column(_FLOAT, "max / mean of the last 5 volumes, clipped", low=0.5, high=10.0),
            "return_skew": _column(
                _FLOAT, "skewness of the last 60 daily log returns; missing where prices did not move", nullable=True
            ),
            "evaluation_session": _column(_DATE, "session on which the trade is judged, known at entry"),
            "days_left": _column(_INT, "days from evaluation to expiry", "calendar days", low=0),
            "total_score": _column(_FLOAT, "the source document's score", "points", low=-10.0, high=100.0),
            "recommendation": _column(_TEXT, "the score in words", one_of=("STRONG_BUY", "BUY", "NEUTRAL", "AVOID")),
        }
    ),
    KEYS,
    rules=(
        Rule("strikes_symmetric", "lower < center < upper, one width apart on either side", _strikes_fit),
        Rule("debit_within_width", "0 < debit < width", lambda f: (f["debit"] > 0.0) & (f["debit"] < f["width"])),
        Rule("profit_and_loss_fit", "max_profit + max_loss = width, max_loss = debit", _profit_and_loss_fit),
        Rule("dates_fit", "session < evaluation_session <= expiry, dte and days_left days apart", _dates_fit),
        Rule("credit_only_for_iron", "credit is given for iron butterflies and only for them", _credit_fits),
        Rule("type_fits_trend_and_cycle", "the type follows from trend and cycle", _type_fits),
        Rule("forecast_near_spot", "the forecast lies within 15 % of spot", _forecast_near_spot),
        sessions_rule("session", "evaluation_session"),
    ),
)

ANALYSIS_REJECTS = Contract(
    "butterfly/analysis_rejects",
    _table(
        _key_columns()
        | {
            "reason": _column(
                _TEXT,
                "why the sampled row has no analysis",
                one_of=(
                    "no_bar_on_date",
                    "too_short",
                    "missing_sessions",
                    "unexplained_jump",
                    "zero_volume",
                    "zero_volatility",
                    "no_vix_history",
                    "no_fitted_iv",
                    "no_published_iv",
                    "garch_failed",
                    "arima_failed",
                    "forecast_out_of_range",
                    "strikes_not_positive",
                    "debit_out_of_bounds",
                ),
            ),
            "detail": _column(_TEXT, "the reason in a sentence with the offending value"),
        }
    ),
    KEYS,
    rules=(sessions_rule("session"),),
)

_FEATURE_COLUMNS: dict[str, pa.Column] = {
    "trend_slope": _column(_FLOAT, "slope of the spectral trend", "% per session"),
    "dominant_period": _column(_FLOAT, "strongest period", "sessions", low=7.0, high=180.0),
    "period_strength": _column(_FLOAT, "its share of the spectrum's power", "%", low=0.0, high=100.0),
    "forecast_return": _column(_FLOAT, "forecast price / spot - 1", "ratio", low=-0.16, high=0.16),
    "predicted_vol": _column(_FLOAT, "GARCH forecast", "per year", above=0.0),
    "current_iv": _column(_FLOAT, "at-the-money implied volatility", "per year", above=0.0),
    "vol_mispricing": _column(_FLOAT, "(current_iv - predicted_vol) / current_iv", "ratio", high=1.0),
    "iv_percentile": _column(_FLOAT, "rank of current_iv", "0 .. 1", low=0.0, high=1.0, nullable=True),
    "delta": _column(_FLOAT, "delta of the spread", "USD per USD"),
    "gamma": _column(_FLOAT, "gamma x spot", "per unit return"),
    "vega": _column(_FLOAT, "vega per point / spot", "share of spot per point"),
    "theta": _column(_FLOAT, "theta per day / spot", "share of spot per day"),
    "max_profit": _column(_FLOAT, "(width - debit) / spot", "share of spot", above=0.0),
    "max_loss": _column(_FLOAT, "debit / spot", "share of spot", above=0.0),
    "profit_ratio": _column(_FLOAT, "max_profit / max_loss", "ratio", above=0.0),
    "prob_profit": _column(_FLOAT, "P(mark > debit) on the evaluation session", "0 .. 1", low=0.0, high=1.0),
    "skew_estimate": _column(_FLOAT, "skewness of the last 60 daily returns", nullable=True),
    "momentum_7d": _column(_FLOAT, "return over 7 bars, clipped", "ratio", low=-1.0, high=1.0),
    "vol_concentration": _column(_FLOAT, "max / mean of the last 5 volumes, clipped", "ratio", low=0.5, high=10.0),
    "dte_factor": _column(_FLOAT, "min(dte / 30, 2)", "ratio", above=0.0, high=2.0),
    "price_stability": _column(_FLOAT, "inverse width of the forecast band, clipped", "ratio", low=0.0, high=100.0),
    "gamma_theta_ratio": _column(
        _FLOAT, "break-even daily move, annualised, / predicted_vol, clipped", "ratio", low=0.0, high=5.0, nullable=True
    ),
    "vix_level": _column(_FLOAT, "VIX close of the session", "points", above=0.0),
}

FEATURES = Contract(
    "butterfly/features",
    _table(_key_columns() | {name: _FEATURE_COLUMNS[name] for name in FEATURE_NAMES}),
    KEYS,
    rules=(sessions_rule("session"),),
)


def _outcome_columns(*, nullable: bool) -> dict[str, pa.Column]:
    meanings = {
        "tent": "the document's: (W - D) f / D inside the wings, -1 outside",
        "expiry": "(W f - D) / D, the profit and loss if the evaluation were expiry",
        "mark": "(mark - D) / D, what closing at the Black-Scholes value pays",
        "net": "after costs both ways",
    }
    # A mark at volatilities that admit arbitrage (the document's steps) can be slightly negative: no bound there.
    rois = {
        f"roi_{kind}": _column(
            _FLOAT, meaning, "ratio", nullable=nullable, low=None if kind == "mark" else -1.0 - TOLERANCE
        )
        for kind, meaning in meanings.items()
    }
    classes = {
        f"label_{kind}": _column(
            _FLOAT,
            f"class of roi_{kind}: 0 < -10 % <= 1 < 5 % <= 2 < 15 % <= 3",
            "class",
            low=0.0,
            high=3.0,
            nullable=nullable,
        )
        for kind in ROI_KINDS
    }
    return rois | classes


ROI_LABELS = Contract(
    "butterfly/roi_labels",
    _table(
        _key_columns()
        | {
            "evaluation_session": _column(_DATE, "session on which the trade is judged"),
            "days_left": _column(_INT, "days from evaluation to expiry", "calendar days", low=0),
            "exit_spot": _column(
                _FLOAT, "quoted close at evaluation x splits since entry", "USD", above=0.0, nullable=True
            ),
            "exit_iv_lower": _column(_FLOAT, "implied volatility at evaluation", "per year", above=0.0, nullable=True),
            "exit_iv_center": _column(_FLOAT, "implied volatility at evaluation", "per year", above=0.0, nullable=True),
            "exit_iv_upper": _column(_FLOAT, "implied volatility at evaluation", "per year", above=0.0, nullable=True),
            "exit_cost": _column(
                _FLOAT, "half-spreads and commission of closing", "USD per share", above=0.0, nullable=True
            ),
        }
        | _outcome_columns(nullable=True)
        | {"missing_reason": _column(_TEXT, "why there is no label; empty where there is one", one_of=MISSING_REASONS)}
    ),
    KEYS,
    rules=(
        Rule("label_or_reason", "a row has all of its exit, ROI and label columns or a reason", _all_or_nothing),
        Rule("evaluated_after_entry", "evaluation_session > session, not after expiry", _evaluated_later),
        _LABELS_AGREE,
        _TENT_BOUNDS,
        sessions_rule("session", "evaluation_session"),
    ),
)

TRAINING_SET = Contract(
    "butterfly/training_set",
    _table(
        _key_columns()
        | _sample_columns()
        | {"evaluation_session": _column(_DATE, "session on which the trade is judged")}
        | {name: _FEATURE_COLUMNS[name] for name in FEATURE_NAMES}
        | _outcome_columns(nullable=False)
    ),
    KEYS,
    time=None,
    rules=(
        Rule(
            "evaluated_after_entry",
            "evaluation_session > session",
            lambda frame: frame["evaluation_session"] > frame["session"],
        ),
        _LABELS_AGREE,
        _TENT_BOUNDS,
        sessions_rule("session", "evaluation_session"),
    ),
)
