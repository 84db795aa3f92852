"""Scans, models and outcomes with random figures, for tests of decisions and of what came of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from butterquant_assets.butterfly.decisions import ModelView
from butterquant_assets.butterfly.pricing import label_of
from butterquant_assets.foundation.calendar import sessions

CLASS_VALUES = np.array([-0.6, -0.03, 0.10, 0.60])


def session_days(start: str, count: int, every: int = 1) -> pd.DatetimeIndex:
    """Sessions of the exchange from `start`, each `every`-th of them."""
    days = sessions()
    days = days[days >= np.datetime64(start)][: count * every : every]
    return pd.DatetimeIndex(days.astype("datetime64[us]"))


def scan_of(days: pd.DatetimeIndex, tickers: int, seed: int) -> pd.DataFrame:
    """Candidates in order of (session, ticker)."""
    names = [f"SIM{number:02d}" for number in range(tickers)]
    score = np.random.default_rng(seed).uniform(20.0, 90.0, len(days) * tickers)
    ticker = pd.Series(names * len(days), dtype="str")
    return pd.DataFrame({"session": np.repeat(days, tickers), "ticker": ticker, "total_score": score})


def probabilities(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1.0, 0.6, 0.6, 1.0], count)


def model(count: int, seed: int, version: str = "champion-1", threshold: float | None = 0.1) -> ModelView:
    return ModelView(version, probabilities(count, seed), CLASS_VALUES, threshold)


def outcomes_of(scan: pd.DataFrame, roi_net: np.ndarray, held: int = 21) -> pd.DataFrame:
    """Outcomes of a scan, evaluated `held` sessions later, all known."""
    days = sessions()
    place = np.searchsorted(days, scan["session"].to_numpy().astype("datetime64[D]")) + held
    frame = scan[["session", "ticker"]].assign(
        evaluation_session=pd.Series(days[place].astype("datetime64[us]"), index=scan.index),
        roi_mark=roi_net + 0.05,
        roi_net=roi_net,
    )
    return frame.assign(label_mark=label_of(frame["roi_mark"]).astype(float), missing_reason="")
