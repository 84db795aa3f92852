"""What the volatility model and the models of moves share: training rows, inputs, folds, and their configuration.

What belongs here: joining features with references and targets, and cutting the rows into walk-forward folds. What does
not: any model, and how it is judged.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.frames import KEYS
from butterquant_assets.butterfly.short_term import REFERENCES, TARGETS
from butterquant_assets.foundation.model_content import content_version
from butterquant_assets.learning.boosters import LightgbmSettings
from butterquant_assets.learning.logistic import LogisticSettings
from butterquant_assets.learning.mlp_network import MlpSettings
from butterquant_assets.learning.walk_forward import Fold, final_fold, fold_summary, inner_split, walk_forward

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Model = TypeVar("Model")

# A close that does not move has a realised variance of 0, which has no logarithm: 1 % a year is taken instead, a daily
# move of 6 basis points, below what the one-cent tick of a stock resolves.
VARIANCE_FLOOR = 0.01**2
# Measured on 2013-12 .. 2022-12: in the seven sessions after the 40 sampled high-VIX days SPY rose by 2.1 %, after all
# 350 by 0.9 %; after the 40 sampled low-VIX days it fell by 1.0 %, after all 977 it stood still.
SPREAD_OVER_EPISODES = (
    "the rows were spread over VIX episodes, and a short episode is one that was about to end, so the sample itself "
    "knows some of the future"
)
"""Why what is found on rows of `sampling.sample` is not yet found in the market."""
LOG_REFERENCES = ("log_rv_1", "log_rv_5", "log_rv_22", "log_garch_variance_7", "log_vix_variance")
INPUTS: tuple[str, ...] = (*FEATURES, *LOG_REFERENCES)
"""Columns the models see, in the order of their input: the 23 features and the logs of five variances per year."""


@dataclass(frozen=True)
class NetworkSettings(MlpSettings):
    """`MlpSettings` for a few thousand rows with much noise; a class, so that setting one value keeps the others."""

    hidden: tuple[int, ...] = (64, 32)
    dropout: float = 0.1
    batch_size: int = 256
    max_epochs: int = 60
    patience: int = 10


@dataclass(frozen=True)
class ShortTermConfig:
    """How the short-term models are trained and judged.

    Parameters
    ----------
    minimum_train_rows, minimum_train_episodes
        what the first walk-forward fold needs to learn from; with less, training is refused
    step_rows
        rows met between two retrainings
    validation_share
        share of each fold's training sessions, the latest, by which early stopping is decided
    embargo_days
        calendar days left free before each boundary, on top of the purge by target session
    seed
        every random draw of training and bootstrap
    minimum_weighing_rows
        fewer out-of-fold rows than this leave the baseline and the learners of moves with equal weights
    prior_rows
        how many rows the belief is worth that the baseline and the learners of moves are equally good
    lightgbm, mlp, logistic
        the learners: trees of all three models, the network of volatility, the regression of moves; the seed of the
        network is not read
    """

    minimum_train_rows: int = 600
    minimum_train_episodes: int = 10
    step_rows: int = 1000
    validation_share: float = 0.2
    embargo_days: int = 5
    seed: int = 7
    minimum_weighing_rows: int = 300
    prior_rows: float = 20.0
    lightgbm: LightgbmSettings = field(default_factory=LightgbmSettings)
    mlp: NetworkSettings = field(default_factory=NetworkSettings)
    logistic: LogisticSettings = field(default_factory=LogisticSettings)


@dataclass(frozen=True)
class ShortTermSet:
    """Rows with targets, as `short_term_schemas.SHORT_TERM_SET`, and why the others have none."""

    rows: pd.DataFrame
    facts: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Parts:
    """One fold's rows as masks over all rows.

    Parameters
    ----------
    train
        all rows whose targets were known at the boundary
    fit, validation
        those of them that are fitted, and the later ones that stop the fitting
    test
        rows met until the next boundary
    """

    train: Mask
    fit: Mask
    validation: Mask
    test: Mask


@dataclass(frozen=True, eq=False)
class Walked:
    """Which fold tests each row.

    Parameters
    ----------
    fold
        number of the fold that tests a row, -1 where none does, shape (n,)
    boundaries
        of the folds
    summary
        dates, rows and episodes of each fold, and what else is told of it
    """

    fold: npt.NDArray[np.int64]
    boundaries: tuple[str, ...]
    summary: list[dict[str, Any]]

    @property
    def tested(self) -> Mask:
        """Rows that a fold tests, shape (n,)."""
        return np.asarray(self.fold >= 0)


@dataclass(frozen=True, eq=False)
class Trained(Generic[Model]):
    """Trained and judged models of one target as plain values.

    Parameters
    ----------
    version
        hash of the files and of everything that may change the card
    models
        by learner, trained on all rows
    files
        safe files of both, by ``<learner>/<name>``, and what was predicted out of fold
    training
        everything the card needs, besides the evaluation table and the ONNX parity
    evaluation
        predictor, part (``all`` or the boundary of a fold), metric, value
    out_of_fold
        session, ticker, target_session, fold, the target and what each predictor said
    facts, plots
        what to show
    """

    version: str
    models: dict[str, Model]
    files: dict[str, bytes]
    training: dict[str, Any]
    evaluation: pd.DataFrame
    out_of_fold: pd.DataFrame
    facts: dict[str, Any]
    plots: dict[str, bytes]


def join_short_term_set(analyses: pd.DataFrame, features: pd.DataFrame, short_term: pd.DataFrame) -> ShortTermSet:
    """Features joined with references and targets; rows without targets are counted by reason.

    Parameters
    ----------
    analyses
        columns session, ticker, stratum, episode
    features
        session, ticker and the 23 features
    short_term
        columns of `short_term_schemas.SHORT_TERM`

    Returns
    -------
    ShortTermSet
    """
    keys = list(KEYS)
    joined = analyses[[*keys, "stratum", "episode"]].merge(short_term, on=keys, validate="one_to_one")
    joined = joined.merge(features, on=keys, validate="one_to_one")
    known = joined["missing_reason"] == ""
    rows = joined[known].sort_values(keys, kind="stable").reset_index(drop=True)
    without = joined.loc[~known, "missing_reason"].value_counts().sort_index()
    facts = {
        "analysed": len(joined),
        "without targets": {str(reason): int(count) for reason, count in without.items()},
        "sessions": int(rows["session"].nunique()),
        "episodes": int(rows["episode"].nunique()),
    }
    columns = [*keys, "stratum", "episode", "target_session", *FEATURES, *REFERENCES, *TARGETS]
    return ShortTermSet(rows[columns], facts)


def log_variance(variance: npt.ArrayLike) -> Floats:
    """Logarithm of annualised variances, those below `VARIANCE_FLOOR` taken as the floor; shape (n,) in and out."""
    return np.log(np.maximum(np.asarray(variance, dtype=np.float64), VARIANCE_FLOOR))


def log_references(rows: pd.DataFrame) -> Floats:
    """The columns of `LOG_REFERENCES`, shape (n, 5), never missing."""
    realised = [log_variance(rows[name]) for name in ("rv_1", "rv_5", "rv_22")]
    garch, vix = rows["garch_vol_7"].to_numpy(dtype=np.float64), rows["vix_level"].to_numpy(dtype=np.float64) / 100.0
    return np.column_stack([*realised, log_variance(garch**2), log_variance(vix**2)])


def inputs_of(rows: pd.DataFrame) -> Floats:
    """The columns of `INPUTS`, shape (n, 28); NaN only where a feature is missing."""
    return np.column_stack([rows[list(FEATURES)].to_numpy(dtype=np.float64), log_references(rows)])


def reference_medians(rows: pd.DataFrame) -> dict[str, float]:
    """Median of each of `LOG_REFERENCES` over the rows: what a served model takes where one is missing."""
    medians = np.median(log_references(rows), axis=0)
    return {name: float(value) for name, value in zip(LOG_REFERENCES, medians, strict=True)}


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """A table as a Parquet file; equal tables give equal bytes."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def folds_of(rows: pd.DataFrame, config: ShortTermConfig) -> list[Fold]:
    """Walk-forward folds of the rows; a row's holding period is session .. target_session.

    Raises
    ------
    DataError
        if there are too few rows or episodes for a single fold.
    """
    return walk_forward(
        rows["session"].to_numpy(),
        rows["target_session"].to_numpy(),
        minimum_train_rows=config.minimum_train_rows,
        minimum_train_episodes=config.minimum_train_episodes,
        step_rows=config.step_rows,
        embargo_days=config.embargo_days,
        episode=rows["episode"].to_numpy(),
    )


