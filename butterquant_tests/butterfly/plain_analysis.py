"""The plain implementation of the analysis: one (session, ticker) at a time, fitted by arch and statsmodels.

Spectrum and fits, which take the time, are written anew: a loop of numpy over one window, `plain_garch` (arch) and
`plain_arima` (statsmodels). The steps around them are the product's own pure functions, called with one row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import analysis, features, labels, strikes
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.frames import Rows, arranged, empty
from butterquant_assets.foundation.errors import FitError
from butterquant_assets.quant import garch, spectrum
from butterquant_tests.quant import plain_arima, plain_garch

Floats = npt.NDArray[np.float64]

NO_DETAIL = ""


@dataclass(frozen=True)
class Row:
    """One analysed, featured and labelled sample; where it was rejected all but `reject` have no rows.

    Attributes
    ----------
    analysis, features, labels, reject
        columns of the four tables, at most one row each
    """

    analysis: pd.DataFrame
    features: pd.DataFrame
    labels: pd.DataFrame
    reject: pd.DataFrame


def analyse_row(
    sample: pd.DataFrame,
    bars: pd.DataFrame,
    implied_vols: pd.DataFrame,
    config: AnalysisConfig,
    costs: CostConfig,
    last_session: pd.Timestamp,
    vix: pd.DataFrame | None = None,
) -> Row:
    """The analysis, features and labels of one sample, from the bars of its ticker; else as in `analysis.analyse`."""
    rows = Rows(
        {
            "row": np.zeros(1, dtype=np.int64),
            "session": sample["session"].to_numpy().astype("datetime64[us]"),
            "ticker": sample["ticker"].to_numpy(dtype=object),
            "vix_close": sample["vix_close"].to_numpy(dtype=np.float64),
        }
    )
    analysis._add_windows(rows, bars)
    analysis._add_realised(rows, config)
    _add_spectrum(rows, config)
    if config.iv_level == "fitted":
        analysis._add_fitted_level(rows, vix)
    else:
        analysis._add_level(rows, implied_vols, config)
    rows.add(iv_source=np.full(len(rows["row"]), config.iv_level, dtype=object))
    _add_garch(rows)
    _add_forecast(rows)
    analysis._add_butterfly(rows, config)
    analysis._add_prices(rows, config, costs)
    analysis._add_verdict(rows)
    found = pd.DataFrame(rows.columns)
    for name in ("stratum", "episode"):
        found[name] = sample[name].to_numpy()[rows["row"]]
    found = arranged(found, analysis.ANALYSIS_TYPES)
    rejects = pd.concat([part for part in rows.rejected if len(part)] or [empty(analysis.REJECT_TYPES)])
    return Row(
        found,
        features.build_features(found),
        labels.label_trades(found, bars, implied_vols, last_session, config, costs, vix=vix),
        arranged(rejects, analysis.REJECT_TYPES),
    )


def plain_spectrum(closes: Floats, volumes: Floats) -> tuple[float, float, Floats, Floats]:
    """Dominant period, its strength, trend and cycle of one window, with numpy's own transform; shape (m,) in."""
    size, lags = spectrum.SPECTRUM_SESSIONS, np.ones(spectrum.VWAP_SESSIONS)
    vwap = np.convolve(closes * volumes, lags, "valid")[-size:] / np.convolve(volumes, lags, "valid")[-size:]
    x = closes[-size:] - vwap
    periods = np.append(np.inf, size / np.arange(1, size // 2 + 1))
    power = np.abs(np.fft.rfft((x - x.mean()) * np.hanning(size))) ** 2
    power[0] = 0.0
    allowed = (periods > spectrum.SHORTEST_DOMINANT) & (periods < spectrum.LONGEST_DOMINANT)
    strongest = int(np.argmax(np.where(allowed, power, -1.0)))
    moves = np.sqrt(power[strongest]) > spectrum.NOISE_SHARE * closes[-size:].mean() * np.hanning(size).sum()
    transform, slow = np.fft.rfft(x), periods >= spectrum.TREND_PERIOD
    trend = np.fft.irfft(np.where(slow, transform, 0.0), n=size) + vwap
    cycle = np.fft.irfft(np.where((periods >= spectrum.SHORTEST_CYCLE) & ~slow, transform, 0.0), n=size)
    if not moves:
        return spectrum.DEFAULT_PERIOD, 0.0, trend, cycle
    return float(periods[strongest]), float(100.0 * power[strongest] / power.sum()), trend, cycle


def _add_spectrum(rows: Rows, config: AnalysisConfig) -> None:
    found = [plain_spectrum(*window) for window in zip(rows["closes"], rows["volumes"], strict=True)]
    size = spectrum.SPECTRUM_SESSIONS
    period, strength = (np.array([one[place] for one in found], dtype=np.float64) for place in (0, 1))
    trend, cycle = (np.array([one[place] for one in found]).reshape(-1, size) for place in (2, 3))
    slope = spectrum.trend_slope(trend, rows["closes"])
    direction, position = strikes.trend_direction(slope), strikes.cycle_position(cycle)
    rows.add(
        trend_slope=slope,
        dominant_period=period,
        period_strength=strength,
        trend_direction=direction,
        cycle_position=position,
        butterfly_type=strikes.butterfly_type(direction, position),
        dte=strikes.days_to_expiry(period, config.dte_rule),
    )


def _add_garch(rows: Rows) -> None:
    vols, details = np.full(len(rows["row"]), np.nan), np.full(len(rows["row"]), NO_DETAIL, dtype=object)
    for row, returns in enumerate(rows["returns"]):
        try:
            vols[row] = garch.annualised_vol(plain_garch.fit_forecast(100.0 * returns, analysis.FORECAST_STEPS))
        except FitError as error:
            details[row] = str(error)
    rows.add(predicted_vol=vols)
    rows.reject("garch_failed", details)


def _add_forecast(rows: Rows) -> None:
    count = len(rows["row"])
    price, band, moved = (np.full(count, np.nan) for _ in range(3))
    order, details, far = (np.full(count, NO_DETAIL, dtype=object) for _ in range(3))
    for row, (closes, spot) in enumerate(zip(rows["closes"], rows["spot"], strict=True)):
        try:
            fit = plain_arima.choose_and_forecast(closes[-analysis.ARIMA_CLOSES :] / spot, analysis.FORECAST_STEPS)
        except FitError as error:
            details[row] = str(error)
            continue
        mean = fit.mean.mean()
        price[row], band[row] = mean * spot, 100.0 * (fit.upper.max() - fit.lower.min()) / mean
        order[row] = ",".join(str(term) for term in fit.order)
        moved[row] = mean - 1.0
        if not abs(moved[row]) <= analysis.MAX_FORECAST_MOVE:
            far[row] = f"forecast {price[row]:.6g} lies {100 * moved[row]:+.1f} % from spot {spot:g}"
    rows.add(forecast_price=price, band_pct=band, arima_order=order, far=far)
    rows.reject("arima_failed", details)
    rows.reject("forecast_out_of_range", rows["far"])
    del rows.columns["far"]
