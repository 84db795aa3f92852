"""What a hyper-parameter study of ensemble members minimises: their log-loss over purged folds.

What belongs here: the data of a fold, the objective over folds, and how parameters enter the settings. What does not:
the search (`learning.tuning`), and how folds are cut (`learning.walk_forward`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning import metrics
from butterquant_assets.learning.tuning import Objective, Parameter, Report

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Rows of one part of a fold.

    Parameters
    ----------
    X
        features, shape (n, d); NaN is missing
    labels
        classes, shape (n,)
    base
        base probabilities, shape (n, k), or None: the member learns from zero
    weight
        sample weights, shape (n,), or None; read on training parts only
    """

    X: Floats
    labels: Labels
    base: Floats | None = None
    weight: Floats | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class FoldData:
    """One purged fold.

    Parameters
    ----------
    train
        what a member learns from
    validation
        what its training is stopped on
    judged
        what it is scored on; None scores on `validation`, which flatters every trial by what stopping chose there
    """

    train: Part
    validation: Part
    judged: Part | None = None


_SHARED_BY_TREES = (
    Parameter("learning_rate", "float", 0.01, 0.1, log=True),
    Parameter("subsample", "float", 0.4, 1.0),
    Parameter("column_share", "float", 0.3, 1.0),
    Parameter("l2", "float", 1.0, 100.0, log=True),
)
_SPACES: dict[str, tuple[Parameter, ...]] = {
    "mlp": (
        Parameter("hidden", "categorical", choices=((32,), (64, 32), (128, 64))),
        Parameter("dropout", "float", 0.0, 0.6),
        Parameter("learning_rate", "float", 1e-4, 1e-2, log=True),
        Parameter("weight_decay", "float", 1e-4, 1.0, log=True),
    ),
    "xgboost": (
        *_SHARED_BY_TREES,
        Parameter("max_depth", "int", 1, 4),
        Parameter("min_child_weight", "float", 5.0, 200.0, log=True),
    ),
    "lightgbm": (
        *_SHARED_BY_TREES,
        Parameter("leaves", "int", 2, 16, log=True),
        Parameter("min_leaf_rows", "int", 20, 400, log=True),
    ),
}


def member_space(kind: str) -> tuple[Parameter, ...]:
    """What is searched for a kind of member by default; small models only, since rows of an episode repeat each other.

    Parameters
    ----------
    kind
        ``mlp``, ``xgboost`` or ``lightgbm``; logistic regression chooses its one penalty itself

    Returns
    -------
    parameters named by their field in `learning.members.MemberSettings`, for instance ``xgboost.max_depth``

    Raises
    ------
    ConfigError
        if nothing is to be searched for that kind.
    """
    if kind not in _SPACES:
        raise ConfigError(f"there is nothing to search for {kind!r}; there are spaces for {', '.join(_SPACES)}")
    return tuple(dataclasses.replace(parameter, name=f"{kind}.{parameter.name}") for parameter in _SPACES[kind])


def member_objective(
    folds: Sequence[FoldData],
    *,
    kind: str,
    features: Sequence[str],
    settings: Any,
    seed: int,
    n_classes: int = 4,
    train: Callable[..., Any] | None = None,
    predict: Callable[..., Floats] | None = None,
) -> Objective:
    """The mean over folds of the log-loss of members trained with the parameters of a trial.

    Parameters
    ----------
    folds
        in the order of time
    kind
        of member: ``mlp``, ``xgboost``, ``lightgbm`` or ``logistic``
    features
        columns, length d
    settings
        what holds where the space is silent; a parameter replaces the field of its name (see `with_parameters`)
    seed
        of every training: trials differ by their parameters only
    n_classes
        number of classes
    train, predict
        ``train_member`` and ``predict_member`` of `learning.members` unless others are given

    Returns
    -------
    Objective
        nats a row, each fold counting alike. After each fold but the first, which alone says too little, the mean so
        far is reported.

    Raises
    ------
    DataError
        if there is no fold, or a fold has no row to be scored on.
    """
    if not folds:
        raise DataError("there is no fold to tune on; the data are too short for a single purged fold")
    if any(not len(_judged(fold).labels) for fold in folds):
        raise DataError("a fold has no rows to be scored on; leave it out")
    if train is None or predict is None:
        from butterquant_assets.learning.members import predict_member, train_member

        train, predict = train or train_member, predict or predict_member
    learn, foretell = train, predict

    def objective(parameters: dict[str, Any], report: Report) -> float:
        chosen = with_parameters(settings, parameters)
        losses: list[float] = []
        for step, fold in enumerate(folds):
            member = learn(
                kind,
                fold.train.X,
                fold.train.labels,
                fold.validation.X,
                fold.validation.labels,
                features=features,
                n_classes=n_classes,
                settings=chosen,
                base=fold.train.base,
                base_validation=fold.validation.base,
                sample_weight=fold.train.weight,
                seed=seed,
            )
            judged = _judged(fold)
            probabilities = foretell(member, judged.X, base=judged.base)
            losses.append(float(metrics.row_log_loss(probabilities, judged.labels).mean()))
            if step:
                report(step, float(np.mean(losses)))
        return float(np.mean(losses))

    return objective


def with_parameters(settings: Any, parameters: Mapping[str, Any]) -> Any:
    """Settings with the parameters of a trial in place.

    Parameters
    ----------
    settings
        a frozen dataclass, fields of which may be dataclasses
    parameters
        value by field; ``xgboost.depth`` is the field ``depth`` of the field ``xgboost``

    Returns
    -------
    a new instance of the same class

    Raises
    ------
    ConfigError
        if there is no such field.
    """
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    fields = [item.name for item in dataclasses.fields(settings)]
    for name, value in parameters.items():
        head, _, rest = name.partition(".")
        if head not in fields or (rest and not dataclasses.is_dataclass(getattr(settings, head))):
            raise ConfigError(f"{type(settings).__name__} has no field {name!r}; there are {', '.join(fields)}")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            # JSON has no tuples, and a list would make the settings differ from those the study was run with.
            own[head] = tuple(value) if isinstance(value, list) else value
    for head, inner in nested.items():
        own[head] = with_parameters(own.get(head, getattr(settings, head)), inner)
    return dataclasses.replace(settings, **own)


def _judged(fold: FoldData) -> Part:
    return fold.validation if fold.judged is None else fold.judged
