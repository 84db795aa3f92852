"""The contracts of decisions notice what cannot be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly.decision_schemas import (
    DECISION_CALIBRATION,
    DECISION_HISTORY,
    DECISION_PERFORMANCE,
    FEEDBACK,
    TRADE_DECISIONS,
)
from butterquant_assets.butterfly.decisions import DECISION_TYPES, decide
from butterquant_assets.butterfly.feedback import FEEDBACK_TYPES
from butterquant_assets.butterfly.frames import empty
from butterquant_assets.butterfly.performance import CALIBRATION_TYPES, HISTORY_TYPES, PERFORMANCE_TYPES
from butterquant_assets.foundation.contracts import Contract
from butterquant_tests.butterfly.decision_cases import model, scan_of, session_days

SCAN = scan_of(session_days("2016-03-01", 3), 30, 0)
DECISIONS = decide(SCAN, model(len(SCAN), 1, threshold=-0.5))


@pytest.mark.parametrize(
    ("contract", "types"),
    [
        (TRADE_DECISIONS, DECISION_TYPES),
        (DECISION_PERFORMANCE, PERFORMANCE_TYPES),
        (DECISION_CALIBRATION, CALIBRATION_TYPES),
        (DECISION_HISTORY, HISTORY_TYPES),
        (FEEDBACK, FEEDBACK_TYPES),
    ],
)
def test_contracts_and_functions_agree_on_columns_and_types(contract: Contract, types: dict[str, str]) -> None:
    assert contract.validate(empty(types)).reasons() == []
    assert contract.columns == list(types)
    assert all(column.description for column in contract.schema.columns.values())


def first(status: str) -> int:
    return int(np.flatnonzero((DECISIONS["status"] == status) & (DECISIONS["track"] == "ai"))[0])


def put(frame: pd.DataFrame, status: str, **values: object) -> pd.DataFrame:
    for name, value in values.items():
        frame.loc[first(status), name] = value
    return frame


BREACHES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "probabilities_sum_to_one": lambda f: put(f, "selected", p0=0.0, p1=0.0),
    "status_fits_score": lambda f: put(f, "selected", score=-0.6),
    "ranks_follow_scores": lambda f: put(f, "not_among_best", rank=9.5),
    "the_best_are_taken": lambda f: put(f, "selected", rank=40.0),
    "every_row_has_a_reason": lambda f: put(f, "below_threshold", reason=""),
    "session_on_exchange_calendar": lambda f: f.assign(session=f["session"] + pd.Timedelta(days=4)),
    "schema": lambda f: put(f, "selected", track="gut_feeling"),
    "unique_keys": lambda f: pd.concat([f, f.iloc[-1:]], ignore_index=True),
    "sorted": lambda f: f.iloc[::-1].reset_index(drop=True),
}


@pytest.mark.parametrize("check", BREACHES)
def test_a_breach_is_noticed_under_its_name(check: str) -> None:
    assert TRADE_DECISIONS.validate(DECISIONS).passed
    verdict = TRADE_DECISIONS.validate(BREACHES[check](DECISIONS.copy()))
    assert not verdict.checks[check].passed


def test_a_rank_against_the_scores_is_noticed() -> None:
    swapped = DECISIONS.copy()
    rows = swapped.index[(swapped["track"] == "ai") & swapped["rank"].isin([1.0, 2.0])][:2]
    swapped.loc[rows, "rank"] = swapped.loc[rows, "rank"].to_numpy()[::-1]
    assert not TRADE_DECISIONS.validate(swapped).checks["ranks_follow_scores"].passed


def test_figures_that_cannot_be_are_noticed() -> None:
    row = {"track": "ai", "route": "all", "metric": "mean_roi_net", "value": 0.1, "low": 0.2, "high": 0.1}
    table = pd.DataFrame([row | {"decisions": 3, "months": 4}]).astype(PERFORMANCE_TYPES)
    verdict = DECISION_PERFORMANCE.validate(table)
    assert not verdict.checks["intervals_hold"].passed
    assert not verdict.checks["months_fit_decisions"].passed
