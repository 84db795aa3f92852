"""Small crypto tables for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from butterquant_assets.market.crypto_coverage import HOUR, Stamps, cover
from butterquant_assets.market.crypto_sources.store import CryptoStore

PRICES = ("open", "high", "low", "close")
LATER = datetime(2026, 11, 1, tzinfo=UTC)


def hours_of(day: str) -> Stamps:
    """The 24 hours of a UTC day, datetime64[us], shape (24,)."""
    return np.datetime64(day, "us") + np.arange(24) * HOUR


def raw_bars(coin: str = "BTC", first: str = "2024-01-01", hours: int = 72, *, seed: int = 1, level: float = 100.0):
    """Hourly bars that open where they closed, in the columns of the store."""
    draw = np.random.default_rng(seed)
    close = level * np.exp(np.cumsum(0.005 * draw.standard_normal(hours)))
    opened = np.concatenate([[level], close[:-1]])
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    return pd.DataFrame(
        {
            "hour": np.datetime64(first, "us") + np.arange(hours) * HOUR,
            "coin": pd.Series([coin] * hours, dtype="str"),
            "open": opened,
            "high": high,
            "low": low,
            "close": close,
            "volume": 10.0 + draw.random(hours),
            "quote_volume_usd": np.nan,
        }
    )


def days_of(frame: pd.DataFrame, stamp: str = "hour") -> list[str]:
    """Days of a frame's rows."""
    return sorted(set(frame[stamp].dt.strftime("%Y-%m-%d")))


def priced(bars: pd.DataFrame, factor: float = 1.0) -> pd.DataFrame:
    """Mark or index bars a factor away from traded ones."""
    return bars[["hour", "coin", *PRICES]].assign(**{name: bars[name] * factor for name in PRICES})


def store_bars(store: CryptoStore, bars: pd.DataFrame, dataset: str = "crypto_bars", *, over: bool = True) -> None:
    """Write bars (or prices) into a store, a day at a time."""
    coins = sorted(bars["coin"].unique())
    for day in days_of(bars):
        rows = bars[bars["hour"].dt.strftime("%Y-%m-%d") == day]
        store.write(dataset, day, rows, cover(rows, "hour", dict.fromkeys(coins, hours_of(day)), over=over))


def record(folder: Path, name: str, frame: pd.DataFrame, stamp: str = "hour", suffix: str = "USDT") -> None:
    """Write a frame as a recording's file."""
    renamed = frame.rename(columns={stamp: "timestamp", "coin": "symbol"})
    renamed = renamed.assign(symbol=renamed["symbol"] + suffix, timestamp=renamed["timestamp"].dt.tz_localize("UTC"))
    folder.mkdir(parents=True, exist_ok=True)
    renamed.to_parquet(folder / f"{name}.parquet")
