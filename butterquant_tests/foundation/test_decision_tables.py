"""Decisions and what became of them in the warehouse: nothing doubled, nothing known too early, each traced."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from butterquant_assets.foundation.errors import WarehouseError
from butterquant_assets.foundation.model_store import ModelStore
from butterquant_assets.foundation.registry import Registry
from butterquant_assets.foundation.warehouse import Warehouse
from butterquant_tests.foundation.registry_team import NAME, A, B, each_database, promote

SESSION = pd.Timestamp("2018-01-02")
NIGHT = pd.Timestamp("2018-01-02 23:15:00.25")


def decisions(rows: int = 12) -> pd.DataFrame:
    """Decisions of four tickers on three tracks, with whatever may be missing missing somewhere."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "session": pd.Series([SESSION] * rows, dtype="datetime64[us]"),
            "ticker": pd.Series([f"SIM{n // 3:02d}" for n in range(rows)], dtype="str"),
            "track": pd.Series([("ai", "baseline", "blend")[n % 3] for n in range(rows)], dtype="str"),
            "route": pd.Series(["champion"] * rows, dtype="str"),
            "rank": pd.Series([None, *range(1, rows)], dtype="Int64"),
            "selected": pd.Series([n % 2 for n in range(rows)], dtype="Int64"),
            "passes_document_gate": pd.Series([None, *[1] * (rows - 1)], dtype="Int64"),
            "passes_gate": pd.Series([0] * rows, dtype="Int64"),
        }
    )
    numbers = [f"p{k}" for k in range(4)] + ["expected_roi_document", "expected_roi_training", "threshold_document"]
    for name in [*numbers, "threshold_chosen", "total_score", "blend_score"]:
        frame[name] = rng.normal(size=rows)
    frame.loc[0, ["p0", "threshold_chosen"]] = np.nan
    for name in ("model_version", "calibration_version", "training_content", "analysis_content", "bars_content"):
        values = [A if name == "model_version" else f"{name} {n}" for n in range(rows)]
        frame[name] = pd.Series(values, dtype="str").mask(frame["track"] == "baseline")
    frame["reason"] = pd.Series([f"rank {n}" for n in range(rows)], dtype="str")
    frame["decided_at"] = pd.Series([NIGHT] * rows, dtype="datetime64[us]")
    return frame.assign(timing=pd.Series(["in_time"] * rows, dtype="str"))


def standing(frame: pd.DataFrame) -> pd.DataFrame:
    """The same decisions as the database gives them back while nothing has changed them."""
    never = pd.Series([pd.NaT] * len(frame), dtype="datetime64[us]")
    return frame.assign(
        first_selected=frame["selected"],
        revised_at=never,
        withdrawn_at=never,
        withdrawn_reason=pd.Series([None] * len(frame), dtype="str"),
    )


def outcomes() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "session": pd.Series([SESSION] * 2, dtype="datetime64[us]"),
            "ticker": pd.Series(["SIM00", "SIM01"], dtype="str"),
            "evaluation_session": pd.to_datetime(["2018-02-01", "2018-02-05"]).astype("datetime64[us]"),
            "roi_mark": [0.1, np.nan],
            "roi_net": [0.05, -0.2],
            "label": pd.Series([1, None], dtype="Int64"),
        }
    )


SPAN = {"first": SESSION, "last": SESSION}


@each_database
def test_decisions_come_back_as_they_were_written_and_a_second_write_changes_nothing(warehouse: Warehouse) -> None:
    frame = decisions()
    for _ in range(2):
        assert warehouse.upsert_frame("upsert_trade_decisions", frame) == len(frame)
        assert_frame_equal(warehouse.fetch("trade_decisions", SPAN), standing(frame), check_exact=True)
    assert warehouse.fetch(
        "trade_decisions", {"first": SESSION + pd.Timedelta(days=1), "last": pd.Timestamp("2019-01-01")}
    ).empty


@each_database
def test_booleans_and_floats_of_a_frame_are_written_as_flags_and_ranks(warehouse: Warehouse) -> None:
    frame = decisions().astype({"selected": bool, "passes_gate": bool, "rank": "float64"})
    warehouse.upsert_frame("upsert_trade_decisions", frame)
    assert_frame_equal(warehouse.fetch("trade_decisions", SPAN), standing(decisions()), check_exact=True)


@each_database
def test_a_repeated_decision_is_refused_also_where_no_model_took_part(warehouse: Warehouse) -> None:
    for position in (0, 1):  # by a model, and by the baseline
        twice = pd.concat([decisions(), decisions().iloc[[position]]], ignore_index=True)
        with pytest.raises(WarehouseError, match="1 rows repeat a key of upsert_trade_decisions"):
            warehouse.upsert_frame("upsert_trade_decisions", twice)
    assert warehouse.fetch("trade_decisions", SPAN).empty


