"""A fitted at-the-money level: three-month implied volatility from a window of closes and the VIX over the same days.

What belongs here: the terms of the level, and the level itself, from arrays. What does not: the coefficients
(`iv_level_coefficients`), how they were found and judged (`iv_fit`), and the smile (`iv_proxy`).

    ln level = ln VIX + intercept + sum of weight x term

Every term is the logarithm of a ratio of volatilities, a correlation, or a move in units of volatility. So a price in
other units changes nothing, and where every volatility doubles, the level doubles: a level free to weigh the VIX by
itself carries over worse to years and stocks it has not seen. There is no GARCH term: it does not lower the error
(`iv_report` shows it), and without it the level at exit costs no fit.

Everything is known at the last date of the window, and nothing reaches further back than its 505 bars.
Sources: F. Corsi, "A simple approximate long-memory model of realized volatility", J. Financial Econometrics 7 (2009),
for realised volatilities of several horizons; F. Black (1976) for the leverage effect behind drawdown and rise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.iv_level_coefficients import LEVEL, RANK, Coefficients
from butterquant_assets.butterfly.iv_proxy import MINIMUM_VOL, PERCENTILE_SESSIONS, SESSIONS_PER_YEAR, percentile
from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]

LEVEL_BARS = 505
VIX_POINTS = 100.0
MAX_MISSING_VIX = 5
VIX_HALF_LIFE = 40.0
LONG_HORIZON = 480
CLIP_DEVIATIONS = 2.5
NORMAL_MEDIAN = 0.6744897501960817  # median of |z|, z standard normal
NORMAL_MEAN = np.sqrt(2.0 / np.pi)  # mean of |z|
RANK_HORIZONS = (20, 60, 120, 250)
RANK_SESSIONS = 250  # how far each value of the rank reaches back, so that 252 earlier ones fit into the window
_CHUNK = 512  # rows whose temporaries stay in the cache

LEVEL_TERMS = tuple(LEVEL.weights)


@dataclass(frozen=True)
class FittedLevel:
    """A level and its rank.

    Attributes
    ----------
    level
        at-the-money implied volatility, per year as a fraction, shape (n,); NaN where a term is undefined: prices that
        hardly moved over one of its horizons, or a VIX that did not
    percentile
        share of the previous 252 values of the rank level below today's, 0 .. 1, shape (n,); NaN where fewer than 126
        are known
    """

    level: Floats
    percentile: Floats


def fitted_level(closes: Floats, vix: Floats) -> FittedLevel:
    """Level and percentile of windows.

    Parameters
    ----------
    closes
        adjusted for splits to the last date, positive, oldest first, shape (n, 505)
    vix
        VIX closes of the same days, points, shape (n, 505), as `vix_windows` gives them

    Returns
    -------
    FittedLevel
        a row gives the same bytes alone and in any batch

    Raises
    ------
    DataError
        if the windows do not have 505 columns each.
    """
    history = rank_history(closes, vix)
    return FittedLevel(level(closes, vix), percentile(history[:, :-1], history[:, -1]))


def level(closes: Floats, vix: Floats) -> Floats:
    """At-the-money implied volatility alone, as in `fitted_level`; shape (n,)."""
    return np.asarray(np.exp(np.log(vix[:, -1] / VIX_POINTS) + _weighted(terms(closes, vix), LEVEL)))


def terms(closes: Floats, vix: Floats, names: tuple[str, ...] = LEVEL_TERMS) -> dict[str, Floats]:
    """The terms of the level, NaN where undefined.

    Parameters
    ----------
    closes, vix
        as in `fitted_level`
    names
        terms asked for, of `TERMS`

    Returns
    -------
    dict of float64 arrays of shape (n,), in the order of `names`
    """
    _check_shapes(closes, vix)
    parts: list[dict[str, Floats]] = []
    for start in range(0, max(len(closes), 1), _CHUNK):
        rows = slice(start, start + _CHUNK)
        series = _Series(closes[rows], vix[rows])
        parts.append({name: TERMS[name](series) for name in names})
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def rank_history(closes: Floats, vix: Floats) -> Floats:
    """The rank level of today and of the previous 252 sessions of the window, oldest first.

    The level itself reaches back 480 sessions, so it cannot be had 252 sessions ago from the same 505 bars. The rank
    level has the terms that can: realised volatilities of 20 .. 250 sessions and the VIX over 250, with coefficients
    of their own, fitted the same way. Today's and the earlier values are all of this kind.

    Returns
    -------
    float64 array, shape (n, 253), per year as a fraction, NaN where prices hardly moved
    """
    _check_shapes(closes, vix)
    out = np.empty((len(closes), PERCENTILE_SESSIONS + 1))
    for start in range(0, len(closes), _CHUNK):
        rows = slice(start, start + _CHUNK)
        log_vix = np.log(vix[rows] / VIX_POINTS)
        values = _rank_terms(np.log(closes[rows]), log_vix, PERCENTILE_SESSIONS + 1)
        out[rows] = np.exp(log_vix[:, -PERCENTILE_SESSIONS - 1 :] + _weighted(values, RANK))
    return out


def rank_terms(closes: Floats, vix: Floats) -> dict[str, Floats]:
    """Terms of the rank level on the last date of each window, NaN where undefined, shape (n,) each."""
    _check_shapes(closes, vix)
    values = _rank_terms(np.log(closes), np.log(vix / VIX_POINTS), 1)
    return {name: value[:, 0] for name, value in values.items()}


def vix_windows(days: npt.NDArray[np.datetime64], vix: pd.DataFrame) -> tuple[Floats, Texts]:
    """VIX closes of the days of each window.

    Parameters
    ----------
    days
        shape (n, m), ascending, NaT in rows without a window
    vix
        columns session, close (points)

    Returns
    -------
    values, details
        shape (n, m), points, and one sentence per row, empty where it stands. A day without a VIX takes the one
        before it; the last day must have its own, and at most five may lack it, else the row is NaN.

    Raises
    ------
    DataError
        if a session occurs twice or a value is not positive.
    """
    known = vix[vix["close"].notna()].sort_values("session", kind="stable")
    session = known["session"].to_numpy().astype("datetime64[D]")
    close = known["close"].to_numpy(dtype=np.float64)
    if (session[1:] == session[:-1]).any() or not (np.isfinite(close) & (close > 0.0)).all():
        raise DataError("the VIX has a session twice, or a value that is not positive; deliver one per session")
    place = np.searchsorted(session, days, side="right") - 1
    within = ~np.isnat(days) & (place >= 0)
    own = within & (session[place] == days) if session.size else np.zeros(days.shape, dtype=bool)
    lacking = (~own).sum(axis=1)
    bad = ~own[:, -1] | (lacking > MAX_MISSING_VIX) | ~within.all(axis=1)
    values = np.full(days.shape, np.nan)
    values[~bad] = close[place[~bad]]
    details = np.full(len(days), "", dtype=object)
    for row in np.flatnonzero(bad):
        details[row] = (
            f"{lacking[row]} of the {days.shape[1]} sessions up to {days[row, -1]} have no VIX; the last one needs it, "
            f"and at most {MAX_MISSING_VIX} others may lack it"
        )
    return values, details


def required_vix(vix: pd.DataFrame | None) -> pd.DataFrame:
    """The VIX given.

    Raises
    ------
    DataError
        if there is none: the fitted level cannot do without.
    """
    if vix is None:
        raise DataError("iv_level 'fitted' needs the VIX of every session of the windows; give it, or another iv_level")
    return vix


class _Series:
    """Log closes, log returns and log VIX of some windows, and what several terms share."""

    def __init__(self, closes: Floats, vix: Floats) -> None:
        self.log_closes = np.log(closes)
        self.returns = np.ascontiguousarray(np.diff(self.log_closes, axis=1))
        self.absolute = np.abs(self.returns)
        self.log_vix = np.log(vix / VIX_POINTS)
        self.realised = {LONG_HORIZON: self._realised(LONG_HORIZON)}

    def realised_vol(self, sessions: int) -> Floats:
        if sessions not in self.realised:
            self.realised[sessions] = self._realised(sessions)
        return self.realised[sessions]

    def over_vix(self, vol: Floats) -> Floats:
        """Logarithm of a volatility per year over the VIX; NaN below the smallest volatility believed."""
        return np.asarray(np.log(np.where(vol > MINIMUM_VOL, vol, np.nan)) - self.log_vix[:, -1])

    def _realised(self, sessions: int) -> Floats:
        return np.asarray(self.returns[:, -sessions:].std(axis=1, ddof=1) * np.sqrt(SESSIONS_PER_YEAR))


def _realised_term(sessions: int) -> Callable[[_Series], Floats]:
    return lambda series: series.over_vix(series.realised_vol(sessions))


def _mean_absolute(series: _Series) -> Floats:
    """Volatility by the mean absolute return over 480 sessions: large single moves weigh less."""
    mean = series.absolute[:, -LONG_HORIZON:].mean(axis=1)
    return series.over_vix(mean * np.sqrt(SESSIONS_PER_YEAR) / NORMAL_MEAN)


def _clipped(series: _Series) -> Floats:
    """Volatility of the last 40 returns, each clipped at 2.5 robust deviations of the last 480: no earnings days."""
    deviation = np.median(series.absolute[:, -LONG_HORIZON:], axis=1) / NORMAL_MEDIAN
    limit = CLIP_DEVIATIONS * deviation[:, None]
    returns = np.clip(series.returns[:, -40:], -limit, limit)
    return series.over_vix(np.sqrt((returns**2).mean(axis=1) * SESSIONS_PER_YEAR))


def _vix_trend(series: _Series) -> Floats:
    """Exponentially weighted mean of ln VIX over 504 sessions (half-life 40) less today's: where it comes from."""
    count = LEVEL_BARS - 1
    weights = 0.5 ** (np.arange(count)[::-1] / VIX_HALF_LIFE)
    return np.asarray((series.log_vix[:, -count:] * (weights / weights.sum())).sum(axis=1) - series.log_vix[:, -1])


