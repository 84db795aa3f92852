"""Model cards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.foundation.model_content import canonical_json
from butterquant_assets.learning.cards import build_card, build_forecast_card, plain_values


def arguments() -> dict[str, Any]:
    rows = [("model", "test", "log_loss", 1.1), ("model", "test", "our_gate_mean_roi_net", np.nan)]
    return {
        "purpose": "p",
        "architecture": {"hidden": (4, 2)},
        "features": ("b", "a"),
        "label": "label_mark",
        "label_definition": "four classes of roi_mark",
        "class_names": ("loss", "gain"),
        "training": {"best_epoch": np.int64(3)},
        "splits": {"train": {"rows": 10}},
        "evaluation": pd.DataFrame(rows, columns=["predictor", "part", "metric", "value"]),
        "confusion_matrix": np.array([[1, 2], [3, 4]]),
        "verdict": {"low": -np.inf},
        "data_versions": {"training_set": "abc"},
        "code_version": "def",
        "config": {"seed": 7},
        "seeds": {"training": 7},
        "onnx_parity": pd.DataFrame({"batch": [1], "max_abs_difference": [1e-7]}),
        "limits": ["not for other underlyings"],
    }


def test_a_card_is_plain_json_and_keeps_the_order_of_features() -> None:
    card = build_card(**arguments())
    assert canonical_json(card) == canonical_json(build_card(**arguments()))
    assert card["input"]["features"] == ["b", "a"]
    assert card["output"]["classes"] == ["loss", "gain"]
    assert card["confusion_matrix_test"] == [[1, 2], [3, 4]]


def test_a_figure_that_does_not_exist_is_none_not_zero() -> None:
    card = build_card(**arguments())
    assert card["evaluation"]["test"]["model"] == {"log_loss": 1.1, "our_gate_mean_roi_net": None}
    assert card["verdict"]["low"] is None


@pytest.mark.parametrize("name", ["limits", "class_names", "data_versions", "features", "seeds", "code_version"])
def test_a_card_without_what_readers_need_is_refused(name: str) -> None:
    given = arguments()
    with pytest.raises(DataError, match=name):
        build_card(**(given | {name: type(given[name])()}))


def test_classes_and_confusion_matrix_must_fit() -> None:
    with pytest.raises(DataError, match="3 classes are named but the confusion matrix has 2 rows"):
        build_card(**(arguments() | {"class_names": ("a", "b", "c")}))


def test_the_card_of_a_forecast_has_a_unit_in_place_of_classes() -> None:
    given = {name: value for name, value in arguments().items() if name not in ("class_names", "confusion_matrix")}
    card, other = build_forecast_card(unit="per year", **given), build_card(**arguments())
    assert card["output"] == {"name": "prediction", "type": "float32", "unit": "per year"}
    assert set(other) - set(card) == {"confusion_matrix_test"}
    same = set(card) - {"output"}
    assert {name: card[name] for name in same} == {name: other[name] for name in same}
    with pytest.raises(DataError, match="without unit"):
        build_forecast_card(unit="", **given)
    with pytest.raises(DataError, match="without limits"):
        build_forecast_card(unit="per year", **(given | {"limits": []}))


def test_a_value_without_plain_form_is_refused() -> None:
    with pytest.raises(TypeError, match="Timestamp"):
        plain_values({"when": pd.Timestamp("2018-01-02")})
