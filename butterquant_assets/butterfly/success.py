"""The success model: joining its training set, training and judging its vintages, and writing its card. Pure.

What belongs here: how the pieces of `learning` and of this line fit together for the four ROI classes. What does not:
training one vintage (`vintages`), comparing predictions (`evaluation`), the card's values (`success_record`), the
report's pages (`success_report`), storing anything.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import evaluation, success_report
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig, TrainingConfig
from butterquant_assets.butterfly.evaluation import Gates
from butterquant_assets.butterfly.execution_threshold import ChosenThreshold, choose_threshold
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.model_schemas import PROBABILITIES
from butterquant_assets.butterfly.success_record import (
    LABEL_MEANINGS,
    feedback_facts,
    serving_entry,
    training_record,
)
from butterquant_assets.butterfly.vintages import Walk, train_vintages
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.model_content import canonical_json, content_version, files_under
from butterquant_assets.learning import ensemble as ensemble_files
from butterquant_assets.learning import metrics
from butterquant_assets.learning.cards import build_card
from butterquant_assets.learning.ensemble import Ensemble
from butterquant_assets.learning.walk_forward import Fold

NAME = "success"
SHARED_COLUMNS = ("session", "ticker")
OUT_OF_SAMPLE, REPORT = "out_of_sample.parquet", "report.html"
COMPARED_ROWS, COMPARED_MISSING = 2000, 0.1


@dataclass(frozen=True)
class TrainingRows:
    """Labelled rows, and why the others have no label."""

    rows: pd.DataFrame
    facts: dict[str, Any]


@dataclass(frozen=True, eq=False)
class TrainedSuccess:
    """A trained and judged success model as plain values.

    Parameters
    ----------
    version
        hash of all files and of everything that may change the card
    files
        contents by path: the final ensemble under ``ensemble/``, each vintage's under ``vintages/<YYYY-MM>/``, the
        out-of-sample predictions, the report
    training
        everything the card needs, besides the evaluation table and the ONNX parity
    evaluation, predictions, calibration
        tables of `evaluation_contract`, `model_schemas.SUCCESS_PREDICTIONS` and `CALIBRATION_TABLE`
    facts, plots
        what to show
    """

    version: str
    files: dict[str, bytes]
    training: dict[str, Any]
    evaluation: pd.DataFrame
    predictions: pd.DataFrame
    calibration: pd.DataFrame
    facts: dict[str, Any]
    plots: dict[str, bytes]


def join_training_set(analyses: pd.DataFrame, features: pd.DataFrame, labels: pd.DataFrame) -> TrainingRows:
    """Features joined with labels; rows without a label are counted by reason.

    Parameters
    ----------
    analyses
        columns session, ticker, stratum, episode
    features
        session, ticker and the 23 features
    labels
        columns of `schemas.ROI_LABELS`

    Returns
    -------
    TrainingRows
    """
    keys = list(SHARED_COLUMNS)
    outcomes = [name for name in labels.columns if name.startswith(("roi_", "label_"))]
    joined = analyses[[*keys, "stratum", "episode"]].merge(
        labels[[*keys, "evaluation_session", "missing_reason", *outcomes]], on=keys, validate="one_to_one"
    )
    joined = joined.merge(features, on=keys, validate="one_to_one")
    labelled = joined["missing_reason"] == ""
    unlabelled = joined.loc[~labelled, "missing_reason"].value_counts().sort_index()
    rows = joined[labelled]
    facts = {
        "analysed": len(joined),
        "unlabelled": {str(reason): int(count) for reason, count in unlabelled.items()},
        "sessions": int(rows["session"].nunique()),
        "episodes": int(rows["episode"].nunique()),
    }
    columns = [*keys, "stratum", "episode", "evaluation_session", *FEATURES, *outcomes]
    return TrainingRows(rows[columns].reset_index(drop=True), facts)


def train_and_judge(
    training_set: pd.DataFrame,
    analyses: pd.DataFrame,
    features: pd.DataFrame,
    config: TrainingConfig,
    analysis: AnalysisConfig,
    costs: CostConfig,
    *,
    data_versions: Mapping[str, str],
    code_version: str,
    feedback: pd.DataFrame | None = None,
) -> TrainedSuccess:
    """Train every vintage and judge their out-of-sample predictions beside every baseline.

    Parameters
    ----------
    training_set
        columns of `schemas.TRAINING_SET`
    analyses, features
        columns of `schemas.ANALYSES` and `schemas.FEATURES`, for at least these rows; unlabelled ones teach geometry
    config, analysis, costs
        configuration in use
    data_versions, code_version
        for the card and the version
    feedback
        columns of `feedback.FEEDBACK_TYPES`: members learn from these rows as well. Nothing is judged on them, because
        tracks chose them; an empty table gives what none gives, byte for byte

    Raises
    ------
    DataError
        if there are fewer rows or episodes than the configuration demands, or a feedback row is in the training set.
    ConfigError
        if the label is none of the four.
    """
    if config.label not in LABEL_MEANINGS:
        raise ConfigError(f"training.label {config.label!r} is no label; use one of {', '.join(LABEL_MEANINGS)}")
    walk = train_vintages(training_set, analyses, features, config, costs, feedback)
    folds = [vintage.fold for vintage in walk.vintages[:-1]]
    predictions = walk.predictions | evaluation.baseline_predictions(
        training_set, analyses, folds, label=config.label, features=FEATURES, costs=costs
    )
    gates = {
        name: evaluation.decide_walk(predictions[name], training_set, folds, label=config.label, seed=config.seed)
        for name in (evaluation.MODEL, evaluation.GEOMETRY, "total_score_rule")
    }
    table = evaluation.evaluate_walk(predictions, gates, training_set, folds, label=config.label, seed=config.seed)
    verdict = evaluation.verdict(
        predictions,
        training_set,
        walk.tested,
        label=config.label,
        seed=config.seed,
        vols_are_proxy=analysis.iv_level != "published",
    )
    chosen = _threshold_from_now_on(gates[evaluation.MODEL], training_set, walk, config)
    past = list(gates[evaluation.MODEL].thresholds.values())
    serving = serving_entry(walk, training_set, chosen, config)
    truth = training_set.loc[walk.tested, config.label].to_numpy().astype(np.int64)
    matrix = metrics.confusion_matrix(predictions[evaluation.MODEL][walk.tested].argmax(axis=1), truth)
    record = training_record(
        walk, training_set, config, analysis, costs, matrix, verdict.to_json(), serving, [*past, chosen]
    )
    record |= {"data_versions": dict(data_versions), "code_version": code_version}
    if feedback is not None and len(feedback):
        record["training"] |= {"feedback": feedback_facts(feedback, walk)}
    outlook = success_report.look(
        success_report.Findings(
            walk,
            folds,
            predictions,
            gates,
            table,
            verdict,
            matrix,
            training_set,
            config,
            record,
            evaluation.CLASS_NAMES,
        )
    )
    shown = _long(predictions, training_set, folds)
    files = _files(walk, shown, outlook.html)
    hashes = canonical_json({path: content_version(content, {}) for path, content in sorted(files.items())})
    version = content_version(hashes, record)
    return TrainedSuccess(
        version=version,
        files=files,
        training=record,
        evaluation=table,
        predictions=shown,
        calibration=_calibration(walk),
        facts={
            "version": version,
            "verdict": verdict.sentence,
            "beats_geometry": verdict.beats_geometry,
            "gain_over_geometry_nats": round(verdict.gain, 6),
            "vintages": [vintage.name for vintage in walk.vintages],
            "weights": {name: round(weight, 4) for name, weight in walk.final.ensemble.weights.items()},
            "calibration": walk.final.calibration.reason,
            "calibration_guarantee": outlook.guarantee,
            "threshold": chosen.reason,
            "student_divergence_nats": round(walk.student_error, 6),
            "feedback_rows": walk.final.feedback,
            "seed": config.seed,
        },
        plots=outlook.plots,
    )


def restore(files: Mapping[str, bytes]) -> Ensemble:
    """The ensemble that was stored under ``ensemble/``."""
    return ensemble_files.from_files(files_under("ensemble", files))


def restore_vintage(name: str, files: Mapping[str, bytes]) -> Ensemble:
    """The vintage of that month."""
    return ensemble_files.from_files(files_under(f"vintages/{name}", files))


def card(training: Mapping[str, Any], table: pd.DataFrame, parity: pd.DataFrame) -> dict[str, Any]:
    """The model card: what training recorded, with the evaluation table and the ONNX parity."""
    plain = {name: value for name, value in training.items() if name != "serving"}
    return build_card(**plain, evaluation=table, onnx_parity=parity) | {"serving": training["serving"]}


def rows_to_compare(training_set: pd.DataFrame, seed: int = 0) -> npt.NDArray[np.float64]:
    """Feature rows on which an export is compared with the model: training rows, a tenth of their values missing."""
    random = np.random.default_rng(seed)
    picked = random.permutation(len(training_set))[:COMPARED_ROWS]
    rows = training_set[list(FEATURES)].to_numpy(dtype=np.float64)[picked]
    missing = random.random(rows.shape) < COMPARED_MISSING
    compared: npt.NDArray[np.float64] = np.where(missing, np.nan, rows)
    return compared


def _threshold_from_now_on(
    gates: Gates, training_set: pd.DataFrame, walk: Walk, config: TrainingConfig
) -> ChosenThreshold:
    """The execution threshold for rows after the data, chosen on everything met out of sample."""
    rows = training_set[walk.tested]
    return choose_threshold(
        gates.expected[walk.tested],
        rows["roi_net"].to_numpy(dtype=np.float64),
        rows["episode"].to_numpy(),
        seed=config.seed,
        session=rows["session"].to_numpy(),
    )


def _long(
    predictions: Mapping[str, npt.NDArray[np.float64]], training_set: pd.DataFrame, folds: Sequence[Fold]
) -> pd.DataFrame:
    vintage = np.full(len(training_set), "", dtype=object)
    for fold in folds:
        vintage[fold.test] = str(fold.boundary.astype("datetime64[M]"))
    tested = vintage != ""
    rows: pd.DataFrame = training_set.loc[tested, list(SHARED_COLUMNS)].assign(vintage=vintage[tested])
    parts = []
    for name, values in predictions.items():
        columns = dict(zip(PROBABILITIES, values[tested].T, strict=True))
        parts.append(rows.assign(predictor=name, **columns))
    table = pd.concat(parts, ignore_index=True).astype({"vintage": "str", "predictor": "str"})
    return table.sort_values(["session", "ticker", "predictor"], kind="stable").reset_index(drop=True)


def _calibration(walk: Walk) -> pd.DataFrame:
    tables = [vintage.calibration.table.assign(vintage=vintage.name) for vintage in walk.vintages]
    columns = ["vintage", "method", "log_loss", "brier", "ece", "gain", "standard_error", "rows", "chosen"]
    whole = pd.concat(tables, ignore_index=True)[columns]
    figures = ["log_loss", "brier", "ece", "gain", "standard_error"]
    whole[figures] = whole[figures].astype("float64").where(np.isfinite(whole[figures].astype("float64")))
    typed: pd.DataFrame = whole.astype({"vintage": "str", "method": "str", "rows": "int64", "chosen": "bool"})
    return typed


def _files(walk: Walk, predictions: pd.DataFrame, report: bytes) -> dict[str, bytes]:
    files = {f"ensemble/{path}": content for path, content in ensemble_files.to_files(walk.final.ensemble).items()}
    for vintage in walk.vintages[:-1]:
        stored = ensemble_files.to_files(vintage.ensemble)
        files |= {f"vintages/{vintage.name}/{path}": content for path, content in stored.items()}
    buffer = io.BytesIO()
    rivals = predictions[predictions["predictor"].isin([evaluation.MODEL, evaluation.GEOMETRY])]
    rivals.to_parquet(buffer, index=False, compression="zstd")
    return files | {OUT_OF_SAMPLE: buffer.getvalue(), REPORT: report}
