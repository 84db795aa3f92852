"""What the success model learns from: the sample, and the feedback rows that follow it. Pure.

What belongs here: putting the two together without a row twice. What does not: where feedback rows come from
(`feedback`). Only members learn from feedback rows; folds, weights of the ensemble, calibration and every judgement
rest on the sample, because feedback rows were chosen by the tracks and not drawn.
"""

from __future__ import annotations

import pandas as pd

from butterquant_assets.foundation.errors import DataError

KEYS = ("session", "ticker")
SAMPLE, FEEDBACK = KINDS = ("sample", "feedback")


def with_feedback(training_set: pd.DataFrame, feedback: pd.DataFrame) -> pd.DataFrame:
    """The training set followed by its feedback rows, with ``kind`` and ``weight``.

    Parameters
    ----------
    training_set
        columns of `schemas.TRAINING_SET`; its rows stay in their order. Their weight is 1, or their own where the table
        has one
    feedback
        columns of `feedback.FEEDBACK_TYPES`

    Returns
    -------
    DataFrame, columns of `training_set`, kind and weight; plain index, the sample first

    Raises
    ------
    DataError
        if a feedback row is in the training set already, or repeated.
    """
    sample = training_set.assign(kind=SAMPLE, weight=training_set.get("weight", 1.0))
    together = pd.concat([sample, feedback[list(sample.columns)]], ignore_index=True) if len(feedback) else sample
    repeated = int(together.duplicated(list(KEYS)).sum())
    if repeated:
        raise DataError(f"{repeated} feedback rows are in the training set already; pass it to feedback_rows first")
    return together.reset_index(drop=True)
