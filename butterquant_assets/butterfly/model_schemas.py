"""Contracts of what the success model publishes besides its evaluation: its predictions and its calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation.contracts import Contract, Rule
from butterquant_assets.learning.calibration import METHODS

PROBABILITIES = ("p0", "p1", "p2", "p3")


def _sums_to_one(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(np.abs(frame[list(PROBABILITIES)].sum(axis=1) - 1.0) < 1e-5, index=frame.index)


SUCCESS_PREDICTIONS = Contract(
    "butterfly/success_predictions",
    pa.DataFrameSchema(
        {
            "session": pa.Column("datetime64[us]", description="entry session"),
            "ticker": pa.Column("str", description="ticker"),
            "vintage": pa.Column("str", pa.Check.str_matches(r"^\d{4}-\d{2}$"), description="month of the retraining"),
            "predictor": pa.Column("str", description="model (calibrated), pool (not), base, a member, or a baseline"),
        }
        | {
            name: pa.Column("float64", pa.Check.in_range(0.0, 1.0), description=f"probability of class {number}")
            for number, name in enumerate(PROBABILITIES)
        },
        strict=True,
    ),
    ("session", "ticker", "predictor"),
    time=None,
    rules=(Rule("probabilities_sum_to_one", "the four probabilities sum to 1", _sums_to_one),),
)
"""Out-of-sample predictions: each row by the vintage of its time, which had not seen it."""

CALIBRATION_TABLE = Contract(
    "butterfly/calibration_table",
    pa.DataFrameSchema(
        {
            "vintage": pa.Column("str", pa.Check.str_matches(r"^\d{4}-\d{2}$"), description="month of the retraining"),
            "method": pa.Column("str", pa.Check.isin(METHODS), description="calibration method"),
            "log_loss": pa.Column(
                "float64", nullable=True, description="of out-of-sample predictions, walk-forward, nats"
            ),
            "brier": pa.Column("float64", nullable=True, description="the same, Brier score summed over classes"),
            "ece": pa.Column("float64", nullable=True, description="the same, expected calibration error"),
            "gain": pa.Column("float64", nullable=True, description="log-loss without calibration minus this one"),
            "standard_error": pa.Column("float64", nullable=True, description="of the gain, over episodes"),
            "rows": pa.Column("int64", pa.Check.ge(0), description="rows the figures rest on"),
            "chosen": pa.Column("bool", description="whether the vintage uses it"),
        },
        strict=True,
    ),
    ("vintage", "method"),
    time=None,
)
"""Calibration methods by vintage, compared on predictions made out of sample only."""

SUCCESS_CHAMPION = Contract(
    "butterfly/success_champion",
    pa.DataFrameSchema(
        {
            "challenger": pa.Column("str", description="version that was judged"),
            "rival": pa.Column("str", description="version in service, or geometry where none was"),
            "champion": pa.Column("str", description="version in service afterwards; empty: none"),
            "promoted": pa.Column("bool", description="whether the challenger took over"),
            "rows": pa.Column("int64", pa.Check.ge(0), description="rows that both had predicted out of sample"),
            "episodes": pa.Column("int64", pa.Check.ge(0), description="episodes they come from"),
            "difference": pa.Column(
                "float64", nullable=True, description="log-loss of the rival minus the challenger's"
            ),
            "low": pa.Column("float64", nullable=True, description="lower bound, 95 % over episodes, nats"),
            "high": pa.Column("float64", nullable=True, description="upper bound, nats"),
            "ece_rival": pa.Column("float64", nullable=True, description="calibration error of the rival"),
            "ece_challenger": pa.Column("float64", nullable=True, description="calibration error of the challenger"),
            "ece_limit": pa.Column("float64", nullable=True, description="what the challenger's may be"),
            "reason": pa.Column("str", description="the verdict in words"),
        },
        strict=True,
    ),
    ("challenger",),
    time=None,
)
"""The latest judgement of a challenger; the whole history is in the warehouse (`butterquant models history`)."""

DECISION_RECORDS = Contract(
    "butterfly/decision_records",
    pa.DataFrameSchema(
        {
            "session": pa.Column("datetime64[us]", description="session"),
            "table": pa.Column("str", description="table of the warehouse"),
            "rows": pa.Column("int64", pa.Check.ge(0), description="rows written for the session"),
        },
        strict=True,
    ),
    ("session", "table"),
)
"""What was written to the warehouse."""
