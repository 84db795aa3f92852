"""Made-up populations with luck shared by sessions and months, for the tests of monitoring."""

from __future__ import annotations

import numpy as np
import pandas as pd

from butterquant_assets.monitoring.drift import Daily

STRATA = ("low", "normal", "high")


def days_of(months: int, first: str = "2012-01", days: int = 20) -> np.ndarray:
    """The first so many weekdays of each month, shape (months x days,)."""
    starts = np.datetime64(first) + np.arange(months)
    found = [np.busday_offset(start.astype("datetime64[D]"), np.arange(days), roll="forward") for start in starts]
    return np.concatenate(found)


def daily(
    seed: int, months: int, *, days: int = 3, columns: int = 23, luck: float = 0.3, first: str = "2012-01"
) -> Daily:
    """Figures of sessions: month luck, session luck of the same size, and a stratum that moves them all."""
    random = np.random.default_rng(seed)
    when = days_of(months, first, days)
    stratum = np.repeat(random.integers(0, 3, months), days)
    month = np.repeat(random.normal(0.0, luck, (months, columns)), days, axis=0)
    return Daily(when, stratum, stratum[:, None] + month + random.normal(0.0, luck, (months * days, columns)))


def rows(
    seed: int,
    months: int,
    columns: list[str],
    *,
    days: int = 4,
    tickers: int = 40,
    luck: float = 0.02,
    first: str = "2012-01",
) -> pd.DataFrame:
    """session, ticker, stratum and columns: unit variance across tickers, and luck of sessions and of months."""
    random = np.random.default_rng(seed)
    when = days_of(months, first, days)
    month = np.repeat(random.normal(0.0, luck, (months, len(columns))), days, axis=0)
    session = month + random.normal(0.0, luck, (len(when), len(columns)))
    values = np.repeat(session, tickers, axis=0) + random.normal(size=(len(when) * tickers, len(columns)))
    frame = pd.DataFrame(values, columns=columns)
    frame.insert(0, "session", np.repeat(when, tickers).astype("datetime64[us]"))
    frame.insert(1, "ticker", np.tile([f"T{k:02d}" for k in range(tickers)], len(when)))
    frame.insert(2, "stratum", np.repeat([STRATA[k] for k in random.integers(0, 3, len(when))], tickers))
    return frame.astype({"ticker": "str", "stratum": "str"})
