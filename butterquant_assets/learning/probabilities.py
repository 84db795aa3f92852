"""What members, ensembles and their ONNX graph must do alike to inputs, margins and probabilities.

What belongs here: rounding of inputs, logarithms, softmax, and checks of what comes in. What does not: scores
(`learning.metrics`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.scaling import check_inputs

Floats = npt.NDArray[np.float64]

SMALLEST = 1e-7
"""Probabilities are clipped to [SMALLEST, 1 - SMALLEST] before a logarithm; 1 - SMALLEST is not 1 in float32."""
IMPROVEMENT = 1e-9
"""A validation loss lower by less is rounding, not learning."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What a learner sees of one part.

    Parameters
    ----------
    X
        features, shape (n, d), float32: what the ONNX graph will see; NaN is missing
    labels
        classes, shape (n,); of a regression, values
    margins
        starting margins, shape (n, k)
    weight
        sample weights, shape (n,), or None
    """

    X: npt.NDArray[np.float32]
    labels: Any
    margins: Floats
    weight: Floats | None = None


def as_served(X: npt.ArrayLike, features: Sequence[str]) -> npt.NDArray[np.float32]:
    """Inputs as float32, shape (n, d), as a served model sees them; NaN is missing.

    Raises
    ------
    DataError
        if a value is infinite, or too large for float32.
    ValueError
        if the shape does not fit the names.
    """
    values = check_inputs(X, features)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which the next line refuses
        rounded = values.astype(np.float32)
    check_inputs(rounded, features)
    return rounded


def clipped(probabilities: npt.ArrayLike) -> Floats:
    """Probabilities within [1e-7, 1 - 1e-7]."""
    return np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, 1 - SMALLEST)


def log_probabilities(probabilities: npt.ArrayLike) -> Floats:
    """Logarithms of clipped probabilities, never infinite."""
    logs: Floats = np.log(clipped(probabilities))
    return logs


def softmax(logits: npt.ArrayLike) -> Floats:
    """exp(z) / sum exp(z) along the last axis, without overflow."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def mean_log_loss(logits: Floats, labels: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Mean of -log softmax(logits)[label] in nats, weighted where weights are given; logits of shape (n, k)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(shifted)), np.asarray(labels, dtype=np.int64)]
    losses = np.log(np.exp(shifted).sum(axis=1)) - chosen
    return float(np.average(losses, weights=None if weight is None else np.asarray(weight, dtype=np.float64)))


def check_distributions(probabilities: npt.ArrayLike, rows: int, n_classes: int, what: str) -> Floats:
    """Probabilities as float64 of shape (rows, n_classes).

    Raises
    ------
    DataError
        if one is missing or outside 0 .. 1, or a row does not sum to 1.
    ValueError
        if the shape is another.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.shape != (rows, n_classes):
        raise ValueError(f"{what} have shape {values.shape}; expected ({rows}, {n_classes})")
    wrong = ~((values >= 0) & (values <= 1)).all(axis=1) | ~(np.abs(values.sum(axis=1) - 1) < 1e-5)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{what} of row {row} are {values[row].tolist()} ({wrong.sum()} such rows); expected {n_classes} numbers "
            "in 0 .. 1 that sum to 1"
        )
    return values


def check_labels(labels: npt.ArrayLike, n_classes: int, part: str) -> npt.NDArray[np.int64]:
    """Labels as int64 of shape (n,).

    Raises
    ------
    DataError
        if there is none, or one is no class 0 .. n_classes - 1.
    """
    raw = np.asarray(labels)
    if not raw.size:
        raise DataError(f"the {part} part has no rows")
    wrong = ~np.isin(raw, np.arange(n_classes))
    if wrong.any():
        raise DataError(f"{wrong.sum()} {part} labels are no class 0 .. {n_classes - 1}, e.g. {raw[wrong][0]!r}")
    return raw.astype(np.int64)


def check_weights(weight: npt.ArrayLike | None, rows: int) -> Floats | None:
    """Sample weights as float64 of shape (rows,), or None.

    Raises
    ------
    DataError
        if one is negative or missing, or all are 0.
    ValueError
        if the shape is another.
    """
    if weight is None:
        return None
    values = np.asarray(weight, dtype=np.float64)
    if values.shape != (rows,):
        raise ValueError(f"sample weights have shape {values.shape}; expected ({rows},)")
    if not (np.isfinite(values) & (values >= 0)).all() or values.sum() == 0:
        raise DataError("sample weights must be finite, not negative and not all 0; mend or leave them out")
    return values
