"""Vintages of the success model: what a desk retraining at each fold's boundary would have had, and what it then saw.

A vintage is an ensemble whose base is the *geometry student*, a small network that has learnt the geometry baseline
from the 23 features. Members learn only what lies beyond it, so where there is nothing to find they add nothing. What
belongs here: training vintages fold by fold, each on what was known at its boundary, and the predictions they make out
of sample. What does not: judging those predictions (`success`).

Members may learn from feedback rows besides the sample. Tracks chose these rows by their features, never by their
outcomes, so the class probabilities given the features are those of the sample, while overall frequencies are not:
folds, ensemble weights, calibration and predictions rest on the sample alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.config import CostConfig, TrainingConfig
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.geometry import N_CLASSES, geometry_probabilities
from butterquant_assets.butterfly.lessons import with_feedback
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.calibration import ChosenCalibrator, choose_calibrator
from butterquant_assets.learning.ensemble import BASE, Ensemble, fit_weights
from butterquant_assets.learning.members import (
    MemberNetworkSettings,
    MemberSettings,
    TrainedMember,
    predict_member,
    train_member,
)
from butterquant_assets.learning.walk_forward import Fold, final_fold, inner_split, out_of_fold_before, walk_forward

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

STUDENT_HELD_OUT = 0.1
MEMBER_PRIOR_ROWS = 0.5
STUDENT = MemberNetworkSettings(dropout=0.0, learning_rate=2e-3, weight_decay=1e-4, max_epochs=150, patience=25)


@dataclass(frozen=True, eq=False)
class Vintage:
    """One retraining.

    Parameters
    ----------
    fold
        which rows it learnt from and which it met
    ensemble
        the model
    calibration
        how its calibrator was chosen
    weighed_on
        out-of-fold rows that weights and calibrator rest on; without enough of them the members have equal weights
        and nothing is calibrated
    feedback
        feedback rows whose outcome was known at the boundary, with the embargo to spare
    """

    fold: Fold
    ensemble: Ensemble
    calibration: ChosenCalibrator
    weighed_on: int
    feedback: int = 0

    @property
    def name(self) -> str:
        """Month of its boundary, ``YYYY-MM``."""
        return str(self.fold.boundary.astype("datetime64[M]"))


@dataclass(frozen=True, eq=False)
class Walk:
    """All vintages, and what they predicted out of sample.

    Parameters
    ----------
    vintages
        in time order; the last one, `final`, has learnt from every row and met none
    predictions
        by predictor, shape (n, 4), NaN for rows that no vintage met: ``model`` (calibrated), ``pool`` (not calibrated),
        ``base``, and the members by name
    tested
        rows that a vintage met, shape (n,)
    student_error
        Kullback-Leibler divergence of the student from the geometry baseline on rows it met, nats
    """

    vintages: list[Vintage]
    predictions: dict[str, Floats]
    tested: Mask
    student_error: float

    @property
    def final(self) -> Vintage:
        """The vintage that has learnt from every row."""
        return self.vintages[-1]


def train_vintages(
    training_set: pd.DataFrame,
    analyses: pd.DataFrame,
    features: pd.DataFrame,
    config: TrainingConfig,
    costs: CostConfig,
    feedback: pd.DataFrame | None = None,
) -> Walk:
    """Train every vintage.

    Parameters
    ----------
    training_set
        columns of `schemas.TRAINING_SET`
    analyses
        columns of `schemas.ANALYSES`: all rows, labelled or not
    features
        session, ticker and the 23 features of the same analyses; the student learns from all that have them
    config, costs
        configuration in use
    feedback
        columns of `feedback.FEEDBACK_TYPES`: rows that members learn from as well, once their outcome is known

    Raises
    ------
    DataError
        if there are fewer rows or episodes than the configuration demands, or a feedback row is in the training set.
    """
    data = _arrays(training_set, analyses, features, config, costs)
    lessons = _lessons(training_set, feedback, config)
    folds = walk_forward(
        data.entry,
        data.leave,
        minimum_train_rows=config.minimum_rows,
        minimum_train_episodes=config.minimum_episodes,
        step_rows=config.step_rows,
        embargo_days=config.embargo_days,
        episode=data.episode,
    )
    last = _last_fold(lessons, len(data.y), config)
    names = ["model", "pool", BASE, *config.members]
    predictions = {name: np.full((len(data.y), N_CLASSES), np.nan) for name in names}
    vintages, errors = [], []
    for number, fold in enumerate([*folds, last]):
        known = out_of_fold_before([*folds, last], number)
        student = train_student(data, fold.boundary, config)
        taught = lessons.known_by(fold.boundary, config.embargo_days)
        # Only the rows of the fold: which later rows there are must not even move a rounding.
        base = np.full((len(lessons.y), N_CLASSES), np.nan)
        base[taught] = predict_member(student, lessons.X[taught])
        members = {kind: _train_member(kind, lessons, taught, len(data.y), base, config) for kind in config.members}
        weights, calibration = _combine(predictions, data, known, config)
        ensemble = Ensemble(student, members, weights, calibration.calibrator)
        vintages.append(Vintage(fold, ensemble, calibration, int(known.sum()), int(taught[len(data.y) :].sum())))
        if fold.test.any():
            parts = ensemble.predict_parts(data.X[fold.test], unused=True)
            pool = ensemble.blend(parts)
            met = parts | {"pool": pool, "model": ensemble.served.apply(pool)}
            for name, values in met.items():
                predictions[name][fold.test] = values
            errors.append(_divergence(data.geometry[fold.test], parts[BASE]))
    tested = np.logical_or.reduce([fold.test for fold in folds])
    return Walk(vintages, predictions, tested, float(np.concatenate(errors).mean()))


@dataclass(frozen=True, eq=False)
class _Data:
    """Labelled rows as arrays, and the pool of all analysed rows that the student learns from."""

    X: Floats
    y: npt.NDArray[np.int64]
    weight: Floats
    entry: npt.NDArray[np.datetime64]
    leave: npt.NDArray[np.datetime64]
    episode: npt.NDArray[Any]
    geometry: Floats
    pool_inputs: Floats
    pool_geometry: Floats
    pool_entry: npt.NDArray[np.datetime64]


def _arrays(
    training_set: pd.DataFrame,
    analyses: pd.DataFrame,
    features: pd.DataFrame,
    config: TrainingConfig,
    costs: CostConfig,
) -> _Data:
    keys = ["session", "ticker"]
    state = analyses.sort_values(keys, kind="stable").reset_index(drop=True)
    wanted = features.set_index(keys)
    taught = pd.MultiIndex.from_frame(state[keys]).isin(wanted.index)
    wanted = wanted.loc[pd.MultiIndex.from_frame(state.loc[taught, keys])]
    geometry = geometry_probabilities(state, config.label, costs=costs)
    place = pd.Series(np.arange(len(state)), index=pd.MultiIndex.from_frame(state[keys]))
    rows = place.reindex(pd.MultiIndex.from_frame(training_set[keys]))
    if rows.isna().any():
        lost = rows.index[rows.isna()][0]
        raise DataError(f"{int(rows.isna().sum())} training rows have no analysis, for instance {lost}; rebuild both")
    return _Data(
        X=training_set[list(FEATURES)].to_numpy(dtype=np.float64),
        y=training_set[config.label].to_numpy().astype(np.int64),
        weight=_weights(training_set),
        entry=training_set["session"].to_numpy().astype("datetime64[D]"),
        leave=training_set["evaluation_session"].to_numpy().astype("datetime64[D]"),
        episode=training_set["episode"].to_numpy(),
        geometry=geometry[rows.to_numpy().astype(np.int64)],
        pool_inputs=wanted[list(FEATURES)].to_numpy(dtype=np.float64),
        pool_geometry=geometry[taught],
        pool_entry=state.loc[taught, "session"].to_numpy().astype("datetime64[D]"),
    )


@dataclass(frozen=True, eq=False)
class _Lessons:
    """Rows that members may learn from: the sample in its order, then the feedback rows."""

    X: Floats
    y: npt.NDArray[np.int64]
    weight: Floats
    entry: npt.NDArray[np.datetime64]
    leave: npt.NDArray[np.datetime64]

    def known_by(self, boundary: np.datetime64, embargo_days: int) -> Mask:
        """Rows whose outcome was known at the boundary, with the embargo to spare, shape (n,): a fold's own rule."""
        known: Mask = self.leave < boundary - np.timedelta64(embargo_days, "D")
        return known