def _vix_correlation(series: _Series) -> Floats:
    """Correlation of returns with the changes of ln VIX over 480 sessions: how much of the stock is the market."""
    returns, changes = series.returns[:, -LONG_HORIZON:], np.diff(series.log_vix, axis=1)[:, -LONG_HORIZON:]
    returns = returns - returns.mean(axis=1, keepdims=True)
    changes = changes - changes.mean(axis=1, keepdims=True)
    own, other = (returns**2).sum(axis=1), (changes**2).sum(axis=1)
    usable = (own > 0.0) & (other > 0.0)
    scale = np.sqrt(np.where(usable, own * other, 1.0))
    return np.where(usable, (returns * changes).sum(axis=1) / scale, np.nan)


def _drawdown(series: _Series) -> Floats:
    """Fall from the highest of the last 61 closes, in units of the volatility of 480 sessions; at most 0."""
    vol = series.realised_vol(LONG_HORIZON)
    fall = series.log_closes[:, -1] - series.log_closes[:, -61:].max(axis=1)
    return np.asarray(fall / np.where(vol > MINIMUM_VOL, vol, np.nan))


def _rise(series: _Series) -> Floats:
    """Logarithmic rise from the lowest of the last 181 closes; at least 0."""
    return np.asarray(series.log_closes[:, -1] - series.log_closes[:, -181:].min(axis=1))


