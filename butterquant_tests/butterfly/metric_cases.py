"""A scan with random figures and models with fixed opinions, for the tests of daily_metrics."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.butterfly.features import FEATURE_SOURCES
from butterquant_assets.butterfly.replay import TimedModel
from butterquant_tests.butterfly.decision_cases import CLASS_VALUES, session_days

TEXTS = {"trend_direction": "UP", "butterfly_type": "CALL", "recommendation": "BUY"}


def scan_of(start: str, sessions: int, *, tickers: int = 4, seed: int = 1) -> pd.DataFrame:
    """Rows of a scan, sorted by (session, ticker), as far as features and daily_metrics read them."""
    days = session_days(start, sessions)
    random = np.random.default_rng(seed)
    numbers = {name for sources in FEATURE_SOURCES.values() for name in sources} | {"band_pct", "total_score"}
    frame = pd.DataFrame(
        {
            "session": np.repeat(days, tickers),
            "ticker": pd.Series([f"SIM{n:02d}" for n in range(tickers)] * sessions, dtype="str"),
        }
    )
    for name in sorted(numbers):
        frame[name] = random.uniform(0.1, 0.9, len(frame))
    return frame.assign(**{name: pd.Series([text] * len(frame), dtype="str") for name, text in TEXTS.items()})


def constant_model(first: str, label: str, opinion: Sequence[float]) -> TimedModel:
    """A model that says the same of every row."""

    def predict(X: Any) -> Any:
        return np.tile(np.array(opinion, dtype=np.float64), (len(X), 1))

    ensemble: Any = SimpleNamespace(predict=predict)
    return TimedModel(np.datetime64(first, "D"), label, ensemble, CLASS_VALUES, 0.1, "")
