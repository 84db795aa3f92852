"""Rows of the table ``daily_metrics`` and of the registry, and what a warehouse gives back of them."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pandas as pd

from butterquant_assets.foundation.warehouse import Warehouse

# The table of the source document, in its order.
# fmt: off
DAILY_METRICS = [
    "time", "ticker", "current_price", "trend_direction", "trend_slope", "dominant_period",
    "predicted_price", "prediction_lower", "prediction_upper", "price_stability", "predicted_vol", "current_iv",
    "vol_mispricing", "iv_percentile", "delta", "gamma", "vega", "theta",
    "butterfly_type", "max_profit", "max_loss", "profit_ratio", "prob_profit", "total_score",
    "recommendation", "ml_success_prob", "expected_roi", "model_version",
]
# fmt: on
TEXT = ("ticker", "trend_direction", "butterfly_type", "recommendation", "model_version")


def daily_metrics(rows: int, seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=rows) for name in DAILY_METRICS})
    for name in TEXT:
        frame[name] = pd.Series([f"{name} {number}" for number in range(rows)], dtype="str")
    frame["time"] = pd.Timestamp("2018-01-02") + pd.to_timedelta(np.arange(rows) // 10, unit="D")
    frame["ticker"] = pd.Series([f"SIM{number % 10:02d}" for number in range(rows)], dtype="str")
    frame["total_score"] = 51.0 + np.arange(rows)
    return frame.astype({"time": "datetime64[us]"})


def export(warehouse: Warehouse, minimum_score: float = -1e9) -> pd.DataFrame:
    span = {"first": date(2000, 1, 1), "last": date(2100, 1, 1)}
    return warehouse.fetch("export_daily_metrics", span | {"minimum_score": minimum_score})


def model(version: str, role: str = "challenger", **changes: object) -> dict[str, object]:
    return {
        "model": "success",
        "version": version,
        "role": role,
        "label": "label_mark",
        "onnx_sha256": "ab" * 32,
        "training_content": "t1",
        "code_version": "c1",
        "metrics": json.dumps({"log_loss": 1.2}),
        "published_at": None,
    } | changes
