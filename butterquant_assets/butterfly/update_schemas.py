"""Contracts of the weekly update of the success model, and of what is in service after it."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation.contracts import Contract, Rule


def _work_is_told(frame: pd.DataFrame) -> pd.Series:
    return frame["updated"] == ((frame["rounds"] > 0) | (frame["calibration_rows"] > 0))


def _unchanged_alike(frame: pd.DataFrame) -> pd.Series:
    same = (frame["log_loss"] == frame["log_loss_parent"]) | frame["log_loss"].isna()
    return frame["updated"] | same


def _scored_where_known(frame: pd.DataFrame) -> pd.Series:
    scored = frame["known_rows"] > 0
    return (frame["log_loss"].notna() == scored) & (frame["log_loss_parent"].notna() == scored)


def _loss(description: str) -> pa.Column:
    return pa.Column("float64", pa.Check.ge(0.0), nullable=True, description=description, metadata={"unit": "nats"})


SUCCESS_UPDATE = Contract(
    "butterfly/success_update",
    pa.DataFrameSchema(
        {
            "first": pa.Column("datetime64[us]", description="day from which the model of this week decides"),
            "vintage": pa.Column("str", pa.Check.str_matches(r"^\d{4}-\d{2}$"), description="month of its vintage"),
            "updated": pa.Column("bool", description="whether it differs from its vintage"),
            "reason": pa.Column("str", description="what was done, or why nothing"),
            "new_rows": pa.Column("int64", pa.Check.ge(0), description="rows known by then, new to the vintage"),
            "new_episodes": pa.Column("int64", pa.Check.ge(0), description="episodes they come from"),
            "rounds": pa.Column("int64", pa.Check.ge(0), description="boosting rounds added, all members together"),
            "calibration_rows": pa.Column(
                "int64", pa.Check.ge(0), description="predictions the calibrator was refitted on; 0: it was not"
            ),
            "rows": pa.Column("int64", pa.Check.ge(0), description="scanned rows that this model met"),
            "known_rows": pa.Column("int64", pa.Check.ge(0), description="those whose outcome is known"),
            "log_loss": _loss("of the week's model on them; missing without any"),
            "log_loss_parent": _loss("of its vintage on the same rows"),
        },
        strict=True,
    ),
    ("first",),
    time=None,
    rules=(
        Rule("work_is_told", "a model differs from its vintage where rounds or a calibrator are new", _work_is_told),
        Rule("unchanged_predict_alike", "a model without an update loses what its vintage loses", _unchanged_alike),
        Rule("scored_where_known", "losses exist where outcomes are known, and nowhere else", _scored_where_known),
    ),
)
"""Weeks of the update of the model in service; empty where there was nothing to update on."""

SUCCESS_IN_SERVICE = Contract(
    "butterfly/success_in_service",
    pa.DataFrameSchema(
        {
            "champion": pa.Column("str", description="version in service; empty: none"),
            "parent": pa.Column("str", description="the full training it is, or that it is an update of"),
        },
        strict=True,
    ),
    ("champion",),
    time=None,
)
"""Which version decides, after the full training and its weekly update were judged; changes only when it does."""
