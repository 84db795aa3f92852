"""Break-evens and the probability between them, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from butterquant_assets.butterfly import pricing, profit_probability
from butterquant_assets.butterfly.config import Smile
from butterquant_assets.butterfly.iv_proxy import LegVols, leg_vols
from butterquant_assets.butterfly.strikes import Strikes


def _one(values: tuple[float, ...]) -> list[np.ndarray]:
    return [np.array([value]) for value in values]


def _probability(
    strikes: Strikes, vols: LegVols, debit: np.ndarray, vol: float, days_left: int = 5, held: int = 40
) -> float:
    low, high = profit_probability.break_evens(strikes, np.array([days_left]), np.array([0.04]), vols, debit)
    found = profit_probability.profit_probability(np.array([100.0]), np.array([vol]), np.array([held]), low, high)
    return float(found[0])


def _by_quadrature(
    strikes: Strikes, vols: LegVols, debit: np.ndarray, vol: float, days_left: int = 5, held: int = 40
) -> float:
    draws = ndtri((np.arange(40_001) + 0.5) / 40_001)
    spot = 100.0 * np.exp(vol * np.sqrt(held / 365) * draws)
    return float((pricing.value(spot, strikes, days_left, 0.04, vols) > debit).mean())


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.88, 1.12),
    st.floats(0.03, 0.2),
    st.floats(0.08, 0.9),
    st.floats(0.5, 1.6),
    st.sampled_from(["smooth", "flat"]),
)
def test_the_probability_equals_a_fine_quadrature(
    moneyness: float, width_share: float, iv: float, ratio: float, smile: Smile
) -> None:
    center, width = 100.0 * moneyness, 100.0 * width_share
    strikes = Strikes(*_one((center - width, center, center + width, width)))
    vols = leg_vols(np.array([iv]), strikes, np.array([100.0]), smile)
    debit = pricing.value(100.0, strikes, 45, 0.04, vols)
    if pricing.debit_defects(debit, strikes.width, np.array([100.0]))[0]:
        return  # such a row is rejected before a probability is asked for
    expected = _by_quadrature(strikes, vols, debit, iv * ratio)
    assert _probability(strikes, vols, debit, iv * ratio) == pytest.approx(expected, abs=2e-4)


def test_the_mark_equals_the_debit_at_both_break_evens() -> None:
    strikes, vols = Strikes(*_one((95.0, 100.0, 105.0, 5.0))), LegVols(*_one((0.27, 0.25, 0.24)))
    debit = pricing.value(100.0, strikes, 45, 0.04, vols)
    low, high = profit_probability.break_evens(strikes, np.array([5]), np.array([0.04]), vols, debit)
    for spot in (low, high):
        assert pricing.value(spot, strikes, 5, 0.04, vols)[0] == pytest.approx(debit[0], rel=1e-9)
    assert 94.0 < low[0] < 100.0 < high[0] < 106.0


def test_a_debit_the_mark_never_reaches_cannot_profit() -> None:
    strikes, vols = Strikes(*_one((95.0, 100.0, 105.0, 5.0))), LegVols(*_one((0.25, 0.25, 0.25)))
    assert _probability(strikes, vols, np.array([4.9]), 0.25) == 0.0


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    random = np.random.default_rng(2)
    count = 700  # more than one chunk
    center = 100.0 * (0.9 + 0.2 * random.random(count))
    width = 3.0 + 10.0 * random.random(count)
    strikes = Strikes(center - width, center, center + width, width)
    vols = leg_vols(0.15 + 0.4 * random.random(count), strikes, np.full(count, 100.0), "smooth")
    debit = pricing.value(100.0, strikes, 45, 0.04, vols)
    days, rate = np.full(count, 5), np.full(count, 0.04)
    together = np.stack(profit_probability.break_evens(strikes, days, rate, vols, debit))
    for row in (0, 3, 511, 512, 699):
        at = slice(row, row + 1)
        alone = profit_probability.break_evens(
            Strikes(strikes.lower[at], strikes.center[at], strikes.upper[at], strikes.width[at]),
            days[at],
            rate[at],
            LegVols(vols.lower[at], vols.center[at], vols.upper[at]),
            debit[at],
        )
        assert np.stack(alone).tobytes() == np.ascontiguousarray(together[:, at]).tobytes()
