"""Small model stores to serve from: ONNX files of networks with the 23 features, published with hand-made cards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.schemas import FEATURES as FEATURE_TABLE
from butterquant_assets.foundation.files import write_atomically
from butterquant_assets.foundation.model_content import canonical_json, content_version, weights_bytes
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.learning.mlp import TrainedMlp, class_weights
from butterquant_tests.learning.network_onnx import export_onnx

NAME = "success"
CLASSES = ("loss", "small", "good", "excellent")
NULLABLE = ("iv_percentile", "skew_estimate", "gamma_theta_ratio")
RANGES: dict[str, tuple[float | None, float | None]] = {
    "dominant_period": (7.0, 180.0),
    "period_strength": (0.0, 100.0),
    "predicted_vol": (0.0, None),
    "vol_mispricing": (None, 1.0),
    "iv_percentile": (0.0, 1.0),
    "prob_profit": (0.0, 1.0),
    "vix_level": (0.0, 200.0),
}
PERIOD = np.array(FEATURES) == "dominant_period"
TRAINING_VALUES = (-0.61, -0.04, 0.09, 0.55)


def network(seed: int, hidden: tuple[int, ...] = (16, 8)) -> TrainedMlp:
    """A network with random weights: serving does not care what it learnt, only that two seeds answer differently."""
    random = np.random.default_rng(seed)
    state: dict[str, Any] = {
        "input_median": np.where(PERIOD, 90.0, 0.5),
        "input_mean": np.where(PERIOD, 90.0, 0.5),
        "input_scale": np.where(PERIOD, 50.0, 0.3),
        "log_class_weights": np.log(class_weights([0, 0, 1, 2, 3, 3])),
    }
    width = 23
    for layer, units in enumerate((*hidden, 4)):
        place = 4 * layer
        state[f"layers.{place}.weight"] = random.normal(size=(units, width)) * (2.0 / width) ** 0.5
        state[f"layers.{place}.bias"] = np.zeros(units)
        if layer < len(hidden):
            norm = f"layers.{place + 1}"
            state |= {f"{norm}.weight": np.ones(units), f"{norm}.bias": np.zeros(units)}
            state |= {f"{norm}.running_mean": np.zeros(units), f"{norm}.running_var": np.ones(units)}
        width = units
    state = {name: tensor.astype(np.float32) for name, tensor in state.items()}
    state |= {f"layers.{4 * layer + 1}.num_batches_tracked": np.array(1) for layer in range(len(hidden))}
    return TrainedMlp(state, FEATURES, hidden, 0.0, 4, pd.DataFrame(), 1, seed)


def serving_entry(**changes: Any) -> dict[str, Any]:
    """The ``serving`` entry of a card."""
    columns = FEATURE_TABLE.schema.columns
    entry = {
        "features": [
            {
                "name": name,
                "unit": (columns[name].metadata or {}).get("unit"),
                "low": RANGES.get(name, (None, None))[0],
                "high": RANGES.get(name, (None, None))[1],
                "nullable": name in NULLABLE,
                "description": columns[name].description,
            }
            for name in FEATURES
        ],
        "class_values": {"document": [0.0, 0.05, 0.20, 0.40], "training": list(TRAINING_VALUES)},
        "threshold": {"document": 0.15, "chosen": 0.02},
        "default_gate": "training",
        "calibration": {"method": "isotonic", "version": "c0ffee"},
    }
    return entry | changes


def publish(
    store: ModelStore,
    seed: int,
    *,
    hidden: tuple[int, ...] = (16, 8),
    onnx: bytes | None = None,
    card: Mapping[str, Any] | None = None,
) -> str:
    """Publish a version; returns it."""
    trained = network(seed, hidden)
    content = export_onnx(trained) if onnx is None else onnx
    whole = {
        "purpose": "Probabilities of four ROI classes.",
        "input": {"features": list(FEATURES)},
        "output": {"classes": list(CLASSES)},
        "verdict": {"text": "does not beat the geometry baseline"},
        "limits": ["not for live trading"],
        "serving": serving_entry(),
    } | dict(card or {})
    version = content_version(weights_bytes(trained.state), {"card": whole, "onnx": content.hex()})
    store.write_weights(NAME, version, trained.state, {"seed": seed}, {})
    store.publish(NAME, version, content, whole)
    return version


def promote(store: ModelStore, version: str) -> None:
    """Point the champion at a version, whatever state it is in."""
    write_atomically(store.root / NAME / "champion.json", canonical_json({"version": version}))


def rows(n: int, seed: int = 0) -> np.ndarray:
    """Possible features, shape (n, 23), a few missing where they may be."""
    random = np.random.default_rng(seed)
    values = random.uniform(0.0, 1.0, (n, 23))
    values[:, FEATURES.index("dominant_period")] = random.uniform(7.0, 180.0, n)
    for name in NULLABLE:
        values[random.random(n) < 0.2, FEATURES.index(name)] = np.nan
    return values


def as_dicts(values: np.ndarray) -> list[dict[str, float | None]]:
    """Rows by name, None for missing."""
    return [dict(zip(FEATURES, row, strict=True)) for row in as_lists(values)]


def as_lists(values: np.ndarray) -> list[list[float | None]]:
    return [[None if value != value else float(value) for value in row] for row in values]


def new_store(folder: Path) -> ModelStore:
    return ModelStore(folder / "models")
