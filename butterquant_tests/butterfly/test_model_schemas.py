"""Contracts of the success model's tables: what it publishes keeps them, and a breach is named."""

from __future__ import annotations

import pandas as pd
import pytest

from butterquant_assets.butterfly.model_schemas import CALIBRATION_TABLE, SUCCESS_PREDICTIONS
from butterquant_assets.learning.calibration import METHODS
from butterquant_assets.learning.schemas import evaluation_contract, parity_contract

EVALUATION = evaluation_contract("butterfly/model_evaluation")


def prediction() -> pd.DataFrame:
    row = {"session": pd.Timestamp("2020-03-02"), "ticker": "AAA", "vintage": "2020-03", "predictor": "model"}
    frame = pd.DataFrame([row | {"p0": 0.4, "p1": 0.3, "p2": 0.2, "p3": 0.1}])
    types = {"session": "datetime64[us]", "ticker": "str", "vintage": "str", "predictor": "str"}
    return frame.astype(types)


def calibration() -> pd.DataFrame:
    figures = {"log_loss": 1.0, "brier": 0.6, "ece": 0.1, "gain": 0.0, "standard_error": 0.0}
    rows = [
        {"vintage": "2020-03", "method": name} | figures | {"rows": 9, "chosen": name == "none"} for name in METHODS
    ]
    return CALIBRATION_TABLE.arrange(pd.DataFrame(rows).astype({"vintage": "str", "method": "str"}))


def evaluation() -> pd.DataFrame:
    frame = pd.DataFrame(
        {"predictor": "model", "part": ["2020-03", "walk_forward"], "metric": "log_loss"}
        | {"value": 1.0, "low": [float("nan"), 0.9], "high": [float("nan"), 1.1]}
    )
    return frame.astype(dict.fromkeys(("predictor", "part", "metric"), "str"))


def test_good_tables_pass() -> None:
    for contract, frame in (
        (SUCCESS_PREDICTIONS, prediction()),
        (CALIBRATION_TABLE, calibration()),
        (EVALUATION, evaluation()),
    ):
        assert contract.validate(frame).reasons() == []


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"p0": 0.5}, "probabilities_sum_to_one"),
        ({"p0": 1.4, "p1": -0.7}, "schema"),
        ({"p0": float("nan")}, "schema"),
        ({"vintage": "2020-03-01"}, "schema"),
        ({"ticker": None}, "schema"),
    ],
)
def test_predictions_that_are_none_are_named(changed: dict[str, object], check: str) -> None:
    checks = SUCCESS_PREDICTIONS.validate(prediction().assign(**changed)).checks
    assert not checks[check].passed
    assert checks[check].failed_rows == 1


def test_a_row_has_one_prediction_a_predictor() -> None:
    twice = pd.concat([prediction(), prediction()], ignore_index=True)
    assert not SUCCESS_PREDICTIONS.validate(twice).checks["unique_keys"].passed
    other = pd.concat([prediction(), prediction().assign(predictor="pool")], ignore_index=True)
    assert SUCCESS_PREDICTIONS.validate(other.astype({"predictor": "str"})).passed


def test_calibration_methods_are_the_known_ones_and_figures_may_be_missing() -> None:
    table = calibration()
    missing = table.assign(log_loss=float("nan"), gain=float("nan"), standard_error=float("nan"), rows=0)
    assert CALIBRATION_TABLE.validate(missing).passed
    unknown = table.assign(method=table["method"].replace("isotonic", "monotone").astype("str"))
    assert not CALIBRATION_TABLE.validate(unknown).checks["schema"].passed
    assert not CALIBRATION_TABLE.validate(table.assign(rows=-1)).checks["schema"].passed


@pytest.mark.parametrize("part", ["test", "validation", "2020", "walk_forward_2"])
def test_parts_of_an_evaluation_are_the_walk_or_the_month_of_a_vintage(part: str) -> None:
    wrong = evaluation().assign(part=pd.Series([part, "walk_forward"], dtype="str"))
    assert not EVALUATION.validate(wrong).checks["schema"].passed


def test_an_export_that_differs_too_much_breaks_its_contract() -> None:
    contract = parity_contract("butterfly/onnx_parity")
    parity = pd.DataFrame({"batch": [1, 64], "max_abs_difference": [0.0, 1e-7]})
    assert contract.validate(parity).passed
    assert not contract.validate(parity.assign(max_abs_difference=0.01)).passed
