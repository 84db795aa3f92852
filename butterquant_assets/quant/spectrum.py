"""Trend and cycle of a price by Fourier decomposition, many windows at once.

What belongs here: the decomposition of windows of closes and volumes, and the slope of the trend it finds. What does
not: the words for them (UP, PEAK, ...) and the choice of a butterfly.

Each row is one window, oldest value first, and its result depends on no other row: computing rows together or one by
one gives the same bytes.

Source: REFERENCE section 1, "Spectrum". The series is x = close - VWAP20, its last 480 values. A Hann window tapers x
for the power spectrum only: reconstructing from tapered values would force the newest ones to zero. So the spectrum
that names the dominant period is tapered, and the one that trend and cycle are rebuilt from is not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]

VWAP_SESSIONS = 20
SPECTRUM_SESSIONS = 480
MINIMUM_SESSIONS = SPECTRUM_SESSIONS + VWAP_SESSIONS - 1
SHORTEST_DOMINANT, LONGEST_DOMINANT = 7.0, 180.0
DEFAULT_PERIOD = 30.0
TREND_PERIOD = 60.0
SHORTEST_CYCLE = 5.0
SLOPE_SESSIONS = 20
# Amplitudes below this share of the price are rounding noise: a price that never moved has no dominant period.
NOISE_SHARE = 1e-10
# Windows worked on at a time: the arrays in flight then fit the processor's cache.
CHUNK = 256

# Period in sessions of each non-negative frequency, the mean's being infinite; it falls from bin to bin, so that those
# between two periods are neighbours.
_PERIODS = np.append(np.inf, SPECTRUM_SESSIONS / np.arange(1, SPECTRUM_SESSIONS // 2 + 1))
_SLOW_BINS = int((_PERIODS >= TREND_PERIOD).sum())
_CYCLE_BINS = int((_PERIODS >= SHORTEST_CYCLE).sum())
_DOMINANT = slice(int((_PERIODS >= LONGEST_DOMINANT).sum()), int((_PERIODS > SHORTEST_DOMINANT).sum()))
_TAPER = np.hanning(SPECTRUM_SESSIONS)
_TAPER_SUM = float(_TAPER.sum())


@dataclass(frozen=True)
class Spectrum:
    """What `decompose` found, row by row; a row that could not be decomposed is NaN throughout.

    Attributes
    ----------
    dominant_period
        sessions, strictly between 7 and 180; 30 where nothing moves at such a period; shape (n,)
    period_strength
        share of the positive-frequency power in that bin, percent, 0 .. 100 (0 where nothing moves); shape (n,)
    trend
        components of period 60 sessions and longer, the mean included, plus VWAP20: a price; shape (n, 480)
    cycle
        components of period 5 up to, not including, 60 sessions, in price units; shape (n, 480)
    """

    dominant_period: Floats
    period_strength: Floats
    trend: Floats
    cycle: Floats


def decompose(closes: npt.ArrayLike, volumes: npt.ArrayLike, threads: int = 2) -> Spectrum:
    """Dominant period, trend and cycle of each window.

    Parameters
    ----------
    closes
        prices, oldest first, shape (n, m) with m >= 499 (an as-of window has 505); only the last 499 of a row matter
    volumes
        traded volumes in any one unit, same shape
    threads
        threads to spread the rows over; they change no bit of the result

    Returns
    -------
    Spectrum
        A row is NaN where a value it needs is missing, infinite or a negative volume, or where twenty sessions
        together traded nothing, which leaves their VWAP undefined; the caller rejects such a row.

    Raises
    ------
    DataError
        if the shapes differ, are not two-dimensional, or hold fewer than 499 sessions, or `threads` is below 1.

    Notes
    -----
    The period 60 itself belongs to the trend, so that trend, cycle and what is faster than 5 sessions add up to the
    close. The mean of x goes with the trend too (period infinity); it is removed before tapering, because the taper
    would spread it over the lowest positive frequency and so into the total that `period_strength` is a share of.
    The taper is the symmetric Hann window of `numpy.hanning`.
    """
    prices, traded = np.asarray(closes, dtype=np.float64), np.asarray(volumes, dtype=np.float64)
    if prices.ndim != 2 or prices.shape != traded.shape or prices.shape[1] < MINIMUM_SESSIONS:
        raise DataError(
            f"closes {prices.shape} and volumes {traded.shape} cannot be decomposed: expected two arrays of one shape "
            f"(windows, sessions) with at least {MINIMUM_SESSIONS} sessions; reject shorter histories first"
        )
    if threads < 1:
        raise DataError(f"{threads} threads cannot do anything; ask for at least 1")
    count = len(prices)
    found = Spectrum(
        np.full(count, np.nan),
        np.full(count, np.nan),
        np.full((count, SPECTRUM_SESSIONS), np.nan),
        np.full((count, SPECTRUM_SESSIONS), np.nan),
    )
    edges = np.linspace(0, count, min(threads, count // CHUNK + 1) + 1).astype(int).tolist()
    if len(edges) == 2:
        _fill(found, prices, traded, 0, count)
        return found
    with ThreadPoolExecutor(len(edges) - 1) as pool:
        for done in [pool.submit(_fill, found, prices, traded, *span) for span in pairwise(edges)]:
            done.result()
    return found


def _fill(found: Spectrum, prices: Floats, traded: Floats, first: int, stop: int) -> None:
    """Write the rows `first` up to, not including, `stop`."""
    for start in range(first, stop, CHUNK):
        chunk = slice(start, min(start + CHUNK, stop))
        recent, vwap = prices[chunk, -SPECTRUM_SESSIONS:], _vwap(prices[chunk], traded[chunk])
        deviation = recent - vwap
        usable = np.isfinite(deviation).all(axis=1)
        rows: slice | npt.NDArray[np.int64] = chunk
        if not usable.all():
            rows = start + np.flatnonzero(usable)
            recent, vwap, deviation = recent[usable], vwap[usable], deviation[usable]
        found.dominant_period[rows], found.period_strength[rows] = _dominant(deviation, recent.mean(axis=1))
        slow, found.cycle[rows] = _components(deviation)
        np.add(slow, vwap, out=slow)
        found.trend[rows] = slow


def trend_slope(trend: npt.ArrayLike, closes: npt.ArrayLike) -> Floats:
    """Slope of the trend over its last 20 values: 100 (L_t - L_{t-19}) / 19 / P_t.

    Parameters
    ----------
    trend
        as in `Spectrum`, shape (n, m) with m >= 20
    closes
        the windows it came from, shape (n, k); only the last close, P_t, is used

    Returns
    -------
    percent of the price per session, shape (n,); NaN where an input is

    Raises
    ------
    DataError
        if the shapes do not fit, or a last close is not positive.
    """
    levels, prices = np.asarray(trend, dtype=np.float64), np.asarray(closes, dtype=np.float64)
    if levels.ndim != 2 or prices.ndim != 2 or len(levels) != len(prices) or levels.shape[1] < SLOPE_SESSIONS:
        raise DataError(
            f"trend {levels.shape} and closes {prices.shape} have no slope: expected as many rows in both and at least "
            f"{SLOPE_SESSIONS} values of the trend"
        )
    last = prices[:, -1]
    if (last <= 0.0).any():
        raise DataError(f"a last close of {last[last <= 0.0][0]} is not positive; reject the row before")
    rise = levels[:, -1] - levels[:, -SLOPE_SESSIONS]
    return np.asarray(100.0 * rise / (SLOPE_SESSIONS - 1) / last)


def _vwap(closes: Floats, volumes: Floats) -> Floats:
    """Volume-weighted average price of each of the last 480 sessions and the 19 before it, NaN where undefined."""
    known, traded = closes[:, -MINIMUM_SESSIONS:], volumes[:, -MINIMUM_SESSIONS:]
    if not np.isfinite(known).all():
        known = np.where(np.isfinite(known), known, np.nan)
    if not (np.isfinite(traded) & (traded >= 0.0)).all():
        traded = np.where(np.isfinite(traded) & (traded >= 0.0), traded, np.nan)
    value, volume = _trailing_sum(known * traded), _trailing_sum(traded)
    if volume.min() > 0.0:
        return np.divide(value, volume, out=value)
    vwap = np.full(value.shape, np.nan)
    np.divide(value, volume, out=vwap, where=volume > 0.0)
    return vwap


def _trailing_sum(values: Floats) -> Floats:
    """Sums of twenty neighbours, shape (n, m) in, (n, m - 19) out: by doubling to fours, then five of those."""
    # Never a difference of running totals: those carry rounding from the start of the window to its end, and one
    # missing value would spoil everything after it.
    pairs = values[:, :-1] + values[:, 1:]
    fours = pairs[:, :-2] + pairs[:, 2:]
    total = np.add(fours[:, :-16], fours[:, 4:-12], out=pairs[:, :-18])
    for lag in (8, 12, 16):
        total += fours[:, lag : lag + total.shape[1]]
    return total


def _dominant(deviation: Floats, level: Floats) -> tuple[Floats, Floats]:
    """Dominant period (sessions) and its share of power (percent) of rows whose mean price is `level`."""
    centred = deviation - deviation.mean(axis=1, keepdims=True)
    centred *= _TAPER
    transform = np.fft.rfft(centred, axis=1)
    transform[:, 0] = 0.0  # the mean was taken off, what is left of it is no period
    power = transform.real**2 + transform.imag**2
    strongest = _DOMINANT.start + np.argmax(power[:, _DOMINANT], axis=1)
    peak = power[np.arange(len(power)), strongest]
    moves = np.sqrt(peak) > NOISE_SHARE * level * _TAPER_SUM
    total = np.where(moves, power.sum(axis=1), 1.0)
    return np.where(moves, _PERIODS[strongest], DEFAULT_PERIOD), np.where(moves, 100.0 * peak / total, 0.0)


def _components(deviation: Floats) -> tuple[Floats, Floats]:
    """Untapered components of period >= 60 (mean included), and of period 5 up to 60."""
    transform = np.fft.rfft(deviation, axis=1)
    # Bins that are not given count as zero.
    trend = np.fft.irfft(transform[:, :_SLOW_BINS], n=SPECTRUM_SESSIONS, axis=1)
    transform[:, :_SLOW_BINS] = 0.0
    return trend, np.fft.irfft(transform[:, :_CYCLE_BINS], n=SPECTRUM_SESSIONS, axis=1)
