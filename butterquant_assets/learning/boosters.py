"""Gradient-boosted trees (XGBoost, LightGBM) as plain values.

Each learns a residual: what to add to given starting margins (log-probabilities), and stops early on the validation
part. Where nothing it learnt helps there, nothing is kept. Trees are kept as the library's own text, in segments: a
weekly update adds a segment of a few rounds and leaves the older ones as they are.

What belongs here: training and margins of trees. What does not: where the starting margins come from, and the softmax
(`learning.members`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ConfigError, ModelStoreError
from butterquant_assets.learning.probabilities import IMPROVEMENT, Rows, mean_log_loss

Floats = npt.NDArray[np.float64]
TreeKind = Literal["xgboost", "lightgbm"]


@dataclass(frozen=True)
class XgboostSettings:
    """XGBoost, small and strongly regularised, since rows of one episode tell nearly the same.

    Parameters
    ----------
    rounds, patience
        boosting stops after `rounds`, or when the validation log-loss has not fallen for `patience` rounds
    learning_rate
        shrinkage of each tree
    max_depth
        of each tree
    min_child_weight
        least sum of second derivatives in a leaf; a row counts 2 p (1 - p), at most 0.5
    subsample, column_share
        shares of rows and of columns each tree is grown on
    l2
        penalty on leaf values
    min_split_gain
        least gain of a split
    """

    rounds: int = 400
    patience: int = 30
    learning_rate: float = 0.03
    max_depth: int = 3
    min_child_weight: float = 20.0
    subsample: float = 0.7
    column_share: float = 0.7
    l2: float = 10.0
    min_split_gain: float = 0.0


@dataclass(frozen=True)
class LightgbmSettings:
    """LightGBM, small and strongly regularised, since rows of one episode tell nearly the same.

    Parameters
    ----------
    rounds, patience
        boosting stops after `rounds`, or when the validation loss has not fallen for `patience` rounds
    learning_rate
        shrinkage of each tree
    max_depth, leaves
        limits of each tree
    min_leaf_rows
        least rows in a leaf
    subsample, column_share
        shares of rows and of columns each tree is grown on
    l2
        penalty on leaf values
    min_split_gain
        least gain of a split
    """

    rounds: int = 400
    patience: int = 30
    learning_rate: float = 0.03
    max_depth: int = 3
    leaves: int = 8
    min_leaf_rows: int = 60
    subsample: float = 0.7
    column_share: float = 0.7
    l2: float = 10.0
    min_split_gain: float = 0.0


@dataclass(frozen=True, eq=False)
class Segment:
    """Trees of one training.

    Parameters
    ----------
    text
        the library's own format: JSON of XGBoost, text of LightGBM
    rounds
        boosting rounds in it; 0 says that none helped
    losses
        validation loss by round, the start (no round) first
    """

    text: bytes
    rounds: int
    losses: tuple[float, ...]


def train_trees(
    kind: TreeKind,
    train: Rows,
    validation: Rows,
    *,
    settings: XgboostSettings | LightgbmSettings,
    seed: int,
    rounds: int | None = None,
    task: Literal["classes", "regression"] = "classes",
) -> Segment:
    """Boost from the starting margins; keep the rounds up to the lowest validation loss.

    Parameters
    ----------
    kind
        ``xgboost`` or ``lightgbm``
    train, validation
        rows with their starting margins; weights of the validation part are ignored
    settings
        of that library
    seed
        of the row and column samples
    rounds
        instead of those of the settings: a few, for an update
    task
        ``classes``: multinomial log-loss; ``regression``: squared error (LightGBM only)

    Returns
    -------
    Segment
        Equal inputs give equal bytes: one thread, deterministic histograms.

    Raises
    ------
    ConfigError
        if a setting is out of range.
    """
    _check_tree_settings(settings)
    limit = settings.rounds if rounds is None else rounds
    if kind == "xgboost" and isinstance(settings, XgboostSettings) and task == "classes":
        text, losses = _boost_xgboost(train, validation, settings, seed, limit)
    elif kind == "lightgbm" and isinstance(settings, LightgbmSettings):
        text, losses = _boost_lightgbm(train, validation, settings, seed, limit, task)
    else:
        raise ValueError(f"{kind} does not go with {type(settings).__name__} and {task}")
    start = _start_loss(validation, task)
    best = int(np.argmin(losses)) + 1 if losses else 0
    kept = best if best and losses[best - 1] < start - IMPROVEMENT else 0
    return Segment(text(kept), kept, (start, *losses))


def tree_margins(kind: TreeKind, texts: Sequence[bytes], X: npt.NDArray[np.float32], outputs: int) -> Floats:
    """The sum of all trees of the segments, by the library itself; shape (n, outputs), without starting margins.

    Raises
    ------
    ModelStoreError
        if a text is none of this library's.
    """
    total = np.zeros((len(X), outputs))
    for text in texts:
        if len(X):
            total += _xgboost_margins(text, X, outputs) if kind == "xgboost" else _lightgbm_margins(text, X, outputs)
    return total


def _boost_xgboost(
    train: Rows, validation: Rows, settings: XgboostSettings, seed: int, rounds: int
) -> tuple[Callable[[int], bytes], list[float]]:
    import xgboost

    k = train.margins.shape[1]
    fit = xgboost.DMatrix(train.X, train.labels, weight=train.weight, base_margin=train.margins, nthread=1)
    held_out = xgboost.DMatrix(validation.X, validation.labels, base_margin=validation.margins, nthread=1)
    parameters = {
        "objective": "multi:softprob",
        "num_class": k,
        "base_score": 0.0,
        "eval_metric": "mlogloss",
        "tree_method": "hist",
        "learning_rate": settings.learning_rate,
        "max_depth": settings.max_depth,
        "min_child_weight": settings.min_child_weight,
        "subsample": settings.subsample,
        "colsample_bytree": settings.column_share,
        "reg_lambda": settings.l2,
        "gamma": settings.min_split_gain,
        "seed": seed,
        "nthread": 1,
        "verbosity": 0,
    }
    history: dict[str, dict[str, list[float]]] = {}
    booster = xgboost.train(
        parameters,
        fit,
        rounds,
        evals=[(held_out, "validation")],
        evals_result=history,
        early_stopping_rounds=settings.patience,
        verbose_eval=False,
    )

    def text(kept: int) -> bytes:
        final = booster[:kept] if kept else xgboost.train(parameters, fit, 0)
        final.set_attr(best_iteration=None, best_score=None)
        return bytes(final.save_raw("json"))

    return text, [float(loss) for loss in history["validation"]["mlogloss"]] if rounds else []


def _boost_lightgbm(
    train: Rows, validation: Rows, settings: LightgbmSettings, seed: int, rounds: int, task: str
) -> tuple[Callable[[int], bytes], list[float]]:
    import lightgbm

    k = train.margins.shape[1]
    objective = {"objective": "regression", "metric": "l2"}
    if task == "classes":
        objective = {"objective": "multiclass", "num_class": k, "metric": "multi_logloss"}
    parameters = objective | {
        "boost_from_average": False,
        "learning_rate": settings.learning_rate,
        "max_depth": settings.max_depth,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_leaf_rows,
        "bagging_fraction": settings.subsample,
        "bagging_freq": 1,
        "feature_fraction": settings.column_share,
        "lambda_l2": settings.l2,
        "min_gain_to_split": settings.min_split_gain,
        "seed": seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    fit = lightgbm.Dataset(
        train.X, train.labels, weight=train.weight, init_score=_by_class(train.margins), params=parameters
    )
    held_out = fit.create_valid(validation.X, validation.labels, init_score=_by_class(validation.margins))
    history: dict[str, dict[str, list[float]]] = {}
    booster = lightgbm.train(
        parameters,
        fit,
        rounds,
        valid_sets=[held_out],
        valid_names=["validation"],
        callbacks=[
            lightgbm.record_evaluation(history),
            lightgbm.early_stopping(settings.patience, verbose=False),
        ],
    )
    losses = next(iter(history["validation"].values())) if rounds and "validation" in history else []

    def text(kept: int) -> bytes:
        # To LightGBM, 0 iterations means all of them.
        if not kept:
            return b""
        content: str = booster.model_to_string(num_iteration=kept)
        return content.encode()

    return text, [float(loss) for loss in losses]


def _by_class(margins: Floats) -> Floats:
    """LightGBM reads starting scores class by class."""
    return np.ascontiguousarray(margins.ravel(order="F"))


def _xgboost_margins(text: bytes, X: npt.NDArray[np.float32], outputs: int) -> Floats:
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(text))
    except xgboost.core.XGBoostError as error:
        raise ModelStoreError(f"the {len(text)} bytes are no XGBoost model: {str(error).splitlines()[0]}") from error
    zeros = np.zeros((len(X), outputs), dtype=np.float32)
    margins = booster.predict(xgboost.DMatrix(X, base_margin=zeros, nthread=1), output_margin=True)
    return np.asarray(margins, dtype=np.float64).reshape(len(X), outputs)


def _lightgbm_margins(text: bytes, X: npt.NDArray[np.float32], outputs: int) -> Floats:
    import lightgbm

    if not text:
        return np.zeros((len(X), outputs))
    try:
        booster = lightgbm.Booster(model_str=text.decode())
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ModelStoreError(f"the {len(text)} bytes are no LightGBM model: {error}") from error
    margins = booster.predict(X, raw_score=True, num_threads=1)
    return np.asarray(margins, dtype=np.float64).reshape(len(X), outputs)


def _start_loss(validation: Rows, task: str) -> float:
    if task == "classes":
        return mean_log_loss(validation.margins, validation.labels)
    return float(np.mean((validation.labels - validation.margins[:, 0]) ** 2))


def _check_tree_settings(settings: XgboostSettings | LightgbmSettings) -> None:
    for name in ("rounds", "patience", "max_depth"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name} is {getattr(settings, name)}; it must be 1 or more")
    for name in ("learning_rate", "subsample", "column_share"):
        if not 0 < getattr(settings, name) <= 1:
            raise ConfigError(f"{name} is {getattr(settings, name)}; it must lie in (0, 1]")
