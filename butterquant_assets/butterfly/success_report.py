"""The success model's report and plots, put together from what training and judging found. Pure.

What belongs here: which figures the report shows. What does not: computing probabilities, and how a page looks
(`learning.report`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import evaluation
from butterquant_assets.butterfly.config import TrainingConfig
from butterquant_assets.butterfly.evaluation import POOLED, EdgeVerdict, Gates
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.vintages import Walk
from butterquant_assets.foundation import model_plots
from butterquant_assets.foundation import plots as shared_plots
from butterquant_assets.learning import metrics
from butterquant_assets.learning.evidence import episode_interval
from butterquant_assets.learning.importance import importance_table, permutation_increases
from butterquant_assets.learning.reliability import (
    brier_decomposition,
    calibration_guarantee,
    ece_by_chance_in_episodes,
    reliability_table,
)
from butterquant_assets.learning.report import CalibrationFindings, ModelReport, render_report
from butterquant_assets.learning.walk_forward import Fold

Floats = npt.NDArray[np.float64]

GATE_NAMES = {
    "document_gate": "document's class values",
    "our_gate": "training class means",
    "chosen_gate": "training class means, threshold of earlier folds",
}
RETURN_BINS = 5


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything the report is made of; see `success.train_and_judge`."""

    walk: Walk
    folds: Sequence[Fold]
    predictions: Mapping[str, Floats]
    gates: Mapping[str, Gates]
    table: pd.DataFrame
    verdict: EdgeVerdict
    matrix: npt.NDArray[np.int64]
    training_set: pd.DataFrame
    config: TrainingConfig
    record: Mapping[str, Any]
    class_names: Sequence[str]


@dataclass(frozen=True, eq=False)
class Outlook:
    """The report, and the plots that the asset's page shows."""

    html: bytes
    plots: dict[str, bytes]
    guarantee: dict[str, Any]


def look(found: Findings) -> Outlook:
    """Render the report and the plots."""
    guarantee = _guarantee(found)
    folds, weights, calibration = _fold_table(found), _weights(found.walk), _calibration(found, guarantee)
    importance, returns = _importance(found), _expected_roi(found)
    pooled = found.table[(found.table["part"] == POOLED) & found.table["metric"].isin(metrics.SCALARS)]
    report = ModelReport(
        title="Success model: what a butterfly pays",
        purpose=str(found.record["purpose"]),
        verdict=[found.verdict.sentence, _calibration_sentence(guarantee)],
        class_names=list(found.class_names),
        scores=pooled[["predictor", "metric", "value", "low", "high"]],
        scored_on=f"{found.verdict.rows:,} out-of-sample rows of {found.verdict.episodes} episodes",
        model=evaluation.MODEL,
        folds=folds,
        weights=weights,
        calibration=calibration,
        confusion=found.matrix,
        decisions=_decisions(found),
        expected_roi=returns,
        importance=importance,
        splits=_splits(found.record),
        data=dict(found.record["data_versions"]),
        configuration=dict(found.record["config"]),
        seeds=dict(found.record["seeds"]),
        limits=list(found.record["limits"]),
    )
    drawn = {
        "confusion matrix": shared_plots.confusion_matrix(found.matrix, found.class_names),
        "log-loss by vintage": model_plots.fold_losses(folds),
        "ensemble weights": model_plots.ensemble_weights(weights),
        "reliability": model_plots.class_reliability(calibration.reliability, found.class_names),
        "importance": model_plots.importance(importance),
    }
    if calibration.methods["log_loss"].notna().any():
        drawn["calibration methods"] = model_plots.calibration_methods(calibration.methods)
    if len(returns):
        drawn["expected against realised ROI"] = model_plots.expected_roi(returns)
    return Outlook(render_report(report), drawn, guarantee)


def _truth(found: Findings) -> npt.NDArray[np.int64]:
    labels = found.training_set[found.config.label].to_numpy()
    return np.asarray(labels, dtype=np.float64).astype(np.int64)


