"""Hyper-parameter study of the success model's members, over the folds its vintages are trained and judged on.

What belongs here: which folds, which base, what a study rests on and what its result says. What does not: the search
(`learning.tuning`), the file it is kept in (`foundation.study_store`), and adopting what it found: that is a person's
decision, taken by setting the variables the report names.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from butterquant_assets.butterfly.config import CostConfig, TrainingConfig
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.geometry import N_CLASSES
from butterquant_assets.butterfly.study_schemas import SUCCESS_STUDY
from butterquant_assets.butterfly.vintages import _arrays, _Data, train_student
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.study_plots import study_history, study_slices
from butterquant_assets.learning.members import predict_member, train_member
from butterquant_assets.learning.metrics import row_log_loss
from butterquant_assets.learning.tuning import Objective, StudyResult, TrialRecord, run_study
from butterquant_assets.learning.tuning_objective import (
    FoldData,
    Part,
    member_objective,
    member_space,
    with_parameters,
)
from butterquant_assets.learning.walk_forward import Fold, inner_split, walk_forward

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

NOT_ASKED = "no study was asked for; set BUTTERQUANT_STUDY__TRIALS"
VARIABLES = "BUTTERQUANT_TRAINING__SETTINGS__"
# Of the training's configuration only what decides the value of a trial: a change elsewhere must not begin anew.
_DECIDING = (
    "label",
    "validation_share",
    "embargo_days",
    "minimum_rows",
    "minimum_episodes",
    "step_rows",
    "student_hidden",
    "student_epochs",
    "device",
    "seed",
)


@dataclass(frozen=True)
class StudyConfig:
    """Which hyper-parameters are searched, and for how long.

    Parameters
    ----------
    member
        kind of member: ``lightgbm``, ``xgboost`` or ``mlp``
    trials
        how many in all, those of earlier runs included; 0: no study
    seconds
        begin no further trial after so many seconds of a run; None: no limit. At least one trial is run. What a run out
        of time publishes depends on the machine; without a limit the same inputs give the same trials.
    seed
        of the search; trainings have the seed of `TrainingConfig`

    Raises
    ------
    ConfigError
        if the budget makes no sense.
    """

    member: Literal["lightgbm", "xgboost", "mlp"] = "lightgbm"
    trials: int = 0
    seconds: float | None = None
    seed: int = 7

    def __post_init__(self) -> None:
        if self.trials < 0:
            raise ConfigError(f"trials is {self.trials}; ask for 0 (no study) or more: BUTTERQUANT_STUDY__TRIALS")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"seconds is {self.seconds}; set BUTTERQUANT_STUDY__SECONDS above 0, or leave it out")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; set BUTTERQUANT_STUDY__SEED to 0 or more")


@dataclass(frozen=True, eq=False)
class StudyReport:
    """What a study found.

    Parameters
    ----------
    table
        trials, columns of `study_schemas.SUCCESS_STUDY`
    facts
        plain values for metadata
    plots
        PNG bytes by name
    """

    table: pd.DataFrame
    facts: dict[str, Any]
    plots: dict[str, bytes] = field(default_factory=dict)


def not_asked() -> StudyReport:
    """The report where there is no study: no trials, and how to ask for some."""
    return StudyReport(_table(()), {"study": NOT_ASKED})


def study_folds(
    training_set: pd.DataFrame,
    analyses: pd.DataFrame,
    features: pd.DataFrame,
    config: TrainingConfig,
    costs: CostConfig,
) -> list[FoldData]:
    """The folds of the vintages as a study takes them: rows to fit, rows to stop by, and rows met afterwards.

    Parameters
    ----------
    training_set, analyses, features, config, costs
        as for `vintages.train_vintages`

    Returns
    -------
    list of FoldData, in time order
        base probabilities are those of a geometry student taught once per fold, on what was known at its boundary

    Raises
    ------
    DataError
        if there are fewer rows or episodes than the configuration demands.
    """
    data = _arrays(training_set, analyses, features, config, costs)
    folds = walk_forward(
        data.entry,
        data.leave,
        minimum_train_rows=config.minimum_rows,
        minimum_train_episodes=config.minimum_episodes,
        step_rows=config.step_rows,
        embargo_days=config.embargo_days,
        episode=data.episode,
    )
    # A last fold without rows to meet has nothing to say about parameters.
    return [_fold_data(data, fold, config) for fold in folds if fold.test.any()]


def _fold_data(data: _Data, fold: Fold, config: TrainingConfig) -> FoldData:
    student = train_student(data, fold.boundary, config)
    fit, check = inner_split(data.entry, data.leave, fold.train, config.validation_share, config.embargo_days)
    base = np.full((len(data.y), N_CLASSES), np.nan)
    # As the vintages do it: rows predicted together, since even the company of other rows can move a rounding.
    for rows in (fold.train, fold.test):
        base[rows] = predict_member(student, data.X[rows])
    weight = None if (data.weight[fit] == 1.0).all() else data.weight[fit]
    return FoldData(
        Part(data.X[fit], data.y[fit], base[fit], weight),
        *(Part(data.X[rows], data.y[rows], base[rows]) for rows in (check, fold.test)),
    )


def study_context(
    study: StudyConfig,
    config: TrainingConfig,
    costs: CostConfig,
    data_versions: Mapping[str, str],
    code_version: str,
) -> dict[str, str]:
    """What the values of a study's trials rest on, besides the parameters searched.

    Parameters
    ----------
    study, config, costs
        configuration in use; the searched settings themselves, and settings of other members, do not count, so that a
        study is not begun anew when what it found is adopted. Nor does the budget: more trials continue a study.
    data_versions, code_version
        content of the inputs by name; hash of the code

    Returns
    -------
    texts by name; numbers as JSON
    """
    searched = {parameter.name for parameter in member_space(study.member)}
    own = asdict(getattr(config.settings, study.member))
    fixed = {f"{study.member}.{name}": value for name, value in own.items()}
    settings: dict[str, Any] = {name: value for name, value in fixed.items() if name not in searched}
    settings |= {name: getattr(config, name) for name in _DECIDING} | {"costs": asdict(costs)}
    texts = {name: json.dumps(value, sort_keys=True) for name, value in sorted(settings.items())}
    return {f"data {name}": version for name, version in sorted(data_versions.items())} | {"code": code_version} | texts


def study_name(study: StudyConfig, context: Mapping[str, str]) -> str:
    """Name of the study and of its journal: the kind of member, and a hash of its seed and of all it rests on."""
    text = json.dumps([study.member, study.seed, dict(context)], sort_keys=True)
    return f"{study.member}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def run(
    training_set: pd.DataFrame,
    analyses: pd.DataFrame,
    features: pd.DataFrame,
    config: TrainingConfig,
    costs: CostConfig,
    study: StudyConfig,
    *,
    storage: BaseStorage,
    context: Mapping[str, str],
    clock: Callable[[], float] | None = None,
    on_trial: Callable[[TrialRecord], None] | None = None,
) -> StudyReport:
    """Search the hyper-parameters of one kind of member, or take the search up where it stopped.

    Parameters
    ----------
    training_set, analyses, features, config, costs
        as for `vintages.train_vintages`
    study
        what to search; at least one trial
    storage
        from `foundation.study_store.open_journal`
    context
        from `study_context`
    clock
        monotonic seconds; needed for a limit in seconds only
    on_trial
        called after each trial of this call

    Returns
    -------
    StudyReport
        the same whether the study was interrupted or not

    Raises
    ------
    ConfigError
        if no trial was asked for, the budget is unusable, or the storage holds another study of that name.
    DataError
        if the data give no fold, or no trial was completed.
    """
    name = study_name(study, context)
    if not study.trials:
        raise ConfigError(NOT_ASKED)
    folds = study_folds(training_set, analyses, features, config, costs)
    objective = member_objective(
        folds,
        kind=study.member,
        features=FEATURES,
        settings=config.settings,
        seed=config.seed,
        n_classes=N_CLASSES,
        train=partial(train_member, device=config.device),
        predict=predict_member,
    )
    result = run_study(
        objective,
        member_space(study.member),
        name=name,
        storage=storage,
        trials=study.trials,
        seed=study.seed,
        seconds=study.seconds,
        clock=clock,
        context=context,
        on_trial=on_trial,
    )
    in_use = _in_use(objective)
    facts = _facts(result, study, config, in_use, _geometry_loss(folds)) | _last_fold(result, in_use, folds)
    return StudyReport(_table(result.trials, result.best.number), facts, _plots(result))


@dataclass(frozen=True)
class _Scored:
    """Value of the configuration in use, and the means reported on the way."""

    value: float
    reported: dict[int, float]


def _in_use(objective: Objective) -> _Scored:
    reported: dict[int, float] = {}
    return _Scored(objective({}, reported.__setitem__), reported)


def _geometry_loss(folds: Sequence[FoldData]) -> float:
    """Mean over folds of the log-loss of the base alone: what a member that has learnt nothing scores."""
    parts = [fold.judged for fold in folds if fold.judged is not None]
    return float(np.mean([row_log_loss(part.base, part.labels).mean() for part in parts if part.base is not None]))


def _table(trials: Sequence[TrialRecord], best: int | None = None) -> pd.DataFrame:
    columns = {
        "trial": pd.Series([trial.number for trial in trials], dtype="int64"),
        "state": pd.Series([trial.state for trial in trials], dtype="str"),
        "value": pd.Series([trial.value for trial in trials], dtype="float64"),
        "params": pd.Series([json.dumps(trial.parameters, sort_keys=True) for trial in trials], dtype="str"),
        "best": pd.Series([trial.number == best for trial in trials], dtype="bool"),
        "reason": pd.Series([trial.reason for trial in trials], dtype="str"),
    }
    return SUCCESS_STUDY.arrange(pd.DataFrame(columns))


def _finding(number: int, best: float, in_use: float, geometry: float) -> str:
    """What to make of the best trial."""
    if best >= geometry:
        return "no trial is better than geometry alone: this kind of member finds nothing beyond it here"
    if best >= in_use:
        return "no trial is better than the configuration in use; leave it as it is"
    return f"trial {number} is {in_use - best:.5f} nats a row better than the configuration in use"


def _facts(
    result: StudyResult, study: StudyConfig, config: TrainingConfig, in_use: _Scored, geometry: float
) -> dict[str, Any]:
    best = float(result.best.value if result.best.value is not None else np.nan)
    counts = pd.Series([trial.state for trial in result.trials]).value_counts().sort_index()
    facts: dict[str, Any] = {
        "study": result.name,
        "trials": {str(state): int(count) for state, count in counts.items()},
        "best trial": result.best.number,
        "log-loss of the best": best,
        "log-loss in use": in_use.value,
        "log-loss of geometry alone": geometry,
        "finding": _finding(result.best.number, best, in_use.value, geometry),
        "to use the best": "\n".join(environment(config, study.member, result.best_parameters)),
        "warning": (
            f"the best of {len(result.trials)} trials flatters itself, for it was chosen on the very rows it is quoted "
            "on; they are also those the success model is judged on, so once these parameters are used its evaluation "
            "flatters itself as well: only rows that come later can tell"
        ),
    }
    if len(result.trials) < study.trials:
        facts["unfinished"] = (
            f"{len(result.trials)} of {study.trials} trials within {study.seconds:g} seconds; materialize again with "
            "force, or raise BUTTERQUANT_STUDY__SECONDS, and the study goes on"
        )
    return facts


def _last_fold(result: StudyResult, in_use: _Scored, folds: Sequence[FoldData]) -> dict[str, Any]:
    """How the choice made on all folds but the last did on the last one: less flattered than the best of all.

    Means over the first folds are reported from the second fold on; hence three folds are needed. A trial that was
    pruned only after its last fold counts as well: leaving it out would favour those that did well there.
    """
    last, before = len(folds) - 1, len(folds) - 2
    reached = [trial for trial in result.trials if last in trial.reported]
    if before < 1 or not reached:
        return {"folds": len(folds)}
    chosen = min(reached, key=lambda trial: (trial.reported[before], trial.number))

    def loss(reported: Mapping[int, float]) -> float:
        return (last + 1) * reported[last] - last * reported[before]

    return {
        "folds": len(folds),
        "last fold alone": {
            "trial chosen on the folds before": chosen.number,
            "its log-loss": loss(chosen.reported),
            "log-loss in use": loss(in_use.reported),
        },
    }


def environment(config: TrainingConfig, member: str, parameters: Mapping[str, Any]) -> list[str]:
    """Environment variables that make the training use those parameters.

    Parameters
    ----------
    config
        configuration in use
    member
        kind of member
    parameters
        by name of setting, such as ``lightgbm.leaves``

    Returns
    -------
    lines ``NAME=value``, quoted for a shell: the parameters, then whatever else differs from the defaults of the
    member's settings, because setting one field of a section resets its others to these.
    """
    chosen = getattr(with_parameters(config.settings, parameters), member)
    plain = type(chosen)()
    searched = [name.partition(".")[2] for name in parameters]
    others = [item.name for item in fields(chosen) if getattr(chosen, item.name) != getattr(plain, item.name)]
    names = [*searched, *(name for name in others if name not in searched)]
    return [
        f"{VARIABLES}{member.upper()}__{name.upper()}="
        + shlex.quote(json.dumps(getattr(chosen, name), separators=(",", ":")))
        for name in names
    ]


def _plots(result: StudyResult) -> dict[str, bytes]:
    short = {parameter.name: parameter.name.partition(".")[2] for parameter in result.space}
    trials = result.table().rename(columns=short)
    logarithmic = [short[parameter.name] for parameter in result.space if parameter.log]
    return {
        "study history": study_history(trials),
        "study slices": study_slices(trials, list(short.values()), logarithmic),
    }
