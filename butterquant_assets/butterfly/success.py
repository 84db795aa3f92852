"""The success model: joining its training set, training it, judging it, and writing its card. Pure.

What belongs here: how the pieces of `learning` and of this line fit together for the four ROI classes. What does not:
storing anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import evaluation
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig, TrainingConfig
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.foundation import plots
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.model_store import content_version, weights_bytes
from butterquant_assets.learning import metrics
from butterquant_assets.learning.cards import build_card, plain_values
from butterquant_assets.learning.mlp import MlpSettings, TrainedMlp, predict, train_mlp
from butterquant_assets.learning.splits import TimeSplit, purged_time_split, split_summary

NAME = "success"
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
    "Probabilities refer to the class frequencies of the training part and to the option prices described in `config`.",
    "Unless iv_level is `published`, option prices are a proxy built on realised volatility, which manufactures edge.",
    "Inputs must be the 23 features as defined by this package; other definitions under the same names give nonsense.",
)
SHARED_COLUMNS = ("session", "ticker")


@dataclass(frozen=True)
class TrainingRows:
    """Labelled rows, and why the others have no label."""

    rows: pd.DataFrame
    facts: dict[str, Any]


@dataclass(frozen=True)
class TrainedSuccess:
    """A trained and judged success model as plain values.

    Parameters
    ----------
    version
        hash of weights and of everything that may change the card
    tensors
        native weights
    training
        everything the card needs, besides the evaluation table and the ONNX parity
    evaluation
        predictor, part, metric, value
    facts, plots
        what to show
    """

    version: str
    tensors: dict[str, npt.NDArray[Any]]
    training: dict[str, Any]
    evaluation: pd.DataFrame
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
    config: TrainingConfig,
    analysis: AnalysisConfig,
    costs: CostConfig,
    *,
    data_versions: Mapping[str, str],
    code_version: str,
) -> TrainedSuccess:
    """Train on a purged time split and judge beside every baseline.

    Parameters
    ----------
    training_set
        columns of `schemas.TRAINING_SET`
    analyses
        columns of `schemas.ANALYSES`, for at least these rows
    config, analysis, costs
        configuration in use
    data_versions, code_version
        for the card and the version

    Raises
    ------
    DataError
        if a part of the split is too small.
    ConfigError
        if the label is none of the four.
    """
    if config.label not in LABEL_MEANINGS:
        raise ConfigError(f"training.label {config.label!r} is no label; use one of {', '.join(LABEL_MEANINGS)}")
    entry, leave = training_set["session"].to_numpy(), training_set["evaluation_session"].to_numpy()
    split = purged_time_split(
        entry,
        leave,
        validation_share=config.validation_share,
        test_share=config.test_share,
        embargo_days=config.embargo_days,
        minimum_train_rows=config.minimum_rows,
        minimum_part_rows=config.minimum_part_rows,
    )
    trained = _train(training_set, split, config)
    X = training_set[list(FEATURES)].to_numpy(dtype=np.float64)
    predictions = evaluation.predict_all(
        training_set, analyses, split, predict(trained, X), label=config.label, features=FEATURES, costs=costs
    )
    table = evaluation.evaluate_all(predictions, training_set, split, label=config.label)
    verdict = evaluation.verdict(
        predictions,
        training_set,
        split,
        label=config.label,
        seed=config.seed,
        vols_are_proxy=analysis.iv_level != "published",
    )
    summary = split_summary(split, entry, leave, training_set["episode"].to_numpy())
    truth = training_set.loc[split.test, config.label].to_numpy().astype(np.int64)
    tested = predictions[evaluation.MODEL][split.test]
    matrix = metrics.evaluate(tested, truth)["confusion_matrix"]
    sources = (data_versions, code_version)
    training = _record(trained, config, analysis, costs, summary, matrix, verdict.to_json(), *sources)
    return TrainedSuccess(
        version=content_version(weights_bytes(trained.state), training),
        tensors=trained.state,
        training=training,
        evaluation=table,
        facts={
            "version": content_version(weights_bytes(trained.state), training),
            "verdict": verdict.sentence,
            "beats_geometry": verdict.beats_geometry,
            "gain_over_geometry_nats": round(verdict.gain, 6),
            "split": summary,
            "best_epoch": trained.best_epoch,
            "seed": config.seed,
        },
        plots={
            "confusion matrix": plots.confusion_matrix(matrix, evaluation.CLASS_NAMES),
            "training curves": plots.training_curves(trained.history),
            "reliability": plots.reliability(tested, truth),
        },
    )


def restore(tensors: Mapping[str, npt.NDArray[Any]], training: Mapping[str, Any]) -> TrainedMlp:
    """The network that was stored, as it was trained."""
    architecture, history = training["architecture"], training["training"]["history"]
    return TrainedMlp(
        state=dict(tensors),
        features=tuple(architecture["features"]),
        hidden=tuple(architecture["hidden"]),
        dropout=architecture["dropout"],
        n_classes=architecture["n_classes"],
        history=pd.DataFrame(history),
        best_epoch=training["training"]["best_epoch"],
        seed=training["seeds"]["training"],
    )


def card(training: Mapping[str, Any], table: pd.DataFrame, parity: pd.DataFrame) -> dict[str, Any]:
    """The model card: what training recorded, with the evaluation table and the ONNX parity."""
    return build_card(**training, evaluation=table, onnx_parity=parity)


def _train(training_set: pd.DataFrame, split: TimeSplit, config: TrainingConfig) -> TrainedMlp:
    X = training_set[list(FEATURES)].to_numpy(dtype=np.float64)
    y = training_set[config.label].to_numpy().astype(np.int64)
    settings = MlpSettings(**{name: getattr(config, name) for name in MlpSettings.__dataclass_fields__})
    return train_mlp(
        X[split.train], y[split.train], X[split.validation], y[split.validation], features=FEATURES, settings=settings
    )


def _record(
    trained: TrainedMlp,
    config: TrainingConfig,
    analysis: AnalysisConfig,
    costs: CostConfig,
    splits: Mapping[str, Any],
    matrix: npt.NDArray[np.int64],
    verdict: Mapping[str, Any],
    data_versions: Mapping[str, str],
    code_version: str,
) -> dict[str, Any]:
    """Keyword arguments of `build_card` that training can give, as plain values."""
    record: dict[str, Any] = plain_values(
        {
            "purpose": PURPOSE,
            "architecture": trained.architecture(),
            "features": list(FEATURES),
            "label": config.label,
            "label_definition": LABEL_MEANINGS[config.label],
            "class_names": list(evaluation.CLASS_NAMES),
            "training": {
                "best_epoch": trained.best_epoch,
                "epochs": len(trained.history),
                "history": trained.history.to_dict("list"),
            },
            "splits": splits,
            "confusion_matrix": np.asarray(matrix).tolist(),
            "verdict": verdict,
            "data_versions": dict(data_versions),
            "code_version": code_version,
            "config": {"training": asdict(config), "analysis": asdict(analysis), "costs": asdict(costs)},
            "seeds": {"training": config.seed, "bootstrap": config.seed},
            "limits": list(LIMITS),
        }
    )
    return record
