"""Small raw frames and files for the tests of the market package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from butterquant_assets.foundation.calendar import sessions


def some_sessions(count: int, start: str = "2016-01-04") -> pd.DatetimeIndex:
    days = sessions()
    first = int(np.searchsorted(days, np.datetime64(start)))
    return pd.DatetimeIndex(days[first : first + count].astype("datetime64[us]"))


def raw_bars(count: int = 60, ticker: str = "AAA", start: str = "2016-01-04", price: float = 50.0) -> pd.DataFrame:
    """Good bars as `read_table` would return them: closes walk in cents, every row differs from the one before."""
    days = some_sessions(count, start)
    close = np.round(price * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, count))), 2)
    opened = np.round(close * 1.001, 2)
    return pd.DataFrame(
        {
            "session": days,
            "ticker": pd.Series([ticker] * count, dtype="str"),
            "open": opened,
            "high": np.maximum(opened, close) + 0.25,
            "low": np.minimum(opened, close) - 0.25,
            "close": close,
            "volume": 1000.0 * (1 + np.arange(count)),
            "dividend": np.nan,
            "split_ratio": np.nan,
            "file": "bars.parquet",
            "place": "row",
            "line": np.arange(1, count + 1),
        }
    )


def vendor_bars(count: int = 60, ticker: str = "AAA", start: str = "2016-01-04", price: float = 50.0) -> pd.DataFrame:
    """The same bars in the columns of a vendor's file."""
    bars = raw_bars(count, ticker, start, price).rename(columns={"session": "timestamp", "ticker": "symbol"})
    return bars[["timestamp", "symbol", "open", "high", "low", "close", "volume"]]


def vendor_vix(count: int = 60, start: str = "2016-01-04") -> pd.DataFrame:
    close = 15 + np.sin(np.arange(count))
    values = {"open": close, "high": close + 1, "low": close - 1, "close": close}
    return pd.DataFrame({"timestamp": some_sessions(count, start), "symbol": "VIX"} | values)


def write_folder(
    folder: Path, bars: pd.DataFrame, vix: pd.DataFrame | None = None, splits: pd.DataFrame | None = None
) -> Path:
    """A data folder of Parquet files, the VIX good unless given."""
    folder.mkdir(exist_ok=True)
    bars.to_parquet(folder / "stocks_daily.parquet", index=False)
    (vendor_vix() if vix is None else vix).to_parquet(folder / "vix_daily.parquet", index=False)
    if splits is not None:
        splits.to_parquet(folder / "stock_splits.parquet", index=False)
    return folder


def split_table(*entries: tuple[str, str, float]) -> pd.DataFrame:
    """Splits as (date, ticker, ratio) in a vendor's columns."""
    dates, tickers, ratios = zip(*entries, strict=True)
    return pd.DataFrame({"timestamp": pd.to_datetime(list(dates)), "symbol": tickers, "split_ratio": ratios})