def _lessons(training_set: pd.DataFrame, feedback: pd.DataFrame | None, config: TrainingConfig) -> _Lessons:
    rows = training_set if feedback is None else with_feedback(training_set, feedback)
    return _Lessons(
        X=rows[list(FEATURES)].to_numpy(dtype=np.float64),
        y=rows[config.label].to_numpy().astype(np.int64),
        weight=_weights(rows),
        entry=rows["session"].to_numpy().astype("datetime64[D]"),
        leave=rows["evaluation_session"].to_numpy().astype("datetime64[D]"),
    )


def _last_fold(lessons: _Lessons, samples: int, config: TrainingConfig) -> Fold:
    """The fold that learns from every row, over the rows of the sample; feedback rows too had left at its boundary."""
    last = final_fold(lessons.entry, lessons.leave, embargo_days=config.embargo_days)
    return Fold(last.boundary, last.train[:samples], last.test[:samples], last.purged[:samples])


def train_student(data: _Data, boundary: np.datetime64, config: TrainingConfig) -> TrainedMember:
    """A network that gives the geometry baseline from the 23 features, taught on analyses before the boundary.

    It sees no outcome: its targets follow from strikes, expiry and volatilities alone.
    """
    before = np.flatnonzero(data.pool_entry < boundary)
    held_out = np.random.default_rng(config.seed).random(len(before)) < STUDENT_HELD_OUT
    held_out[:1], held_out[1:2] = True, False  # neither part may be empty
    fit, check = before[~held_out], before[held_out]
    return train_member(
        "mlp",
        data.pool_inputs[fit],
        data.pool_geometry[fit],
        data.pool_inputs[check],
        data.pool_geometry[check],
        features=FEATURES,
        n_classes=N_CLASSES,
        settings=replace(
            MemberSettings(), mlp=replace(STUDENT, hidden=config.student_hidden, max_epochs=config.student_epochs)
        ),
        seed=config.seed,
        device=config.device,
    )