TERMS: Mapping[str, Callable[[_Series], Floats]] = {
    **{f"realised_{sessions}": _realised_term(sessions) for sessions in (10, 20, 60, 120, 250, 480)},
    "absolute_480": _mean_absolute,
    "clipped_40": _clipped,
    "vix_trend": _vix_trend,
    "vix_correlation_480": _vix_correlation,
    "drawdown_60": _drawdown,
    "rise_180": _rise,
}
"""Every term by name, as a function of the series of some windows; those in use are named by the coefficients."""


def _weighted(values: Mapping[str, Floats], coefficients: Coefficients) -> Floats:
    """Intercept plus weighted terms, added in the order of the coefficients."""
    total = np.full(next(iter(values.values())).shape, coefficients.intercept)
    for name, weight in coefficients.weights.items():
        total += weight * values[name]
    return total


def _rank_terms(log_closes: Floats, log_vix: Floats, days: int) -> dict[str, Floats]:
    """Terms of the rank level on the last `days` sessions, shape (n, days) each."""
    returns = np.diff(log_closes, axis=1)
    today = log_vix[:, -days:]
    # Sums are taken around the mean of the window, so that a drift does not eat the digits of the variance.
    centred = returns - returns.mean(axis=1, keepdims=True)
    first, second = _running(centred), _running(centred**2)
    values: dict[str, Floats] = {}
    for sessions in RANK_HORIZONS:
        total, squares = (part[:, -days:] - _before(part, days, sessions) for part in (first, second))
        variance = (squares - total**2 / sessions) / (sessions - 1) * SESSIONS_PER_YEAR
        values[f"realised_{sessions}"] = 0.5 * np.log(np.where(variance > MINIMUM_VOL**2, variance, np.nan)) - today
    values["vix_trend_250"] = _decayed_mean(log_vix, days) - today
    return values


def _before(sums: Floats, days: int, sessions: int) -> Floats:
    """Running sums `sessions` places before each of the last `days`."""
    return sums[:, sums.shape[1] - days - sessions : sums.shape[1] - sessions]


def _running(values: Floats) -> Floats:
    """Sums up to each place, with a 0 in front; shape (n, m) in, (n, m + 1) out."""
    out = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=out[:, 1:])
    return out


def _decayed_mean(values: Floats, days: int) -> Floats:
    """Mean of the last 250 values up to each of the last `days`, with weights that halve every 40 sessions."""
    decay, left = 0.5 ** (1.0 / VIX_HALF_LIFE), 0.5 ** (RANK_SESSIONS / VIX_HALF_LIFE)
    sums = np.zeros((values.shape[1] + 1, values.shape[0]))
    for place, column in enumerate(np.ascontiguousarray(values.T)):
        sums[place + 1] = decay * sums[place] + column
    recent = sums[-days:] - left * sums[len(sums) - days - RANK_SESSIONS : len(sums) - RANK_SESSIONS]
    return np.asarray((recent * ((1.0 - decay) / (1.0 - left))).T)


def _check_shapes(closes: Floats, vix: Floats) -> None:
    if closes.ndim != 2 or closes.shape[1] != LEVEL_BARS or vix.shape != closes.shape:
        raise DataError(
            f"closes have shape {closes.shape} and the VIX {vix.shape}; expected (n, {LEVEL_BARS}) for both, one "
            "window a row"
        )
