"""Versions to register, and what is asked of a registry again and again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.registry_events import ModelEvent

NAME = "success"
A, B, C, D = ("a" * 16, "b" * 16, "c" * 16, "d" * 16)
WHEN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
FOR, AGAINST = {"promoted": True, "difference": 0.02}, {"promoted": False, "difference": -0.01}


def publish(store: ModelStore, version: str, name: str = NAME) -> dict[str, Any]:
    """A small published version; returns its card."""
    card = {
        "label": {"column": "label_mark"},
        "data_versions": {"butterfly/training_set": f"training of {version}", "butterfly/analyses": "an"},
        "code_version": "c1",
        "evaluation": {"validation": {"model": {"log_loss": 9.0}}, "test": {"model": {"log_loss": 1.2}}},
    }
    store.write_weights(name, version, {"w": np.arange(3.0)}, {"seed": 7}, {})
    store.publish(name, version, f"onnx of {version}".encode(), card)
    return store.load_card(name, version)


def ticking() -> Callable[[], datetime]:
    """A clock that moves on a minute at each look."""
    ticks = iter(range(10_000))
    return lambda: WHEN + timedelta(minutes=next(ticks))


def each_database(test: Any) -> Any:
    """Run a test on both databases; the others ask nothing of one that SQLite does not show."""
    test.databases = ("sqlite", "postgresql")
    return test


def promote(registry: Registry, version: str, **changes: Any) -> ModelEvent:
    return registry.promote(NAME, version, **{"evidence": FOR, "actor": "anna", "reason": "better"} | changes)


def roles(registry: Registry) -> dict[str, str]:
    return {model.version[0]: model.role for model in registry.models(NAME)}


def acts(registry: Registry) -> list[str]:
    return [f"{event.action} {event.version[0]}" for event in registry.history(NAME)]