def _train_member(
    kind: str, data: _Lessons, taught: Mask, samples: int, base: Floats, config: TrainingConfig
) -> TrainedMember:
    # Stopping judges, and tracks chose the feedback rows: only the sample, which comes first, says when to stop.
    sampled = taught & (np.arange(len(taught)) < samples)
    _, check = inner_split(data.entry, data.leave, sampled, config.validation_share, config.embargo_days)
    fit = taught & data.known_by(data.entry[check].min(), config.embargo_days)
    return train_member(
        kind,
        data.X[fit],
        data.y[fit],
        data.X[check],
        data.y[check],
        features=FEATURES,
        n_classes=N_CLASSES,
        settings=config.settings,
        base=base[fit],
        base_validation=base[check],
        sample_weight=None if (data.weight[fit] == 1.0).all() else data.weight[fit],
        seed=config.seed,
        device=config.device,
    )


def _combine(
    predictions: Mapping[str, Floats], data: _Data, known: Mask, config: TrainingConfig
) -> tuple[dict[str, float], ChosenCalibrator]:
    """Weights and calibrator from out-of-fold predictions whose outcome was known at the boundary."""
    names: Sequence[str] = [BASE, *config.members]
    if known.sum() < config.minimum_weighing_rows:
        weights = dict.fromkeys(names, 1.0 / len(names))
    else:
        parts = {name: predictions[name][known] for name in names}
        # Members must earn their weight: where there is nothing to find, whatever they add to geometry is noise.
        prior = dict.fromkeys(config.members, MEMBER_PRIOR_ROWS) | {BASE: config.base_prior_rows}
        weights = fit_weights(parts, data.y[known], prior=prior)
    calibration = choose_calibrator(
        predictions["pool"][known],
        data.y[known],
        data.entry[known],
        leave=data.leave[known],
        groups=data.episode[known],
        n_classes=N_CLASSES,
        minimum_rows=config.minimum_calibration_rows,
        embargo_days=config.embargo_days,
    )
    return weights, calibration


def _divergence(truth: Floats, guess: Floats) -> Floats:
    divergence: Floats = (truth * np.log(truth / guess)).sum(axis=1)
    return divergence


def _weights(training_set: pd.DataFrame) -> Floats:
    """Weight of each row: its own where the table has one, else 1."""
    if "weight" not in training_set:
        return np.ones(len(training_set))
    return training_set["weight"].to_numpy(dtype=np.float64)
