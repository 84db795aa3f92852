"""How good are class probabilities: proper scores, accuracy, calibration.

What belongs here: scores of probabilities against labels. What does not: which predictors are compared, and money.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError

SCALARS = ("accuracy", "macro_f1", "log_loss", "brier", "ece")
ECE_BINS = 10

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def evaluate(probabilities: npt.ArrayLike, labels: npt.ArrayLike, n_classes: int = 4) -> dict[str, Any]:
    """Score class probabilities.

    Parameters
    ----------
    probabilities
        shape (n, n_classes), rows sum to 1
    labels
        true classes 0 .. n_classes - 1, shape (n,)
    n_classes
        number of classes, present or not

    Returns
    -------
    dict
        ``accuracy``; ``macro_f1`` over all classes (a class neither present nor predicted counts 0); ``log_loss`` in
        nats; ``brier``, the sum over classes, 0 .. 2 (Brier 1950); ``ece``, see `expected_calibration_error`; and
        ``confusion_matrix``, a list of lists of counts, true class by row, predicted class by column.

    Raises
    ------
    DataError
        if there is no row, a probability is missing or outside 0 .. 1, rows do not sum to 1, or a label is no class.
    """
    p, y = check_predictions(probabilities, labels, n_classes)
    matrix = confusion_matrix(p.argmax(axis=1), y, n_classes)
    return {
        "accuracy": float(np.trace(matrix) / len(y)),
        "macro_f1": _macro_f1(matrix),
        "log_loss": float(row_log_loss(p, y).mean()),
        "brier": float(((p - np.eye(n_classes)[y]) ** 2).sum(axis=1).mean()),
        "ece": expected_calibration_error(p, y),
        "confusion_matrix": matrix.tolist(),
    }


def row_log_loss(probabilities: Floats, labels: Labels) -> Floats:
    """Minus the log of the probability given to the true class, per row, shape (n,), in nats.

    Probabilities are bounded below by the machine epsilon of float64 (as scikit-learn does), so the loss is finite.
    """
    chosen = probabilities[np.arange(len(labels)), labels]
    losses: Floats = -np.log(np.maximum(chosen, np.finfo(np.float64).eps))
    return losses


def confusion_matrix(predicted: npt.ArrayLike, labels: npt.ArrayLike, n_classes: int = 4) -> npt.NDArray[np.int64]:
    """Counts by true class (row) and predicted class (column), shape (n_classes, n_classes)."""
    pairs = np.asarray(labels, dtype=np.int64) * n_classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)


def expected_calibration_error(probabilities: Floats, labels: Labels, bins: int = ECE_BINS) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of confidence, weighted by rows.

    Parameters
    ----------
    probabilities
        shape (n, k)
    labels
        shape (n,)
    bins
        number of bins on (0, 1], closed on the right

    Returns
    -------
    float in 0 .. 1

    Notes
    -----
    Source: Guo, Pleiss, Sun, Weinberger, *On Calibration of Modern Neural Networks*, ICML 2017, equation 3.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bucket = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bucket, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def check_predictions(probabilities: npt.ArrayLike, labels: npt.ArrayLike, n_classes: int) -> tuple[Floats, Labels]:
    """Probabilities as float64 (n, n_classes) and labels as int64 (n,), or a DataError that says what is wrong."""
    p, raw = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or p.shape != (raw.size, n_classes):
        raise ValueError(f"probabilities have shape {p.shape}; expected ({raw.size}, {n_classes})")
    if not raw.size:
        raise DataError("there are no rows to evaluate; the part is empty")
    # Labels of a frame with gaps arrive as floats or nullable integers: a missing one must not become a class.
    wrong = ~np.isin(raw, np.arange(n_classes))
    if wrong.any():
        raise DataError(f"{wrong.sum()} labels are no class 0 .. {n_classes - 1}, for instance {raw[wrong][0]!r}")
    bad = ~((p >= 0) & (p <= 1)).all(axis=1) | ~(np.abs(p.sum(axis=1) - 1) < 1e-5)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"{bad.sum()} rows are no probability distribution, for instance row {row}: {p[row]}")
    return p, raw.astype(np.int64)


def _macro_f1(matrix: npt.NDArray[np.int64]) -> float:
    hits = np.diag(matrix).astype(np.float64)
    total = matrix.sum(axis=0) + matrix.sum(axis=1)
    return float(np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0).mean())
