"""Decisions on a scan by the models of their time. Pure.

A session is decided by the newest vintage whose boundary lies on or before it, so no model sees its own future: the
last vintage, which has learnt from all data, decides only on sessions after it. An update (`update`) has a model for
each of its weeks; before the first, the vintages it started from decide. What belongs here: which model decides what.
What does not: the rules (`decisions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import decisions, success
from butterquant_assets.butterfly.decisions import DecisionRules, ModelView
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.geometry import N_CLASSES
from butterquant_assets.foundation.model_content import files_under
from butterquant_assets.learning import ensemble as ensemble_files
from butterquant_assets.learning.ensemble import Ensemble

Floats = npt.NDArray[np.float64]

WEEKS = "weeks"
"""Where an update keeps what its weeks' models have beyond their vintages: ``weeks/<first day>/...``."""


@dataclass(frozen=True, eq=False)
class TimedModel:
    """A vintage, or an update's model of one week, with what its decisions need.

    Parameters
    ----------
    first
        first day it may decide on
    label
        ``<version>@<YYYY-MM>``, of an update's week ``<version>@<YYYY-MM-DD>``, or the version alone for the last one,
        which is the version itself
    ensemble
        the model
    class_values
        mean roi_net of each class on its training rows, shape (4,)
    threshold, threshold_reason
        what the expected ROI must exceed, chosen on earlier folds; None: take nothing
    """

    first: np.datetime64
    label: str
    ensemble: Ensemble
    class_values: Floats
    threshold: float | None
    threshold_reason: str


def timed_models(version: str, training: Mapping[str, Any], files: Mapping[str, bytes]) -> list[TimedModel]:
    """All vintages of a stored success model, in time order.

    Parameters
    ----------
    version
        of the model
    training
        its training record
    files
        its files by path
    """
    vintages = training["splits"]["vintages"]
    models = []
    for number, facts in enumerate(vintages):
        last = number == len(vintages) - 1
        ensemble = success.restore(files) if last else success.restore_vintage(facts["vintage"], files)
        models.append(
            TimedModel(
                np.datetime64(facts["vintage"], "D"),
                version if last else f"{version}@{facts['vintage']}",
                ensemble,
                np.array(facts["class_values"], dtype=np.float64),
                facts["threshold"],
                str(facts["threshold_reason"]),
            )
        )
    return models


def parent_of(record: Mapping[str, Any]) -> str | None:
    """Version of the full training that an update started from, by its training record or its card; else None."""
    update = record["training"].get("update")
    return None if update is None else str(update["parent"])


def updated_models(
    version: str,
    training: Mapping[str, Any],
    files: Mapping[str, bytes],
    parent: Sequence[TimedModel],
    parent_files: Mapping[str, bytes],
) -> list[TimedModel]:
    """Models of a stored update, in time order: the vintages of its parent, then a model for each of its weeks.

    Parameters
    ----------
    version, training, files
        of the update: its version, training record, and files by path
    parent
        vintages of the full training it started from
    parent_files
        files of that one
    """
    months = {str(model.first.astype("datetime64[M]")): model for model in parent}
    weeks = training["splits"][WEEKS]
    begin = next(number for number, week in enumerate(weeks) if week["updated"])
    first = np.datetime64(weeks[begin]["first"], "D")
    models = [model for model in parent if model.first < first]
    for number, week in enumerate(weeks[begin:], begin):
        vintage = replace(months[week["vintage"]], first=np.datetime64(week["first"], "D"))
        if not week["updated"]:
            models.append(vintage)
        elif number == len(weeks) - 1:
            models.append(replace(vintage, label=version, ensemble=success.restore(files)))
        else:
            stored = files_under(vintage_folder(week["vintage"], parent), parent_files)
            stored |= files_under(f"{WEEKS}/{week['first']}", files)
            ensemble = ensemble_files.from_files(stored)
            models.append(replace(vintage, label=f"{version}@{week['first']}", ensemble=ensemble))
    return models


def vintage_folder(month: str, parent: Sequence[TimedModel]) -> str:
    """Where a full training keeps the vintage of that month."""
    last = str(parent[-1].first.astype("datetime64[M]"))
    return "ensemble" if month == last else f"vintages/{month}"


def predict_at_the_time(models: Sequence[TimedModel], rows: pd.DataFrame) -> Floats:
    """Class probabilities of each row by the newest model of its time, shape (n, 4); NaN before the first model.

    Parameters
    ----------
    models
        in time order
    rows
        session and the 23 features
    """
    eras = era(models, rows["session"].to_numpy().astype("datetime64[D]"))
    found = np.full((len(rows), N_CLASSES), np.nan)
    for number in sorted({int(e) for e in eras if e >= 0}):
        inside = eras == number
        found[inside] = _predict(models[number].ensemble, rows[inside])
    return found


def replay(
    scan: pd.DataFrame,
    features: pd.DataFrame,
    champion: Sequence[TimedModel],
    challenger: Sequence[TimedModel],
    rules: DecisionRules,
) -> pd.DataFrame:
    """Decisions on every row of a scan that some vintage of the champion may decide on.

    Parameters
    ----------
    scan
        session, ticker, total_score
    features
        session, ticker and the 23 features of the same rows
    champion, challenger
        vintages in time order; the challenger may be empty, and takes part from its first vintage on
    rules
        thresholds, places, routing

    Returns
    -------
    DataFrame
        columns of `decisions.DECISION_TYPES`. Sessions before the champion's first vintage are left out: nobody could
        have decided on them.
    """
    keys = ["session", "ticker"]
    rows = scan[[*keys, "total_score"]].merge(features[[*keys, *FEATURES]], on=keys, validate="one_to_one")
    entry = rows["session"].to_numpy().astype("datetime64[D]")
    eras = [era(models, entry) for models in (champion, challenger)]
    parts = []
    for ours, theirs in sorted({(int(a), int(b)) for a, b in zip(*eras, strict=True) if a >= 0}):
        inside = rows[(eras[0] == ours) & (eras[1] == theirs)]
        rival = _view(challenger[theirs], inside) if theirs >= 0 else None
        parts.append(decisions.decide(inside, _view(champion[ours], inside), challenger=rival, rules=rules))
    if not parts:
        nothing = rows.iloc[:0]
        return decisions.decide(nothing, ModelView("none", np.empty((0, 4)), np.zeros(4), None), rules=rules)
    whole = pd.concat(parts, ignore_index=True)
    return whole.sort_values([*keys, "track"], kind="stable").reset_index(drop=True)


def era(models: Sequence[TimedModel], entry: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Number of the newest model that may decide on each day, shape (n,); -1: none."""
    firsts = np.array([model.first for model in models], dtype="datetime64[D]")
    found: npt.NDArray[np.int64] = np.searchsorted(firsts, entry, side="right").astype(np.int64) - 1
    return found


def _predict(ensemble: Ensemble, rows: pd.DataFrame) -> Floats:
    """Class probabilities of each row, shape (n, 4).

    A matrix product rounds a row differently beside other rows. A model is asked for each session alone, so that a
    session says the same whichever others are made with it, and what it said stays when the next one joins its month.
    """
    X, days = rows[list(FEATURES)].to_numpy(dtype=np.float64), rows["session"].to_numpy()
    found = np.empty((len(rows), N_CLASSES))
    for day in np.unique(days):
        inside = days == day
        found[inside] = ensemble.predict(X[inside])
    return found


def _view(model: TimedModel, rows: pd.DataFrame) -> ModelView:
    return ModelView(
        model.label,
        _predict(model.ensemble, rows),
        model.class_values,
        model.threshold,
        model.threshold_reason,
    )
