"""The factors once more, plainly: pandas and numpy, window by window, one coin at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from butterquant_assets.signals.panel import HourlyPanel

Floats = npt.NDArray[np.float64]


def plain_centre_and_scale(values: Floats) -> tuple[Floats, Floats]:
    """Median and deviation of the previous 720 values, at least 168 of them known."""

    def scale(window: Floats) -> float:
        known = window[~np.isnan(window)]
        distances = np.abs(known - np.median(known))
        return 1.4826 * np.median(distances) or 1.2533 * np.mean(distances)

    earlier = pd.Series(values).shift(1).rolling(720, min_periods=168)
    return earlier.median().to_numpy(), earlier.apply(scale, raw=True).to_numpy()


def plain_score(values: Floats) -> Floats:
    centre, scale = plain_centre_and_scale(values)
    moved = np.where(scale == 0.0, 1.0, scale)
    return np.where((scale == 0.0) & ~np.isnan(values), 0.0, 100.0 * np.tanh((values - centre) / moved / 2.0))


def windows(values: Floats, size: int) -> Floats:
    """The last `size` values of each hour, shape (hours, size); NaN before the first."""
    return sliding_window_view(np.concatenate((np.full(size - 1, np.nan), values)), size)


def plain_average(values: Floats, seed: int, weight: float, size: int) -> Floats:
    """Exponential average of the last `size` values as a weighted sum: what the recursion multiplies out to."""
    ages = np.arange(size - seed)
    weights = np.concatenate((np.full(seed, (1 - weight) ** (size - seed) / seed), weight * (1 - weight) ** ages[::-1]))
    return windows(values, size) @ weights


def plain_atr(high: Floats, low: Floats, close: Floats) -> Floats:
    before = np.concatenate(([np.nan], close[:-1]))
    ranges = np.maximum(high - low, np.maximum(np.abs(high - before), np.abs(low - before)))
    return plain_average(ranges, 14, 1 / 14, 161)


def plain_trend(close: Floats, atr: Floats) -> Floats:
    y = windows(np.log(close), 24)
    x = np.arange(24) - 11.5
    centred = y - y.mean(axis=1, keepdims=True)
    slope = centred @ x / (x @ x)
    total = (centred**2).sum(axis=1)
    explained = slope**2 * (x @ x) / np.where(total == 0.0, 1.0, total)
    raw = slope / (np.where(atr == 0.0, 1.0, atr) / close) * explained
    return np.where(atr == 0.0, 0.0, raw)


def plain_momentum(close: Floats, atr: Floats) -> Floats:
    spread = plain_average(close, 12, 2 / 13, 162) - plain_average(close, 26, 2 / 27, 162)
    lead = pd.Series(spread / np.where(atr == 0.0, 1.0, atr) * np.where(atr == 0.0, 0.0, 1.0))
    return (lead.add(lead - lead.shift(6)) / 2).to_numpy()


def plain_share(part: Floats, whole: Floats, hours: int) -> Floats:
    total = windows(whole, 24).sum(axis=1)
    return windows(part, hours).sum(axis=1) / np.where(total > 0.0, total, np.nan)


def plain_volume(volume: Floats, close: Floats) -> Floats:
    short, long = windows(volume, 6).mean(axis=1), windows(volume, 168).mean(axis=1)
    ratio = np.where(short > 0.0, short, np.nan) / np.where(long > 0.0, long, np.nan)
    return np.log(ratio) * np.sign(plain_change(close, 6))


def plain_change(values: Floats, hours: int) -> Floats:
    return pd.Series(values).pct_change(hours, fill_method=None).to_numpy()


def plain_independence(close: Floats, leader: Floats) -> Floats:
    y, x = (windows(plain_change(values, 1), 168) for values in (close, leader))
    y, x = y - y.mean(axis=1, keepdims=True), x - x.mean(axis=1, keepdims=True)
    of_both, of_x, of_y = (x * y).sum(axis=1), (x * x).sum(axis=1), (y * y).sum(axis=1)
    explained = of_both**2 / np.where((of_x > 1e-20) & (of_y > 1e-20), of_x * of_y, np.nan)
    return 100.0 * np.maximum(1.0 - explained, 0.0)


def plain_factors(panel: HourlyPanel, coin: str, leader: str = "BTC") -> dict[str, Floats]:
    """All factors of one coin, and its ATR."""
    place, first = panel.column(coin), panel.column(leader)
    masked = {
        name: np.where(panel.defective[:, place], np.nan, getattr(panel, name)[:, place])
        for name in (
            "high",
            "low",
            "close",
            "volume",
            "taker_buy_volume",
            "open_interest",
            "mark",
            "index",
            "funding_8h",
        )
    }
    leading_close = np.where(panel.defective[:, first], np.nan, panel.close[:, first])
    high, low, close, volume = (masked[name] for name in ("high", "low", "close", "volume"))
    interest = np.where(masked["open_interest"] == 0.0, np.nan, masked["open_interest"])
    atr = plain_atr(high, low, close)
    signed = 2.0 * masked["taker_buy_volume"] - volume
    span = np.where(high == low, 1.0, high - low)
    by_location = np.where(high == low, 0.0, ((close - low) - (high - close)) / span) * volume
    by_location = np.where(np.isnan(high + low + close), np.nan, by_location)

    def with_stand_in(hours: int) -> Floats:
        true, other = (
            plain_score(plain_share(signed, volume, hours)),
            plain_score(plain_share(by_location, volume, hours)),
        )
        return np.where(np.isnan(true), other, true)

    basis, crowding = plain_score(masked["mark"] / masked["index"] - 1.0), plain_score(masked["funding_8h"])
    leading = 0.6 * with_stand_in(6) + 0.4 * plain_score(plain_change(interest, 6))
    return {
        "T": plain_score(plain_trend(close, atr)),
        "M": plain_score(plain_momentum(close, atr)),
        "C": with_stand_in(24),
        "V": plain_score(plain_volume(volume, close)),
        "O": plain_score(plain_change(interest, 24) * np.sign(plain_change(close, 24))),
        "B": np.where(np.isnan(basis), -crowding, -(basis + crowding) / 2.0),
        "F": (leading - plain_score(plain_change(close, 6))) / 2.0,
        "I": plain_independence(close, leading_close),
        "atr14": atr,
    }
