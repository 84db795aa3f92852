"""What ``/v1/models`` tells: the card of the served version in short, and which other versions there are."""

from __future__ import annotations

from typing import Any

from butterquant_assets.serving.contract import GATES
from butterquant_assets.serving.model import ServedModel
from butterquant_assets.serving.watcher import ChampionWatcher

_FROM_CARD = ("purpose", "label", "verdict", "data_versions", "code_version", "limits")


def models_document(watcher: ChampionWatcher) -> dict[str, Any]:
    """The answer of ``/v1/models``; reads the names of published versions from disk."""
    served = watcher.current
    others = [version for version in watcher.store.versions(watcher.name) if not served or version != served.version]
    return {
        "name": watcher.name,
        "served": None if served is None else summary(served),
        "problem": watcher.problem,
        "other_versions": others,
    }


def summary(model: ServedModel) -> dict[str, Any]:
    """A card in short, as plain values: what a caller must know to use the answers."""
    contract = model.contract
    return {
        "name": model.name,
        "version": model.version,
        "calibration": {"method": contract.calibration_method, "version": contract.calibration_version},
        "classes": list(contract.classes),
        "gates": {
            gate: {
                "class_values": contract.class_values[:, place].tolist(),
                "threshold": contract.thresholds[gate],
                "default": gate == contract.default_gate,
            }
            for place, gate in enumerate(GATES)
        },
        "features": [
            {
                "name": feature.name,
                "unit": feature.unit,
                "low": feature.low,
                "high": feature.high,
                "nullable": feature.nullable,
                "description": feature.description,
            }
            for feature in contract.features
        ],
        "card": {name: model.card[name] for name in _FROM_CARD if name in model.card},
    }
