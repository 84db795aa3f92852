"""Bars, samples and published volatilities for the tests of the butterfly line: made up, or real and un-adjusted."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from butterquant_assets.butterfly.analysis import AnalysisResult, analyse
from butterquant_assets.butterfly.config import AnalysisConfig
from butterquant_assets.foundation.calendar import sessions
from butterquant_tests.shared_data import data_dir

NO_VOLS = pd.DataFrame(
    {
        "session": pd.Series(dtype="datetime64[us]"),
        "ticker": pd.Series(dtype="str"),
        "days": pd.Series(dtype="int64"),
        "iv": pd.Series(dtype="float64"),
    }
)
PUBLISHED_TENORS = (3, 4, 5, 6, 7, 8, 9, 10, 21, 30, 45)


def session_range(first: str, count: int) -> pd.DatetimeIndex:
    """`count` sessions of the exchange from `first` on."""
    days = sessions()
    start = int(np.searchsorted(days, np.datetime64(first)))
    return pd.DatetimeIndex(days[start : start + count].astype("datetime64[us]"))


@lru_cache
def made_up_bars(tickers: int = 6, count: int = 700, seed: int = 11) -> pd.DataFrame:
    """Bars of T00, T01, ... from 2014-01-02 on: random walks, volatility in waves, no splits."""
    days = session_range("2014-01-02", count)
    random = np.random.default_rng(seed)
    parts = []
    for number in range(tickers):
        vol = 0.008 * (1 + number / tickers) * np.exp(0.4 * np.sin(np.arange(count) / (9 + 4 * number)))
        level = (20.0 * 3.0**number % 1500.0 + 15.0) * np.exp(np.cumsum(vol * random.standard_normal(count)))
        close = np.round(level, 4)
        volume = np.round(1e6 * np.exp(0.3 * random.standard_normal(count)))
        parts.append(
            pd.DataFrame(
                {
                    "session": days,
                    "ticker": f"T{number:02d}",
                    "open": close,
                    "high": close,
                    "low": close,
                    "close": close,
                    "volume": volume,
                    "split_ratio": 1.0,
                }
            )
        )
    return tidy(pd.concat(parts))


def tidy(bars: pd.DataFrame) -> pd.DataFrame:
    """Stored order: by (session, ticker), plain index."""
    return bars.sort_values(["session", "ticker"]).reset_index(drop=True)


def samples_of(rows: list[tuple[str, str]], vix: float = 18.0) -> pd.DataFrame:
    """Samples for (session, ticker) pairs, all in one normal episode."""
    frame = pd.DataFrame(
        {
            "session": pd.to_datetime([session for session, _ in rows]).astype("datetime64[us]"),
            "ticker": pd.Series([ticker for _, ticker in rows], dtype="str"),
            "stratum": "normal",
            "vix_close": vix,
            "episode": "normal-2014-01-02",
        }
    )
    return frame.sort_values(["session", "ticker"]).reset_index(drop=True)


SAMPLED = samples_of(
    [
        ("2016-02-16", "T00"),
        ("2016-02-16", "T01"),
        ("2016-02-16", "T02"),
        ("2016-03-24", "T03"),
        ("2016-03-24", "T04"),
        ("2016-04-29", "T05"),
        ("2016-05-31", "T00"),
        ("2016-05-31", "T02"),
    ]
)


@lru_cache
def analysed() -> AnalysisResult:
    """`SAMPLED` analysed with the defaults, computed once for all tests."""
    return analyse(SAMPLED, made_up_bars(), NO_VOLS, AnalysisConfig())


def published_vols(bars: pd.DataFrame, seed: int = 3) -> pd.DataFrame:
    """Made-up published volatilities for every bar at `PUBLISHED_TENORS`."""
    random = np.random.default_rng(seed)
    level = 0.2 + 0.05 * random.random(len(bars))
    parts = [
        bars[["session", "ticker"]].assign(days=np.int64(days), iv=level * (1.0 + 0.001 * days))
        for days in PUBLISHED_TENORS
    ]
    return pd.concat(parts).sort_values(["session", "ticker", "days"]).reset_index(drop=True)


@lru_cache
def real_bars() -> pd.DataFrame:
    """The 66 real stocks as quoted on the day: the file's prices multiplied by all later split ratios."""
    folder = data_dir()
    raw = pd.read_parquet(folder / "stocks_daily.parquet", columns=["timestamp", "symbol", "close", "volume"])
    splits = pd.read_parquet(folder / "stock_splits.parquet")
    bars = pd.DataFrame(
        {
            "session": raw["timestamp"].dt.tz_localize(None).astype("datetime64[us]"),
            "ticker": raw["symbol"].astype("str"),
            "close": raw["close"].astype("float64"),
            "volume": raw["volume"].astype("float64"),
            "split_ratio": 1.0,
        }
    )
    for split in splits.itertuples():
        day = split.timestamp.tz_localize(None)
        earlier = (bars["ticker"] == split.symbol) & (bars["session"] < day)
        bars.loc[earlier, "close"] *= split.split_ratio
        bars.loc[earlier, "volume"] /= split.split_ratio
        bars.loc[(bars["ticker"] == split.symbol) & (bars["session"] == day), "split_ratio"] = split.split_ratio
    return tidy(bars)


def assert_same_bits(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Equal columns, types and values, floats bit by bit."""
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    for name in one.select_dtypes("float64"):
        assert one[name].to_numpy().tobytes() == other[name].to_numpy().tobytes(), name
