"""Contract of the trials of a hyper-parameter study. What does not belong here: the study itself (`study`)."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation.contracts import Contract, Rule
from butterquant_assets.learning.tuning import COMPLETE, FAILED, PRUNED


def _best_is_lowest(frame: pd.DataFrame) -> pd.Series:
    """Holds for every row but those wrongly marked, or wrongly not marked, as best."""
    values = frame["value"].where(frame["state"] == COMPLETE)
    lowest = values == values.min()
    # Rows ascend by trial, and the earliest of equals counts as the best.
    first: pd.Series = lowest & (lowest.cumsum() == 1)
    return frame["best"].eq(first)


def _only_failed_lack_value(frame: pd.DataFrame) -> pd.Series:
    # A trial cut short before its second fold would have nothing to be pruned by, so it has a value too.
    return frame["value"].isna() == (frame["state"] == FAILED)


def _reason_is_given(frame: pd.DataFrame) -> pd.Series:
    return (frame["reason"] == "") == (frame["state"] == COMPLETE)


SUCCESS_STUDY = Contract(
    "butterfly/success_study",
    pa.DataFrameSchema(
        {
            "trial": pa.Column("int64", pa.Check.ge(0), unique=True, description="number of the trial, from 0"),
            "state": pa.Column("str", pa.Check.isin((COMPLETE, PRUNED, FAILED)), description="how the trial ended"),
            "value": pa.Column(
                "float64",
                pa.Check.ge(0.0),
                nullable=True,
                description="mean log-loss over the rows its folds met; of a pruned trial, over the folds it reached; "
                "of a failed one, missing",
                metadata={"unit": "nats"},
            ),
            "params": pa.Column("str", description="parameters by name of setting, as JSON"),
            "best": pa.Column("bool", description="whether it is the complete trial of lowest value"),
            "reason": pa.Column("str", description="why it was pruned or failed; empty of a complete one"),
        },
        strict=True,
    ),
    ("trial",),
    time=None,
    rules=(
        Rule("best_is_lowest", "the complete trial of lowest value, and no other, is marked best", _best_is_lowest),
        Rule("only_failed_lack_value", "failed trials, and no others, have no value", _only_failed_lack_value),
        Rule("reason_is_given", "pruned and failed trials, and no others, have a reason", _reason_is_given),
    ),
)
"""Trials of the study of one kind of member; empty where none was asked for."""
