"""Imputation and standardisation."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.scaling import fit_scaler


def test_missing_values_become_the_training_median() -> None:
    train = np.array([[1.0, 5.0], [2.0, 5.0], [np.nan, 5.0], [9.0, 5.0]])
    scaler = fit_scaler(train, ["a", "b"])
    assert scaler.median.tolist() == [2.0, 5.0]
    assert scaler.mean[0] == pytest.approx(3.5)
    assert scaler.apply([[np.nan, np.nan]])[0].tolist() == scaler.apply([[2.0, 5.0]])[0].tolist()


def test_a_constant_column_has_scale_one() -> None:
    scaler = fit_scaler(np.full((7, 1), 0.1), ["flat"])  # 0.1 summed seven times is not exactly 0.7
    assert scaler.scale.tolist() == [1.0]
    assert scaler.apply([[0.1], [0.6]]).ravel().tolist() == [0.0, 0.5]


def test_a_column_without_any_value_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="feature skew is missing in all 2 training rows"):
        fit_scaler([[1.0, np.nan], [2.0, np.nan]], ["trend", "skew"])


def test_an_infinity_is_refused_by_name_and_row() -> None:
    with pytest.raises(DataError, match="feature skew is infinite in row 1"):
        fit_scaler([[1.0, 3.0], [2.0, np.inf]], ["trend", "skew"])
