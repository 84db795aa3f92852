"""Scores to JSON.

What belongs here: the shape of a successful answer, and the decision that a gate makes of an expected ROI.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from butterquant_assets.serving.contract import GATES
from butterquant_assets.serving.model import Scores, ServedModel

EXECUTE, PASS = "execute", "pass"
_WORDS = np.array([PASS, EXECUTE], dtype=object)


def render(model: ServedModel, scores: Scores, gate: str, *, tabular: bool) -> bytes:
    """The answer to a request, every row of it from `model`.

    Parameters
    ----------
    model
        that scored
    scores
        of the rows, in the order of the request
    gate
        which decides: executes where expected ROI exceeds its threshold, nothing where it has none
    tabular
        arrays over all rows instead of one object per row

    Returns
    -------
    bytes of a JSON object
    """
    contract = model.contract
    threshold = contract.thresholds[gate]
    document: dict[str, Any] = {
        "model": {
            "name": model.name,
            "version": model.version,
            "calibration": {"method": contract.calibration_method, "version": contract.calibration_version},
        },
        "gate": {
            "name": gate,
            "threshold": threshold,
            "class_values": contract.class_values[:, GATES.index(gate)].tolist(),
        },
        "classes": contract.classes,
    }
    decided = _decide(scores, gate, threshold)
    document |= _table(scores, decided) if tabular else {"predictions": _rows(scores, decided, contract.classes)}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _decide(scores: Scores, gate: str, threshold: float | None) -> list[str]:
    if threshold is None:
        return [PASS] * len(scores.expected_roi)
    words: list[str] = _WORDS[(scores.expected_roi[:, GATES.index(gate)] > threshold).astype(np.intp)].tolist()
    return words


def _table(scores: Scores, decided: list[str]) -> dict[str, Any]:
    columns = {gate: np.ascontiguousarray(scores.expected_roi[:, place]) for place, gate in enumerate(GATES)}
    return {"probabilities": scores.probabilities, "expected_roi": columns, "decisions": decided}


def _rows(scores: Scores, decided: list[str], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "probabilities": dict(zip(classes, probabilities, strict=True)),
            "expected_roi": dict(zip(GATES, expected, strict=True)),
            "decision": decision,
        }
        for probabilities, expected, decision in zip(
            scores.probabilities.tolist(), scores.expected_roi.tolist(), decided, strict=True
        )
    ]
