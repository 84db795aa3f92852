"""Model cards read as contracts, and the cards that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.foundation.errors import ModelStoreError
from butterquant_assets.serving.contract import LARGEST, read_contract
from butterquant_tests.serving import stores


def card(**changes: Any) -> dict[str, Any]:
    whole = {
        "name": "success",
        "version": "0" * 16,
        "input": {"features": list(FEATURES)},
        "output": {"classes": list(stores.CLASSES)},
        "serving": stores.serving_entry(),
    }
    return whole | changes


def test_bounds_values_and_thresholds_are_those_of_the_card() -> None:
    contract = read_contract(card())
    period = FEATURES.index("dominant_period")
    assert contract.names == FEATURES
    assert (contract.low[period], contract.high[period]) == (7.0, 180.0)
    assert (contract.low[0], contract.high[0]) == (-LARGEST, LARGEST)
    assert [n for n, free in zip(FEATURES, contract.nullable, strict=True) if free] == [
        "iv_percentile",
        "skew_estimate",
        "gamma_theta_ratio",
    ]
    np.testing.assert_array_equal(contract.class_values[:, 0], [0.0, 0.05, 0.2, 0.4])
    np.testing.assert_array_equal(contract.class_values[:, 1], stores.TRAINING_VALUES)
    assert contract.thresholds == {"document": 0.15, "training": 0.02}
    assert (contract.default_gate, contract.calibration_method, contract.calibration_version) == (
        "training",
        "isotonic",
        "c0ffee",
    )


def test_every_example_is_a_possible_value() -> None:
    contract = read_contract(card())
    examples = np.array([feature.example for feature in contract.features])
    assert ((examples >= contract.low) & (examples <= contract.high)).all()


def reordered() -> list[dict[str, Any]]:
    return list(reversed(stores.serving_entry()["features"]))


def first_feature(**changes: Any) -> list[dict[str, Any]]:
    features = stores.serving_entry()["features"]
    return [features[0] | changes, *features[1:]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": reordered()}, "differ in their names or order"),
        ({"features": first_feature(low=2.0, high=1.0)}, "trend_slope has low 2.0 above high 1.0"),
        ({"features": first_feature(nullable="no")}, "trend_slope has nullable 'no'"),
        ({"features": first_feature(low="0")}, "'0' is no finite number"),
        ({"class_values": {"document": [0.0, 0.05, 0.2], "training": [0.0, 0.1, 0.2]}}, "needs 4 finite numbers"),
        ({"class_values": {"document": [0.0, 0.05, 0.2, 0.4]}}, "has no entry 'training'"),
        ({"threshold": {"document": 0.15}}, "has no entry 'chosen'"),
        ({"threshold": {"document": float("nan"), "chosen": None}}, "nan is no finite number"),
        ({"default_gate": "hope"}, "default_gate is 'hope'"),
        ({"calibration": None}, "is malformed"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelStoreError, match=message):
        read_contract(card(serving=stores.serving_entry(**changes)))


def test_a_card_from_before_serving_says_what_to_do() -> None:
    old = card()
    del old["serving"]
    with pytest.raises(
        ModelStoreError, match=r"success 0000000000000000 has no entry 'serving'.*build the model again"
    ):
        read_contract(old)