def _fold_table(found: Findings) -> pd.DataFrame:
    y, episode = _truth(found), found.training_set["episode"].to_numpy()
    rows = []
    for fold in found.folds:
        test = fold.test
        model, geometry = (
            metrics.row_log_loss(found.predictions[name][test], y[test])
            for name in (evaluation.MODEL, evaluation.GEOMETRY)
        )
        gain = episode_interval(geometry - model, episode[test], seed=found.config.seed)
        rows.append(
            {
                "boundary": str(fold.boundary.astype("datetime64[M]")),
                "train_rows": int(fold.train.sum()),
                "episodes": gain.episodes,
                "test_rows": int(test.sum()),
                "model": float(model.mean()),
                "geometry": float(geometry.mean()),
                "difference": gain.mean,
                "low": gain.low if np.isfinite(gain.low) else np.nan,
                "high": gain.high if np.isfinite(gain.high) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _weights(walk: Walk) -> pd.DataFrame:
    rows = [
        {"boundary": vintage.name, "member": member, "weight": weight}
        for vintage in walk.vintages
        for member, weight in vintage.ensemble.weights.items()
    ]
    return pd.DataFrame(rows)


def _guarantee(found: Findings) -> dict[str, Any]:
    tested, y = found.walk.tested, _truth(found)
    model, pool = (found.predictions[name][tested] for name in (evaluation.MODEL, "pool"))
    judged = calibration_guarantee(model, pool, y[tested], seed=found.config.seed)
    episode = found.training_set.loc[tested, "episode"].to_numpy()
    by_chance = ece_by_chance_in_episodes(model, y[tested], episode, seed=found.config.seed)
    plain: dict[str, Any] = judged.to_json() | {"ece_limit_over_episodes": by_chance}
    return plain


def _calibration(found: Findings, guarantee: Mapping[str, Any]) -> CalibrationFindings:
    tested, y = found.walk.tested, _truth(found)
    model = found.predictions[evaluation.MODEL][tested]
    chosen = found.walk.final.calibration
    return CalibrationFindings(
        method=chosen.calibrator.method,
        reason=chosen.reason,
        methods=chosen.table,
        reliability=reliability_table(model, y[tested]),
        ece=guarantee["ece"],
        ece_limit=guarantee["ece_limit"],
        brier=brier_decomposition(model, y[tested]),
    )


def _calibration_sentence(found: Mapping[str, Any]) -> str:
    def where(limit: float) -> str:
        return "within" if found["ece"] <= limit else "above"

    alone, together = found["ece_limit"], found["ece_limit_over_episodes"]
    return (
        f"Its calibration error out of sample is {found['ece']:.3f}: {where(alone)} the {alone:.3f} that perfectly "
        f"calibrated probabilities would stay below in 95 of 100 samples if rows were independent, {where(together)} "
        f"the {together:.3f} that chance explains where rows of an episode share their luck, as they do."
    )


def _decisions(found: Findings) -> pd.DataFrame:
    pooled = {
        (row["predictor"], row["metric"]): row for row in found.table[found.table["part"] == POOLED].to_dict("records")
    }
    rows = []
    for predictor, gates in found.gates.items():
        for gate in gates.taken:
            mean = pooled[predictor, f"{gate}_mean_roi_net"]
            counts = {what: int(pooled[predictor, f"{gate}_{what}"]["value"]) for what in ("rows", "episodes")}
            threshold = np.nan if gate == "chosen_gate" else evaluation.EXPECTED_ROI_THRESHOLD
            rows.append({"rule": f"{predictor}: {GATE_NAMES[gate]}", "threshold": threshold} | counts | _bounds(mean))
    every = pooled["all_rows", "mean_roi_net"]
    counts = {what: int(pooled["all_rows", what]["value"]) for what in ("rows", "episodes")}
    rows.append({"rule": "every trade", "threshold": np.nan} | counts | _bounds(every))
    return pd.DataFrame(rows)


def _bounds(row: Mapping[Any, Any]) -> dict[str, float]:
    return {"mean_roi_net": float(row["value"]), "low": float(row["low"]), "high": float(row["high"])}


def _expected_roi(found: Findings) -> pd.DataFrame:
    """Realised roi_net by quintile of the expected one."""
    expected = found.gates[evaluation.MODEL].expected
    known = np.isfinite(expected)
    rows = found.training_set[known].assign(expected=expected[known])
    edges = np.unique(np.quantile(rows["expected"], np.linspace(0, 1, RETURN_BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, rows["expected"].to_numpy(), side="right")
    table = []
    for number in np.unique(bins):
        inside = rows[bins == number]
        paid = episode_interval(
            inside["roi_net"].to_numpy(dtype=np.float64),
            evaluation.outcome_blocks(inside["session"]),
            seed=found.config.seed,
        )
        bounds = [value if np.isfinite(value) else np.nan for value in (paid.low, paid.high)]
        table.append((float(inside["expected"].mean()), paid.mean, *bounds, len(inside)))
    return pd.DataFrame(table, columns=["expected", "realised", "low", "high", "rows"])


def _importance(found: Findings) -> pd.DataFrame:
    """Permutation importance on the rows each vintage met, at most `importance_rows` of them, drawn by the seed."""
    X, y = found.training_set[list(FEATURES)].to_numpy(dtype=np.float64), _truth(found)
    share = min(1.0, found.config.importance_rows / max(1, int(found.walk.tested.sum())))
    drawn = np.random.default_rng([found.config.seed, 1]).random(len(y)) < share
    increases, episodes = [], []
    for vintage in found.walk.vintages[:-1]:
        rows = vintage.fold.test & drawn
        if rows.sum() < 2:
            rows = vintage.fold.test
        increases.append(
            permutation_increases(
                vintage.ensemble.predict, X[rows], y[rows], features=FEATURES, seed=found.config.seed, repeats=1
            )
        )
        episodes.append(found.training_set.loc[rows, "episode"].to_numpy())
    return importance_table(
        np.concatenate(increases), features=FEATURES, episode=np.concatenate(episodes), seed=found.config.seed
    )


def _splits(record: Mapping[str, Any]) -> pd.DataFrame:
    rows = []
    for fold in record["splits"]["vintages"]:
        for part in ("train", "test"):
            if fold[f"{part}_rows"]:
                rows.append(
                    {
                        "part": f"{fold['vintage']} {part}",
                        "rows": fold[f"{part}_rows"],
                        "episodes": fold[f"{part}_episodes"],
                        "first": fold[f"{part}_first_entry"],
                        "last": fold[f"{part}_last_entry"],
                    }
                )
    return pd.DataFrame(rows)
