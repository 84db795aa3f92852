"""What is recorded of the success model: its card's plain values, and what a service needs of them. Pure.

What belongs here: from what was trained to plain values. What does not: training and judging (`success`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import evaluation, schemas
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig, TrainingConfig
from butterquant_assets.butterfly.execution_threshold import ChosenThreshold
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.vintages import Walk
from butterquant_assets.learning.cards import plain_values, without_curves
from butterquant_assets.learning.walk_forward import fold_summary

PURPOSE = "Probabilities of four ROI classes of a long butterfly, closed on its evaluation session."
LABEL_MEANINGS = {
    "label_mark": "closing at the Black-Scholes value with the days left and the volatility of the evaluation session",
    "label_net": "the same after half-spreads and commission both ways",
    "label_expiry": "the payoff at expiry, at the spot of the evaluation session",
    "label_tent": "the source document's tent, which overstates every profit",
}
LIMITS = (
    "Not an offer to trade: nothing here is advice, and no live order may rest on it alone.",
    "Rows of one day and one VIX episode share their market; the count of episodes, not of rows, is the evidence.",
    "Probabilities refer to the class frequencies of the training rows and to the option prices described in `config`.",
    "Unless iv_level is `published`, option prices are a proxy built on realised volatility, which manufactures edge.",
    "Inputs must be the 23 features as defined by this package; other definitions under the same names give nonsense.",
)
CLASS_BOUNDS = np.array([-0.10, -0.10, 0.05, 0.15])
"""Lowest ROI of each class (the highest, for the first): what a class without training rows counts at."""


def training_record(
    walk: Walk,
    training_set: pd.DataFrame,
    config: TrainingConfig,
    analysis: AnalysisConfig,
    costs: CostConfig,
    matrix: npt.NDArray[np.int64],
    verdict: Mapping[str, Any],
    serving: Mapping[str, Any],
    thresholds: Sequence[ChosenThreshold],
) -> dict[str, Any]:
    """Keyword arguments of `build_card` that training can give, as plain values.

    Parameters
    ----------
    walk, training_set
        what was trained, and on which rows
    config, analysis, costs
        configuration in use
    matrix
        counts by true and predicted class, shape (k, k)
    verdict, serving
        plain values
    thresholds
        of each vintage, in their order, the last from now on
    """
    entry, leave = training_set["session"].to_numpy(), training_set["evaluation_session"].to_numpy()
    summary = fold_summary([v.fold for v in walk.vintages], entry, leave, training_set["episode"].to_numpy())
    labels, net = training_set[config.label].to_numpy(), training_set["roi_net"].to_numpy(dtype=np.float64)
    for vintage, facts, threshold in zip(walk.vintages, summary, thresholds, strict=True):
        known = vintage.fold.train
        facts |= {
            "vintage": vintage.name,
            "class_values": class_values(labels[known], net[known]),
            "threshold": threshold.threshold,
            "threshold_reason": threshold.reason,
            "weights": vintage.ensemble.weights,
            "weighed_on_rows": vintage.weighed_on,
            "calibration": vintage.ensemble.calibrator.method,
        }
    final = walk.final.ensemble
    record: dict[str, Any] = plain_values(
        {
            "purpose": PURPOSE,
            "architecture": {
                "kind": "ensemble",
                "base": "network distilled from the geometry baseline",
                "members": list(final.members),
                "weights": final.weights,
                "calibration": final.calibrator.method,
            },
            "features": list(FEATURES),
            "label": config.label,
            "label_definition": LABEL_MEANINGS[config.label],
            "class_names": list(evaluation.CLASS_NAMES),
            "training": {
                "rows": len(training_set),
                "episodes": int(training_set["episode"].nunique()),
                "calibration": walk.final.calibration.reason,
                "threshold": thresholds[-1].reason,
                "student_divergence_nats": walk.student_error,
                "members": {name: without_curves(member.record) for name, member in final.everyone().items()},
            },
            "splits": {"vintages": summary},
            "confusion_matrix": np.asarray(matrix).tolist(),
            "verdict": verdict,
            "config": {"training": asdict(config), "analysis": asdict(analysis), "costs": asdict(costs)},
            "seeds": {"training": config.seed, "bootstrap": config.seed},
            "limits": list(LIMITS),
            "serving": serving,
        }
    )
    return record


def feedback_facts(feedback: pd.DataFrame, walk: Walk) -> dict[str, Any]:
    """Feedback rows in the final vintage and in each, and how much they weigh; the sample's rows weigh 1 each."""
    return {
        "rows": len(feedback),
        "weight": float(feedback["weight"].sum()),
        "rows_by_tracks": {str(t): int(n) for t, n in feedback["tracks"].value_counts().sort_index().items()},
        "rows_by_vintage": {vintage.name: vintage.feedback for vintage in walk.vintages},
    }


def serving_entry(
    walk: Walk, training_set: pd.DataFrame, chosen: ChosenThreshold, config: TrainingConfig
) -> dict[str, Any]:
    """What a service needs to check requests and to decide, as plain values."""
    values = class_values(training_set[config.label], training_set["roi_net"])
    calibrator = walk.final.ensemble.calibrator
    plain: dict[str, Any] = plain_values(
        {
            "features": [_feature(name, training_set[name]) for name in FEATURES],
            "class_values": {"document": evaluation.DOCUMENT_CLASS_VALUES, "training": values},
            "threshold": {"document": evaluation.EXPECTED_ROI_THRESHOLD, "chosen": chosen.threshold},
            "default_gate": "training",
            "calibration": {"method": calibrator.method, "version": calibrator.version()},
        }
    )
    return plain


def _feature(name: str, seen: pd.Series) -> dict[str, Any]:
    """Meaning, unit and possible range of a feature, as its contract states them, and its median as an example."""
    column = schemas.FEATURES.schema.columns[name]
    bounds = [check.statistics or {} for check in column.checks]
    lows = [bound["min_value"] for bound in bounds if bound.get("min_value") is not None]
    highs = [bound["max_value"] for bound in bounds if bound.get("max_value") is not None]
    return {
        "name": name,
        "description": str(column.description),
        "example": float(f"{seen.median():.4g}"),
        "unit": (column.metadata or {}).get("unit", ""),
        "low": max(lows) if lows else None,
        "high": min(highs) if highs else None,
        "nullable": bool(column.nullable),
    }


def class_values(labels: npt.ArrayLike, roi_net: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Mean roi_net by class over training rows; a class without rows counts at its own bound."""
    values = evaluation.class_values(labels, roi_net)
    filled: npt.NDArray[np.float64] = np.where(np.isnan(values), CLASS_BOUNDS, values)
    return filled
