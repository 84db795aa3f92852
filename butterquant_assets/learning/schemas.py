"""Contracts of the tables that every line's models publish: how a model was judged, and how its export compares."""

from __future__ import annotations

import pandera.pandas as pa

from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.learning.onnx_export import PARITY_TOLERANCE


def evaluation_contract(table: str) -> Contract:
    """Contract of an evaluation table: one value per predictor, part of the walk, and metric."""
    columns = {
        "predictor": pa.Column("str", description="the model, or the baseline it is compared with"),
        "part": pa.Column(
            "str",
            pa.Check.str_matches(r"^(walk_forward|\d{4}-\d{2})$"),
            description="all rows met out of sample, or those of the vintage of that month",
        ),
        "metric": pa.Column("str", description="name of the measure"),
        "value": pa.Column("float64", nullable=True, description="its value; missing where no row was concerned"),
        "low": pa.Column("float64", nullable=True, description="lower bound, 95 %, over episodes"),
        "high": pa.Column("float64", nullable=True, description="upper bound, 95 %, over episodes"),
    }
    return Contract(table, pa.DataFrameSchema(columns, strict=True), ("predictor", "part", "metric"), time=None)


def parity_contract(table: str) -> Contract:
    """Contract of an export's comparison with the model it was made from."""
    columns = {
        "batch": pa.Column("int64", pa.Check.ge(1), unique=True, description="rows compared at once"),
        "max_abs_difference": pa.Column(
            "float64",
            pa.Check.in_range(0.0, PARITY_TOLERANCE),
            description="largest absolute difference of a probability between ONNX and the native model",
        ),
    }
    return Contract(table, pa.DataFrameSchema(columns, strict=True), ("batch",), time=None)
