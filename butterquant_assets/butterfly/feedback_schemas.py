"""Contracts of feedback rows, and of trades of the ledger that give none."""

from __future__ import annotations

from dataclasses import replace

import pandera.pandas as pa

from butterquant_assets.butterfly.decision_schemas import FEEDBACK
from butterquant_assets.butterfly.schemas import KEYS, sessions_rule
from butterquant_assets.foundation.contracts import Contract

FEEDBACK_ROWS = replace(FEEDBACK, table="butterfly/feedback_rows")

FEEDBACK_UNUSED = Contract(
    "butterfly/feedback_unused",
    pa.DataFrameSchema(
        {
            "session": pa.Column("datetime64[us]", description="session of the decision, a date label"),
            "ticker": pa.Column("str", description="ticker as the source names it"),
            "tracks": pa.Column("str", description="tracks that took the trade, separated by commas"),
            "reason": pa.Column(
                "str", pa.Check.ne(""), description="why the trade gives no training row; feedback.py names the reasons"
            ),
        },
        strict=True,
        ordered=True,
        description="Trades of the feedback ledger that give no training row, each with its reason.",
    ),
    KEYS,
    time=None,
    rules=(sessions_rule("session"),),
)