def parts_of(rows: pd.DataFrame, fold: Fold, config: ShortTermConfig) -> Parts:
    """Masks of a fold, its training rows divided for early stopping."""
    fit, validation = inner_split(
        rows["session"].to_numpy(),
        rows["target_session"].to_numpy(),
        fold.train,
        config.validation_share,
        config.embargo_days,
    )
    return Parts(fold.train, fit, validation, fold.test)


def walked_folds(rows: pd.DataFrame, folds: list[Fold]) -> Walked:
    """Which of the folds tests each row, and what each holds."""
    numbers = np.full(len(rows), -1, dtype=np.int64)
    for number, fold in enumerate(folds):
        numbers[fold.test] = number
    entry, leave = rows["session"].to_numpy(), rows["target_session"].to_numpy()
    summary = fold_summary(folds, entry, leave, rows["episode"].to_numpy())
    return Walked(numbers, tuple(str(fold.boundary) for fold in folds), summary)


def last_fold(rows: pd.DataFrame, config: ShortTermConfig) -> Fold:
    """The fold that learns from all rows and tests none: of the models that are kept."""
    return final_fold(rows["session"].to_numpy(), rows["target_session"].to_numpy(), embargo_days=config.embargo_days)


def version_of(files: Mapping[str, bytes], training: Mapping[str, Any]) -> str:
    """Version of models with these files and this training record."""
    return content_version(b"".join(name.encode() + files[name] for name in sorted(files)), training)


def evaluation_rows(records: Mapping[tuple[str, str], Mapping[str, float]]) -> pd.DataFrame:
    """Metrics by (predictor, part) as a long table: predictor, part, metric, value, sorted.

    Parameters
    ----------
    records
        metric values by predictor and part; a part is ``all`` or the boundary of a fold; what is infinite (a bound from
        a single episode) becomes missing
    """
    long = [
        (predictor, part, metric, float(value) if np.isfinite(value) else float("nan"))
        for (predictor, part), metrics in records.items()
        for metric, value in metrics.items()
    ]
    frame = pd.DataFrame(long, columns=["predictor", "part", "metric", "value"])
    types = dict.fromkeys(("predictor", "part", "metric"), "str") | {"value": "float64"}
    return frame.astype(types).sort_values(["predictor", "part", "metric"], kind="stable").reset_index(drop=True)
