"""Which rows are the reference and which are live, made from the tables of the butterfly line. Pure.

What belongs here: joining and naming columns. What does not: comparing them (`drift_table`, `decay`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.decisions import AI, CHAMPION
from butterquant_assets.butterfly.evaluation import expected_roi
from butterquant_assets.butterfly.features import FEATURES, build_features
from butterquant_assets.butterfly.performance import with_outcomes
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.monitoring.decay import PROBABILITIES

KEYS = ["session", "ticker"]
PREDICTIONS = (*PROBABILITIES, "expected_roi")
MODEL = "model"


def learnt_rows(training_set: pd.DataFrame, training: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of the training set that a stored model can have learnt from: those entered before its last boundary.

    Parameters
    ----------
    training_set
        columns of `butterfly.schemas.TRAINING_SET`, of any later state
    training
        the record of its full training: of an update, that of the training it went on from

    Raises
    ------
    DataError
        if none is left.
    """
    last = training["splits"]["vintages"][-1]
    entered, left = pd.Timestamp(last["train_last_entry"]), pd.Timestamp(last["train_last_exit"])
    rows = training_set[(training_set["session"] <= entered) & (training_set["evaluation_session"] <= left)]
    if rows.empty:
        raise DataError(f"the training set has no row up to {entered:%Y-%m-%d}, the last the model in service learnt")
    return rows.reset_index(drop=True)


def scanned_features(scan: pd.DataFrame) -> pd.DataFrame:
    """session, ticker, stratum and the 23 features of scanned rows."""
    made = build_features(scan)
    return made.assign(stratum=scan["stratum"].to_numpy())[[*KEYS, "stratum", *FEATURES]]


def promised_predictions(out_of_sample: pd.DataFrame, learnt: pd.DataFrame, label: str) -> pd.DataFrame:
    """The model's walk-forward predictions with stratum and label: session, ticker, stratum, p0 .. p3, label.

    Parameters
    ----------
    out_of_sample
        session, ticker, predictor, p0 .. p3, as the model stored them
    learnt
        rows of `learnt_rows`; predictions of rows that are no longer in it are left out
    label
        label column
    """
    own = out_of_sample[out_of_sample["predictor"] == MODEL]
    known = learnt[[*KEYS, "stratum", label]].rename(columns={label: "label"})
    joined = own[[*KEYS, *PROBABILITIES]].merge(known, on=KEYS, validate="one_to_one")
    return joined.sort_values(KEYS, kind="stable").reset_index(drop=True)


def live_predictions(decisions: pd.DataFrame, scan: pd.DataFrame) -> pd.DataFrame:
    """What the model in service says of every candidate routed to it: session, ticker, stratum, p0 .. p3.

    Rows routed to a challenger are another model's, and not looked at.
    """
    own = decisions[(decisions["track"] == AI) & (decisions["route"] == CHAMPION)]
    rows = own[[*KEYS, *PROBABILITIES]].merge(scan[[*KEYS, "stratum"]], on=KEYS, validate="one_to_one")
    return rows.sort_values(KEYS, kind="stable").reset_index(drop=True)


def with_expected_roi(predictions: pd.DataFrame, class_values: npt.ArrayLike) -> pd.DataFrame:
    """The same rows with ``expected_roi``, at one set of class values for all, so that only the predictions differ."""
    p = predictions[list(PROBABILITIES)].to_numpy(dtype=np.float64)
    return predictions.assign(expected_roi=expected_roi(p, class_values))


def known_outcomes(decisions: pd.DataFrame, outcomes: pd.DataFrame, scan: pd.DataFrame, label: str) -> pd.DataFrame:
    """Live predictions whose outcome is known: session, ticker, stratum, p0 .. p3, label."""
    results = outcomes.loc[outcomes["missing_reason"] == "", [*KEYS, label]].rename(columns={label: "label"})
    live = live_predictions(decisions, scan).dropna(subset=list(PROBABILITIES))
    return live.merge(results, on=KEYS, validate="one_to_one")


def judged_decisions(decisions: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Decisions of the model in service with what came of them, see `butterfly.performance.with_outcomes`.

    No day is given: an outcome that the bars do not reach yet says so itself, and a month's verdict must not depend on
    which other months are made with it.
    """
    own = decisions[(decisions["route"] == CHAMPION) & decisions["expected_roi"].notna()]
    return with_outcomes(own, outcomes)
