"""Models of moves: direction (three classes) and quiet (two), trained by walk-forward and judged. Pure.

The learners start from the probabilities that the GARCH forecast alone implies under a normal law, and learn what
those miss: one that finds nothing is that baseline. What is kept is a blend of them and the baseline itself, weighed on
out-of-fold predictions whose outcomes were known by then.

What belongs here: how the pieces fit together. What does not: storing anything; baselines and scores, which lie in
`moves_scores`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import moves_scores
from butterquant_assets.butterfly.moves_scores import GARCH_NORMAL, Task, garch_normal_probabilities, task_of
from butterquant_assets.butterfly.short_term_training import (
    INPUTS,
    SPREAD_OVER_EPISODES,
    Mask,
    Parts,
    ShortTermConfig,
    Trained,
    Walked,
    folds_of,
    inputs_of,
    last_fold,
    parquet_bytes,
    parts_of,
    reference_medians,
    version_of,
    walked_folds,
)
from butterquant_assets.foundation import forecast_plots, plots
from butterquant_assets.foundation.model_content import files_under
from butterquant_assets.learning import members, metrics
from butterquant_assets.learning.cards import plain_values
from butterquant_assets.learning.ensemble import fit_weights
from butterquant_assets.learning.members import MemberSettings, TrainedMember, train_member
from butterquant_assets.learning.walk_forward import out_of_fold_before

Floats = npt.NDArray[np.float64]

LEARNERS = ("lightgbm", "logistic")
POOLED = (GARCH_NORMAL, *LEARNERS)
PRIMARY = "blend"
PREDICTORS = (*moves_scores.BASELINES, *LEARNERS, PRIMARY)
OUT_OF_SAMPLE = "out_of_sample.parquet"
PURPOSES = {
    "direction": "Probabilities that a stock falls by more than 2 %, stays, or rises by more in seven sessions.",
    "quiet": "Probability that a stock ends seven sessions within 2 % of where it began.",
}
LIMITS = (
    f"On the sampled rows no edge is claimed: {SPREAD_OVER_EPISODES}.",
    "Not an offer to trade: nothing here is advice, and no live order may rest on it alone.",
    "Returns are those of quoted closes restated for splits; dividends are not added back.",
    "Rows of one day and one VIX episode share their market; the count of episodes, not of rows, is the evidence.",
    "Inputs must be those of this package: the 23 features, then the logs of five variances.",
)


@dataclass(frozen=True, eq=False)
class WalkedMoves(Walked):
    """Probabilities of every predictor for the rows that some fold tests.

    Parameters
    ----------
    fold, boundaries, summary
        as in `Walked`; the summary holds the weights of each fold as well
    probabilities
        by predictor, shape (n, k); NaN where `fold` is -1
    weights
        of `POOLED` in the blend from now on, learnt on all of these rows
    """

    probabilities: dict[str, Floats]
    weights: dict[str, float]


@dataclass(frozen=True, eq=False)
class TrainedMoves(Trained[TrainedMember]):
    """Trained and judged models of one task; out of fold, ``p<k>_<predictor>`` says what each predictor gave class k.

    Parameters
    ----------
    weights
        of `POOLED` in the blend of the models

    Notes
    -----
    The others are those of `Trained`.
    """

    weights: dict[str, float]


def train_model(kind: str, rows: pd.DataFrame, parts: Parts, task: Task, config: ShortTermConfig) -> TrainedMember:
    """One learner on the fitting rows, starting from GARCH-normal probabilities, stopped by the validation rows."""
    X, y, base = inputs_of(rows), task.labels(rows), garch_normal_probabilities(rows, task)
    return train_member(
        kind,
        X[parts.fit],
        y[parts.fit],
        X[parts.validation],
        y[parts.validation],
        features=INPUTS,
        n_classes=task.n_classes,
        settings=MemberSettings(lightgbm=config.lightgbm, logistic=config.logistic),
        base=base[parts.fit],
        base_validation=base[parts.validation],
        seed=config.seed,
    )


def predict(model: TrainedMember, rows: pd.DataFrame, task: Task) -> Floats:
    """Class probabilities for rows with the 23 features and the references, shape (n, k)."""
    return members.predict_member(model, inputs_of(rows), garch_normal_probabilities(rows, task))


def pool(parts: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """Probabilities of the blend from those of `POOLED`, shape (n, k)."""
    used = [weights[name] * parts[name] for name in POOLED if weights[name] > 0]
    blended: Floats = sum(used[1:], used[0])
    return blended


def pool_weights(
    probabilities: Mapping[str, Floats], rows: pd.DataFrame, known: Mask, task: Task, config: ShortTermConfig
) -> dict[str, float]:
    """Weights of `POOLED` with the lowest log-loss on `known` rows, equal where these are too few.

    Parameters
    ----------
    probabilities
        out-of-fold ones by name, shape (n, k)
    rows
        column of the task's label
    known
        rows with such probabilities whose outcome is known, shape (n,)
    task, config
        what is predicted, and the configuration in use
    """
    if known.sum() < config.minimum_weighing_rows:
        return dict.fromkeys(POOLED, 1.0 / len(POOLED))
    prior = dict.fromkeys(POOLED, config.prior_rows / len(POOLED))
    return fit_weights({name: probabilities[name][known] for name in POOLED}, task.labels(rows[known]), prior=prior)


def walk(rows: pd.DataFrame, task: Task, config: ShortTermConfig) -> WalkedMoves:
    """Every predictor's probabilities for the rows each fold tests, from what was known at its boundary.

    Raises
    ------
    DataError
        if the rows cannot give a single fold.
    """
    folds = folds_of(rows, config)
    probabilities = {name: np.full((len(rows), task.n_classes), np.nan) for name in PREDICTORS}
    final = last_fold(rows, config)
    weights: list[dict[str, float]] = []
    for number, fold in enumerate([*folds, final]):
        known = out_of_fold_before([*folds, final], number)
        weights.append(pool_weights(probabilities, rows, known, task, config))
        if fold is final:
            break
        parts = parts_of(rows, fold, config)
        train, test = rows[parts.train], rows[parts.test]
        made = moves_scores.baseline_probabilities(train, test, task)
        for kind in LEARNERS:
            made[kind] = predict(train_model(kind, rows, parts, task, config), test, task)
        made[PRIMARY] = pool(made, weights[-1])
        for name, p in made.items():
            probabilities[name][parts.test] = p
    tests = walked_folds(rows, folds)
    summary = [facts | {"weights": used} for facts, used in zip(tests.summary, weights[:-1], strict=True)]
    return WalkedMoves(tests.fold, tests.boundaries, summary, probabilities, weights[-1])


def train_and_judge(
    rows: pd.DataFrame,
    task_name: str,
    config: ShortTermConfig,
    *,
    spread_over_episodes: bool = True,
    data_versions: Mapping[str, str],
    code_version: str,
) -> TrainedMoves:
    """Judge by walk-forward beside every baseline; train on all rows what is kept.

    Parameters
    ----------
    rows
        columns of `short_term_schemas.SHORT_TERM_SET`
    task_name
        ``direction`` or ``quiet``
    config
        configuration in use
    spread_over_episodes
        whether the rows are those of `sampling.sample`, on which no edge is claimed
    data_versions, code_version
        for the card and the version

    Raises
    ------
    ConfigError
        if the task is unknown.
    DataError
        if there are fewer rows or episodes than `config` asks for.
    """
    task = task_of(task_name)
    walked = walk(rows, task, config)
    table = moves_scores.evaluate(rows, walked.fold, walked.boundaries, walked.probabilities, task, seed=config.seed)
    verdict = moves_scores.verdict(
        rows,
        walked.fold,
        walked.probabilities,
        PRIMARY,
        task,
        seed=config.seed,
        spread_over_episodes=spread_over_episodes,
    )
    models = _final_models(rows, task, config)
    out_of_fold = _out_of_fold_table(rows, task, walked)
    files = {f"{kind}/{name}": text for kind, model in models.items() for name, text in members.to_files(model).items()}
    files[OUT_OF_SAMPLE] = parquet_bytes(out_of_fold)
    truth, chosen = task.labels(rows)[walked.tested], walked.probabilities[PRIMARY][walked.tested]
    matrix = metrics.evaluate(chosen, truth, task.n_classes)["confusion_matrix"]
    training = _record(task, config, walked, rows, matrix, verdict.to_json())
    training |= {"data_versions": dict(data_versions), "code_version": code_version}
    version = version_of(files, training)
    return TrainedMoves(
        version=version,
        models=models,
        weights=walked.weights,
        files=files,
        training=training,
        evaluation=table,
        out_of_fold=out_of_fold,
        facts={
            "version": version,
            "verdict": verdict.sentence,
            "beats_garch_normal": verdict.beats_garch_normal,
            "beats_baselines": verdict.beats_baselines,
            "edge_claimed": verdict.edge_claimed,
            "weights": {name: round(weight, 4) for name, weight in walked.weights.items()},
            "gain over GARCH-normal, nats": {name: round(_gain(table, name), 4) for name in PREDICTORS},
            "folds": walked.summary,
            "seed": config.seed,
        },
        plots={
            "gain over GARCH-normal": forecast_plots.values_with_intervals(
                _gains(table),
                f"Log-loss of {GARCH_NORMAL} minus that of others: {task.name}",
                "nats a row, 95 % over episodes",
                0.0,
                lower_is_better=False,
            ),
            "confusion matrix": plots.confusion_matrix(matrix, task.class_names),
            "reliability": plots.reliability(chosen, truth),
        },
    )


def restore(files: Mapping[str, bytes]) -> dict[str, TrainedMember]:
    """The models that were stored, as they were trained."""
    return {kind: members.from_files(files_under(kind, files)) for kind in LEARNERS}


def _final_models(rows: pd.DataFrame, task: Task, config: ShortTermConfig) -> dict[str, TrainedMember]:
    parts = parts_of(rows, last_fold(rows, config), config)
    return {kind: train_model(kind, rows, parts, task, config) for kind in LEARNERS}


def _record(
    task: Task,
    config: ShortTermConfig,
    walked: WalkedMoves,
    rows: pd.DataFrame,
    matrix: Any,
    verdict: Mapping[str, Any],
) -> dict[str, Any]:
    record: dict[str, Any] = plain_values(
        {
            "purpose": PURPOSES[task.name],
            "task": task.name,
            "features": list(INPUTS),
            "base": "normal law with mean 0 and the variance of the GARCH forecast",
            "label": task.label,
            "label_definition": PURPOSES[task.name],
            "class_names": list(task.class_names),
            "primary": PRIMARY,
            "weights": walked.weights,
            "reference_medians": reference_medians(rows),
            "rows": len(rows),
            "episodes": int(rows["episode"].nunique()),
            "splits": walked.summary,
            "confusion_matrix": matrix,
            "verdict": verdict,
            "config": asdict(config),
            "seeds": {"training": config.seed, "bootstrap": config.seed},
            "limits": list(LIMITS),
        }
    )
    return record


def _out_of_fold_table(rows: pd.DataFrame, task: Task, walked: WalkedMoves) -> pd.DataFrame:
    table = rows[["session", "ticker", "target_session", task.label]].assign(fold=walked.fold)
    for name, p in walked.probabilities.items():
        for k in range(task.n_classes):
            table[f"p{k}_{name}"] = p[:, k]
    return table[walked.tested].reset_index(drop=True)


def _gain(table: pd.DataFrame, predictor: str, metric: str = "gain") -> float:
    chosen = (table["predictor"] == predictor) & (table["metric"] == metric)
    return float(table.loc[chosen, "value"].iloc[0])


def _gains(table: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in PREDICTORS if name != GARCH_NORMAL]
    values = [[_gain(table, name, f"gain{end}") for end in ("", "_low", "_high")] for name in names]
    return pd.DataFrame(values, columns=["value", "low", "high"]).assign(name=names)
