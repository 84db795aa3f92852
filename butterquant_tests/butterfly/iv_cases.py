"""Published volatilities, bars and the VIX of the real files, and made-up windows, for the tests of the level."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from butterquant_assets.butterfly import iv_fit
from butterquant_assets.butterfly.iv_fit import PublishedRows
from butterquant_tests.butterfly.cases import real_bars
from butterquant_tests.shared_data import data_dir


def made_up_windows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Closes and VIX, shape (count, 505): random walks with fat tails and volatility of their own."""
    random = np.random.default_rng(seed)
    vol = 0.004 * np.exp(2.0 * random.random((count, 1)))
    shocks = random.standard_t(4, (count, 505))
    log_vix = np.log(18.0) + 0.05 * np.cumsum(random.standard_normal((count, 505)), axis=1) / 3.0
    level = np.exp(6.0 * random.random((count, 1)))
    return level * np.exp(np.cumsum(vol * shocks, axis=1)), np.exp(log_vix - 0.01 * shocks)


def _sessions(frame: pd.DataFrame) -> pd.Series:
    return frame["timestamp"].dt.tz_localize(None).astype("datetime64[us]")


@lru_cache
def published() -> pd.DataFrame:
    """`implied_vol_3m` as session, ticker, iv, close."""
    raw = pd.read_parquet(data_dir() / "implied_vol_3m.parquet")
    named = {"ticker": raw["symbol"], "iv": raw["iv_3m_atm"], "close": raw["close_adj"]}
    return pd.DataFrame({"session": _sessions(raw)} | named)


@lru_cache
def vix() -> pd.DataFrame:
    """`vix_daily` as session, close."""
    raw = pd.read_parquet(data_dir() / "vix_daily.parquet")
    return pd.DataFrame({"session": _sessions(raw), "close": raw["close"]})


@lru_cache
def fitting_rows() -> PublishedRows:
    """The rows the stored coefficients were fitted on."""
    raw = pd.read_parquet(data_dir() / "djia30_daily.parquet")
    bars = pd.DataFrame({"session": _sessions(raw), "ticker": raw["symbol"], "close": raw["close"]})
    bars = bars.assign(volume=raw["volume"].astype("float64"), split_ratio=1.0)
    return iv_fit.published_rows(iv_fit.fitting_bars(bars, published()), published(), vix(), iv_fit.FIT_SPAN)


@lru_cache
def judged_rows() -> PublishedRows:
    """The rows it is judged on: the bars the product itself would use."""
    return iv_fit.published_rows(real_bars(), published(), vix(), iv_fit.JUDGE_SPAN)
