"""The score of hand-worked factors, with all of them there and with some missing."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.regime import market_regime
from butterquant_assets.signals.weights import WEIGHTS, score

FACTORS = {"T": 80.0, "C": -20.0, "V": 40.0, "O": 60.0, "M": -10.0, "B": 50.0}


def test_the_weights_are_those_of_the_formula():
    found = score({name: [value] for name, value in FACTORS.items()})
    expected = 0.50 * (0.7 * 80 - 0.3 * 20) + 0.35 * (0.5 * 40 + 0.3 * 60 - 0.2 * 10) + 0.15 * 50
    assert found.score[0] == pytest.approx(expected, rel=1e-14) == 45.1
    assert (found.direction[0], found.confidence[0]) == (1, found.score[0])
    assert (found.weight_present[0], found.renormalised[0]) == (1.0, False)
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)


def test_a_missing_factor_leaves_the_others_their_proportions():
    found = score({**FACTORS, "T": np.nan, "O": np.nan})
    left = 0.15 * -20 + 0.175 * 40 + 0.07 * -10 + 0.15 * 50
    assert found.score == pytest.approx(left / 0.545, rel=1e-14)
    assert found.weight_present == 0.545
    assert found.renormalised


def test_zero_and_nothing_give_no_signal():
    found = score({name: [0.0, np.nan, -5.0] for name in FACTORS})
    np.testing.assert_array_equal(found.direction, [0, 0, -1])
    np.testing.assert_array_equal(found.confidence, [0.0, np.nan, 5.0])
    np.testing.assert_array_equal(found.weight_present, [1.0, 0.0, 1.0])


def test_extreme_factors_stay_within_the_range():
    highest = np.nextafter(100.0, 0.0)
    for sign in (1.0, -1.0):
        assert abs(score(dict.fromkeys(FACTORS, sign * highest)).score) < 100.0
        assert abs(market_regime([sign * highest], [sign * highest])[0]) < 100.0


def test_a_regime_needs_both_of_its_coins():
    np.testing.assert_allclose(market_regime([50.0, np.nan, 10.0], [-50.0, 20.0, np.nan]), [20.0, np.nan, np.nan])


def test_bad_input_is_refused():
    with pytest.raises(DataError, match=r"factors M, B are not given; expected T, C, V, O, M, B"):
        score({name: FACTORS[name] for name in ("T", "C", "V", "O")})
    with pytest.raises(DataError, match=r"factor O has the value 101.0, expected -100 .. 100"):
        score({**FACTORS, "O": 101.0})
    with pytest.raises(DataError, match=r"factor B has shape \(2,\), factor T \(1,\)"):
        score({name: np.zeros(2 if name == "B" else 1) for name in FACTORS})
