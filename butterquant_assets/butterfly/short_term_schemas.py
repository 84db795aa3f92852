"""Contracts of the short-term tables: references and targets of seven sessions, and the rows models learn from.

What belongs here: columns and rules that a frame alone can be judged by. Keys, samples and features are those of
`schemas`, column by column.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.pandas as pa

from butterquant_assets.butterfly import schemas
from butterquant_assets.butterfly.features import FEATURES as FEATURE_NAMES
from butterquant_assets.butterfly.short_term import (
    HORIZON,
    MISSING_REASONS,
    MOVE,
    REALISED_SESSIONS,
    TARGETS,
    direction_of,
    quiet_of,
)
from butterquant_assets.foundation.calendar import session_number
from butterquant_assets.foundation.contracts import Contract, Rule
from butterquant_assets.learning.onnx_export import PARITY_TOLERANCE

_CLASS = {"unit": "class"}


def _positive(description: str, unit: str, *, zero: bool = False, nullable: bool = False) -> pa.Column:
    bound = pa.Check.ge(0.0) if zero else pa.Check.gt(0.0)
    checks = [bound, pa.Check.lt(float("inf"))]
    return pa.Column("float64", checks, nullable=nullable, description=description, metadata={"unit": unit})


def _reference_columns() -> dict[str, pa.Column]:
    realised = {
        f"rv_{count}": _positive(
            f"252/{count} x sum of the last {count} squared daily log returns", "variance per year", zero=True
        )
        for count in REALISED_SESSIONS
    }
    garch = _positive("root mean of the GARCH(1,1) variances 1 .. 7 sessions ahead, annualised", "per year")
    return realised | {"garch_vol_7": garch}


def _target_columns(*, nullable: bool) -> dict[str, pa.Column]:
    percent = f"{MOVE:.0%}"
    return {
        "realised_vol_7": _positive(
            "sqrt(252/7 x sum of the next 7 squared log returns)", "per year", zero=True, nullable=nullable
        ),
        "return_7": pa.Column(
            "float64",
            [pa.Check.gt(-1.0), pa.Check.lt(float("inf"))],
            nullable=nullable,
            description="close 7 sessions later x splits since / close - 1, without dividends",
            metadata={"unit": "ratio"},
        ),
        "direction_7": pa.Column(
            "float64",
            pa.Check.isin([0.0, 1.0, 2.0]),
            nullable=nullable,
            description=f"0 where return_7 < -{percent}, 2 where > {percent}, else 1",
            metadata=_CLASS,
        ),
        "quiet_7": pa.Column(
            "float64",
            pa.Check.isin([0.0, 1.0]),
            nullable=nullable,
            description=f"1 where abs(return_7) < {percent}, else 0",
            metadata=_CLASS,
        ),
    }


def _target_session() -> pa.Column:
    return pa.Column("datetime64[us]", description=f"the {HORIZON}th session after the session")


def _ahead(frame: pd.DataFrame) -> pd.Series:
    gap = session_number(frame["target_session"].to_numpy()) - session_number(frame["session"].to_numpy())
    return pd.Series(gap == HORIZON, index=frame.index)


def _target_or_reason(frame: pd.DataFrame) -> pd.Series:
    known = frame[list(TARGETS)].notna()
    given = frame["missing_reason"] == ""
    return (given & known.all(axis=1)) | (~given & ~known.any(axis=1))


def _classes_agree(frame: pd.DataFrame) -> pd.Series:
    good = np.ones(len(frame), dtype=bool)
    for name, made in (("direction_7", direction_of(frame["return_7"])), ("quiet_7", quiet_of(frame["return_7"]))):
        good &= np.equal(frame[name], made) | (frame[name].isna() & np.isnan(made))
    return pd.Series(good, index=frame.index)


def _moved_far_enough(frame: pd.DataFrame) -> pd.Series:
    """By Cauchy and Schwarz the sum of 7 log returns is at most sqrt(7 x sum of squares), which is 7 sqrt(v2 / 252)."""
    farthest = HORIZON * frame["realised_vol_7"] / np.sqrt(252.0)
    near = frame["return_7"].isna() | (np.log1p(frame["return_7"]).abs() <= farthest + schemas.TOLERANCE)
    return pd.Series(near, index=frame.index)


def no_target_after(last_session: str | pd.Timestamp) -> Rule:
    """No row has targets whose session lies after `last_session`.

    A frame alone does not know how far the data reaches, so the caller who does adds this rule to `SHORT_TERM`.
    """
    last = pd.Timestamp(last_session)
    return Rule(
        "no_target_from_the_future",
        "a row whose target session lies after the last session of the data has no target",
        lambda frame: (frame["target_session"] <= last) | (frame["missing_reason"] == "after_data_end"),
    )


_RULES = (
    Rule("seven_sessions_ahead", f"target_session is the {HORIZON}th session after session", _ahead),
    Rule("classes_agree_with_return", "direction_7 and quiet_7 are those of return_7", _classes_agree),
    Rule("return_within_path", "the return is not longer than its path of daily moves allows", _moved_far_enough),
    schemas.sessions_rule("session", "target_session"),
)
_SAMPLE_COLUMNS = ("session", "ticker", "stratum", "episode")
_KEY_COLUMNS = {name: schemas.TRAINING_SET.schema.columns[name] for name in schemas.KEYS}

SHORT_TERM = Contract(
    "butterfly/short_term",
    pa.DataFrameSchema(
        _KEY_COLUMNS
        | _reference_columns()
        | {"target_session": _target_session()}
        | _target_columns(nullable=True)
        | {
            "missing_reason": pa.Column(
                "str",
                pa.Check.isin(list(MISSING_REASONS)),
                description="why there are no targets; empty where there are",
            )
        },
        strict=True,
        ordered=True,
    ),
    schemas.KEYS,
    rules=(
        Rule("target_or_reason", "a row has all of its targets or a reason", _target_or_reason),
        *_RULES,
    ),
)

SHORT_TERM_SET = Contract(
    "butterfly/short_term_set",
    pa.DataFrameSchema(
        {name: schemas.TRAINING_SET.schema.columns[name] for name in _SAMPLE_COLUMNS}
        | {"target_session": _target_session()}
        | {name: schemas.FEATURES.schema.columns[name] for name in FEATURE_NAMES}
        | _reference_columns()
        | _target_columns(nullable=False),
        strict=True,
        ordered=True,
    ),
    schemas.KEYS,
    time=None,
    rules=_RULES,
)


def evaluation_contract(table: str) -> Contract:
    """Contract of how a short-term model was judged: one value per predictor, part and metric."""
    columns = {
        "predictor": pa.Column("str", description="the model or reference; all_rows for what was judged on"),
        "part": pa.Column(
            "str",
            pa.Check.str_matches(r"^(all|\d{4}-\d{2}-01)$"),
            description="all out-of-sample rows, or those of one fold by the month of its retraining",
        ),
        "metric": pa.Column("str", description="name of the measure; *_low and *_high bound its 95 % interval"),
        "value": pa.Column("float64", nullable=True, description="its value; bounds are missing from one episode"),
    }
    return Contract(table, pa.DataFrameSchema(columns, strict=True), ("predictor", "part", "metric"), time=None)


def forecast_parity_contract(table: str) -> Contract:
    """Contract of the comparison of an exported forecast with the model it was made from."""
    columns = {
        "batch": pa.Column("int64", pa.Check.ge(1), unique=True, description="rows compared at once"),
        "max_abs_difference": pa.Column(
            "float64",
            pa.Check.in_range(0.0, PARITY_TOLERANCE),
            description="largest difference between ONNX and the native model, relative to the forecast",
        ),
    }
    return Contract(table, pa.DataFrameSchema(columns, strict=True), ("batch",), time=None)