@each_database
def test_decisions_of_two_model_versions_stand_side_by_side_and_a_correction_replaces_its_own(
    warehouse: Warehouse,
) -> None:
    frame = decisions()
    other = frame[frame["track"] == "ai"].assign(model_version=B, reason="by b")
    for part in (frame, other, frame.assign(reason="corrected")):
        warehouse.upsert_frame("upsert_trade_decisions", part)
    found = warehouse.fetch("trade_decisions", SPAN)
    assert len(found) == len(frame) + len(other)
    assert set(found.loc[found["model_version"] == B, "reason"]) == {"by b"}
    assert set(found.loc[found["model_version"] != B, "reason"]) == {"corrected"}


@each_database
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("track", "human"),
        ("route", "both"),
        ("selected", 2),
        ("rank", 0),
        ("reason", None),
        ("timing", "soon"),
        ("timing", None),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_whole(warehouse: Warehouse, column: str, value: object) -> None:
    frame = decisions()
    frame.loc[5, column] = value
    with pytest.raises(WarehouseError, match="upsert_trade_decisions failed"):
        warehouse.upsert_frame("upsert_trade_decisions", frame)
    assert warehouse.fetch("trade_decisions", SPAN).empty


@each_database
def test_outcomes_come_back_only_when_they_were_known(warehouse: Warehouse) -> None:
    frame = outcomes()
    for _ in range(2):
        warehouse.upsert_frame("upsert_decision_outcomes", frame)
        found = warehouse.fetch("decision_outcomes", SPAN | {"known_by": pd.Timestamp("2018-02-05")})
        assert_frame_equal(found, frame, check_exact=True)
    known = warehouse.fetch("decision_outcomes", SPAN | {"known_by": pd.Timestamp("2018-02-04")})
    assert known["ticker"].tolist() == ["SIM00"]


@each_database
def test_an_outcome_known_before_the_decision_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="upsert_decision_outcomes failed"):
        warehouse.upsert_frame("upsert_decision_outcomes", outcomes().assign(evaluation_session=SESSION))


@each_database
def test_a_decision_is_traced_to_its_model_its_data_and_its_outcome(
    registry: Registry, warehouse: Warehouse, store: ModelStore
) -> None:
    promoted = promote(registry, A)
    promote(registry, B)
    registry.rollback(NAME, actor="anna", reason="x")
    warehouse.upsert_frame("upsert_trade_decisions", decisions())
    warehouse.upsert_frame("upsert_decision_outcomes", outcomes())
    trace = warehouse.fetch("decision_trace", {"session": SESSION, "ticker": "SIM00"}).set_index("track")
    assert trace.index.tolist() == ["ai", "baseline", "blend"]
    ai = trace.loc["ai"]
    assert (ai["model"], ai["model_version"], ai["role"]) == (NAME, A, "champion")
    assert ai["onnx_sha256"] == store.load_card(NAME, A)["files"]["model.onnx"]
    assert (ai["training_content"], ai["registered_training_content"]) == ("training_content 0", f"training of {A}")
    assert (ai["analysis_content"], ai["bars_content"]) == ("analysis_content 0", "bars_content 0")
    assert ai["in_service_since"] == pd.Timestamp(promoted.at)
    assert (ai["evaluation_session"], ai["roi_net"], ai["label"]) == (pd.Timestamp("2018-02-01"), 0.05, 1)
    assert (ai["decided_at"], ai["timing"], ai["first_selected"]) == (NIGHT, "in_time", 0)
    assert ai[["revised_at", "withdrawn_at", "withdrawn_reason"]].isna().all()
    assert trace.loc["baseline", ["model", "model_version", "role", "in_service_since"]].isna().all()
    vintage = decisions().assign(model_version=lambda rows: rows["model_version"] + "@2017-06")
    warehouse.upsert_frame("upsert_trade_decisions", vintage[vintage["ticker"] == "SIM02"])
    of_vintage = warehouse.fetch("decision_trace", {"session": SESSION, "ticker": "SIM02"})
    of_vintage = of_vintage[of_vintage["model_version"] == f"{A}@2017-06"]
    assert of_vintage["track"].tolist() == ["ai", "blend"]
    assert set(of_vintage["role"]) == {"champion"}
    assert of_vintage["onnx_sha256"].isna().all()  # that file is not what decided
    open_trade = warehouse.fetch("decision_trace", {"session": SESSION, "ticker": "SIM03"})
    assert open_trade["evaluation_session"].isna().all()
    assert len(open_trade) == 3
