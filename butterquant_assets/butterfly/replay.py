"""Decisions on a scan by the models of their time. Pure.

A session is decided by the newest vintage whose boundary lies on or before it, so no model sees its own future: the
last vintage, which has learnt from all data, decides only on sessions after it. What belongs here: which vintage
decides what. What does not: the rules (`decisions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly import decisions, success
from butterquant_assets.butterfly.decisions import DecisionRules, ModelView
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.learning.ensemble import Ensemble

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TimedModel:
    """A vintage with what its decisions need.

    Parameters
    ----------
    first
        first day it may decide on
    label
        ``<version>@<YYYY-MM>``, or the version alone for the last vintage, which is the version itself
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
    eras = [_era(models, entry) for models in (champion, challenger)]
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


def _era(models: Sequence[TimedModel], entry: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Number of the newest model that may decide on each day; -1: none."""
    firsts = np.array([model.first for model in models], dtype="datetime64[D]")
    found: npt.NDArray[np.int64] = np.searchsorted(firsts, entry, side="right").astype(np.int64) - 1
    return found


def _view(model: TimedModel, rows: pd.DataFrame) -> ModelView:
    return ModelView(
        model.label,
        model.ensemble.predict(rows[list(FEATURES)].to_numpy(dtype=np.float64)),
        model.class_values,
        model.threshold,
        model.threshold_reason,
    )
