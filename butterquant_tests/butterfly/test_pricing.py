"""Debits, greeks, marks, costs and ROI against QuantLib and the worked example of REFERENCE."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from butterquant_assets.butterfly import pricing
from butterquant_assets.butterfly.config import CostConfig
from butterquant_assets.butterfly.iv_proxy import LegVols
from butterquant_assets.butterfly.strikes import Strikes
from butterquant_tests.shared_data import reference_dir

# REFERENCE section 1, "ROI": S = 100, wings 95/100/105, 45 days, 25 % volatility, r = 4 %
EXAMPLE = Strikes(*(np.array([value]) for value in (95.0, 100.0, 105.0, 5.0)))
FLAT_VOLS = LegVols(*(np.array([0.25]) for _ in range(3)))
EXAMPLE_DEBIT = 1.1012


@pytest.fixture(scope="module")
def vectors() -> pd.DataFrame:
    """200 butterflies computed with QuantLib 1.44, Actual/365, no dividends."""
    return pd.read_csv(reference_dir() / "butterfly_quantlib.csv")


def _strikes(table: pd.DataFrame) -> Strikes:
    lower, center, upper = (table[name].to_numpy() for name in ("lower", "center", "upper"))
    return Strikes(lower, center, upper, (upper - lower) / 2)


def _vols(table: pd.DataFrame) -> LegVols:
    return LegVols(*(table[name].to_numpy() for name in ("iv_lower", "iv_center", "iv_upper")))


def _types(table: pd.DataFrame) -> np.ndarray:
    return table["option"].str.upper().to_numpy(dtype=object)


def test_debits_of_200_butterflies_equal_those_of_quantlib(vectors: pd.DataFrame) -> None:
    spot, rate, dte = (vectors[name].to_numpy() for name in ("spot", "rate", "dte"))
    found = pricing.value_by_type(_types(vectors), spot, _strikes(vectors), dte, rate, _vols(vectors))
    np.testing.assert_allclose(found, vectors["debit"], rtol=1e-9)


def test_greeks_of_200_butterflies_equal_those_of_quantlib(vectors: pd.DataFrame) -> None:
    spot, rate, dte = (vectors[name].to_numpy() for name in ("spot", "rate", "dte"))
    found = pricing.greeks_by_type(_types(vectors), spot, _strikes(vectors), dte, rate, _vols(vectors))
    np.testing.assert_allclose(found.delta, vectors["delta"], rtol=1e-9)
    np.testing.assert_allclose(found.gamma, vectors["gamma"], rtol=1e-9)
    np.testing.assert_allclose(found.vega, vectors["vega_per_point"], rtol=1e-9)
    np.testing.assert_allclose(found.theta, vectors["theta_per_day"], rtol=1e-9)


def test_exit_marks_and_the_three_rois_equal_those_of_quantlib(vectors: pd.DataFrame) -> None:
    strikes, debit = _strikes(vectors), vectors["debit"].to_numpy()
    spot, days, rate = (vectors[name].to_numpy() for name in ("exit_spot", "exit_dte", "rate"))
    mark = pricing.value_by_type(_types(vectors), spot, strikes, days, rate, _vols(vectors))
    # A mark that is the difference of legs a million times larger carries their rounding, ours and QuantLib's.
    resolution = 4 * np.finfo(np.float64).eps * spot
    np.testing.assert_array_less(np.abs(mark - vectors["exit_mark"]), 1e-9 * vectors["exit_mark"] + resolution)
    np.testing.assert_allclose(pricing.roi_mark(mark, debit), vectors["roi_mark"], rtol=1e-9)
    np.testing.assert_allclose(pricing.roi_expiry(spot, strikes, debit), vectors["roi_expiry"], rtol=1e-9)
    np.testing.assert_allclose(pricing.roi_tent(spot, strikes, debit), vectors["roi_tent"], rtol=1e-9)


def test_the_call_butterfly_is_worth_the_put_butterfly(vectors: pd.DataFrame) -> None:
    arguments = (_strikes(vectors), vectors["dte"].to_numpy(), vectors["rate"].to_numpy(), _vols(vectors))
    found = pricing.value(vectors["spot"].to_numpy(), *arguments)
    np.testing.assert_allclose(found, vectors["debit"], rtol=1e-9)


def test_the_debit_of_the_worked_example() -> None:
    debit = pricing.value(100.0, EXAMPLE, 45, 0.04, FLAT_VOLS)
    assert debit[0] == pytest.approx(EXAMPLE_DEBIT, abs=5e-5)


@pytest.mark.parametrize(
    ("exit_spot", "tent", "expiry", "mark"),
    [(96.0, 70.8, -9.2, 36.0), (100.0, 354.0, 354.0, 151.4), (94.99, -100.0, -100.0, -6.0)],
)
def test_the_rois_of_the_worked_example_in_percent(exit_spot: float, tent: float, expiry: float, mark: float) -> None:
    debit = pricing.value(100.0, EXAMPLE, 45, 0.04, FLAT_VOLS)
    worth = pricing.value(exit_spot, EXAMPLE, 5, 0.04, FLAT_VOLS)
    assert 100 * pricing.roi_tent(exit_spot, EXAMPLE, debit)[0] == pytest.approx(tent, abs=0.06)
    assert 100 * pricing.roi_expiry(exit_spot, EXAMPLE, debit)[0] == pytest.approx(expiry, abs=0.06)
    assert 100 * pricing.roi_mark(worth, debit)[0] == pytest.approx(mark, abs=0.06)


def test_under_a_fair_lognormal_the_tent_manufactures_edge_and_the_mark_does_not() -> None:
    # REFERENCE section 1: expected ROI +28.3 % by the tent and +0.4 % by the mark; 20,001 equally likely prices
    debit = pricing.value(100.0, EXAMPLE, 45, 0.04, FLAT_VOLS)
    from scipy.special import ndtri

    years = 40 / 365
    draws = ndtri((np.arange(20_001) + 0.5) / 20_001)
    spot = 100.0 * np.exp((0.04 - 0.5 * 0.25**2) * years + 0.25 * np.sqrt(years) * draws)
    mark = pricing.value(spot, EXAMPLE, 5, 0.04, FLAT_VOLS)
    assert 100 * pricing.roi_tent(spot, EXAMPLE, debit).mean() == pytest.approx(28.3, abs=0.1)
    assert 100 * pricing.roi_mark(mark, debit).mean() == pytest.approx(0.4, abs=0.1)


def test_the_tent_is_zero_on_a_wing_and_minus_one_just_beyond_it() -> None:
    debit = np.array([1.1])
    on = pricing.roi_tent(np.array([95.0, 105.0]), EXAMPLE, debit)
    beyond = pricing.roi_tent(np.array([94.999, 105.001]), EXAMPLE, debit)
    assert on.tolist() == [0.0, 0.0]
    assert beyond.tolist() == [-1.0, -1.0]


@given(st.floats(1.0, 1000.0), st.floats(0.01, 0.99), st.floats(-3.0, 3.0), st.floats(0.02, 0.4), st.floats(0.0, 3.0))
def test_rois_keep_their_bounds(
    center: float, debit_share: float, exit_at: float, width_share: float, cost: float
) -> None:
    width = center * width_share
    strikes = Strikes(*(np.array([value]) for value in (center - width, center, center + width, width)))
    debit = np.array([width * debit_share])
    spot = np.array([max(center + exit_at * width, 0.01)])
    tent, expiry = pricing.roi_tent(spot, strikes, debit)[0], pricing.roi_expiry(spot, strikes, debit)[0]
    best = (width - debit[0]) / debit[0]
    share = pricing.payoff_share(spot, strikes)[0]
    assert -1.0 <= expiry <= best * (1 + 1e-9)
    assert -1.0 <= tent <= best * (1 + 1e-9)
    if strikes.lower[0] <= spot[0] <= strikes.upper[0]:
        assert tent - expiry == pytest.approx(1.0 - share, abs=1e-9 * (1 + best))
    mark = np.array([width * share])
    net = pricing.roi_net(mark, np.array([cost]), debit, np.array([cost]))[0]
    assert -1.0 <= net <= pricing.roi_mark(mark, debit)[0] + 1e-12


@given(
    st.floats(0.86, 1.14), st.floats(0.1, 1.5), st.sampled_from([21, 30, 45]), st.floats(0.0, 0.1), st.floats(0.02, 0.3)
)
def test_a_debit_at_one_volatility_lies_between_zero_and_the_discounted_width(
    moneyness: float, vol: float, days: int, rate: float, width_share: float
) -> None:
    center = 100.0 * moneyness
    width = center * width_share
    strikes = Strikes(*(np.array([value]) for value in (center - width, center, center + width, width)))
    vols = LegVols(*(np.array([vol]) for _ in range(3)))
    debit = pricing.value(100.0, strikes, days, rate, vols)[0]
    assert -1e-12 <= debit <= width * np.exp(-rate * days / 365) + 1e-12


def test_a_debit_outside_zero_and_width_is_named_never_floored() -> None:
    debit, width = np.array([1.0, 0.0, -0.1, 5.0, 6.0, np.nan]), np.full(6, 5.0)
    found = pricing.debit_defects(debit, width, np.full(6, 100.0))
    assert [bool(sentence) for sentence in found] == [False, True, True, True, True, True]
    assert "debit -0.1" in found[2]
    assert "debit 6" in found[4]


def test_a_debit_that_is_only_rounding_of_its_legs_counts_as_zero() -> None:
    assert pricing.debit_defects(np.array([1e-8]), np.array([5.0]), np.array([100.0]))[0] != ""


def test_half_spreads_follow_distance_and_never_fall_below_a_cent() -> None:
    # out-of-the-money options at 25 %, 45 days, r 4 %: put 97.5, call 103, put 93, put 90; and a call worth nothing
    from butterquant_assets.quant.black_scholes import price

    years = 45 / 365
    put97, put93, put90 = (float(price(100.0, k, years, 0.04, 0.25, kind="put")) for k in (97.5, 93.0, 90.0))
    call105 = float(price(100.0, 105.0, years, 0.04, 0.25, kind="call"))
    found = pricing.half_spread(100.0, np.array([97.5, 105.0, 93.0, 90.0, 200.0]), 45, 0.04, 0.25)
    expected = [0.015 * put97, 0.02 * call105, 0.02 * put93, 0.04 * put90, 0.01]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_premium_in_the_money_is_not_taxed() -> None:
    deep_call = pricing.half_spread(100.0, 60.0, 45, 0.04, 0.25)
    assert float(deep_call) == 0.01


def test_a_trade_pays_the_middle_leg_twice_and_four_commissions() -> None:
    legs = [pricing.half_spread(100.0, strike, 45, 0.04, 0.25) for strike in (95.0, 100.0, 105.0)]
    found = pricing.trade_cost(100.0, EXAMPLE, 45, 0.04, FLAT_VOLS, CostConfig(commission_usd=0.65))
    assert found[0] == pytest.approx(float(legs[0] + 2 * legs[1] + legs[2]) + 4 * 0.65 / 100, rel=1e-14)


def test_net_roi_counts_costs_both_ways_and_a_worthless_position_loses_all_it_cost() -> None:
    found = pricing.roi_net(np.array([2.0, 0.03]), 0.1, 1.0, 0.2)
    np.testing.assert_allclose(found, [(1.9 - 1.2) / 1.2, -1.0], rtol=1e-14)


@pytest.mark.parametrize(
    ("roi", "label"),
    [(-1.0, 0), (-0.1001, 0), (-0.10, 1), (0.0499, 1), (0.05, 2), (0.1499, 2), (0.15, 3), (9.0, 3)],
)
def test_labels_change_exactly_at_their_edges(roi: float, label: int) -> None:
    assert float(pricing.label_of(roi)) == label


def test_a_missing_roi_has_no_label() -> None:
    assert np.isnan(pricing.label_of([np.nan, 0.0])).tolist() == [True, False]
